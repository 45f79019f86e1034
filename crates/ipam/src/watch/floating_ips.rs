//! FloatingIP objects.

use std::collections::HashMap;
use std::sync::Arc;

use galaxy_api::FloatingIP;
use galaxy_core::Addr;
use galaxy_core::ledger::{ObjectRef, Stored};
use kube::core::{ApiResource, ObjectMeta};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};

use super::odd::Odd;
use super::{Feed, Following, Object, Slim};
use crate::convert::floating_ip;
use crate::convert::oddity::oddity;
use crate::engine::Engine;
use crate::objects::Extra;

/// One object, decoded.
#[derive(Debug, Clone)]
pub(crate) struct SlimFloatingIp {
    stored: Stored,
    extra: Option<Box<Extra>>,
    /// What is odd about it.
    oddity: Option<String>,
}

impl Slim for SlimFloatingIp {
    fn read(meta: &ObjectMeta, object: Value) -> Result<Self, String> {
        let fip = FloatingIP::deserialize(&object).map_err(|error| error.to_string())?;
        let stored = floating_ip::stored(&fip).ok_or("its name is not an address, so it stands for none")?;
        let oddity = oddity(&fip, &object["spec"], &stored.record);
        Ok(SlimFloatingIp { stored, extra: Extra::of(meta), oddity })
    }
}

/// A wish for a fresh quorum list of all objects, loaded into the ledger as a whole; answered when that is done.
pub(crate) type Reload = oneshot::Sender<()>;

/// Feeds FloatingIP objects.
pub(crate) struct FloatingIps {
    engine: Arc<Engine>,
    /// Objects of a list that will be loaded as a whole, and who waits for it.
    loading: Option<(Vec<Stored>, Vec<Reload>)>,
    odd: Odd,
}

impl FloatingIps {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        let odd = Odd::new(engine.metrics.clone());
        FloatingIps { engine, loading: None, odd }
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
        let item = object.item.as_ref().ok()?;
        Some((item.stored.record.addr, item.stored.object.clone()))
    }

    fn observed(&mut self, object: Object<SlimFloatingIp>) {
        let Ok(SlimFloatingIp { stored, extra, oddity }) = object.item else { return };
        self.odd.seen(object.meta.name.as_deref().unwrap_or_default(), oddity);
        self.engine.objects.observed(stored.record.addr, &stored.object, extra);
        match &mut self.loading {
            Some((list, _)) => list.push(stored),
            None => self.engine.with(|ledger, now| ledger.address_observed(now, stored)),
        }
    }

    fn gone(&mut self, addr: Addr, seen: ObjectRef, _: Option<Object<SlimFloatingIp>>) {
        self.odd.gone(&galaxy_core::addr::object_name(addr.ip()));
        self.engine.objects.gone(addr, &seen);
        if self.loading.is_none() {
            self.engine.with(|ledger, now| ledger.address_deleted(now, addr, &seen));
        }
    }

    fn passed_over(&mut self, object: Object<SlimFloatingIp>, gone: bool) {
        let name = object.meta.name.unwrap_or_default();
        let error = object.item.err().filter(|_| !gone);
        self.odd.seen(&name, error.map(|error| format!("this FloatingIP is left alone: {error}")));
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
