//! What a person does with kubectl, done through the same API.

use anyhow::Context;
use kube::{
    Api, Client,
    api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams},
    discovery::{Scope, pinned_kind},
};
use serde_json::{Value, json};

use super::examples;

/// Who applies.
const MANAGER: &str = "galaxy-sandbox";

/// A client with kubectl's verbs. All objects are in the namespace `default` unless they say otherwise.
#[derive(Clone)]
pub(super) struct Hands {
    client: Client,
}

impl Hands {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    /// `kubectl apply -f examples/FILE`.
    ///
    /// # Errors
    /// The API server refuses an object.
    pub(super) async fn apply(&self, file: &str) -> anyhow::Result<()> {
        for object in examples::objects(file)? {
            let name = object.metadata.name.clone().unwrap_or_default();
            self.apply_object(&name, &object).await.with_context(|| format!("examples/{file}: {name}"))?;
        }
        Ok(())
    }

    async fn apply_object(&self, name: &str, object: &DynamicObject) -> anyhow::Result<()> {
        let types = object.types.as_ref().context("apiVersion and kind are missing")?;
        let kind = GroupVersionKind::try_from(types)?;
        // A definition applied just before may take a moment to be served.
        let mut attempts = 50;
        let (resource, capabilities) = loop {
            match pinned_kind(&self.client, &kind).await {
                Ok(found) => break found,
                Err(error) if attempts == 0 => return Err(error.into()),
                Err(_) => attempts -= 1,
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        };
        let api: Api<DynamicObject> = match (&capabilities.scope, &object.metadata.namespace) {
            (Scope::Cluster, _) => Api::all_with(self.client.clone(), &resource),
            (Scope::Namespaced, Some(namespace)) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            (Scope::Namespaced, None) => Api::default_namespaced_with(self.client.clone(), &resource),
        };
        api.patch(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(object)).await?;
        Ok(())
    }

    /// `kubectl delete KIND NAME`.
    ///
    /// # Errors
    /// The API server refuses.
    pub(super) async fn delete(&self, kind: Kind, name: &str) -> anyhow::Result<()> {
        self.api(kind).delete(name, &DeleteParams::background()).await?;
        Ok(())
    }

    /// `kubectl scale KIND NAME --replicas=N`.
    ///
    /// # Errors
    /// The API server refuses.
    pub(super) async fn scale(&self, kind: Kind, name: &str, replicas: u32) -> anyhow::Result<()> {
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        self.api(kind).patch_scale(name, &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// `kubectl set image KIND/NAME CONTAINER=IMAGE`.
    ///
    /// # Errors
    /// The API server refuses.
    pub(super) async fn set_image(&self, kind: Kind, name: &str, container: &str, image: &str) -> anyhow::Result<()> {
        let containers = json!([{"name": container, "image": image}]);
        let patch = json!({"spec": {"template": {"spec": {"containers": containers}}}});
        self.api(kind).patch(name, &PatchParams::default(), &Patch::Strategic(patch)).await?;
        Ok(())
    }

    /// `kubectl taint node NAME KEY=VALUE:NoExecute`, or with `taints` false, without it again.
    ///
    /// # Errors
    /// The API server refuses.
    pub(super) async fn out_of_service(&self, node: &str, taints: bool) -> anyhow::Result<()> {
        const KEY: &str = "node.kubernetes.io/out-of-service";
        let api = self.api(Kind::Node);
        loop {
            let object = api.get(node).await?;
            let mut list: Vec<Value> = object.data["spec"]["taints"].as_array().cloned().unwrap_or_default();
            list.retain(|taint| taint["key"] != KEY);
            if taints {
                list.push(json!({"key": KEY, "value": "nodeshutdown", "effect": "NoExecute"}));
            }
            let version = object.metadata.resource_version;
            let patch = json!({"metadata": {"resourceVersion": version}, "spec": {"taints": list}});
            match api.patch(node, &PatchParams::default(), &Patch::Merge(patch)).await {
                // The node controller taints nodes too: read its list and try again, as kubectl does.
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                result => return Ok(result.map(drop)?),
            }
        }
    }

    fn api(&self, kind: Kind) -> Api<DynamicObject> {
        let resource = kind.resource();
        match kind {
            Kind::Node => Api::all_with(self.client.clone(), &resource),
            _ => Api::default_namespaced_with(self.client.clone(), &resource),
        }
    }
}

/// What the tour handles by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Pod,
    Node,
    Deployment,
    StatefulSet,
    TApp,
}

impl Kind {
    /// As kubectl's command line calls it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Kind::Pod => "pod",
            Kind::Node => "node",
            Kind::Deployment => "deployment",
            Kind::StatefulSet => "statefulset",
            Kind::TApp => "tapp",
        }
    }

    fn resource(self) -> ApiResource {
        let (group, version, kind) = match self {
            Kind::Pod => ("", "v1", "Pod"),
            Kind::Node => ("", "v1", "Node"),
            Kind::Deployment => ("apps", "v1", "Deployment"),
            Kind::StatefulSet => ("apps", "v1", "StatefulSet"),
            Kind::TApp => ("apps.tkestack.io", "v1", "TApp"),
        };
        ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
    }
}
