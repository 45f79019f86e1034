//! Answers of the API server, kept for seconds.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// SHA-256 of what was asked: tokens are not kept in memory longer than their request.
pub(super) type Key = [u8; 32];

/// How many answers are kept at most, about 1 MB.
const MOST: usize = 4096;

/// Answers by what was asked.
pub(super) struct Cache<V> {
    answers: Mutex<HashMap<Key, (Instant, V)>>,
    most: usize,
}

impl<V: Clone> Cache<V> {
    pub(super) fn new() -> Self {
        Cache { answers: Mutex::default(), most: MOST }
    }

    fn answers(&self) -> MutexGuard<'_, HashMap<Key, (Instant, V)>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer, unless it is too old.
    pub(super) fn get(&self, key: &Key, now: Instant) -> Option<V> {
        self.answers().get(key).filter(|(until, _)| now < *until).map(|(_, answer)| answer.clone())
    }

    /// Keeps an answer for a time.
    pub(super) fn put(&self, key: Key, answer: V, now: Instant, keep: Duration) {
        let mut answers = self.answers();
        if answers.len() >= self.most {
            answers.retain(|_, (until, _)| now < *until);
            // Somebody tries tokens: forgetting all costs less than sorting them on every call.
            if answers.len() >= self.most {
                answers.clear();
            }
        }
        answers.insert(key, (now + keep, answer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_forgotten_in_time_and_bounded() {
        let (cache, now) = (Cache::new(), Instant::now());
        let seconds = Duration::from_secs;
        cache.put([1; 32], "yes", now, seconds(10));
        assert_eq!(cache.get(&[1; 32], now + seconds(9)), Some("yes"));
        assert_eq!(cache.get(&[1; 32], now + seconds(10)), None);
        assert_eq!(cache.get(&[2; 32], now), None);

        let small = Cache { answers: Mutex::default(), most: 3 };
        for number in 0..3 {
            small.put([number; 32], number, now, seconds(u64::from(number) + 1));
        }
        // The first has expired and makes room.
        small.put([3; 32], 3, now + seconds(1), seconds(5));
        assert_eq!(small.answers().len(), 3);
        assert_eq!(small.get(&[2; 32], now), Some(2));
        small.put([4; 32], 4, now + seconds(1), seconds(5));
        assert_eq!(small.answers().len(), 1);
        assert_eq!(small.get(&[4; 32], now), Some(4));
    }
}
