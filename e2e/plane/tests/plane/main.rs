//! The control plane itself: that it works as the tests of Galaxy will need it, and that it leaves nothing behind.

mod crds;
mod extender;
mod guard;
mod nodes;
mod workloads;

use std::io::Write;

use anyhow::{Context, Result, ensure};
use galaxy_plane::{Binaries, Component, NEWEST, Options, Plane, Rack};

/// Whether the programs are there; if not, a line says so that no test harness swallows.
fn built(version: &str) -> bool {
    let Err(error) = Binaries::find(version) else { return true };
    // Not eprintln!, which the harness captures.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {error:#}");
    false
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_control_plane() -> Result<()> {
    // Another of the pinned versions may be asked for.
    let wanted = std::env::var("GALAXY_KUBERNETES").unwrap_or_else(|_| NEWEST.to_owned());
    if !built(&wanted) {
        return Ok(());
    }
    let racks = Rack::letters(&[2, 2])?;
    let plane = Plane::start(Options { version: wanted.clone(), racks, ..Options::default() }).await?;
    version(&plane, &wanted).await.context("version")?;
    crds::floating_ips(&plane).await.context("FloatingIPs")?;
    crds::pools(&plane).await.context("Pools")?;
    workloads::deployment(&plane).await.context("Deployment")?;
    workloads::job(&plane).await.context("Job")?;
    workloads::address_of_galaxy(&plane).await.context("pod address")?;
    workloads::service_account(&plane).await.context("service account")?;
    nodes::power(&plane).await.context("power")?;
    extender::both_forms(&plane).await.context("extender")?;
    restarts(&plane).await.context("restarts")?;

    let dir = plane.dir().to_owned();
    ensure!(!guard::processes_naming(&dir)?.is_empty(), "the test cannot see the plane's processes");
    plane.stop()?;
    ensure!(!dir.exists(), "{} is still there", dir.display());
    let left = guard::processes_naming(&dir)?;
    ensure!(left.is_empty(), "left behind: {left:?}");
    Ok(())
}

async fn version(plane: &Plane, wanted: &str) -> Result<()> {
    let output = plane.kubectl(&["version", "-o", "json"]).await?;
    for side in ["clientVersion", "serverVersion"] {
        let version = &serde_json::from_str::<serde_json::Value>(&output.stdout)?[side]["gitVersion"];
        ensure!(
            version.as_str().is_some_and(|version| version.starts_with(&format!("v{wanted}."))),
            "{side} is {version}"
        );
    }
    Ok(())
}

/// Every component can be killed and comes back with its data.
async fn restarts(plane: &Plane) -> Result<()> {
    let components =
        [Component::Etcd, Component::ApiServer, Component::ControllerManager, Component::Scheduler, Component::Kwok];
    for component in components {
        plane.kill(component);
        ensure!(plane.ready(component).await.is_err(), "{component} is ready although it was killed");
        plane.restart(component).await?;
    }
    plane.ready(Component::ApiServer).await?;
    let nodes = plane.kubectl(&["get", "nodes", "-o", "name"]).await?;
    ensure!(nodes.stdout.lines().count() == 4, "{nodes:?}");
    Ok(())
}
