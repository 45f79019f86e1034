//! The templates that a StatefulSet has had, kept as ControllerRevisions.

use std::sync::Arc;

use k8s_openapi::{
    api::{
        apps::v1::{ControllerRevision, StatefulSet, StatefulSetSpec},
        core::v1::PodTemplateSpec,
    },
    apimachinery::pkg::runtime::RawExtension,
};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    core::ObjectMeta,
};
use serde_json::{Value, json};

use super::REVISION_LABEL;
use crate::{
    control::{
        Caches, Context,
        informer::{Informer, ObjectKey},
        meta::Meta,
        pods,
    },
    controllers::template as pod_template,
};

/// The two revisions that matter.
pub(super) struct Revisions {
    /// The one that the last complete rollout ended with.
    pub(super) current: Arc<ControllerRevision>,
    /// The one of the present template.
    pub(super) update: Arc<ControllerRevision>,
    all: Vec<Arc<ControllerRevision>>,
}

/// The template kept in a revision.
pub(super) fn template(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    serde_json::from_value(revision.data.0.pointer("/spec/template")?.clone()).ok()
}

fn data(template: &PodTemplateSpec) -> Value {
    let mut template = serde_json::to_value(template).unwrap_or_default();
    template["$patch"] = "replace".into();
    json!({"spec": {"template": template}})
}

impl Revisions {
    /// Finds the revisions; makes one for a new template, and gives one that comes back the highest number.
    pub(super) async fn of(
        ctx: &Context,
        cache: &Informer<ControllerRevision>,
        set: &StatefulSet,
        spec: &StatefulSetSpec,
    ) -> anyhow::Result<Self> {
        let api: Api<ControllerRevision> = Api::namespaced(ctx.client.clone(), set.ns());
        let mut all = cache.owned_by(set.uid());
        all.sort_by_key(|revision| (revision.revision, revision.created(), revision.name().to_owned()));
        let newest = all.last().and_then(|revision| revision.revision).unwrap_or(0);
        let wanted = pod_template::substance(&spec.template);
        let known = all.iter().rfind(|revision| {
            template(revision).map(|template| pod_template::substance(&template)) == Some(wanted.clone())
        });
        let update = match known {
            Some(known) if known.revision.unwrap_or(0) >= newest => known.clone(),
            Some(known) => {
                let patch = json!({"metadata": {"uid": known.uid()}, "revision": newest + 1});
                let patched = api.patch(known.name(), &PatchParams::default(), &Patch::Merge(patch)).await?;
                cache.record(patched.clone());
                Arc::new(patched)
            }
            None => {
                let made = create(&api, set, spec, newest + 1).await?;
                cache.record(made.clone());
                Arc::new(made)
            }
        };
        let name = set.status.as_ref().and_then(|status| status.current_revision.as_deref());
        let current = all.iter().find(|revision| Some(revision.name()) == name);
        Ok(Self { current: current.unwrap_or(&update).clone(), update, all })
    }

    /// Deletes the oldest revisions beyond the history limit that no pod was made from.
    pub(super) async fn clean_up(
        &self,
        ctx: &Context,
        cache: &Informer<ControllerRevision>,
        caches: &Caches,
        set: &StatefulSet,
    ) -> anyhow::Result<()> {
        let limit = set.spec.revision_history_limit.unwrap_or(10);
        let pods = caches.pods.owned_by(set.uid());
        let used = |revision: &&Arc<ControllerRevision>| {
            let name = revision.name();
            name == self.current.name()
                || name == self.update.name()
                || pods.iter().any(|pod| pod.label(REVISION_LABEL) == Some(name))
        };
        let idle: Vec<_> = self.all.iter().filter(|revision| !used(revision)).collect();
        let surplus = idle.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        let api: Api<ControllerRevision> = Api::namespaced(ctx.client.clone(), set.ns());
        for revision in &idle[..surplus] {
            match api.delete(revision.name(), &DeleteParams::default()).await {
                Ok(_) => {}
                Err(error) if pods::is_gone(&error) => cache.forget(&ObjectKey::of(&***revision), revision.uid()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

async fn create(
    api: &Api<ControllerRevision>,
    set: &StatefulSet,
    spec: &StatefulSetSpec,
    number: i64,
) -> anyhow::Result<ControllerRevision> {
    for collisions in 0..100 {
        let hash = pod_template::hash(&spec.template, collisions);
        let mut labels = spec.selector.match_labels.clone().unwrap_or_default();
        labels.insert("controller.kubernetes.io/hash".into(), hash.clone());
        let revision = ControllerRevision {
            metadata: ObjectMeta {
                name: Some(format!("{}-{hash}", set.name())),
                namespace: set.metadata.namespace.clone(),
                labels: Some(labels),
                owner_references: Some(vec![pods::controller_reference("apps/v1", "StatefulSet", set)]),
                ..ObjectMeta::default()
            },
            data: RawExtension(data(&spec.template)),
            revision: Some(number),
        };
        match api.create(&PostParams::default(), &revision).await {
            Err(error) if pods::already_exists(&error) => {
                let there = api.get(revision.name()).await?;
                if there.controller_uid() == Some(set.uid()) && there.data == revision.data {
                    return Ok(there);
                }
            }
            outcome => return Ok(outcome?),
        }
    }
    anyhow::bail!("no free name for a revision of StatefulSet {}/{}", set.ns(), set.name())
}
