//! The daemon: everything put together, from start to stop.

use galaxy_program::client;
use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use galaxy_cni::{Node, netlink::Netns};
use k8s_openapi::api::apps::v1::DaemonSet;
use kube::{Api, Client};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
    task::JoinSet,
};

use crate::{
    call::{Agent, Slots},
    cli::Options,
    cluster::Cluster,
    config::{self, Configs},
    install,
    metrics::Metrics,
    orphans,
    runtime::Runtime,
    socket::Socket,
    state::Store,
    sweep::Sweep,
    sysctl, web,
};

/// Time between looks whether pods can be served.
const READY: Duration = Duration::from_secs(1);
/// Longest wait for calls under way when stopping.
const FINISH: Duration = Duration::from_secs(20);
/// Longest wait for the API server when stopping.
const ASK: Duration = Duration::from_secs(3);

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// It cannot be started.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let client = client::connect(&options.master, &options.kubeconfig).await?;
    let stop = async move {
        tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
    };
    let running = start(&options, client).await?;
    stop.await;
    tracing::info!("stopping");
    running.stop().await;
    Ok(())
}

/// A running agent.
pub struct Running {
    /// Where `/metrics` is.
    pub web: SocketAddr,
    /// What calls work with.
    pub agent: Arc<Agent>,
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
    serving: tokio::task::JoinHandle<std::io::Result<()>>,
    cni_conf: Option<PathBuf>,
    daemon_set: Option<(String, String)>,
}

/// Starts the agent.
///
/// # Errors
/// A flag makes no sense, or a socket or folder cannot be opened.
pub async fn start(options: &Options, client: Client) -> anyhow::Result<Running> {
    let metrics = Arc::new(Metrics::default());
    let host = if options.host_netns.is_empty() { Netns::current() } else { Netns::open(&options.host_netns) };
    let host = host.with_context(|| format!("--host-netns={}", options.host_netns))?;
    let node = Node::of(host.clone()).with_announcing_thread().with_deferred_removal();
    let daemon_set = match options.daemon_set.as_str() {
        "" => None,
        name => {
            let (namespace, name) = name.split_once('/').context("--daemon-set must be NAMESPACE/NAME")?;
            Some((namespace.to_owned(), name.to_owned()))
        }
    };
    let configs = Arc::new(Configs::default());
    configs.look(&options.json_config_path, &metrics);
    let agent = Arc::new(Agent {
        node: node.clone(),
        cluster: Arc::new(Cluster::new(client, options.node_name()?, Arc::clone(&metrics))),
        configs: Arc::clone(&configs),
        network_conf_dir: options.network_conf_dir.clone(),
        cni_paths: options.cni_paths.clone(),
        store: Store::open(&options.state_dir).map_err(|error| anyhow::anyhow!(error))?,
        wait: options.wait,
        gc_age: options.gc_age,
        metrics: Arc::clone(&metrics),
        slots: Slots::default(),
        sweep: Sweep::default(),
    });
    let address = SocketAddr::new(options.bind, options.port);
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen at {address}"))?;
    let web = listener.local_addr()?;
    let socket = Socket::open(&options.socket).await?;
    tracing::info!(node = agent.cluster.node(), socket = %options.socket.display(), %web, "serving");

    let mut tasks = JoinSet::new();
    tasks.spawn(agent.sweep.clone().follow(node, Arc::clone(&metrics)));
    tasks.spawn(Arc::clone(&agent.cluster).follow());
    tasks.spawn(config::follow(configs, options.json_config_path.clone(), metrics));
    let settings =
        [("bridge/bridge-nf-call-iptables", options.bridge_nf_call_iptables), ("ipv4/ip_forward", options.ip_forward)];
    tasks.spawn(sysctl::keep(host, settings.to_vec()));
    let for_web = Arc::clone(&agent);
    tasks.spawn(async move { drop(web::serve(listener, for_web).await) });
    if let Some(runtime) = Runtime::new(&options.runtime_endpoint) {
        let (by_name, by_content) = (options.gc_dirs.clone(), options.flannel_allocated_ip_dir.clone());
        let places = orphans::Places { by_name, by_content };
        tasks.spawn(orphans::follow(Arc::clone(&agent), runtime, places, options.gc_interval));
    }
    let cni_conf = Some(&options.cni_conf).filter(|path| !path.is_empty()).map(PathBuf::from);
    tasks.spawn(watch_readiness(Arc::clone(&agent), cni_conf.clone(), options.socket.clone()));
    let (stop, mut stopped) = watch::channel(false);
    let serving = tokio::spawn(socket.serve(Arc::clone(&agent), async move {
        let _ = stopped.wait_for(|stop| *stop).await;
    }));
    Ok(Running { web, agent, tasks, stop, serving, cni_conf, daemon_set })
}

/// Says when pods can be served and when not; the runtime is told of the agent when they first can.
async fn watch_readiness(agent: Arc<Agent>, cni_conf: Option<PathBuf>, socket: PathBuf) {
    let (mut before, mut period) = (None, tokio::time::interval(READY));
    loop {
        period.tick().await;
        let now = agent.status().await;
        agent.metrics.ready(now.is_ok());
        if let (Ok(()), Some(path)) = (&now, &cni_conf)
            && let Err(error) = install::configure(path, &socket)
        {
            tracing::error!("{error:#}");
        }
        if before.as_ref() != Some(&now) {
            match &now {
                Ok(()) => tracing::info!("ready"),
                Err(error) => tracing::warn!(why = error.msg, "not ready"),
            }
            before = Some(now);
        }
    }
}

impl Running {
    /// Finishes the calls under way and stops.
    pub async fn stop(mut self) {
        if let Some(path) = &self.cni_conf
            && self.is_uninstalled().await
        {
            match install::remove(path) {
                Ok(()) => tracing::info!(path = %path.display(), "the DaemonSet is gone: CNI configuration removed"),
                Err(error) => tracing::error!("{error:#}"),
            }
        }
        self.stop.send_replace(true);
        let _ = tokio::time::timeout(FINISH, &mut self.serving).await;
        self.tasks.shutdown().await;
        let node = self.agent.node.clone();
        let _ = tokio::task::spawn_blocking(move || node.remove_condemned()).await;
    }

    /// Whether the agent's DaemonSet is gone. Not known counts as no, except where the right to know is gone with it.
    async fn is_uninstalled(&self) -> bool {
        let Some((namespace, name)) = &self.daemon_set else { return false };
        let api: Api<DaemonSet> = Api::namespaced(self.agent.cluster.client().clone(), namespace);
        match tokio::time::timeout(ASK, api.get_opt(name)).await {
            Ok(Ok(set)) => set.is_none_or(|set| set.metadata.deletion_timestamp.is_some()),
            Ok(Err(kube::Error::Api(status))) => matches!(status.code, 401 | 403),
            _ => false,
        }
    }
}
