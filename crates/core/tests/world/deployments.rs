//! Deployments with the rollout arithmetic of their controller, ReplicaSets, and kubelets.

use galaxy_core::ReleasePolicy;
use galaxy_core::ledger::*;

use super::{NS, PodSpec, World};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// maxSurge and maxUnavailable in per cent, as the API's default has them.
    Percent(u32, u32),
    /// maxSurge and maxUnavailable in pods.
    Pods(u32, u32),
    Recreate,
}

/// A Deployment as its owner writes it.
#[derive(Clone, Debug)]
pub(crate) struct Deploy {
    pub(crate) id: WorkloadId,
    pub(crate) uid: Uid,
    pub(crate) replicas: u32,
    pub(crate) strategy: Strategy,
    pub(crate) policy: ReleasePolicy,
    pub(crate) pool: Option<String>,
    pub(crate) spare_addresses: Option<u32>,
    pub(crate) replace: bool,
    pub(crate) paused: bool,
    /// Pods of this template never become ready.
    pub(crate) broken: Option<u64>,
    pub(crate) template: u64,
    revision: u64,
    /// ReplicaSets with the template each stands for.
    pub(crate) sets: Vec<(Uid, u64)>,
    serial: u64,
}

impl Deploy {
    /// maxSurge and maxUnavailable resolved: surge rounds up, unavailable down, and they are never both 0.
    pub(crate) fn resolved(&self) -> (u32, u32) {
        match self.strategy {
            Strategy::Percent(surge, unavailable) => {
                let surge = (self.replicas * surge).div_ceil(100);
                let unavailable = self.replicas * unavailable / 100;
                if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
            }
            Strategy::Pods(surge, unavailable) => (surge, unavailable),
            Strategy::Recreate => (0, self.replicas),
        }
    }

    fn view(&self) -> WorkloadView {
        let (surge, unavailable) = self.resolved();
        let rolling = self.strategy != Strategy::Recreate;
        WorkloadView {
            id: self.id.clone(),
            uid: self.uid.clone(),
            version: 0,
            replicas: Some(self.replicas),
            ordinal_start: 0,
            surges_first: rolling && unavailable == 0,
            max_surge: surge,
            spare_addresses: self.spare_addresses,
            replace_on_node_failure: self.replace,
        }
    }
}

impl World {
    /// Makes a Deployment with the default strategy; returns its index. Its controller acts in [`World::run`].
    pub(crate) fn deployment(&mut self, name: &str, replicas: u32, policy: ReleasePolicy) -> usize {
        self.deployment_with(name, replicas, policy, |_| {})
    }

    pub(crate) fn deployment_with(
        &mut self,
        name: &str,
        replicas: u32,
        policy: ReleasePolicy,
        edit: impl FnOnce(&mut Deploy),
    ) -> usize {
        let mut deploy = Deploy {
            id: WorkloadId::deployment(NS, name),
            uid: self.api.new_uid(),
            replicas,
            strategy: Strategy::Percent(25, 25),
            policy,
            pool: None,
            spare_addresses: None,
            replace: false,
            paused: false,
            broken: None,
            template: 1,
            revision: 0,
            sets: Vec::new(),
            serial: 0,
        };
        edit(&mut deploy);
        if deploy.pool.is_some() {
            deploy.policy = ReleasePolicy::Never;
        }
        self.api.put_workload(deploy.view());
        self.deployments.push(deploy);
        self.settle();
        self.deployments.len() - 1
    }

    pub(crate) fn edit_deployment(&mut self, index: usize, edit: impl FnOnce(&mut Deploy)) {
        edit(&mut self.deployments[index]);
        let view = self.deployments[index].view();
        self.api.put_workload(view);
        self.settle();
    }

    /// A new template.
    pub(crate) fn roll(&mut self, index: usize) {
        self.edit_deployment(index, |deploy| deploy.template += 1);
    }

    /// Deletes a Deployment with all that it owns; pods go when their kubelets have stopped them.
    pub(crate) fn delete_deployment(&mut self, index: usize) {
        let deploy = self.deployments.remove(index);
        self.api.remove_workload(&deploy.id);
        for (set, _) in &deploy.sets {
            for pod in self.pods_of(set) {
                self.start_deletion(&pod);
            }
            self.api.remove_replica_set(set);
        }
    }

    /// Pods of a controller, by uid.
    pub(crate) fn pods_of(&self, controller: &Uid) -> Vec<Uid> {
        let of = |pod: &&PodView| pod.controller.as_ref().is_some_and(|c| &c.uid == controller);
        self.api.pods.values().filter(of).map(|pod| pod.uid.clone()).collect()
    }

    /// Pods of all ReplicaSets of a Deployment.
    pub(crate) fn pods_of_deployment(&self, index: usize) -> Vec<Uid> {
        let sets = &self.deployments[index].sets;
        sets.iter().flat_map(|(set, _)| self.pods_of(set)).collect()
    }

    /// Pods that count for their controller: neither finished nor being deleted.
    fn active(&self, controller: &Uid) -> Vec<Uid> {
        let mut pods = self.pods_of(controller);
        pods.retain(|uid| {
            let pod = self.api.pod(uid);
            pod.deletion_deadline.is_none() && !pod.phase.is_finished()
        });
        pods
    }

    fn available(&self, deploy: &Deploy, set: &Uid, template: u64) -> u32 {
        if deploy.broken == Some(template) {
            return 0;
        }
        let ready = |uid: &&Uid| {
            let pod = self.api.pod(uid);
            let node = pod.node.as_ref().and_then(|node| self.api.nodes.get(node));
            pod.phase == Phase::Running && node.is_some_and(|node| node.ready)
        };
        self.active(set).iter().filter(ready).count() as u32
    }

    /// One turn of the Deployment's controller. True if it did something.
    pub(crate) fn reconcile_deployment(&mut self, index: usize) -> bool {
        let deploy = self.deployments[index].clone();
        let newest = deploy.sets.iter().position(|(_, template)| *template == deploy.template);
        let at = match newest {
            Some(at) => at,
            None if deploy.paused => return self.scale_paused(&deploy),
            None => {
                let old_pods = deploy.sets.iter().any(|(set, _)| !self.pods_of(set).is_empty());
                let old_scale = deploy.sets.iter().any(|(set, _)| self.replicas_of(set) > 0);
                if deploy.strategy == Strategy::Recreate && (old_pods || old_scale) {
                    return self.scale_old_to_zero(&deploy, usize::MAX);
                }
                return self.add_replica_set(index);
            }
        };
        let newest = deploy.sets[at].0.clone();
        if deploy.paused {
            return self.scale_paused(&deploy);
        }
        let revision = self.deployments[index].revision;
        if self.api.replica_sets[&newest].revision != Some(revision) && deploy.sets.len() > 1 {
            // A rollback: the set of this template becomes the newest again.
            self.deployments[index].revision += 1;
            let revision = Some(self.deployments[index].revision);
            let view = self.api.replica_sets[&newest].clone();
            self.api.put_replica_set(ReplicaSetView { revision, ..view });
            return true;
        }
        if deploy.strategy == Strategy::Recreate {
            if self.scale_old_to_zero(&deploy, at) {
                return true;
            }
            let old_pods = deploy.sets.iter().any(|(set, _)| *set != newest && !self.pods_of(set).is_empty());
            return !old_pods && self.scale_set(&newest, deploy.replicas);
        }
        self.scale_new(&deploy, &newest) || self.scale_old(&deploy, at)
    }

    fn replicas_of(&self, set: &Uid) -> u32 {
        self.api.replica_sets.get(set).map_or(0, |view| view.replicas)
    }

    fn scale_set(&mut self, set: &Uid, replicas: u32) -> bool {
        let view = self.api.replica_sets[set].clone();
        if view.replicas == replicas {
            return false;
        }
        self.api.put_replica_set(ReplicaSetView { replicas, ..view });
        true
    }

    /// Paused, only the size is followed: the change goes to the newest set that has pods.
    fn scale_paused(&mut self, deploy: &Deploy) -> bool {
        let total: u32 = deploy.sets.iter().map(|(set, _)| self.replicas_of(set)).sum();
        let Some((set, _)) = deploy.sets.iter().rev().find(|(set, _)| self.replicas_of(set) > 0) else { return false };
        let (surge, _) = deploy.resolved();
        let here = self.replicas_of(&set.clone());
        if total > deploy.replicas + surge {
            return self.scale_set(&set.clone(), here.saturating_sub(total - deploy.replicas - surge));
        }
        if total < deploy.replicas {
            return self.scale_set(&set.clone(), here + deploy.replicas - total);
        }
        false
    }

    fn scale_old_to_zero(&mut self, deploy: &Deploy, newest: usize) -> bool {
        let mut changed = false;
        for (at, (set, _)) in deploy.sets.iter().enumerate() {
            changed |= at != newest && self.scale_set(set, 0);
        }
        changed
    }

    fn add_replica_set(&mut self, index: usize) -> bool {
        let uid = self.api.new_uid();
        let deploy = &mut self.deployments[index];
        deploy.revision += 1;
        deploy.sets.push((uid.clone(), deploy.template));
        let name = format!("{}-{:x}", deploy.id.name, 0xa000 + deploy.template);
        let controller = Controller {
            group: APPS.into(),
            kind: "Deployment".into(),
            name: deploy.id.name.clone(),
            uid: deploy.uid.clone(),
        };
        let view = ReplicaSetView {
            uid,
            namespace: NS.into(),
            name: name.as_str().into(),
            version: 0,
            controller: Some(controller),
            replicas: 0,
            revision: Some(deploy.revision),
        };
        self.api.put_replica_set(view);
        true
    }

    fn scale_new(&mut self, deploy: &Deploy, newest: &Uid) -> bool {
        let here = self.replicas_of(newest);
        if here > deploy.replicas {
            return self.scale_set(newest, deploy.replicas);
        }
        let total: u32 = deploy.sets.iter().map(|(set, _)| self.replicas_of(set)).sum();
        let most = deploy.replicas + deploy.resolved().0;
        let more = most.saturating_sub(total).min(deploy.replicas - here);
        more > 0 && self.scale_set(newest, here + more)
    }

    fn scale_old(&mut self, deploy: &Deploy, newest: usize) -> bool {
        let sets = || deploy.sets.iter().enumerate();
        let total: u32 = sets().map(|(_, (set, _))| self.replicas_of(set)).sum();
        let least = deploy.replicas - deploy.resolved().1.min(deploy.replicas);
        let (new_set, template) = &deploy.sets[newest];
        let new_missing = self.replicas_of(new_set).saturating_sub(self.available(deploy, new_set, *template));
        let mut room = total.saturating_sub(least).saturating_sub(new_missing);
        let old: Vec<(Uid, u64)> = sets().filter(|(at, _)| *at != newest).map(|(_, set)| set.clone()).collect();
        let mut changed = false;
        // First what is not available anyway.
        for (set, template) in &old {
            let here = self.replicas_of(set);
            let dead = here.saturating_sub(self.available(deploy, set, *template)).min(room);
            room -= dead;
            changed |= dead > 0 && self.scale_set(set, here - dead);
        }
        let available: u32 = deploy.sets.iter().map(|(set, template)| self.available(deploy, set, *template)).sum();
        let mut room = available.saturating_sub(least).min(room);
        for (set, _) in &old {
            let here = self.replicas_of(set);
            let less = here.min(room);
            room -= less;
            changed |= less > 0 && self.scale_set(set, here - less);
        }
        changed
    }

    /// One turn of the ReplicaSet controller for all sets of a Deployment. True if it did something.
    pub(crate) fn reconcile_sets(&mut self, index: usize) -> bool {
        let deploy = self.deployments[index].clone();
        let mut changed = false;
        for (set, _) in &deploy.sets {
            let (want, name) = match self.api.replica_sets.get(set) {
                Some(view) => (view.replicas as usize, view.name.clone()),
                None => continue,
            };
            let mut pods = self.active(set);
            changed |= pods.len() != want;
            while pods.len() < want {
                self.deployments[index].serial += 1;
                let controller =
                    Controller { group: APPS.into(), kind: "ReplicaSet".into(), name: name.clone(), uid: set.clone() };
                let spec = PodSpec {
                    controller: Some(controller),
                    policy: deploy.policy,
                    pool: deploy.pool.clone(),
                    ..PodSpec::bare(&format!("{name}-p{}", self.deployments[index].serial))
                };
                pods.push(self.create_pod(&spec));
            }
            // Unscheduled pods go first, then the youngest.
            pods.sort_by_key(|uid| (self.api.pod(uid).node.is_some(), std::cmp::Reverse(self.api.pod(uid).created)));
            for uid in pods.iter().take(pods.len() - want) {
                self.start_deletion(uid);
            }
        }
        changed
    }

    /// Kubelets of ready nodes start what is bound to them and stop what is being deleted. True if anything changed.
    pub(crate) fn kubelets(&mut self) -> bool {
        let ready = |world: &World, pod: &PodView| {
            pod.node.as_ref().and_then(|node| world.api.nodes.get(node)).is_some_and(|node| node.ready)
        };
        let mine: Vec<PodView> = self.api.pods.values().filter(|pod| ready(self, pod)).cloned().collect();
        let mut changed = false;
        for pod in mine {
            if pod.deletion_deadline.is_some() {
                self.api.remove_pod(&pod.uid);
                changed = true;
            } else if pod.phase == Phase::Pending {
                self.api.edit_pod(&pod.uid, |pod| {
                    pod.phase = Phase::Running;
                    pod.ips = pod.annotated.clone();
                });
                changed = true;
            }
        }
        changed
    }

    /// Lets controllers, scheduler, kubelets and time work until nothing changes any more.
    pub(crate) fn run(&mut self) {
        let mut calm = 0;
        for _ in 0..500 {
            let mut changed = false;
            for index in 0..self.deployments.len() {
                changed |= self.reconcile_deployment(index);
                self.settle();
                changed |= self.reconcile_sets(index);
                self.settle();
            }
            changed |= self.schedule_all();
            changed |= self.kubelets();
            self.settle();
            self.pass(1);
            calm = if changed { 0 } else { calm + 1 };
            if calm > 3 {
                return;
            }
        }
        panic!("the cluster does not come to rest");
    }

    /// Whether every pod of the Deployment is of its newest template, bound and running, as many as it wants.
    pub(crate) fn is_rolled_out(&self, index: usize) -> bool {
        let deploy = &self.deployments[index];
        let pods = self.pods_of_deployment(index);
        let newest = deploy.sets.iter().find(|(_, template)| *template == deploy.template);
        let Some((newest, _)) = newest else { return deploy.replicas == 0 };
        pods.len() == deploy.replicas as usize
            && pods.iter().all(|uid| {
                let pod = self.api.pod(uid);
                pod.controller.as_ref().is_some_and(|c| &c.uid == newest) && pod.phase == Phase::Running
            })
    }
}

impl World {
    /// A pod of the Deployment's newest ReplicaSet, beyond what its controller makes.
    pub(crate) fn extra_pod(&mut self, index: usize) -> PodSpec {
        let deploy = self.deployments[index].clone();
        let (set, _) = deploy.sets.last().expect("the controller has run");
        let view = self.api.replica_sets[set].clone();
        self.deployments[index].serial += 1;
        let name = format!("{}-x{}", view.name, self.deployments[index].serial);
        let controller =
            Controller { group: APPS.into(), kind: "ReplicaSet".into(), name: view.name, uid: set.clone() };
        PodSpec {
            controller: Some(controller),
            policy: deploy.policy,
            pool: deploy.pool.clone(),
            ..PodSpec::bare(&name)
        }
    }
}
