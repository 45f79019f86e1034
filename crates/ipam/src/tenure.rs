//! How long this replica may decide, by a clock that also runs while the machine sleeps.
//!
//! A process that was stopped, or whose machine was, wakes in the middle of a call and believes what it believed before. So
//! leadership is no flag that somebody has to take back: it lapses by itself, and is looked at before each decision and
//! before each write that leaves.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// What never ends, in nanoseconds.
const ENDLESS: u64 = u64::MAX;

/// Until when this replica leads. Starts as "not at all".
#[derive(Debug, Default)]
pub(crate) struct Tenure {
    /// Nanoseconds since boot.
    until: AtomicU64,
}

/// Which time in office a decision was made in: what it wants written must not be written in a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term(pub(crate) u64);

/// The time since boot, sleep included.
pub(crate) fn now() -> Duration {
    let read = clock_gettime(ClockId::CLOCK_BOOTTIME).or_else(|_| clock_gettime(ClockId::CLOCK_MONOTONIC));
    // Linux always has the second; without any clock nobody leads for long.
    read.map_or(Duration::MAX, Duration::from)
}

impl Tenure {
    /// Lasts until then, unless it is extended again.
    pub(crate) fn extend(&self, until: Duration) {
        self.until.store(nanos(until), Ordering::Release);
    }

    /// Lasts for ever: nobody else decides.
    pub(crate) fn endless(&self) {
        self.until.store(ENDLESS, Ordering::Release);
    }

    /// Ends now.
    pub(crate) fn end(&self) {
        self.until.store(0, Ordering::Release);
    }

    /// Whether it lasts.
    pub(crate) fn holds(&self) -> bool {
        match self.until.load(Ordering::Acquire) {
            0 => false,
            ENDLESS => true,
            until => nanos(now()) < until,
        }
    }

    /// What is left of it.
    pub(crate) fn left(&self) -> Duration {
        let until = self.until.load(Ordering::Acquire);
        Duration::from_nanos(until.saturating_sub(nanos(now())))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(ENDLESS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lapses_by_itself() {
        let tenure = Tenure::default();
        assert!(!tenure.holds());
        tenure.extend(now() + Duration::from_secs(60));
        assert!(tenure.holds() && tenure.left() > Duration::from_secs(59));
        tenure.extend(now());
        assert!(!tenure.holds() && tenure.left().is_zero());
        tenure.endless();
        assert!(tenure.holds());
        tenure.end();
        assert!(!tenure.holds());
    }
}
