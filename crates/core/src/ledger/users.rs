//! What users ask to be released.

use super::Ledger;
use super::ids::{Str, Time};
use super::record::State;
use super::verdict::{PodRef, ReleaseRequest, ReleaseStep};
use crate::addr::Addr;

impl Ledger {
    /// Releases one address on a user's word, whatever its policy, if the request names its owner and no pod runs with it.
    pub fn release(&mut self, now: Time, request: &ReleaseRequest) -> ReleaseStep {
        let addr = request.addr;
        if let Err(why) = self.readiness() {
            return ReleaseStep::Refused(format!("{addr} cannot be released now: {why}"));
        }
        let Some(slot) = self.table.slot(addr) else {
            return if self.space.topology.pool_of(addr).is_some() {
                ReleaseStep::Done
            } else {
                ReleaseStep::Refused(format!(
                    "{addr} is in no configured pool and has no FloatingIP; check the address"
                ))
            };
        };
        let entry = self.table.at(slot);
        let Some(claim) = &entry.claim else { return ReleaseStep::Wait };
        if claim.state == State::Admin || entry.labelled {
            return ReleaseStep::Refused(format!(
                "{addr} is reserved by an administrator; remove label reserved from FloatingIP {} or delete it with kubectl",
                addr.object_name()
            ));
        }
        let key = self.record(addr, claim).fip_key().to_string();
        if key != request.key {
            return ReleaseStep::Refused(format!("{addr} is allocated to another pod {key}, not to {}", request.key));
        }
        if let Some(uid) = claim.pod_uid.clone() {
            match self.pods.get(&uid) {
                Some(pod) if !pod.finished => {
                    let view = &pod.view;
                    return ReleaseStep::Refused(format!(
                        "{addr}: pod {}_{} (uid {uid}) is running; delete the pod first",
                        view.namespace, view.name
                    ));
                }
                None if claim.state == State::Bound && !self.pods.is_gone(&uid) => {
                    let id = claim.workload.map(|ix| self.workloads.get(ix).id.clone());
                    let namespace = id.map_or_else(|| "".into(), |id| id.namespace);
                    let name: Str = self.pod_name(claim).unwrap_or_default().as_str().into();
                    return ReleaseStep::Prove(PodRef { namespace, name, uid });
                }
                _ => {}
            }
        }
        self.user_errors.remove(&addr);
        self.set_claim(now, slot, None);
        self.release_poll(now, addr)
    }

    /// How a release that had to wait stands.
    pub fn release_poll(&mut self, _now: Time, addr: Addr) -> ReleaseStep {
        if let Some(error) = self.user_errors.remove(&addr) {
            return ReleaseStep::Refused(error);
        }
        match self.table.get(addr) {
            None => ReleaseStep::Done,
            Some(entry) if entry.claim.is_none() => ReleaseStep::Wait,
            // Somebody has it again already: it was free in between.
            Some(_) => ReleaseStep::Done,
        }
    }
}
