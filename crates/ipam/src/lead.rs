//! A replica's life between standby and leader.

use std::convert::Infallible;
use std::sync::Arc;

use anyhow::Context;
use tokio::sync::{mpsc, oneshot};

use crate::engine::Engine;
use crate::lease::Candidate;
use crate::pool_status::PoolStatusWriter;
use crate::watch::Reload;

/// What leading takes.
pub(crate) struct Office {
    pub(crate) engine: Arc<Engine>,
    pub(crate) reloads: mpsc::UnboundedSender<Reload>,
    pub(crate) pool_status: Arc<PoolStatusWriter>,
}

impl Office {
    /// Leads whenever the lease is to be had, and is a standby between. Returns only with an error.
    pub(crate) async fn serve(&self, candidate: &mut Candidate) -> anyhow::Result<Infallible> {
        loop {
            tracing::info!("standby: waiting for the lease");
            let loaded = candidate.acquire().await;
            tracing::info!("the lease is held");
            self.engine.metrics.lease_transition("acquired");
            tokio::select! {
                // The lease is renewed also while the list, which may be long, is read.
                () = candidate.keep() => {}
                failed = self.lead(loaded) => return failed,
            }
            self.engine.set_active(false);
            self.engine.metrics.lease_transition("lost");
            tracing::warn!("leadership lost; going on as standby");
            // What was under way has left its traces in the ledger; the caches shall be those of a standby again.
            drop(self.reload()?);
        }
    }

    /// Leads for ever. `loaded`: the caches come from a list that began when the last leader had ended, and none led since.
    async fn lead(&self, loaded: bool) -> anyhow::Result<Infallible> {
        if !loaded {
            // Others may have written since the caches heard of it.
            tracing::info!("reading all FloatingIPs");
            self.reload()?.await.context("the watch of FloatingIPs ended")?;
        }
        self.begin();
        std::future::pending().await
    }

    /// Decides from now on.
    pub(crate) fn begin(&self) {
        self.engine.set_active(true);
        self.pool_status.changed(self.engine.read(|ledger| ledger.pool_names()));
        tracing::info!("deciding");
    }

    /// Has a quorum list of all FloatingIPs loaded.
    fn reload(&self) -> anyhow::Result<oneshot::Receiver<()>> {
        let (wish, loaded) = oneshot::channel();
        self.reloads.send(wish).context("the watch of FloatingIPs ended")?;
        Ok(loaded)
    }
}
