//! CNI calls: from what galaxy-sdn sent to what it gets back.

mod add;
mod arguments;
mod check;
mod collect;
mod del;
mod plugin;
mod request;
mod slots;
mod status;

use std::{path::PathBuf, sync::Arc, time::Duration};

use galaxy_cni::{
    Node,
    spec::{Command, Error, code},
};
use serde_json::Value;

pub use request::Call;
pub(crate) use slots::Slots;

use crate::{cluster::Cluster, config::Configs, metrics::Metrics, state::Store, sweep::Sweep};

/// All that a call works with.
pub struct Agent {
    /// The node.
    pub node: Node,
    /// Pods and FloatingIPs.
    pub cluster: Arc<Cluster>,
    /// The configuration in force.
    pub configs: Arc<Configs>,
    /// Where networks are that the configuration does not have.
    pub network_conf_dir: PathBuf,
    /// Folders with plugins, after `CNI_PATH`.
    pub cni_paths: Vec<PathBuf>,
    /// What was done.
    pub store: Store,
    /// Longest wait for a pod's addresses.
    pub wait: Duration,
    /// Nothing younger is taken for an orphan.
    pub gc_age: Duration,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    pub(crate) slots: Slots,
    pub(crate) sweep: Sweep,
}

impl Agent {
    /// Answers a call. The answer is null where the specification wants none.
    ///
    /// # Errors
    /// As the runtime shall read them.
    pub async fn answer(self: &Arc<Self>, call: &Call) -> Result<Value, Error> {
        let begin = std::time::Instant::now();
        let answer = match call.request.command {
            Command::Add => self.add(call).await,
            Command::Del => self.del(call).await.map(|()| Value::Null),
            Command::Check => self.check(call).await.map(|()| Value::Null),
            Command::Gc => self.collect(call).await.map(|()| Value::Null),
            Command::Status => self.status().await.map(|()| Value::Null),
            Command::Version => Err(Error::new(code::INVALID_ENVIRONMENT, "VERSION is answered by galaxy-sdn itself")),
        };
        self.metrics.call(call.request.command.as_str(), "", answer.is_ok(), begin.elapsed());
        let (command, container) = (call.request.command.as_str(), &call.request.container_id);
        match &answer {
            Ok(_) => tracing::debug!(command, container, took = ?begin.elapsed(), "done"),
            Err(error) => tracing::warn!(command, container, error = error.msg, code = error.code, "failed"),
        }
        answer
    }
}
