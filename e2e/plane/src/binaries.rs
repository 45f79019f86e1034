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
    let modules = modules(version)?;
    fs::create_dir_all(cache()).with_context(|| format!("cannot make {}", cache().display()))?;
    // Builds of other processes into the same folder are waited for.
    let lock = fs::File::create(cache().join("lock")).context("cannot make the lock file")?;
    lock.lock().context("cannot take the lock")?;
    for module in &modules {
        if !module.fresh() {
            module.build()?;
        }
    }
    Binaries::find(version)
}

/// A Go module under `e2e/go` and the programs that are built from it.
struct Module {
    folder: String,
    /// Name and Go package of each program.
    programs: Vec<(&'static str, String)>,
    ldflags: String,
}

fn modules(version: &str) -> Result<Vec<Module>> {
    let known = versions();
    ensure!(
        known.iter().any(|known| known == version),
        "Kubernetes {version} is not pinned: there are {}",
        known.join(", ")
    );
    let folder = format!("kubernetes-{version}");
    let full = required(&go_modules().join(&folder).join("go.mod"), "k8s.io/kubernetes")?;
    let (major, minor) = version.split_once('.').unwrap_or((version, ""));
    let ldflags = [("gitVersion", full.as_str()), ("gitMajor", major), ("gitMinor", minor)]
        .iter()
        .fold("-s -w".to_owned(), |flags, (name, value)| {
            format!("{flags} -X k8s.io/component-base/version.{name}={value}")
        });
    let programs = KUBERNETES.iter().map(|name| (*name, format!("k8s.io/kubernetes/cmd/{name}"))).collect();
    let plain = |folder: &str, name, package: &str| Module {
        folder: folder.to_owned(),
        programs: vec![(name, package.to_owned())],
        ldflags: "-s -w".to_owned(),
    };
    Ok(vec![
        Module { folder, programs, ldflags },
        plain("etcd", "etcd", "go.etcd.io/etcd/server/v3"),
        plain("kwok", "kwok", "sigs.k8s.io/kwok/cmd/kwok"),
    ])
}

impl Module {
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
        go.arg("build").args(["-trimpath", "-buildvcs=false", "-mod=readonly", "-ldflags", &self.ldflags]);
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
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("."))
}

fn go_modules() -> PathBuf {
    root().join("e2e/go")
}

/// The folder of everything that cargo builds.
pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// Where built programs are kept; `GALAXY_CONTROL_PLANE` names another folder, which several work trees may share.
fn cache() -> PathBuf {
    env::var_os("GALAXY_CONTROL_PLANE").map_or_else(|| target().join("control-plane"), PathBuf::from)
}
