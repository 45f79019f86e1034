//! How honest the sandbox is: one script of API calls and watches, played to the sandbox and to a real API server.

mod known;
mod script;
mod transcript;

use std::{collections::BTreeMap, io::Write};

use anyhow::{Context, Result};
use galaxy_plane::{Binaries, NEWEST, Options, Plane, Rack};
use galaxy_sandbox::cluster::{Options as SandboxOptions, SandboxCluster};

/// Answers by step. Steps have different names.
fn by_step(lines: Vec<String>) -> BTreeMap<String, String> {
    let count = lines.len();
    let split = |line: String| line.split_once(": ").map(|(step, answer)| (step.to_owned(), answer.to_owned()));
    let steps: BTreeMap<String, String> = lines.into_iter().filter_map(split).collect();
    assert_eq!(steps.len(), count, "two steps have one name");
    steps
}

async fn on_the_sandbox() -> Result<Vec<String>> {
    let cluster = SandboxCluster::start(SandboxOptions::default()).await?;
    let lines = script::play(cluster.client("honesty")).await;
    cluster.stop().await;
    lines
}

/// Every answer of the sandbox that a real API server would not give is on the list, and the list has nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sandbox_answers_as_a_real_api_server() -> Result<()> {
    // In any case: what it says has to be told.
    let sandbox = by_step(on_the_sandbox().await.context("sandbox")?);
    if let Err(error) = Binaries::find(NEWEST) {
        // Not eprintln!, which the harness captures.
        let _ = writeln!(std::io::stderr(), "SKIPPED: the sandbox is compared with nothing: {error:#}");
        return Ok(());
    }
    let plane = Plane::start(Options { racks: Rack::letters(&[1])?, ..Options::default() }).await?;
    let real = by_step(script::play(plane.client()).await.context("real API server")?);
    plane.stop()?;

    let mut wrong = Vec::new();
    for (step, answer) in &real {
        let ours = sandbox.get(step).map_or("(not asked)", String::as_str);
        match (ours == answer, known::DIFFERENCES.iter().find(|(known, _)| known == step)) {
            (false, None) => wrong.push(format!("{step}\n    sandbox {ours}\n    real    {answer}")),
            (true, Some(_)) => wrong.push(format!("{step}: no difference any more; take it off the list")),
            _ => {}
        }
    }
    wrong.extend(
        known::DIFFERENCES
            .iter()
            .filter(|(step, _)| !real.contains_key(*step))
            .map(|(step, _)| format!("{step}: no such step")),
    );
    println!("{} steps, {} known differences", real.len(), known::DIFFERENCES.len());
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}
