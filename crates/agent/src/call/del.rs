//! DEL, by what was written down alone: neither the API server nor the configuration is needed.

use std::sync::Arc;

use galaxy_cni::spec::{Command, Error, Version};

use super::{
    Agent, Call,
    add::{version_of, with_prev_result},
    plugin::Environment,
};
use crate::state::{Attachment, Sandbox};

impl Agent {
    /// Takes away what ADD gave. Keyed by container id: a late DEL concerns no other sandbox of the same pod.
    pub(super) async fn del(self: &Arc<Self>, call: &Call) -> Result<(), Error> {
        let id = &call.request.container_id;
        self.slots.cancel(id);
        let _held = self.slots.hold(id).await;
        match self.store.load(id, &call.request.ifname)? {
            Some(sandbox) => self.undo(sandbox, &call.request.env, &call.request.netns).await,
            None => self.remove_unwritten(id).await,
        }
    }

    /// Calls DEL of all plugins in reverse order. What fails stays written down, to be tried again.
    pub(super) async fn undo(
        self: &Arc<Self>,
        mut sandbox: Sandbox,
        env: &[(String, String)],
        netns: &str,
    ) -> Result<(), Error> {
        let (id, ifname) = (sandbox.container_id.clone(), sandbox.ifname.clone());
        self.store.mark_incomplete(&mut sandbox)?;
        let mut errors = Vec::new();
        let mut left = Vec::new();
        for network in std::mem::take(&mut sandbox.networks).into_iter().rev() {
            if let Err(error) = self.detach(&id, &network, env, netns).await {
                errors.push(Error::new(error.code, format!("network {}: {}", network.network, error.msg)));
                left.insert(0, network);
            }
        }
        self.sweep.soon();
        if left.is_empty() {
            return self.store.remove(&id, &ifname);
        }
        self.metrics.retry("del");
        sandbox.networks = left;
        sandbox.version = crate::state::VERSION;
        let kept = self.store.save(&sandbox);
        errors.extend(kept.err());
        Error::join(errors)
    }

    async fn detach(
        self: &Arc<Self>,
        id: &str,
        network: &Attachment,
        env: &[(String, String)],
        netns: &str,
    ) -> Result<(), Error> {
        let environment = Environment {
            container_id: id.to_owned(),
            netns: netns.to_owned(),
            ifname: network.ifname.clone(),
            args: network.args.clone(),
            env: env.to_vec(),
        };
        let mut errors = Vec::new();
        for conf in network.plugins.iter().rev() {
            let prev = network.result.as_ref().filter(|_| version_of(conf) >= Version::V0_4_0);
            let conf = with_prev_result(conf, prev).unwrap_or_else(|_| conf.clone());
            errors.extend(self.run(Command::Del, &environment, &conf).await.err());
        }
        Error::join(errors)
    }

    /// Devices and records of a container of which nothing is written down, as after the loss of the folder.
    pub(super) async fn remove_unwritten(self: &Arc<Self>, id: &str) -> Result<(), Error> {
        let (agent, id) = (Arc::clone(self), id.to_owned());
        let run_dirs = self.run_dirs();
        let work = move || {
            let mut errors = Vec::new();
            for leftover in agent.node.leftovers(&run_dirs)?.iter().filter(|leftover| leftover.is_of(&id)) {
                tracing::info!(what = leftover.name(), "removed; no state file names it");
                errors.extend(agent.node.remove_leftover(leftover).err());
            }
            agent.sweep.soon();
            Error::join(errors)
        };
        tokio::task::spawn_blocking(work)
            .await
            .unwrap_or_else(|error| Err(Error::new(galaxy_cni::spec::code::IO, error.to_string())))
    }

    pub(crate) fn run_dirs(&self) -> Vec<Option<String>> {
        self.configs.now().map_or_else(|| vec![None], |config| config.run_dirs())
    }
}
