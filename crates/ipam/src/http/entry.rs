//! One address as the API shows it, and which queries it matches.

use std::borrow::Cow;

use galaxy_api::http::{IpEntry, ListQuery, ZERO_TIME};
use galaxy_core::{
    AppKind, FipKey,
    key::{app_type_for_prefix, prefix_for_app_type},
    ledger::{AddressInfo, Model, OwnerQuery, Phase, State, Time},
};
use jiff::Timestamp;

/// The parts of an address's key.
pub(super) struct Parts<'a> {
    pub(super) pool: Cow<'a, str>,
    pub(super) namespace: Cow<'a, str>,
    pub(super) app: Cow<'a, str>,
    pub(super) pod: Cow<'a, str>,
    /// Kind of the workload; none where there is none.
    kind: Option<AppKind>,
}

impl<'a> Parts<'a> {
    /// The parts of an address, as [`galaxy_core::ledger::Record::fip_key`] puts them together; all empty if nobody has it.
    pub(super) fn of(info: &'a AddressInfo) -> Self {
        let pool = info.pool.as_deref().unwrap_or("");
        let Some(workload) = &info.workload else {
            return match (pool, &info.key) {
                ("", Some(key)) => FipKey::parse(key).into(),
                ("", None) => FipKey::default().into(),
                (pool, _) => FipKey::for_pool(pool).into(),
            };
        };
        let pod = info.pod_name.as_deref().unwrap_or("");
        let bare = workload.model() == Model::Bare;
        Parts {
            pool: pool.into(),
            namespace: (*workload.namespace).into(),
            app: if bare { galaxy_core::key::BARE_APP.into() } else { (*workload.name).into() },
            pod: pod.into(),
            kind: Some(if bare { AppKind::Bare } else { AppKind::of_owner(&workload.kind) }),
        }
    }

    fn prefix(&self) -> String {
        self.kind.as_ref().map(AppKind::prefix).unwrap_or_default()
    }

    /// The key, which `keyword` searches.
    pub(super) fn key(&self) -> String {
        let key = FipKey {
            pool: Some(self.pool.to_string()).filter(|pool| !pool.is_empty()),
            prefix: self.prefix(),
            namespace: self.namespace.to_string(),
            app: self.app.to_string(),
            pod: self.pod.to_string(),
        };
        key.to_string()
    }
}

impl From<FipKey> for Parts<'_> {
    fn from(key: FipKey) -> Self {
        let kind = key.kind();
        Parts {
            pool: key.pool.unwrap_or_default().into(),
            namespace: key.namespace.into(),
            app: key.app.into(),
            pod: key.pod.into(),
            kind,
        }
    }
}

/// Which addresses a query asks for.
pub(super) enum Filter<'a> {
    /// Every address, free ones included.
    Everything,
    /// Those whose key contains the text.
    Keyword(&'a str),
    /// Those whose parts equal all that are given.
    Parts(&'a ListQuery, Option<String>),
}

impl<'a> Filter<'a> {
    /// Parts that are not given do not narrow the list. A workload's name without its kind means a StatefulSet, as documented.
    pub(super) fn of(query: &'a ListQuery) -> Self {
        if !query.keyword.is_empty() {
            return Filter::Keyword(&query.keyword);
        }
        let given = [&query.pool_name, &query.namespace, &query.app_name, &query.pod_name, &query.app_type];
        if given.iter().all(|part| part.is_empty()) {
            return Filter::Everything;
        }
        let by_kind = !query.app_type.is_empty() || !query.app_name.is_empty();
        Filter::Parts(query, by_kind.then(|| prefix_for_app_type(&query.app_type)))
    }

    /// The owner that is asked for, as far as one is.
    pub(super) fn owner(&self) -> OwnerQuery<'a> {
        let Filter::Parts(query, _) = self else { return OwnerQuery::default() };
        let given = |part: &'a String| Some(part.as_str()).filter(|part| !part.is_empty());
        OwnerQuery {
            pool: given(&query.pool_name),
            namespace: given(&query.namespace),
            app: given(&query.app_name),
            pod: given(&query.pod_name),
        }
    }

    /// Whether an address that has an object is asked for.
    pub(super) fn matches(&self, info: &AddressInfo) -> bool {
        let is = |wanted: &str, part: &str| wanted.is_empty() || wanted == part;
        match self {
            Filter::Everything => true,
            Filter::Keyword(keyword) => match &info.key {
                Some(key) => key.contains(keyword),
                None => Parts::of(info).key().contains(keyword),
            },
            Filter::Parts(query, prefix) => {
                let parts = Parts::of(info);
                is(&query.pool_name, &parts.pool)
                    && is(&query.namespace, &parts.namespace)
                    && is(&query.app_name, &parts.app)
                    && is(&query.pod_name, &parts.pod)
                    && prefix.as_ref().is_none_or(|prefix| *prefix == parts.prefix())
            }
        }
    }
}

/// The entry of an address.
pub(super) fn entry(info: &AddressInfo) -> IpEntry {
    let parts = Parts::of(info);
    let (status, releasable) = status(info, &parts);
    let prefix = parts.prefix();
    IpEntry {
        ip: info.addr.ip(),
        policy: info.policy.number(),
        app_type: app_type_for_prefix(&prefix).to_owned(),
        update_time: info.updated_at.map_or(ZERO_TIME, timestamp),
        status: status.to_owned(),
        releasable,
        note: note(info),
        namespace: parts.namespace.into_owned(),
        app_name: parts.app.into_owned(),
        pod_name: parts.pod.into_owned(),
        pool_name: parts.pool.into_owned(),
    }
}

/// Phase of the pod, and whether a user may release the address.
fn status(info: &AddressInfo, parts: &Parts<'_>) -> (&'static str, bool) {
    let owned = !(parts.pool.is_empty() && parts.app.is_empty() && parts.pod.is_empty());
    match (info.state, info.phase) {
        (None | Some(State::Admin), _) => ("", false),
        _ if !owned => ("", false),
        (Some(_), Some(phase)) if !parts.pod.is_empty() => (phase_name(phase), false),
        (Some(_), _) => ("Deleted", true),
    }
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Pending => "Pending",
        Phase::Running => "Running",
        Phase::Succeeded => "Succeeded",
        Phase::Failed | Phase::FailedByPodGc => "Failed",
        Phase::Unknown => "Unknown",
    }
}

/// What is out of the ordinary.
fn note(info: &AddressInfo) -> String {
    let notes = [
        (info.state == Some(State::Admin), "AdminReserved"),
        (info.state == Some(State::Quarantined), "Quarantined"),
        (info.orphaned, "Orphaned"),
        (info.disputed, "Disputed"),
    ];
    let notes: Vec<&str> = notes.into_iter().filter_map(|(holds, note)| holds.then_some(note)).collect();
    notes.join(",")
}

fn timestamp(time: Time) -> Timestamp {
    Timestamp::from_microsecond(time.0).unwrap_or(ZERO_TIME)
}
