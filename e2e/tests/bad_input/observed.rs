//! What an operator sees of galaxy-ipam beside its answers: the log, and whether anything panicked.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tracing_subscriber::fmt::MakeWriter;

/// The warnings of galaxy-ipam so far.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Captures the log of this process.
    pub(crate) fn capture() -> Self {
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter("galaxy_ipam=warn")
            .with_ansi(false)
            .with_writer(log.clone())
            .finish();
        // This process has one test, so nobody else has set one.
        tracing::subscriber::set_global_default(subscriber).expect("the only subscriber");
        log
    }

    /// The line that has all these parts.
    pub(crate) fn line(&self, parts: &[&str]) -> Option<String> {
        let text = String::from_utf8_lossy(&lock(&self.0)).into_owned();
        text.lines().find(|line| parts.iter().all(|part| line.contains(part))).map(str::to_owned)
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lock(&self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Log;

    fn make_writer(&'a self) -> Log {
        self.clone()
    }
}

/// The panics of this process so far.
#[derive(Clone, Default)]
pub(crate) struct Panics(Arc<Mutex<Vec<String>>>);

impl Panics {
    /// Records them from now on; they are printed as before.
    pub(crate) fn record() -> Self {
        let panics = Self::default();
        let (book, print) = (panics.0.clone(), std::panic::take_hook());
        std::panic::set_hook(Box::new(move |info| {
            lock(&book).push(info.to_string());
            print(info);
        }));
        panics
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<String> {
        lock(&self.0).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
