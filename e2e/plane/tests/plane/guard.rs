//! Processes end with their owner. These tests need no control plane.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use galaxy_plane::{Guard, Process, Signal};

/// Folder that the owner below uses; unset in a normal run.
const OWNER: &str = "GALAXY_PLANE_TEST_OWNER";

/// Ids of the processes whose command line names this path.
pub(crate) fn processes_naming(path: &Path) -> Result<Vec<u32>> {
    let path = path.to_str().context("no UTF-8")?;
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // Gone in between, or a thread of the kernel.
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains(path) {
            found.push(id);
        }
    }
    Ok(found)
}

fn until(what: &str, condition: impl Fn() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !condition()? {
        ensure!(start.elapsed() < Duration::from_secs(30), "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn folder(name: &str) -> Result<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// A process that runs for long, with `folder` in its command line.
fn sleeper(guard: &std::sync::Arc<Guard>, folder: &Path, name: &str) -> Result<Process> {
    let script = format!("echo ready; : {}; sleep 1000; sleep 1000", folder.display());
    Process::start(guard, folder, name, Path::new("sh"), ["-c", &script], &[])
}

#[test]
fn a_process_can_be_stopped_and_restarted() -> Result<()> {
    let folder = folder("process")?;
    let guard = Guard::new()?;
    let mut process = sleeper(&guard, &folder, "sleeper")?;
    until("it says so", || Ok(fs::read_to_string(folder.join("sleeper.log"))?.contains("ready")))?;
    process.running()?;
    process.signal(Signal::Stop)?;
    process.signal(Signal::Cont)?;
    process.kill();
    let error = process.running().err().context("a killed process runs")?;
    ensure!(error.to_string().contains("ready"), "the error does not show the log: {error}");
    process.restart()?;
    process.running()?;
    drop(process);
    ensure!(processes_naming(&folder)?.is_empty(), "left behind");
    fs::remove_dir_all(folder)?;
    Ok(())
}

/// What `nothing_outlives_a_killed_owner` runs in a process of its own.
#[test]
fn owner() -> Result<()> {
    let Some(folder) = std::env::var_os(OWNER).map(PathBuf::from) else { return Ok(()) };
    let guard = Guard::new()?;
    let _processes =
        [sleeper(&guard, &folder, "one")?, sleeper(&guard, &folder, "two")?, sleeper(&guard, &folder, "three")?];
    loop {
        std::thread::sleep(Duration::from_secs(60));
    }
}

#[test]
fn nothing_outlives_a_killed_owner() -> Result<()> {
    let folder = folder("owner")?;
    let mut owner = Command::new(std::env::current_exe()?)
        .args(["--exact", "guard::owner"])
        .env(OWNER, &folder)
        .stdout(Stdio::null())
        .spawn()?;
    // The shell and its sleep: only the shell's command line names the folder.
    until("three processes run", || Ok(processes_naming(&folder)?.len() == 3))?;
    owner.kill()?;
    owner.wait()?;
    until("they are gone", || Ok(processes_naming(&folder)?.is_empty()))?;
    fs::remove_dir_all(folder)?;
    Ok(())
}
