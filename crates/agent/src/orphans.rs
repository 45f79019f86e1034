//! What belongs to no sandbox of the container runtime: state files, devices, records, and files of other plugins.
//!
//! Nothing is touched that is younger than the age, since a sandbox is listed some time after its ADD; nor anything while
//! the runtime cannot be asked.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use galaxy_cni::{Leftover, spec::is_id};

use crate::{call::Agent, runtime::Runtime, state::Stored};

/// Where to look, beside the agent's own folder.
pub(crate) struct Places {
    /// Files named by container id.
    pub by_name: Vec<PathBuf>,
    /// Files of host-local: the container id is their first line.
    pub by_content: Vec<PathBuf>,
}

/// Looks for ever.
pub(crate) async fn follow(agent: Arc<Agent>, runtime: Runtime, places: Places, period: Duration) {
    let places = Arc::new(places);
    // Devices and records have no age of their own.
    let mut seen = HashMap::new();
    let mut problem = None;
    loop {
        tokio::time::sleep(period).await;
        match runtime.sandboxes().await {
            Ok(living) => {
                problem = None;
                collect(&agent, living, &places, &mut seen).await;
            }
            Err(why) => {
                agent.metrics.retry("runtime");
                if problem.as_ref() != Some(&why) {
                    tracing::warn!(problem = why, "nothing is collected");
                    problem = Some(why);
                }
            }
        }
    }
}

/// One look.
pub(crate) async fn collect(
    agent: &Arc<Agent>,
    living: HashSet<String>,
    places: &Arc<Places>,
    seen: &mut HashMap<String, Instant>,
) {
    let orphan = |stored: &Stored| {
        let sandbox = stored.sandbox.as_ref().ok()?;
        (!living.contains(&sandbox.container_id)).then(|| sandbox.container_id.clone())
    };
    if let Err(error) = agent.collect_states(orphan).await {
        tracing::warn!(error = error.msg, "orphaned sandboxes are left");
    }
    let (agent, places, before) = (Arc::clone(agent), Arc::clone(places), std::mem::take(seen));
    let work = move || {
        let kept = leftovers(&agent, &living, before);
        files(&agent, &living, &places);
        kept
    };
    *seen = tokio::task::spawn_blocking(work).await.unwrap_or_default();
}

/// Removes devices and records that were orphans for long enough; the others are remembered.
fn leftovers(agent: &Agent, living: &HashSet<String>, before: HashMap<String, Instant>) -> HashMap<String, Instant> {
    let (all, written) = match (agent.node.leftovers(&agent.run_dirs()), agent.store.all()) {
        (Ok(all), Ok(written)) => (all, written),
        (Err(error), _) => {
            tracing::warn!(error = error.msg, "devices cannot be listed");
            return before;
        }
        (_, Err(error)) => {
            tracing::warn!(%error, "state files cannot be listed");
            return before;
        }
    };
    let mut known: HashSet<String> = living.clone();
    known.extend(written.into_iter().map(|stored| {
        match stored.sandbox {
            Ok(sandbox) => sandbox.container_id,
            // A file that makes no sense still says whose it is.
            Err(_) => stored
                .path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .split('@')
                .next()
                .unwrap_or_default()
                .to_owned(),
        }
    }));
    let is_orphan = |leftover: &Leftover| {
        !known.iter().any(|id| leftover.is_of(id)) && !agent.slots.contains(|container| leftover.is_of(container))
    };
    let mut seen = HashMap::new();
    for leftover in all.iter().filter(|leftover| is_orphan(leftover)) {
        let name = leftover.name();
        let since = before.get(&name).copied().unwrap_or_else(Instant::now);
        if since.elapsed() < agent.gc_age {
            seen.insert(name, since);
            continue;
        }
        match agent.node.remove_leftover(leftover) {
            Ok(()) => {
                tracing::warn!(what = name, "orphan removed");
                agent.metrics.orphan(leftover.kind());
            }
            Err(error) => {
                tracing::warn!(what = name, error = error.msg, "orphan cannot be removed");
                seen.insert(name, since);
            }
        }
    }
    agent.sweep.soon();
    seen
}

fn files(agent: &Agent, living: &HashSet<String>, places: &Places) {
    let by_name = places.by_name.iter().flat_map(|folder| old_files(folder, agent.gc_age)).filter_map(|path| {
        let id = path.file_name()?.to_str()?.to_owned();
        Some((path, id))
    });
    let by_content = places.by_content.iter().flat_map(|folder| old_files(folder, agent.gc_age)).filter_map(|path| {
        // Beside its leases host-local has a lock and the last address of each range.
        path.file_name()?.to_str()?.parse::<std::net::IpAddr>().ok()?;
        let id = fs::read_to_string(&path).ok()?.lines().next()?.trim().to_owned();
        Some((path, id))
    });
    let orphans = by_name.chain(by_content).filter(|(_, id)| is_id(id) && !living.contains(id));
    for (path, id) in orphans.filter(|(_, id)| !agent.slots.contains(|container| container == id)) {
        match fs::remove_file(&path) {
            Ok(()) => {
                tracing::warn!(path = %path.display(), container = id, "orphaned file removed");
                agent.metrics.orphan("file");
            }
            Err(error) => tracing::warn!(path = %path.display(), %error, "orphaned file cannot be removed"),
        }
    }
}

fn old_files(folder: &Path, age: Duration) -> Vec<PathBuf> {
    let now = SystemTime::now();
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let old = entries.filter(|entry| {
        let Ok(metadata) = entry.metadata() else { return false };
        let since = metadata.modified().ok().and_then(|at| now.duration_since(at).ok());
        metadata.is_file() && since.is_some_and(|since| since >= age)
    });
    old.map(|entry| entry.path()).collect()
}
