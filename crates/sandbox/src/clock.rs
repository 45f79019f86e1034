//! The time that the sandbox lives by.
//!
//! Everything that waits or stamps a time takes a [`Clock`], so that a test can drive hours of cluster life by hand and a demo
//! can run faster than life. Deadlines of network calls are not cluster life: they stay in real time.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::sync::watch;

/// A handle on one clock; clones share its time.
#[derive(Clone)]
pub struct Clock(Arc<Kind>);

enum Kind {
    /// `start` plus the real time since `origin`, times `factor`.
    Running { start: Timestamp, origin: Instant, factor: f64 },
    /// Moves only when told to. A watch channel cannot lose a wake-up: a sleeper compares before it waits.
    Manual(watch::Sender<Timestamp>),
}

impl Clock {
    /// The time of the machine.
    pub fn real() -> Self {
        Self::scaled(1.0)
    }

    /// Starts at the machine's time and runs `factor` times as fast as real time, within 0.001 to 1,000,000 times.
    pub fn scaled(factor: f64) -> Self {
        let factor = if factor.is_nan() { 1.0 } else { factor.clamp(1e-3, 1e6) };
        Self(Arc::new(Kind::Running { start: Timestamp::now(), origin: Instant::now(), factor }))
    }

    /// Stands still at `start` until [`Clock::advance`] moves it.
    pub fn manual(start: Timestamp) -> Self {
        Self(Arc::new(Kind::Manual(watch::Sender::new(start))))
    }

    /// The present moment of this clock.
    pub fn now(&self) -> Timestamp {
        match &*self.0 {
            Kind::Running { start, origin, factor } => after(*start, origin.elapsed().mul_f64(*factor)),
            Kind::Manual(now) => *now.borrow(),
        }
    }

    /// Returns once `duration` of this clock's time has passed.
    pub async fn sleep(&self, duration: Duration) {
        self.sleep_until(after(self.now(), duration)).await;
    }

    /// Returns once this clock shows `deadline` or later; at once if it does already.
    pub async fn sleep_until(&self, deadline: Timestamp) {
        match &*self.0 {
            Kind::Running { factor, .. } => loop {
                let left = self.until(deadline);
                if left.is_zero() {
                    return;
                }
                // Tokio's timer counts milliseconds; the loop covers a wake that comes a little early.
                tokio::time::sleep(left.div_f64(*factor)).await;
            },
            Kind::Manual(now) => {
                // The sender lives in `self`, so the channel cannot close while we wait.
                let _ = now.subscribe().wait_for(|now| *now >= deadline).await;
            }
        }
    }

    /// The time left until `deadline`, zero if it has passed.
    pub fn until(&self, deadline: Timestamp) -> Duration {
        Duration::try_from(deadline.duration_since(self.now())).unwrap_or_default()
    }

    /// The time since `earlier`, zero if that is still to come.
    pub fn since(&self, earlier: Timestamp) -> Duration {
        Duration::try_from(self.now().duration_since(earlier)).unwrap_or_default()
    }

    /// Moves a manual clock forward and wakes every sleeper whose deadline has come. A running clock ignores it.
    pub fn advance(&self, duration: Duration) {
        if let Kind::Manual(now) = &*self.0 {
            now.send_modify(|now| *now = after(*now, duration));
        }
    }

    /// Whether time moves only by [`Clock::advance`].
    pub fn is_manual(&self) -> bool {
        matches!(&*self.0, Kind::Manual(_))
    }
}

/// `moment` plus `duration`, or the end of time.
pub fn after(moment: Timestamp, duration: Duration) -> Timestamp {
    moment.checked_add(duration).unwrap_or(Timestamp::MAX)
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Kind::Running { factor, .. } => write!(f, "Clock(running ×{factor}, {})", self.now()),
            Kind::Manual(now) => write!(f, "Clock(manual, {})", *now.borrow()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_manual_clock_moves_only_by_hand_and_wakes_in_order() {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        let (sender, mut woken) = tokio::sync::mpsc::unbounded_channel();
        for seconds in [3_u64, 1, 2] {
            let (clock, sender) = (clock.clone(), sender.clone());
            tokio::spawn(async move {
                clock.sleep_until(after(Timestamp::UNIX_EPOCH, Duration::from_secs(seconds))).await;
                sender.send(seconds)
            });
        }
        for expected in 1..=3 {
            clock.advance(Duration::from_millis(999));
            tokio::task::yield_now().await;
            assert!(woken.try_recv().is_err(), "nobody wakes before {expected} s");
            clock.advance(Duration::from_millis(1));
            assert_eq!(woken.recv().await, Some(expected));
        }
        assert_eq!(clock.now().as_second(), 3);
    }

    #[tokio::test]
    async fn no_wake_is_lost_between_threads() {
        let clock = Clock::manual(Timestamp::UNIX_EPOCH);
        let sleepers: Vec<_> = (1..=200_u64)
            .map(|n| {
                let clock = clock.clone();
                tokio::spawn(
                    async move { clock.sleep_until(after(Timestamp::UNIX_EPOCH, Duration::from_secs(n))).await },
                )
            })
            .collect();
        let driver = clock.clone();
        std::thread::spawn(move || (0..200).for_each(|_| driver.advance(Duration::from_secs(1))));
        for sleeper in sleepers {
            tokio::time::timeout(Duration::from_secs(10), sleeper).await.expect("a sleeper was not woken").unwrap();
        }
    }

    #[tokio::test]
    async fn a_scaled_clock_runs_faster() {
        let clock = Clock::scaled(1000.0);
        let (start, real) = (clock.now(), Instant::now());
        clock.sleep(Duration::from_secs(20)).await;
        assert!(clock.since(start) >= Duration::from_secs(20));
        assert!(real.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn the_end_of_time_is_a_wall() {
        assert_eq!(after(Timestamp::now(), Duration::MAX), Timestamp::MAX);
        assert_eq!(Clock::real().until(Timestamp::MIN), Duration::ZERO);
    }
}
