//! The leader's Lease. Expiry is judged by when this replica saw the Lease change, never by the clocks of others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use galaxy_api::names::{LEADER_LOCK, SYSTEM_NAMESPACE};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::PostParams;
use kube::core::ObjectMeta;
use kube::runtime::watcher;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::calls::{self, Backoff, CallError, FIELD_MANAGER, Proof, call_within, chain};
use crate::tenure::{self, Tenure};

/// How leadership is timed.
#[derive(Debug, Clone)]
pub(crate) struct Timing {
    /// How long others wait for a silent leader.
    pub(crate) lease: Duration,
    /// How long after its last renewal the leader steps down.
    pub(crate) renew_deadline: Duration,
    /// Time between attempts.
    pub(crate) retry: Duration,
}

/// The Lease as this replica last saw it; none if it is not there, or was not seen yet.
#[derive(Debug, Clone)]
pub(crate) struct Sightings(watch::Sender<Option<Arc<Lease>>>);

impl Default for Sightings {
    fn default() -> Self {
        Sightings(watch::Sender::new(None))
    }
}

impl Sightings {
    /// The Lease as it was last seen.
    pub(crate) fn last(&self) -> Option<Arc<Lease>> {
        self.0.borrow().clone()
    }

    /// Feeds what a watch of the Lease shows. Runs for ever.
    pub(crate) async fn follow(self, client: Client) {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
        let mut events = std::pin::pin!(watcher::watch_object(leases(client), LEADER_LOCK));
        while let Some(event) = events.next().await {
            match event {
                Ok(lease) => {
                    backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
                    self.0.send_replace(lease.map(Arc::new));
                }
                Err(error) => {
                    tracing::warn!(error = chain(&error), "leader election: the lease cannot be watched; trying again");
                    backoff.wait().await;
                }
            }
        }
    }

    /// Takes what a read or write returned, unless the watch has shown a later version.
    fn saw(&self, lease: &Lease) {
        let version = |lease: &Lease| lease.metadata.resource_version.as_deref().and_then(|v| v.parse::<u64>().ok());
        self.0.send_if_modified(|last| {
            let newer = last.as_deref().is_none_or(|last| version(last) < version(lease));
            if newer {
                *last = Some(Arc::new(lease.clone()));
            }
            newer
        });
    }
}

/// Who holds a Lease; empty for nobody.
pub(crate) fn holder(lease: &Lease) -> &str {
    lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default()
}

/// The lease duration of a Lease that its holder gave up; no other has it so short together with no holder.
const GIVEN_UP_SECONDS: i32 = 1;

/// Whether its last holder gave it up.
fn is_given_up(lease: &Lease) -> bool {
    let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
    holder(lease).is_empty() && seconds == Some(GIVEN_UP_SECONDS)
}

/// One replica's part in the election.
pub(crate) struct Candidate {
    api: Api<Lease>,
    identity: String,
    timing: Timing,
    /// What the Lease says about its holder beside the name: where it answers.
    annotations: BTreeMap<String, String>,
    tenure: Arc<Tenure>,
    sightings: Sightings,
    /// The Lease as this replica last wrote it.
    held: Option<Lease>,
    /// The version of the Lease since which nobody else has led: its last holder had given it up then, and every later version is
    /// this replica's own.
    vacant: Option<String>,
    /// The holder's last sign of life, and when it was seen.
    observed: Option<(LeaseSpec, Instant)>,
}

impl Candidate {
    pub(crate) fn new(
        client: Client,
        identity: String,
        timing: Timing,
        annotations: BTreeMap<String, String>,
        tenure: Arc<Tenure>,
        sightings: Sightings,
    ) -> Self {
        let api = leases(client);
        Candidate { api, identity, timing, annotations, tenure, sightings, held: None, vacant: None, observed: None }
    }

    /// Looks, with a quorum read, whether the last leader has given the Lease up: its deciding ended before that, so a list that begins
    /// now shows what it left. A Lease that is not there, has expired or was emptied by hand proves nothing: its holder may be alive.
    pub(crate) async fn note_vacancy(&mut self) {
        let there = self.call(self.api.get_opt(LEADER_LOCK)).await.ok().flatten();
        self.vacant = there.filter(is_given_up).and_then(|lease| lease.metadata.resource_version);
    }

    /// Returns once this replica leads: its tenure has begun. True if nobody led since [`Candidate::note_vacancy`] found the Lease
    /// given up; told once.
    pub(crate) async fn acquire(&mut self) -> bool {
        let mut seen = self.sightings.0.subscribe();
        loop {
            let mut again = self.timing.retry;
            match self.try_hold().await {
                // The answer may have come so late that nothing is left of it.
                Ok(true) if self.tenure.holds() => return self.vacant.take().is_some(),
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "leader election: the lease cannot be read or written");
                    again /= 4;
                }
            }
            // The watch is faster than the reads, which go on for the case that it is blind.
            let begun = Instant::now();
            let again = begun + again;
            loop {
                let expiry = self.expiry().filter(|expiry| *expiry > begun).unwrap_or(again);
                tokio::select! {
                    () = tokio::time::sleep_until(again.min(expiry)) => break,
                    // The sender lives as long as the candidate.
                    _ = seen.changed() => {}
                }
                let spec = seen.borrow_and_update().as_deref().and_then(|lease| lease.spec.clone());
                let Some(spec) = spec else { continue };
                let holder = spec.holder_identity.as_deref().unwrap_or_default();
                // Given up, or given to this replica.
                if holder.is_empty() || holder == self.identity {
                    break;
                }
                self.observe(&spec);
            }
        }
    }

    /// Renews until leadership is lost. The tenure has ended then.
    pub(crate) async fn keep(&mut self) {
        let mut pause = self.timing.retry;
        loop {
            let mut seen = self.sightings.0.subscribe();
            tokio::select! {
                () = tokio::time::sleep(pause.min(self.tenure.left())) => {}
                // Somebody else has it: an edit by hand, or a replica that judged this one dead.
                () = shows(&mut seen, |lease| holder(lease) != self.identity) => {}
            }
            if !self.tenure.holds() {
                break;
            }
            // An attempt that is not done in time must not keep a lost leadership alive.
            match tokio::time::timeout(self.tenure.left(), self.try_hold()).await {
                Ok(Ok(true)) => pause = self.timing.retry,
                Ok(Ok(false)) | Err(_) => break,
                Ok(Err(error)) => {
                    tracing::warn!(%error, "leader election: the lease cannot be renewed");
                    pause = self.timing.retry / 4;
                }
            }
        }
        self.tenure.end();
        self.held = None;
    }

    /// Gives the lease up, so that the next leader need not wait for it to expire. The tenure must have ended.
    pub(crate) async fn release(&mut self) {
        debug_assert!(!self.tenure.holds(), "deciding goes before the lease does");
        // A renewal may have been under way, so its version is not known.
        for _ in 0..3 {
            let Ok(Some(mut lease)) = self.call(self.api.get_opt(LEADER_LOCK)).await else { return };
            if holder(&lease) != self.identity {
                return;
            }
            if let Some(spec) = &mut lease.spec {
                spec.holder_identity = Some(String::new());
                spec.lease_duration_seconds = Some(GIVEN_UP_SECONDS);
                spec.renew_time = Some(MicroTime(jiff::Timestamp::now()));
            }
            lease.metadata.managed_fields = None;
            for name in self.annotations.keys() {
                lease.metadata.annotations.get_or_insert_default().remove(name);
            }
            match self.call(self.api.replace(LEADER_LOCK, &post(), &lease)).await {
                Err(error) if error.proof() == Proof::Conflict => {}
                Err(error) => {
                    tracing::warn!(%error, "leader election: the lease is not given up; it expires");
                    return;
                }
                Ok(_) => return,
            }
        }
    }

    /// Takes or renews the lease; false while another holds it.
    async fn try_hold(&mut self) -> Result<bool, CallError> {
        if let Some(held) = self.held.take() {
            match self.write(Some(held)).await {
                Ok(()) => return Ok(true),
                // Somebody has written it, or deleted it (which is told as 409, 404 or 500), or the answer to a renewal was
                // lost: look.
                Err(error) if error.code().is_some() => {}
                Err(error) => return Err(error),
            }
        }
        loop {
            let there = self.call(self.api.get_opt(LEADER_LOCK)).await?;
            if let Some(lease) = &there {
                self.sightings.saw(lease);
            }
            if !self.is_free(there.as_ref()) {
                return Ok(false);
            }
            match self.write(there).await {
                Ok(()) => return Ok(true),
                // Who leads does not give in to somebody who only touched the Lease: look again.
                Err(error) if matches!(error.proof(), Proof::Conflict | Proof::NotFound) => {
                    if !self.tenure.holds() {
                        return Ok(false);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether this replica may write the Lease: it holds it, nobody does, or the holder gave no sign of life for as long as it
    /// said it would. A Lease that was deleted says nothing of its holder, who may well write it again; but a holder that is
    /// alive does so within the time that replicas wait for one another, whatever it had said.
    fn is_free(&mut self, there: Option<&Lease>) -> bool {
        let spec = there.and_then(|lease| lease.spec.as_ref());
        if let Some(spec) = spec {
            let holder = spec.holder_identity.as_deref().unwrap_or_default();
            if holder.is_empty() || holder == self.identity {
                return true;
            }
            self.observe(spec);
        } else if there.is_some() || self.tenure.holds() || self.silent_for(self.timing.lease) {
            return true;
        }
        self.expiry().is_none_or(|expiry| Instant::now() >= expiry)
    }

    /// Whether the holder that was observed has given no sign of life for so long.
    fn silent_for(&self, patience: Duration) -> bool {
        self.observed.as_ref().is_some_and(|(_, since)| since.elapsed() > patience)
    }

    fn observe(&mut self, spec: &LeaseSpec) {
        if self.observed.as_ref().is_none_or(|(seen, _)| seen != spec) {
            self.observed = Some((spec.clone(), Instant::now()));
        }
    }

    /// When the holder that was observed counts as dead.
    fn expiry(&self) -> Option<Instant> {
        let (seen, since) = self.observed.as_ref()?;
        let seconds = seen.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let patience = seconds.map_or(self.timing.lease, Duration::from_secs);
        // A moment more: it is not over while it is the very same moment.
        since.checked_add(patience + Duration::from_millis(1))
    }

    /// Writes the Lease on the version that was read, or makes it; with success this replica leads.
    async fn write(&mut self, there: Option<Lease>) -> Result<(), CallError> {
        // Others begin to wait when they see it written, which is later: the tenure ends before their patience does.
        let until = tenure::now() + self.timing.renew_deadline;
        let spec = self.spec(there.as_ref().and_then(|lease| lease.spec.as_ref()));
        let over = there.as_ref().and_then(|lease| lease.metadata.resource_version.clone());
        let written = match there {
            Some(mut lease) => {
                lease.spec = Some(spec);
                lease.metadata.managed_fields = None;
                lease.metadata.annotations.get_or_insert_default().extend(self.annotations.clone());
                self.call(self.api.replace(LEADER_LOCK, &post(), &lease)).await?
            }
            None => {
                let metadata = ObjectMeta {
                    name: Some(LEADER_LOCK.to_owned()),
                    namespace: Some(SYSTEM_NAMESPACE.to_owned()),
                    annotations: Some(self.annotations.clone()),
                    ..ObjectMeta::default()
                };
                self.call(self.api.create(&post(), &Lease { metadata, spec: Some(spec) })).await?
            }
        };
        self.sightings.saw(&written);
        // Written over the very version: there was none in between.
        self.vacant = self.vacant.take().filter(|version| Some(version) == over.as_ref());
        if let Some(version) = &mut self.vacant {
            *version = written.metadata.resource_version.clone().unwrap_or_default();
        }
        self.held = Some(written);
        self.observed = None;
        self.tenure.extend(until);
        Ok(())
    }

    fn spec(&self, there: Option<&LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(jiff::Timestamp::now());
        let renewed = there.filter(|there| there.holder_identity.as_deref() == Some(&self.identity));
        let transitions = there.and_then(|there| there.lease_transitions).unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            // Rounded up: others must not be less patient than this replica expects.
            lease_duration_seconds: i32::try_from(self.timing.lease.as_millis().div_ceil(1000)).ok(),
            acquire_time: renewed.and_then(|there| there.acquire_time.clone()).or_else(|| Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(if renewed.is_some() || there.is_none() { transitions } else { transitions + 1 }),
            ..LeaseSpec::default()
        }
    }

    /// A call with a deadline that leaves time for another attempt.
    async fn call<T>(&self, request: impl Future<Output = kube::Result<T>>) -> Result<T, CallError> {
        call_within(calls::DEADLINE.min(self.timing.renew_deadline / 3), request).await
    }
}

/// Returns once a new sighting is as asked. A Lease that is gone is as any asks.
async fn shows(seen: &mut watch::Receiver<Option<Arc<Lease>>>, ask: impl Fn(&Lease) -> bool) {
    // The sender lives as long as the candidate.
    while seen.changed().await.is_ok() {
        if seen.borrow_and_update().as_deref().is_none_or(&ask) {
            return;
        }
    }
    std::future::pending().await
}

fn leases(client: Client) -> Api<Lease> {
    Api::namespaced(client, SYSTEM_NAMESPACE)
}

fn post() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}
