//! What people and metrics ask: addresses, pages of them, counters, waiting pods.

use super::Ledger;
use super::entry::{Claim, Entry, OUTSIDE, Slot};
use super::ids::{Model, Time, Uid};
use super::pod_name::PodName;
use super::record::State;
use super::verdict::{AddressInfo, OwnerQuery, PodRef, Refusal, Stats};
use super::view::Phase;
use crate::addr::Addr;
use crate::key::BARE_APP;
use crate::policy::ReleasePolicy;
use crate::range::IpRange;

impl Ledger {
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

    /// What is known of these addresses; one that nobody has is left out.
    pub fn describe_all(&self, addrs: &[Addr]) -> Vec<AddressInfo> {
        let owned = addrs.iter().filter_map(|&addr| self.table.get(addr)).filter(|entry| entry.claim.is_some());
        owned.map(|entry| self.describe(entry)).collect()
    }

    /// Addresses, in no order, among which are all whose owner is as asked; none if nothing is asked.
    pub fn addresses_of(&self, owner: &OwnerQuery<'_>) -> Option<Vec<Addr>> {
        let addr = |slot: Slot| self.table.at(slot).addr;
        if let Some(pool) = owner.pool {
            let slots = self.names.find(pool).into_iter().flat_map(|sym| self.table.slots_of_pool(sym));
            return Some(slots.chain(self.table.ownerless()).map(addr).collect());
        }
        if *owner == OwnerQuery::default() {
            return None;
        }
        let is = |wanted: Option<&str>, known: &str| wanted.is_none_or(|wanted| wanted == known);
        let mut found: Vec<Slot> = self.table.ownerless().collect();
        for (ix, workload) in self.workloads.iter() {
            let id = &workload.id;
            let bare = id.model() == Model::Bare;
            if !is(owner.namespace, &id.namespace) || !is(owner.app, if bare { BARE_APP } else { &id.name }) {
                continue;
            }
            match owner.pod {
                Some(pod) => found.extend(self.table.slots_named(ix, &PodName::new(Some(&id.name), pod))),
                None => found.extend(self.table.slots_of_workload(ix)),
            }
        }
        Some(found.into_iter().map(addr).collect())
    }

    /// `take` of all addresses that may be handed out or have an owner after the first `skip`, ascending, and how many
    /// there are in all. It costs by the range, not by the address.
    pub fn page(&self, skip: u128, take: usize) -> (u128, Vec<AddressInfo>) {
        let withheld = self.annotated.disputed().filter(|&addr| self.table.slot(addr).is_none());
        let mut strays: Vec<Addr> = withheld.filter(|&addr| !self.space.topology.is_usable(addr)).collect();
        strays.extend(self.table.strays().map(|entry| entry.addr));
        strays.sort_unstable();
        let total = self.space.usable_total().saturating_add(strays.len() as u128);

        let (mut page, mut skip) = (Vec::new(), skip);
        let mut strays = strays.into_iter().map(IpRange::single).peekable();
        let mut ranges = self.space.usable().iter().copied().peekable();
        while page.len() < take {
            let stray_first = match (strays.peek(), ranges.peek()) {
                (None, None) => break,
                (Some(stray), Some(range)) => stray.first() < range.first(),
                (stray, _) => stray.is_some(),
            };
            let Some(range) = (if stray_first { strays.next() } else { ranges.next() }) else { break };
            if skip >= range.len() {
                skip -= range.len();
                continue;
            }
            let first = Addr::from_bits(range.family(), range.first().bits() + skip);
            skip = 0;
            let rest = first.and_then(|first| IpRange::new(first, range.last()));
            let room = take - page.len();
            page.extend(rest.into_iter().flat_map(|rest| rest.addrs()).take(room).filter_map(|addr| self.info(addr)));
        }
        (total, page)
    }

    fn describe_free(&self, addr: Addr) -> AddressInfo {
        AddressInfo {
            addr,
            state: None,
            orphaned: false,
            disputed: self.annotated.is_disputed(addr),
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

    /// Counters for metrics.
    pub fn stats(&self) -> Stats {
        let pools = self.space.topology.pools().iter();
        let mut waiting = std::collections::BTreeMap::new();
        for refused in self.waiting.iter().filter_map(|uid| self.pods.get(uid)?.refused.as_ref()) {
            *waiting.entry(refused.refusal.reason).or_insert(0) += 1;
        }
        Stats {
            pools: pools.map(|pool| (self.table.count_in_net(pool.index.0), pool.usable.len())).collect(),
            holds: self.holds,
            waiting: waiting.into_iter().collect(),
            states: self.table.states(),
            orphaned: self.table.count_in_net(OUTSIDE) as usize,
            disputed: self.annotated.disputed().len(),
            pending: self.table.pending().len(),
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
