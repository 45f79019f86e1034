//! The columns that kubectl shows for built-in kinds.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    object::{condition, int, is_terminating, items, text},
    selector::LabelSelector,
    table::{Column, age, human, since},
};

/// `Name|Ready|…`; a leading `+` marks what only `-o wide` shows, a leading `#` numbers.
fn layout(kind: &str) -> &'static str {
    match kind {
        "Pod" => "Name|Ready|Status|Restarts|Age|+IP|+Node|+Nominated Node|+Readiness Gates",
        "Node" => {
            "Name|Status|Roles|Age|Version|+Internal-IP|+External-IP|+OS-Image|+Kernel-Version|+Container-Runtime"
        }
        "Namespace" => "Name|Status|Age",
        "ConfigMap" => "Name|#Data|Age",
        "Secret" => "Name|Type|#Data|Age",
        "Service" => "Name|Type|Cluster-IP|External-IP|Port(s)|Age|+Selector",
        "ServiceAccount" => "Name|#Secrets|Age",
        "Event" => "Last Seen|Type|Reason|Object|+Subobject|+Source|Message|+First Seen|+#Count|+Name",
        "Deployment" => "Name|Ready|#Up-to-date|#Available|Age|+Containers|+Images|+Selector",
        "ReplicaSet" => "Name|#Desired|#Current|#Ready|Age|+Containers|+Images|+Selector",
        "StatefulSet" => "Name|Ready|Age|+Containers|+Images",
        "DaemonSet" => {
            "Name|#Desired|#Current|#Ready|#Up-to-date|#Available|Node Selector|Age|+Containers|+Images|+Selector"
        }
        "ControllerRevision" => "Name|Controller|#Revision|Age",
        "Job" => "Name|Status|Completions|Duration|Age|+Containers|+Images|+Selector",
        "Lease" => "Name|Holder|Age",
        "PodDisruptionBudget" => "Name|Min Available|Max Unavailable|#Allowed Disruptions|Age",
        "PriorityClass" => "Name|#Value|Global-Default|Age|PreemptionPolicy",
        "CustomResourceDefinition" => "Name|Created At",
        _ => "Name|Age",
    }
}

pub(super) fn headers(kind: &str) -> Vec<Column> {
    layout(kind)
        .split('|')
        .map(|spec| {
            let (wide, spec) = match spec.strip_prefix('+') {
                Some(rest) => (1, rest),
                None => (0, spec),
            };
            match spec.strip_prefix('#') {
                Some(name) => Column::new(name, "integer", wide),
                None => Column::new(spec, "string", wide),
            }
        })
        .collect()
}

/// One cell for each of [`headers`].
pub(super) fn cells(kind: &str, o: &Value, now: Timestamp) -> Vec<Value> {
    let name = || o["metadata"]["name"].clone();
    let age = || age(o, now);
    let number = |pointer: &str| Value::from(int(o, pointer).unwrap_or(0));
    let or = |pointer: &str, default: &str| match o.pointer(pointer) {
        None | Some(Value::Null) => Value::from(default),
        Some(Value::String(s)) if s.is_empty() => Value::from(default),
        Some(found) => found.clone(),
    };
    let count = |pointer: &str| {
        let found = o.pointer(pointer);
        let n = match found {
            Some(Value::Object(map)) => map.len(),
            Some(Value::Array(list)) => list.len(),
            _ => 0,
        };
        Value::from(n)
    };
    let ready = |have: &str, want: &str| {
        let (have, want) = (int(o, have).unwrap_or(0), int(o, want).unwrap_or(0));
        Value::from(format!("{have}/{want}"))
    };
    let selector = || selector_text(&o["spec"]["selector"]);
    let wide = |member: &str| join(items(o, "/spec/template/spec/containers"), member);
    match kind {
        "Pod" => pod(o, now),
        "Node" => node(o, now),
        "Namespace" => vec![name(), or("/status/phase", ""), age()],
        "ConfigMap" => vec![name(), count("/data"), age()],
        "Secret" => vec![name(), or("/type", ""), count("/data"), age()],
        "Service" => vec![
            name(),
            or("/spec/type", "ClusterIP"),
            or("/spec/clusterIP", "<none>"),
            "<none>".into(),
            ports(o),
            age(),
            selector_text(&json!({"matchLabels": o["spec"]["selector"]})),
        ],
        "ServiceAccount" => vec![name(), count("/secrets"), age()],
        "Event" => event(o, now),
        "Deployment" => vec![
            name(),
            ready("/status/readyReplicas", "/spec/replicas"),
            number("/status/updatedReplicas"),
            number("/status/availableReplicas"),
            age(),
            wide("name"),
            wide("image"),
            selector(),
        ],
        "ReplicaSet" => vec![
            name(),
            number("/spec/replicas"),
            number("/status/replicas"),
            number("/status/readyReplicas"),
            age(),
            wide("name"),
            wide("image"),
            selector(),
        ],
        "StatefulSet" => {
            vec![name(), ready("/status/readyReplicas", "/spec/replicas"), age(), wide("name"), wide("image")]
        }
        "DaemonSet" => vec![
            name(),
            number("/status/desiredNumberScheduled"),
            number("/status/currentNumberScheduled"),
            number("/status/numberReady"),
            number("/status/updatedNumberScheduled"),
            number("/status/numberAvailable"),
            selector_text(&json!({"matchLabels": o["spec"]["template"]["spec"]["nodeSelector"]})),
            age(),
            wide("name"),
            wide("image"),
            selector(),
        ],
        "ControllerRevision" => {
            let owner = items(o, "/metadata/ownerReferences").iter().find(|r| r["controller"] == true);
            let controller = owner.map_or_else(
                || "<none>".to_string(),
                |r| {
                    let group = text(r, "/apiVersion").split_once('/').map_or("", |(g, _)| g);
                    format!("{}.{group}/{}", text(r, "/kind").to_lowercase(), text(r, "/name"))
                },
            );
            vec![name(), controller.into(), number("/revision"), age()]
        }
        "Job" => job(o, now),
        "Lease" => vec![name(), or("/spec/holderIdentity", ""), age()],
        "PodDisruptionBudget" => vec![
            name(),
            or("/spec/minAvailable", "N/A"),
            or("/spec/maxUnavailable", "N/A"),
            number("/status/disruptionsAllowed"),
            age(),
        ],
        "PriorityClass" => vec![
            name(),
            number("/value"),
            (o["globalDefault"] == true).into(),
            age(),
            or("/preemptionPolicy", "PreemptLowerPriority"),
        ],
        "CustomResourceDefinition" => vec![name(), or("/metadata/creationTimestamp", "")],
        _ => vec![name(), age()],
    }
}

fn selector_text(selector: &Value) -> Value {
    match LabelSelector::from_object(selector).to_string() {
        text if text.is_empty() => "<none>".into(),
        text => text.into(),
    }
}

fn join(list: &[Value], member: &str) -> Value {
    let texts: Vec<&str> = list.iter().filter_map(|item| item[member].as_str()).collect();
    texts.join(",").into()
}

fn ports(service: &Value) -> Value {
    let all: Vec<String> = items(service, "/spec/ports")
        .iter()
        .map(|p| {
            let node = int(p, "/nodePort").map(|n| format!(":{n}")).unwrap_or_default();
            format!("{}{node}/{}", p["port"], text(p, "/protocol"))
        })
        .collect();
    if all.is_empty() { "<none>".into() } else { all.join(",").into() }
}

fn pod(o: &Value, now: Timestamp) -> Vec<Value> {
    let statuses = items(o, "/status/containerStatuses");
    let total = items(o, "/spec/containers").len();
    let ready = statuses.iter().filter(|s| s["ready"] == true).count();
    let restarts: i64 = statuses.iter().filter_map(|s| int(s, "/restartCount")).sum();
    let last_restart = statuses.iter().map(|s| text(s, "/lastState/terminated/finishedAt")).max().unwrap_or_default();
    let restarts = match since(last_restart, now).as_str() {
        Some(ago) if restarts > 0 && !last_restart.is_empty() => format!("{restarts} ({ago} ago)"),
        _ => restarts.to_string(),
    };
    let or = |pointer: &str| match text(o, pointer) {
        "" => Value::from("<none>"),
        found => found.into(),
    };
    vec![
        o["metadata"]["name"].clone(),
        format!("{ready}/{total}").into(),
        pod_status(o, statuses).into(),
        restarts.into(),
        age(o, now),
        or("/status/podIP"),
        or("/spec/nodeName"),
        or("/status/nominatedNodeName"),
        "<none>".into(),
    ]
}

/// The word in the STATUS column.
fn pod_status(o: &Value, statuses: &[Value]) -> String {
    let mut status = match text(o, "/status/reason") {
        "" => text(o, "/status/phase").to_string(),
        reason => reason.to_string(),
    };
    let gated = condition(o, "PodScheduled").is_some_and(|c| c["reason"] == "SchedulingGated");
    if gated {
        status = "SchedulingGated".into();
    }
    let mut running = false;
    for container in statuses.iter().rev() {
        let waiting = text(container, "/state/waiting/reason");
        let ended = text(container, "/state/terminated/reason");
        if !waiting.is_empty() {
            status = waiting.into();
        } else if !ended.is_empty() {
            status = ended.into();
        } else if container["state"]["terminated"].is_object() {
            status = format!("ExitCode:{}", container["state"]["terminated"]["exitCode"]);
        } else if container["ready"] == true && container["state"]["running"].is_object() {
            running = true;
        }
    }
    if status == "Completed" && running {
        status = "Running".into();
    }
    if is_terminating(o) {
        status = if text(o, "/status/reason") == "NodeLost" { "Unknown".into() } else { "Terminating".into() };
    }
    status
}

fn node(o: &Value, now: Timestamp) -> Vec<Value> {
    let mut status = match condition(o, "Ready").map(|c| text(c, "/status")) {
        Some("True") => "Ready".to_string(),
        Some(_) => "NotReady".to_string(),
        None => "Unknown".to_string(),
    };
    if o["spec"]["unschedulable"] == true {
        status.push_str(",SchedulingDisabled");
    }
    let labels = o["metadata"]["labels"].as_object().into_iter().flatten();
    let roles: Vec<&str> =
        labels.filter_map(|(k, _)| k.strip_prefix("node-role.kubernetes.io/")).filter(|r| !r.is_empty()).collect();
    let roles = if roles.is_empty() { "<none>".to_string() } else { roles.join(",") };
    let address = |kind: &str| {
        let found = items(o, "/status/addresses").iter().find(|a| a["type"] == kind);
        Value::from(found.map_or("<none>", |a| text(a, "/address")))
    };
    let info = |member: &str| match text(o, &format!("/status/nodeInfo/{member}")) {
        "" => Value::from("<unknown>"),
        found => found.into(),
    };
    vec![
        o["metadata"]["name"].clone(),
        status.into(),
        roles.into(),
        age(o, now),
        info("kubeletVersion"),
        address("InternalIP"),
        address("ExternalIP"),
        info("osImage"),
        info("kernelVersion"),
        info("containerRuntimeVersion"),
    ]
}

fn event(o: &Value, now: Timestamp) -> Vec<Value> {
    // Both faces of an event are shown alike.
    let either = |a: &str, b: &str| match o.pointer(a) {
        None | Some(Value::Null) => o.pointer(b).cloned().unwrap_or(Value::Null),
        Some(found) => found.clone(),
    };
    let about = either("/involvedObject", "/regarding");
    let string = |value: Value| value.as_str().unwrap_or_default().to_string();
    let time = |first: &str, second: &str| {
        let found = string(either(first, second));
        let found = if found.is_empty() { text(o, "/eventTime").to_string() } else { found };
        since(&found, now)
    };
    let series = text(o, "/series/lastObservedTime");
    let last = if series.is_empty() { time("/lastTimestamp", "/deprecatedLastTimestamp") } else { since(series, now) };
    let source = match text(o, "/source/component") {
        "" => string(either("/reportingComponent", "/reportingController")),
        component => component.to_string(),
    };
    let count = int(o, "/series/count").or_else(|| either("/count", "/deprecatedCount").as_i64()).unwrap_or(1);
    vec![
        last,
        o["type"].clone(),
        o["reason"].clone(),
        format!("{}/{}", text(&about, "/kind").to_lowercase(), text(&about, "/name")).into(),
        text(&about, "/fieldPath").into(),
        source.into(),
        string(either("/message", "/note")).trim().into(),
        time("/firstTimestamp", "/deprecatedFirstTimestamp"),
        count.into(),
        o["metadata"]["name"].clone(),
    ]
}

fn job(o: &Value, now: Timestamp) -> Vec<Value> {
    let is = |kind: &str| condition(o, kind).is_some_and(|c| c["status"] == "True");
    let status = if is("Complete") {
        "Complete"
    } else if is("Failed") {
        "Failed"
    } else if o["spec"]["suspend"] == true {
        "Suspended"
    } else {
        "Running"
    };
    let done = int(o, "/status/succeeded").unwrap_or(0);
    let wanted = int(o, "/spec/completions").unwrap_or(1);
    let time = |pointer: &str| text(o, pointer).parse::<Timestamp>().ok();
    let duration = time("/status/startTime").map_or_else(String::new, |start| {
        let end = time("/status/completionTime").unwrap_or(now);
        human(end.as_second() - start.as_second())
    });
    let containers = items(o, "/spec/template/spec/containers");
    vec![
        o["metadata"]["name"].clone(),
        status.into(),
        format!("{done}/{wanted}").into(),
        duration.into(),
        age(o, now),
        join(containers, "name"),
        join(containers, "image"),
        selector_text(&o["spec"]["selector"]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_as_many_cells_as_headers() {
        for builtin in super::super::resource::BUILTINS {
            let cells = cells(builtin.kind, &json!({}), Timestamp::UNIX_EPOCH);
            assert_eq!(cells.len(), headers(builtin.kind).len(), "{}", builtin.kind);
        }
    }
}
