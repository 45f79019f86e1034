//! Clusters on a real control plane.

use std::{
    fs::File,
    io::{self, Write},
    sync::{
        Arc, Mutex, Once, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use futures::future::BoxFuture;
use galaxy_ipam::clock::SystemClock;
use galaxy_plane::{Options, Plane, Scheduler, free_ports};
use galaxy_sandbox::{apiserver::Server, clock::Clock};
use kube::Client;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use tokio_util::task::AbortOnDropHandle;

use super::{clean, custom};
use crate::{
    cluster::{Backend, Lab, Start},
    ipam::{Launch, Slot},
    setup::Setup,
};

/// How long a condition may take: a rollout of slow pods takes a minute, and the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(150);
/// How long the ports of a galaxy-ipam that was killed may stay taken.
const REBIND: Duration = Duration::from_secs(10);
/// As many planes may break: the folders of each are kept, and where two broke in the same way so will the next.
const BROKEN: usize = 3;
/// As many nodes as renew their Leases within the short grace period of [`Options::node_grace`].
const FEW_NODES: usize = 100;

/// galaxy-ipam as the API server knows it: the service account of `deploy/`.
const ACCOUNT: &str = "system:serviceaccount:kube-system:galaxy-ipam";

/// Makes clusters on planes of one Kubernetes version, one at a time.
#[derive(Clone)]
pub struct Planes(Arc<Shared>);

struct Shared {
    version: String,
    names_only: bool,
    site: Arc<AsyncMutex<Option<Site>>>,
    /// Planes that did not come up or could not be cleaned.
    broken: AtomicUsize,
}

/// A plane and what stays with it from one scenario to the next.
struct Site {
    plane: Plane,
    /// Of the extender and of the HTTP API: the same for every galaxy-ipam, so that the scheduler need not be started anew.
    ports: [u16; 2],
    /// How the scheduler sends nodes.
    names_only: bool,
    /// The scheduler asks somebody else.
    rerouted: AtomicBool,
    many_nodes: bool,
    /// Of galaxy-ipam: the service account of `deploy/`, with its rights.
    kubeconfig: std::path::PathBuf,
    _custom: AbortOnDropHandle<()>,
}

impl Planes {
    /// Planes of this minor version, whose scheduler sends nodes by name only (nodeCacheCapable) or whole.
    pub fn new(version: &str, names_only: bool) -> Self {
        Self(Arc::new(Shared {
            version: version.to_owned(),
            names_only,
            site: Arc::default(),
            broken: AtomicUsize::new(0),
        }))
    }

    /// The lab of these planes.
    pub fn lab(&self) -> Lab {
        Lab::new(self.clone())
    }

    /// Folder of the present plane's logs.
    pub async fn logs(&self) -> Option<std::path::PathBuf> {
        self.0.site.lock().await.as_ref().map(|site| site.plane.logs())
    }

    /// Ends the present plane and removes its folder. The next scenario gets a new one.
    ///
    /// # Errors
    /// The folder cannot be removed.
    pub async fn stop(&self) -> Result<()> {
        log_to(None);
        match self.0.site.lock().await.take() {
            Some(site) => site.plane.stop(),
            None => Ok(()),
        }
    }
}

impl Site {
    fn start(version: &str, names_only: bool, many_nodes: bool) -> Result<Self> {
        let ports = free_ports()?;
        let scheduler = Scheduler::with_galaxy(&format!("http://127.0.0.1:{}", ports[0]), names_only);
        let node_grace = many_nodes.then_some(Duration::from_secs(40));
        let options = Options {
            version: version.to_owned(),
            scheduler: Some(scheduler),
            node_grace,
            audit: Some(ACCOUNT.to_owned()),
            ..Options::default()
        };
        let plane = here(Plane::start(options))?;
        log_to(Some(File::create(plane.logs().join("galaxy-ipam.log")).context("cannot make galaxy-ipam's log")?));
        let kubeconfig = here(plane.install_galaxy())?;
        let kinds = plane.dir().join("custom-kinds.json");
        std::fs::write(&kinds, custom::role().to_string()).context("cannot write the role for custom kinds")?;
        here(plane.apply(&kinds))?;
        let custom = AbortOnDropHandle::new(tokio::spawn(custom::control(plane.client())));
        Ok(Self { plane, ports, names_only, kubeconfig, rerouted: AtomicBool::new(false), many_nodes, _custom: custom })
    }

    fn schedule(&mut self, names_only: bool) -> Result<()> {
        if self.names_only != names_only || self.rerouted.load(Ordering::Relaxed) {
            let url = format!("http://127.0.0.1:{}", self.ports[0]);
            here(self.plane.schedule(&Scheduler::with_galaxy(&url, names_only)))?;
            self.names_only = names_only;
            self.rerouted.store(false, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl Start for Planes {
    fn start(&self, setup: Setup) -> BoxFuture<'_, Result<Box<dyn Backend>>> {
        Box::pin(async move {
            let shared = &self.0;
            ensure!(shared.broken.load(Ordering::Relaxed) < BROKEN, "{BROKEN} planes broke; no more are started");
            let mut guard = shared.site.clone().lock_owned().await;
            let many_nodes = setup.nodes.len() > FEW_NODES;
            if let Some(old) = guard.take_if(|site| site.many_nodes != many_nodes) {
                old.plane.stop()?;
            }
            // Until this one has come through.
            shared.broken.fetch_add(1, Ordering::Relaxed);
            let mut site = match guard.take() {
                Some(site) => site,
                None => Site::start(&shared.version, shared.names_only, many_nodes)?,
            };
            // A plane that cannot be cleaned is not given back: the next scenario gets a new one.
            clean::workloads(&site.plane).await.context("cleaning up after the last scenario")?;
            clean::nodes(&site.plane, &setup.nodes).await.context("making the nodes")?;
            site.schedule(setup.names_only || shared.names_only)?;
            if let Some(pools) = &setup.pools {
                clean::configure(&site.plane, pools).await?;
            }
            let client = site.plane.client();
            *guard = Some(site);
            shared.broken.fetch_sub(1, Ordering::Relaxed);
            let cluster = OnPlane { guard, setup, client, ipam: Slot::default() };
            cluster.launch(cluster.setup.pools.is_some()).await?;
            Ok(Box::new(cluster) as Box<dyn Backend>)
        })
    }
}

/// A scenario's cluster.
struct OnPlane {
    guard: OwnedMutexGuard<Option<Site>>,
    setup: Setup,
    client: Client,
    ipam: Slot,
}

impl OnPlane {
    fn site(&self) -> Result<&Site> {
        self.guard.as_ref().context("the plane is gone")
    }

    async fn launch(&self, ready: bool) -> Result<()> {
        let site = self.site()?;
        let start = Instant::now();
        loop {
            let launch = Launch {
                config: site.plane.config_by(&site.kubeconfig).await?,
                setup: &self.setup,
                clock: Arc::new(SystemClock::start()),
                ports: site.ports,
                patience: ready.then_some(PATIENCE),
            };
            match self.ipam.start(launch).await {
                // The runtime of one that was killed may not have let go of them yet.
                Err(error) if start.elapsed() < REBIND && format!("{error:#}").contains("in use") => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                result => return result,
            }
        }
    }
}

impl Backend for OnPlane {
    fn client(&self) -> Client {
        self.client.clone()
    }

    fn api_url(&self) -> String {
        self.ipam.api_url()
    }

    fn extender_url(&self) -> String {
        self.ipam.extender_url()
    }

    fn power_off<'a>(&'a self, node: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { here(self.site()?.plane.power_off(node)) })
    }

    fn power_on<'a>(&'a self, node: &'a str) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { here(self.site()?.plane.power_on(node)) })
    }

    fn stop_ipam(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.ipam.stop())
    }

    fn kill_ipam(&self) {
        self.ipam.kill();
    }

    fn start_ipam(&self, ready: bool) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.launch(ready))
    }

    fn sweep(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.ipam.sweep())
    }

    fn check(&self) {
        self.ipam.check();
    }

    fn pass(&self, time: Duration) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(time))
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }

    fn clock(&self) -> Option<&Clock> {
        None
    }

    fn server(&self) -> Option<&Server> {
        None
    }

    fn reroute<'a>(&'a self, url: &'a str, sample: bool) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let site = self.site()?;
            let mut scheduler = Scheduler::with_galaxy(url, site.names_only);
            if let Some(document) = scheduler.document().as_object_mut().filter(|_| sample) {
                document.remove("percentageOfNodesToScore");
            }
            site.rerouted.store(true, Ordering::Relaxed);
            here(site.plane.schedule(&scheduler))
        })
    }

    fn plane(&self) -> Option<&Plane> {
        self.guard.as_ref().map(|site| &site.plane)
    }
}

/// Waits in place: what a plane does while it waits cannot move between threads.
pub(super) fn here<T>(task: impl Future<Output = T>) -> T {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(task))
}

/// Where galaxy-ipam's log goes.
static LOG: Mutex<Option<File>> = Mutex::new(None);

/// Writes galaxy-ipam's log to this file from now on. `E2E_LOG=galaxy_ipam=trace` makes it longer.
fn log_to(file: Option<File>) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let filter = std::env::var("E2E_LOG").unwrap_or_else(|_| "info,galaxy_ipam=debug".to_owned());
        let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(|| Log);
        let _ = subscriber.try_init();
    });
    *LOG.lock().unwrap_or_else(PoisonError::into_inner) = file;
}

struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(file) = &mut *LOG.lock().unwrap_or_else(PoisonError::into_inner) {
            file.write_all(bytes)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
