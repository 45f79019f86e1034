//! What is promised about nodes, on real nodes: one cluster for all scenarios of a container runtime, a new one after a failure.
//!
//! Needs root and the programs of `cargo xtask cluster build --nodes`. `cargo test` runs the first scenario; all run with
//! `GALAXY_NODES=all`, with full numbers with `GALAXY_NODES=long`. Arguments are parts of names.

mod lab;
mod scenarios;

use std::{
    io::Write,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use galaxy_nodes::{Built, Cluster, Options, underlay};
use galaxy_plane::{Binaries, NEWEST, Runtime};

use scenarios::{SCENARIOS, Scenario};

/// How long a scenario may take.
const LIMIT: Duration = Duration::from_secs(20 * 60);

fn main() -> ExitCode {
    let filters: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let mode = std::env::var("GALAXY_NODES").unwrap_or_default();
    let (all, long) = (["all", "long"].contains(&&*mode) || !filters.is_empty(), mode == "long");
    let chosen = |runtime: Runtime, number: usize, scenario: &Scenario| {
        let name = format!("{runtime:?} {}", scenario.name);
        let named = filters.is_empty() || filters.iter().any(|filter| name.contains(&**filter));
        // Debian's containerd differs in what it calls, not in what pods do; so its part is the calls.
        named && (all || number == 0) && (runtime == Runtime::Containerd2 || all && (scenario.core || long))
    };
    let runs = [Runtime::Containerd2, Runtime::Debian].map(|runtime| {
        let scenarios = SCENARIOS.iter().enumerate().filter(|(number, scenario)| chosen(runtime, *number, scenario));
        (runtime, scenarios.map(|(_, scenario)| *scenario).collect::<Vec<_>>())
    });
    let count: usize = runs.iter().map(|(_, scenarios)| scenarios.len()).sum();
    let missing = underlay::possible()
        .and_then(|()| Binaries::find(NEWEST).map(drop))
        .and_then(|()| Binaries::of_nodes(Runtime::Debian).map(drop));
    if let Err(why) = missing {
        say(&format!("\nSKIPPED {count} scenarios on real nodes: {why:#}\n"));
        say("test result: ok. 0 passed; 0 failed");
        return ExitCode::SUCCESS;
    }
    if !all {
        say(&format!(
            "SKIPPED all but {count} of the scenarios on real nodes: `cargo xtask e2e --real-nodes` runs them"
        ));
    }
    let (mut passed, mut failed) = (0, 0);
    match Built::build() {
        Ok(built) => {
            for (runtime, scenarios) in runs {
                let mut left = &scenarios[..];
                // A new cluster after a failure.
                while !left.is_empty() {
                    let done = run(runtime, left, long, &built);
                    passed += done.passed;
                    failed += usize::from(done.failed);
                    left = &left[done.passed + usize::from(done.failed)..];
                }
            }
        }
        Err(error) => {
            say(&format!("FAILED to build: {error:#}"));
            failed = count;
        }
    }
    let word = if failed == 0 { "ok" } else { "FAILED" };
    say(&format!("test result: {word}. {passed} passed; {failed} failed"));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What came of scenarios on one cluster, which end with the first failure.
struct Done {
    passed: usize,
    failed: bool,
}

fn run(runtime: Runtime, scenarios: &[Scenario], long: bool, built: &Built) -> Done {
    let mut passed = 0;
    let outcome = underlay::enter(async || {
        let options = Options { runtime, nodes: 2, eviction_after: Duration::from_secs(2), built: built.clone() };
        let start = Instant::now();
        let cluster = Cluster::start(&options).await.with_context(|| format!("{runtime:?}: the cluster"))?;
        say(&format!("{runtime:?}: two nodes with the agent after {:.1} s", start.elapsed().as_secs_f32()));
        for scenario in scenarios {
            let start = Instant::now();
            let done = tokio::time::timeout(LIMIT, (scenario.run)(&cluster, long)).await;
            let name = format!("{runtime:?} {}", scenario.name);
            done.unwrap_or_else(|_| Err(anyhow!("not done within {LIMIT:?}"))).context(name.clone())?;
            say(&format!("ok     {name} ({:.1} s)", start.elapsed().as_secs_f32()));
            passed += 1;
        }
        cluster.stop()
    });
    if let Err(error) = &outcome {
        say(&format!("FAILED {error:#}"));
    }
    // That the end fails when all scenarios have passed is the last one's failure.
    let failed = outcome.is_err();
    Done { passed: passed - usize::from(failed && passed == scenarios.len()), failed }
}

/// Not println!: a closed pipe must not end the run in a panic.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
