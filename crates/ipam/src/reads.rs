//! Reads from quorum: what is really there, whatever the caches say. None is in the path of a usual request.

use std::sync::Arc;

use galaxy_api::pod::PodView as WirePod;
use galaxy_core::ledger::{APPS, Doubt, Model, PodRef, Uid, WorkloadId};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use kube::core::ApiResource;
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::calls::{CallError, call};
use crate::convert::{self, workload};
use crate::engine::Engine;
use crate::watch::{CustomKinds, Object, Pods};

/// Reads, and tells the ledger what it read.
pub(crate) struct Reader {
    engine: Arc<Engine>,
    client: Client,
    kinds: Arc<CustomKinds>,
}

/// What a read of a pod found.
#[derive(Debug)]
pub(crate) enum Found {
    /// The very pod.
    This(Box<WirePod>),
    /// It is there, but cannot be read.
    Unreadable,
    /// It is not there; a pod of its name may be.
    Gone,
}

impl Reader {
    pub(crate) fn new(engine: Arc<Engine>, client: Client, kinds: Arc<CustomKinds>) -> Arc<Self> {
        Arc::new(Reader { engine, client, kinds })
    }

    /// Reads what is in doubt and tells the ledger. Without proof it stays in doubt until the next sweep.
    pub(crate) async fn prove(&self, doubt: &Doubt) {
        let result = match doubt {
            Doubt::Pod(pod) => self.pod(pod).await.map(drop).map_err(|error| error.to_string()),
            Doubt::Workload(id) => self.workload(id).await,
        };
        if let Err(error) = result {
            tracing::warn!(?doubt, error, "nothing is proved");
        }
    }

    /// Reads a pod and tells the ledger. An empty uid stands for whatever pod has the name.
    ///
    /// # Errors
    /// The read proved nothing.
    pub(crate) async fn pod(&self, pod: &PodRef) -> Result<Found, CallError> {
        let api: Api<Object<WirePod>> = Api::namespaced_with(self.client.clone(), &pod.namespace, &Pods::resource());
        let Some(object) = call(api.get_opt(&pod.name)).await? else {
            self.gone(pod);
            return Ok(Found::Gone);
        };
        let this = pod.uid.is_empty() || convert::uid(&object.meta) == pod.uid;
        let unreadable = object.item.is_err();
        if let Some(found) = object.item("Pod") {
            let wants = self.engine.pod_read(&found);
            // A pod of the name that wants no address is not the one an old record means.
            if this && (wants || !pod.uid.is_empty()) {
                return Ok(Found::This(Box::new(found)));
            }
        }
        if this && unreadable {
            return Ok(Found::Unreadable);
        }
        self.gone(pod);
        Ok(Found::Gone)
    }

    fn gone(&self, pod: &PodRef) {
        if pod.uid.is_empty() {
            self.engine.with(|ledger, now| ledger.unnamed_pod_gone(now, &pod.namespace, &pod.name));
        } else {
            self.engine.pod_gone(&pod.uid);
        }
    }

    /// Reads a workload and tells the ledger.
    ///
    /// # Errors
    /// The read proved nothing.
    pub(crate) async fn workload(&self, id: &WorkloadId) -> Result<(), String> {
        match (id.model(), &*id.group, &*id.kind) {
            (Model::Bare, ..) => {
                let uid = Uid::from("");
                let pod = PodRef { namespace: id.namespace.clone(), name: id.name.clone(), uid };
                self.pod(&pod).await.map(drop).map_err(|error| error.to_string())
            }
            (_, APPS, "Deployment") => {
                let found = self.get::<Deployment>(id).await?;
                self.feed(id, found.map(|object| workload::deployment(&object)));
                Ok(())
            }
            (_, APPS, "StatefulSet") => {
                let found = self.get::<StatefulSet>(id).await?;
                self.feed(id, found.map(|object| workload::stateful_set(&object)));
                Ok(())
            }
            (_, APPS, "ReplicaSet") => {
                let found = self.get::<ReplicaSet>(id).await?;
                self.feed(id, found.and_then(|object| workload::replica_set(&object).1));
                Ok(())
            }
            _ => self.custom(id).await,
        }
    }

    async fn custom(&self, id: &WorkloadId) -> Result<(), String> {
        // A kind that is not found proves nothing about its objects.
        let resolved = self.kinds.resolve(&id.group, &id.kind).await?;
        let path = resolved.replicas_path()?;
        let api: Api<Object<Value>> = Api::namespaced_with(self.client.clone(), &id.namespace, &resolved.resource);
        let found = call(api.get_opt(&id.name)).await.map_err(|error| error.to_string())?;
        let view = found.and_then(|object| {
            let value = object.item.ok()?;
            Some(workload::custom(&id.group, &id.kind, &object.meta, &value, path))
        });
        self.feed(id, view);
        Ok(())
    }

    async fn get<K>(&self, id: &WorkloadId) -> Result<Option<K>, String>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), &id.namespace);
        call(api.get_opt(&id.name)).await.map_err(|error| format!("{}: {error}", ApiResource::erase::<K>(&()).kind))
    }

    fn feed(&self, id: &WorkloadId, found: Option<galaxy_core::ledger::WorkloadView>) {
        self.engine.with(|ledger, now| match found {
            Some(view) => ledger.workload_observed(now, view),
            None => ledger.workload_gone(now, id, None),
        });
    }
}
