//! What time brings: ticks when the ledger wants them, and the periodic sweep that proves what the caches doubt (rule 9).

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use galaxy_core::ledger::{Doubt, Sweep};

use crate::engine::Engine;
use crate::reads::Reader;

/// Reads of a sweep at once.
const READS: usize = 16;
/// Rounds of a sweep: that a pod is gone raises the question whether its workload is.
const ROUNDS: usize = 3;

/// Ticks the ledger whenever its next deadline comes. Runs for ever.
pub(crate) async fn tick(engine: Arc<Engine>) {
    let mut deadline = engine.deadline();
    loop {
        let due = *deadline.borrow_and_update();
        let comes = async {
            match due {
                Some(due) => engine.clock().sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = comes => {
                engine.with(|ledger, now| ledger.tick(now));
                // Should the ledger leave the deadline as it is, it must not be ticked in a tight loop.
                if deadline.has_changed().is_ok_and(|changed| !changed) {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
            // The engine holds the sender.
            _ = deadline.changed() => {}
        }
    }
}

/// Sweeps whenever this replica begins to decide, and every `interval` from then on. Runs for ever.
pub(crate) async fn sweep(engine: Arc<Engine>, reader: Arc<Reader>, interval: Duration) {
    let seconds = i64::try_from(interval.as_secs()).unwrap_or(i64::MAX);
    loop {
        let next = engine.clock().now().plus_secs(seconds);
        tokio::select! {
            () = engine.clock().sleep_until(next) => {}
            // What went away while nobody decided is known to no watch.
            () = engine.begins() => {}
        }
        if engine.is_active() {
            sweep_once(&engine, &reader).await;
        }
    }
}

/// One sweep: idle it costs no API call.
pub(crate) async fn sweep_once(engine: &Engine, reader: &Reader) {
    let mut asked: HashSet<Doubt> = HashSet::new();
    for _ in 0..ROUNDS {
        let mut sweep = Sweep::default();
        let mut doubts = Vec::new();
        while let Some(more) = engine.with(|ledger, now| ledger.sweep_piece(now, &mut sweep)) {
            doubts.extend(more);
            // Binds go between two pieces.
            tokio::task::yield_now().await;
        }
        // What could not be proved now is left to the next sweep.
        doubts.retain(|doubt| !asked.contains(doubt));
        if doubts.is_empty() {
            return;
        }
        tracing::info!(doubts = doubts.len(), "sweep: proving what the caches doubt");
        futures::stream::iter(&doubts).for_each_concurrent(READS, |doubt| reader.prove(doubt)).await;
        asked.extend(doubts);
    }
}
