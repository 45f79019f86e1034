//! Why a pod has this address: read off the FloatingIP objects before and after.

use std::net::IpAddr;

use galaxy_api::floatingip::State;
use galaxy_core::ReleasePolicy;

use super::snapshot::{Address, PodState, Snapshot};

/// What a table is about.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    /// Values of the label `app`, which are names of workloads too.
    pub(super) apps: Vec<&'static str>,
    /// Pools.
    pub(super) pools: Vec<&'static str>,
}

/// One line of a table: pod, node, address, reason.
pub(super) type Row = [String; 4];

/// Nothing to say in this column.
pub(super) const NONE: &str = "–";
/// The longest excerpt of a message in a table.
const EXCERPT: usize = 66;

/// The table of everything in scope: pods, then addresses without a pod, then addresses that were freed.
pub(super) fn rows(before: &Snapshot, now: &Snapshot, scope: &Scope) -> Vec<Row> {
    let mut rows = Vec::new();
    for pod in now.pods.iter().filter(|pod| scope.apps.contains(&pod.app.as_str())) {
        let name = if pod.going { format!("{} (terminating)", pod.name) } else { pod.name.clone() };
        let node = pod.node.as_deref().map_or(NONE.to_owned(), |node| match now.dead.contains(node) {
            true => format!("{node} (dead)"),
            false => node.to_owned(),
        });
        if pod.ips.is_empty() {
            let why = pod
                .waits
                .as_deref()
                .map_or("waits for the scheduler".to_owned(), |why| format!("waits: {}", excerpt(why)));
            rows.push([name, node, NONE.to_owned(), why]);
            continue;
        }
        for (place, ip) in pod.ips.iter().enumerate() {
            let (name, node) = if place == 0 { (name.clone(), node.clone()) } else { Default::default() };
            rows.push([name, node, ip.to_string(), because(before, now, pod, place, *ip)]);
        }
    }
    let in_scope = |address: &&Address| {
        let owner = address.owner.as_ref().is_some_and(|owner| scope.apps.contains(&owner.name.as_str()));
        owner || address.pool.as_deref().is_some_and(|pool| scope.pools.contains(&pool))
    };
    let nobody = |ip: &IpAddr, why: String| [NONE.to_owned(), NONE.to_owned(), ip.to_string(), why];
    for (ip, address) in now.addresses.iter().filter(|(_, address)| in_scope(address)) {
        if address.state != State::Bound {
            rows.push(nobody(ip, kept(address)));
        }
    }
    for (ip, was) in before.addresses.iter().filter(|(_, address)| in_scope(address)) {
        if !now.addresses.contains_key(ip) {
            rows.push(nobody(ip, format!("freed, was {}", whose(was))));
        }
    }
    rows
}

/// Why `pod` has `ip`, its address number `place`.
fn because(before: &Snapshot, now: &Snapshot, pod: &PodState, place: usize, ip: IpAddr) -> String {
    let Some(is) = now.addresses.get(&ip) else { return "NOBODY KNOWS: no FloatingIP object".to_owned() };
    if is.pod.as_ref().is_none_or(|owner| owner.uid != pod.uid) {
        return format!("DISPUTED: the object says {}", whose(is));
    }
    let policy = match is.policy {
        ReleasePolicy::Default => String::new(),
        policy => format!(" ({policy})"),
    };
    let Some(was) = before.addresses.get(&ip) else {
        let range = pod.ranges.get(place).and_then(|list| list.first());
        return match range {
            Some(range) => format!("fresh, from {range}"),
            None if is.spare => "fresh: one more than replicas, for the rollout".to_owned(),
            None => "fresh".to_owned(),
        };
    };
    let same_owner = was.owner.as_ref().map(|owner| (&owner.kind, &owner.name))
        == is.owner.as_ref().map(|owner| (&owner.kind, &owner.name));
    match (&was.pod, &was.pool) {
        (Some(old), _) if old.uid == pod.uid => "unchanged".to_owned(),
        (Some(old), _) if same_owner && old.name == pod.name => match (&was.node, &pod.node) {
            (Some(from), Some(to)) if from != to => format!("kept its IP{policy}, moved from {from}"),
            _ => format!("kept its IP{policy}"),
        },
        (Some(old), Some(pool)) if is.pool == was.pool => format!("from pool {pool}, was {}'s", old.name),
        (None, Some(pool)) if is.pool == was.pool => format!("reserved in pool {pool}"),
        (Some(old), _) if same_owner => format!("kept by its workload{policy}, was {}'s", old.name),
        (None, _) if same_owner && is_newest(before, now, was, is) => {
            format!("newest reserved of {}{policy}", whose(was))
        }
        (None, _) if same_owner => format!("reserved for {}{policy}", whose(was)),
        _ => format!("freed by {}, taken anew", whose(was)),
    }
}

/// Whether every address that was reserved for the same workload more recently had been taken before this one.
fn is_newest(before: &Snapshot, now: &Snapshot, was: &Address, is: &Address) -> bool {
    let newer = before
        .addresses
        .iter()
        .filter(|(_, other)| other.state == State::Reserved && other.owner == was.owner && other.updated > was.updated);
    newer.into_iter().all(|(ip, _)| {
        now.addresses.get(ip).is_none_or(|other| other.state == State::Bound && other.updated <= is.updated)
    })
}

/// Why an address without a pod is kept.
fn kept(address: &Address) -> String {
    match (address.state, &address.node) {
        (State::Quarantined, Some(node)) => format!("quarantined: its pod may still run on {node}"),
        (State::Held, _) => format!("about to go to {}", whose(address)),
        _ if address.spare => format!("spare of {}, for its next rollout", whose(address)),
        _ => format!("reserved for {} ({})", whose(address), address.policy),
    }
}

/// To whom an address belongs.
fn whose(address: &Address) -> String {
    match (&address.pod, &address.pool, &address.owner) {
        (Some(pod), _, _) => pod.name.clone(),
        (None, Some(pool), _) => format!("pool {pool}"),
        (None, None, Some(owner)) => format!("{} {}", owner.kind, owner.name),
        (None, None, None) => "an administrator".to_owned(),
    }
}

/// The beginning of a message, up to the end of a clause or a word.
fn excerpt(text: &str) -> String {
    let end = text.find([';', '\n']).unwrap_or(text.len());
    let clause = &text[..end];
    match clause.char_indices().nth(EXCERPT) {
        None => clause.to_owned(),
        Some((cut, _)) => {
            let cut = clause[..cut].rfind(' ').unwrap_or(cut);
            format!("{} …", &clause[..cut])
        }
    }
}

#[cfg(test)]
mod tests {
    use galaxy_api::floatingip::{OwnerReference, PodReference};

    use super::*;

    fn address(owner: &str, pod: Option<(&str, &str)>) -> Address {
        Address {
            state: if pod.is_some() { State::Bound } else { State::Reserved },
            policy: ReleasePolicy::Immutable,
            owner: Some(OwnerReference { kind: "Deployment".into(), name: owner.into(), ..OwnerReference::default() }),
            pod: pod.map(|(name, uid)| PodReference { name: name.into(), uid: uid.into() }),
            pool: None,
            node: Some("rack1-a".into()),
            spare: false,
            updated: None,
        }
    }

    fn pod(name: &str, uid: &str, ip: &str) -> PodState {
        PodState {
            name: name.into(),
            uid: uid.into(),
            app: "web".into(),
            node: Some("rack1-b".into()),
            ips: vec![ip.parse().unwrap()],
            ..PodState::default()
        }
    }

    fn world(pods: Vec<PodState>, addresses: &[(&str, Address)]) -> Snapshot {
        let addresses = addresses.iter().map(|(ip, address)| (ip.parse().unwrap(), address.clone())).collect();
        Snapshot { pods, addresses, ..Snapshot::default() }
    }

    /// The reason that the pod `web-2` with uid 2 is given for 10.0.0.2, which was `was` before.
    fn reason(was: Option<Address>, is: Address) -> String {
        let before: Vec<_> = was.into_iter().map(|was| ("10.0.0.2", was)).collect();
        let now = world(vec![pod("web-2", "2", "10.0.0.2")], &[("10.0.0.2", is)]);
        let scope = Scope { apps: vec!["web"], pools: vec![] };
        rows(&world(vec![], &before), &now, &scope).remove(0)[3].clone()
    }

    #[test]
    fn reasons_tell_what_the_objects_tell() {
        let mine = || address("web", Some(("web-2", "2")));
        let pooled = |address: Address| Address { pool: Some("blue".into()), policy: ReleasePolicy::Never, ..address };
        let cases = [
            (None, mine(), "fresh"),
            (Some(mine()), mine(), "unchanged"),
            (Some(address("web", Some(("web-2", "1")))), mine(), "kept its IP (immutable), moved from rack1-a"),
            (Some(address("web", Some(("web-1", "1")))), mine(), "kept by its workload (immutable), was web-1's"),
            (Some(address("web", None)), mine(), "newest reserved of Deployment web (immutable)"),
            (Some(address("api", None)), mine(), "freed by Deployment api, taken anew"),
            (Some(pooled(address("api", Some(("api-1", "1"))))), pooled(mine()), "from pool blue, was api-1's"),
            (Some(pooled(address("web", None))), pooled(mine()), "reserved in pool blue"),
            (None, address("web", Some(("web-2", "9"))), "DISPUTED: the object says web-2"),
        ];
        for (was, is, expected) in cases {
            assert_eq!(reason(was, is), expected);
        }
    }

    #[test]
    fn what_has_no_pod_is_listed_below() {
        let spare = Address { spare: true, ..address("web", None) };
        let before = world(vec![], &[("10.0.0.2", address("web", Some(("web-1", "1"))))]);
        let now = world(vec![], &[("10.0.0.3", spare), ("10.0.0.4", address("other", None))]);
        let scope = Scope { apps: vec!["web"], pools: vec![] };
        let rows: Vec<_> =
            rows(&before, &now, &scope).into_iter().map(|[_, _, ip, why]| format!("{ip} {why}")).collect();
        assert_eq!(rows, ["10.0.0.3 spare of Deployment web, for its next rollout", "10.0.0.2 freed, was web-1"]);
    }

    #[test]
    fn excerpts_end_with_a_clause_or_a_word() {
        assert_eq!(excerpt("no address is left; add some"), "no address is left");
        let long = "word ".repeat(40);
        let short = excerpt(&long);
        assert!(short.ends_with("word …") && short.chars().count() <= EXCERPT + 2, "{short}");
    }
}
