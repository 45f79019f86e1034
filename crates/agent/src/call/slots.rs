//! One call at a time for each container; DEL ends the waiting of an ADD before it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::OwnedMutexGuard;
use tokio_util::sync::CancellationToken;

/// The containers that calls are about right now.
#[derive(Default, Clone)]
pub(crate) struct Slots(Arc<Mutex<HashMap<String, Slot>>>);

#[derive(Default)]
struct Slot {
    lock: Arc<tokio::sync::Mutex<()>>,
    /// Calls that have it or wait for it.
    users: usize,
    /// Of the ADD under way.
    cancel: CancellationToken,
}

/// The right to work on a container.
pub(crate) struct Held {
    slots: Slots,
    container: String,
    /// Released before the slot is given up.
    lock: Option<OwnedMutexGuard<()>>,
    /// Cancelled when a DEL waits for this call to end.
    pub(crate) cancel: CancellationToken,
}

impl Slots {
    fn with<T>(&self, f: impl FnOnce(&mut HashMap<String, Slot>) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits for the container.
    pub(crate) async fn hold(&self, container: &str) -> Held {
        let lock = self.with(|slots| {
            let slot = slots.entry(container.to_owned()).or_default();
            slot.users += 1;
            Arc::clone(&slot.lock)
        });
        // From here on the drop of `held` counts back, also if this future is dropped.
        let mut held =
            Held { slots: self.clone(), container: container.to_owned(), lock: None, cancel: CancellationToken::new() };
        held.lock = Some(lock.lock_owned().await);
        let cancel = held.cancel.clone();
        self.with(|slots| slots.entry(container.to_owned()).or_default().cancel = cancel);
        held
    }

    /// The container, if no call is about it.
    pub(crate) fn try_hold(&self, container: &str) -> Option<Held> {
        let lock = self.with(|slots| {
            if slots.contains_key(container) {
                return None;
            }
            let slot = slots.entry(container.to_owned()).or_default();
            slot.users = 1;
            Arc::clone(&slot.lock).try_lock_owned().ok()
        })?;
        Some(Held {
            slots: self.clone(),
            container: container.to_owned(),
            lock: Some(lock),
            cancel: CancellationToken::new(),
        })
    }

    /// Ends the waiting of the call that has the container.
    pub(crate) fn cancel(&self, container: &str) {
        self.with(|slots| slots.get(container).inspect(|slot| slot.cancel.cancel()).is_some());
    }

    /// Whether a call is about a container.
    pub(crate) fn contains(&self, matches: impl Fn(&str) -> bool) -> bool {
        self.with(|slots| slots.keys().any(|container| matches(container)))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.lock.take());
        self.slots.with(|slots| {
            if let Some(slot) = slots.get_mut(&self.container) {
                slot.users -= 1;
                if slot.users == 0 {
                    slots.remove(&self.container);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_call_at_a_time_and_nothing_is_left() {
        let slots = Slots::default();
        let first = slots.hold("a").await;
        assert!(slots.try_hold("a").is_none() && slots.try_hold("b").is_some());
        slots.cancel("a");
        assert!(first.cancel.is_cancelled());
        let second = tokio::spawn({
            let slots = slots.clone();
            async move { slots.hold("a").await.cancel.is_cancelled() }
        });
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        drop(first);
        assert!(!second.await.unwrap(), "a later call is not cancelled by an earlier DEL");
        assert!(!slots.contains(|_| true));
    }
}
