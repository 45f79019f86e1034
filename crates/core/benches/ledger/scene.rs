//! A cluster to measure in: 5,000 nodes in 20 subnets, as many pools, and every second address taken, so that no two free
//! addresses are neighbours: the worst case for sets kept as runs.

use std::net::{IpAddr, Ipv4Addr};

use galaxy_core::ledger::*;
use galaxy_core::topology::{PoolConfig, Topology};
use galaxy_core::{Addr, IpRange, ReleasePolicy};

pub(crate) const NODES: usize = 5_000;
pub(crate) const POOLS: usize = 20;
const NAMESPACE: &str = "shop";
/// A Deployment that has addresses reserved, and its ReplicaSet.
const KEEPER: &str = "checkout";
const KEEPER_SET: &str = "checkout-7d9f8b6c54";

pub(crate) struct Scene {
    pub(crate) ledger: Ledger,
    pub(crate) now: Time,
    pub(crate) nodes: Vec<String>,
    /// The pod at hand.
    pub(crate) pod: PodView,
    keeper: Controller,
    size: usize,
    serial: u64,
}

/// A uid as the API server gives out: a UUID of version 4 with its bits spread as random ones are.
pub(crate) fn uid(serial: u64) -> Uid {
    let high = serial.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let low = high.rotate_left(29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let (a, b, c) = (high >> 32, (high >> 16) & 0xffff, high & 0xfff);
    Uid::from(format!("{a:08x}-{b:04x}-4{c:03x}-{:04x}-{:012x}", low >> 48, low & 0xffff_ffff_ffff))
}

/// Address `at` of a pool.
pub(crate) fn address(pool: usize, at: usize) -> Addr {
    Addr::from(IpAddr::from(Ipv4Addr::from_bits((10 << 24) + ((pool as u32) << 16) + 2 + at as u32)))
}

/// `size` addresses in all, in ranges of one piece for each pool.
pub(crate) fn topology(size: usize) -> Topology {
    let pools = (0..POOLS).map(|pool| {
        let gateway = Ipv4Addr::new(10, pool as u8, 255, 254);
        PoolConfig {
            node_subnets: vec![format!("172.{}.0.0/16", 16 + pool).parse().expect("a subnet")],
            ranges: vec![IpRange::new(address(pool, 0), address(pool, size / POOLS - 1)).expect("ascending")],
            subnet: format!("10.{pool}.0.0/16").parse().expect("a subnet"),
            gateway: gateway.into(),
            vlan: 0,
        }
    });
    Topology::build(pools.collect()).expect("a valid configuration").0
}

/// What the API holds about an address of a Deployment of ten pods.
pub(crate) fn record(addr: Addr, serial: u64) -> Stored {
    let name = format!("service-{:05}", serial / 10);
    Stored {
        object: ObjectRef { uid: uid(serial << 1), version: serial + 1 },
        record: Record {
            addr,
            state: State::Bound,
            pod_name: Some(format!("{name}-7d9f8b6c54-{:05x}", serial & 0xf_ffff).into()),
            workload: Some(WorkloadId::deployment(NAMESPACE, &name)),
            workload_uid: None,
            pod_uid: Some(uid(serial << 1 | 1)),
            pool: None,
            node: Some(format!("node-{:04}", serial as usize % NODES).as_str().into()),
            policy: ReleasePolicy::Immutable,
            spare: false,
            released_at: None,
            updated_at: Time(1_700_000_000_000_000),
            key: None,
        },
    }
}

/// An address that is reserved for any pod of the Deployment.
pub(crate) fn reserved(addr: Addr, serial: u64) -> Stored {
    let Stored { object, record } = record(addr, serial);
    let released_at = Some(Time(record.updated_at.0 + serial as i64));
    let workload = Some(WorkloadId::deployment(NAMESPACE, KEEPER));
    let record = Record { state: State::Reserved, workload, pod_name: None, pod_uid: None, released_at, ..record };
    Stored { object, record }
}

/// Every second address; of these every tenth is reserved for one Deployment.
pub(crate) fn half(size: usize) -> Vec<Stored> {
    let taken = (0..POOLS).flat_map(|pool| (0..size / POOLS).step_by(2).map(move |at| address(pool, at)));
    let serials = 0..;
    taken.zip(serials).map(|(a, n)| if n % 10 == 0 { reserved(a, n) } else { record(a, n) }).collect()
}

impl Scene {
    pub(crate) fn new(size: usize) -> Self {
        Scene::with(size, NODES, half(size), size as u32)
    }

    /// `size` addresses, these records, and a Deployment of so many replicas that has addresses reserved, if they say so.
    pub(crate) fn with(size: usize, nodes: usize, records: Vec<Stored>, replicas: u32) -> Self {
        let mut ledger = Ledger::new(Settings::default());
        let now = Time(1_800_000_000_000_000);
        ledger.configure(now, topology(size));
        let nodes: Vec<String> = (0..nodes).map(|n| format!("node-{n:04}")).collect();
        for (n, name) in nodes.iter().enumerate() {
            let ip = Ipv4Addr::new(172, (16 + n % POOLS) as u8, (n / POOLS / 250) as u8, (n / POOLS % 250 + 1) as u8);
            let view =
                NodeView { name: name.as_str().into(), ips: vec![ip.into()], ready: true, out_of_service: false };
            ledger.node_observed(now, view);
        }
        ledger.load(now, records);
        let keeper = keeper(&mut ledger, now, 1, replicas);
        ledger.loaded(now);
        ledger.set_active(now, true);
        assert!(ledger.drain().writes.is_empty(), "what was loaded is as it shall be");
        let pod = pod(0, None);
        Scene { ledger, now, nodes, pod, keeper, size, serial: 1 << 40 }
    }

    /// The nodes as a filter request names them.
    pub(crate) fn offers(nodes: &[String]) -> Vec<Offer<'_>> {
        nodes.iter().map(|name| Offer { name, ips: None }).collect()
    }

    /// Ends what the last round left, and its reuse delay; then a new pod without a controller is at hand.
    pub(crate) fn next(&mut self) {
        self.ledger.pod_gone(self.now, &self.pod.uid.clone());
        self.settle();
        self.now = self.now.plus_secs(61);
        self.ledger.tick(self.now);
        self.settle();
        self.serial += 1;
        self.pod = pod(self.serial, None);
    }

    /// Has the Deployment with reservations have so many replicas.
    pub(crate) fn scale(&mut self, replicas: u32) {
        self.serial += 1;
        keeper(&mut self.ledger, self.now, self.serial, replicas);
    }

    /// New pods, of the Deployment with reservations or of no controller.
    pub(crate) fn pods(&mut self, count: usize, of_keeper: bool) -> Vec<PodView> {
        let serials = self.serial + 1..;
        self.serial += count as u64;
        serials.take(count).map(|serial| pod(serial, of_keeper.then(|| self.keeper.clone()))).collect()
    }

    /// Has the pod at hand be one of the Deployment with reservations.
    pub(crate) fn of_keeper(&mut self) {
        self.pod = pod(self.serial, Some(self.keeper.clone()));
    }

    /// Has the pod at hand ask for one address of each list.
    pub(crate) fn lists(&mut self, lists: Vec<Vec<IpRange>>) {
        self.pod.ranges = Ok(lists);
    }

    /// Three lists that share a pool.
    pub(crate) fn three_lists(&self) -> Vec<Vec<IpRange>> {
        let (pool, size) = (POOLS / 2, self.size / POOLS);
        let part = |n: usize| IpRange::new(address(pool, n * size / 4), address(pool, size - 1)).expect("ascending");
        (0..3).map(|n| vec![part(n)]).collect()
    }

    /// Ranges of one taken address each, the last one free.
    pub(crate) fn many_ranges(&self, count: usize) -> Vec<IpRange> {
        let size = self.size / POOLS;
        let taken = (0..count).map(|n| address(n % POOLS, n / POOLS * 2 % size));
        taken.chain([address(POOLS - 1, size - 1)]).map(IpRange::single).collect()
    }

    pub(crate) fn filter(&mut self) {
        let filtered = self.ledger.filter(self.now, &self.pod, &Self::offers(&self.nodes));
        assert!(matches!(&filtered, Filtered::Nodes { verdicts, .. } if verdicts.contains(&None)), "{filtered:?}");
    }

    /// Starts a bind to a node that can serve it.
    pub(crate) fn bind(&mut self) {
        let PodView { namespace, name, uid, .. } = &self.pod;
        let pod = PodRef { namespace: namespace.clone(), name: name.clone(), uid: uid.clone() };
        let step = self.ledger.bind(self.now, &pod, &self.nodes[POOLS / 2]);
        assert!(!matches!(step, BindStep::Refused(_)), "{step:?}");
    }

    /// Has a bind that was started come to its end.
    pub(crate) fn bound(&mut self) {
        self.settle();
        let step = self.ledger.bind_poll(self.now, &self.pod.uid, &self.nodes[POOLS / 2]);
        assert!(matches!(step, BindStep::Bind { .. }), "{step:?}");
        self.ledger.binding_done(self.now, &self.pod.uid, BindingOutcome::Bound);
        self.pod.node = Some(self.nodes[POOLS / 2].as_str().into());
        self.pod.version += 1;
        self.ledger.pod_observed(self.now, self.pod.clone());
        self.settle();
    }

    /// Carries out every write at once.
    pub(crate) fn settle(&mut self) {
        loop {
            let writes = self.ledger.drain().writes;
            if writes.is_empty() {
                return;
            }
            for write in writes {
                self.serial += 1;
                let outcome = match write.op {
                    Op::Create(_) => Outcome::Stored(ObjectRef { uid: uid(self.serial), version: self.serial }),
                    Op::Update(object, _) => Outcome::Stored(ObjectRef { version: self.serial, ..object }),
                    Op::Delete(_) => Outcome::Gone,
                    Op::Read => Outcome::Read(None),
                    Op::Assign(_) | Op::Unassign(_) => Outcome::CloudDone,
                };
                self.ledger.outcome(self.now, write.addr, write.ticket, outcome);
            }
        }
    }
}

/// Tells of the Deployment with reservations; the controller of its pods.
fn keeper(ledger: &mut Ledger, now: Time, version: u64, replicas: u32) -> Controller {
    let id = WorkloadId::deployment(NAMESPACE, KEEPER);
    let controller = |kind: &str, name: &str, uid: &Uid| Controller {
        group: APPS.into(),
        kind: kind.into(),
        name: name.into(),
        uid: uid.clone(),
    };
    let (deployment, set) = (uid(u64::MAX), uid(u64::MAX - 1));
    ledger.workload_observed(
        now,
        WorkloadView {
            id,
            uid: deployment.clone(),
            version,
            replicas: Some(replicas),
            ordinal_start: 0,
            surges_first: false,
            max_surge: 0,
            spare_addresses: None,
            replace_on_node_failure: false,
        },
    );
    ledger.replica_set_observed(
        now,
        ReplicaSetView {
            uid: set.clone(),
            namespace: NAMESPACE.into(),
            name: KEEPER_SET.into(),
            version,
            controller: Some(controller("Deployment", KEEPER, &deployment)),
            replicas,
            revision: Some(1),
        },
    );
    controller("ReplicaSet", KEEPER_SET, &set)
}

fn pod(serial: u64, controller: Option<Controller>) -> PodView {
    let policy = if controller.is_some() { ReleasePolicy::Immutable } else { ReleasePolicy::Default };
    PodView {
        uid: uid(serial),
        namespace: NAMESPACE.into(),
        name: format!("{KEEPER_SET}-{:05x}", serial & 0xf_ffff).as_str().into(),
        version: 1,
        created: Time(1_800_000_000_000_000),
        policy,
        pool: None,
        ranges: Ok(Vec::new()),
        controller,
        node: None,
        phase: Phase::Pending,
        deletion_deadline: None,
        priority: 0,
        unschedulable: None,
        refused_by_us: false,
        ips: Vec::new(),
        annotated: Vec::new(),
        condition: None,
    }
}
