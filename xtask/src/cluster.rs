//! `cargo xtask cluster`: builds the programs of a real control plane, and runs one for a person.

mod real_nodes;

use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use galaxy_plane::{Ipam, IpamOptions, Options, Plane, Rack, Scheduler};
use serde_json::{Value, json};

use crate::{Profile, program};

/// Nodes in one rack at most.
const RACK: usize = 200;
/// How long galaxy-ipam may take to serve.
const IPAM_READY: Duration = Duration::from_secs(60);

#[derive(Subcommand)]
pub(crate) enum Task {
    /// Build the programs from their Go modules; takes minutes the first time, then nothing.
    Build {
        /// Minor version of Kubernetes; may be repeated.
        #[arg(long, default_value = galaxy_plane::NEWEST)]
        kubernetes: Vec<String>,
        /// Every pinned version.
        #[arg(long, conflicts_with = "kubernetes")]
        all: bool,
        /// Also what real nodes run: kubelet, containerd, runc. Needs apt (Debian 12).
        #[arg(long)]
        nodes: bool,
    },
    /// Run a cluster with galaxy-ipam until Ctrl-C.
    Up(Up),
}

#[derive(Args)]
pub(crate) struct Up {
    /// Minor version of Kubernetes.
    #[arg(long, default_value = galaxy_plane::NEWEST)]
    kubernetes: String,
    /// Number of made-up nodes, in racks of up to 200; or `real`: two with kubelet, containerd and the agent, which needs root.
    #[arg(long, default_value = "10", value_parser = parse_nodes)]
    nodes: Nodes,
    /// Whether the scheduler sends galaxy-ipam nodes by name only (nodeCacheCapable).
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    names_only: bool,
}

/// What nodes a cluster has.
#[derive(Clone, Copy)]
enum Nodes {
    /// So many, played by kwok.
    Played(u16),
    /// Two, with containers.
    Real,
}

fn parse_nodes(text: &str) -> Result<Nodes, String> {
    let number = text.parse().ok().filter(|number| (1..=5_000).contains(number)).map(Nodes::Played);
    number
        .or((text == "real").then_some(Nodes::Real))
        .ok_or_else(|| "neither a number from 1 to 5000 nor `real`".to_owned())
}

/// Runs a subcommand.
pub(crate) fn run(task: Task) -> Result<()> {
    match task {
        Task::Build { kubernetes, all, nodes } => {
            let versions = if all { galaxy_plane::versions() } else { kubernetes };
            for version in versions {
                galaxy_plane::build(&version)?;
                println!("Kubernetes {version} is built");
            }
            if nodes {
                galaxy_plane::build_nodes()?;
                println!("the programs of nodes are built");
            }
            Ok(())
        }
        Task::Up(up) => {
            galaxy_plane::build(&up.kubernetes)?;
            match up.nodes {
                Nodes::Real => real_nodes::run(&up.kubernetes),
                Nodes::Played(nodes) => {
                    let ipam = program("galaxy-ipam", Profile::Debug)?;
                    tokio::runtime::Runtime::new()?.block_on(up_until_ctrl_c(up, nodes, IpamOptions::new(&ipam)))
                }
            }
        }
    }
}

async fn up_until_ctrl_c(up: Up, nodes: u16, ipam: IpamOptions) -> Result<()> {
    let racks = racks(nodes.into())?;
    let options = Options {
        version: up.kubernetes,
        racks: racks.clone(),
        scheduler: None,
        // As in any cluster: a person wants to see what happens meanwhile.
        eviction_after: Duration::from_secs(300),
        ..Options::default()
    };
    println!("starting Kubernetes {} with {nodes} nodes", options.version);
    let ctrl_c = async {
        tokio::signal::ctrl_c().await.context("cannot wait for Ctrl-C")?;
        galaxy_plane::forget();
        anyhow::Ok(())
    };
    tokio::pin!(ctrl_c);
    let plane = tokio::select! {
        plane = Plane::start(options) => plane?,
        ended = &mut ctrl_c => return ended,
    };
    let mut running = tokio::select! {
        running = galaxy(&plane, &ipam, &racks, up.names_only) => running?,
        ended = &mut ctrl_c => return ended.and_then(|()| plane.stop()),
    };
    println!("export KUBECONFIG={}", plane.kubeconfig().display());
    println!("kubectl       {}", plane.binaries().path("kubectl").display());
    println!("extender      {}", running.extender_url());
    println!("HTTP API      {}", running.api_url());
    println!("a token for it: kubectl -n kube-system create token galaxy-ipam");
    println!("logs          {}", plane.logs().display());
    println!("Ctrl-C ends it.");
    ctrl_c.await?;
    // Its lease is given up and its last writes are done before the API server goes.
    let ended = running.stop(Duration::from_secs(10)).await;
    drop(running);
    plane.stop()?;
    ended
}

/// Brings galaxy-ipam to a cluster: what is shipped in `deploy/`, topology, the service, and the scheduler that asks it.
async fn galaxy(plane: &Plane, options: &IpamOptions, racks: &[Rack], names_only: bool) -> Result<Ipam> {
    let options = IpamOptions { kubeconfig: Some(plane.install_galaxy().await?), ..options.clone() };
    let topology = plane.dir().join("floatingip-config.json");
    std::fs::write(&topology, config_map(racks).to_string()).context("cannot write the topology")?;
    plane.apply(&topology).await?;
    let mut ipam = plane.start_ipam(&options)?;
    ipam.ready(IPAM_READY).await?;
    plane.schedule(&Scheduler::with_galaxy(ipam.extender_url(), names_only)).await?;
    Ok(ipam)
}

/// Racks of up to [`RACK`] nodes, rack number r with nodes 10.0.r.11 …
fn racks(nodes: usize) -> Result<Vec<Rack>> {
    let rack = |number: usize| {
        let nodes = RACK.min(nodes - (number - 1) * RACK);
        let name = if nodes < RACK && number == 1 { "node".to_owned() } else { format!("rack{number}-node") };
        Ok(Rack { name, subnet: format!("10.0.{number}.0/24").parse()?, nodes })
    };
    (1..=nodes.div_ceil(RACK)).map(rack).collect()
}

/// The topology: about a thousand addresses for the pods of each rack, 10.64.4r.10 …
fn config_map(racks: &[Rack]) -> Value {
    let pool = |(number, rack): (usize, &Rack)| {
        let (base, last) = (number * 4, number * 4 + 3);
        json!({
            "nodeSubnets": [rack.subnet.to_string()],
            "ips": [format!("10.64.{base}.10~10.64.{last}.250")],
            "subnet": format!("10.64.{base}.0/22"),
            "gateway": format!("10.64.{base}.1"),
        })
    };
    let pools: Vec<Value> = racks.iter().enumerate().map(pool).collect();
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "floatingip-config", "namespace": "kube-system"},
        "data": {"floatingips": Value::Array(pools).to_string()},
    })
}
