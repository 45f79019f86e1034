//! Wakes those who wait for something to happen to a pod or an address.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// Who waits for which key. A waiter is registered before it looks, so that nothing between its look and its wait is lost.
pub(crate) struct Waiters<K>(Mutex<HashMap<K, watch::Sender<()>>>);

impl<K> Default for Waiters<K> {
    fn default() -> Self {
        Waiters(Mutex::default())
    }
}

/// One that waits. Forgotten when dropped.
pub(crate) struct Waiter<K: Eq + Hash + Clone> {
    key: K,
    receiver: watch::Receiver<()>,
    waiters: Arc<Waiters<K>>,
}

impl<K: Eq + Hash + Clone> Waiters<K> {
    /// Registers a waiter for `key`.
    pub(crate) fn wait(self: &Arc<Self>, key: K) -> Waiter<K> {
        let receiver = self.lock().entry(key.clone()).or_insert_with(|| watch::Sender::new(())).subscribe();
        Waiter { key, receiver, waiters: Arc::clone(self) }
    }

    /// Wakes all that wait for `key`.
    pub(crate) fn wake(&self, key: &K) {
        if let Some(sender) = self.lock().get(key) {
            sender.send_replace(());
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, watch::Sender<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash + Clone> Waiter<K> {
    /// Returns once the key was woken since the last call, or since the waiter was registered.
    pub(crate) async fn woken(&mut self) {
        // The sender stays as long as a waiter does.
        let _ = self.receiver.changed().await;
    }
}

impl<K: Eq + Hash + Clone> Drop for Waiter<K> {
    fn drop(&mut self) {
        let mut waiters = self.waiters.lock();
        // The last one, this one included.
        if waiters.get(&self.key).is_some_and(|sender| sender.receiver_count() == 1) {
            waiters.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wake_between_registering_and_waiting_counts() {
        let waiters = Arc::new(Waiters::default());
        let (mut first, mut second) = (waiters.wait(1), waiters.wait(1));
        waiters.wake(&1);
        waiters.wake(&2);
        first.woken().await;
        second.woken().await;
        drop(first);
        assert_eq!(waiters.lock().len(), 1);
        drop(second);
        assert!(waiters.lock().is_empty());
    }
}
