//! Waiting for a condition.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

/// Tries until it succeeds, every 50 to 250 ms, for at most so long.
///
/// # Errors
/// The last error, with `what` was waited for.
pub async fn wait_for<T>(what: &str, limit: Duration, mut attempt: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let mut pause = Duration::from_millis(50);
    loop {
        let left = limit.saturating_sub(start.elapsed());
        let error = match tokio::time::timeout(left, attempt()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error,
            Err(_) => anyhow!("no answer"),
        };
        if start.elapsed() + pause >= limit {
            return Err(error).with_context(|| format!("waited {limit:?} in vain for {what}"));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 5 / 4).min(Duration::from_millis(250));
    }
}
