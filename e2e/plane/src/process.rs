//! Processes that do not outlive their owner.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};

/// Reads `+ GROUP` and `- GROUP` until its input ends, which happens when its owner is gone, however; then kills those groups.
const WATCHDOG: &str = r#"
trap '' HUP INT TERM
groups=
while read -r sign group; do
    others=
    for other in $groups; do [ "$other" = "$group" ] || others="$others $other"; done
    groups=$others
    [ "$sign" = - ] || groups="$groups $group"
done
for group in $groups; do kill -s KILL -- "-$group" 2>/dev/null; done
"#;

/// Becomes the program once told that the watchdog knows of it, and ends if nobody is left to tell.
const LAUNCHER: &str = r#"read -r go || exit 1; exec "$0" "$@" </dev/null"#;

/// Kills every [`Process`] that was started under it when this process ends: by return, panic, signal or kill -9.
///
/// It is a shell in a process group of its own that waits for the end of a pipe held by this process alone. (A parent death signal
/// would be bound to the thread that spawned.)
#[derive(Debug)]
pub struct Guard {
    watchdog: Mutex<Child>,
    pipe: Mutex<Option<ChildStdin>>,
}

impl Guard {
    /// Starts the watchdog.
    ///
    /// # Errors
    /// `sh` cannot be started.
    pub fn new() -> Result<Arc<Self>> {
        let mut command = Command::new("sh");
        command
            .args(["-c", WATCHDOG])
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut watchdog = command.spawn().context("cannot start sh")?;
        let pipe = Mutex::new(watchdog.stdin.take());
        Ok(Arc::new(Self { watchdog: Mutex::new(watchdog), pipe }))
    }

    fn tell(&self, sign: char, group: u32) -> Result<()> {
        let mut pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
        let pipe = pipe.as_mut().context("the watchdog is gone")?;
        writeln!(pipe, "{sign} {group}").context("the watchdog is gone")
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // The end of its input makes the watchdog kill and leave.
        drop(self.pipe.get_mut().unwrap_or_else(PoisonError::into_inner).take());
        let _ = self.watchdog.get_mut().unwrap_or_else(PoisonError::into_inner).wait();
    }
}

/// What can be sent to a [`Process`].
#[derive(Clone, Copy, Debug)]
pub enum Signal {
    /// Ask to end.
    Term,
    /// End at once.
    Kill,
    /// Freeze.
    Stop,
    /// Run on after [`Signal::Stop`].
    Cont,
}

/// A process in a group of its own, its output in a log file. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(String, String)>,
    log: PathBuf,
    guard: Arc<Guard>,
    child: Child,
    /// How it ended, once the watchdog has been told: another process may have its id by then.
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts `program`; its output is appended to `FOLDER/NAME.log`. Of this process's environment it gets the PATH.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start<A: Into<OsString>>(
        guard: &Arc<Guard>,
        folder: &Path,
        name: &str,
        program: &Path,
        arguments: impl IntoIterator<Item = A>,
        environment: &[(&str, &str)],
    ) -> Result<Self> {
        let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
        let environment: Vec<_> =
            environment.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let log = folder.join(format!("{name}.log"));
        let child =
            spawn(guard, program, &arguments, &environment, &log).with_context(|| format!("cannot start {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            program: program.to_owned(),
            arguments,
            environment,
            log,
            guard: guard.clone(),
            child,
            ended: None,
        })
    }

    /// Name, as in the name of the log.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Process id, which is also that of its group.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Path of the log.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// How it ended, if it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
            if self.ended.is_some() {
                let _ = self.guard.tell('-', self.id());
            }
        }
        self.ended
    }

    /// Checks that it runs.
    ///
    /// # Errors
    /// It ended; the error has the end of its log.
    pub fn running(&mut self) -> Result<()> {
        match self.exited() {
            None => Ok(()),
            Some(status) => {
                Err(anyhow!("{} ended ({status}); {} ends with:\n{}", self.name, self.log.display(), self.log_end()))
            }
        }
    }

    /// The last 2 KiB of the log.
    pub fn log_end(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(2048)..]).into_owned()
    }

    /// Sends a signal to the process and its children.
    ///
    /// # Errors
    /// It has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.running()?;
        let name = match signal {
            Signal::Term => "TERM",
            Signal::Kill => "KILL",
            Signal::Stop => "STOP",
            Signal::Cont => "CONT",
        };
        let group = format!("-{}", self.id());
        let status =
            Command::new("sh").args(["-c", r#"kill -s "$0" -- "$1""#, name, &group]).stderr(Stdio::null()).status();
        ensure!(status.context("cannot start sh")?.success(), "cannot send {name} to {} ({})", self.name, self.id());
        Ok(())
    }

    /// Kills it with its children and waits for its end.
    pub fn kill(&mut self) {
        if self.exited().is_none() {
            let _ = self.signal(Signal::Kill);
            // Also when the group could not be signalled.
            let _ = self.child.kill();
            let _ = self.child.wait();
            self.exited();
        }
    }

    /// Asks it to end, and kills it if it has not after `limit`. Returns how it ended if it did by itself.
    pub async fn stop(&mut self, limit: Duration) -> Option<ExitStatus> {
        let start = Instant::now();
        if self.signal(Signal::Term).is_ok() {
            while start.elapsed() < limit {
                if let Some(status) = self.exited() {
                    return Some(status);
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        self.kill();
        None
    }

    /// Starts it again as it was started; kills it first if it runs.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        self.child = spawn(&self.guard, &self.program, &self.arguments, &self.environment, &self.log)
            .with_context(|| format!("cannot start {}", self.name))?;
        self.ended = None;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(
    guard: &Guard,
    program: &Path,
    arguments: &[OsString],
    environment: &[(String, String)],
    log: &Path,
) -> Result<Child> {
    let output: File = OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("cannot open {}", log.display()))?;
    let mut command = Command::new("sh");
    command.args(["-c", LAUNCHER]).arg(program).args(arguments);
    command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command.envs(environment.iter().map(|(key, value)| (key, value)));
    command.process_group(0).stdin(Stdio::piped()).stdout(output.try_clone()?).stderr(output);
    let mut child = command.spawn().context("cannot start sh")?;
    let released = guard.tell('+', child.id()).and_then(|()| {
        let mut go = child.stdin.take().context("no pipe")?;
        writeln!(go, "go").context("it ended at once")
    });
    if let Err(error) = released {
        let _ = child.kill();
        let _ = child.wait();
        return Err(error);
    }
    Ok(child)
}
