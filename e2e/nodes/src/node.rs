//! A node: its namespaces, containerd and kubelet, and what can happen to them.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use galaxy_plane::{Binaries, Guard, Process, wait_for};

use crate::underlay;

/// How long a part of a node may take to start.
const READY: Duration = Duration::from_secs(60);
/// How long a command in a node may take.
const COMMAND: Duration = Duration::from_secs(30);

/// What makes a machine a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The container runtime. Its containers live on without it.
    Containerd,
    /// kubelet.
    Kubelet,
}

/// What a node is made of.
pub(crate) struct Machine {
    pub(crate) name: String,
    /// From 1 on.
    pub(crate) number: u8,
    pub(crate) address: IpAddr,
    /// What it keeps over a reboot.
    pub(crate) dir: PathBuf,
    pub(crate) logs: PathBuf,
    pub(crate) programs: Binaries,
    pub(crate) containerd_config: PathBuf,
    pub(crate) kubelet_config: PathBuf,
    pub(crate) kubeconfig: PathBuf,
    /// Image archives.
    pub(crate) images: Vec<PathBuf>,
    /// The program that gets pages.
    pub(crate) web: PathBuf,
    pub(crate) guard: Arc<Guard>,
}

/// A node of a cluster. When dropped all its processes, namespaces and mounts are gone, and its files but for the logs.
pub struct Node {
    machine: Machine,
    running: Mutex<Option<Running>>,
}

/// Dropped in this order.
struct Running {
    kubelet: Option<Process>,
    containerd: Option<Process>,
    /// The process that made the namespaces; its end is that of all processes in them.
    namespaces: Process,
    /// Process 1 of the node.
    init: u32,
}

impl Node {
    pub(crate) fn new(machine: Machine) -> Self {
        Self { machine, running: Mutex::default() }
    }

    /// Name.
    pub fn name(&self) -> &str {
        &self.machine.name
    }

    /// Address on the underlay.
    pub fn address(&self) -> IpAddr {
        self.machine.address
    }

    /// Switches it on and returns when containerd and kubelet have been started.
    ///
    /// # Errors
    /// It is on, or something does not start; its log is named.
    pub async fn boot(&self) -> Result<()> {
        ensure!(self.lock().is_none(), "{} is on", self.name());
        let first = !self.machine.dir.exists();
        if first {
            // As on any node: containerd before 2.0 calls it.
            let plugins = self.machine.dir.join("opt/cni/bin");
            fs::create_dir_all(&plugins).with_context(|| format!("cannot make {}", plugins.display()))?;
            fs::copy(self.machine.programs.path("loopback"), plugins.join("loopback"))
                .context("cannot copy loopback")?;
        }
        let namespaces = self.make_namespaces().await.with_context(|| format!("cannot boot {}", self.name()))?;
        *self.lock() = Some(namespaces);
        self.start(Part::Containerd).await?;
        if first {
            for image in &self.machine.images {
                self.run("ctr", &["-n", "k8s.io", "images", "import", &image.display().to_string()]).await?;
            }
        }
        self.start(Part::Kubelet).await
    }

    async fn make_namespaces(&self) -> Result<Running> {
        let Machine { name, number, dir, logs, .. } = &self.machine;
        for folder in [dir, logs] {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let (script, address) = (include_str!("node.sh"), self.machine.address.to_string());
        let (folder, log) = (dir.display().to_string(), logs.display().to_string());
        let arguments = [
            "--net",
            "--mount",
            "--uts",
            "--ipc",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "bash",
            "-c",
            script,
            "node",
            name,
            &address,
            &underlay::GATEWAY.to_string(),
            &folder,
            &log,
        ];
        let mut namespaces =
            Process::start(&self.machine.guard, logs, "node", Path::new("unshare"), arguments, &[("HOME", "/root")])?;
        let children = format!("/proc/{0}/task/{0}/children", namespaces.id());
        let init = wait_for("its process 1", READY, async || {
            if let Err(error) = namespaces.running() {
                return Ok(Err(error));
            }
            let children = fs::read_to_string(&children).context("no list of child processes")?;
            Ok(Ok(children.trim().parse::<u32>().context("no child process")?))
        })
        .await??;
        // Not before it is in a network namespace of its own.
        let namespace = |of: &str| fs::read_link(format!("/proc/{of}/ns/net")).context("no namespace");
        wait_for("its network", READY, async || {
            ensure!(namespace(&init.to_string())? != namespace("thread-self")?, "not yet");
            Ok(())
        })
        .await?;
        underlay::plug(name, &format!("02:77:00:01:00:{number:02x}"), init)?;
        wait_for("its set-up", READY, async || {
            if let Err(error) = namespaces.running() {
                return Ok(Err(error));
            }
            ensure!(Path::new(&format!("/proc/{init}/root/run/up")).exists(), "not yet");
            Ok(Ok(()))
        })
        .await??;
        Ok(Running { kubelet: None, containerd: None, namespaces, init })
    }

    /// Cuts its power: everything in it is gone at once, and its network. What is on its disk stays.
    ///
    /// # Errors
    /// A process of it does not end.
    pub async fn cut_power(&self) -> Result<()> {
        let Some(mut running) = self.lock().take() else { bail!("{} is off", self.name()) };
        underlay::unplug(self.name());
        running.namespaces.kill();
        // Gone once all processes of its namespace are.
        let init = PathBuf::from(format!("/proc/{}", running.init));
        wait_for("the end of its processes", READY, async || {
            ensure!(!init.exists(), "process 1 is there");
            Ok(())
        })
        .await
    }

    /// Kills a part, by SIGKILL.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&self, part: Part) -> Result<()> {
        let mut running = self.lock();
        let running = running.as_mut().with_context(|| format!("{} is off", self.name()))?;
        let process = match part {
            Part::Containerd => running.containerd.take(),
            Part::Kubelet => running.kubelet.take(),
        };
        process.with_context(|| format!("{part:?} of {} does not run", self.name())).map(drop)
    }

    /// Starts a part that does not run, and waits until it answers. (kubelet answers with its node's status, which is not waited for.)
    ///
    /// # Errors
    /// It does not start.
    pub async fn start(&self, part: Part) -> Result<()> {
        let machine = &self.machine;
        let path = |path: &Path| path.display().to_string();
        let (program, arguments) = match part {
            Part::Containerd => ("containerd", vec!["--config".to_owned(), path(&machine.containerd_config)]),
            Part::Kubelet => (
                "kubelet",
                vec![
                    format!("--config={}", path(&machine.kubelet_config)),
                    format!("--kubeconfig={}", path(&machine.kubeconfig)),
                    format!("--hostname-override={}", machine.name),
                    format!("--node-ip={}", machine.address),
                ],
            ),
        };
        let mut all = self.enter()?;
        all.push(path(&machine.programs.path(program)));
        all.extend(arguments);
        let search = self.search_path();
        let environment = [("HOME", "/root"), ("PATH", &*search)];
        let nsenter = Path::new("nsenter");
        let process = Process::start(&machine.guard, &machine.logs, program, nsenter, all, &environment)?;
        {
            let mut running = self.lock();
            let running = running.as_mut().with_context(|| format!("{} is off", self.name()))?;
            match part {
                Part::Containerd => running.containerd = Some(process),
                Part::Kubelet => running.kubelet = Some(process),
            }
        }
        if part == Part::Containerd {
            wait_for("containerd", READY, async || self.run("ctr", &["version"]).await.map(drop)).await?;
        }
        Ok(())
    }

    /// Runs a program in the node and returns what it printed.
    ///
    /// # Errors
    /// It fails, or takes more than half a minute.
    pub async fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let mut command = tokio::process::Command::new("nsenter");
        command.args(self.enter()?).arg(self.machine.programs.path(program)).args(arguments);
        command.env("PATH", self.search_path());
        output(command).await.with_context(|| format!("{program} {} on {}", arguments.join(" "), self.name()))
    }

    /// What the pod with this address answers to an HTTP request from the node.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn get(&self, address: IpAddr) -> Result<String> {
        let init = self.init()?;
        let mut command = tokio::process::Command::new("nsenter");
        command.args(["-t", &init.to_string(), "-n"]).arg(&self.machine.web).args(["get", &address.to_string()]);
        output(command).await.with_context(|| format!("{address} does not answer {}", self.name()))
    }

    /// Process 1 of the node, to enter its namespaces.
    ///
    /// # Errors
    /// It is off.
    pub fn init(&self) -> Result<u32> {
        self.lock().as_ref().map(|running| running.init).with_context(|| format!("{} is off", self.name()))
    }

    fn enter(&self) -> Result<Vec<String>> {
        let init = self.init()?.to_string();
        Ok(["-t", &init, "-m", "-n", "-p", "-u", "-i"].map(str::to_owned).to_vec())
    }

    /// containerd finds its shim and runc by it.
    fn search_path(&self) -> String {
        let folder =
            |program: &str| self.machine.programs.path(program).parent().map(|path| path.display().to_string());
        let folders = [folder("containerd"), folder("runc")].into_iter().flatten();
        folders.chain(["/usr/sbin:/usr/bin:/sbin:/bin".to_owned()]).collect::<Vec<_>>().join(":")
    }

    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let Some(running) = self.lock().take() else { return };
        let init = PathBuf::from(format!("/proc/{}", running.init));
        drop(running);
        underlay::unplug(self.name());
        // The kernel takes mounts down with the last process; then the files can go.
        for _ in 0..200 {
            if !init.exists() && fs::remove_dir_all(&self.machine.dir).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(25));
        }
    }
}

/// What a command prints.
pub(crate) async fn output(mut command: tokio::process::Command) -> Result<String> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(COMMAND, command.output()).await.context("takes too long")??;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    ensure!(output.status.success(), "{}: {}{}", output.status, text(&output.stdout), text(&output.stderr).trim());
    Ok(text(&output.stdout))
}
