//! A scheduler that talks to the ledger as kube-scheduler does: refused pods sleep until something wakes them.

use galaxy_core::Addr;
use galaxy_core::ledger::*;

use super::{Event, World};

/// What a filter call came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// These nodes pass.
    Pass(Vec<Str>),
    /// None passes; the refusal of the first node.
    Refused(Refusal),
    NotNow(String),
}

impl Verdict {
    pub(crate) fn nodes(self) -> Vec<String> {
        match self {
            Verdict::Pass(nodes) => nodes.iter().map(|node| node.to_string()).collect(),
            other => panic!("some node passes: {other:?}"),
        }
    }

    pub(crate) fn refusal(self) -> Refusal {
        match self {
            Verdict::Refused(refusal) => refusal,
            other => panic!("the pod is refused: {other:?}"),
        }
    }

    pub(crate) fn reason(self) -> Reason {
        self.refusal().reason
    }
}

impl World {
    pub(crate) fn pod_ref(&self, uid: &Uid) -> PodRef {
        let pod = self.api.pod(uid);
        PodRef { namespace: pod.namespace.clone(), name: pod.name.clone(), uid: uid.clone() }
    }

    /// The nodes the scheduler offers for a pod: those that are ready and that it may run on.
    pub(crate) fn offers(&self, uid: &Uid) -> Vec<Str> {
        let ready = self.api.nodes.values().filter(|node| node.ready).map(|node| node.name.clone());
        ready.filter(|name| self.selectors.get(uid).is_none_or(|only| only.contains(name))).collect()
    }

    /// Filters a pod on all nodes.
    pub(crate) fn filter(&mut self, uid: &Uid) -> Verdict {
        let nodes = self.offers(uid);
        self.filter_nodes(uid, &nodes)
    }

    pub(crate) fn filter_on(&mut self, uid: &Uid, nodes: &[&str]) -> Verdict {
        let nodes: Vec<Str> = nodes.iter().map(|&name| name.into()).collect();
        self.filter_nodes(uid, &nodes)
    }

    pub(crate) fn filter_nodes(&mut self, uid: &Uid, nodes: &[Str]) -> Verdict {
        let view = self.api.pod(uid).clone();
        self.filter_view(&view, nodes)
    }

    /// Filters a pod as the scheduler's cache has it. Filter writes nothing (rule 11).
    pub(crate) fn filter_view(&mut self, view: &PodView, nodes: &[Str]) -> Verdict {
        self.deliver(Event::Pod(view.clone()));
        let offers: Vec<Offer<'_>> = nodes.iter().map(|name| Offer { name, ips: None }).collect();
        let before = self.ops.len();
        let answer = self.call(|ledger, now| ledger.filter(now, view, &offers));
        assert_eq!(self.ops.len(), before, "filter has written: {:?}", self.ops);
        match answer {
            Filtered::NotNow(text) => Verdict::NotNow(text),
            Filtered::Nodes { verdicts, refusals } => {
                assert_eq!(verdicts.len(), offers.len(), "one verdict for each node");
                assert!(refusals.len() <= 4, "at most four different texts (rule 15): {refusals:?}");
                let pass = nodes.iter().zip(&verdicts).filter(|(_, v)| v.is_none()).map(|(n, _)| n.clone());
                let pass: Vec<Str> = pass.collect();
                match verdicts.first() {
                    Some(Some(first)) if pass.is_empty() => Verdict::Refused(refusals[*first].clone()),
                    _ => Verdict::Pass(pass),
                }
            }
        }
    }

    /// The scheduler gave a pod up that we refused: it says so in the pod's condition and tries it again when it is woken.
    pub(crate) fn sleep(&mut self, uid: &Uid) {
        self.unscheduled(uid, true);
    }

    /// The scheduler gave a pod up for another reason than ours.
    pub(crate) fn starve(&mut self, uid: &Uid) {
        self.unscheduled(uid, false);
    }

    fn unscheduled(&mut self, uid: &Uid, refused_by_us: bool) {
        self.asleep.insert(uid.clone());
        let mark = self.api.next_version();
        self.api.edit_pod(uid, |pod| {
            pod.unschedulable = Some(mark);
            pod.refused_by_us = refused_by_us;
        });
    }

    /// Filters a pod and binds it to the first node that passes.
    pub(crate) fn schedule(&mut self, uid: &Uid) -> Result<Addr, Refusal> {
        match self.filter(uid) {
            Verdict::Pass(nodes) => {
                let node = nodes.first().cloned().expect("a node is offered");
                let addrs = self.bind(uid, &node).unwrap_or_else(|text| panic!("bind to {node}: {text}"));
                Ok(addrs[0])
            }
            Verdict::Refused(refusal) => {
                self.sleep(uid);
                self.settle();
                Err(refusal)
            }
            Verdict::NotNow(text) => panic!("filter cannot decide: {text}"),
        }
    }

    /// Binds a pod to a node, all the way.
    pub(crate) fn bind(&mut self, uid: &Uid, node: &str) -> Result<Vec<Addr>, String> {
        let pod = self.pod_ref(uid);
        let mut step = self.call(|ledger, now| ledger.bind(now, &pod, node));
        for _ in 0..100 {
            match step {
                BindStep::Done => {
                    self.settle();
                    return Ok(self.api.pod(uid).annotated.iter().copied().map(Addr::from).collect());
                }
                BindStep::Refused(text) => {
                    self.settle();
                    return Err(text);
                }
                BindStep::Bind { pod, node, grants } => {
                    let outcome = self.api.bind(&pod.uid, &node, &grants);
                    self.call(|ledger, now| ledger.binding_done(now, &pod.uid, outcome));
                }
                BindStep::Wait if self.ops.is_empty() => self.pass(1),
                BindStep::Wait => self.settle(),
            }
            step = self.call(|ledger, now| ledger.bind_poll(now, uid, node));
        }
        panic!("the bind of {uid} does not end")
    }

    /// Starts a bind and stops where its Binding would be sent: (node, grants).
    pub(crate) fn bind_until_binding(&mut self, uid: &Uid, node: &str) -> (Str, Vec<Grant>) {
        let pod = self.pod_ref(uid);
        let mut step = self.call(|ledger, now| ledger.bind(now, &pod, node));
        for _ in 0..10 {
            match step {
                BindStep::Bind { node, grants, .. } => return (node, grants),
                BindStep::Wait => self.settle(),
                other => panic!("a Binding is due: {other:?}"),
            }
            step = self.call(|ledger, now| ledger.bind_poll(now, uid, node));
        }
        panic!("no Binding is due for {uid}")
    }

    /// Unscheduled pods that are not asleep, by priority, then age.
    pub(crate) fn queue(&self) -> Vec<Uid> {
        let waits = |pod: &&PodView| {
            pod.node.is_none()
                && pod.deletion_deadline.is_none()
                && pod.phase == Phase::Pending
                && !self.asleep.contains(&pod.uid)
        };
        let mut queue: Vec<&PodView> = self.api.pods.values().filter(waits).collect();
        queue.sort_by_key(|pod| (std::cmp::Reverse(pod.priority), pod.created, pod.uid.clone()));
        queue.into_iter().map(|pod| pod.uid.clone()).collect()
    }

    /// Tries every pod of the queue once. True if anything changed.
    pub(crate) fn schedule_all(&mut self) -> bool {
        let mut changed = false;
        for uid in self.queue() {
            match self.filter(&uid) {
                Verdict::Pass(nodes) => {
                    let Some(node) = nodes.first().cloned() else { continue };
                    if let Err(text) = self.bind(&uid, &node) {
                        assert!(!text.is_empty(), "a refused bind says why");
                    }
                    changed = true;
                }
                Verdict::Refused(_) => {
                    self.sleep(&uid);
                    changed = true;
                }
                Verdict::NotNow(_) => {}
            }
            self.settle();
        }
        changed
    }
}
