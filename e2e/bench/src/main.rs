//! How fast galaxy-ipam is on a real control plane, measured against what the API server itself can do in the same run.
//!
//! `cargo xtask bench cluster` builds and runs this. What is compared takes turns in short slices, so that both see the same machine.
//!
//! | file | concern |
//! | --- | --- |
//! | `ground` | a control plane with nodes, topology and as many allocated addresses as wanted, and galaxy-ipam on it |
//! | `objects` | nodes, pods, topology |
//! | `etcd` | loading hundreds of thousands of objects without the API server's help |
//! | `extender` | calling galaxy-ipam as the scheduler does |
//! | `raw` | the plainest client: what the API server can do |
//! | `proxy` | counts calls and injects conflicts |
//! | `report` | percentiles, rows |
//! | `rows` | one file a target |

mod etcd;
mod extender;
mod ground;
mod objects;
mod proxy;
mod raw;
mod report;
mod rows;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Parser, ValueEnum};
use galaxy_plane::NEWEST;

use ground::Ground;
use report::Report;

/// galaxy-ipam against the limit of the API server.
#[derive(Parser)]
#[command(name = "cargo xtask bench cluster")]
struct Args {
    /// The galaxy-ipam to measure.
    #[arg(long)]
    ipam: PathBuf,
    /// Minor version of Kubernetes.
    #[arg(long, default_value = NEWEST)]
    kubernetes: String,
    /// Only this row; may be repeated.
    #[arg(long, value_enum)]
    only: Vec<Row>,
    /// A small scale, to try whether it works; its numbers prove nothing.
    #[arg(long)]
    short: bool,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Row {
    /// Time to become ready.
    Ready,
    /// Resident memory.
    Memory,
    /// Filters of many nodes.
    Filter,
    /// Binds against raw pairs of writes.
    Binds,
    /// Many pods deleted at once.
    Release,
    /// Calls of the API server for each pod.
    Writes,
    /// Binds and filters with many addresses allocated against few.
    Size,
    /// Pods through the real scheduler.
    Scheduler,
}

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// Nodes of the cluster in which no scheduler runs.
    pub(crate) nodes: usize,
    /// FloatingIPs at the start.
    pub(crate) listed: usize,
    /// Allocated addresses for binds.
    pub(crate) allocated: usize,
    /// Many allocated addresses.
    pub(crate) most: usize,
    /// Turns that what is compared takes.
    pub(crate) rounds: usize,
    /// Things done in a turn.
    pub(crate) slice: usize,
    /// Pods deleted at once.
    pub(crate) burst: usize,
    /// Nodes of the cluster with a scheduler.
    pub(crate) kwok_nodes: usize,
}

const FULL: Scale = Scale {
    nodes: 5_000,
    listed: 100_000,
    allocated: 200_000,
    most: 500_000,
    rounds: 10,
    slice: 400,
    burst: 10_000,
    kwok_nodes: 1_000,
};

const SHORT: Scale = Scale {
    nodes: 500,
    listed: 4_000,
    allocated: 8_000,
    most: 20_000,
    rounds: 3,
    slice: 100,
    burst: 1_000,
    kwok_nodes: 50,
};

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let ended = tokio::select! {
        ended = run(&args) => ended,
        _ = tokio::signal::ctrl_c() => {
            galaxy_plane::forget();
            Ok(false)
        }
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the rows; whether all targets are met.
async fn run(args: &Args) -> Result<bool> {
    let wanted = |row| args.only.is_empty() || args.only.contains(&row);
    let scale = if args.short { &SHORT } else { &FULL };
    let mut report = Report::default();
    if [Row::Ready, Row::Memory, Row::Filter, Row::Binds, Row::Release, Row::Size].into_iter().any(wanted) {
        let mut ground = Ground::start(&args.kubernetes, &args.ipam, scale.nodes).await?;
        if wanted(Row::Ready) {
            rows::ready::run(&mut ground, scale, &mut report).await?;
        }
        if wanted(Row::Memory) {
            rows::memory::run(&mut ground, scale, &mut report).await?;
        }
        if wanted(Row::Filter) {
            rows::filter::run(&mut ground, scale, &mut report).await?;
        }
        if wanted(Row::Binds) {
            rows::binds::run(&mut ground, scale, &mut report).await?;
        }
        if wanted(Row::Release) {
            rows::release::run(&mut ground, scale, &mut report).await?;
        }
        if wanted(Row::Size) {
            let mut small = Ground::start(&args.kubernetes, &args.ipam, scale.nodes).await?;
            rows::size::run(&mut ground, &mut small, scale, &mut report).await?;
            small.stop()?;
        }
        ground.stop()?;
    }
    if wanted(Row::Writes) {
        let mut ground = Ground::start(&args.kubernetes, &args.ipam, scale.slice).await?;
        rows::writes::run(&mut ground, scale, &mut report).await?;
        ground.stop()?;
    }
    if wanted(Row::Scheduler) {
        rows::scheduler::run(&args.kubernetes, &args.ipam, scale, &mut report).await?;
    }
    println!("\n{report}");
    if args.short {
        println!("(a small scale: these numbers prove nothing)");
    }
    Ok(report.met())
}
