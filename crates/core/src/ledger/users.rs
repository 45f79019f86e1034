//! The HTTP API's requests and queries.

use super::Ledger;
use super::entry::{Claim, Entry};
use super::ids::{Str, Time, Uid};
use super::record::State;
use super::verdict::{AddressInfo, PodRef, PoolStatus, Refusal, ReleaseRequest, ReleaseStep, Stats};
use super::view::Phase;
use crate::addr::Addr;
use crate::policy::ReleasePolicy;
use crate::range::IpRange;

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

    /// One address; none if it is not configured and has no object.
    pub fn info(&self, addr: Addr) -> Option<AddressInfo> {
        match self.table.get(addr) {
            Some(entry) => Some(self.describe(entry)),
            None => self.space.topology.pool_of(addr).map(|_| self.describe_free(addr)),
        }
    }

    /// Every address with an owner, ascending.
    pub fn addresses(&self) -> impl Iterator<Item = AddressInfo> + '_ {
        self.addresses_from(Addr::V4_MIN)
    }

    /// Every address with an owner from `first` on, ascending. Taken piece by piece, the ledger is never held for long.
    pub fn addresses_from(&self, first: Addr) -> impl Iterator<Item = AddressInfo> + '_ {
        self.table.entries_from(first).filter(|entry| entry.claim.is_some()).map(|entry| self.describe(entry))
    }

    /// `take` of all configured or owned addresses after the first `skip`, ascending, and how many there are in all.
    pub fn page(&self, skip: u128, take: usize) -> (u128, Vec<AddressInfo>) {
        // Addresses nobody was given: usable ones without an entry, in runs; between them the entries.
        let mut runs: Vec<IpRange> = self.space.free_runs().collect();
        runs.extend(self.space.cooling().map(|(addr, _)| IpRange::single(addr)));
        runs.extend(self.disputed.keys().filter(|addr| self.table.slot(**addr).is_none()).map(|&a| IpRange::single(a)));
        runs.sort_unstable_by_key(IpRange::first);
        let total = runs.iter().map(IpRange::len).fold(self.table.len() as u128, u128::saturating_add);
        let (mut page, mut skip) = (Vec::new(), skip);
        let mut entries = self.table.entries_from(Addr::V4_MIN).peekable();
        let mut runs = runs.into_iter().peekable();
        while page.len() < take {
            let entry_first = match (entries.peek(), runs.peek()) {
                (None, None) => break,
                (Some(entry), Some(run)) => entry.addr < run.first(),
                (entry, _) => entry.is_some(),
            };
            if entry_first {
                let Some(entry) = entries.next() else { break };
                if skip > 0 {
                    skip -= 1;
                } else {
                    page.push(self.describe(entry));
                }
                continue;
            }
            let Some(run) = runs.next() else { break };
            if skip >= run.len() {
                skip -= run.len();
                continue;
            }
            let first = Addr::from_bits(run.family(), run.first().bits() + skip);
            skip = 0;
            let rest = first.and_then(|first| IpRange::new(first, run.last()));
            let room = take - page.len();
            page.extend(rest.into_iter().flat_map(|rest| rest.addrs()).take(room).map(|addr| self.describe_free(addr)));
        }
        (total, page)
    }

    fn describe_free(&self, addr: Addr) -> AddressInfo {
        AddressInfo {
            addr,
            state: None,
            orphaned: false,
            disputed: self.disputed.contains_key(&addr),
            workload: None,
            pod_name: None,
            pod_uid: None,
            pool: None,
            node: None,
            policy: ReleasePolicy::Default,
            spare: false,
            released_at: None,
            updated_at: None,
            key: None,
            phase: None,
        }
    }

    fn describe(&self, entry: &Entry) -> AddressInfo {
        let Some(claim) = &entry.claim else { return self.describe_free(entry.addr) };
        let record = self.record(entry.addr, claim);
        AddressInfo {
            addr: entry.addr,
            state: Some(if entry.labelled { State::Admin } else { claim.state }),
            orphaned: self.space.topology.pool_of(entry.addr).is_none(),
            disputed: false,
            phase: self.phase(claim, record.workload.as_ref().map(|id| &*id.namespace)),
            workload: record.workload,
            pod_name: record.pod_name,
            pod_uid: record.pod_uid,
            pool: record.pool,
            node: record.node,
            policy: record.policy,
            spare: record.spare,
            released_at: record.released_at,
            updated_at: Some(record.updated_at),
            key: record.key,
        }
    }

    fn phase(&self, claim: &Claim, namespace: Option<&str>) -> Option<Phase> {
        if let Some(uid) = &claim.pod_uid {
            return self.pods.get(uid).map(|pod| pod.view.phase);
        }
        let pod = self.pods.named(namespace?, &self.pod_name(claim)?)?;
        Some(pod.view.phase)
    }

    /// A named pool.
    pub fn pool_status(&self, name: &str) -> PoolStatus {
        let counts = self.names.find(name).map(|sym| self.table.counts_of_pool(sym)).unwrap_or_default();
        let all = self.pools.by_name.get(name);
        let settling = self
            .names
            .find(name)
            .is_some_and(|sym| self.table.all_kept_for_pool(sym).any(|slot| !self.table.at(slot).is_stored()));
        PoolStatus {
            object: self.pools.effective(name).cloned(),
            rejected: all.map(|all| all[1..].to_vec()).unwrap_or_default(),
            used: counts.bound,
            reserved: counts.kept,
            shortfall: self.shortfall.get(name).copied().unwrap_or(0),
            settling,
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

    /// Counters for metrics.
    pub fn stats(&self) -> Stats {
        let pools = self.space.topology.pools().iter();
        let mut waiting = std::collections::BTreeMap::new();
        for refused in self.waiting.iter().filter_map(|uid| self.pods.get(uid)?.refused.as_ref()) {
            *waiting.entry(refused.refusal.reason).or_insert(0) += 1;
        }
        let mut allocated = vec![0_u64; self.space.topology.pools().len()];
        let (mut orphaned, mut pending) = (0, 0);
        for (_, entry) in self.table.entries() {
            match allocated.get_mut(entry.net as usize) {
                Some(count) => *count += 1,
                None => orphaned += 1,
            }
            // What is the admin's is not written.
            pending += usize::from(!entry.is_stored() && entry.state() != Some(State::Admin));
        }
        Stats {
            pools: pools.zip(allocated).map(|(pool, count)| (count, pool.usable.len())).collect(),
            holds: self.pods.by_uid.values().filter(|pod| pod.hold.is_some()).count(),
            waiting: waiting.into_iter().collect(),
            states: self.table.states(),
            orphaned,
            disputed: self.disputed.len(),
            pending,
            generation: self.generation,
        }
    }

    /// Pods that wait for an address: why, and since when.
    pub fn waiting(&self) -> Vec<(PodRef, Refusal, Time)> {
        let pods = self.waiting.iter().filter_map(|uid| self.pods.get(uid));
        pods.filter_map(|pod| {
            let refused = pod.refused.as_ref()?;
            Some((pod.reference(), refused.refusal.clone(), refused.since))
        })
        .collect()
    }

    /// The uid under which a pod of this name is known.
    pub fn uid_of(&self, namespace: &str, name: &str) -> Option<Uid> {
        self.pods.named(namespace, name).map(|pod| pod.view.uid.clone())
    }
}
