//! Takes steps: a world in which everything is late, lost or repeated.

use std::collections::{BTreeMap, BTreeSet};

use galaxy_core::ReleasePolicy;
use galaxy_core::ledger::*;
use galaxy_core::topology::PoolConfig;
use galaxy_core::{Addr, IpRange};

use crate::oracle::Watermarks;
use crate::steps::{Start, Step};
use crate::world::*;

/// A workload whose pods are numbered.
#[derive(Clone, Debug)]
pub(crate) struct Numbered {
    pub(crate) id: WorkloadId,
    pub(crate) policy: ReleasePolicy,
    pub(crate) pool: Option<String>,
    pub(crate) lists: Vec<Vec<String>>,
}

/// A Binding that was sent and not answered.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) uid: Uid,
    pub(crate) node: Str,
    pub(crate) grants: Vec<Grant>,
}

pub(crate) struct Sim {
    pub(crate) w: World,
    pub(crate) numbered: Vec<Numbered>,
    /// Binds under way, as their handlers see them.
    pub(crate) binds: BTreeMap<Uid, Str>,
    /// Bindings on their way to the API.
    pub(crate) bindings: Vec<Sent>,
    /// Bindings that nobody waits for any more and that may still land.
    pub(crate) stray_bindings: Vec<Sent>,
    /// Operations that nobody waits for any more and that may still land.
    pub(crate) strays: Vec<(Addr, Op)>,
    /// Pods that sleep for another reason than an address.
    pub(crate) starved: BTreeSet<Uid>,
    /// The nodes that were offered for pods that were refused.
    pub(crate) offered: BTreeMap<Uid, Vec<Str>>,
    pub(crate) past: Vec<Event>,
    pub(crate) leads: bool,
    pub(crate) stable: bool,
    pub(crate) marks: Watermarks,
    /// Addresses on which a person laid hands in this step.
    pub(crate) meddled: BTreeSet<Addr>,
    /// Whether this step may bind a pod.
    pub(crate) binds_now: bool,
    pub(crate) sets_deleted: u64,
}

pub(crate) const NODES: [(&str, &str); 4] =
    [("a1", "10.1.0.1"), ("a2", "10.1.0.2"), ("b1", "10.1.1.1"), ("c1", "10.1.2.1")];

/// Range lists that the numbered workloads and bare pods ask for.
pub(crate) fn lists(choice: u8) -> Vec<Vec<String>> {
    let lists: &[&[&str]] = match choice {
        0 => &[&["10.0.0.2~10.0.0.5"], &["10.0.2.2~10.0.2.5"]],
        1 => &[&["10.0.0.3~10.0.0.4", "10.0.1.2~10.0.1.3"]],
        2 => &[&["10.0.2.2~10.0.2.3"], &["10.0.2.2"]],
        _ => &[],
    };
    lists.iter().map(|list| list.iter().map(|&range| range.to_owned()).collect()).collect()
}

/// Configurations: the usual, and ones that lose, gain or move addresses.
pub(crate) fn config(choice: u8) -> Vec<PoolConfig> {
    let mut racks = racks();
    match choice % 5 {
        1 => {
            racks.remove(1);
        }
        2 => racks[0].ranges = vec!["10.0.0.4~10.0.0.5".parse::<IpRange>().expect("a range")],
        3 => racks[2].ranges = vec!["10.0.2.2~10.0.2.7".parse::<IpRange>().expect("a range")],
        4 => racks[1].node_subnets = vec!["10.1.2.0/24".parse().expect("a subnet")],
        _ => {}
    }
    racks
}

pub(crate) fn strategy(choice: u8) -> (Strategy, Option<u32>) {
    match choice % 6 {
        0 => (Strategy::Recreate, None),
        1 => (Strategy::Pods(1, 1), None),
        2 => (Strategy::Pods(2, 0), Some(2)),
        3 => (Strategy::Pods(1, 0), Some(0)),
        _ => (Strategy::Percent(25, 25), None),
    }
}

pub(crate) fn pick<T: Clone>(items: &[T], n: u8) -> Option<T> {
    (!items.is_empty()).then(|| items[usize::from(n) % items.len()].clone())
}

impl Sim {
    pub(crate) fn new(start: &Start) -> Self {
        let mut w = World::with(Settings { cloud: start.cloud, ..Settings::default() }, racks());
        if let Some((size, pre_allocate)) = start.pool {
            w.named_pool("blue", size, pre_allocate);
        }
        for (name, &(policy, replicas, choice, pooled)) in ["web", "api"].iter().zip(&start.deployments) {
            w.deployment_with(name, replicas, policy, |deploy| {
                (deploy.strategy, deploy.spare_addresses) = strategy(choice);
                deploy.pool = pooled.then(|| "blue".to_owned());
            });
        }
        let mut numbered = Vec::new();
        for (name, &(policy, replicas, pooled, choice)) in ["cart", "data", "demo"].iter().zip(&start.numbered) {
            let id = if *name == "demo" { w.tapp(name, replicas).id } else { w.stateful_set(name, replicas).id };
            numbered.push(Numbered {
                id,
                policy: if pooled { ReleasePolicy::Never } else { policy },
                pool: pooled.then(|| "blue".to_owned()),
                lists: lists(choice),
            });
        }
        w.settles = false;
        let mut sim = Sim {
            w,
            numbered,
            binds: BTreeMap::new(),
            bindings: Vec::new(),
            stray_bindings: Vec::new(),
            strays: Vec::new(),
            starved: BTreeSet::new(),
            offered: BTreeMap::new(),
            past: Vec::new(),
            leads: true,
            stable: start.stable,
            marks: Watermarks::default(),
            meddled: BTreeSet::new(),
            binds_now: false,
            sets_deleted: 0,
        };
        sim.check();
        sim
    }

    /// Takes one step and checks everything.
    pub(crate) fn take(&mut self, step: &Step) {
        self.meddled.clear();
        self.binds_now = matches!(step, Step::Schedule(..) | Step::ScheduleOn(..) | Step::Poll(_) | Step::Join(..));
        match *step {
            Step::Controllers => self.controllers(),
            Step::Roll(n) => self.change_deployment(n, |deploy| deploy.template += 1),
            Step::Replicas(n, to) => self.scale(n, u32::from(to) % 4),
            Step::Strategy(n, to) => {
                self.change_deployment(n, |deploy| (deploy.strategy, deploy.spare_addresses) = strategy(to));
            }
            Step::Redeploy(n) => self.redeploy(n),
            Step::Renumber(n) => self.renumber(n),
            Step::Bare(n) => self.bare(n),
            Step::Delete(n) => self.with_pod(n, |w, uid| w.start_deletion(uid)),
            Step::ForceDelete(n) => self.with_pod(n, |w, uid| w.api.remove_pod(uid)),
            Step::Finish(n) => self.finish(n),
            Step::Kubelet(n) => self.kubelet(n),
            Step::Node(n, turn) => self.node(n, turn),
            Step::Pool(to) => self.pool(to),
            Step::Schedule(pod, node, at_once) => self.schedule(pod, node, at_once, None),
            Step::ScheduleOn(pod, nodes) => self.schedule(pod, nodes, true, Some(nodes)),
            Step::GiveUp(n) => self.give_up(n),
            Step::Poll(n) => self.poll(n),
            Step::Join(n, node) => self.join(n, node),
            Step::Binding(n, fate) => self.binding(n, fate),
            Step::LandBinding(n) => self.land_binding(n),
            Step::Op(n, fate) => self.op(n, fate),
            Step::LandOp(n) => self.land_op(n),
            Step::Deliver(n) => self.deliver_one(n),
            Step::DeliverAll => self.deliver_all(),
            Step::Replay(n) => self.replay(n),
            Step::Relist => self.relist(),
            Step::Prove => self.prove(),
            Step::Label(n) => self.label(n, true),
            Step::Unlabel(n) => self.label(n, false),
            Step::Reserve(n) => self.reserve(n),
            Step::DeleteObject(n) => self.delete_object(n),
            Step::TouchObject(n) => {
                if let Some(addr) = pick(&self.w.api.addresses(), n) {
                    self.w.api.edit(addr, |_| {});
                }
            }
            Step::Release(n) => self.release(n),
            Step::Configure(n) if !self.stable => {
                let config = config(n);
                self.w.configure(config);
            }
            Step::Configure(_) => {}
            Step::Pass(n) => self.pass(n),
            Step::Sweep => {
                let doubts = self.w.call(|ledger, now| ledger.sweep(now));
                self.w.proofs.extend(doubts);
            }
            Step::Crash(n) => self.crash(n),
            Step::Resign => {
                self.w.call(|ledger, now| ledger.set_active(now, false));
                self.leads = false;
            }
            Step::Lead => self.lead(),
        }
        self.check();
    }

    pub(crate) fn pods(&self) -> Vec<Uid> {
        self.w.api.pods.keys().cloned().collect()
    }

    pub(crate) fn with_pod(&mut self, n: u8, act: impl FnOnce(&mut World, &Uid)) {
        if let Some(uid) = pick(&self.pods(), n) {
            act(&mut self.w, &uid);
        }
    }

    pub(crate) fn controllers(&mut self) {
        for index in 0..self.w.deployments.len() {
            self.w.reconcile_deployment(index);
            self.w.reconcile_sets(index);
        }
        for numbered in self.numbered.clone() {
            self.number(&numbered);
        }
    }
}

impl Sim {
    /// Shows objects, claims, pods and what is under way.
    pub(crate) fn print(&self) {
        for info in self.infos() {
            let object = self.w.api.raw(info.addr).map(|record| (record.state, record.pod_uid.clone()));
            let (state, pod, node) = (info.state, &info.pod_name, &info.node);
            println!(
                "    {} {state:?} {pod:?} {:?} {node:?} spare {} object {object:?}",
                info.addr, info.pod_uid, info.spare
            );
        }
        for pod in self.w.api.pods.values() {
            let (gone, asleep) = (pod.deletion_deadline.is_some(), self.w.asleep.contains(&pod.uid));
            println!(
                "    pod {} {} {:?} {:?} {:?} deleting {gone} asleep {asleep}",
                pod.name, pod.uid, pod.node, pod.phase, pod.annotated
            );
        }
        for op in &self.w.ops {
            println!("    op {} {:?}", op.addr, op.op);
        }
        println!("    {} events, {} bindings, strays {:?}", self.w.api.events.len(), self.bindings.len(), self.strays);
    }
}
