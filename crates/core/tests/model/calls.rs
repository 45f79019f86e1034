//! What the scheduler and the service ask of the ledger in a step: filter, bind, Binding.

use galaxy_core::ledger::*;

use crate::sim::*;
use crate::steps::Fate;
use crate::world::*;

impl Sim {
    pub(crate) fn schedule(&mut self, pod: u8, choice: u8, at_once: bool, mask: Option<u8>) {
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
    pub(crate) fn give_up(&mut self, n: u8) {
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

    pub(crate) fn poll(&mut self, n: u8) {
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
    pub(crate) fn join(&mut self, n: u8, node: u8) {
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
    pub(crate) fn binding_done(&mut self, uid: &Uid, outcome: BindingOutcome) {
        let read = matches!(outcome, BindingOutcome::Unknown(_));
        self.w.call(|ledger, now| ledger.binding_done(now, uid, outcome));
        if read {
            let event = self.w.api.pods.get(uid).cloned().map_or_else(|| Event::PodGone(uid.clone()), Event::Pod);
            self.w.deliver(event);
        }
    }

    pub(crate) fn binding(&mut self, n: u8, fate: Fate) {
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
}
