//! Developer commands: `cargo xtask test`, `cargo xtask gen`, `cargo xtask bench`, `cargo xtask cluster`,
//! `cargo xtask e2e`, `cargo xtask chaos`.

mod bench_cluster;
mod chaos;
mod cluster;
mod e2e;
mod generate;
mod image;
mod libtest;
mod test;

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};

/// Packages with their benchmark programs.
const BENCHES: [(&str, &str); 2] = [("galaxy-core", "ledger"), ("galaxy-ipam", "extender")];

/// Developer commands of Galaxy.
#[derive(Parser)]
#[command(name = "cargo xtask", disable_help_subcommand = true)]
struct Args {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Format, lints, generated files and all tests. The last line says how many passed and failed.
    Test,
    /// Write the generated files.
    Gen {
        /// Only say which files are not as they would be written.
        #[arg(long)]
        check: bool,
    },
    /// Run the benchmarks: decisions of the ledger and its memory, calls of the scheduler. Without a filter also a table with targets.
    Bench {
        /// Only benchmarks whose name has this in it; `cluster`: galaxy-ipam on a real control plane, against the limit of its API
        /// server; `cni`: the CNI plugins against Debian's, which needs root.
        filter: Option<String>,
        /// With `cluster`: only this row; may be repeated. A wrong one is answered with the names of all.
        #[arg(long)]
        only: Vec<String>,
        /// With `cluster`: a small scale, to try whether it works.
        #[arg(long)]
        short: bool,
    },
    /// The agent's container image, as an OCI archive.
    Image(image::Image),
    /// A real control plane: etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kwok.
    #[command(subcommand)]
    Cluster(cluster::Task),
    /// Faults on a real control plane: replicas killed, frozen, cut off, the API server away, the Lease edited.
    Chaos(chaos::Chaos),
    /// Run the scenarios on real control planes. The last line says how many passed and failed.
    E2e(e2e::E2e),
}

fn main() -> ExitCode {
    match run(Args::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<ExitCode> {
    match task {
        Task::Test => test::run(),
        Task::Gen { check: false } => generate::write().map(|()| ExitCode::SUCCESS),
        Task::Gen { check: true } => generate::check().map(|()| ExitCode::SUCCESS),
        Task::Bench { filter, only, short } if filter.as_deref() == Some("cluster") => bench_cluster::run(&only, short),
        Task::Bench { only, short, .. } if short || !only.is_empty() => {
            bail!("--only and --short belong to `cargo xtask bench cluster`")
        }
        Task::Bench { filter, .. } if filter.as_deref() == Some("cni") => {
            let plugin = ["build", "--release", "--locked", "--package", "galaxy-cni"];
            require("the plugin", &mut cargo(&plugin))?;
            let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
            let mut bench = cargo(&["bench", "--locked", "--package", "galaxy", "--bench", "cni", "--"]);
            bench.arg(target.join("release/galaxy-cni"));
            require("the comparison of plugins", &mut bench).map(|()| ExitCode::SUCCESS)
        }
        Task::Bench { filter, .. } => {
            let mut bench = cargo(&["bench", "--locked"]);
            for (package, program) in BENCHES {
                bench.args(["--package", package, "--bench", program]);
            }
            bench.arg("--").args(filter);
            require("benchmarks", &mut bench).map(|()| ExitCode::SUCCESS)
        }
        Task::Image(image) => image::run(&image).map(|()| ExitCode::SUCCESS),
        Task::Chaos(chaos) => chaos::run(chaos),
        Task::Cluster(task) => cluster::run(task).map(|()| ExitCode::SUCCESS),
        Task::E2e(e2e) => e2e::run(e2e),
    }
}

/// The root of the repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// A cargo command in the root of the repository, by the cargo that runs this.
fn cargo(args: &[&str]) -> Command {
    let program = std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
    let mut command = Command::new(program);
    command.args(args).current_dir(root());
    command
}

/// How a program is built.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Profile {
    Debug,
    Release,
}

/// Builds the program of a package that is called like it and returns its path.
fn program(name: &str, profile: Profile) -> Result<PathBuf> {
    let mut build = cargo(&["build", "--quiet", "--package", name, "--bin", name, "--message-format=json"]);
    build.args((profile == Profile::Release).then_some("--release"));
    let output = build.stderr(std::process::Stdio::inherit()).output().context("cannot start cargo build")?;
    if !output.status.success() {
        bail!("{name} does not build ({})", output.status);
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let mut messages = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let of_it = |message: &serde_json::Value| message["target"]["name"] == name;
    let built =
        messages.find_map(|message| message["executable"].as_str().map(PathBuf::from).filter(|_| of_it(&message)));
    built.with_context(|| format!("cargo build names no program {name}"))
}

/// Runs a command that must succeed.
fn require(what: &str, command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {what}: {command:?}"))?;
    if !status.success() {
        bail!("{what} failed ({status})");
    }
    Ok(())
}
