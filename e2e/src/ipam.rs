//! galaxy-ipam in the process of its tests, in a runtime of its own so that it can be killed.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use galaxy_api::config::FileConfig;
use galaxy_ipam::{cli::Options, clock::Clock, engine::Engine, service};
use kube::Client;
use serde_json::json;
use tokio::runtime::Runtime;

use crate::setup::Setup;

/// A running galaxy-ipam.
struct Ipam {
    running: Arc<tokio::sync::Mutex<service::Running>>,
    extender: String,
    api: String,
    engine: Arc<Engine>,
    runtime: Option<Runtime>,
}

impl Drop for Ipam {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// How galaxy-ipam is started.
pub(crate) struct Launch<'a> {
    /// The API server, and who it is there.
    pub(crate) config: kube::Config,
    /// What the scenario asks for.
    pub(crate) setup: &'a Setup,
    /// Its time.
    pub(crate) clock: Arc<dyn Clock>,
    /// Ports of the extender and of the HTTP API; 0 for any.
    pub(crate) ports: [u16; 2],
    /// How long it may take to serve; none to return once it listens.
    pub(crate) patience: Option<Duration>,
}

/// The place of a cluster's galaxy-ipam, which may be empty.
#[derive(Default)]
pub(crate) struct Slot(Mutex<Option<Ipam>>);

impl Slot {
    fn ipam(&self) -> MutexGuard<'_, Option<Ipam>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look<T>(&self, look: impl FnOnce(&Ipam) -> T) -> Option<T> {
        self.ipam().as_ref().map(look)
    }

    /// Base URL of the HTTP API, empty if none runs.
    pub(crate) fn api_url(&self) -> String {
        self.look(|ipam| ipam.api.clone()).unwrap_or_default()
    }

    /// Base URL of the extender, empty if none runs.
    pub(crate) fn extender_url(&self) -> String {
        self.look(|ipam| ipam.extender.clone()).unwrap_or_default()
    }

    /// Starts one in place of what is there.
    pub(crate) async fn start(&self, launch: Launch<'_>) -> Result<()> {
        let ipam = Ipam::start(launch).await?;
        *self.ipam() = Some(ipam);
        Ok(())
    }

    /// Stops it as `kubectl delete pod` does.
    pub(crate) async fn stop(&self) -> Result<()> {
        let Some(mut ipam) = self.ipam().take() else { return Ok(()) };
        let (running, runtime) = (ipam.running.clone(), ipam.runtime.take());
        let stopped = match &runtime {
            Some(runtime) => runtime.spawn(async move { running.lock().await.stop().await }).await,
            None => Ok(Ok(())),
        };
        if let Some(runtime) = runtime {
            runtime.shutdown_background();
        }
        stopped?
    }

    /// Ends it in the middle of whatever it does.
    pub(crate) fn kill(&self) {
        *self.ipam() = None;
    }

    /// Has it sweep.
    pub(crate) async fn sweep(&self) -> Result<()> {
        let running = self.look(|ipam| ipam.running.clone()).context("galaxy-ipam is not running")?;
        running.lock().await.sweep().await;
        Ok(())
    }

    /// Checks the ledger's counters and indexes.
    pub(crate) fn check(&self) {
        if let Some(engine) = self.look(|ipam| ipam.engine.clone()) {
            engine.read(|ledger| ledger.check_invariants());
        }
    }
}

impl Ipam {
    async fn start(launch: Launch<'_>) -> Result<Self> {
        let Launch { mut config, setup, clock, ports, patience } = launch;
        let mut args: Vec<String> = ["galaxy-ipam", "--bind=127.0.0.1"].map(str::to_owned).into();
        args.extend([format!("--port={}", ports[0]), format!("--api-port={}", ports[1])]);
        if !setup.flags.iter().any(|flag| flag.starts_with("--leader-elect")) {
            args.push("--leader-elect=false".to_owned());
        }
        if !setup.flags.iter().any(|flag| flag.starts_with("--api-auth")) {
            args.push("--api-auth=none".to_owned());
        }
        args.extend(setup.flags.iter().cloned());
        let file = json!({ "schedule_plugin": setup.plugin }).to_string();
        config.connect_timeout = Some(Duration::from_secs(2));
        config.default_retry = false;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let starting = runtime.spawn(async move {
            let setup = service::Setup {
                client: Client::try_from(config)?,
                options: Options::parse_args(args.into_iter().map(Into::into))?,
                file: FileConfig::parse(file.as_bytes())?,
                clock,
                cloud: None,
            };
            let running = service::start(setup).await?;
            if let Some(patience) = patience {
                running.ready(patience).await.map_err(|lacking| anyhow!("galaxy-ipam is not ready: {lacking}"))?;
            }
            anyhow::Ok(running)
        });
        let running = match starting.await {
            Ok(Ok(running)) => running,
            failed => {
                // A runtime must not be dropped here: that waits, and nobody may wait in a task.
                runtime.shutdown_background();
                return Err(failed.map(|outcome| outcome.err().unwrap_or_else(|| anyhow!("no outcome")))?);
            }
        };
        let (extender, api) = (format!("http://{}", running.extender), format!("http://{}", running.api));
        let engine = running.engine().clone();
        let running = Arc::new(tokio::sync::Mutex::new(running));
        Ok(Self { running, extender, api, engine, runtime: Some(runtime) })
    }
}
