//! Running scenarios one after the other, and keeping the logs of those that fail.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use tokio::signal::unix::{SignalKind, signal};

use super::{
    Planes,
    list::{Scenario, scenarios},
};

/// How long a scenario may take.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// What to run.
#[derive(clap::Parser)]
#[command(about = "Scenarios on a real control plane; `cargo xtask e2e` builds what they need and runs this")]
pub struct Args {
    /// Minor version of Kubernetes.
    #[arg(long, default_value = galaxy_plane::NEWEST)]
    kubernetes: String,
    /// The scheduler sends whole nodes, not their names (nodeCacheCapable: false).
    #[arg(long)]
    whole_nodes: bool,
    /// Only the scenarios of what users are promised.
    #[arg(long)]
    promises: bool,
    /// The i-th of n equal parts, as 1/3.
    #[arg(long, default_value = "1/1")]
    part: String,
    /// Folder for what is kept of scenarios that failed.
    #[arg(long)]
    kept: PathBuf,
    /// End when the standard input does: whoever started this is gone then.
    #[arg(long)]
    owned: bool,
    /// Only print the names.
    #[arg(long)]
    list: bool,
    /// Only scenarios whose name contains one of these.
    filters: Vec<String>,
}

/// Runs the scenarios; the last line of the output says how many passed and failed. Returns whether all passed.
///
/// # Errors
/// The arguments make no sense, or it was told to end.
pub async fn run(args: Args) -> Result<bool> {
    let chosen = choose(&args)?;
    if args.list {
        chosen.iter().for_each(|scenario| say(scenario.name));
        return Ok(true);
    }
    let planes = Planes::new(&args.kubernetes, !args.whole_nodes);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let orphaned = async {
        match args.owned {
            true => drop(end_of_input().await),
            false => std::future::pending().await,
        }
    };
    let outcome = tokio::select! {
        failed = all(&planes, &chosen, &args) => failed,
        _ = tokio::signal::ctrl_c() => Err(anyhow!("interrupted")),
        _ = terminate.recv() => Err(anyhow!("told to end")),
        _ = hang_up.recv() => Err(anyhow!("the terminal is gone")),
        () = orphaned => Err(anyhow!("its owner is gone")),
    };
    // Whatever happened, nothing is left behind.
    planes.stop().await?;
    let failed = outcome?;
    say(&format!("{} passed, {failed} failed", chosen.len() - failed));
    Ok(failed == 0)
}

/// Resolves at the end of the standard input. A thread of its own reads it, for whose end nobody waits.
fn end_of_input() -> tokio::sync::oneshot::Receiver<()> {
    let (ended, end) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        let _ = ended.send(());
    });
    end
}

/// Not println!: a closed pipe must not end the run in a panic.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

fn choose(args: &Args) -> Result<Vec<Scenario>> {
    let parsed = args.part.split_once('/').and_then(|(part, parts)| Some((part.parse().ok()?, parts.parse().ok()?)));
    let (part, parts): (usize, usize) =
        parsed.filter(|(part, parts)| (1..=*parts).contains(part)).with_context(|| format!("--part={}", args.part))?;
    let mut chosen = scenarios(&args.kubernetes);
    chosen.retain(|scenario| {
        (scenario.promise || !args.promises)
            && (args.filters.is_empty() || args.filters.iter().any(|filter| scenario.name.contains(&**filter)))
    });
    // Neighbours are alike, so they are dealt out.
    Ok(chosen.into_iter().enumerate().filter(|(number, _)| number % parts + 1 == part).map(|(_, it)| it).collect())
}

/// Returns how many failed.
async fn all(planes: &Planes, chosen: &[Scenario], args: &Args) -> Result<usize> {
    let mut failed = 0;
    for scenario in chosen {
        let (start, before) = (Instant::now(), lengths(planes).await);
        let running = (scenario.run)(planes.lab());
        // A task of its own, so that a panic is an error; aborted when this is dropped.
        let task = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(tokio::time::timeout(LIMIT, running)));
        let error = match task.await {
            Ok(Ok(Ok(()))) => None,
            Ok(Ok(Err(error))) => Some(format!("{error:#}")),
            Ok(Err(_)) => Some(format!("not done within {LIMIT:?}")),
            Err(panic) => Some(format!("{panic}")),
        };
        let name = format!("{} {}", args.kubernetes, scenario.name);
        let seconds = start.elapsed().as_secs_f32();
        match error {
            None => say(&format!("ok     {name} ({seconds:.1} s)")),
            Some(error) => {
                failed += 1;
                let folder = args.kept.join(&args.kubernetes).join(scenario.name.replace("::", "."));
                keep(planes, &folder, &error, &before).await?;
                say(&format!("FAILED {name} ({seconds:.1} s)\n{error}\nlogs: {}", folder.display()));
            }
        }
    }
    Ok(failed)
}

/// The present length of every log.
async fn lengths(planes: &Planes) -> BTreeMap<PathBuf, u64> {
    let entries = planes.logs().await.and_then(|logs| fs::read_dir(logs).ok()).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.path(), entry.metadata().ok()?.len()))).collect()
}

/// Keeps what the components wrote since `before`.
async fn keep(planes: &Planes, folder: &Path, error: &str, before: &BTreeMap<PathBuf, u64>) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::write(folder.join("error.txt"), error)?;
    for (log, _) in lengths(planes).await {
        let mut file = File::open(&log)?;
        file.seek(SeekFrom::Start(before.get(&log).copied().unwrap_or(0)))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        fs::write(folder.join(log.file_name().unwrap_or_default()), text)?;
    }
    Ok(())
}
