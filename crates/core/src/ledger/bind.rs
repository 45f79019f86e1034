//! Bind: claim, write, assign, create the Binding; idempotent by uid and node (rule 7).

use std::net::IpAddr;

use super::Ledger;
use super::entry::{Claim, Slot};
use super::ids::{Model, Str, Time, Uid};
use super::pods::{Bind, Stage};
use super::promises::Promises;
use super::record::State;
use super::verdict::{BindStep, BindingOutcome, Grant, PodRef};
use crate::addr::Addr;
use crate::policy::ReleasePolicy;

impl Ledger {
    /// Starts the bind of a pod to a node, or joins the one under way.
    pub fn bind(&mut self, now: Time, pod_ref: &PodRef, node: &str) -> BindStep {
        if let Err(why) = self.readiness() {
            return BindStep::Refused(format!("galaxy-ipam cannot decide now: {why}"));
        }
        let (namespace, name, uid) = (&pod_ref.namespace, &pod_ref.name, &pod_ref.uid);
        let Some(pod) = self.pods.get(uid) else {
            return BindStep::Refused(if self.pods.is_gone(uid) {
                format!("pod {namespace}/{name} with uid {uid} is gone")
            } else {
                format!("pod {namespace}/{name} with uid {uid} is not known, or does not ask for a floating IP")
            });
        };
        if let Some(bound_to) = &pod.view.node {
            return if &**bound_to == node {
                BindStep::Done
            } else {
                BindStep::Refused(format!("pod {namespace}/{name} is bound to node {bound_to} already, not to {node}"))
            };
        }
        if pod.finished || pod.view.deletion_deadline.is_some() {
            return BindStep::Refused(format!("pod {namespace}/{name} is being deleted or has finished"));
        }
        if let Some(bind) = &pod.bind {
            match bind.stage {
                _ if &*bind.node == node && bind.stage != Stage::Unknown => return BindStep::Wait,
                Stage::Unknown => {}
                Stage::Claiming | Stage::Binding => {
                    return BindStep::Refused(format!(
                        "a bind of pod {namespace}/{name} to node {} is still under way; it is tried again after that",
                        bind.node
                    ));
                }
            }
        }
        match self.start_bind(now, uid, node) {
            Ok(()) => self.bind_poll(now, uid, node),
            Err(text) => BindStep::Refused(text),
        }
    }

    fn start_bind(&mut self, now: Time, uid: &Uid, node: &str) -> Result<(), String> {
        let class = match self.nodes.get(node) {
            None => return Err(format!("node {node} is not known; galaxy-ipam has not seen it yet, or it is gone")),
            Some(known) => known.class.ok_or_else(|| {
                format!("node {node} ({:?}) is in no nodeSubnets of the configuration", known.view.ips)
            })?,
        };
        let Some(pod) = self.pods.get(uid) else { return Err(format!("pod with uid {uid} is not known")) };
        // The same question as filter's, so that what filter passes a bind right after it gets.
        self.evaluate(pod, &[class], &Promises::default()).map_err(|denial| denial.refusal.detail)?;
        let addrs = self.choose(pod, class).map_err(|refusal| refusal.detail)?;
        self.claim(now, uid, node, &addrs);
        if let Some(pod) = self.pods.get_mut(uid) {
            pod.bind = Some(Box::new(Bind { node: node.into(), addrs, stage: Stage::Claiming }));
            pod.last_bind = None;
        }
        // The cloud can only be asked once the bind is known.
        let slots: Vec<Slot> = self.bind_slots(uid);
        for slot in slots {
            self.plan(now, slot);
        }
        Ok(())
    }

    /// Makes the addresses the pod's own, on this node.
    fn claim(&mut self, now: Time, uid: &Uid, node: &str, addrs: &[Addr]) {
        let node = self.names.intern(node);
        let Some(pod) = self.pods.get(uid) else { return };
        let (name, policy, workload) = (pod.view.name.clone(), pod.view.policy, pod.workload);
        let pod_name = self.short_name(workload, &name);
        let pool = pod.view.pool.clone().map(|pool| self.names.intern(&pool));
        let fresh_unit = !self.table.slots_of(uid).iter().any(|&slot| self.table.at(slot).is_of(uid));
        for &addr in addrs {
            let slot = self.occupy(addr);
            let old = self.table.at(slot).claim.clone();
            let claim = Claim {
                state: State::Bound,
                policy,
                spare: old.as_ref().is_some_and(|claim| claim.spare && claim.workload == workload),
                released: false,
                any_pod: false,
                workload,
                pool,
                node: Some(node),
                pod_name: Some(pod_name.clone()),
                pod_uid: Some(uid.clone()),
                updated_at: now,
            };
            let same = old.as_ref().is_some_and(|old| Claim { updated_at: now, ..old.clone() } == claim);
            if !same {
                self.set_claim(now, slot, Some(claim));
            }
        }
        self.set_hold(uid, None);
        let sized = self.pods.get(uid).and_then(|pod| self.pool_size(pod)).is_some();
        if let (Some(ix), true) = (workload, fresh_unit && !sized && policy != ReleasePolicy::Default)
            && self.workloads.get(ix).id.model() == Model::Fungible
        {
            for &addr in addrs {
                let slot = self.occupy(addr);
                self.mark_spare(now, ix, slot);
            }
        }
    }

    fn bind_slots(&self, uid: &Uid) -> Vec<Slot> {
        let bind = self.pods.get(uid).and_then(|pod| pod.bind.as_ref());
        bind.into_iter().flat_map(|bind| &bind.addrs).filter_map(|&addr| self.table.slot(addr)).collect()
    }

    /// What a bind that was started, or joined, has to do next.
    pub fn bind_poll(&mut self, _now: Time, uid: &Uid, node: &str) -> BindStep {
        let Some(pod) = self.pods.get(uid) else {
            return BindStep::Refused(format!("the pod with uid {uid} is gone"));
        };
        let Some(bind) = &pod.bind else {
            if pod.view.node.as_deref() == Some(node) {
                return BindStep::Done;
            }
            return match &pod.last_bind {
                Some((last, Ok(()))) if &**last == node => BindStep::Done,
                Some((_, Err(text))) => BindStep::Refused(text.clone()),
                _ => BindStep::Refused("the bind was given up; it is tried again".to_owned()),
            };
        };
        if &*bind.node != node {
            return BindStep::Refused(format!("a bind to node {} is under way", bind.node));
        }
        match bind.stage {
            Stage::Binding => return BindStep::Wait,
            Stage::Unknown => {
                return BindStep::Refused(format!(
                    "the Binding to node {node} had no definite answer; the address is kept and the bind tried again"
                ));
            }
            Stage::Claiming => {}
        }
        let ready = bind.addrs.iter().all(|&addr| {
            self.table.get(addr).is_some_and(|entry| {
                let node = entry.claim.as_ref().and_then(|claim| claim.node);
                let assigned = !self.settings.cloud || (entry.assigned_for_certain && entry.assigned == node);
                entry.is_of(uid) && entry.is_stored() && assigned
            })
        });
        if !ready {
            return BindStep::Wait;
        }
        let Some(grants) = bind.addrs.iter().map(|&addr| self.grant(addr)).collect::<Option<Vec<Grant>>>() else {
            let text = "an address of the pod left the configuration meanwhile; the bind is tried again".to_owned();
            self.end_bind(uid, Err(text.clone()));
            return BindStep::Refused(text);
        };
        let (pod_ref, node) = (pod.reference(), bind.node.clone());
        if let Some(bind) = self.pods.get_mut(uid).and_then(|pod| pod.bind.as_mut()) {
            bind.stage = Stage::Binding;
        }
        BindStep::Bind { pod: pod_ref, node, grants }
    }

    fn grant(&self, addr: Addr) -> Option<Grant> {
        let pool = self.space.topology.pool(self.space.topology.pool_of(addr)?);
        Some(Grant { ip: addr.ip(), prefix_len: pool.prefix_len, gateway: pool.gateway, vlan: pool.vlan })
    }

    /// How the Binding ended.
    pub fn binding_done(&mut self, now: Time, uid: &Uid, outcome: BindingOutcome) {
        let Some(bind) = self.pods.get(uid).and_then(|pod| pod.bind.clone()) else { return };
        match outcome {
            BindingOutcome::Bound => {
                self.end_bind(uid, Ok(()));
                if let Some(pod) = self.pods.get_mut(uid) {
                    pod.view.node = Some(bind.node.clone());
                    let annotated: Vec<IpAddr> = bind.addrs.iter().map(|addr| addr.ip()).collect();
                    self.annotated.set(uid, &pod.view.annotated, &annotated);
                    pod.view.annotated = annotated;
                }
                self.note_leaving(uid);
                self.pod_served(uid);
                self.free_surplus(now, uid);
                if let Some(ix) = self.pods.get(uid).and_then(|pod| pod.workload) {
                    self.trim(now, ix, false);
                }
            }
            BindingOutcome::Refused(text) => {
                // The claim stays with the pod, unbound: the next filter tries its nodes first (rule 8).
                self.end_bind(uid, Err(text));
            }
            BindingOutcome::NotFound => self.pod_gone(now, uid),
            BindingOutcome::Unknown(_) => {
                if let Some(bind) = self.pods.get_mut(uid).and_then(|pod| pod.bind.as_mut()) {
                    bind.stage = Stage::Unknown;
                }
                self.out.progress.push(uid.clone());
            }
        }
    }

    /// An address of a bind under way turned out to be somebody else's: the pod chooses again.
    pub(super) fn choose_again(&mut self, now: Time, uid: &Uid) {
        let Some(bind) = self.pods.get(uid).and_then(|pod| pod.bind.clone()) else { return };
        if bind.stage != Stage::Claiming {
            return;
        }
        if let Err(text) = self.start_bind(now, uid, &bind.node) {
            self.end_bind(uid, Err(text));
        }
    }

    /// A definite failure of a bind under way.
    pub(super) fn fail_bind(&mut self, uid: &Uid, text: String) {
        if self.stage(uid) == Some(Stage::Claiming) {
            self.end_bind(uid, Err(text));
        }
    }

    /// The node on which a pod uses its addresses, or is about to: the cloud has to route them there.
    pub(super) fn node_of_use(&self, uid: &Uid) -> Option<Str> {
        let pod = self.pods.get(uid)?;
        let bound = pod.view.node.clone().filter(|_| pod.is_bound());
        bound.or_else(|| pod.bind.as_ref().filter(|bind| bind.stage == Stage::Claiming).map(|bind| bind.node.clone()))
    }
}
