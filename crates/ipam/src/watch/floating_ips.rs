//! FloatingIP objects.

use std::collections::HashMap;
use std::sync::Arc;

use galaxy_api::FloatingIP;
use galaxy_core::Addr;
use galaxy_core::ledger::{ObjectRef, Stored};
use kube::core::{ApiResource, ObjectMeta};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};

use super::{Feed, Following, Object, Slim};
use crate::convert::floating_ip;
use crate::engine::Engine;
use crate::objects::Extra;

/// One object, decoded; none if its name is not an address.
#[derive(Debug, Clone)]
pub(crate) struct SlimFloatingIp(Option<(Stored, Option<Box<Extra>>)>);

impl Slim for SlimFloatingIp {
    fn read(meta: &ObjectMeta, object: Value) -> Result<Self, String> {
        let fip: FloatingIP = serde_json::from_value(object).map_err(|error| error.to_string())?;
        let stored = floating_ip::stored(&fip);
        if stored.is_none() {
            return Err("its name is not an address, so it stands for none".to_owned());
        }
        Ok(SlimFloatingIp(stored.map(|stored| (stored, Extra::of(meta)))))
    }
}

/// A wish for a fresh quorum list of all objects, loaded into the ledger as a whole; answered when that is done.
pub(crate) type Reload = oneshot::Sender<()>;

/// Feeds FloatingIP objects.
pub(crate) struct FloatingIps {
    engine: Arc<Engine>,
    /// Objects of a list that will be loaded as a whole, and who waits for it.
    loading: Option<(Vec<Stored>, Vec<Reload>)>,
}

impl FloatingIps {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        FloatingIps { engine, loading: None }
    }

    pub(crate) fn resource() -> ApiResource {
        ApiResource::erase::<FloatingIP>(&())
    }

    /// Watches for ever. Each wish begins the watch anew, so that no event falls between the list it loads and what follows.
    pub(crate) async fn follow(
        mut self,
        following: Following,
        mut wishes: mpsc::UnboundedReceiver<Reload>,
        synced: watch::Sender<bool>,
    ) {
        let mut known = HashMap::new();
        let mut backoff = super::Backoff::new(super::RETRY.0, super::RETRY.1);
        loop {
            let denied = tokio::select! {
                Some(wish) = wishes.recv() => {
                    let (_, waiting) = self.loading.get_or_insert_default();
                    waiting.push(wish);
                    continue;
                }
                denied = following.follow_once(&mut self, &mut known, &synced) => denied,
            };
            tracing::warn!(resource = following.resource.plural, reason = denied.0, "cannot watch; trying again");
            backoff.wait().await;
        }
    }
}

impl Feed for FloatingIps {
    type Item = SlimFloatingIp;
    type Key = Addr;
    type Seen = ObjectRef;

    fn key(&self, object: &Object<SlimFloatingIp>) -> Option<(Addr, ObjectRef)> {
        match &object.item {
            Ok(item) => item.0.as_ref().map(|(stored, _)| (stored.record.addr, stored.object.clone())),
            Err(error) => {
                let name = object.meta.name.as_deref().unwrap_or_default();
                tracing::warn!(name, error, "this FloatingIP is left alone");
                None
            }
        }
    }

    fn observed(&mut self, object: Object<SlimFloatingIp>) {
        let Some((stored, extra)) = object.item("FloatingIP").and_then(|item| item.0) else { return };
        self.engine.objects.observed(stored.record.addr, &stored.object, extra);
        match &mut self.loading {
            Some((list, _)) => list.push(stored),
            None => self.engine.with(|ledger, now| ledger.address_observed(now, stored)),
        }
    }

    fn gone(&mut self, addr: Addr, seen: ObjectRef, _: Option<Object<SlimFloatingIp>>) {
        self.engine.objects.gone(addr, &seen);
        if self.loading.is_none() {
            self.engine.with(|ledger, now| ledger.address_deleted(now, addr, &seen));
        }
    }

    fn listing(&mut self, known: &mut HashMap<Addr, ObjectRef>) {
        // The writer's own creations count too, seen by the watch or not.
        *known = self.engine.objects.versions();
        if let Some((list, _)) = &mut self.loading {
            list.clear();
        }
    }

    fn listed(&mut self) {
        if let Some((list, waiting)) = self.loading.take() {
            self.engine.with(|ledger, now| ledger.load(now, list));
            for wish in waiting {
                // Whoever no longer waits does not mind.
                let _ = wish.send(());
            }
        }
    }
}
