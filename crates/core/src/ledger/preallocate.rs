//! Named pools: their numbers, and pre-allocation.

use super::Ledger;
use super::entry::{Claim, Keeper};
use super::ids::{Str, Time};
use super::record::State;
use super::verdict::PoolStatus;
use crate::policy::ReleasePolicy;

impl Ledger {
    /// A named pool.
    pub fn pool_status(&self, name: &str) -> PoolStatus {
        let counts = self.names.find(name).map(|sym| self.table.counts_of_pool(sym)).unwrap_or_default();
        let all = self.pools.by_name.get(name);
        let settling = self.names.find(name).is_some_and(|sym| self.is_settling(Keeper::Pool(sym), counts.kept));
        PoolStatus {
            object: self.pools.effective(name).cloned(),
            rejected: all.map(|all| all[1..].to_vec()).unwrap_or_default(),
            used: counts.bound,
            reserved: counts.kept,
            shortfall: self.shortfall.get(name).copied().unwrap_or(0),
            settling,
        }
    }

    /// Whether any of the `kept` addresses of a keeper is not written yet.
    fn is_settling(&self, keeper: Keeper, kept: u32) -> bool {
        let pending = self.table.pending();
        if pending.len() < kept as usize {
            let of_keeper = |slot| self.table.keeper(slot).is_some_and(|(of, ..)| of == keeper);
            pending.iter().any(of_keeper)
        } else {
            self.table.all_kept(keeper).any(|slot| !self.table.at(slot).is_stored())
        }
    }

    /// Names of all pools that have an object or an address.
    pub fn pool_names(&self) -> Vec<Str> {
        let mut names: Vec<Str> = self.pools.by_name.keys().cloned().collect();
        names.extend(self.table.pools().map(|sym| self.names.get(sym).clone()));
        names.sort();
        names.dedup();
        names
    }

    pub(super) fn fill_pools(&mut self, now: Time) {
        for name in self.pools.by_name.keys().cloned().collect::<Vec<_>>() {
            self.fill_pool(now, &name);
        }
    }

    /// Pre-allocates what a Pool asks for and does not have, one topology pool after the other.
    pub(super) fn fill_pool(&mut self, now: Time, name: &Str) {
        if !self.active || !self.synced {
            return;
        }
        let sym = self.names.intern(name);
        let wanted =
            self.pools.effective(name).filter(|pool| pool.pre_allocate).and_then(|pool| pool.size).unwrap_or(0);
        let mut missing = wanted.saturating_sub(self.table.counts_of_pool(sym).total());
        let pools: Vec<_> = self.space.topology.pools().iter().map(|pool| pool.index).collect();
        while missing > 0 {
            let Some(addr) = self.space.pick(&pools) else { break };
            let slot = self.occupy(addr);
            let claim = Claim {
                state: State::Reserved,
                policy: ReleasePolicy::Never,
                spare: false,
                released: false,
                any_pod: true,
                workload: None,
                pool: Some(sym),
                node: None,
                pod_name: None,
                pod_uid: None,
                updated_at: now,
            };
            self.set_claim(now, slot, Some(claim));
            missing -= 1;
        }
        let before = if missing > 0 {
            self.shortfall.insert(name.clone(), missing).unwrap_or(0)
        } else {
            self.shortfall.remove(name).unwrap_or(0)
        };
        if before != missing {
            self.pool_changed(name);
        }
    }
}
