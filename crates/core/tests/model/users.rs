//! What users, controllers and kubelets do in a step.

use std::collections::BTreeSet;

use galaxy_core::Addr;
use galaxy_core::ReleasePolicy;
use galaxy_core::ledger::*;

use crate::sim::*;
use crate::steps::Turn;
use crate::world::*;

impl Sim {
    /// One turn of the controller of a numbered workload.
    pub(crate) fn number(&mut self, numbered: &Numbered) {
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

    pub(crate) fn change_deployment(&mut self, n: u8, edit: impl FnOnce(&mut Deploy)) {
        let index = usize::from(n) % self.w.deployments.len();
        self.w.edit_deployment(index, edit);
    }

    pub(crate) fn scale(&mut self, n: u8, replicas: u32) {
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
    pub(crate) fn redeploy(&mut self, n: u8) {
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
    pub(crate) fn renumber(&mut self, n: u8) {
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

    pub(crate) fn bare(&mut self, n: u8) {
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

    pub(crate) fn finish(&mut self, n: u8) {
        self.with_pod(n, |w, uid| {
            if w.api.pod(uid).phase == Phase::Running {
                w.api.edit_pod(uid, |pod| pod.phase = Phase::Succeeded);
            }
        });
    }

    pub(crate) fn kubelet(&mut self, n: u8) {
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
    pub(crate) fn is_routed(&self, pod: &PodView) -> bool {
        let to_node = |nodes: &BTreeSet<Str>| pod.node.as_ref().is_some_and(|node| nodes.contains(node));
        !self.w.settings.cloud
            || pod.annotated.iter().all(|&ip| self.w.api.cloud.get(&Addr::from(ip)).is_some_and(to_node))
    }

    pub(crate) fn node(&mut self, n: u8, turn: Turn) {
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

    pub(crate) fn pool(&mut self, to: Option<(Option<u32>, bool)>) {
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

    pub(crate) fn label(&mut self, n: u8, on: bool) {
        if let Some(addr) = pick(&self.w.api.addresses(), n) {
            self.w.api.label(addr, on);
            self.meddled.insert(addr);
        }
    }

    pub(crate) fn reserve(&mut self, n: u8) {
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
    pub(crate) fn delete_object(&mut self, n: u8) {
        let Some(addr) = pick(&self.w.api.addresses(), n) else { return };
        let owner = self.w.api.raw(addr).and_then(|record| record.pod_uid.clone());
        let running = |uid: &Uid| self.w.api.pods.get(uid).is_some_and(|pod| pod.ips.contains(&addr.ip()));
        if owner.as_ref().is_none_or(running) && !self.w.api.cloud.contains_key(&addr) {
            self.w.api.delete(addr);
            self.meddled.insert(addr);
        }
    }

    pub(crate) fn release(&mut self, n: u8) {
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
}
