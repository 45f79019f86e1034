//! `cargo xtask e2e`: the scenarios on real control planes, several planes at a time.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    sync::Mutex,
    thread,
};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::{Profile, cargo, libtest::Counts, program, root};

/// Planes at a time: most of its life a scenario waits.
const PLANES: usize = 3;

#[derive(Args)]
pub(crate) struct E2e {
    /// Minor version of Kubernetes, all of it; may be repeated. Without: all of it on the newest, the promises on the others.
    #[arg(long)]
    kubernetes: Vec<String>,
    /// The scheduler sends whole nodes, not their names. Without: names on the newest version, whole nodes on the others.
    #[arg(long)]
    whole_nodes: bool,
    /// The scenarios on real nodes instead: kubelets, containerd, the agent. Needs root.
    #[arg(long, conflicts_with_all = ["kubernetes", "whole_nodes"])]
    real_nodes: bool,
    /// With --real-nodes: full numbers, which takes half an hour.
    #[arg(long, requires = "real_nodes")]
    long: bool,
    /// Only scenarios whose name contains one of these.
    filters: Vec<String>,
}

/// Scenarios for one version.
struct Run {
    version: String,
    arguments: Vec<&'static str>,
}

/// Runs them.
pub(crate) fn run(e2e: E2e) -> Result<ExitCode> {
    if e2e.real_nodes {
        return real_nodes(&e2e);
    }
    let runs = e2e.runs();
    for run in &runs {
        galaxy_plane::build(&run.version)?;
    }
    let program = program("galaxy-e2e", Profile::Debug)?;
    let kept = kept();
    // Of an earlier run.
    let _ = fs::remove_dir_all(&kept);
    // Who is interrupted here is this, the runners beside it, and they clean up: wait for them.
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.spawn(async {
        loop {
            let _ = tokio::signal::ctrl_c().await;
        }
    });
    let counts = Mutex::new(Counts::default());
    for run in &runs {
        let parts: Vec<Child> =
            (1..=PLANES).map(|part| start(&program, run, part, &kept, &e2e.filters)).collect::<Result<_>>()?;
        thread::scope(|scope| {
            for part in parts {
                scope.spawn(|| follow(part, &counts));
            }
        });
    }
    let counts = counts.into_inner().unwrap_or_default();
    if kept.exists() {
        println!("what is kept of the scenarios that failed: {}", kept.display());
    }
    ensure!(counts.passed + counts.failed > 0, "no scenario has a name like {:?}", e2e.filters);
    println!("{counts}");
    Ok(if counts.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the scenarios on real nodes.
fn real_nodes(e2e: &E2e) -> Result<ExitCode> {
    galaxy_plane::build(galaxy_plane::NEWEST)?;
    galaxy_plane::build_nodes()?;
    let mut test = cargo(&["test", "--quiet", "--package", "galaxy-nodes", "--test", "nodes", "--"]);
    test.args(&e2e.filters).env("GALAXY_NODES", if e2e.long { "long" } else { "all" });
    let mut test = test.stdout(Stdio::piped()).spawn().context("cannot start cargo test")?;
    let mut counts = Counts::default();
    for line in BufReader::new(test.stdout.take().context("no output")?).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        counts.add_line(&line);
        let _ = writeln!(std::io::stdout(), "{line}");
    }
    let success = test.wait().context("cannot wait for cargo test")?.success();
    // A program that did not compile or died has no summary.
    counts.failed += u64::from(!success && counts.failed == 0);
    println!("{counts}");
    Ok(if counts.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl E2e {
    fn runs(&self) -> Vec<Run> {
        let whole = |yes: bool| yes.then_some("--whole-nodes");
        if !self.kubernetes.is_empty() {
            let run = |version: &String| Run {
                version: version.clone(),
                arguments: whole(self.whole_nodes).into_iter().collect(),
            };
            return self.kubernetes.iter().map(run).collect();
        }
        let run = |version: String| {
            let newest = version == galaxy_plane::NEWEST;
            let arguments = (!newest).then_some("--promises").into_iter().chain(whole(!newest || self.whole_nodes));
            Run { version, arguments: arguments.collect() }
        };
        galaxy_plane::versions().into_iter().rev().map(run).collect()
    }
}

/// Where logs of failed scenarios are kept.
fn kept() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir));
    target.join("e2e")
}

fn start(program: &Path, run: &Run, part: usize, kept: &Path, filters: &[String]) -> Result<Child> {
    let mut command = Command::new(program);
    command.args(["--kubernetes", &run.version, "--part", &format!("{part}/{PLANES}"), "--kept"]).arg(kept);
    command.args(&run.arguments).args(filters).current_dir(root());
    // Its input ends when this does, however, and then it ends too.
    command.arg("--owned").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot start galaxy-e2e")
}

/// Passes a runner's output on and counts. One that ends without a total has failed.
fn follow(mut part: Child, counts: &Mutex<Counts>) {
    let mut total = false;
    if let Some(output) = part.stdout.take() {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            total = counts.lock().is_ok_and(|mut counts| counts.add_total(&line));
            if !total {
                // Not println!: a closed pipe must not end the run in a panic.
                let _ = writeln!(std::io::stdout(), "{line}");
            }
        }
    }
    // Not before: waiting closes its input.
    let ended = part.wait();
    if !total {
        let _ = writeln!(std::io::stdout(), "FAILED galaxy-e2e ended without a total: {ended:?}");
        if let Ok(mut counts) = counts.lock() {
            counts.failed += 1;
        }
    }
}
