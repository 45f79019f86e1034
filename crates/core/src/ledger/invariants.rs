//! Everything that is kept incrementally, recomputed from scratch. Tests call this after each step.

use std::collections::{HashMap, HashSet};

use super::Ledger;
use super::entry::{Flight, Sym};
use super::ids::Uid;
use super::record::State;
use crate::addr::Addr;

impl Ledger {
    /// Checks every counter, index and rule about the whole state.
    ///
    /// # Panics
    /// When one does not hold; the message names it.
    pub fn check_invariants(&self) {
        self.table.check();
        self.space.check();
        self.check_space();
        self.check_holds();
        self.check_pods();
        self.check_leaving();
        self.check_annotated();
    }

    /// An address is either free, or has an entry, or is withheld; never two of these.
    fn check_space(&self) {
        for (_, entry) in self.table.entries() {
            assert!(!self.space.is_available(entry.addr), "{} has an owner and is free", entry.addr);
            assert_eq!(entry.net, self.net_of(entry.addr), "pool of {}", entry.addr);
            let nothing = entry.claim.is_none() && entry.object.is_none() && entry.flight == Flight::Idle;
            assert!(!nothing || entry.unknown || entry.assigned.is_some(), "{} is neither free nor owned", entry.addr);
        }
        for addr in self.annotated.disputed() {
            assert!(!self.space.is_available(addr), "{addr} is disputed and free");
        }
        let usable = |addr: &Addr| self.space.topology.is_usable(*addr);
        let strays: Vec<Addr> =
            self.table.entries().map(|(_, entry)| entry.addr).filter(|addr| !usable(addr)).collect();
        assert_eq!(strays, self.table.strays().map(|entry| entry.addr).collect::<Vec<_>>(), "strays");
        for pool in self.space.topology.pools() {
            let owned = self.table.entries().map(|(_, entry)| entry.addr);
            let withheld = self.annotated.disputed().filter(|addr| self.table.slot(*addr).is_none());
            let taken = owned.chain(withheld).filter(|addr| pool.usable.contains(*addr)).count() as u128;
            assert_eq!(
                self.space.available_in_pool(pool.index) + taken,
                pool.usable.len(),
                "free and owned addresses of pool {}",
                pool.index
            );
        }
    }

    fn check_holds(&self) {
        let (mut held, mut pools, mut workloads) =
            (HashMap::<Addr, Uid>::new(), HashMap::<Sym, u32>::new(), HashMap::new());
        for (uid, pod) in &self.pods.by_uid {
            let Some(hold) = &pod.hold else { continue };
            if let Some(addr) = hold.addr {
                assert!(held.insert(addr, uid.clone()).is_none(), "{addr} is held twice");
            }
            if let Some(pool) = hold.pool.filter(|_| hold.units > 0) {
                *pools.entry(pool).or_default() += hold.units;
            }
            if let Some(ix) = hold.workload {
                *workloads.entry(ix).or_insert(0) += hold.units;
            }
        }
        assert_eq!(self.pods.by_uid.values().filter(|pod| pod.hold.is_some()).count(), self.holds, "pods with a hold");
        assert_eq!(held, self.held, "held addresses");
        assert_eq!(pools, self.pool_holds, "holds by pool");
        for (ix, workload) in self.workloads.iter() {
            assert_eq!(workloads.get(&ix).copied().unwrap_or(0), workload.holds, "holds of {}", workload.id);
        }
    }

    fn check_pods(&self) {
        let mut sets: HashMap<Uid, u32> = HashMap::new();
        for (uid, pod) in &self.pods.by_uid {
            let name = (pod.view.namespace.clone(), pod.view.name.clone());
            assert_eq!(self.pods.by_name.get(&name), Some(uid), "pod {}/{} by name", name.0, name.1);
            assert!(!self.pods.is_gone(uid), "pod {uid} is known and gone");
            let owns = self.table.slots_of(uid).iter().any(|&slot| self.table.at(slot).is_of(uid));
            if let (Some(set), true) = (&pod.replica_set, owns || pod.hold.is_some()) {
                *sets.entry(set.clone()).or_default() += 1;
            }
            if let Some(ix) = pod.workload {
                assert!(self.workloads.get(ix).pods.contains(uid), "pod {uid} in its workload");
                let leaving = self.workloads.get(ix).leaving.contains(uid);
                assert_eq!(leaving, pod.view.deletion_deadline.is_some(), "pod {uid} among those leaving");
            }
            assert_eq!(
                self.waiting.contains(uid),
                pod.refused.as_ref().is_some_and(|refused| refused.waits),
                "pod {uid} in the waiting list"
            );
            if let Some(bind) = &pod.bind {
                let distinct: HashSet<&Addr> = bind.addrs.iter().collect();
                assert_eq!(distinct.len(), bind.addrs.len(), "addresses of the bind of pod {uid} are distinct");
            }
        }
        assert_eq!(sets, self.replica_set_used, "pods with addresses by ReplicaSet");
        for (_, entry) in self.table.entries() {
            let Some(claim) = &entry.claim else { continue };
            if claim.state == State::Reserved {
                assert!(claim.pod_uid.is_none() && claim.node.is_none(), "{} is reserved and has a pod", entry.addr);
            }
            assert!(!claim.any_pod || matches!(claim.state, State::Reserved | State::Quarantined), "{}", entry.addr);
        }
    }
}
