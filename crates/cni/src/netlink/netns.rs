//! Network namespaces as open files.

use std::{
    fs::File,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace, held open. It lives at least as long as this.
#[derive(Debug, Clone)]
pub struct Netns {
    file: Arc<File>,
    path: PathBuf,
}

impl Netns {
    /// Opens the namespace that a path stands for.
    ///
    /// # Errors
    /// Those of `open(2)`; a path that is no namespace shows when it is entered.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref().to_owned();
        Ok(Netns { file: Arc::new(File::open(&path)?), path })
    }

    /// The namespace of the calling thread.
    ///
    /// # Errors
    /// When `/proc` is not there.
    pub fn current() -> io::Result<Self> {
        Self::open("/proc/thread-self/ns/net")
    }

    /// Makes a namespace that is gone when it is dropped.
    ///
    /// # Errors
    /// Those of `unshare(2)`: root is needed.
    pub fn make() -> io::Result<Self> {
        let mut ns = in_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            Self::current()
        })??;
        ns.path = format!("/proc/{}/fd/{}", std::process::id(), std::os::fd::AsRawFd::as_raw_fd(&*ns.file)).into();
        Ok(ns)
    }

    /// Where it was opened; for one made here a path that other processes can open.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether both are the same namespace.
    ///
    /// # Errors
    /// Those of `fstat(2)`.
    pub fn is(&self, other: &Netns) -> io::Result<bool> {
        let (a, b) = (self.file.metadata()?, other.file.metadata()?);
        Ok((a.dev(), a.ino()) == (b.dev(), b.ino()))
    }

    /// Runs something inside the namespace, in a thread of its own, because a namespace belongs to a thread.
    ///
    /// # Errors
    /// Those of `setns(2)`, and a panic of `f`.
    pub fn within<T: Send>(&self, f: impl FnOnce() -> T + Send) -> io::Result<T> {
        in_thread(|| {
            setns(&*self.file, CloneFlags::CLONE_NEWNET)?;
            Ok(f())
        })?
    }

    /// The open file, to be passed to the kernel.
    pub(super) fn fd(&self) -> std::os::fd::RawFd {
        std::os::fd::AsRawFd::as_raw_fd(&*self.file)
    }
}

fn in_thread<T: Send>(f: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("netns".to_owned()).spawn_scoped(scope, f)?;
        thread.join().map_err(|_| io::Error::other("a thread inside a network namespace panicked"))
    })
}
