//! The programs of the control plane: where they are, whether they are those that the repository pins, and how they are built.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

/// The newest Kubernetes minor version that is pinned.
pub const NEWEST: &str = "1.37";

const KUBERNETES: &[&str] = &["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"];

/// The Kubernetes minor versions that can be built, oldest first: the folders `e2e/go/kubernetes-MINOR`.
pub fn versions() -> Vec<String> {
    let mut found: Vec<String> = fs::read_dir(go_modules())
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.strip_prefix("kubernetes-").map(str::to_owned))
        .collect();
    found.sort_by_key(|version| version.split('.').map(|part| part.parse().unwrap_or(0)).collect::<Vec<u32>>());
    found
}

/// Which container runtime real nodes have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// containerd 2, built from its Go module.
    Containerd2,
    /// The containerd of Debian 12, version 1.6.
    Debian,
}

/// Built programs of one Kubernetes version.
#[derive(Clone, Debug)]
pub struct Binaries {
    version: String,
    folders: Vec<PathBuf>,
}

impl Binaries {
    /// The programs for a Kubernetes minor version such as `1.37`, if they are built as pinned.
    ///
    /// # Errors
    /// There is no such version, or they must be built first; the error says how.
    pub fn find(version: &str) -> Result<Self> {
        let mut folders = Vec::new();
        for module in modules(version)? {
            ensure!(
                module.fresh(),
                "the control plane of Kubernetes {version} is not built ({} is missing or old): run `cargo xtask cluster build --kubernetes {version}`",
                module.output().display()
            );
            folders.push(module.output());
        }
        Ok(Self { version: version.to_owned(), folders })
    }

    /// What real nodes with this container runtime run: kubelet of the newest version, `containerd`, `containerd-shim-runc-v2`, `ctr`,
    /// `runc` and the CNI plugin `loopback`.
    ///
    /// # Errors
    /// They must be built first; the error says how.
    pub fn of_nodes(runtime: Runtime) -> Result<Self> {
        let missing = |what: &Path| {
            format!(
                "the programs of nodes are not built ({} is missing or old): run `cargo xtask cluster build --nodes`",
                what.display()
            )
        };
        let [kubelet, containerd] = node_modules()?;
        let debian = debian();
        for module in [&kubelet, &containerd] {
            ensure!(module.fresh(), missing(&module.output()));
        }
        for program in ["usr/sbin/runc", "usr/bin/containerd", "usr/lib/cni/loopback"] {
            ensure!(debian.join(program).is_file(), missing(&debian.join(program)));
        }
        let mut folders =
            vec![kubelet.output(), debian.join("usr/sbin"), debian.join("usr/bin"), debian.join("usr/lib/cni")];
        if runtime == Runtime::Containerd2 {
            folders.insert(0, containerd.output());
        }
        Ok(Self { version: NEWEST.to_owned(), folders })
    }

    /// The minor version, as `1.37`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The path of a program, as `kubectl`.
    pub fn path(&self, program: &str) -> PathBuf {
        let found = self.folders.iter().map(|folder| folder.join(program)).find(|path| path.is_file());
        found.unwrap_or_else(|| PathBuf::from(program))
    }
}

/// Builds what is not yet built of a Kubernetes minor version, etcd and kwok. Takes minutes the first time, then nothing.
///
/// # Errors
/// No Go toolchain, no such version, or a build fails.
pub fn build(version: &str) -> Result<Binaries> {
    build_all(&modules(version)?)?;
    Binaries::find(version)
}

/// Builds what is not yet built of the programs that real nodes run, and fetches runc, Debian's containerd and the CNI plugin `loopback`
/// with apt; these are only unpacked, not installed.
///
/// # Errors
/// No Go toolchain, no apt, or a build fails.
pub fn build_nodes() -> Result<()> {
    let _lock = build_all(&node_modules()?)?;
    if Binaries::of_nodes(Runtime::Debian).is_ok() {
        return Ok(());
    }
    let folder = debian();
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    println!("fetching containerd, runc and CNI plugins of Debian");
    let fetched = Command::new("sh").args(["-ec", DEBIAN]).current_dir(&folder).status().context("cannot start sh")?;
    ensure!(
        fetched.success(),
        "apt-get and dpkg cannot fetch containerd and runc ({fetched}); a Debian 12 is needed, and `apt-get update`"
    );
    Binaries::of_nodes(Runtime::Debian).map(drop)
}

/// Fetches packages into the present folder and unpacks them there. (Without a sandbox user, which may not write there.)
const DEBIAN: &str = "apt-get -qq -o APT::Sandbox::User=root download containerd containernetworking-plugins runc
for package in *.deb; do dpkg -x \"$package\" .; rm \"$package\"; done";

/// Builds what is not fresh. Builds of other processes into the same folder are waited for, and wait while the result is kept.
fn build_all(modules: &[Module]) -> Result<fs::File> {
    fs::create_dir_all(cache()).with_context(|| format!("cannot make {}", cache().display()))?;
    let lock = fs::File::create(cache().join("lock")).context("cannot make the lock file")?;
    lock.lock().context("cannot take the lock")?;
    modules.iter().filter(|module| !module.fresh()).try_for_each(Module::build)?;
    Ok(lock)
}

/// A Go module under `e2e/go` and the programs that are built from it.
struct Module {
    folder: String,
    /// Name and Go package of each program.
    programs: Vec<(&'static str, String)>,
    ldflags: String,
    tags: &'static str,
}

fn modules(version: &str) -> Result<Vec<Module>> {
    let known = versions();
    ensure!(
        known.iter().any(|known| known == version),
        "Kubernetes {version} is not pinned: there are {}",
        known.join(", ")
    );
    Ok(vec![
        Module::kubernetes(&format!("kubernetes-{version}"), KUBERNETES)?,
        Module::plain("etcd", &[("etcd", "go.etcd.io/etcd/server/v3")]),
        Module::plain("kwok", &[("kwok", "sigs.k8s.io/kwok/cmd/kwok")]),
    ])
}

fn node_modules() -> Result<[Module; 2]> {
    let containerd = Module::plain(
        "containerd",
        &[
            ("containerd", "github.com/containerd/containerd/v2/cmd/containerd"),
            ("containerd-shim-runc-v2", "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2"),
            ("ctr", "github.com/containerd/containerd/v2/cmd/ctr"),
        ],
    );
    // Snapshotters that need more than a file system.
    Ok([Module::kubernetes("kubelet", &["kubelet"])?, Module { tags: "no_btrfs,no_zfs,no_devmapper", ..containerd }])
}

impl Module {
    fn plain(folder: &str, programs: &[(&'static str, &str)]) -> Self {
        let programs = programs.iter().map(|(name, package)| (*name, (*package).to_owned())).collect();
        Self { folder: folder.to_owned(), programs, ldflags: "-s -w".to_owned(), tags: "" }
    }

    /// Programs that say the version of k8s.io/kubernetes that they are built from.
    fn kubernetes(folder: &str, programs: &[&'static str]) -> Result<Self> {
        let full = required(&go_modules().join(folder).join("go.mod"), "k8s.io/kubernetes")?;
        let mut numbers = full.trim_start_matches('v').split('.');
        let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
        let ldflags = [("gitVersion", full.as_str()), ("gitMajor", major), ("gitMinor", minor)]
            .iter()
            .fold("-s -w".to_owned(), |flags, (name, value)| {
                format!("{flags} -X k8s.io/component-base/version.{name}={value}")
            });
        let programs = programs.iter().map(|name| (*name, format!("k8s.io/kubernetes/cmd/{name}"))).collect();
        Ok(Self { folder: folder.to_owned(), programs, ldflags, tags: "" })
    }

    fn source(&self) -> PathBuf {
        go_modules().join(&self.folder)
    }

    fn output(&self) -> PathBuf {
        cache().join(&self.folder)
    }

    /// What decides about the outcome: versions, checksums and flags. Kept beside the programs.
    fn stamp(&self) -> Result<String> {
        let read = |name| {
            let path = self.source().join(name);
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        Ok(format!("{}\n{}\n{}", self.ldflags, read("go.mod")?, read("go.sum")?))
    }

    fn fresh(&self) -> bool {
        let built = fs::read_to_string(self.output().join("stamp")).ok();
        built.is_some()
            && built == self.stamp().ok()
            && self.programs.iter().all(|(name, _)| self.output().join(name).is_file())
    }

    fn build(&self) -> Result<()> {
        let (source, output, stamp) = (self.source(), self.output(), self.stamp()?);
        fs::create_dir_all(&output).with_context(|| format!("cannot make {}", output.display()))?;
        let _ = fs::remove_file(output.join("stamp"));
        println!("building {} of {}", self.names(), self.folder);
        let mut go = Command::new("go");
        go.arg("build").args([
            "-trimpath",
            "-buildvcs=false",
            "-mod=readonly",
            "-ldflags",
            &self.ldflags,
            "-tags",
            self.tags,
        ]);
        match &self.programs[..] {
            // A package's program is named by its folder unless it is told otherwise.
            [(name, package)] => go.arg("-o").arg(output.join(name)).arg(package),
            programs => go.arg("-o").arg(&output).args(programs.iter().map(|(_, package)| package)),
        };
        go.current_dir(&source).env("CGO_ENABLED", "0").env("GOWORK", "off");
        self.check_go()?;
        let status = go.status().context("cannot start go")?;
        ensure!(status.success(), "go build of {} in {} failed ({status})", self.names(), source.display());
        fs::write(output.join("stamp"), stamp).context("cannot write the stamp")
    }

    /// Checks that there is a Go toolchain for this module. (Since 1.21 it fetches a newer one by itself, where it may.)
    fn check_go(&self) -> Result<()> {
        let minimum = required(&self.source().join("go.mod"), "go")?;
        let way_out = format!(
            "the control plane is built from Go modules; put `go` (at least {minimum}, see https://go.dev/dl) on the PATH"
        );
        let asked =
            Command::new("go").args(["env", "GOVERSION"]).current_dir(self.source()).env("GOWORK", "off").output();
        let output = match asked {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!("Go is not installed: {way_out}"),
            asked => asked.context("cannot start go")?,
        };
        let found = String::from_utf8_lossy(&output.stdout).trim().trim_start_matches("go").to_owned();
        let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        ensure!(output.status.success(), "go cannot build {}: {why}; {way_out}", self.folder);
        ensure!(numbers(&found) >= numbers(&minimum), "Go {found} is too old: {way_out}");
        Ok(())
    }

    fn names(&self) -> String {
        self.programs.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }
}

/// The version that a go.mod requires of a module, or of `go` itself.
fn required(go_mod: &Path, module: &str) -> Result<String> {
    let text = fs::read_to_string(go_mod).with_context(|| format!("cannot read {}", go_mod.display()))?;
    let line = text.lines().map(|line| line.trim().trim_start_matches("require ")).find_map(|line| {
        let (name, rest) = line.split_once(' ')?;
        (name == module && !rest.starts_with("=>")).then(|| rest.split(' ').next().unwrap_or(rest).to_owned())
    });
    line.with_context(|| format!("{} does not name {module}", go_mod.display()))
}

/// The numbers of a version such as `1.26.0`, to compare.
fn numbers(version: &str) -> Vec<u32> {
    version.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0)).collect()
}

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("."))
}

/// Where packages of Debian are unpacked.
fn debian() -> PathBuf {
    cache().join("debian")
}

fn go_modules() -> PathBuf {
    root().join("e2e/go")
}

/// The folder of everything that cargo builds.
pub fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// Where built programs are kept; `GALAXY_CONTROL_PLANE` names another folder, which several work trees may share.
fn cache() -> PathBuf {
    env::var_os("GALAXY_CONTROL_PLANE").map_or_else(|| target().join("control-plane"), PathBuf::from)
}
