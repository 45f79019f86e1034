//! Devices that DEL made silent are deleted together, because the kernel waits as long for a hundred as for one.

use std::{sync::Arc, time::Duration};

use galaxy_cni::Node;
use tokio::sync::Notify;

use crate::metrics::Metrics;

/// Time in which further devices may come.
const GATHER: Duration = Duration::from_millis(40);
/// Pause after a failure.
const PAUSE: Duration = Duration::from_millis(500);

/// Where DEL says that there is something to delete.
#[derive(Default, Clone)]
pub(crate) struct Sweep(Arc<Notify>);

impl Sweep {
    /// Something is to be deleted.
    pub(crate) fn soon(&self) {
        self.0.notify_one();
    }

    /// Deletes for ever; at once what a process before left.
    pub(crate) async fn follow(self, node: Node, metrics: Arc<Metrics>) {
        loop {
            let node = node.clone();
            let done = tokio::task::spawn_blocking(move || node.remove_condemned()).await;
            if let Ok(Err(error)) = done {
                tracing::error!(%error, "devices of deleted pods cannot be removed; trying again");
                metrics.retry("sweep");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            self.0.notified().await;
            tokio::time::sleep(GATHER).await;
        }
    }
}
