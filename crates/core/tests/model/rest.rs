//! The end of a case: everything that is under way ends, time passes, and then nothing may have leaked, and nobody may
//! sleep who could be served.

use std::collections::{BTreeMap, BTreeSet};

use galaxy_core::ledger::*;
use galaxy_core::{Addr, ReleasePolicy};

use crate::naive;
use crate::sim::Sim;

impl Sim {
    /// Lets everything come to rest, and looks at what is left.
    pub(crate) fn rest(&mut self) {
        self.lead();
        while !self.strays.is_empty() {
            self.land_op(1);
        }
        while !self.stray_bindings.is_empty() {
            self.land_binding(1);
        }
        for sent in std::mem::take(&mut self.bindings) {
            let outcome = self.w.api.bind(&sent.uid, &sent.node, &sent.grants);
            self.w.call(|ledger, now| ledger.binding_done(now, &sent.uid, outcome));
        }
        self.deliver_all();
        for name in self.w.api.nodes.keys().cloned().collect::<Vec<_>>() {
            self.w.api.edit_node(&name, |node| {
                node.ready = true;
                node.out_of_service = false;
            });
        }
        self.w.settles = true;
        self.w.settle();
        self.finish_binds();
        self.nodes_changed();
        for uid in std::mem::take(&mut self.starved) {
            self.w.asleep.remove(&uid);
        }
        self.work();
        self.w.sweep();
        self.w.pass(700);
        self.w.sweep();
        self.work();
        self.check();
        self.nothing_leaked();
        self.nobody_sleeps_in_vain();
        self.calm();
    }

    /// What was begun runs on without its client.
    fn finish_binds(&mut self) {
        for _ in 0..1000 {
            let Some((uid, node)) = self.binds.pop_first() else { return };
            let step = self.w.call(|ledger, now| ledger.bind_poll(now, &uid, &node));
            if step == BindStep::Wait {
                self.w.pass(1);
            }
            self.follow(&uid, &node, step);
            for sent in std::mem::take(&mut self.bindings) {
                let outcome = self.w.api.bind(&sent.uid, &sent.node, &sent.grants);
                self.w.call(|ledger, now| ledger.binding_done(now, &sent.uid, outcome));
            }
            self.w.settle();
        }
        panic!("a bind does not end: {:?}", self.binds);
    }

    /// Controllers, scheduler and kubelets work until there is nothing to do.
    fn work(&mut self) {
        let mut calm = 0;
        for _ in 0..300 {
            let before = self.w.api.next_version();
            self.controllers();
            self.w.settle();
            self.w.schedule_all();
            self.w.kubelets();
            self.collect_garbage();
            self.w.settle();
            self.w.pass(1);
            calm = if self.w.api.next_version() == before + 1 { calm + 1 } else { 0 };
            if calm > 20 {
                return;
            }
        }
        panic!("the world does not come to rest: {:?}", self.w.ledger.waiting());
    }

    /// Pods of nodes that are gone, and of owners that are gone, go.
    fn collect_garbage(&mut self) {
        let lost = |pod: &&PodView| {
            pod.node.as_ref().is_some_and(|node| !self.w.api.nodes.contains_key(node)) || pod.phase.is_finished()
        };
        let lost: Vec<Uid> = self.w.api.pods.values().filter(lost).map(|pod| pod.uid.clone()).collect();
        for uid in lost {
            self.w.api.remove_pod(&uid);
        }
    }

    fn nothing_leaked(&self) {
        let objects: BTreeMap<Addr, Stored> = self.w.api.list().into_iter().map(|s| (s.record.addr, s)).collect();
        let claims: BTreeSet<Addr> = self.infos().into_iter().map(|info| info.addr).collect();
        assert_eq!(objects.keys().copied().collect::<BTreeSet<_>>(), claims, "objects and claims");
        for stored in objects.values() {
            if let Some(why) = self.leak(&stored.record) {
                panic!("{}: {why}: {:?}", stored.record.addr, stored.record);
            }
        }
        for pod in self.w.api.pods.values().filter(|pod| pod.node.is_some()) {
            for addr in pod.annotated.iter().copied().map(Addr::from) {
                if self.w.ledger.info(addr).is_none() {
                    continue;
                }
                let owner = self.w.api.raw(addr).and_then(|record| record.pod_uid.clone());
                assert_eq!(owner.as_ref(), Some(&pod.uid), "the object of {addr}, which pod {} uses", pod.name);
                let routed = self.w.api.cloud.get(&addr).map(|nodes| nodes.iter().cloned().collect::<Vec<_>>());
                let want = self.w.settings.cloud.then(|| pod.node.clone().into_iter().collect());
                assert_eq!(routed, want, "where the cloud routes {addr} of pod {}", pod.name);
            }
        }
        for addr in self.w.api.cloud.keys() {
            let state = objects.get(addr).map(|stored| stored.record.state);
            assert!(matches!(state, Some(State::Bound | State::Admin)), "{addr} is routed and {state:?}");
        }
        let stats = self.w.ledger.stats();
        assert_eq!((stats.pending, stats.holds, stats.disputed), (0, 0, 0), "{stats:?}");
    }

    /// Why an object should not be there.
    fn leak(&self, record: &Record) -> Option<String> {
        let workload = record.workload.as_ref();
        let exists = workload.and_then(|id| self.w.api.workloads.get(id));
        match record.state {
            State::Admin => None,
            State::Quarantined => Some("quarantined for ever".to_owned()),
            State::Bound => {
                let pod = record.pod_uid.as_ref().and_then(|uid| self.w.api.pods.get(uid));
                match pod {
                    None => Some("its pod is gone".to_owned()),
                    Some(pod) if pod.node.is_some() && !pod.annotated.contains(&record.addr.ip()) => {
                        Some("its pod does not use it".to_owned())
                    }
                    Some(_) => None,
                }
            }
            State::Reserved => match (record.policy, workload.map(|id| &*id.kind)) {
                (ReleasePolicy::Default, _) => Some("reserved without a policy".to_owned()),
                (ReleasePolicy::Never, _) => None,
                (ReleasePolicy::Immutable, Some("Deployment")) => {
                    let Some(view) = exists else { return Some("its Deployment is gone".to_owned()) };
                    let all = self.w.addresses_of(&view.id).len() as u32;
                    let most = naive::deployment_limit(view, 0);
                    (all > most).then(|| format!("{all} addresses, {most} would do"))
                }
                (ReleasePolicy::Immutable, _) => {
                    let Some(view) = exists else { return Some("its workload is gone".to_owned()) };
                    let ordinal =
                        record.pod_name.as_deref().and_then(|name| name.rsplit('-').next()?.parse::<u32>().ok());
                    let used = ordinal.is_some_and(|ordinal| ordinal < view.replicas.unwrap_or(0));
                    (!used).then(|| "its ordinal is not in use".to_owned())
                }
            },
        }
    }

    fn nobody_sleeps_in_vain(&self) {
        assert_eq!(self.w.queue(), [], "all have been tried");
        for pod in self.w.api.pods.values().filter(|pod| pod.node.is_none()) {
            assert!(
                !naive::could_be_served(&pod.uid, &self.w),
                "pod {} sleeps and could be served; waiting: {:?}",
                pod.name,
                self.w.ledger.waiting()
            );
        }
    }

    /// At rest nothing is written, neither now nor after a restart from the objects alone.
    fn calm(&mut self) {
        let before = self.w.api.list();
        self.w.pass(10_000);
        self.w.sweep();
        assert_eq!(self.w.api.list(), before, "a world at rest stays as it is");
        if self.w.api.addresses().iter().any(|&addr| self.w.api.is_labelled(addr)) {
            // Nobody can tell from the object that a pod has an address with the label: limits count otherwise then.
            return;
        }
        self.w.start();
        self.w.settle();
        self.w.sweep();
        assert_eq!(self.w.api.list(), before, "a restart changes nothing");
        self.check();
    }
}
