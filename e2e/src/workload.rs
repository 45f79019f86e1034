//! The workloads that scenarios make.

use std::collections::BTreeMap;

use galaxy_api::names::{ARGS_ANNOTATION, POOL_ANNOTATION, RELEASE_POLICY_ANNOTATION, RESOURCE};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::{Value, json};

/// The image of a version that starts and crashes, again and again.
pub const CRASHING: &str = "example.test/crash:1";
/// The pod annotation by which nodes that run nothing are told how a pod fares.
const BEHAVIOUR: &str = "sandbox.galaxy/behaviour";

/// What makes the pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// apps/v1 Deployment.
    Deployment,
    /// apps/v1 ReplicaSet without a Deployment.
    ReplicaSet,
    /// apps/v1 StatefulSet.
    StatefulSet,
    /// apps.tkestack.io/v1 TApp, a custom workload with a scale subresource.
    TApp,
    /// A pod without an owner.
    Pod,
}

impl Kind {
    /// Where the API serves it.
    pub fn resource(self) -> ApiResource {
        let (group, version, kind, plural) = match self {
            Kind::Deployment => ("apps", "v1", "Deployment", "deployments"),
            Kind::ReplicaSet => ("apps", "v1", "ReplicaSet", "replicasets"),
            Kind::StatefulSet => ("apps", "v1", "StatefulSet", "statefulsets"),
            Kind::TApp => ("apps.tkestack.io", "v1", "TApp", "tapps"),
            Kind::Pod => ("", "v1", "Pod", "pods"),
        };
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
    }
}

/// A workload as a user writes it. Its pods want one floating IP unless told otherwise.
#[derive(Clone, Debug)]
pub struct Workload {
    /// What makes the pods.
    pub kind: Kind,
    /// Namespace.
    pub namespace: String,
    /// Name; also the label `app` of its pods.
    pub name: String,
    replicas: Option<u32>,
    annotations: BTreeMap<String, String>,
    pod_annotations: BTreeMap<String, String>,
    strategy: Option<Value>,
    spec: Value,
    pod_spec: Value,
    image: String,
    resources: Value,
    owners: Vec<Value>,
}

impl Workload {
    fn new(kind: Kind, name: &str) -> Self {
        Self {
            kind,
            namespace: "default".into(),
            name: name.into(),
            replicas: Some(1),
            annotations: BTreeMap::new(),
            pod_annotations: BTreeMap::new(),
            strategy: None,
            spec: json!({}),
            pod_spec: json!({}),
            image: "nginx:1.7.9".into(),
            resources: json!({"limits": {RESOURCE: "1"}, "requests": {RESOURCE: "1"}}),
            owners: Vec::new(),
        }
    }

    /// A Deployment.
    pub fn deployment(name: &str) -> Self {
        Self::new(Kind::Deployment, name)
    }

    /// A ReplicaSet of its own.
    pub fn replica_set(name: &str) -> Self {
        Self::new(Kind::ReplicaSet, name)
    }

    /// A StatefulSet that starts its pods side by side.
    pub fn stateful_set(name: &str) -> Self {
        let mut set = Self::new(Kind::StatefulSet, name);
        set.spec = json!({"podManagementPolicy": "Parallel", "serviceName": name});
        set
    }

    /// A TApp.
    pub fn tapp(name: &str) -> Self {
        Self::new(Kind::TApp, name)
    }

    /// A pod without an owner.
    pub fn pod(name: &str) -> Self {
        Self::new(Kind::Pod, name)
    }

    /// In another namespace.
    pub fn namespace(mut self, namespace: &str) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// How many pods.
    pub fn replicas(mut self, replicas: u32) -> Self {
        self.replicas = Some(replicas);
        self
    }

    /// Without the replicas field.
    pub fn no_replicas(mut self) -> Self {
        self.replicas = None;
        self
    }

    /// With the release policy annotation.
    pub fn policy(self, policy: &str) -> Self {
        self.annotate(RELEASE_POLICY_ANNOTATION, policy)
    }

    /// Release policy immutable.
    pub fn immutable(self) -> Self {
        self.policy("immutable")
    }

    /// Release policy never.
    pub fn never(self) -> Self {
        self.policy("never")
    }

    /// With the pool annotation.
    pub fn pool(self, pool: &str) -> Self {
        self.annotate(POOL_ANNOTATION, pool)
    }

    /// With `request_ip_range`.
    pub fn ranges(self, ranges: &Value) -> Self {
        let args = json!({ "request_ip_range": ranges });
        self.annotate(ARGS_ANNOTATION, &args.to_string())
    }

    /// With an annotation of its pods.
    pub fn annotate(mut self, name: &str, value: &str) -> Self {
        self.pod_annotations.insert(name.into(), value.into());
        self
    }

    /// With an annotation of the workload itself.
    pub fn annotate_workload(mut self, name: &str, value: &str) -> Self {
        self.annotations.insert(name.into(), value.into());
        self
    }

    /// With an update strategy.
    pub fn strategy(mut self, strategy: &Value) -> Self {
        self.strategy = Some(strategy.clone());
        self
    }

    /// Its pods only on this node.
    pub fn on_node(mut self, node: &str) -> Self {
        self.pod_spec["nodeSelector"] = json!({ "kubernetes.io/hostname": node });
        self
    }

    /// With a member of the pod spec.
    pub fn pod_spec(mut self, member: &str, value: &Value) -> Self {
        self.pod_spec[member] = value.clone();
        self
    }

    /// With a member of the spec.
    pub fn spec(mut self, member: &str, value: &Value) -> Self {
        self.spec[member] = value.clone();
        self
    }

    /// With this image.
    pub fn image(mut self, image: &str) -> Self {
        self.image = image.into();
        self
    }

    /// Its pods do not ask for a floating IP.
    pub fn plain(mut self) -> Self {
        self.resources = json!({});
        self
    }

    /// Its pods ask for these resources.
    pub fn resources(mut self, resources: &Value) -> Self {
        self.resources = resources.clone();
        self
    }

    /// The pod names this object as an owner, as its controller or not.
    pub fn owner(mut self, object: &DynamicObject, controller: bool) -> Self {
        let types = object.types.clone().unwrap_or_default();
        self.owners.push(json!({
            "apiVersion": types.api_version, "kind": types.kind, "name": object.metadata.name, "uid": object.metadata.uid,
            "controller": controller,
        }));
        self
    }

    /// How many pods it asks for; the API's default if it does not say.
    pub fn wanted(&self) -> usize {
        self.replicas.unwrap_or(1) as usize
    }

    /// Whether its pods name a pool.
    pub fn has_pool(&self) -> bool {
        self.pod_annotations.contains_key(POOL_ANNOTATION)
    }

    /// Whether its pods name ranges.
    pub fn has_ranges(&self) -> bool {
        self.pod_annotations.contains_key(ARGS_ANNOTATION)
    }

    /// Sets the replicas that [`Workload::wanted`] tells.
    pub(crate) fn set_replicas(&mut self, replicas: u32) {
        self.replicas = Some(replicas);
    }

    /// The image that its pods run.
    pub fn current_image(&self) -> &str {
        &self.image
    }

    pub(crate) fn set_image(&mut self, image: &str) {
        self.image = image.into();
    }

    fn pod_template(&self) -> Value {
        let mut spec = json!({
            "containers": [{"name": "main", "image": self.image, "resources": self.resources}],
            "terminationGracePeriodSeconds": 2,
            // Pods leave a node that is down soon, not after five minutes.
            "tolerations": tolerate_dead_nodes(2),
        });
        merge(&mut spec, &self.pod_spec);
        let mut annotations = json!(self.pod_annotations);
        // Null takes it away again when a good version follows.
        annotations[BEHAVIOUR] = if self.image == CRASHING { json!("crash") } else { Value::Null };
        json!({"metadata": {"labels": {"app": self.name}, "annotations": annotations}, "spec": spec})
    }

    /// The object.
    pub fn manifest(&self) -> DynamicObject {
        let mut object = self.text();
        drop_nulls(&mut object);
        serde_json::from_value(object).expect("a manifest is an object")
    }

    /// The object as a merge patch; what the object must not have any more is null.
    pub(crate) fn text(&self) -> Value {
        let resource = self.kind.resource();
        let template = self.pod_template();
        let mut object = json!({"apiVersion": resource.api_version, "kind": resource.kind});
        if self.kind == Kind::Pod {
            merge(&mut object, &template);
            object["metadata"]["ownerReferences"] = self.owners.clone().into();
        } else {
            object["spec"] = json!({"selector": {"matchLabels": {"app": self.name}}, "template": template});
            if let Some(replicas) = self.replicas {
                object["spec"]["replicas"] = replicas.into();
            }
            if let Some(strategy) = &self.strategy {
                object["spec"]["strategy"] = strategy.clone();
            }
            merge(&mut object["spec"], &self.spec);
        }
        object["metadata"]["name"] = self.name.as_str().into();
        object["metadata"]["namespace"] = self.namespace.as_str().into();
        for (name, value) in &self.annotations {
            object["metadata"]["annotations"][name] = value.as_str().into();
        }
        object
    }
}

fn drop_nulls(value: &mut Value) {
    if let Value::Object(members) = value {
        members.retain(|_, member| !member.is_null());
        members.values_mut().for_each(drop_nulls);
    }
}

/// Tolerations by which a pod leaves a node that is down after so many seconds.
pub fn tolerate_dead_nodes(seconds: u32) -> Value {
    let taints = ["not-ready", "unreachable"].map(|taint| {
        let key = format!("node.kubernetes.io/{taint}");
        json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds})
    });
    Value::Array(taints.into())
}

/// Merges objects member by member; anything else is replaced.
fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

/// The definition of TApp: a served version that is not v1alpha1, with a scale subresource.
pub fn tapp_crd() -> Value {
    custom_crd("apps.tkestack.io", "TApp", "tapps", true)
}

/// A definition of a custom workload `group/v1`, with or without a scale subresource.
pub fn custom_crd(group: &str, kind: &str, plural: &str, scale: bool) -> Value {
    let mut subresources = json!({"status": {}});
    if scale {
        subresources["scale"] = json!({
            "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.scaleLabelSelector",
        });
    }
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase(), "listKind": format!("{kind}List")},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": subresources,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": open, "status": open}}},
            }],
        },
    })
}
