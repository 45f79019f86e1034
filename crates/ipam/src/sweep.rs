//! What time brings: ticks when the ledger wants them, and the periodic sweep that proves what the caches doubt (rule 9).

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use galaxy_core::ledger::Sweep;

use crate::engine::Engine;
use crate::reads::Reader;

/// Reads of a sweep at once.
const READS: usize = 16;

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

/// Sweeps every `interval`. Runs for ever.
pub(crate) async fn sweep(engine: Arc<Engine>, reader: Arc<Reader>, interval: Duration) {
    let seconds = i64::try_from(interval.as_secs()).unwrap_or(i64::MAX);
    loop {
        let next = engine.clock().now().plus_secs(seconds);
        engine.clock().sleep_until(next).await;
        if engine.is_active() {
            sweep_once(&engine, &reader).await;
        }
    }
}

/// One sweep: idle it costs no API call.
pub(crate) async fn sweep_once(engine: &Engine, reader: &Reader) {
    let mut sweep = Sweep::default();
    let mut doubts = Vec::new();
    while let Some(more) = engine.with(|ledger, now| ledger.sweep_piece(now, &mut sweep)) {
        doubts.extend(more);
        // Binds go between two pieces.
        tokio::task::yield_now().await;
    }
    if doubts.is_empty() {
        return;
    }
    tracing::info!(doubts = doubts.len(), "sweep: proving what the caches doubt");
    futures::stream::iter(doubts).for_each_concurrent(READS, |doubt| async move { reader.prove(&doubt).await }).await;
}
