//! The time that decisions are made in. Deadlines of network calls are not part of it: they stay in real time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::future::BoxFuture;
use galaxy_core::ledger::Time;

/// A clock that never goes back. Tests pass one of their own.
pub trait Clock: Send + Sync + 'static {
    /// The present.
    fn now(&self) -> Time;

    /// Returns once the clock shows `deadline` or later.
    fn sleep_until(&self, deadline: Time) -> BoxFuture<'_, ()>;
}

/// The machine's time at the start, carried on by its monotonic clock: no correction of the time makes it jump.
pub struct SystemClock {
    start: Time,
    origin: Instant,
}

impl SystemClock {
    /// A clock that starts now.
    pub fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        SystemClock { start: Time(micros(since_epoch)), origin: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Time {
        self.start.plus_micros(micros(self.origin.elapsed()))
    }

    fn sleep_until(&self, deadline: Time) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            // Tokio's timer counts milliseconds; the loop covers a wake that comes a little early.
            while let Ok(left @ 1..) = u64::try_from(deadline.0.saturating_sub(self.now().0)) {
                tokio::time::sleep(Duration::from_micros(left)).await;
            }
        })
    }
}

/// `time` as the API writes it.
pub fn timestamp(time: Time) -> jiff::Timestamp {
    jiff::Timestamp::from_microsecond(time.0).unwrap_or_default()
}

/// A time of the API as the ledger counts it.
pub fn from_timestamp(timestamp: jiff::Timestamp) -> Time {
    Time(timestamp.as_microsecond())
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sleeps_until_the_deadline_and_not_less() {
        let clock = SystemClock::start();
        let deadline = clock.now().plus_micros(20_000);
        clock.sleep_until(deadline).await;
        assert!(clock.now() >= deadline);
        clock.sleep_until(Time(0)).await;
    }

    #[test]
    fn times_of_the_api_round_trip_to_the_microsecond() {
        for text in ["2024-03-05T08:00:12.123456Z", "1970-01-01T00:00:00Z", "1969-12-31T23:59:59.000001Z"] {
            let parsed: jiff::Timestamp = text.parse().unwrap();
            assert_eq!(timestamp(from_timestamp(parsed)), parsed);
        }
    }
}
