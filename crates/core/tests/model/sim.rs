//! Takes steps: a world in which everything is late, lost or repeated.

use std::collections::{BTreeMap, BTreeSet};

use galaxy_core::ReleasePolicy;
use galaxy_core::ledger::*;
use galaxy_core::topology::PoolConfig;
use galaxy_core::{Addr, IpRange};

use crate::oracle::Watermarks;
use crate::steps::{Fate, Start, Step, Turn};
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
    sets_deleted: u64,
}

const NODES: [(&str, &str); 4] = [("a1", "10.1.0.1"), ("a2", "10.1.0.2"), ("b1", "10.1.1.1"), ("c1", "10.1.2.1")];

/// Range lists that the numbered workloads and bare pods ask for.
fn lists(choice: u8) -> Vec<Vec<String>> {
    let lists: &[&[&str]] = match choice {
        0 => &[&["10.0.0.2~10.0.0.5"], &["10.0.2.2~10.0.2.5"]],
        1 => &[&["10.0.0.3~10.0.0.4", "10.0.1.2~10.0.1.3"]],
        2 => &[&["10.0.2.2~10.0.2.3"], &["10.0.2.2"]],
        _ => &[],
    };
    lists.iter().map(|list| list.iter().map(|&range| range.to_owned()).collect()).collect()
}

/// Configurations: the usual, and ones that lose, gain or move addresses.
fn config(choice: u8) -> Vec<PoolConfig> {
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

fn strategy(choice: u8) -> (Strategy, Option<u32>) {
    match choice % 6 {
        0 => (Strategy::Recreate, None),
        1 => (Strategy::Pods(1, 1), None),
        2 => (Strategy::Pods(2, 0), Some(2)),
        3 => (Strategy::Pods(1, 0), Some(0)),
        _ => (Strategy::Percent(25, 25), None),
    }
}

fn pick<T: Clone>(items: &[T], n: u8) -> Option<T> {
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

    fn pods(&self) -> Vec<Uid> {
        self.w.api.pods.keys().cloned().collect()
    }

    fn with_pod(&mut self, n: u8, act: impl FnOnce(&mut World, &Uid)) {
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

    /// One turn of the controller of a numbered workload.
    fn number(&mut self, numbered: &Numbered) {
        let Some(view) = self.w.api.workloads.get(&numbered.id).cloned() else { return };
        let replicas = view.replicas.unwrap_or(0);
        for ordinal in 0..replicas {
            let name = format!("{}-{ordinal}", view.id.name);
            match self.w.api.pod_named(NS, &name) {
                None => {
                    let spec = PodSpec {
                        policy: numbered.policy,
                        pool: numbered.pool.clone(),
                        lists: numbered.lists.clone(),
                        priority: i32::try_from(ordinal % 2).unwrap_or(0),
                        ..PodSpec::of(&name, &view)
                    };
                    self.w.create_pod(&spec);
                }
                Some(pod) if pod.phase.is_finished() => self.w.start_deletion(&pod.uid),
                Some(_) => {}
            }
        }
        for uid in self.w.pods_of(&view.uid) {
            let name = self.w.api.pod(&uid).name.clone();
            let ordinal: u32 = name.rsplit('-').next().and_then(|text| text.parse().ok()).expect("a numbered pod");
            if ordinal >= replicas {
                self.w.start_deletion(&uid);
            }
        }
    }

    fn change_deployment(&mut self, n: u8, edit: impl FnOnce(&mut Deploy)) {
        let index = usize::from(n) % self.w.deployments.len();
        self.w.edit_deployment(index, edit);
    }

    fn scale(&mut self, n: u8, replicas: u32) {
        let which = usize::from(n) % (self.w.deployments.len() + self.numbered.len());
        if let Some(numbered) = self.numbered.get(which) {
            if self.w.api.workloads.contains_key(&numbered.id) {
                self.w.api.edit_workload(&numbered.id, |view| view.replicas = Some(replicas));
            }
        } else if !self.stable {
            self.w.edit_deployment(which - self.numbered.len(), |deploy| deploy.replicas = replicas);
        }
    }

    /// A Deployment is deleted and made again under its name.
    fn redeploy(&mut self, n: u8) {
        let index = usize::from(n) % self.w.deployments.len();
        let old = self.w.deployments[index].clone();
        self.sets_deleted += 1;
        self.w.delete_deployment(index);
        self.w.deployment_with(&old.id.name.clone(), old.replicas, old.policy, |deploy| {
            deploy.strategy = old.strategy;
            deploy.spare_addresses = old.spare_addresses;
            deploy.pool = old.pool;
            // Names of ReplicaSets and pods do not come back.
            deploy.template = 100 * self.sets_deleted;
        });
    }

    /// A numbered workload is deleted, with its pods, or made again.
    fn renumber(&mut self, n: u8) {
        let id = self.numbered[usize::from(n) % self.numbered.len()].id.clone();
        match self.w.api.workloads.get(&id).cloned() {
            Some(view) => {
                self.w.api.remove_workload(&id);
                for pod in self.w.pods_of(&view.uid) {
                    self.w.start_deletion(&pod);
                }
            }
            None => {
                let view = self.w.workload_view(id, u32::from(n) % 4);
                self.w.api.put_workload(view);
            }
        }
    }

    fn bare(&mut self, n: u8) {
        let name = format!("one-{}", n % 3);
        if self.w.api.pod_named(NS, &name).is_none() {
            let spec = PodSpec::bare(&name).policy(if n.is_multiple_of(2) {
                ReleasePolicy::Default
            } else {
                ReleasePolicy::Never
            });
            let spec = PodSpec { lists: lists(n / 3 % 8), ..spec };
            self.w.create_pod(&spec);
        }
    }

    fn finish(&mut self, n: u8) {
        self.with_pod(n, |w, uid| {
            if w.api.pod(uid).phase == Phase::Running {
                w.api.edit_pod(uid, |pod| pod.phase = Phase::Succeeded);
            }
        });
    }

    fn kubelet(&mut self, n: u8) {
        let ready = |w: &World, uid: &Uid| {
            let node = w.api.pod(uid).node.as_ref().and_then(|node| w.api.nodes.get(node));
            node.is_some_and(|node| node.ready)
        };
        let mut pods = self.pods();
        pods.retain(|uid| ready(&self.w, uid));
        let Some(uid) = pick(&pods, n) else { return };
        let pod = self.w.api.pod(&uid).clone();
        if pod.deletion_deadline.is_some() {
            self.w.api.remove_pod(&uid);
        } else if pod.phase == Phase::Pending && self.is_routed(&pod) {
            self.w.api.edit_pod(&uid, |pod| {
                pod.phase = Phase::Running;
                pod.ips = pod.annotated.clone();
            });
        }
    }

    /// Whether its node's network is there: no pod comes up without.
    fn is_routed(&self, pod: &PodView) -> bool {
        let to_node = |nodes: &BTreeSet<Str>| pod.node.as_ref().is_some_and(|node| nodes.contains(node));
        !self.w.settings.cloud
            || pod.annotated.iter().all(|&ip| self.w.api.cloud.get(&Addr::from(ip)).is_some_and(to_node))
    }

    fn node(&mut self, n: u8, turn: Turn) {
        let (name, address) = NODES[usize::from(n) % NODES.len()];
        let exists = self.w.api.nodes.contains_key(name);
        match turn {
            Turn::Back if !exists => self.w.api.put_node(node(name, address)),
            Turn::Gone if exists && n.is_multiple_of(3) => self.w.api.remove_node(name),
            Turn::NotReady if exists => self.w.api.edit_node(name, |node| node.ready = false),
            Turn::OutOfService if exists && !self.w.api.nodes[name].ready => {
                self.w.api.edit_node(name, |node| node.out_of_service = true);
            }
            Turn::Ready if exists => self.w.api.edit_node(name, |node| {
                node.ready = true;
                node.out_of_service = false;
            }),
            _ => {}
        }
    }

    fn pool(&mut self, to: Option<(Option<u32>, bool)>) {
        if self.stable {
            return;
        }
        match to {
            Some((size, pre_allocate)) => {
                self.w.named_pool("blue", size, pre_allocate);
            }
            None => {
                for uid in self.w.api.pools.keys().cloned().collect::<Vec<_>>() {
                    self.w.api.remove_pool(&uid);
                }
            }
        }
    }

    fn schedule(&mut self, pod: u8, choice: u8, at_once: bool, mask: Option<u8>) {
        let mut queue = self.w.queue();
        queue.retain(|uid| !self.binds.contains_key(uid) && !self.bindings.iter().any(|sent| &sent.uid == uid));
        let Some(uid) = pick(&queue, pod) else { return };
        let mut nodes = self.w.offers(&uid);
        if let Some(mask) = mask {
            let mut at = 0;
            nodes.retain(|_| {
                at += 1;
                mask & (1 << at) != 0
            });
        }
        if nodes.is_empty() {
            return;
        }
        match self.filter(&uid, &nodes) {
            Verdict::Pass(pass) => {
                let node = pick(&pass, choice).expect("a node passes");
                if at_once {
                    self.start_bind(&uid, &node, true);
                } else {
                    self.binds.insert(uid, node);
                }
            }
            Verdict::Refused(_) => {
                self.w.sleep(&uid);
                self.offered.insert(uid, nodes);
            }
            Verdict::NotNow(_) => {}
        }
    }

    /// Nodes came or changed: the scheduler tries those again for whom that means another offer.
    pub(crate) fn nodes_changed(&mut self) {
        for (uid, nodes) in std::mem::take(&mut self.offered) {
            if self.w.api.pods.contains_key(&uid) && self.w.offers(&uid) != nodes {
                self.w.asleep.remove(&uid);
            }
        }
    }

    /// `sure`: the filter that passed this node was the last thing that happened.
    pub(crate) fn start_bind(&mut self, uid: &Uid, node: &Str, sure: bool) {
        let pod = self.w.pod_ref(uid);
        let before = self.claims_for(uid);
        let step = self.w.call(|ledger, now| ledger.bind(now, &pod, node));
        if let BindStep::Refused(text) = &step {
            assert!(!sure, "filter passed {node} for {}, and the bind right after it says: {text}", pod.name);
        } else {
            self.check_choice(uid, node, &before);
        }
        self.follow(uid, node, step);
    }

    /// The scheduler gives a pod up that filter had passed: something else is missing.
    fn give_up(&mut self, n: u8) {
        let mut queue = self.w.queue();
        queue.retain(|uid| !self.binds.contains_key(uid));
        if let Some(uid) = pick(&queue, n) {
            self.w.starve(&uid);
            self.starved.insert(uid);
        }
    }

    pub(crate) fn follow(&mut self, uid: &Uid, node: &Str, step: BindStep) {
        match step {
            BindStep::Wait => {
                self.binds.insert(uid.clone(), node.clone());
            }
            BindStep::Done | BindStep::Refused(_) => {
                self.binds.remove(uid);
            }
            BindStep::Bind { pod, node, grants } => {
                self.binds.remove(uid);
                self.check_grants(uid, &node, &grants);
                self.bindings.push(Sent { uid: pod.uid, node, grants });
            }
        }
    }

    fn poll(&mut self, n: u8) {
        let binds: Vec<(Uid, Str)> = self.binds.iter().map(|(uid, node)| (uid.clone(), node.clone())).collect();
        let Some((uid, node)) = pick(&binds, n) else { return };
        if self.w.api.pods.contains_key(&uid) && n.is_multiple_of(2) {
            // The scheduler asks again, or for the first time.
            return self.start_bind(&uid, &node, false);
        }
        let step = self.w.call(|ledger, now| ledger.bind_poll(now, &uid, &node));
        self.follow(&uid, &node, step);
    }

    /// A second bind call, maybe to another node.
    fn join(&mut self, n: u8, node: u8) {
        let Some(uid) = pick(&self.pods(), n) else { return };
        let node: Str = NODES[usize::from(node) % NODES.len()].0.into();
        let pod = self.w.pod_ref(&uid);
        match self.w.call(|ledger, now| ledger.bind(now, &pod, &node)) {
            step @ BindStep::Bind { .. } => self.follow(&uid, &node, step),
            BindStep::Wait => {
                self.binds.insert(uid, node);
            }
            _ => {}
        }
    }

    /// The end of a Binding as galaxy-ipam learns it; what is not definite is followed by a read of the pod.
    fn binding_done(&mut self, uid: &Uid, outcome: BindingOutcome) {
        let read = matches!(outcome, BindingOutcome::Unknown(_));
        self.w.call(|ledger, now| ledger.binding_done(now, uid, outcome));
        if read {
            let event = self.w.api.pods.get(uid).cloned().map_or_else(|| Event::PodGone(uid.clone()), Event::Pod);
            self.w.deliver(event);
        }
    }

    fn binding(&mut self, n: u8, fate: Fate) {
        if self.bindings.is_empty() {
            return;
        }
        let sent = self.bindings.remove(usize::from(n) % self.bindings.len());
        let lost = BindingOutcome::Unknown("no answer".to_owned());
        let outcome = match fate {
            Fate::Done => self.w.api.bind(&sent.uid, &sent.node, &sent.grants),
            Fate::AnswerLost => {
                self.w.api.bind(&sent.uid, &sent.node, &sent.grants);
                lost
            }
            Fate::Late => {
                self.stray_bindings.push(sent.clone());
                lost
            }
            Fate::Refused => BindingOutcome::Refused("the API server says no".to_owned()),
        };
        self.binding_done(&sent.uid, outcome);
    }

    pub(crate) fn land_binding(&mut self, n: u8) {
        if !self.stray_bindings.is_empty() {
            let sent = self.stray_bindings.remove(usize::from(n) % self.stray_bindings.len());
            if !n.is_multiple_of(4) {
                self.w.api.bind(&sent.uid, &sent.node, &sent.grants);
            }
        }
    }

    fn op(&mut self, n: u8, fate: Fate) {
        if self.w.ops.is_empty() {
            return;
        }
        let at = usize::from(n) % self.w.ops.len();
        let write = self.w.ops.remove(at).expect("in range");
        let lost = Outcome::Unknown("no answer".to_owned());
        let cloud = matches!(write.op, Op::Assign(_) | Op::Unassign(_));
        let failed = Outcome::CloudFailed("no answer".to_owned());
        let outcome = match (fate, &write.op) {
            (Fate::Done, op) => self.apply(write.addr, op),
            (Fate::AnswerLost, op) => {
                self.apply(write.addr, op);
                if cloud { failed } else { lost }
            }
            (Fate::Late | Fate::Refused, _) if cloud => failed,
            (Fate::Refused, _) => Outcome::Refused("the API server says no".to_owned()),
            (Fate::Late, Op::Read) => lost,
            (Fate::Late, op) => {
                self.strays.push((write.addr, op.clone()));
                lost
            }
        };
        self.w.report(&write, outcome);
    }

    pub(crate) fn land_op(&mut self, n: u8) {
        if !self.strays.is_empty() {
            let (addr, op) = self.strays.remove(usize::from(n) % self.strays.len());
            if !n.is_multiple_of(4) {
                self.apply(addr, &op);
            }
        }
    }

    /// Events of one kind come in order; those of different kinds do not wait for each other.
    fn deliver_one(&mut self, n: u8) {
        if self.w.api.events.is_empty() {
            return;
        }
        let kind = self.w.api.events[usize::from(n) % self.w.api.events.len()].stream();
        let at = self.w.api.events.iter().position(|event| event.stream() == kind).expect("found before");
        let event = self.w.api.events.remove(at).expect("found above");
        self.hear(event);
    }

    pub(crate) fn deliver_all(&mut self) {
        while let Some(event) = self.w.api.events.pop_front() {
            self.hear(event);
        }
    }

    fn hear(&mut self, event: Event) {
        if matches!(event, Event::Pod(_) | Event::PodGone(_) | Event::Workload(_) | Event::Address(_)) {
            self.past.push(event.clone());
            if self.past.len() > 40 {
                self.past.remove(0);
            }
        }
        let expected = self.expected_of(&event);
        self.w.deliver(event);
        self.check_expected(expected);
    }

    /// An event comes again, late.
    fn replay(&mut self, n: u8) {
        let Some(event) = pick(&self.past, n) else { return };
        // Objects are only ever observed by their one watch, which does not go back behind a deletion.
        if !matches!(&event, Event::Address(stored) if self.w.api.raw(stored.record.addr).is_none()) {
            self.w.deliver(event);
        }
    }

    /// The watch of pods broke; what the new list lacks is merely missing.
    fn relist(&mut self) {
        self.w.api.events.retain(|event| !matches!(event, Event::Pod(_) | Event::PodGone(_)));
        for view in self.w.api.pods.values().cloned().collect::<Vec<_>>() {
            self.w.deliver(Event::Pod(view));
        }
        let mut missing: Vec<Uid> = self.w.told.pods.keys().cloned().collect();
        missing.retain(|uid| !self.w.api.pods.contains_key(uid));
        for uid in missing {
            self.w.call(|ledger, now| ledger.pod_missing(now, &uid));
        }
    }

    fn prove(&mut self) {
        if let Some(doubt) = self.w.proofs.pop_front() {
            self.w.prove(&doubt);
        }
    }

    fn label(&mut self, n: u8, on: bool) {
        if let Some(addr) = pick(&self.w.api.addresses(), n) {
            self.w.api.label(addr, on);
            self.meddled.insert(addr);
        }
    }

    fn reserve(&mut self, n: u8) {
        let free: Vec<Addr> =
            self.w.ledger.page(0, 20).1.iter().filter(|i| i.state.is_none()).map(|i| i.addr).collect();
        let Some(addr) = pick(&free, n) else { return };
        let record = Record {
            pool: Some("reserved-for-node".into()),
            policy: ReleasePolicy::Never,
            ..blank(&addr.to_string(), State::Reserved)
        };
        if self.w.api.create(record).is_some() {
            self.w.api.label(addr, true);
            self.meddled.insert(addr);
        }
    }

    /// People delete reservations, and objects of running pods; nobody can know those of pods that are about to run.
    fn delete_object(&mut self, n: u8) {
        let Some(addr) = pick(&self.w.api.addresses(), n) else { return };
        let owner = self.w.api.raw(addr).and_then(|record| record.pod_uid.clone());
        let running = |uid: &Uid| self.w.api.pods.get(uid).is_some_and(|pod| pod.ips.contains(&addr.ip()));
        if owner.as_ref().is_none_or(running) && !self.w.api.cloud.contains_key(&addr) {
            self.w.api.delete(addr);
            self.meddled.insert(addr);
        }
    }

    fn release(&mut self, n: u8) {
        let Some(addr) = pick(&self.w.api.addresses(), n) else { return };
        let key = self.w.api.raw(addr).map(|record| record.fip_key().to_string()).unwrap_or_default();
        let live = self.live_owner(addr);
        let step = self.w.call(|ledger, now| ledger.release(now, &ReleaseRequest { addr, key }));
        match step {
            ReleaseStep::Prove(pod) => self.w.proofs.push_back(Doubt::Pod(pod)),
            ReleaseStep::Done | ReleaseStep::Wait => {
                assert!(
                    live.is_none() || self.w.ledger.info(addr).is_some_and(|i| i.pod_uid == live),
                    "released {addr}"
                );
                self.meddled.insert(addr);
            }
            ReleaseStep::Refused(text) => assert!(text.contains(&addr.to_string()), "the reason names it: {text}"),
        }
    }

    fn pass(&mut self, n: u8) {
        let seconds = [0, 1, 1, 2, 5, 16, 61, 601][usize::from(n) % 8];
        let end = self.w.now.plus_secs(seconds).plus_micros(6_000);
        for _ in 0..1000 {
            match self.w.ledger.next_deadline().filter(|&at| at <= end) {
                Some(at) => {
                    self.w.now = self.w.now.max(at);
                    self.w.call(|ledger, now| ledger.tick(now));
                }
                None => {
                    self.w.now = self.w.now.max(end);
                    return;
                }
            }
        }
        panic!("the ledger wants to be ticked without end");
    }

    /// What is under way when galaxy-ipam stops is done, lost, or comes late.
    pub(crate) fn scatter(&mut self, n: u8) {
        let mut dice = u32::from(n).wrapping_mul(2_654_435_761);
        let mut roll = || {
            dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            dice >> 28
        };
        for write in std::mem::take(&mut self.w.ops) {
            match roll() % 3 {
                0 => {
                    self.apply(write.addr, &write.op);
                }
                // Nobody knows how far a cloud call came, but it does not come later.
                1 if !matches!(write.op, Op::Assign(_) | Op::Unassign(_)) => self.strays.push((write.addr, write.op)),
                _ => {}
            }
        }
        for sent in std::mem::take(&mut self.bindings) {
            match roll() % 3 {
                0 => {
                    self.w.api.bind(&sent.uid, &sent.node, &sent.grants);
                }
                1 => self.stray_bindings.push(sent),
                _ => {}
            }
        }
        self.binds.clear();
    }

    fn crash(&mut self, n: u8) {
        self.scatter(n);
        self.past.clear();
        self.forget_sets();
        self.w.start();
        self.leads = true;
    }

    pub(crate) fn lead(&mut self) {
        if !self.leads {
            self.scatter(7);
            self.forget_sets();
            self.w.load();
            self.w.call(|ledger, now| ledger.set_active(now, true));
            self.leads = true;
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
