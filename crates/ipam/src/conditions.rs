//! The condition `galaxy.k8s.io/FloatingIP` of pods, and with it their wakes (rule 16).
//!
//! Changes of one pod are written in order, one at a time; one that was overtaken is not written at all.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use galaxy_api::names::{POD_CONDITION, WAKE_ANNOTATION};
use galaxy_core::ledger::{PodRef, Time, Uid};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::calls::{Backoff, CallError, Proof, call};
use crate::cli::Wake;
use crate::clock::timestamp;
use crate::engine::Engine;

/// Patches at once.
const CALLS: usize = 32;
/// Attempts at one change; a wake that fails for good forfeits its turn in the ledger.
const ATTEMPTS: u32 = 6;
/// Pods remembered although nothing is due for them.
const REMEMBERED: usize = 4096;

/// A change to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) pod: PodRef,
    pub(crate) status: bool,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    /// The scheduler must notice, even if nothing else changes.
    pub(crate) wake: bool,
}

/// Writes conditions.
pub(crate) struct Conditions {
    engine: Arc<Engine>,
    client: Client,
    wake: Wake,
    pods: Mutex<HashMap<Uid, Slot>>,
    calls: Semaphore,
}

#[derive(Default)]
struct Slot {
    due: Option<Change>,
    /// A task is writing.
    busy: bool,
    /// Status and lastProbeTime (in seconds, which is all that the API keeps) as last written.
    last: Option<(bool, i64)>,
}

impl Conditions {
    pub(crate) fn new(engine: Arc<Engine>, client: Client, wake: Wake) -> Arc<Self> {
        Arc::new(Conditions { engine, client, wake, pods: Mutex::default(), calls: Semaphore::new(CALLS) })
    }

    /// Writes a change in its turn.
    pub(crate) fn submit(self: &Arc<Self>, tasks: &TaskTracker, change: Change) {
        let uid = change.pod.uid.clone();
        let mut pods = self.lock();
        if pods.len() >= REMEMBERED {
            pods.retain(|_, slot| slot.busy || slot.due.is_some());
        }
        let slot = pods.entry(uid.clone()).or_default();
        slot.due = Some(overtake(slot.due.take(), change));
        if !std::mem::replace(&mut slot.busy, true) {
            tasks.spawn(Arc::clone(self).write(uid));
        }
    }

    async fn write(self: Arc<Self>, uid: Uid) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
        let mut attempt = 1;
        while let Some((change, last)) = self.next(&uid) {
            // The next leader tells for itself.
            if !self.engine.is_active() {
                self.done(&uid, last);
                continue;
            }
            let probe = probe_time(self.engine.clock().now(), last);
            let result = {
                let _permit = self.calls.acquire().await;
                self.patch(&change, last, probe).await
            };
            match result {
                Ok(()) => {
                    if change.wake {
                        self.engine.metrics.wake();
                    }
                    (attempt, backoff) = (1, Backoff::new(Duration::from_millis(100), Duration::from_secs(2)));
                    // A bound pod has no more to say.
                    self.done(&uid, (!change.status).then_some((change.status, probe)));
                }
                // Deleted, or replaced by a pod of the same name.
                Err(error) if error.proof() == Proof::NotFound => self.done(&uid, None),
                Err(error) if attempt < ATTEMPTS && error.proof() != Proof::Refused => {
                    tracing::debug!(uid = %uid, %error, attempt, "pod condition not written; trying again");
                    self.engine.metrics.api_retry("patch", "pods");
                    attempt += 1;
                    self.again(change);
                    backoff.wait().await;
                }
                Err(error) => {
                    let (namespace, name) = (&change.pod.namespace, &change.pod.name);
                    tracing::warn!(pod = %format!("{namespace}/{name}"), %uid, %error, "pod condition not written");
                    attempt = 1;
                    self.done(&uid, last);
                }
            }
        }
    }

    async fn patch(&self, change: &Change, last: Option<(bool, i64)>, probe: i64) -> Result<(), CallError> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &change.pod.namespace);
        let name = &change.pod.name;
        let params = PatchParams::default();
        let result = if change.wake && self.wake == Wake::Annotation {
            let stamp = timestamp(self.engine.clock().now()).to_string();
            let patch =
                json!({"metadata": {"uid": change.pod.uid.to_string(), "annotations": {WAKE_ANNOTATION: stamp}}});
            call(api.patch(name, &params, &Patch::Strategic(patch))).await.map(drop)
        } else {
            let patch = Patch::Strategic(condition_patch(change, last, probe));
            call(api.patch_status(name, &params, &patch)).await.map(drop)
        };
        let word = match &result {
            Ok(()) => "ok",
            Err(error) => match error.proof() {
                Proof::Conflict => "conflict",
                Proof::NotFound => "gone",
                Proof::Refused => "refused",
                Proof::Nothing => "unknown",
            },
        };
        self.engine.metrics.api_write("patch", "pods", word);
        result
    }

    /// The change to write now; the task ends with none.
    fn next(&self, uid: &Uid) -> Option<(Change, Option<(bool, i64)>)> {
        let mut pods = self.lock();
        let slot = pods.get_mut(uid)?;
        match slot.due.take() {
            Some(change) => Some((change, slot.last)),
            None => {
                slot.busy = false;
                if slot.last.is_none() {
                    pods.remove(uid);
                }
                None
            }
        }
    }

    /// Puts a change back unless a newer one came.
    fn again(&self, change: Change) {
        let mut pods = self.lock();
        let slot = pods.entry(change.pod.uid.clone()).or_default();
        slot.due = Some(match slot.due.take() {
            Some(newer) => overtake(Some(change), newer),
            None => change,
        });
    }

    fn done(&self, uid: &Uid, last: Option<(bool, i64)>) {
        if let Some(slot) = self.lock().get_mut(uid) {
            slot.last = last;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uid, Slot>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A newer change replaces an older one, but wakes if that was to wake: unless the pod has what it waited for.
fn overtake(older: Option<Change>, newer: Change) -> Change {
    let wake = newer.wake || (!newer.status && older.is_some_and(|older| older.wake));
    Change { wake, ..newer }
}

/// Now, but in another second than last time: else the patch would change nothing and wake nobody.
fn probe_time(now: Time, last: Option<(bool, i64)>) -> i64 {
    let now = now.0.div_euclid(1_000_000);
    last.map_or(now, |(_, last)| now.max(last + 1))
}

fn condition_patch(change: &Change, last: Option<(bool, i64)>, probe: i64) -> Value {
    let time = jiff::Timestamp::from_second(probe).unwrap_or_default().to_string();
    let mut condition = json!({
        "type": POD_CONDITION,
        "status": if change.status { "True" } else { "False" },
        "reason": change.reason,
        "message": change.message,
        "lastProbeTime": time,
    });
    // The merge leaves what is not sent: the time of the last transition stays when there is none.
    if last.map(|(status, _)| status) != Some(change.status) {
        condition["lastTransitionTime"] = time.into();
    }
    json!({"metadata": {"uid": change.pod.uid.to_string()}, "status": {"conditions": [condition]}})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(status: bool, wake: bool, message: &str) -> Change {
        let pod = PodRef { namespace: "shop".into(), name: "web-1".into(), uid: "u".into() };
        Change { pod, status, reason: "NoAddress", message: message.into(), wake }
    }

    #[test]
    fn two_wakes_in_one_second_still_differ() {
        let now = Time(1_000_000_900_000);
        let first = probe_time(now, None);
        assert_eq!(first, 1_000_000);
        assert_eq!(probe_time(now, Some((false, first))), first + 1);
        assert_eq!(probe_time(now.plus_secs(9), Some((false, first))), first + 9);
    }

    #[test]
    fn an_overtaken_wake_still_wakes_unless_the_pod_is_served() {
        let wake = change(false, true, "old");
        assert_eq!(overtake(Some(wake.clone()), change(false, false, "new")), change(false, true, "new"));
        assert_eq!(overtake(Some(wake), change(true, false, "bound")), change(true, false, "bound"));
        assert_eq!(overtake(None, change(false, false, "new")), change(false, false, "new"));
    }

    #[test]
    fn the_patch_is_for_this_very_pod_and_keeps_the_time_of_the_transition() {
        let patch = condition_patch(&change(false, true, "no address"), None, 0);
        assert_eq!(
            patch,
            json!({"metadata": {"uid": "u"}, "status": {"conditions": [{
                "type": "galaxy.k8s.io/FloatingIP", "status": "False", "reason": "NoAddress", "message": "no address",
                "lastProbeTime": "1970-01-01T00:00:00Z", "lastTransitionTime": "1970-01-01T00:00:00Z"}]}})
        );
        let again = condition_patch(&change(false, true, "no address"), Some((false, 0)), 1);
        assert_eq!(again["status"]["conditions"][0].get("lastTransitionTime"), None);
        assert_eq!(again["status"]["conditions"][0]["lastProbeTime"], "1970-01-01T00:00:01Z");
    }
}
