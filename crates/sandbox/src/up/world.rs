//! Everything that `up` starts: the cluster, galaxy-ipam, and a kubeconfig for others.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use galaxy_api::config::{FileConfig, parse_pools};
use galaxy_core::PoolConfig;
use galaxy_ipam::{
    cli,
    clock::SystemClock,
    service::{self, Running, Setup},
};
use kube::Client;

use super::{examples, hands::Hands};
use crate::{
    cluster::{Options, SandboxCluster},
    controllers::{ControllersConfig, CustomWorkload},
    nodes::{NodeSpec, NodesConfig},
    scheduler::ExtenderConfig,
    underlay::{Plan, Underlay},
};

/// How long galaxy-ipam may take until it decides.
const READY: Duration = Duration::from_secs(20);

/// Ports to listen on; 0 takes any free one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ports {
    /// galaxy-ipam's HTTP API.
    pub api: u16,
    /// galaxy-ipam's scheduler extender.
    pub extender: u16,
    /// The Kubernetes API.
    pub kube: u16,
}

/// What agents of real nodes are.
#[derive(Clone, Debug)]
pub struct Agents {
    /// The program galaxy-sandbox, which can be one.
    pub program: PathBuf,
    /// What they log to the standard error.
    pub log_level: String,
}

/// A node of the sandbox.
#[derive(Clone, Debug)]
pub struct Place {
    /// Name of the node.
    pub node: String,
    /// Its rack.
    pub rack: u8,
    /// Its address.
    pub ip: IpAddr,
}

/// A running sandbox with galaxy-ipam at work.
pub struct World {
    cluster: SandboxCluster,
    ipam: Running,
    kubeconfig: Kubeconfig,
    places: Vec<Place>,
    underlay: Option<Underlay>,
    /// What is made up, and why.
    left_out: Option<String>,
}

impl World {
    /// Starts everything and returns once galaxy-ipam decides. With `agents`, and if this user and this kernel can have them, nodes and
    /// pods are network namespaces.
    ///
    /// # Errors
    /// A port is taken, the kubeconfig cannot be written, galaxy-ipam does not become ready in time, or an agent does not.
    pub async fn start(ports: Ports, kubeconfig: Option<PathBuf>, agents: Option<Agents>) -> anyhow::Result<Self> {
        let places = places();
        let (underlay, left_out) = underlay(agents, &places)?;
        let options = Options {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, ports.kube)),
            nodes: places.iter().map(|at| NodeSpec::new(&at.node, at.ip).rack(format!("rack{}", at.rack))).collect(),
            // A real cluster takes 40 s to call a silent node dead and 300 s more to evict its pods: nobody wants to watch that.
            controllers: ControllersConfig {
                node_monitor_period: Duration::from_millis(500),
                node_monitor_grace: Duration::from_secs(3),
                max_toleration: Some(Duration::from_secs(1)),
                pod_gc_period: Duration::from_secs(1),
                custom: vec![CustomWorkload::new("apps.tkestack.io", "v1", "TApp", "tapps")],
                ..ControllersConfig::default()
            },
            kubelets: NodesConfig {
                heartbeat: Some(Duration::from_secs(1)),
                runtime: underlay.as_ref().map(Underlay::runtime),
                ..NodesConfig::default()
            },
            ..Options::default()
        };
        let cluster = SandboxCluster::start(options).await.context("the sandbox cannot start")?;
        let kubeconfig = Kubeconfig::write(kubeconfig, &cluster.api.kubeconfig())?;

        let hands = Hands::new(cluster.client("kubectl"));
        hands.apply("floatingip-config.yaml").await?;
        let ipam = start_ipam(&kubeconfig.file, ports).await.context("galaxy-ipam cannot start")?;
        ipam.ready(READY).await.map_err(|lacking| anyhow::anyhow!("galaxy-ipam is not ready: {lacking}"))?;
        if let Some(underlay) = &underlay {
            underlay.boot(cluster.api.address()).await?;
        }
        cluster.set_extender(Some(ExtenderConfig::galaxy(format!("http://{}/v1", ipam.extender))));
        Ok(Self { cluster, ipam, kubeconfig, places, underlay, left_out })
    }

    /// A client of the Kubernetes API.
    pub fn client(&self) -> Client {
        self.cluster.client("kubectl")
    }

    /// The nodes.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// The network of the nodes, if they are real.
    pub fn underlay(&self) -> Option<&Underlay> {
        self.underlay.as_ref()
    }

    /// What is made up, and why, in one sentence.
    pub fn left_out(&self) -> Option<&str> {
        self.left_out.as_deref()
    }

    /// The kubeconfig file.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig.file
    }

    /// Address of the Kubernetes API.
    pub fn kube_url(&self) -> String {
        self.cluster.api.url()
    }

    /// Address of galaxy-ipam's HTTP API.
    pub fn api_url(&self) -> String {
        format!("http://{}", self.ipam.api)
    }

    /// Address of galaxy-ipam's scheduler extender.
    pub fn extender_url(&self) -> String {
        format!("http://{}", self.ipam.extender)
    }

    /// Pulls the plug of a node.
    pub fn power_off(&self, node: &str) {
        self.cluster.nodes.power_off(node);
    }

    /// Gives it power again.
    pub fn power_on(&self, node: &str) {
        self.cluster.nodes.power_on(node);
    }

    /// Ends everything in order and removes what was written.
    ///
    /// # Errors
    /// galaxy-ipam had broken off before.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        // Agents first: they would complain of the API server.
        self.underlay = None;
        let stopped = self.ipam.stop().await;
        self.cluster.stop().await;
        stopped
    }
}

/// Six nodes in three racks. The address pools of `examples/floatingip-config.yaml` go by these addresses.
fn places() -> Vec<Place> {
    let in_rack = |rack: u8| {
        ["a", "b"].into_iter().zip(11..).map(move |(letter, host)| Place {
            node: format!("rack{rack}-{letter}"),
            rack,
            ip: Ipv4Addr::new(10, 180, rack, host).into(),
        })
    };
    (1..=3).flat_map(in_rack).collect()
}

/// The address pools of `examples/floatingip-config.yaml`.
fn pools() -> anyhow::Result<Vec<PoolConfig>> {
    let objects = examples::objects("floatingip-config.yaml")?;
    let document = objects.first().and_then(|map| map.data["data"]["floatingips"].as_str()).context("no pools")?;
    Ok(parse_pools(document)?)
}

/// The network of the nodes, if it can be had, and what cannot.
fn underlay(agents: Option<Agents>, places: &[Place]) -> anyhow::Result<(Option<Underlay>, Option<String>)> {
    let Some(Agents { program, log_level }) = agents else { return Ok((None, None)) };
    let nodes = places.iter().map(|place| (place.node.clone(), place.ip)).collect();
    let plan = Plan { program, log_level, folder: new_folder(), nodes, pools: pools()? };
    Ok(match Underlay::make(plan) {
        Ok(underlay) => {
            let lacks = places.iter().map(|place| place.node.as_str()).filter(|node| !underlay.has(node));
            let lacks = lacks.collect::<Vec<_>>().join(" and ");
            let why = format!("Left out: {lacks} and their pods are made up, for this kernel has no 802.1Q VLANs.");
            (Some(underlay), (!lacks.is_empty()).then_some(why))
        }
        Err(error) => {
            (None, Some(format!("Left out: nodes and pods are made up, and nothing answers pings: {error:#}.")))
        }
    })
}

/// galaxy-ipam as `galaxy-ipam --kubeconfig FILE` would run, in this process.
async fn start_ipam(kubeconfig: &Path, ports: Ports) -> anyhow::Result<Running> {
    let mut args =
        ["galaxy-ipam", "--bind=127.0.0.1", "--leader-elect=false", "--api-auth=none"].map(Into::into).to_vec();
    args.push(format!("--port={}", ports.extender).into());
    args.push(format!("--api-port={}", ports.api).into());
    let options = cli::Options::parse_args(args)?;
    let read = kube::config::Kubeconfig::read_from(kubeconfig)?;
    let config = kube::Config::from_custom_kubeconfig(read, &kube::config::KubeConfigOptions::default()).await?;
    let setup = Setup {
        client: Client::try_from(config)?,
        options,
        file: FileConfig::default(),
        clock: Arc::new(SystemClock::start()),
        cloud: None,
    };
    service::start(setup).await
}

/// The kubeconfig file. A folder made for it goes with it.
struct Kubeconfig {
    file: PathBuf,
    folder: Option<PathBuf>,
}

impl Kubeconfig {
    /// Writes it where the user wants it, else into a new folder that only this user can read.
    fn write(wanted: Option<PathBuf>, content: &str) -> anyhow::Result<Self> {
        let kubeconfig = match wanted {
            Some(file) => Self { file, folder: None },
            None => {
                let folder = new_folder();
                create_private(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
                Self { file: folder.join("kubeconfig"), folder: Some(folder) }
            }
        };
        let file = &kubeconfig.file;
        std::fs::write(file, content).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(kubeconfig)
    }
}

impl Drop for Kubeconfig {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

/// A folder that is not there yet.
fn new_folder() -> PathBuf {
    let unique = uuid::Uuid::new_v4().simple().to_string();
    std::env::temp_dir().join(format!("galaxy-sandbox-{}", &unique[..8]))
}

/// Fails if the folder is there: somebody else may have made it.
fn create_private(folder: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

#[cfg(test)]
mod tests {
    use galaxy_core::Topology;

    use super::*;

    #[test]
    fn every_node_is_in_a_configured_subnet() {
        let (topology, warnings) = Topology::build(pools().unwrap()).unwrap();
        assert!(warnings.is_empty(), "{warnings:?}");
        for place in places() {
            assert!(topology.class_of(place.ip).is_some(), "{place:?}");
        }
    }
}
