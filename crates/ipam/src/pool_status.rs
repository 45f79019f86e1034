//! Writes the status of Pools, a little after a change so that many changes make one write.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use galaxy_api::Pool;
use galaxy_core::ledger::{PoolView, Str};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::Notify;

use crate::calls::call;
use crate::clock::timestamp;
use crate::engine::Engine;
use crate::pools::PoolObjects;

/// How long changes are gathered.
const GATHER: Duration = Duration::from_millis(250);
/// How long to wait after a failed write.
const RETRY: Duration = Duration::from_secs(2);

/// Writes Pool status.
pub(crate) struct PoolStatusWriter {
    engine: Arc<Engine>,
    client: Client,
    objects: Arc<PoolObjects>,
    changed: Mutex<BTreeSet<Str>>,
    wakeup: Notify,
}

impl PoolStatusWriter {
    pub(crate) fn new(engine: Arc<Engine>, client: Client, objects: Arc<PoolObjects>) -> Arc<Self> {
        Arc::new(PoolStatusWriter { engine, client, objects, changed: Mutex::default(), wakeup: Notify::new() })
    }

    /// The numbers or conditions of these pools may have changed.
    pub(crate) fn changed(&self, names: impl IntoIterator<Item = Str>) {
        self.lock().extend(names);
        self.wakeup.notify_one();
    }

    /// Writes for ever.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            self.wakeup.notified().await;
            tokio::time::sleep(GATHER).await;
            let names = std::mem::take(&mut *self.lock());
            let mut failed = Vec::new();
            for name in names {
                if self.engine.is_active() && !self.write(&name).await {
                    failed.push(name);
                }
            }
            if !failed.is_empty() {
                tokio::time::sleep(RETRY).await;
                self.changed(failed);
            }
        }
    }

    /// Writes the status of all objects of a name; false if one is to be tried again.
    async fn write(&self, name: &Str) -> bool {
        let numbers = self.engine.read(|ledger| ledger.pool_status(name));
        let winner = numbers.object.as_ref().map(|object| format!("{}/{}", object.namespace, object.name));
        let accepted = numbers.object.iter().map(|object| (object, None));
        let rejected = numbers.rejected.iter().map(|object| (object, winner.as_deref()));
        let mut all_written = true;
        for (object, winner) in accepted.chain(rejected) {
            let now = timestamp(self.engine.clock().now());
            if let Some(status) = self.objects.due(&object.uid, &numbers, winner, now) {
                all_written &= self.patch(object, status).await;
            }
        }
        all_written
    }

    async fn patch(&self, object: &PoolView, status: galaxy_api::pool::PoolStatus) -> bool {
        let api: Api<Pool> = Api::namespaced(self.client.clone(), &object.namespace);
        let patch = json!({"metadata": {"uid": object.uid.to_string()}, "status": status});
        match call(api.patch_status(&object.name, &PatchParams::default(), &Patch::Merge(patch))).await {
            Ok(_) => {
                self.engine.metrics.api_write("patch", "pools", "ok");
                self.objects.written(&object.uid, status);
                true
            }
            Err(error) => {
                let (namespace, name) = (&object.namespace, &object.name);
                tracing::warn!(%namespace, %name, %error, "pool status not written");
                self.engine.metrics.api_write("patch", "pools", "failed");
                !error.is_transient()
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Str>> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
