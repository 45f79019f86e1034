//! Announcing again after ADD has answered, from a process or thread of its own: the first announcement may get lost.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{fd::OwnedFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use nix::unistd::{dup2_stdin, dup2_stdout};
use serde::{Deserialize, Serialize};

use super::{Announcement, socket::FrameSender};
use crate::netlink::{CONDEMNED, Net, Netns};

/// First argument of the process that announces again.
pub(crate) const ARGUMENT: &str = "--announce-again";

/// Pauses before each repetition. After the last one a neighbour that still errs asks by itself.
const PAUSES: [Duration; 3] = [Duration::from_millis(100), Duration::from_millis(400), Duration::from_millis(1500)];

/// Where an announcement is to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Where {
    /// In the plugin's own namespace.
    Host,
    /// In the namespace of a pod.
    Pod(String),
}

impl Where {
    fn open(&self, host: &Netns) -> io::Result<Netns> {
        match self {
            Where::Host => Ok(host.clone()),
            Where::Pod(path) => Netns::open(path),
        }
    }
}

/// Sockets by the namespaces that they were opened in. Dropping them takes time, see [`FrameSender`].
#[derive(Debug, Default)]
pub(crate) struct Senders(Vec<(Where, FrameSender)>);

impl Senders {
    /// The socket of the calling thread's namespace, which is this.
    fn of(&mut self, place: &Where) -> io::Result<&FrameSender> {
        let known = self.0.iter().position(|(other, _)| other == place);
        let known = match known {
            Some(known) => known,
            None => {
                self.0.push((place.clone(), FrameSender::open()?));
                self.0.len() - 1
            }
        };
        Ok(&self.0[known].1)
    }
}

/// An announcement that is repeated while a device exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Job {
    /// Where it is sent.
    pub place: Where,
    /// Where the guard is.
    pub home: Where,
    /// The device of the attachment: when it is gone, the address may live elsewhere.
    pub guard: String,
    /// Its index, lest another one has got the name.
    pub guard_index: u32,
    /// What to say.
    pub announcement: Announcement,
}

/// The announcements of one attachment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Jobs {
    /// Held while something is announced, and by DEL: nothing is announced after it.
    pub lock: PathBuf,
    /// What is to be announced.
    pub jobs: Vec<Job>,
}

/// Starts the process. It holds nothing of the caller's, neither files nor namespaces, but for the sockets, which it closes first: it has
/// the time. They come as its standard input and output; a call announces in the host, in the pod or in both.
///
/// # Errors
/// Those of starting a process.
pub(crate) fn repeat(program: &Path, jobs: &Jobs, Senders(senders): Senders) -> io::Result<()> {
    let mut senders = senders.into_iter().map(|(_, sender)| Stdio::from(OwnedFd::from(sender)));
    let mut next = || senders.next().unwrap_or_else(Stdio::null);
    Command::new(program)
        .arg(ARGUMENT)
        .arg(serde_json::to_string(jobs)?)
        .env_clear()
        .current_dir("/")
        .stdin(next())
        .stdout(next())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map(drop)
}

/// What that process does.
pub(crate) fn announce_as_told(jobs: &str) {
    if let Ok(null) = OpenOptions::new().read(true).write(true).open("/dev/null") {
        let _ = dup2_stdin(&null);
        let _ = dup2_stdout(&null);
    }
    if let (Ok(jobs), Ok(host)) = (serde_json::from_str::<Jobs>(jobs), Netns::current()) {
        announce_again(jobs, &host);
    }
}

/// Takes two seconds.
pub(crate) fn announce_again(Jobs { lock, mut jobs }: Jobs, host: &Netns) {
    for pause in PAUSES {
        thread::sleep(pause);
        let Ok(held) = File::open(&lock) else { return };
        if held.lock().is_err() {
            return;
        }
        let mut senders = Senders::default();
        jobs.retain(|job| job.once(host, &mut senders).unwrap_or(false));
        // Closing the sockets takes time, and a DEL may wait.
        drop(held);
    }
}

impl Job {
    /// Announces for the first time.
    ///
    /// # Errors
    /// Those of opening the namespace and of sending.
    pub(crate) fn now(&self, host: &Netns, senders: &mut Senders) -> io::Result<()> {
        self.place.open(host)?.within(|| self.announcement.send(senders.of(&self.place)?))?
    }

    /// Announces unless the device is gone. The pod's namespace is opened anew each time, so that it is not kept alive.
    fn once(&self, host: &Netns, senders: &mut Senders) -> io::Result<bool> {
        let guard = Net::open(&self.home.open(host)?, None)?.link(&self.guard)?;
        if guard.is_none_or(|link| link.index != self.guard_index || link.group == CONDEMNED) {
            return Ok(false);
        }
        self.now(host, senders).map(|()| true)
    }
}
