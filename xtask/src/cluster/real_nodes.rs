//! `cargo xtask cluster up --nodes real`: kubelets, containerd, the agent.

use std::{net::TcpListener, time::Duration};

use anyhow::{Context, Result, ensure};
use galaxy_nodes::{Built, Cluster, Options, forward, underlay};
use galaxy_plane::{NEWEST, Runtime};

/// Runs it until Ctrl-C.
pub(super) fn run(kubernetes: &str) -> Result<()> {
    ensure!(kubernetes == NEWEST, "real nodes are of Kubernetes {NEWEST} only, not {kubernetes}");
    underlay::possible()?;
    galaxy_plane::build_nodes()?;
    let built = Built::build()?;
    // Made here, outside the cluster's network namespace.
    let [api_server, ipam] = [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
    underlay::enter(async move || {
        println!("starting Kubernetes {NEWEST} with two real nodes");
        let ctrl_c = async {
            tokio::signal::ctrl_c().await.context("cannot wait for Ctrl-C")?;
            galaxy_plane::forget();
            anyhow::Ok(())
        };
        tokio::pin!(ctrl_c);
        // As in any cluster: a person wants to see what happens meanwhile.
        let eviction_after = Duration::from_secs(300);
        let options = Options { runtime: Runtime::Containerd2, nodes: 2, eviction_after, built };
        let cluster = tokio::select! {
            cluster = Cluster::start(&options) => cluster?,
            ended = &mut ctrl_c => return ended,
        };
        println!("export KUBECONFIG={}", cluster.open(api_server)?.display());
        println!("kubectl       {}", cluster.plane().binaries().path("kubectl").display());
        println!("HTTP API      http://{}", ipam.local_addr()?);
        let there = cluster.ipam().api_url().trim_start_matches("http://").parse()?;
        forward(ipam, there)?;
        println!("logs          {}", cluster.plane().logs().display());
        println!("the underlay  nsenter --net={} curl http://ADDRESS/", underlay::path()?.display());
        for node in cluster.nodes() {
            println!("{:13} nsenter -t {} -m -n -p -u -i bash", node.name(), node.init()?);
        }
        println!("an image of a pod that answers HTTP: {}", galaxy_nodes::WEB);
        println!("Ctrl-C ends it.");
        ctrl_c.await?;
        cluster.stop()
    })
}
