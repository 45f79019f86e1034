//! The leader's Lease. Expiry is judged by when this replica saw the Lease change, never by the clocks of others.

use std::time::Duration;

use galaxy_api::names::{LEADER_LOCK, SYSTEM_NAMESPACE};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::PostParams;
use kube::core::ObjectMeta;
use kube::{Api, Client};
use tokio::time::Instant;

use crate::calls::{CallError, FIELD_MANAGER, call};

/// How leadership is timed.
#[derive(Debug, Clone)]
pub(crate) struct Timing {
    /// How long others wait for a silent leader.
    pub(crate) lease: Duration,
    /// How long the leader tries to renew before it steps down.
    pub(crate) renew_deadline: Duration,
    /// Time between attempts.
    pub(crate) retry: Duration,
}

/// One replica's part in the election.
pub(crate) struct Candidate {
    api: Api<Lease>,
    identity: String,
    timing: Timing,
    /// The holder's last sign of life, and when it was seen.
    observed: Option<(LeaseSpec, Instant)>,
}

impl Candidate {
    pub(crate) fn new(client: Client, identity: String, timing: Timing) -> Self {
        Candidate { api: Api::namespaced(client, SYSTEM_NAMESPACE), identity, timing, observed: None }
    }

    /// Returns once this replica leads.
    pub(crate) async fn acquire(&mut self) {
        loop {
            match self.try_hold().await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "leader election: the lease cannot be read or written"),
            }
            tokio::time::sleep(self.timing.retry).await;
        }
    }

    /// Renews until leadership is lost.
    pub(crate) async fn keep(&mut self) {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(self.timing.retry).await;
            // An attempt that is not done in time must not keep a lost leadership alive.
            let left = self.timing.renew_deadline.saturating_sub(renewed.elapsed());
            match tokio::time::timeout(left, self.try_hold()).await {
                Ok(Ok(true)) => renewed = Instant::now(),
                Ok(Ok(false)) => return,
                Ok(Err(error)) => tracing::warn!(%error, "leader election: the lease cannot be renewed"),
                Err(_) => return,
            }
        }
    }

    /// Gives the lease up, so that the next leader need not wait for it to expire.
    pub(crate) async fn release(&self) {
        let Ok(Some(mut lease)) = call(self.api.get_opt(LEADER_LOCK)).await else { return };
        let ours = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()) == Some(&self.identity);
        if let Some(spec) = lease.spec.as_mut().filter(|_| ours) {
            spec.holder_identity = Some(String::new());
            spec.lease_duration_seconds = Some(1);
            spec.renew_time = Some(MicroTime(jiff::Timestamp::now()));
            if let Err(error) = call(self.api.replace(LEADER_LOCK, &post(), &lease)).await {
                tracing::warn!(%error, "leader election: the lease is not given up; it expires");
            }
        }
    }

    /// Takes or renews the lease; false while another holds it.
    async fn try_hold(&mut self) -> Result<bool, CallError> {
        let Some(mut lease) = call(self.api.get_opt(LEADER_LOCK)).await? else {
            let metadata = ObjectMeta {
                name: Some(LEADER_LOCK.to_owned()),
                namespace: Some(SYSTEM_NAMESPACE.to_owned()),
                ..ObjectMeta::default()
            };
            let lease = Lease { metadata, spec: Some(self.spec(None)) };
            return lost_race(call(self.api.create(&post(), &lease)).await);
        };
        let there = lease.spec.take().unwrap_or_default();
        let holder = there.holder_identity.clone().unwrap_or_default();
        if !holder.is_empty() && holder != self.identity && !self.expired(&there) {
            return Ok(false);
        }
        lease.spec = Some(self.spec(Some(&there)));
        lease.metadata.managed_fields = None;
        lost_race(call(self.api.replace(LEADER_LOCK, &post(), &lease)).await)
    }

    /// Whether the holder gave no sign of life for as long as it said it would.
    fn expired(&mut self, there: &LeaseSpec) -> bool {
        let now = Instant::now();
        match &self.observed {
            Some((seen, since)) if seen == there => {
                let seconds = there.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
                now.duration_since(*since) > seconds.map_or(self.timing.lease, Duration::from_secs)
            }
            _ => {
                self.observed = Some((there.clone(), now));
                false
            }
        }
    }

    fn spec(&self, there: Option<&LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(jiff::Timestamp::now());
        let renewed = there.filter(|there| there.holder_identity.as_deref() == Some(&self.identity));
        let transitions = there.and_then(|there| there.lease_transitions).unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(self.timing.lease.as_secs()).ok(),
            acquire_time: renewed.and_then(|there| there.acquire_time.clone()).or_else(|| Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(if renewed.is_some() || there.is_none() { transitions } else { transitions + 1 }),
            ..LeaseSpec::default()
        }
    }
}

/// Another replica was faster.
fn lost_race<T>(result: Result<T, CallError>) -> Result<bool, CallError> {
    match result {
        Ok(_) => Ok(true),
        Err(error) if error.code() == Some(409) => Ok(false),
        Err(error) => Err(error),
    }
}

fn post() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}
