//! A node that has power: a namespace with the agent in it.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use galaxy_cni::netlink::Netns;
use serde_json::json;
use tokio::{net::TcpStream, task::AbortHandle};

use super::{
    Plan,
    cni::{Call, Pause, call},
    lock,
    switch::{DEVICE, Switch},
};

/// How long an agent may take to be ready.
const READY: Duration = Duration::from_secs(20);
/// How often it is asked meanwhile.
const LOOK: Duration = Duration::from_millis(25);

pub(super) struct Machine {
    ns: Netns,
    program: PathBuf,
    socket: PathBuf,
    agent: Mutex<Child>,
    api: AbortHandle,
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.api.abort();
        let mut agent = lock(&self.agent);
        let _ = agent.kill();
        let _ = agent.wait();
    }
}

impl Machine {
    /// Starts number `place` of the nodes. What is on its disk stays from one start to the next, what is in /run does not.
    pub(super) fn start(plan: &Plan, place: usize, switch: &mut Switch, api: SocketAddr) -> anyhow::Result<Self> {
        let (name, ip) = &plan.nodes[place];
        let ns = switch.plug(name, *ip, place, &plan.pools)?;
        let folder = plan.folder.join(name);
        let path = |name: &str| folder.join(name).display().to_string();
        let _ = fs::remove_dir_all(folder.join("run"));
        fs::create_dir_all(folder.join("run")).with_context(|| format!("cannot create {}", path("run")))?;
        let network = json!({
            "name": "underlay", "type": "galaxy-underlay-veth", "device": DEVICE, "run_dir": path("run/cni"),
        });
        let config = json!({ "NetworkConf": [network], "ENIIPNetwork": "underlay", "DefaultNetworks": [] });
        fs::write(folder.join("galaxy.json"), config.to_string())
            .with_context(|| format!("cannot write {}", path("galaxy.json")))?;
        let (listener, local) = ns.within(|| listen(api.port()))??;
        let api = tokio::spawn(pass_on(listener, api)).abort_handle();
        let mut command = Command::new(&plan.program);
        command.arg("agent").env_clear().args([
            format!("--master=http://{local}"),
            format!("--hostname-override={name}"),
            format!("--json-config-path={}", path("galaxy.json")),
            format!("--network-conf-dir={}", path("net.d")),
            format!("--cni-paths={}", path("bin")),
            format!("--socket={}", path("run/galaxy.sock")),
            format!("--state-dir={}", path("state")),
            format!("--log-level={}", plan.log_level),
            // There is no containerd to ask.
            "--runtime-endpoint=".to_owned(),
        ]);
        // The agent ends with this pipe, that is with this process.
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        let agent =
            ns.within(|| command.spawn()).flatten().inspect_err(|_| api.abort()).context("cannot start the agent")?;
        let (program, socket) = (plan.program.clone(), folder.join("run/galaxy.sock"));
        Ok(Machine { ns, program, socket, agent: Mutex::new(agent), api })
    }

    /// Waits until the agent can serve pods.
    pub(super) async fn ready(&self) -> anyhow::Result<()> {
        let begin = Instant::now();
        loop {
            let ready = match self.socket.exists() {
                true => self.call(Call::Status, &Pause::none(), None).await,
                false => Err(anyhow::anyhow!("it does not listen")),
            };
            let Err(lacking) = ready else { return Ok(()) };
            let ended = lock(&self.agent).try_wait()?;
            ensure!(ended.is_none(), "it ended at once; what it said is above");
            ensure!(begin.elapsed() < READY, "not ready within {READY:?}: {lacking:#}");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Calls galaxy-sdn on this node, as a container runtime does.
    pub(super) async fn call(&self, command: Call, pause: &Pause, pod: Option<&Netns>) -> anyhow::Result<()> {
        let (program, socket, node) = (self.program.clone(), self.socket.clone(), self.ns.clone());
        let (pause, pod) = (pause.clone(), pod.cloned());
        let work = move || call(&program, &socket, &node, command, &pause, pod.as_ref());
        tokio::task::spawn_blocking(work).await?
    }
}

/// Listens inside the node for the API server, which has the same port there if nothing else has it.
fn listen(port: u16) -> std::io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    listener.set_nonblocking(true)?;
    let local = listener.local_addr()?;
    Ok((listener, local))
}

/// Passes connections on from inside a node to the API server.
async fn pass_on(listener: TcpListener, api: SocketAddr) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (mut inside, _) = listener.accept().await?;
        tokio::spawn(async move {
            let mut outside = TcpStream::connect(api).await?;
            tokio::io::copy_bidirectional(&mut inside, &mut outside).await
        });
    }
}
