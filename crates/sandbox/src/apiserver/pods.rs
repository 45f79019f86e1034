//! What is special about pods: admission, binding, eviction.

use serde_json::{Value, json};

use super::{
    Status,
    api::{Op, Reply},
    delete::DeleteOptions,
    disruption,
    object::{self, fill, items, map_mut, meta_mut, text},
    resource::Resource,
    status::Cause,
    store::Store,
};

/// Classes that every cluster has.
const SYSTEM_CLASSES: &[(&str, i64)] =
    &[("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

/// The priority and toleration admission plugins.
pub(super) fn admit(store: &Store, r: &Resource, pod: &mut Value) -> Result<(), Status> {
    let classes = store.list("priorityclasses.scheduling.k8s.io", None);
    let class = text(pod, "/spec/priorityClassName").to_string();
    let (priority, preemption) = if class.is_empty() {
        match classes.iter().find(|c| c["globalDefault"] == true) {
            Some(default) => {
                map_mut(pod, "spec").insert("priorityClassName".into(), default["metadata"]["name"].clone());
                (object::int(default, "/value").unwrap_or(0), default["preemptionPolicy"].clone())
            }
            None => (0, Value::Null),
        }
    } else if let Some(found) = classes.iter().find(|c| object::name(c) == class) {
        (object::int(found, "/value").unwrap_or(0), found["preemptionPolicy"].clone())
    } else if let Some((_, value)) = SYSTEM_CLASSES.iter().find(|(name, _)| *name == class) {
        (*value, Value::Null)
    } else {
        return Err(Status::forbidden(r, object::name(pod), format!("no PriorityClass with name {class} was found")));
    };
    if let Some(given) = object::int(pod, "/spec/priority")
        && given != priority
    {
        return Err(Status::forbidden(
            r,
            object::name(pod),
            format!(
                "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {priority} from the given PriorityClass name"
            ),
        ));
    }
    let spec = map_mut(pod, "spec");
    spec.insert("priority".into(), priority.into());
    let preemption = if preemption.is_null() { "PreemptLowerPriority".into() } else { preemption };
    fill(spec, "preemptionPolicy", preemption);
    let tolerations = spec.entry("tolerations").or_insert(json!([]));
    if let Some(list) = tolerations.as_array_mut() {
        for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
            let tolerated = list.iter().any(|t| {
                let (k, effect) = (text(t, "/key"), text(t, "/effect"));
                (k == key || (k.is_empty() && t["operator"] == "Exists"))
                    && (effect.is_empty() || effect == "NoExecute")
            });
            if !tolerated {
                list.push(json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}));
            }
        }
    }
    Ok(())
}

/// The quality of service class that the resources of the containers make.
pub(super) fn qos_class(pod: &Value) -> &'static str {
    let (mut any, mut guaranteed) = (false, true);
    for container in items(pod, "/spec/containers").iter().chain(items(pod, "/spec/initContainers")) {
        for resource in ["cpu", "memory"] {
            let limit = &container["resources"]["limits"][resource];
            let request = &container["resources"]["requests"][resource];
            any |= !limit.is_null() || !request.is_null();
            guaranteed &= !limit.is_null() && (request.is_null() || request == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

impl Op<'_> {
    /// `pods/NAME/binding` (and `bindings`, which names the pod in the body): assigns the pod to a node.
    pub(super) fn bind(&mut self) -> Result<Reply, Status> {
        let body = self.body()?;
        let r = self.resource.clone();
        let (key, stored) = self.existing()?;
        let pod = key.name.clone();
        if !matches!(object::name(&body), "" | "*") && object::name(&body) != pod {
            return Err(Status::bad_request(format!(
                "the name of the binding ({}) does not match the name on the URL ({pod})",
                object::name(&body)
            )));
        }
        let (kind, node) = (text(&body, "/target/kind"), text(&body, "/target/name"));
        let mut causes = Vec::new();
        if !matches!(kind, "" | "Node") {
            causes.push(Cause::unsupported("target.kind", &kind.into(), [&json!("Node"), &json!("<empty>")]));
        }
        if node.is_empty() {
            causes.push(Cause::required("target.name", ""));
        }
        if !causes.is_empty() {
            return Err(Status::invalid(&r, &pod, causes));
        }
        let uid = object::uid(&body);
        if !uid.is_empty() && uid != object::uid(&stored) {
            return Err(Status::conflict(
                &r,
                &pod,
                format!(
                    "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                    object::uid(&stored)
                ),
            ));
        }
        let version = text(&body, "/metadata/resourceVersion");
        let current = text(&stored, "/metadata/resourceVersion");
        if !version.is_empty() && version != current {
            return Err(Status::conflict(
                &r,
                &pod,
                format!(
                    "Precondition failed: ResourceVersion in precondition: {version}, ResourceVersion in object meta: {current}"
                ),
            ));
        }
        let refuse = |why: String| {
            let mut status = Status::conflict(&r, &pod, &why);
            status.message = format!("Operation cannot be fulfilled on pods/binding {pod:?}: {why}");
            status.details.insert("kind".into(), "pods/binding".into());
            status
        };
        if object::is_terminating(&stored) {
            return Err(refuse(format!("pod {pod} is being deleted, cannot be assigned to a host")));
        }
        let assigned = text(&stored, "/spec/nodeName");
        if !assigned.is_empty() {
            return Err(refuse(format!("pod {pod} is already assigned to node {assigned:?}")));
        }
        if !items(&stored, "/spec/schedulingGates").is_empty() {
            return Err(refuse(format!("pod {pod} has non-empty .spec.schedulingGates")));
        }
        let mut value = (*stored).clone();
        map_mut(&mut value, "spec").insert("nodeName".into(), node.into());
        for member in ["annotations", "labels"] {
            let Some(given) = body["metadata"][member].as_object() else {
                continue;
            };
            if given.is_empty() {
                continue;
            }
            let slot = meta_mut(&mut value).entry(member).or_insert(json!({}));
            if let Some(map) = slot.as_object_mut() {
                for (name, text) in given.iter().filter(|(_, v)| v.is_string()) {
                    // Annotations overwrite, labels do not.
                    if member == "annotations" || !map.contains_key(name) {
                        map.insert(name.clone(), text.clone());
                    }
                }
            }
        }
        object::set_condition(&mut value, "PodScheduled", "True", "", "", self.api.clock.now());
        self.commit(&key, value)?;
        let done = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
        Ok(Reply::created(done))
    }

    /// `pods/NAME/eviction`: deletes the pod if the disruption budgets allow it.
    pub(super) fn evict(&mut self) -> Result<Reply, Status> {
        let body = self.body()?;
        let (key, pod) = self.existing()?;
        let options = DeleteOptions::read(Some(&body["deleteOptions"]), &self.request.params)?;
        self.dry_run |= options.dry_run;
        let over = matches!(text(&pod, "/status/phase"), "Succeeded" | "Failed" | "Pending");
        if !over && !object::is_terminating(&pod) {
            disruption::allow(self, &pod)?;
        }
        self.delete_key(&key, &options)?;
        let done = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
        Ok(Reply::created(done))
    }
}
