//! One galaxy-ipam process with its own way to the API server, and the service in front of all of them.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use galaxy_plane::{Plane, Process, Signal, free_ports};
use kube::{Client, Config};
use rand::seq::IndexedRandom;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::proxy::Proxy;

/// How the replicas time leadership: shorter than usual, so that many failovers fit into a run.
pub(crate) const LEASE: Duration = Duration::from_secs(5);
const FLAGS: [&str; 4] = [
    "--leader-elect-lease-duration=5s",
    "--leader-elect-renew-deadline=3500ms",
    "--leader-elect-retry-period=700ms",
    "--reuse-delay=1s",
];
/// How long a replica may take to say how it stands.
const ASK: Duration = Duration::from_millis(1500);

/// A replica.
pub(crate) struct Replica {
    pub(crate) proxy: Proxy,
    pub(crate) process: Process,
    pub(crate) port: u16,
    health: Client,
    /// As it calls itself in the Lease; known once it has led, until it is started again.
    pub(crate) identity: Option<String>,
}

impl Replica {
    /// Starts one.
    pub(crate) async fn start(plane: &Plane, number: usize, seed: u64) -> Result<Self> {
        let proxy = Proxy::start(&plane.kubeconfig(), seed).await?;
        let [port, api_port] = free_ports()?;
        let mut arguments = vec![
            crate::IPAM.to_owned(),
            format!("--master=http://127.0.0.1:{}", proxy.port),
            format!("--config={}", plane.dir().join("none.json").display()),
            "--bind=127.0.0.1".to_owned(),
            "--advertise-address=127.0.0.1".to_owned(),
            format!("--port={port}"),
            format!("--api-port={api_port}"),
        ];
        arguments.extend(FLAGS.map(str::to_owned));
        let program = std::env::current_exe().context("this program has no path")?;
        let process = plane.spawn(&format!("galaxy-ipam-{number}"), &program, arguments, &[])?;
        let health = Client::try_from(Config::new(format!("http://127.0.0.1:{port}").parse()?))?;
        Ok(Self { proxy, process, port, health, identity: None })
    }

    /// What `/readyz` says, errors included.
    pub(crate) async fn standing(&self) -> String {
        let request = http::Request::get("/readyz").body(Vec::new());
        let Ok(request) = request else { return String::new() };
        match tokio::time::timeout(ASK, self.health.request_text(request)).await {
            Ok(Ok(text)) => text,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer".to_owned(),
        }
    }

    /// Whether it says that it leads.
    pub(crate) async fn leads(&self) -> bool {
        self.standing().await.starts_with("ok: leader")
    }

    /// Starts it again if it does not run.
    pub(crate) fn revive(&mut self) -> Result<()> {
        if self.process.exited().is_some() {
            self.process.restart()?;
            self.identity = None;
        }
        Ok(())
    }

    /// Freezes it, or lets it run on.
    pub(crate) fn freeze(&mut self, frozen: bool) -> Result<()> {
        self.process.signal(if frozen { Signal::Stop } else { Signal::Cont })
    }
}

/// Waits until one of these replicas leads; its index and how long that took.
pub(crate) async fn heir(
    replicas: &[Replica],
    among: impl Fn(usize) -> bool,
    limit: Duration,
) -> Result<(usize, Duration)> {
    let begun = Instant::now();
    loop {
        let asked = replicas.iter().enumerate().filter(|(index, _)| among(*index));
        let standings =
            futures::future::join_all(asked.map(async |(index, replica)| (index, replica.standing().await)));
        let standings = standings.await;
        if let Some((index, _)) = standings.iter().find(|(_, standing)| standing.starts_with("ok: leader")) {
            return Ok((*index, begun.elapsed()));
        }
        anyhow::ensure!(begun.elapsed() < limit, "nobody leads after {limit:?}: {standings:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Passes the scheduler's connections on to the replicas, as a Service does: to any of them, well or not.
pub(crate) struct Service {
    pub(crate) port: u16,
    task: JoinHandle<()>,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Service {
    pub(crate) async fn start(ports: Vec<u16>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no port for the service")?;
        let port = listener.local_addr()?.port();
        let connections = Arc::new(Mutex::new(tokio::task::JoinSet::new()));
        let task = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let chosen = ports.choose(&mut rand::rng()).copied().unwrap_or_default();
                connections.lock().unwrap_or_else(PoisonError::into_inner).spawn(async move {
                    // Without a listener there the scheduler is hung up on, and tries again.
                    if let Ok(mut replica) = TcpStream::connect(("127.0.0.1", chosen)).await {
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut replica).await;
                    }
                });
            }
        });
        Ok(Self { port, task })
    }
}
