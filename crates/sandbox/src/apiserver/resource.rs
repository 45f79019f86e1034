//! Which resources are served: the built-in table and what CRDs add to it.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{
    api::{
        apps::v1 as apps, autoscaling::v1 as autoscaling, batch::v1 as batch, coordination::v1 as coordination,
        core::v1 as core, events::v1 as events, policy::v1 as policy, scheduling::v1 as scheduling,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::custom::Custom;

/// One version of one resource.
#[derive(Clone)]
pub(super) struct Resource {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) kind: String,
    pub(super) list_kind: String,
    pub(super) plural: String,
    pub(super) singular: String,
    pub(super) short_names: Vec<String>,
    pub(super) categories: Vec<String>,
    pub(super) namespaced: bool,
    /// Whether `status` is a subresource.
    pub(super) status: bool,
    pub(super) scale: Option<ScalePaths>,
    /// Fields a field selector may name, besides metadata.name and metadata.namespace.
    pub(super) fields: Vec<String>,
    /// The collection its objects are in; versions of a resource share one.
    pub(super) storage: String,
    pub(super) flavour: Flavour,
}

/// Where a scale subresource finds its numbers, as JSON pointers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ScalePaths {
    pub(super) spec_replicas: String,
    pub(super) status_replicas: String,
    pub(super) selector: Option<String>,
}

/// What decides how objects are checked.
#[derive(Clone)]
pub(super) enum Flavour {
    Builtin(&'static Builtin),
    Custom(Arc<Custom>),
}

/// What the built-in kinds differ in.
pub(super) struct Builtin {
    group: &'static str,
    version: &'static str,
    pub(super) kind: &'static str,
    plural: &'static str,
    short: &'static [&'static str],
    namespaced: bool,
    status: bool,
    scale: bool,
    fields: &'static [&'static str],
    /// Whether a PUT without resourceVersion is taken.
    pub(super) unconditional: bool,
    /// Whether PUT may create.
    pub(super) create_on_update: bool,
    /// Whether `metadata.generation` counts changes of the spec.
    pub(super) generation: bool,
    /// Reads the object as its Rust type and writes it again: types checked, unknown fields gone, times in canonical form.
    pub(super) normalize: fn(&Value) -> Result<Value, String>,
}

const fn builtin<T: Serialize + DeserializeOwned>(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    short: &'static [&'static str],
) -> Builtin {
    Builtin {
        group,
        version,
        kind,
        plural,
        short,
        namespaced: true,
        status: false,
        scale: false,
        fields: &[],
        unconditional: true,
        create_on_update: false,
        generation: false,
        normalize: normalize::<T>,
    }
}

impl Builtin {
    const fn cluster(mut self) -> Self {
        self.namespaced = false;
        self
    }
    const fn with_status(mut self) -> Self {
        self.status = true;
        self
    }
    const fn with_scale(mut self) -> Self {
        self.scale = true;
        self
    }
    const fn counted(mut self) -> Self {
        self.generation = true;
        self
    }
    const fn conditional(mut self) -> Self {
        self.unconditional = false;
        self
    }
    const fn upsert(mut self) -> Self {
        self.create_on_update = true;
        self
    }
    const fn select(mut self, fields: &'static [&'static str]) -> Self {
        self.fields = fields;
        self
    }
}

fn normalize<T: Serialize + DeserializeOwned>(value: &Value) -> Result<Value, String> {
    let typed: T = serde_path_to_error::deserialize(value)
        .map_err(|error| format!("field {:?}: {}", error.path().to_string(), error.inner()))?;
    serde_json::to_value(typed).map_err(|error| error.to_string())
}

/// Reads a body that is not an object of its own, such as a Scale, by its Rust type.
pub(super) fn normalize_scale(value: &Value) -> Result<Value, String> {
    normalize::<autoscaling::Scale>(value)
}

const POD_FIELDS: &[&str] = &[
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.nominatedNodeName",
];
const EVENT_FIELDS: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];

pub(super) static BUILTINS: &[Builtin] = &[
    builtin::<core::Namespace>("", "v1", "Namespace", "namespaces", &["ns"])
        .cluster()
        .with_status()
        .select(&["status.phase"]),
    builtin::<core::Node>("", "v1", "Node", "nodes", &["no"]).cluster().with_status().select(&["spec.unschedulable"]),
    builtin::<core::Pod>("", "v1", "Pod", "pods", &["po"]).with_status().counted().select(POD_FIELDS),
    builtin::<core::ConfigMap>("", "v1", "ConfigMap", "configmaps", &["cm"]),
    builtin::<core::Secret>("", "v1", "Secret", "secrets", &[]).select(&["type"]),
    builtin::<core::Service>("", "v1", "Service", "services", &["svc"])
        .with_status()
        .upsert()
        .select(&["spec.clusterIP", "spec.type"]),
    builtin::<core::ServiceAccount>("", "v1", "ServiceAccount", "serviceaccounts", &["sa"]),
    builtin::<core::Event>("", "v1", "Event", "events", &["ev"]).upsert().select(EVENT_FIELDS),
    builtin::<events::Event>("events.k8s.io", "v1", "Event", "events", &["ev"]).upsert().select(&[
        "regarding.kind",
        "regarding.namespace",
        "regarding.name",
        "regarding.uid",
        "reason",
        "reportingController",
        "type",
    ]),
    builtin::<apps::Deployment>("apps", "v1", "Deployment", "deployments", &["deploy"])
        .with_status()
        .with_scale()
        .counted(),
    builtin::<apps::ReplicaSet>("apps", "v1", "ReplicaSet", "replicasets", &["rs"])
        .with_status()
        .with_scale()
        .counted()
        .select(&["status.replicas"]),
    builtin::<apps::StatefulSet>("apps", "v1", "StatefulSet", "statefulsets", &["sts"])
        .with_status()
        .with_scale()
        .counted(),
    builtin::<apps::DaemonSet>("apps", "v1", "DaemonSet", "daemonsets", &["ds"]).with_status().counted(),
    builtin::<apps::ControllerRevision>("apps", "v1", "ControllerRevision", "controllerrevisions", &[]),
    builtin::<batch::Job>("batch", "v1", "Job", "jobs", &[]).with_status().counted().select(&["status.successful"]),
    builtin::<coordination::Lease>("coordination.k8s.io", "v1", "Lease", "leases", &[]).conditional().upsert(),
    builtin::<policy::PodDisruptionBudget>("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", &["pdb"])
        .with_status()
        .counted()
        .conditional(),
    builtin::<scheduling::PriorityClass>("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", &["pc"])
        .cluster(),
    builtin::<apiextensions::CustomResourceDefinition>(
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
        &["crd", "crds"],
    )
    .cluster()
    .with_status()
    .counted()
    .conditional(),
];

impl Resource {
    fn builtin(b: &'static Builtin) -> Self {
        let selector = match b.kind {
            "Deployment" | "ReplicaSet" | "StatefulSet" => Some("/spec/selector".to_string()),
            _ => None,
        };
        let all = ["Pod", "Service", "Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job"];
        Self {
            group: b.group.into(),
            version: b.version.into(),
            kind: b.kind.into(),
            list_kind: format!("{}List", b.kind),
            plural: b.plural.into(),
            singular: b.kind.to_lowercase(),
            short_names: b.short.iter().map(ToString::to_string).collect(),
            categories: if all.contains(&b.kind) { vec!["all".into()] } else { Vec::new() },
            namespaced: b.namespaced,
            status: b.status,
            scale: b.scale.then(|| ScalePaths {
                spec_replicas: "/spec/replicas".into(),
                status_replicas: "/status/replicas".into(),
                selector,
            }),
            fields: b.fields.iter().map(ToString::to_string).collect(),
            // Both event APIs show the same objects.
            storage: match b.group {
                "" | "events.k8s.io" => b.plural.into(),
                group => format!("{}.{group}", b.plural),
            },
            flavour: Flavour::Builtin(b),
        }
    }

    /// `pods` or `deployments.apps`, as error messages name it.
    pub(super) fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// `v1` or `apps/v1`.
    pub(super) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    pub(super) fn as_builtin(&self) -> Option<&'static Builtin> {
        match &self.flavour {
            Flavour::Builtin(builtin) => Some(builtin),
            Flavour::Custom(_) => None,
        }
    }

    pub(super) fn custom(&self) -> Option<&Custom> {
        match &self.flavour {
            Flavour::Builtin(_) => None,
            Flavour::Custom(custom) => Some(custom),
        }
    }

    /// Whether this is the built-in kind `kind` (kind names are unique among built-ins, Event apart).
    pub(super) fn is(&self, kind: &str) -> bool {
        self.as_builtin().is_some_and(|b| b.kind == kind)
    }

    /// The subresources it has, by name.
    pub(super) fn subresources(&self) -> Vec<&'static str> {
        let mut all = Vec::new();
        if self.is("Pod") {
            all.extend(["binding", "eviction"]);
        }
        if self.is("Namespace") {
            all.push("finalize");
        }
        if self.scale.is_some() {
            all.push("scale");
        }
        if self.status {
            all.push("status");
        }
        all
    }
}

/// All resources served at the moment.
pub(super) struct Registry(BTreeMap<(String, String, String), Arc<Resource>>);

impl Registry {
    pub(super) fn builtins() -> Self {
        let mut registry = Self(BTreeMap::new());
        for builtin in BUILTINS {
            registry.insert(Resource::builtin(builtin));
        }
        registry
    }

    pub(super) fn insert(&mut self, resource: Resource) {
        let key = (resource.group.clone(), resource.version.clone(), resource.plural.clone());
        self.0.insert(key, Arc::new(resource));
    }

    /// Takes away all versions of a custom resource.
    pub(super) fn remove(&mut self, group: &str, plural: &str) {
        self.0.retain(|(g, _, p), resource| g != group || p != plural || resource.custom().is_none());
    }

    pub(super) fn get(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
        self.0.get(&(group.into(), version.into(), plural.into())).cloned()
    }

    /// Any version of the resource whose objects are in the collection `storage`.
    pub(super) fn by_storage(&self, storage: &str) -> Option<Arc<Resource>> {
        self.all().find(|r| r.storage == storage).cloned()
    }

    /// By group, version and plural name.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.0.values()
    }
}
