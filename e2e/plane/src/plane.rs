//! Starting, disturbing and ending a control plane.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::{Api, Client};

use crate::{
    Binaries, Component, Guard, NEWEST, Process, Rack, Scheduler, Signal,
    binaries::target,
    commands::{Ports, arguments},
    files, free_ports, wait_for,
};

/// How long a component may take to become ready; long, for machines that are busy with something else.
const READY: Duration = Duration::from_secs(120);
/// Starts with new ports when another process took one.
const ATTEMPTS: usize = 3;

/// What a plane shall be.
#[derive(Clone, Debug)]
pub struct Options {
    /// Kubernetes minor version, as `1.37`.
    pub version: String,
    /// Nodes that are Ready when the plane has started.
    pub racks: Vec<Rack>,
    /// The scheduler to start with; none to start it later by [`Plane::schedule`], once an extender listens.
    pub scheduler: Option<Scheduler>,
    /// How long pods stay on a node that is not ready (default toleration), in whole seconds.
    pub eviction_after: Duration,
    /// How long a silent node counts as ready, in whole seconds; none for 6 s, or more from 175 nodes on (25 a second).
    pub node_grace: Option<Duration>,
    /// Real nodes, which are started by somebody else; kwok is left out then.
    pub real: Option<RealNodes>,
    /// A user whose calls kube-apiserver writes down in `audit.log` among the logs, a JSON object a line.
    pub audit: Option<String>,
    /// More arguments.
    pub extra: Vec<(Component, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            version: NEWEST.to_owned(),
            racks: Vec::new(),
            scheduler: Some(Scheduler::default()),
            eviction_after: Duration::from_secs(2),
            node_grace: None,
            real: None,
            audit: None,
            extra: Vec::new(),
        }
    }
}

impl Options {
    /// Where kube-apiserver is reached: at an address that its certificate names.
    pub(crate) fn api_server(&self, ports: &Ports) -> SocketAddr {
        let address = self.real.as_ref().map_or(Ipv4Addr::LOCALHOST.into(), |real| real.address);
        SocketAddr::new(address, ports.api_server)
    }
}

/// Nodes that join by themselves.
#[derive(Clone, Debug)]
pub struct RealNodes {
    /// Where they reach kube-apiserver, which then listens at all addresses and at port 443: an address of a network namespace that this
    /// plane has for itself. The kubernetes Service's address may be there too, so that its pods need no kube-proxy.
    pub address: IpAddr,
    /// Their names. Each gets a kubeconfig `NAME.kubeconfig` in the plane's folder.
    pub names: Vec<String>,
}

/// Port of kube-apiserver for real nodes, that of the kubernetes Service.
const HTTPS: u16 = 443;

/// A running control plane.
///
/// When it is dropped its processes are killed; its folder with the logs is kept, as after a failure. [`Plane::stop`] removes that too.
pub struct Plane {
    pub(crate) binaries: Binaries,
    pub(crate) client: Client,
    pub(crate) ports: Ports,
    pub(crate) options: Options,
    dir: PathBuf,
    // In this order: processes end before their guard does.
    processes: Mutex<BTreeMap<Component, Process>>,
    guard: Arc<Guard>,
    served: bool,
}

impl Drop for Plane {
    fn drop(&mut self) {
        if FORGET.load(Ordering::Relaxed) {
            // They may write until they end.
            self.processes().clear();
            let _ = fs::remove_dir_all(&self.dir);
        } else if !self.served {
            // Not eprintln!, which the test harness captures.
            let _ = writeln!(
                std::io::stderr(),
                "the logs of Kubernetes {} are kept in {}",
                self.options.version,
                self.logs().display()
            );
        }
    }
}

impl Plane {
    /// Starts a control plane and returns when its nodes are Ready and its controllers and scheduler work.
    ///
    /// # Errors
    /// Its programs are not built, or a component does not become ready; its log is named.
    pub async fn start(options: Options) -> Result<Self> {
        let binaries = Binaries::find(&options.version)?;
        let mut attempts = ATTEMPTS;
        loop {
            let dir = new_dir()?;
            let _folder = Folder(&dir);
            let error = match Self::attempt(&binaries, &options, &dir).await {
                Ok(plane) => return Ok(plane),
                Err(error) => {
                    error.context(format!("Kubernetes {} did not start; see {}", options.version, dir.display()))
                }
            };
            attempts -= 1;
            if attempts == 0 || !logs(&dir).any(|log| log.contains("address already in use")) {
                return Err(error);
            }
            fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
        }
    }

    async fn attempt(binaries: &Binaries, options: &Options, dir: &Path) -> Result<Self> {
        let [etcd, etcd_peer, api_server, controller_manager, scheduler, kwok] = free_ports()?;
        let api_server = if options.real.is_some() { HTTPS } else { api_server };
        let ports = Ports { etcd, etcd_peer, api_server, controller_manager, scheduler, kwok };
        files::write(dir, options.real.as_ref())?;
        if let Some(user) = &options.audit {
            files::write_audit_policy(dir, user)?;
        }
        let guard = Guard::new()?;
        let launch = |component: Component| {
            let arguments = arguments(component, dir, &ports, options);
            let environment = [("HOME", dir.to_str().unwrap_or("/"))];
            Process::start(
                &guard,
                &dir.join("log"),
                component.program(),
                &binaries.path(component.program()),
                arguments,
                &environment,
            )
        };
        let etcd = launch(Component::Etcd)?;
        let mut api_server = launch(Component::ApiServer)?;
        let client = wait_for("kube-apiserver's certificate", READY, async || {
            if let Err(error) = api_server.running() {
                return Ok(Err(error));
            }
            files::write_kubeconfigs(dir, options.api_server(&ports), options.real.as_ref())?;
            let admin = fs::read_to_string(dir.join("admin.kubeconfig"))?;
            Ok(Ok(Client::try_from(files::config(serde_json::from_str(&admin)?).await?)?))
        })
        .await??;
        let processes = Mutex::new(BTreeMap::from([(Component::Etcd, etcd), (Component::ApiServer, api_server)]));
        let plane = Self {
            binaries: binaries.clone(),
            client,
            ports,
            options: options.clone(),
            dir: dir.to_owned(),
            processes,
            guard,
            served: false,
        };
        plane.ready(Component::ApiServer).await?;
        // Not before: kube-controller-manager gives up without the roles that kube-apiserver makes first.
        let kwok = options.real.is_none().then_some(Component::Kwok);
        for component in [Component::ControllerManager].into_iter().chain(kwok) {
            plane.launch(component)?;
        }
        if let Some(scheduler) = &options.scheduler {
            scheduler.write(dir)?;
            plane.launch(Component::Scheduler)?;
            plane.ready(Component::Scheduler).await?;
        }
        plane.ready(Component::ControllerManager).await?;
        if let Some(kwok) = kwok {
            plane.ready(kwok).await?;
        }
        let nodes = options.racks.iter().map(Rack::nodes).collect::<Result<Vec<_>>>()?.concat();
        plane.create_nodes(&nodes).await?;
        // Without it no pod can be made.
        let accounts: Api<ServiceAccount> = Api::namespaced(plane.client(), "default");
        wait_for("the default service account", READY, async || Ok(accounts.get("default").await?)).await?;
        Ok(plane)
    }

    /// The folder of its files; logs are in `log` there.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The folder of its logs.
    pub fn logs(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// What kills the plane's processes when this process ends; for more processes that shall end so.
    pub fn guard(&self) -> &Arc<Guard> {
        &self.guard
    }

    /// The programs it runs.
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// (Re)starts the scheduler with this configuration.
    ///
    /// # Errors
    /// It does not become ready.
    pub async fn schedule(&self, scheduler: &Scheduler) -> Result<()> {
        self.kill(Component::Scheduler);
        scheduler.write(&self.dir)?;
        self.launch(Component::Scheduler)?;
        self.ready(Component::Scheduler).await
    }

    /// Kills a component.
    pub fn kill(&self, component: Component) {
        if let Some(process) = self.processes().get_mut(&component) {
            process.kill();
        }
    }

    /// Sends a signal to a component.
    ///
    /// # Errors
    /// It does not run.
    pub fn signal(&self, component: Component, signal: Signal) -> Result<()> {
        self.processes().get_mut(&component).with_context(|| format!("there is no {component}"))?.signal(signal)
    }

    /// Kills a component if it runs, starts it on the same port with the same data, and waits until it is ready.
    ///
    /// # Errors
    /// It does not become ready.
    pub async fn restart(&self, component: Component) -> Result<()> {
        self.processes().get_mut(&component).with_context(|| format!("there is no {component}"))?.restart()?;
        self.ready(component).await
    }

    /// Restarts a component that has ended by itself, as a kubelet would. Whether it had.
    ///
    /// # Errors
    /// It does not become ready.
    pub async fn revive(&self, component: Component) -> Result<bool> {
        let ended = self.processes().get_mut(&component).is_some_and(|process| process.exited().is_some());
        if ended {
            self.restart(component).await?;
        }
        Ok(ended)
    }

    /// Waits until a component is ready.
    ///
    /// # Errors
    /// It has ended, or takes more than two minutes.
    pub async fn ready(&self, component: Component) -> Result<()> {
        let path = match component {
            Component::Etcd => "/health",
            Component::ApiServer => "/readyz",
            Component::ControllerManager | Component::Scheduler | Component::Kwok => "/healthz",
        };
        wait_for(&format!("{component} to become ready"), READY, async || {
            // The end of a process is an answer: there is nothing more to wait for.
            if let Err(error) = self.running(component) {
                return Ok(Err(error));
            }
            self.ask(component, path).await.map(|_| Ok(()))
        })
        .await?
    }

    /// Ends everything and removes the plane's folder with all logs; for a plane that has served its purpose.
    ///
    /// # Errors
    /// The folder cannot be removed.
    pub fn stop(mut self) -> Result<()> {
        self.served = true;
        let dir = self.dir.clone();
        drop(self);
        match fs::remove_dir_all(&dir) {
            // After `forget` it is gone already.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            removed => removed.with_context(|| format!("cannot remove {}", dir.display())),
        }
    }

    fn running(&self, component: Component) -> Result<()> {
        self.processes().get_mut(&component).with_context(|| format!("there is no {component}"))?.running()
    }

    fn launch(&self, component: Component) -> Result<()> {
        let arguments = arguments(component, &self.dir, &self.ports, &self.options);
        let process = self.spawn(component.program(), &self.binaries.path(component.program()), arguments, &[])?;
        self.processes().insert(component, process);
        Ok(())
    }

    /// Starts a process that ends with the plane's owner, its log among the plane's.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn<A: Into<std::ffi::OsString>>(
        &self,
        name: &str,
        program: &Path,
        arguments: impl IntoIterator<Item = A>,
        environment: &[(&str, &str)],
    ) -> Result<Process> {
        let mut all = vec![("HOME", self.dir.to_str().unwrap_or("/"))];
        all.extend_from_slice(environment);
        Process::start(&self.guard, &self.logs(), name, program, arguments, &all)
    }

    fn processes(&self) -> MutexGuard<'_, BTreeMap<Component, Process>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether planes leave nothing when they are dropped.
static FORGET: AtomicBool = AtomicBool::new(false);

/// From now on planes that are dropped leave no logs: for an end that is no failure, as when a person presses Ctrl-C.
pub fn forget() {
    FORGET.store(true, Ordering::Relaxed);
}

/// The folder of a plane that has not started yet.
struct Folder<'a>(&'a Path);

impl Drop for Folder<'_> {
    fn drop(&mut self) {
        if FORGET.load(Ordering::Relaxed) {
            let _ = fs::remove_dir_all(self.0);
        }
    }
}

/// A new folder for a plane, with a folder `log`.
fn new_dir() -> Result<PathBuf> {
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let dir = target().join("plane").join(format!("{}-{number}", std::process::id()));
    if dir.exists() {
        // Of an earlier process with this id.
        fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    fs::create_dir_all(dir.join("log")).with_context(|| format!("cannot make {}", dir.display()))?;
    let dir = dir.canonicalize().with_context(|| format!("cannot find {}", dir.display()))?;
    ensure!(dir.to_str().is_some(), "the folder {} has a name that is no UTF-8", dir.display());
    Ok(dir)
}

fn logs(dir: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(dir.join("log")).into_iter().flatten().flatten();
    entries.filter_map(|entry| fs::read(entry.path()).ok()).map(|log| String::from_utf8_lossy(&log).into_owned())
}
