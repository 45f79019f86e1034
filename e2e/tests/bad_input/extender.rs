//! Requests to the extender: 415, 405 and 404 for what is no request, 500 with a plain text for what is no JSON of the right
//! shape, and else 200 with the error inside (contract §2).

use anyhow::Result;
use galaxy_api::names::{ARGS_ANNOTATION, RESOURCE};
use http::Method;
use serde_json::{Value, json};

use crate::table::Table;

const JSON: Option<&str> = Some("application/json");

pub(crate) async fn rows(table: &mut Table) -> Result<()> {
    let url = |table: &Table, path: &str| format!("{}{path}", table.c.backend().extender_url());
    for verb in ["/v1/filter", "/v1/priority", "/v1/bind", "/v1/preempt"] {
        for (body, parts) in GARBAGE {
            let reply = table.c.http().send(Method::POST, &url(table, verb), JSON, body).await?;
            table.reply(&format!("{verb} {body}"), &reply, 500, parts);
        }
        for (method, content_type, status) in [
            (Method::GET, None, 405),
            (Method::PUT, JSON, 405),
            (Method::POST, None, 415),
            (Method::POST, Some("text/plain"), 415),
            (Method::POST, Some("application/jsonp"), 415),
        ] {
            let reply = table.c.http().send(method.clone(), &url(table, verb), content_type, "{}").await?;
            let input = format!("{method} {verb} {content_type:?}");
            table.tolerated(&input, reply.status == status, &format!("{reply:?}"));
        }
    }
    for path in ["/", "/v1", "/v1/", "/v1/Filter", "/v1/filter/x", "/v2/filter"] {
        let reply = table.c.http().send(Method::POST, &url(table, path), JSON, "{}").await?;
        table.tolerated(path, reply.status == 404, &format!("{reply:?}"));
    }
    for (verb, body, status, parts) in requests(table).await? {
        let reply = table.c.extender(verb, &body).await?;
        table.reply(&format!("{verb} {body}"), &reply, status, &parts);
    }
    tolerated(table).await
}

/// What is no object, for every verb.
const GARBAGE: [(&str, &[&str]); 7] = [
    ("", &["bad request", "EOF"]),
    ("{", &["bad request", "EOF"]),
    ("not json", &["bad request", "line 1"]),
    ("[]", &["bad request", "sequence", "expected a JSON object"]),
    ("7", &["bad request", "integer `7`"]),
    (r#""text""#, &["bad request", "\"text\""]),
    ("{} x", &["bad request", "trailing"]),
];

type Request = (&'static str, Value, u16, Vec<&'static str>);

async fn requests(table: &Table) -> Result<Vec<Request>> {
    let mut rows: Vec<Request> = Vec::new();
    let candidates = |pod: Value| json!({"Pod": pod, "Nodes": {"items": []}});
    for verb in ["/v1/filter", "/v1/priority", "/v1/preempt"] {
        for (body, parts) in [
            (json!({"Pod": 7}), vec!["Pod", "integer `7`"]),
            (json!({"pod": "asked"}), vec!["Pod", "\"asked\""]),
            (candidates(json!([])), vec!["Pod", "sequence"]),
            (candidates(json!({"metadata": "x"})), vec!["Pod", "metadata", "\"x\""]),
            (candidates(json!({"metadata": {"name": 7}})), vec!["Pod", "metadata", "name", "integer `7`"]),
            (candidates(json!({"metadata": {"annotations": {ARGS_ANNOTATION: 7}}})), vec![ARGS_ANNOTATION, "`7`"]),
            (candidates(json!({"metadata": {"ownerReferences": {}}})), vec!["ownerReferences", "map"]),
            (
                candidates(json!({"metadata": {"ownerReferences": [{"controller": "yes"}]}})),
                vec!["controller", "\"yes\""],
            ),
            (candidates(json!({"spec": {"priority": 1e30}})), vec!["spec", "priority", "1e+30"]),
            (candidates(json!({"spec": {"priority": 99_999_999_999_i64}})), vec!["priority", "99999999999"]),
            (candidates(json!({"spec": {"containers": {}}})), vec!["containers", "map"]),
            (candidates(json!({"metadata": {"name": ["x".repeat(100_000)]}})), vec!["Pod", "metadata", "name"]),
            (candidates(json!({"metadata": {"annotations": "x".repeat(100_000)}})), vec!["annotations", "xxx"]),
        ] {
            rows.push((verb, body, 500, parts));
        }
    }
    for verb in ["/v1/filter", "/v1/priority"] {
        for (body, parts) in [
            (json!({"Pod": {}, "Nodes": 7}), vec!["Nodes", "integer `7`"]),
            (json!({"Pod": {}, "Nodes": {"items": {}}}), vec!["Nodes", "items", "map"]),
            (json!({"Pod": {}, "Nodes": {"items": [7]}}), vec!["Nodes", "items", "[0]", "`7`"]),
            (json!({"Pod": {}, "Nodes": {"items": [{"metadata": {"name": 7}}]}}), vec!["[0]", "name", "`7`"]),
            (json!({"Pod": {}, "Nodes": {"items": [{"status": {"addresses": 7}}]}}), vec!["[0]", "addresses", "`7`"]),
            (json!({"Pod": {}, "NodeNames": "a1"}), vec!["NodeNames", "\"a1\""]),
            (json!({"Pod": {}, "nodenames": ["a1", 7]}), vec!["NodeNames", "[1]", "`7`"]),
        ] {
            rows.push((verb, body, 500, parts));
        }
    }
    for (body, parts) in [
        (json!({"Pod": {}, "NodeNameToVictims": 7}), vec!["NodeNameToVictims", "`7`"]),
        (json!({"Pod": {}, "NodeNameToVictims": {"a1": 7}}), vec!["NodeNameToVictims", "a1", "`7`"]),
        (json!({"Pod": {}, "NodeNameToVictims": {"a1": {"Pods": [{"metadata": 7}]}}}), vec!["a1", "Pods", "`7`"]),
        (json!({"Pod": {}, "NodeNameToMetaVictims": []}), vec!["NodeNameToMetaVictims", "sequence"]),
        (json!({"Pod": {}, "NodeNameToMetaVictims": {"a1": {"Pods": [{"UID": 7}]}}}), vec!["a1", "Pods", "uid", "`7`"]),
        (
            json!({"Pod": {}, "NodeNameToMetaVictims": {"a1": {"NumPDBViolations": "many"}}}),
            vec!["a1", "NumPDBViolations", "\"many\""],
        ),
    ] {
        rows.push(("/v1/preempt", body, 500, parts));
    }

    // Well-formed, but nothing can be done with it: the error is in the answer.
    let resources = json!({"requests": {RESOURCE: "1"}});
    let wants = |metadata: Value| json!({"metadata": metadata, "spec": {"containers": [{"resources": resources}]}});
    for (body, parts) in [
        (Value::Null, vec!["\"error\"", "Pod is missing"]),
        (json!({}), vec!["\"error\"", "Pod is missing"]),
        (json!({"Pod": null, "Nodes": null, "NodeNames": null}), vec!["\"error\"", "Pod is missing"]),
        (json!({"Pod": wants(json!({})), "NodeNames": ["a1"]}), vec!["\"error\"", "metadata.name is missing"]),
        (
            json!({"Pod": wants(json!({"name": "p", "namespace": "default"})), "NodeNames": ["a1"]}),
            vec!["\"error\"", "metadata.uid is missing"],
        ),
        (
            json!({"Pod": wants(json!({"name": "p", "uid": "u-nobody"})), "NodeNames": ["a1"]}),
            vec!["\"error\"", "metadata.namespace is missing"],
        ),
    ] {
        rows.push(("/v1/filter", body, 200, parts));
    }

    let uid = table.c.get_pod("asked").await?.metadata.uid.unwrap_or_default();
    let bind = |member: &str, value: Value| {
        let mut body = json!({"PodName": "asked", "PodNamespace": "default", "PodUID": uid, "Node": "a1"});
        body[member] = value;
        body
    };
    for (body, status, parts) in [
        (Value::Null, 200, vec!["PodName is missing"]),
        (json!({}), 200, vec!["PodName is missing"]),
        (bind("PodName", Value::Null), 200, vec!["PodName is missing"]),
        (bind("PodNamespace", json!("")), 200, vec!["PodNamespace is missing"]),
        (bind("PodUID", Value::Null), 200, vec!["PodUID is missing"]),
        (bind("Node", json!("")), 200, vec!["Node is missing"]),
        (bind("PodName", json!(7)), 500, vec!["PodName", "integer `7`"]),
        (bind("podnamespace", json!([])), 500, vec!["PodNamespace", "sequence"]),
        (bind("PodUID", json!(true)), 500, vec!["PodUID", "boolean `true`"]),
        (bind("Node", json!({})), 500, vec!["Node", "map"]),
        (bind("PodUID", json!("u-nobody")), 200, vec!["default/asked", "u-nobody", "does not exist"]),
        (
            json!({"PodName": "nobody", "PodNamespace": "default", "PodUID": "u", "Node": "a1"}),
            200,
            vec!["default/nobody"],
        ),
        (
            json!({"PodName": "../asked", "PodNamespace": "default", "PodUID": "u", "Node": "a1"}),
            200,
            vec!["PodName", "../asked"],
        ),
        (
            json!({"PodName": "asked", "PodNamespace": "a/b?c", "PodUID": "u", "Node": "a1"}),
            200,
            vec!["PodNamespace", "a/b?c"],
        ),
        (
            json!({"PodName": "x".repeat(50_000), "PodNamespace": "default", "PodUID": "u", "Node": "a1"}),
            200,
            vec!["PodName", "xxx"],
        ),
        (bind("PodUID", json!("u".repeat(50_000))), 200, vec!["PodUID", "uuu"]),
        (bind("Node", json!("no/such/node")), 200, vec!["Node", "no/such/node"]),
        (bind("Node", json!("no-such-node")), 200, vec!["no-such-node"]),
        (bind("Node", json!("stray")), 200, vec!["stray"]),
    ] {
        rows.push(("/v1/bind", body, status, parts));
    }
    Ok(rows)
}

/// Null is as good as nothing, and a node that is no node is refused like any other.
async fn tolerated(table: &mut Table) -> Result<()> {
    for body in [Value::Null, json!({}), json!({"Pod": null, "NodeNameToVictims": null})] {
        let priority = table.c.extender("/v1/priority", &body).await?;
        table.tolerated("/v1/priority", priority.status == 200 && priority.json() == json!([]), &priority.body);
        let preempt = table.c.extender("/v1/preempt", &body).await?;
        let empty = json!({"NodeNameToMetaVictims": {}});
        table.tolerated("/v1/preempt", preempt.status == 200 && preempt.json() == empty, &preempt.body);
    }
    let pod = serde_json::to_value(table.c.get_pod("asked").await?)?;
    let node = |addresses: Value| json!({"metadata": {"name": "odd"}, "status": {"addresses": addresses}});
    for (addresses, word) in [
        (Value::Null, "FloatingIPPlugin:UnknowNode"),
        (json!([]), "FloatingIPPlugin:UnknowNode"),
        (json!([null]), "FloatingIPPlugin:UnknowNode"),
        (json!([{"type": "InternalIP", "address": "not an address"}]), "FloatingIPPlugin:UnknowNode"),
        (json!([{"type": "InternalIP", "address": null}]), "FloatingIPPlugin:UnknowNode"),
        (json!([{"type": "ExternalIP", "address": "10.0.1.11"}]), "FloatingIPPlugin:UnknowNode"),
        (json!([{"type": "InternalIP", "address": "255.255.255.255"}]), "FloatingIPPlugin:NoFIPConfigNode"),
        (json!([{"type": "InternalIP", "address": "fd00::1"}]), "FloatingIPPlugin:NoFIPConfigNode"),
    ] {
        let body = json!({"Pod": pod, "Nodes": {"items": [node(addresses.clone())]}});
        let reply = table.c.extender("/v1/filter", &body).await?;
        table.reply(&format!("node with {addresses}"), &reply, 200, &["\"failedNodes\"", "\"odd\"", word]);
    }
    let reply = table.c.extender("/v1/filter", &json!({"Pod": pod, "NodeNames": ["", "../a1", "A1"]})).await?;
    table.reply("names of no nodes", &reply, 200, &["\"../a1\"", "\"A1\"", "FloatingIPPlugin:UnknowNode"]);
    Ok(())
}
