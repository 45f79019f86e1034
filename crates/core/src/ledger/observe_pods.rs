//! Events of pods. They may come late, twice or out of order: versions and uids tell.

use std::sync::OnceLock;

use super::Ledger;
use super::ids::{APPS, Model, Time, Uid, WorkloadId};
use super::pods::Pod;
use super::verdict::Notice;
use super::view::{KindStatus, PodView};
use super::waiting::Timer;
use crate::policy::ReleasePolicy;

impl Ledger {
    /// A pod as a watch, a request or a quorum read shows it.
    pub fn pod_observed(&mut self, now: Time, view: PodView) {
        let uid = view.uid.clone();
        if !self.admit(now, &view) {
            return;
        }
        let (old, newly_bound) = match self.pods.get_mut(&uid) {
            Some(pod) => {
                let newly_bound = pod.view.node.is_none() && view.node.is_some();
                // What was known before says nothing about a pod that a list since has lacked.
                pod.missing &= view.version <= pod.view.version;
                let mut view = view;
                if view.node.is_none() && pod.view.node.is_some() {
                    // Our own Binding is ahead of the cache; a pod never loses its node.
                    view.node = pod.view.node.clone();
                    view.annotated = pod.view.annotated.clone();
                }
                if view.ranges != pod.view.ranges {
                    pod.clipped = OnceLock::new();
                }
                self.annotated.set(&uid, &pod.view.annotated, &view.annotated);
                (Some(std::mem::replace(&mut pod.view, view)), newly_bound)
            }
            None => {
                let newly_bound = view.node.is_some();
                self.insert_pod(view);
                (None, newly_bound)
            }
        };
        self.resolve(now, &uid);
        let Some(pod) = self.pods.get(&uid) else { return };
        let view = &pod.view;
        if let (Some(ix), Some(_)) = (pod.workload, view.deletion_deadline) {
            self.workloads.get_mut(ix).leaving.insert(uid.clone());
        }
        self.note_leaving(&uid);
        let Some(pod) = self.pods.get(&uid) else { return };
        let view = &pod.view;
        let refused_anew = pod.hold.as_ref().is_some_and(|hold| {
            // Our own refusals end holds in filter; told late, they say nothing of the hold that came after.
            let anew = view.unschedulable.is_some() && view.unschedulable != hold.unschedulable;
            view.version > hold.version && anew && !view.refused_by_us
        });
        if view.phase.is_finished() {
            if !pod.finished {
                self.finish(now, &uid);
            }
        } else if view.deletion_deadline.is_some() && view.node.is_none() || refused_anew {
            self.drop_hold(now, &uid);
        }
        let Some(pod) = self.pods.get(&uid) else { return };
        if let Some(deadline) = pod.view.deletion_deadline {
            self.timers.insert((deadline.plus_secs(1), Timer::Deadline(uid.clone())));
            self.stop_waiting(&uid);
        }
        if newly_bound {
            self.seen_bound(now, &uid);
        } else if self.pods.get(&uid).is_some_and(|pod| pod.view.refused_by_us)
            && old.as_ref().is_none_or(|old| old.unschedulable.is_none())
        {
            // The leader before us refused it, and its condition comes only now.
            self.refused_before(now, &uid);
        }
        let Some(pod) = self.pods.get(&uid) else { return };
        let view = &pod.view;
        let edited = old
            .as_ref()
            .is_some_and(|old| (old.policy, &old.pool, &old.ranges) != (view.policy, &view.pool, &view.ranges));
        if old
            .as_ref()
            .is_none_or(|old| (&old.annotated, &old.ips, old.phase) != (&view.annotated, &view.ips, view.phase))
        {
            self.adopt(now, &uid);
        }
        if edited {
            self.more_supply(now);
        }
    }

    /// Whether the event is news about a pod that is not known to be gone. A newer pod of the same name proves the older
    /// one gone: the API has one object per name.
    fn admit(&mut self, now: Time, view: &PodView) -> bool {
        if self.pods.is_gone(&view.uid) {
            return false;
        }
        if let Some(known) = self.pods.get(&view.uid) {
            return view.version >= known.view.version;
        }
        if let Some(other) = self.pods.named(&view.namespace, &view.name) {
            if other.view.version >= view.version {
                return false;
            }
            let other = other.view.uid.clone();
            self.pod_gone(now, &other);
        }
        true
    }

    fn insert_pod(&mut self, view: PodView) {
        self.annotated.set(&view.uid, &[], &view.annotated);
        self.pods.by_name.insert((view.namespace.clone(), view.name.clone()), view.uid.clone());
        let pod = Pod {
            workload: None,
            replica_set: None,
            hold: None,
            bind: None,
            last_bind: None,
            refused: None,
            offered: false,
            missing: false,
            finished: false,
            clipped: OnceLock::new(),
            view,
        };
        self.pods.by_uid.insert(pod.view.uid.clone(), Box::new(pod));
    }

    /// Meets a pod in a request: news if it is newer than the cache, which may lag.
    pub(super) fn meet(&mut self, now: Time, view: &PodView) {
        let known = self.pods.get(&view.uid);
        if known.is_some_and(|pod| view.version <= pod.view.version) {
            return;
        }
        // What no watch has shown yet may vanish between two watches: the sweep asks unless one shows it until then.
        let missing = known.is_none_or(|pod| pod.missing);
        self.pod_observed(now, view.clone());
        if let Some(pod) = self.pods.get_mut(&view.uid) {
            pod.missing = missing;
        }
    }

    /// Takes a pod as a quorum read shows it. The sweep goes on asking for it until a watch has shown it too.
    pub fn pod_read(&mut self, now: Time, view: &PodView) {
        self.meet(now, view);
    }

    /// Finds the pod's workload by its controllers, as soon as they are known.
    pub(super) fn resolve(&mut self, now: Time, uid: &Uid) {
        let Some(pod) = self.pods.get(uid) else { return };
        if pod.workload.is_some() {
            return;
        }
        let (namespace, name) = (pod.view.namespace.clone(), pod.view.name.clone());
        let mut set = None;
        let id = match &pod.view.controller {
            None => WorkloadId::bare_pod(&namespace, &name),
            Some(c) if &*c.kind == "ReplicaSet" && &*c.group == APPS => {
                let Some(view) = self.replica_sets.get(&c.uid) else {
                    let set = c.uid.clone();
                    self.pods.unresolved.entry(set).or_default().insert(uid.clone());
                    return;
                };
                set = Some(c.uid.clone());
                match &view.controller {
                    Some(owner) => WorkloadId::new(&owner.group, &owner.kind, &namespace, &owner.name),
                    None => WorkloadId::replica_set(&namespace, &c.name),
                }
            }
            Some(c) => WorkloadId::new(&c.group, &c.kind, &namespace, &c.name),
        };
        let ix = self.workloads.intern(&id);
        let leaving = pod.view.deletion_deadline.is_some();
        let workload = self.workloads.get_mut(ix);
        workload.pods.insert(uid.clone());
        if leaving {
            workload.leaving.insert(uid.clone());
        }
        if let Some(pod) = self.pods.get_mut(uid) {
            pod.workload = Some(ix);
            pod.replica_set = set;
        }
        self.note_leaving(uid);
        self.recount(uid);
        let wants_scale = self.pods.get(uid).is_some_and(|pod| pod.view.policy == ReleasePolicy::Immutable);
        if wants_scale && id.model() == Model::Custom {
            self.want_kind(&id);
        }
        self.more_supply(now);
    }

    /// Asks for a watch on a custom kind, once.
    pub(super) fn want_kind(&mut self, id: &WorkloadId) {
        let key = (id.group.clone(), id.kind.clone());
        if self.kinds.contains_key(&key) {
            return;
        }
        self.out.notices.push(Notice::WatchKind { group: key.0.clone(), kind: key.1.clone() });
        self.kinds.insert(key, KindStatus::Starting);
    }

    /// The pod object is gone for certain: a watch said DELETED, or quorum does not have this uid.
    pub fn pod_gone(&mut self, now: Time, uid: &Uid) {
        self.pods.bury(now, uid);
        let Some(pod) = self.pods.get(uid) else {
            self.release_pod(now, uid, None, false);
            return;
        };
        let (policy, finished) = (pod.view.policy, pod.finished);
        self.drop_hold(now, uid);
        self.stop_waiting(uid);
        self.end_bind(uid, Err("the pod is gone".to_owned()));
        self.undispute(now, uid);
        let Some(pod) = self.pods.by_uid.remove(uid) else { return };
        self.annotated.set(uid, &pod.view.annotated, &[]);
        self.leaving.forget(&pod);
        let name = (pod.view.namespace.clone(), pod.view.name.clone());
        if self.pods.by_name.get(&name) == Some(uid) {
            self.pods.by_name.remove(&name);
        }
        if let Some(ix) = pod.workload {
            let workload = self.workloads.get_mut(ix);
            workload.pods.remove(uid);
            workload.leaving.remove(uid);
        }
        if let Some(controller) = pod.view.controller.as_ref().filter(|_| pod.workload.is_none())
            && let Some(pods) = self.pods.unresolved.get_mut(&controller.uid)
        {
            pods.remove(uid);
            if pods.is_empty() {
                self.pods.unresolved.remove(&controller.uid);
            }
        }
        self.recount(uid);
        self.release_pod(now, uid, Some(policy), finished);
        self.more_supply(now);
    }

    /// A cache re-list lacks the pod: not proved, so the sweep will ask (rule 9).
    pub fn pod_missing(&mut self, _now: Time, uid: &Uid) {
        if let Some(pod) = self.pods.get_mut(uid) {
            pod.missing = true;
        }
    }

    /// A quorum read says the pod is there after all.
    pub fn pod_alive(&mut self, _now: Time, uid: &Uid) {
        if let Some(pod) = self.pods.get_mut(uid) {
            pod.missing = false;
        }
    }

    /// Whether a pod of this uid is known.
    pub fn knows_pod(&self, uid: &Uid) -> bool {
        self.pods.get(uid).is_some()
    }
}
