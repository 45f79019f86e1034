//! The network that nodes and pods stand in: a bridge in a network namespace, in which also the control plane and the tests are.

use std::{
    fs,
    io::Write,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use anyhow::{Context, Result, anyhow, ensure};
use nix::sched::{CloneFlags, unshare};

/// Address of the control plane and gateway of the underlay, 10.77.0.0/24.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The underlay's subnet.
pub const SUBNET: &str = "10.77.0.0/24";
/// The bridge.
const BRIDGE: &str = "br0";

/// Runs a future in a new network namespace with the underlay in it. Whatever it starts, tasks and processes, is there too. The namespace is
/// gone when all of them are.
///
/// # Errors
/// Not root, or what the future returns.
pub fn enter<T: Send>(work: impl AsyncFnOnce() -> Result<T> + Send) -> Result<T> {
    // A namespace is a thread's; the runtime's threads and processes have that of the thread that makes them.
    let run = || {
        unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace; root can")?;
        make().context("cannot make the underlay")?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(work())
    };
    thread::scope(|scope| scope.spawn(run).join()).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(anyhow!(
            "panicked: {}",
            text.or_else(|| panic.downcast_ref().map(|text: &&str| (*text).to_owned())).unwrap_or_default()
        ))
    })
}

/// Path of the network namespace that this is called in, for `nsenter --net=`.
///
/// # Errors
/// There is no `/proc`.
pub fn path() -> Result<PathBuf> {
    Ok(Path::new("/proc").join(fs::read_link("/proc/thread-self").context("no /proc")?).join("ns/net"))
}

/// Whether [`enter`] can work; else a reason.
///
/// # Errors
/// Not root.
pub fn possible() -> Result<()> {
    thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET))
        .join()
        .map_err(|_| anyhow!("a thread panicked"))?
        .context("not root: no network namespace can be made")
}

fn make() -> Result<()> {
    ip("link set lo up")?;
    // A bridge without an address of its own takes a new one whenever a port joins.
    ip(&format!("link add {BRIDGE} address 02:77:00:00:00:01 type bridge forward_delay 0 stp_state 0"))?;
    ip(&format!("addr add {GATEWAY}/24 dev {BRIDGE}"))?;
    // The kubernetes Service, for pods of the host network, without kube-proxy.
    ip(&format!("addr add 10.96.0.1/32 dev {BRIDGE}"))?;
    ip(&format!("link set {BRIDGE} up"))?;
    // Where the module is loaded, a new namespace passes bridged packets to iptables.
    if let Ok(mut file) = fs::OpenOptions::new().write(true).open("/proc/sys/net/bridge/bridge-nf-call-iptables") {
        file.write_all(b"0")?;
    }
    Ok(())
}

/// Connects the network namespace of a process to the underlay, by its `eth0`.
pub(crate) fn plug(name: &str, hardware_address: &str, process: u32) -> Result<()> {
    ip(&format!("link add p-{name} type veth peer name eth0 address {hardware_address} netns {process}"))?;
    ip(&format!("link set p-{name} master {BRIDGE} up"))
}

/// Pulls the cable. (It goes with its namespace too, but some time later.)
pub(crate) fn unplug(name: &str) {
    let _ = ip(&format!("link del p-{name}"));
}

fn ip(arguments: &str) -> Result<()> {
    let output = Command::new("ip").args(arguments.split(' ')).output().context("cannot start ip (iproute2)")?;
    ensure!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
