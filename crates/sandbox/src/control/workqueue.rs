//! A queue of keys to look at: each key once, never two workers on the same key, delays by the clock, retries with growing pauses.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    fmt::Display,
    future::Future,
    hash::Hash,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::FutureExt;
use jiff::Timestamp;
use tokio::sync::{Notify, Semaphore};

use super::Context;
use crate::clock::{Clock, after};

/// Bounds of the pause before a failed key is tried again. Real time: it is the network that failed.
const RETRY: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));
/// A worker that takes longer than this is given up and tried again. Real time.
const DEADLINE: Duration = Duration::from_secs(30);
/// Keys that are worked on at the same time.
const WORKERS: usize = 16;

/// When to look again although nothing changed; `None` for never.
pub type Again = Option<Duration>;

/// A handle on the queue; clones share it.
pub struct WorkQueue<T>(Arc<Inner<T>>);

impl<T> Clone for WorkQueue<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

struct Inner<T> {
    clock: Clock,
    state: Mutex<State<T>>,
    changed: Notify,
}

struct State<T> {
    ready: VecDeque<T>,
    queued: HashSet<T>,
    working: HashSet<T>,
    /// Keys that came up again while they were worked on.
    dirty: HashSet<T>,
    delayed: BTreeSet<(Timestamp, T)>,
    due: HashMap<T, Timestamp>,
    failures: HashMap<T, u32>,
}

impl<T> WorkQueue<T>
where
    T: Clone + Ord + Hash + Display + Send + Sync + 'static,
{
    /// An empty queue on `clock`.
    pub fn new(clock: Clock) -> Self {
        let state = State {
            ready: VecDeque::new(),
            queued: HashSet::new(),
            working: HashSet::new(),
            dirty: HashSet::new(),
            delayed: BTreeSet::new(),
            due: HashMap::new(),
            failures: HashMap::new(),
        };
        Self(Arc::new(Inner { clock, state: Mutex::new(state), changed: Notify::new() }))
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has `key` looked at as soon as a worker is free, and after the one that may be at it now.
    pub fn add(&self, key: T) {
        self.state().add(key);
        self.0.changed.notify_one();
    }

    /// Has `key` looked at when `delay` of the clock's time has passed; the earliest of several delays counts.
    pub fn add_after(&self, key: T, delay: Duration) {
        let at = after(self.0.clock.now(), delay);
        let mut state = self.state();
        match state.due.get(&key) {
            Some(due) if *due <= at => return,
            Some(due) => {
                let later = (*due, key.clone());
                state.delayed.remove(&later);
            }
            None => {}
        }
        state.due.insert(key.clone(), at);
        state.delayed.insert((at, key));
        drop(state);
        self.0.changed.notify_one();
    }

    async fn next(&self) -> T {
        loop {
            let deadline = {
                let mut state = self.state();
                state.ripen(self.0.clock.now());
                if let Some(key) = state.take() {
                    return key;
                }
                state.delayed.first().map_or(Timestamp::MAX, |(at, _)| *at)
            };
            // A permit of `notify_one` is kept, so nothing that happens between the look and the wait is missed.
            tokio::select! {
                () = self.0.changed.notified() => {}
                () = self.0.clock.sleep_until(deadline) => {}
            }
        }
    }

    /// Ends the work on `key`; the pause before the retry if it failed.
    fn done(&self, key: &T, failed: bool) -> Option<Duration> {
        let mut state = self.state();
        state.working.remove(key);
        if state.dirty.remove(key) {
            state.add(key.clone());
            self.0.changed.notify_one();
        }
        if !failed {
            state.failures.remove(key);
            return None;
        }
        let failures = state.failures.entry(key.clone()).or_insert(0);
        let pause = RETRY.0 * 2_u32.pow((*failures).min(16));
        *failures += 1;
        Some(pause.min(RETRY.1))
    }

    /// Works on the queue until `ctx` is shut down. `reconcile` looks at one key and says when to look again. An error is a retry.
    pub fn run<F, R>(&self, ctx: &Context, reconcile: F)
    where
        F: Fn(T) -> R + Send + Sync + 'static,
        R: Future<Output = anyhow::Result<Again>> + Send + 'static,
    {
        let (queue, spawner) = (self.clone(), ctx.clone());
        let workers = Arc::new(Semaphore::new(WORKERS));
        ctx.spawn(async move {
            while let Ok(permit) = workers.clone().acquire_owned().await {
                let key = queue.next().await;
                let (queue, work) = (queue.clone(), reconcile(key.clone()));
                spawner.spawn(async move {
                    let work = AssertUnwindSafe(work).catch_unwind();
                    let outcome = match tokio::time::timeout(DEADLINE, work).await {
                        Ok(Ok(outcome)) => outcome,
                        Ok(Err(_)) => Err(anyhow::anyhow!("the worker panicked")),
                        Err(_) => Err(anyhow::anyhow!("no end within {DEADLINE:?}")),
                    };
                    let pause = queue.done(&key, outcome.is_err());
                    drop(permit);
                    match outcome {
                        Ok(Some(delay)) => queue.add_after(key, delay),
                        Ok(None) => {}
                        Err(error) => {
                            tracing::debug!(%key, error = format!("{error:#}"), "will be tried again");
                            tokio::time::sleep(pause.unwrap_or(RETRY.0)).await;
                            queue.add(key);
                        }
                    }
                });
            }
        });
    }
}

impl<T: Clone + Ord + Hash> State<T> {
    fn add(&mut self, key: T) {
        if self.working.contains(&key) {
            self.dirty.insert(key);
        } else if self.queued.insert(key.clone()) {
            self.ready.push_back(key);
        }
    }

    /// Moves the keys whose delay is over.
    fn ripen(&mut self, now: Timestamp) {
        while let Some((at, _)) = self.delayed.first()
            && *at <= now
            && let Some((_, key)) = self.delayed.pop_first()
        {
            self.due.remove(&key);
            self.add(key);
        }
    }

    fn take(&mut self) -> Option<T> {
        let key = self.ready.pop_front()?;
        self.queued.remove(&key);
        self.working.insert(key.clone());
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> (WorkQueue<String>, Clock) {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        (WorkQueue::new(clock.clone()), clock)
    }

    #[tokio::test]
    async fn a_key_is_taken_once_and_again_when_it_changed_meanwhile() {
        let (queue, _) = queue();
        ["a", "b", "a"].into_iter().for_each(|key| queue.add(key.into()));
        assert_eq!((queue.next().await, queue.next().await), ("a".into(), "b".into()));
        queue.add("a".into());
        assert!(queue.state().take().is_none(), "a worker is at it");
        assert_eq!(queue.done(&"a".into(), false), None);
        assert_eq!(queue.next().await, "a");
        assert!(queue.state().take().is_none());
    }

    #[tokio::test]
    async fn the_earliest_delay_counts() {
        let (queue, clock) = queue();
        for seconds in [5, 2, 9] {
            queue.add_after("a".into(), Duration::from_secs(seconds));
        }
        let waiter = tokio::spawn({
            let queue = queue.clone();
            async move { queue.next().await }
        });
        clock.advance(Duration::from_millis(1999));
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished());
        clock.advance(Duration::from_millis(1));
        assert_eq!(waiter.await.unwrap(), "a");
        assert!(queue.state().delayed.is_empty());
    }

    #[test]
    fn the_pause_grows_and_is_bounded() {
        let (queue, _) = queue();
        let pauses: Vec<_> = (0..40).filter_map(|_| queue.done(&"a".into(), true)).collect();
        assert!(pauses.is_sorted());
        assert_eq!((pauses[0], pauses[39]), RETRY);
        queue.done(&"a".into(), false);
        assert_eq!(queue.done(&"a".into(), true), Some(RETRY.0));
    }
}
