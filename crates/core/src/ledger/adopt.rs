//! Annotations are output (rule 4): what a running pod's annotation names without an object is adopted where the kubelet
//! confirms it, and withheld otherwise.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;

use super::Ledger;
use super::entry::{Claim, Slot};
use super::ids::{Time, Uid};
use super::record::State;
use super::view::Phase;
use crate::addr::Addr;

/// What the annotations of known pods name.
#[derive(Debug, Default)]
pub(super) struct Annotated {
    by_addr: BTreeSet<(Addr, Uid)>,
    /// Withheld addresses and the running pods whose annotations name them.
    disputed: BTreeMap<Addr, BTreeSet<Uid>>,
    disputes: BTreeMap<Uid, BTreeSet<Addr>>,
}

impl Annotated {
    /// A pod's annotation was `before` and is `after`.
    pub(super) fn set(&mut self, uid: &Uid, before: &[IpAddr], after: &[IpAddr]) {
        if before != after {
            for &ip in before {
                self.by_addr.remove(&(ip.into(), uid.clone()));
            }
            self.by_addr.extend(after.iter().map(|&ip| (ip.into(), uid.clone())));
        }
    }

    fn pods_naming(&self, addr: Addr) -> Vec<Uid> {
        let from = self.by_addr.range((addr, Uid::LEAST)..);
        from.take_while(|(named, _)| *named == addr).map(|(_, uid)| uid.clone()).collect()
    }

    fn dispute(&mut self, addr: Addr, uid: &Uid) {
        self.disputed.entry(addr).or_default().insert(uid.clone());
        self.disputes.entry(uid.clone()).or_default().insert(addr);
    }

    /// True if nobody disputes the address any more who did before.
    fn undispute(&mut self, addr: Addr, uid: &Uid) -> bool {
        let Some(pods) = self.disputed.get_mut(&addr).filter(|pods| pods.contains(uid)) else { return false };
        pods.remove(uid);
        let last = pods.is_empty();
        if last {
            self.disputed.remove(&addr);
        }
        if let Some(addrs) = self.disputes.get_mut(uid) {
            addrs.remove(&addr);
            if addrs.is_empty() {
                self.disputes.remove(uid);
            }
        }
        last
    }

    fn disputed_by(&self, uid: &Uid) -> Vec<Addr> {
        self.disputes.get(uid).into_iter().flatten().copied().collect()
    }

    /// The withheld addresses, ascending.
    pub(super) fn disputed(&self) -> impl ExactSizeIterator<Item = Addr> + '_ {
        self.disputed.keys().copied()
    }

    pub(super) fn is_disputed(&self, addr: Addr) -> bool {
        self.disputed.contains_key(&addr)
    }
}

impl Ledger {
    /// Somebody deleted what an admin, or nobody any more, had: it is free, unless a running pod has it all the same (rule 6).
    pub(super) fn give_up(&mut self, now: Time, slot: Slot) {
        let addr = self.table.at(slot).addr;
        self.set_claim(now, slot, None);
        for uid in self.annotated.pods_naming(addr) {
            self.adopt(now, &uid);
        }
    }

    pub(super) fn adopt_all(&mut self, now: Time) {
        for uid in self.pods.by_uid.keys().cloned().collect::<Vec<_>>() {
            self.adopt(now, &uid);
        }
    }

    /// The annotated address of a bound pod that owns no object: adopted where the pod runs and the kubelet confirms it,
    /// withheld otherwise (rule 4).
    pub(super) fn adopt(&mut self, now: Time, uid: &Uid) {
        if !self.active || !self.synced || self.generation == 0 {
            return;
        }
        let Some(pod) = self.pods.get(uid) else { return };
        if !pod.is_bound() {
            return;
        }
        let annotated: HashSet<Addr> = pod.view.annotated.iter().copied().map(Addr::from).collect();
        let ips = pod.view.ips.iter().filter(|_| pod.view.phase == Phase::Running);
        let confirmed: HashSet<Addr> = ips.copied().map(Addr::from).collect();
        for addr in self
            .annotated
            .disputed_by(uid)
            .into_iter()
            .filter(|addr| !annotated.contains(addr) || confirmed.contains(addr))
        {
            self.undispute_one(now, uid, addr);
        }
        for addr in annotated {
            if self.space.topology.pool_of(addr).is_none() {
                continue;
            }
            match self.table.slot(addr) {
                None if confirmed.contains(&addr) => self.give_to(now, uid, addr),
                None => {
                    self.annotated.dispute(addr, uid);
                    self.space.take(addr);
                }
                Some(slot) => {
                    let entry = self.table.at(slot);
                    let Some(claim) = entry.claim.clone() else { continue };
                    if claim.state == State::Bound && claim.pod_uid.as_ref() == Some(uid) {
                        continue;
                    }
                    let keyless =
                        claim.pod_uid.is_none() && claim.state != State::Admin && self.is_kept_for(&claim, uid);
                    if keyless && confirmed.contains(&addr) {
                        self.give_to(now, uid, addr);
                    } else if claim.pod_uid.as_ref() != Some(uid) {
                        self.conflict(uid, addr);
                    }
                }
            }
        }
    }

    fn is_kept_for(&self, claim: &Claim, uid: &Uid) -> bool {
        let Some(pod) = self.pods.get(uid) else { return false };
        let named = self.pod_name(claim).is_none_or(|name| name == *pod.view.name);
        claim.workload.is_none_or(|ix| pod.workload == Some(ix)) && named
    }

    fn give_to(&mut self, now: Time, uid: &Uid, addr: Addr) {
        let Some(pod) = self.pods.get(uid) else { return };
        let (view, workload) = (pod.view.clone(), pod.workload);
        let Some(node) = view.node.as_ref().map(|node| self.names.intern(node)) else { return };
        let pool = view.pool.as_ref().map(|pool| self.names.intern(pool));
        let slot = self.occupy(addr);
        let claim = Claim {
            state: State::Bound,
            policy: view.policy,
            spare: false,
            released: false,
            any_pod: false,
            workload,
            pool,
            node: Some(node),
            pod_name: Some(self.short_name(workload, &view.name)),
            pod_uid: Some(uid.clone()),
            updated_at: now,
        };
        self.set_claim(now, slot, Some(claim));
    }

    /// The pod no longer claims disputed addresses.
    pub(super) fn undispute(&mut self, now: Time, uid: &Uid) {
        for addr in self.annotated.disputed_by(uid) {
            self.undispute_one(now, uid, addr);
        }
    }

    fn undispute_one(&mut self, now: Time, uid: &Uid, addr: Addr) {
        if self.annotated.undispute(addr, uid) && self.table.slot(addr).is_none() {
            self.make_free(now, addr, true);
        }
    }

    /// Recomputes what annotations name and compares.
    pub(super) fn check_annotated(&self) {
        let named = |uid: &Uid, ips: &[IpAddr]| ips.iter().map(|&ip| (ip.into(), uid.clone())).collect::<Vec<_>>();
        let pods = self.pods.by_uid.iter();
        let fresh: BTreeSet<(Addr, Uid)> = pods.flat_map(|(uid, pod)| named(uid, &pod.view.annotated)).collect();
        assert_eq!(fresh, self.annotated.by_addr, "pods by the addresses that their annotations name");
        let mut disputes: BTreeMap<Uid, BTreeSet<Addr>> = BTreeMap::new();
        for (&addr, pods) in &self.annotated.disputed {
            for uid in pods {
                disputes.entry(uid.clone()).or_default().insert(addr);
            }
        }
        assert_eq!(disputes, self.annotated.disputes, "disputed addresses by pod");
    }
}
