//! Workloads of custom kinds that make pods `<name>-0`, `<name>-1` … from a template, as TApp does.

use std::fmt::Debug;

use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use kube::{
    Api,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
};
use serde_json::{Value, json};

use super::{create_pods, feed, itself, template};
use crate::control::{
    Caches, Context,
    informer::{Change, Informer, ObjectKey},
    meta::Meta,
    pods,
    workqueue::{Again, WorkQueue},
};

/// The annotation that tells from which template a pod was made.
const TEMPLATE_HASH: &str = "sandbox.galaxy/template-hash";

/// A kind of workload, and where its objects say what they want (JSON pointers).
#[derive(Clone, Debug)]
pub struct CustomWorkload {
    /// Group, version, kind and plural.
    pub resource: ApiResource,
    /// How many pods.
    pub replicas: String,
    /// Of what kind.
    pub template: String,
}

impl CustomWorkload {
    /// A kind with `spec.replicas` and `spec.template`.
    pub fn new(group: &str, version: &str, kind: &str, plural: &str) -> Self {
        let gvk = kube::api::GroupVersionKind::gvk(group, version, kind);
        Self {
            resource: ApiResource::from_gvk_with_plural(&gvk, plural),
            replicas: "/spec/replicas".into(),
            template: "/spec/template".into(),
        }
    }
}

/// Runs workloads of this kind until `ctx` is shut down. Its CRD may come later.
pub fn start(ctx: &Context, caches: &Caches, workload: CustomWorkload) {
    let objects: Informer<DynamicObject> = Informer::start(ctx, Api::all_with(ctx.client.clone(), &workload.resource));
    let queue = WorkQueue::new(ctx.clock.clone());
    feed(ctx, &objects, &queue, itself);
    let (kind, api_version) = (workload.resource.kind.clone(), workload.resource.api_version.clone());
    let group = |api_version: &str| api_version.split_once('/').map(|(group, _)| group.to_owned());
    feed(ctx, &caches.pods, &queue, move |change: &Change<Pod>| {
        let forms = change.old.iter().chain(&change.new);
        let owners = forms.filter_map(|pod| pod.controller_ref().map(|owner| (pod.ns(), owner)));
        owners
            .filter(|(_, owner)| owner.kind == kind && group(&owner.api_version) == group(&api_version))
            .map(|(namespace, owner)| ObjectKey::new(namespace, &owner.name))
            .collect()
    });
    let (state, caches) = (ctx.clone(), caches.clone());
    queue.run(ctx, move |key| reconcile(state.clone(), caches.clone(), objects.clone(), workload.clone(), key));
}

async fn reconcile(
    ctx: Context,
    caches: Caches,
    objects: Informer<DynamicObject>,
    workload: CustomWorkload,
    key: ObjectKey,
) -> anyhow::Result<Again> {
    caches.pods.synced().await;
    let Some(object) = objects.get(&key).filter(|object| !object.is_deleting()) else { return Ok(None) };
    let wanted = object.data.pointer(&workload.replicas).and_then(Value::as_i64).unwrap_or(1);
    let template = object.data.pointer(&workload.template).cloned().unwrap_or_default();
    let template: PodTemplateSpec = serde_json::from_value(template)?;
    let hash = template::hash(&template, 0);
    let owned = caches.pods.owned_by(object.uid());
    let ordinal = |pod: &Pod| -> Option<i64> {
        let number = pod.name().strip_prefix(object.name())?.strip_prefix('-')?;
        number.parse().ok()
    };
    for pod in owned.iter().filter(|pod| !pod.is_deleting()) {
        let surplus = ordinal(pod).is_none_or(|ordinal| ordinal >= wanted);
        let outdated = pod.annotation(TEMPLATE_HASH) != Some(&hash);
        if surplus || outdated || pods::is_finished(pod) {
            pods::delete(&ctx.client, &caches.pods, pod, None).await?;
        }
    }
    let owner = pods::controller_reference(&workload.resource.api_version, &workload.resource.kind, &*object);
    let missing = (0..wanted).filter(|ordinal_| !owned.iter().any(|pod| ordinal(pod) == Some(*ordinal_)));
    let made = missing.map(|ordinal| {
        let mut pod = pods::from_template(&template, object.ns(), owner.clone());
        pod.metadata.name = Some(format!("{}-{ordinal}", object.name()));
        let annotations = pod.metadata.annotations.get_or_insert_default();
        annotations.insert(TEMPLATE_HASH.into(), hash.clone());
        pod
    });
    let outcome = create_pods(&ctx, &caches.pods, made.collect()).await;
    update_status(&ctx, &caches, &objects, &workload, &object, &template).await?;
    outcome?;
    Ok(None)
}

async fn update_status(
    ctx: &Context,
    caches: &Caches,
    objects: &Informer<DynamicObject>,
    workload: &CustomWorkload,
    object: &DynamicObject,
    template: &PodTemplateSpec,
) -> anyhow::Result<()> {
    let owned = caches.pods.owned_by(object.uid());
    let active: Vec<_> = owned.iter().filter(|pod| pods::is_active(pod)).collect();
    let ready = active.iter().filter(|pod| pods::is_ready(pod)).count();
    let labels = template.metadata.as_ref().and_then(|metadata| metadata.labels.as_ref());
    let selector: Vec<_> = labels.into_iter().flatten().map(|(key, value)| format!("{key}={value}")).collect();
    let status = json!({
        "replicas": active.len(),
        "readyReplicas": ready,
        "scaleLabelSelector": selector.join(","),
        "observedGeneration": object.generation(),
    });
    let present = object.data.get("status");
    // A CRD that declares only some of these keeps only those: they are compared, the others would be written for ever.
    let members = status.as_object().into_iter().flatten();
    let known = |name: &String| present.is_none_or(|present| present.get(name).is_some());
    if members
        .into_iter()
        .filter(|(name, _)| known(name))
        .all(|(name, value)| present.and_then(|it| it.get(name)) == Some(value))
    {
        return Ok(());
    }
    let api: Api<DynamicObject> = Api::namespaced_with(ctx.client.clone(), object.ns(), &workload.resource);
    let patch = Patch::Merge(json!({"metadata": {"uid": object.uid()}, "status": status}));
    let params = PatchParams::default();
    let answer = match api.patch_status(object.name(), &params, &patch).await {
        // Without a status subresource the status is a part of the object like any other.
        Err(kube::Error::Api(status)) if status.is_not_found() => api.patch(object.name(), &params, &patch).await,
        answer => answer,
    };
    match answer {
        Ok(object) => objects.record(object),
        Err(error) if pods::is_gone(&error) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
