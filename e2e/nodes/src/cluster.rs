//! A cluster: control plane, galaxy-ipam, nodes, the agent on them.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use galaxy_plane::{Binaries, Ipam, IpamOptions, Plane, RealNodes, Runtime, Scheduler, root, target, wait_for};
use k8s_openapi::api::{apps::v1::DaemonSet, core::v1::Node as KubeNode};
use kube::{Api, api::ListParams};
use serde_json::{Value, json};

use crate::{
    cgroups::Cgroups,
    forward::forward,
    image,
    node::{Machine, Node, output},
    runtime,
    underlay::{GATEWAY, SUBNET},
};

/// The image whose container answers HTTP at port 80.
pub const WEB: &str = "galaxy.test/web:1";
/// The agent's, as the shipped manifest names it.
pub const AGENT: &str = concat!("galaxy.test/galaxy:", env!("CARGO_PKG_VERSION"));

/// How long the agent and the nodes may take to become ready.
const READY: Duration = Duration::from_secs(120);
/// How long galaxy-ipam may take.
const IPAM_READY: Duration = Duration::from_secs(60);

/// What is Galaxy's own in a cluster, built.
#[derive(Clone, Debug)]
pub struct Built {
    ipam: PathBuf,
    web: PathBuf,
    images: Vec<PathBuf>,
}

impl Built {
    /// Builds galaxy-ipam and the images.
    ///
    /// # Errors
    /// cargo says so.
    pub fn build() -> Result<Self> {
        let folder = target().join("nodes");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let web = image::static_program("galaxy-web", "dev")?;
        let entrypoint = ["/usr/bin/galaxy-web", "pause"];
        let images = [
            ("agent", image::agent(AGENT, "dev")?),
            ("web", image::archive(WEB, &entrypoint[..1], std::slice::from_ref(&web))?),
            ("pause", image::archive(runtime::PAUSE, &entrypoint, std::slice::from_ref(&web))?),
        ];
        let mut paths = Vec::new();
        for (name, archive) in images {
            let path = folder.join(format!("{name}.tar"));
            fs::write(&path, archive).with_context(|| format!("cannot write {}", path.display()))?;
            paths.push(path.canonicalize()?);
        }
        Ok(Self { ipam: image::program("galaxy-ipam", "dev")?, web, images: paths })
    }
}

/// What a cluster shall be.
#[derive(Clone, Debug)]
pub struct Options {
    /// The nodes' container runtime.
    pub runtime: Runtime,
    /// Number of nodes, `node1` with address 10.77.0.11 and so on; at most 9.
    pub nodes: u8,
    /// How long pods stay on a node that is not ready, in whole seconds.
    pub eviction_after: Duration,
    /// Galaxy's programs.
    pub built: Built,
}

/// A running cluster. When dropped everything is gone but the logs; [`Cluster::stop`] removes these too.
pub struct Cluster {
    // In this order: what is named last is needed by the others.
    nodes: Vec<Node>,
    ipam: Ipam,
    plane: Plane,
    web: PathBuf,
    _cgroups: Cgroups,
}

impl Cluster {
    /// Starts a cluster in this network namespace (see [`underlay::enter`](crate::underlay::enter)) and returns when all nodes are Ready and
    /// the agent serves on each.
    ///
    /// # Errors
    /// Programs are not built, or something does not become ready; its log is named.
    pub async fn start(options: &Options) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let programs = Binaries::of_nodes(options.runtime)?;
        let names: Vec<String> = (1..=options.nodes).map(|number| format!("node{number}")).collect();
        let cgroups =
            Cgroups::make(&format!("galaxy-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed)))?;
        let plane = Plane::start(galaxy_plane::Options {
            scheduler: None,
            eviction_after: options.eviction_after,
            // Six heartbeats.
            node_grace: Some(Duration::from_secs(12)),
            real: Some(RealNodes { address: GATEWAY.into(), names: names.clone() }),
            ..galaxy_plane::Options::default()
        })
        .await?;
        let nodes = (1..).zip(&names).map(|(number, name)| {
            let cgroup = cgroups.node(name)?;
            node(&plane, options, &programs, number, name, &cgroup)
        });
        let nodes: Vec<Node> = nodes.collect::<Result<_>>()?;
        let boot = try_join_all(nodes.iter().map(Node::boot));
        let (_, ipam) = tokio::try_join!(boot, ipam(&plane, &options.built.ipam))?;
        let cluster = Self { nodes, ipam, plane, web: options.built.web.clone(), _cgroups: cgroups };
        cluster.plane.apply(&root().join("deploy/agent.yaml")).await?;
        cluster.ready().await?;
        Ok(cluster)
    }

    /// Waits until all nodes are Ready and the agent is on each.
    ///
    /// # Errors
    /// That takes more than two minutes.
    pub async fn ready(&self) -> Result<()> {
        let nodes: Api<KubeNode> = Api::all(self.plane.client());
        let agents: Api<DaemonSet> = Api::namespaced(self.plane.client(), "kube-system");
        wait_for("all nodes with the agent", READY, async || {
            let listed = nodes.list(&ListParams::default()).await?.items;
            let usable = listed.iter().filter(|node| usable(node)).count();
            ensure!(usable == self.nodes.len(), "{usable} of {} nodes are Ready", self.nodes.len());
            let status = agents.get("galaxy").await?.status.unwrap_or_default();
            let ready = usize::try_from(status.number_ready).unwrap_or_default();
            ensure!(ready == self.nodes.len(), "the agent is ready on {ready} of {} nodes", self.nodes.len());
            Ok(())
        })
        .await
    }

    /// The control plane.
    pub fn plane(&self) -> &Plane {
        &self.plane
    }

    /// galaxy-ipam.
    pub fn ipam(&self) -> &Ipam {
        &self.ipam
    }

    /// The nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// A node by its name.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn node(&self, name: &str) -> Result<&Node> {
        self.nodes.iter().find(|node| node.name() == name).with_context(|| format!("there is no node {name}"))
    }

    /// What the pod with this address answers to an HTTP request from the underlay.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn get(&self, address: IpAddr) -> Result<String> {
        let mut command = tokio::process::Command::new(&self.web);
        command.args(["get", &address.to_string()]);
        output(command).await.with_context(|| format!("{address} does not answer"))
    }

    /// Opens the API server to this machine at a listener of another network namespace, and returns the path of a kubeconfig for it.
    ///
    /// # Errors
    /// The listener cannot be used, or the kubeconfig not be written.
    pub fn open(&self, listener: TcpListener) -> Result<PathBuf> {
        let text = fs::read_to_string(self.plane.kubeconfig()).context("cannot read the kubeconfig")?;
        let mut kubeconfig: Value = serde_json::from_str(&text).context("no kubeconfig")?;
        let entry = &mut kubeconfig["clusters"][0]["cluster"];
        entry["server"] = json!(format!("https://{}", listener.local_addr()?));
        // The certificate does not know the listener.
        entry["tls-server-name"] = json!("kubernetes");
        forward(listener, (GATEWAY, 443).into())?;
        let path = self.plane.dir().join("outside.kubeconfig");
        fs::write(&path, kubeconfig.to_string()).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Ends everything and removes the logs too; for a cluster that has served its purpose.
    ///
    /// # Errors
    /// A folder cannot be removed.
    pub fn stop(self) -> Result<()> {
        let Self { nodes, ipam, plane, web: _, _cgroups } = self;
        drop((nodes, ipam));
        plane.stop()
    }
}

fn usable(node: &KubeNode) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True") && taints.is_empty()
}

fn node(plane: &Plane, options: &Options, programs: &Binaries, number: u8, name: &str, cgroup: &str) -> Result<Node> {
    let file = |suffix: &str| plane.dir().join(format!("{name}.{suffix}"));
    let write = |path: &Path, content: String| {
        fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
    };
    let (containerd_config, kubelet_config) = (file("containerd.toml"), file("kubelet.json"));
    write(&containerd_config, runtime::containerd(options.runtime, &programs.path("runc")))?;
    write(&kubelet_config, runtime::kubelet(cgroup, &plane.kubelet_clients()).to_string())?;
    Ok(Node::new(Machine {
        name: name.to_owned(),
        number,
        address: IpAddr::V4(Ipv4Addr::new(10, 77, 0, 10 + number)),
        dir: plane.dir().join(name),
        logs: plane.logs().join(name),
        programs: programs.clone(),
        containerd_config,
        kubelet_config,
        kubeconfig: file("kubeconfig"),
        images: options.built.images.clone(),
        web: options.built.web.clone(),
        guard: plane.guard().clone(),
    }))
}

/// Brings galaxy-ipam: what is shipped in `deploy/`, topology, the service, and the scheduler that asks it.
async fn ipam(plane: &Plane, program: &Path) -> Result<Ipam> {
    let kubeconfig = Some(plane.install_galaxy().await?);
    let pools = json!([{
        "nodeSubnets": [SUBNET], "ips": ["10.77.0.30~10.77.0.249"], "subnet": SUBNET, "gateway": GATEWAY,
    }]);
    let topology = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "floatingip-config", "namespace": "kube-system"},
        "data": {"floatingips": pools.to_string()},
    });
    let path = plane.dir().join("floatingip-config.json");
    fs::write(&path, topology.to_string()).context("cannot write the topology")?;
    plane.apply(&path).await?;
    let mut ipam = plane.start_ipam(&IpamOptions { kubeconfig, ..IpamOptions::new(program) })?;
    ipam.ready(IPAM_READY).await?;
    plane.schedule(&Scheduler::with_galaxy(ipam.extender_url(), true)).await?;
    Ok(ipam)
}
