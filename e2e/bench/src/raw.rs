//! What the API server can do: objects like FloatingIPs, and Bindings, made by the plainest client.
//!
//! The objects are of a copy of the FloatingIP definition, so that the API server does for them what it does for FloatingIPs and
//! galaxy-ipam does not hear of them.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use galaxy_api::{FloatingIP, crd::crds, names::ARGS_ANNOTATION};
use galaxy_plane::Plane;
use k8s_openapi::api::core::v1::{Binding, ObjectReference, Pod as KubePod};
use kube::{
    Api, Client,
    api::{ApiResource, DeleteParams, DynamicObject, PostParams},
    core::{GroupVersionKind, ObjectMeta},
};
use serde_json::{Value, json};

use crate::{
    etcd,
    ground::apply,
    objects::{Pod, address},
};

const GROUP: &str = "bench.galaxy.test";

/// The plainest client.
#[derive(Clone)]
pub(crate) struct Raw {
    objects: Api<DynamicObject>,
    pods: Api<KubePod>,
    resource: ApiResource,
    /// What a FloatingIP has.
    spec: Value,
}

impl Raw {
    /// Makes the definition, after the one of FloatingIPs.
    pub(crate) async fn install(plane: &Plane, like: &FloatingIP) -> Result<Self> {
        let definition = crds().into_iter().next().context("no definition of FloatingIPs")?;
        let mut definition = serde_json::to_value(definition)?;
        definition["apiVersion"] = json!("apiextensions.k8s.io/v1");
        definition["kind"] = json!("CustomResourceDefinition");
        definition["metadata"] = json!({"name": format!("rawips.{GROUP}")});
        definition["spec"]["group"] = json!(GROUP);
        definition["spec"]["names"] =
            json!({"kind": "RawIP", "listKind": "RawIPList", "plural": "rawips", "singular": "rawip"});
        apply(plane, "raw", &definition).await?;
        let kind = GroupVersionKind::gvk(GROUP, "v1alpha1", "RawIP");
        let resource = ApiResource::from_gvk_with_plural(&kind, "rawips");
        Ok(Self {
            objects: Api::all_with(plane.client(), &resource),
            pods: Api::namespaced(plane.client(), "default"),
            resource,
            spec: serde_json::to_value(&like.spec)?,
        })
    }

    /// The pair of writes that a bind takes: the object of address number `number`, and the pod's Binding.
    pub(crate) async fn pair(&self, number: usize, pod: &Pod, node: &str) -> Result<()> {
        self.objects.create(&PostParams::default(), &self.object(number)).await?;
        bind(&self.pods, pod, node).await
    }

    /// Deletes the object of an address.
    pub(crate) async fn delete(&self, number: usize) -> Result<()> {
        self.objects.delete(&address(number).to_string(), &DeleteParams::default()).await?;
        Ok(())
    }

    /// Objects as the API server keeps them.
    pub(crate) fn stored(&self, numbers: std::ops::Range<usize>) -> impl Iterator<Item = (String, String)> {
        numbers.map(|number| {
            let mut object = self.object(number);
            object.metadata.uid = Some(format!("c0000000-0000-4000-8000-{number:012}"));
            object.metadata.generation = Some(1);
            let text = serde_json::to_string(&object).unwrap_or_default();
            (format!("{}{}", etcd::RAW, address(number)), text)
        })
    }

    fn object(&self, number: usize) -> DynamicObject {
        let ip = address(number).to_string();
        let mut spec = self.spec.clone();
        spec["address"] = json!(format!("{ip}/16"));
        DynamicObject::new(&ip, &self.resource).data(json!({ "spec": spec }))
    }
}

/// Binds a pod, with an annotation as long as galaxy-ipam's.
async fn bind(pods: &Api<KubePod>, pod: &Pod, node: &str) -> Result<()> {
    let text = r#"{"common":{"ipinfos":[{"ip":"10.100.100.100/16","vlan":0,"gateway":"10.100.255.254"}]}}"#;
    let binding = Binding {
        metadata: ObjectMeta {
            name: Some(pod.name.clone()),
            namespace: Some("default".to_owned()),
            uid: Some(pod.uid.clone()),
            annotations: Some(BTreeMap::from([(ARGS_ANNOTATION.to_owned(), text.to_owned())])),
            ..ObjectMeta::default()
        },
        target: ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Node".to_owned()),
            name: Some(node.to_owned()),
            ..ObjectReference::default()
        },
    };
    let params = PostParams::default();
    let created = pods.create_subresource::<_, Value>("binding", &pod.name, &params, &binding);
    created.await.with_context(|| format!("Binding of {}", pod.name))?;
    Ok(())
}

/// An extender that only binds, at `http://127.0.0.1:PORT`; ends when dropped.
pub(crate) struct OnlyBinds {
    pub(crate) port: u16,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for OnlyBinds {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl OnlyBinds {
    pub(crate) async fn start(client: Client) -> Result<Self> {
        let pods: Api<KubePod> = Api::namespaced(client, "default");
        let (port, task) = crate::proxy::serve(move |request| {
            let pods = pods.clone();
            async move {
                let body = crate::proxy::whole(request.into_body()).await?;
                let args: Value = serde_json::from_slice(&body)?;
                let text = |member: &str| args[member].as_str().unwrap_or_default().to_owned();
                let pod = Pod { name: text("PodName"), uid: text("PodUID") };
                let error = bind(&pods, &pod, &text("Node")).await.err().map(|error| format!("{error:#}"));
                Ok(crate::proxy::json(200, &json!({"Error": error.unwrap_or_default()})))
            }
        })
        .await?;
        Ok(Self { port, task })
    }
}
