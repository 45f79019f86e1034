//! A whole cluster in one process: API server, scheduler, controllers and nodes.

use std::{net::SocketAddr, time::Duration};

use hyper_util::{client::legacy, rt::TokioExecutor};
use kube::{
    Client,
    client::{Body, ConfigExt},
};
use tower::ServiceBuilder;

use crate::{
    apiserver::{self, Server},
    clock::Clock,
    control::{Caches, Context},
    controllers::{self, ControllersConfig},
    nodes::{NodeSpec, Nodes, NodesConfig},
    scheduler::{self, ExtenderConfig, SchedulerConfig},
};

/// What a cluster is like. The default is an empty one at the machine's time.
#[derive(Clone, Debug)]
pub struct Options {
    /// The time that everything lives by.
    pub clock: Clock,
    /// Where the API server listens; port 0 picks a free one.
    pub address: SocketAddr,
    /// Nodes to begin with.
    pub nodes: Vec<NodeSpec>,
    /// Whom the scheduler asks; [`SandboxCluster::set_extender`] can tell later.
    pub extender: Option<ExtenderConfig>,
    /// The rest of the scheduler's configuration.
    pub scheduler: SchedulerConfig,
    /// Times of controllers, and the custom workloads they run.
    pub controllers: ControllersConfig,
    /// Times of kubelets.
    pub kubelets: NodesConfig,
    /// How old a cache gets before it is listed anew. Real time.
    pub relist: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            clock: Clock::real(),
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            nodes: Vec::new(),
            extender: None,
            scheduler: SchedulerConfig::default(),
            controllers: ControllersConfig::default(),
            kubelets: NodesConfig::default(),
            relist: crate::control::RELIST,
        }
    }
}

/// A running cluster. [`SandboxCluster::stop`] ends it in order; dropping it ends it too.
pub struct SandboxCluster {
    /// The API server: its address, kubeconfig, faults and record of calls.
    pub api: Server,
    /// The nodes, to be switched off and on.
    pub nodes: Nodes,
    scheduler: scheduler::Handle,
    root: Context,
    contexts: Vec<Context>,
}

impl SandboxCluster {
    /// Starts the cluster and returns when its nodes are registered.
    ///
    /// # Errors
    /// The address cannot be listened on, or a node is refused.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        let api = Server::start(apiserver::Options {
            clock: options.clock.clone(),
            address: options.address,
            users: Vec::new(),
        })
        .await?;
        // Each part with a name of its own, by which faults and counters can tell it from the others.
        let part = |agent: &str| -> anyhow::Result<Context> {
            let client = plain_client(&api.config(agent))?;
            Ok(Context::new(client, options.clock.clone()).with_relist(options.relist))
        };
        let root = part("kube-controller-manager")?;
        let kubelet = part("kubelet")?;
        let schedule = part("kube-scheduler")?;
        let caches = Caches::start(&root);
        let nodes = Nodes::start(&kubelet, &caches, options.kubelets);
        let mut config = options.scheduler;
        config.extenders.extend(options.extender);
        let scheduler = scheduler::start(&schedule, &caches.with_recorder(&schedule), config);
        let cluster = Self { api, nodes, scheduler, contexts: vec![schedule, kubelet], root };
        controllers::start(&cluster.root, &caches, &options.controllers);
        cluster.nodes.add(options.nodes).await?;
        caches.synced().await;
        Ok(cluster)
    }

    /// A client with the given `User-Agent`.
    pub fn client(&self, agent: &str) -> Client {
        self.api.client(agent)
    }

    /// Tells the scheduler whom to ask from now on; every waiting pod is tried again.
    pub fn set_extender(&self, extender: Option<ExtenderConfig>) {
        self.scheduler.set_extenders(extender.into_iter().collect());
    }

    /// Stops everything and waits until all of it has stopped.
    pub async fn stop(self) {
        for context in &self.contexts {
            context.shutdown().await;
        }
        self.root.shutdown().await;
        self.api.stop();
    }
}

/// A client for plain HTTP that does not retry: the loops do so by themselves, and soon. It costs nothing to make, where kube's own
/// reads the machine's certificates first.
fn plain_client(config: &kube::Config) -> kube::Result<Client> {
    let http = legacy::Client::builder(TokioExecutor::new()).build_http::<Body>();
    let service =
        ServiceBuilder::new().layer(config.base_uri_layer()).layer(config.extra_headers_layer()?).service(http);
    Ok(Client::new(service, config.default_namespace.clone()))
}

impl Drop for SandboxCluster {
    fn drop(&mut self) {
        self.contexts.iter().chain([&self.root]).for_each(Context::cancel);
    }
}
