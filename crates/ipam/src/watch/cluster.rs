//! Nodes, Deployments, StatefulSets, ReplicaSets and Pools.

use std::sync::Arc;

use galaxy_api::Pool;
use galaxy_api::pool::PoolStatus;
use galaxy_core::ledger::{NodeView, PoolView, ReplicaSetView, Str, Uid, WorkloadId, WorkloadView};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::Node;
use kube::core::{ApiResource, ObjectMeta};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Feed, Object, Slim};
use crate::convert::{self, workload};
use crate::engine::Engine;
use crate::pool_status::PoolStatusWriter;
use crate::pools::PoolObjects;

fn whole<K: DeserializeOwned>(object: Value) -> Result<K, String> {
    serde_json::from_value(object).map_err(|error| error.to_string())
}

fn name(meta: &ObjectMeta) -> Str {
    meta.name.as_deref().unwrap_or_default().into()
}

impl Slim for NodeView {
    fn read(_: &ObjectMeta, object: Value) -> Result<Self, String> {
        Ok(convert::node_view(&whole::<Node>(object)?))
    }
}

/// Feeds nodes.
pub(crate) struct Nodes(pub(crate) Arc<Engine>);

impl Nodes {
    pub(crate) fn resource() -> ApiResource {
        ApiResource::erase::<Node>(&())
    }
}

impl Feed for Nodes {
    type Item = NodeView;
    type Key = Str;
    type Seen = ();

    fn key(&self, object: &Object<NodeView>) -> Option<(Str, ())> {
        Some((name(&object.meta), ()))
    }

    fn observed(&mut self, object: Object<NodeView>) {
        if let Some(node) = object.item("Node") {
            self.0.with(|ledger, now| ledger.node_observed(now, node));
        }
    }

    fn gone(&mut self, name: Str, (): (), _: Option<Object<NodeView>>) {
        self.0.with(|ledger, now| ledger.node_gone(now, &name));
    }
}

/// A Deployment or StatefulSet, told apart from the other kind by its type.
macro_rules! workload_feed {
    ($(#[$doc:meta])* $feed:ident, $slim:ident, $kind:ident, $read:path) => {
        #[derive(Debug, Clone)]
        pub(crate) struct $slim(WorkloadView);

        impl Slim for $slim {
            fn read(_: &ObjectMeta, object: Value) -> Result<Self, String> {
                Ok($slim($read(&whole::<$kind>(object)?)))
            }
        }

        $(#[$doc])*
        pub(crate) struct $feed(pub(crate) Arc<Engine>);

        impl $feed {
            pub(crate) fn resource() -> ApiResource {
                ApiResource::erase::<$kind>(&())
            }
        }

        impl Feed for $feed {
            type Item = $slim;
            type Key = (WorkloadId, Uid);
            type Seen = ();

            fn key(&self, object: &Object<$slim>) -> Option<(Self::Key, ())> {
                let resource = Self::resource();
                Some((workload::id(&resource.group, &resource.kind, &object.meta), ()))
            }

            fn observed(&mut self, object: Object<$slim>) {
                if let Some(item) = object.item(stringify!($kind)) {
                    self.0.with(|ledger, now| ledger.workload_observed(now, item.0));
                }
            }

            fn gone(&mut self, (id, uid): Self::Key, (): (), _: Option<Object<$slim>>) {
                self.0.with(|ledger, now| ledger.workload_gone(now, &id, Some(&uid)));
            }
        }
    };
}

workload_feed!(
    /// Feeds Deployments.
    Deployments, SlimDeployment, Deployment, workload::deployment
);
workload_feed!(
    /// Feeds StatefulSets.
    StatefulSets, SlimStatefulSet, StatefulSet, workload::stateful_set
);

#[derive(Debug, Clone)]
pub(crate) struct SlimReplicaSet(ReplicaSetView, Option<WorkloadView>);

impl Slim for SlimReplicaSet {
    fn read(_: &ObjectMeta, object: Value) -> Result<Self, String> {
        let (set, own) = workload::replica_set(&whole::<ReplicaSet>(object)?);
        Ok(SlimReplicaSet(set, own))
    }
}

/// Feeds ReplicaSets, as revisions of their Deployment and, without one, as workloads.
pub(crate) struct ReplicaSets(pub(crate) Arc<Engine>);

impl ReplicaSets {
    pub(crate) fn resource() -> ApiResource {
        ApiResource::erase::<ReplicaSet>(&())
    }
}

impl Feed for ReplicaSets {
    type Item = SlimReplicaSet;
    type Key = (WorkloadId, Uid);
    type Seen = ();

    fn key(&self, object: &Object<SlimReplicaSet>) -> Option<(Self::Key, ())> {
        let resource = Self::resource();
        Some((workload::id(&resource.group, &resource.kind, &object.meta), ()))
    }

    fn observed(&mut self, object: Object<SlimReplicaSet>) {
        if let Some(SlimReplicaSet(set, own)) = object.item("ReplicaSet") {
            self.0.with(|ledger, now| {
                ledger.replica_set_observed(now, set);
                if let Some(own) = own {
                    ledger.workload_observed(now, own);
                }
            });
        }
    }

    fn gone(&mut self, (id, uid): Self::Key, (): (), _: Option<Object<SlimReplicaSet>>) {
        self.0.with(|ledger, now| {
            ledger.replica_set_gone(now, &uid);
            ledger.workload_gone(now, &id, Some(&uid));
        });
    }
}

/// A Pool with the status it has.
#[derive(Debug, Clone)]
pub(crate) struct SlimPool {
    view: PoolView,
    limit_error: Option<String>,
    generation: Option<i64>,
    status: PoolStatus,
}

impl Slim for SlimPool {
    fn read(meta: &ObjectMeta, object: Value) -> Result<Self, String> {
        let pool = whole::<Pool>(object)?;
        Ok(SlimPool {
            view: convert::pool_view(&pool),
            limit_error: pool.spec.limit().err().map(|error| error.to_string()),
            generation: meta.generation,
            status: pool.status.unwrap_or_default(),
        })
    }
}

/// Feeds Pools of the namespaces that count, and remembers their status for whoever writes it.
pub(crate) struct Pools {
    pub(crate) engine: Arc<Engine>,
    pub(crate) objects: Arc<PoolObjects>,
    pub(crate) status: Arc<PoolStatusWriter>,
    /// Empty: all.
    pub(crate) namespaces: Vec<String>,
}

impl Pools {
    pub(crate) fn resource() -> ApiResource {
        ApiResource::erase::<Pool>(&())
    }
}

impl Feed for Pools {
    type Item = SlimPool;
    type Key = Uid;
    type Seen = ();

    fn key(&self, object: &Object<SlimPool>) -> Option<(Uid, ())> {
        let namespace = object.meta.namespace.as_deref().unwrap_or_default();
        let counts = self.namespaces.is_empty() || self.namespaces.iter().any(|counted| counted == namespace);
        counts.then(|| (convert::uid(&object.meta), ()))
    }

    fn observed(&mut self, object: Object<SlimPool>) {
        if let Some(SlimPool { view, limit_error, generation, status }) = object.item("Pool") {
            self.objects.observed(&view.uid, limit_error, generation, status);
            let name = view.name.clone();
            self.engine.with(|ledger, now| ledger.named_pool_observed(now, view));
            // The ledger may have known it before there was a status to compare with.
            self.status.changed([name]);
        }
    }

    fn gone(&mut self, uid: Uid, (): (), _: Option<Object<SlimPool>>) {
        self.objects.gone(&uid);
        self.engine.with(|ledger, now| ledger.named_pool_gone(now, &uid));
    }
}
