//! The script: what Galaxy, kube-rs and kubectl do with an API server, and what goes wrong with it.

use std::time::Duration;

use anyhow::{Result, ensure};
use kube::Client;
use serde_json::{Value, json};

use crate::transcript::{APPLY, JSON, JSON_PATCH, MERGE, STRATEGIC, Transcript};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const WIDGETS: &str = "/apis/example.test/v1/namespaces/default/widgets";

/// Plays the script. What it makes lies in namespace default, under the label `play=honesty`.
pub(crate) async fn play(client: Client) -> Result<Vec<String>> {
    let mut t = Transcript::new(client);
    objects(&mut t).await?;
    lists(&mut t).await?;
    patches(&mut t).await?;
    deletions(&mut t).await?;
    deployments(&mut t).await?;
    pods(&mut t).await?;
    definitions(&mut t).await?;
    watches(&mut t).await?;
    nothing_there(&mut t).await?;
    Ok(t.lines())
}

fn map(name: &str, data: Value) -> Value {
    let mut map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"play": "honesty", "name": name}}});
    // An empty one would come back as none from a server written in Go.
    if data != json!({}) {
        map["data"] = data;
    }
    map
}

async fn objects(t: &mut Transcript) -> Result<()> {
    let made = t.post("create", MAPS, map("a", json!({"x": "1"}))).await?;
    t.post("create, taken", MAPS, map("a", json!({}))).await?;
    t.post("create, dry run", &format!("{MAPS}?dryRun=All"), map("dry", json!({}))).await?;
    t.get("get, after a dry run", &format!("{MAPS}/dry")).await?;
    t.post("create, bad dry run", &format!("{MAPS}?dryRun=Some"), map("dry", json!({}))).await?;
    t.post("create, no name", MAPS, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}})).await?;
    t.post("create, bad name", MAPS, map("A_B", json!({}))).await?;
    t.post(
        "create, bad label",
        MAPS,
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "l", "labels": {"a b": "c d"}}}),
    )
    .await?;
    t.post("create, other kind", MAPS, json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}))
        .await?;
    t.post(
        "create, other namespace",
        MAPS,
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "n", "namespace": "kube-system"}}),
    )
    .await?;
    t.post("create, no namespace", "/api/v1/namespaces/nowhere/configmaps", map("n", json!({}))).await?;
    t.post(
        "create, with a version",
        MAPS,
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "v", "resourceVersion": "1"}}),
    )
    .await?;
    t.post("create, generated name", MAPS, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "gen-", "labels": {"made": "yes"}}})).await?;
    t.post("create, not an object", MAPS, json!([1])).await?;
    t.post("create, member of the wrong type", MAPS, map("w", json!({"x": 1}))).await?;
    t.get("get", &format!("{MAPS}/a")).await?;
    t.get("get, absent", &format!("{MAPS}/absent")).await?;
    let mut body = made.body.clone();
    body["data"]["x"] = "2".into();
    t.put("update", &format!("{MAPS}/a"), body.clone()).await?;
    t.put("update, stale", &format!("{MAPS}/a"), body.clone()).await?;
    body["metadata"]["resourceVersion"] = Value::Null;
    body["metadata"]["uid"] = "00000000-0000-0000-0000-000000000000".into();
    t.put("update, other uid", &format!("{MAPS}/a"), body.clone()).await?;
    t.put("update, absent", &format!("{MAPS}/absent"), map("absent", json!({}))).await?;
    t.put("update, other name", &format!("{MAPS}/a"), map("b", json!({}))).await?;
    t.put("update, without a version", &format!("{MAPS}/a"), map("a", json!({"x": "3"}))).await?;
    Ok(())
}

async fn lists(t: &mut Transcript) -> Result<()> {
    for name in ["b", "c", "d"] {
        t.post(&format!("create {name}"), MAPS, map(name, json!({}))).await?;
    }
    let mine = format!("{MAPS}?labelSelector=play%3Dhonesty");
    t.get("list", &mine).await?;
    for (step, selector) in [
        ("in", "name+in+(a,c)"),
        ("not in", "play,name+notin+(a,c)"),
        ("exists", "play,name"),
        ("absent", "play,!name"),
        ("unequal", "play,name!%3Da"),
        ("nonsense", "a%3D%3D%3Db"),
        ("bad value", "a%3Db+c"),
    ] {
        t.get(&format!("list, selector {step}"), &format!("{MAPS}?labelSelector={selector}")).await?;
    }
    t.get("list, field name", &format!("{mine}&fieldSelector=metadata.name%3Db")).await?;
    t.get("list, field unequal", &format!("{mine}&fieldSelector=metadata.name!%3Db")).await?;
    t.get("list, unknown field", &format!("{mine}&fieldSelector=spec.x%3Db")).await?;
    let page = t.get("list, first page", &format!("{MAPS}?limit=1")).await?;
    ensure!(page.code == 200);
    let token = page.body["metadata"]["continue"].as_str().unwrap_or_default();
    let next = t.quietly("GET", &format!("{MAPS}?limit=1&continue={token}"), JSON, JSON, Value::Null).await?;
    ensure!(next.code == 200 && next.body["items"][0]["metadata"]["name"] != page.body["items"][0]["metadata"]["name"]);
    t.get("list, bad continue", &format!("{MAPS}?limit=1&continue=junk")).await?;
    t.get("list, bad version", &format!("{mine}&resourceVersion=junk")).await?;
    t.get("list, version 0", &format!("{mine}&resourceVersion=0")).await?;
    t.get("list, exact without a version", &format!("{mine}&resourceVersionMatch=Exact")).await?;
    t.get("list, unknown match", &format!("{mine}&resourceVersion=1&resourceVersionMatch=Perhaps")).await?;
    t.get("list, all namespaces", "/api/v1/configmaps?labelSelector=play%3Dhonesty").await?;
    t.table("table of maps", &mine).await
}

async fn patches(t: &mut Transcript) -> Result<()> {
    let a = &format!("{MAPS}/a");
    t.patch("merge", a, MERGE, json!({"data": {"y": "1", "x": null}})).await?;
    t.patch("merge, nothing new", a, MERGE, json!({"data": {"y": "1"}})).await?;
    t.patch("merge, stale", a, MERGE, json!({"metadata": {"resourceVersion": "1"}, "data": {"z": "1"}})).await?;
    t.patch("merge, other uid", a, MERGE, json!({"metadata": {"uid": "00000000-0000-0000-0000-000000000000"}})).await?;
    t.patch("merge, other name", a, MERGE, json!({"metadata": {"name": "b"}})).await?;
    t.patch("merge, bad value", a, MERGE, json!({"data": {"y": 5}})).await?;
    t.patch("merge, not an object", a, MERGE, json!([])).await?;
    t.patch("merge, absent", &format!("{MAPS}/absent"), MERGE, json!({"data": {}})).await?;
    t.patch("strategic", a, STRATEGIC, json!({"metadata": {"labels": {"more": "yes"}}})).await?;
    t.patch(
        "json",
        a,
        JSON_PATCH,
        json!([{"op": "test", "path": "/data/y", "value": "1"}, {"op": "add", "path": "/data/z", "value": "2"}]),
    )
    .await?;
    t.patch("json, test fails", a, JSON_PATCH, json!([{"op": "test", "path": "/data/y", "value": "9"}])).await?;
    t.patch("json, no such path", a, JSON_PATCH, json!([{"op": "remove", "path": "/data/none"}])).await?;
    t.patch("json, no such operation", a, JSON_PATCH, json!([{"op": "burn", "path": "/data"}])).await?;
    t.patch("patch, unknown kind", a, "application/x-patch", json!({})).await?;
    t.patch("patch, dry run", &format!("{a}?dryRun=All"), MERGE, json!({"data": {"dry": "1"}})).await?;
    t.get("get, after patches", a).await?;
    let applied = |data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied", "labels": {"play": "honesty"}}, "data": data});
    let path = |manager: &str| format!("{MAPS}/applied?fieldManager={manager}");
    t.patch("apply, new", &path("one"), APPLY, applied(json!({"x": "1", "y": "1"}))).await?;
    t.patch("apply, again", &path("one"), APPLY, applied(json!({"x": "1", "y": "1"}))).await?;
    t.patch("apply, without a member", &path("one"), APPLY, applied(json!({"x": "1"}))).await?;
    t.patch("apply, no manager", &format!("{MAPS}/applied"), APPLY, applied(json!({}))).await?;
    t.patch(
        "apply, another's member, forced",
        &format!("{}&force=true", path("two")),
        APPLY,
        applied(json!({"x": "2"})),
    )
    .await?;
    t.patch("apply, conflict", &path("one"), APPLY, applied(json!({"x": "3"}))).await?;
    Ok(())
}

async fn deletions(t: &mut Transcript) -> Result<()> {
    let made = t.post("create, to delete", MAPS, map("del", json!({}))).await?;
    let del = &format!("{MAPS}/del");
    let options =
        |preconditions: Value| json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions});
    t.delete("delete, other uid", del, options(json!({"uid": "00000000-0000-0000-0000-000000000000"}))).await?;
    t.delete("delete, other version", del, options(json!({"resourceVersion": "1"}))).await?;
    t.delete("delete, dry run", &format!("{del}?dryRun=All"), Value::Null).await?;
    t.delete("delete, bad policy", &format!("{del}?propagationPolicy=Perhaps"), Value::Null).await?;
    t.delete("delete", del, options(json!({"uid": made.uid(), "resourceVersion": made.version()}))).await?;
    t.delete("delete, absent", del, Value::Null).await?;
    let mut held = map("held", json!({}));
    held["metadata"]["finalizers"] = json!(["example.test/hold"]);
    t.post("create, with a finalizer", MAPS, held).await?;
    let held = &format!("{MAPS}/held");
    t.delete("delete, held", held, Value::Null).await?;
    t.delete("delete, held already", held, Value::Null).await?;
    t.get("get, held", held).await?;
    t.patch(
        "another finalizer, too late",
        held,
        MERGE,
        json!({"metadata": {"finalizers": ["example.test/hold", "example.test/more"]}}),
    )
    .await?;
    t.patch("the finalizer goes", held, MERGE, json!({"metadata": {"finalizers": null}})).await?;
    t.get("get, gone", held).await?;
    let owner = t.post("create an owner", MAPS, map("owner", json!({}))).await?;
    let mut owned = map("owned", json!({}));
    owned["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.uid(), "blockOwnerDeletion": true,
    }]);
    t.post("create what it owns", MAPS, owned).await?;
    t.delete("delete in the foreground", &format!("{MAPS}/owner?propagationPolicy=Foreground"), Value::Null).await?;
    gone(t, &format!("{MAPS}/owner")).await?;
    t.get("get, owned by who is gone", &format!("{MAPS}/owned")).await?;
    t.delete("delete all of a selector", &format!("{MAPS}?labelSelector=made%3Dyes"), Value::Null).await?;
    Ok(())
}

/// Waits until an object is gone.
async fn gone(t: &Transcript, path: &str) -> Result<()> {
    for _ in 0..300 {
        if t.quietly("GET", path, JSON, JSON, Value::Null).await?.code == 404 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("{path} is still there")
}

async fn deployments(t: &mut Transcript) -> Result<()> {
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "labels": {"play": "honesty"}},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}},
    });
    let mut odd = deployment.clone();
    odd["spec"]["template"]["metadata"]["labels"] = json!({"app": "other"});
    t.post("deployment, selector does not match", DEPLOYMENTS, odd).await?;
    let mut odd = deployment.clone();
    odd["spec"]["replicas"] = json!(-1);
    t.post("deployment, negative replicas", DEPLOYMENTS, odd).await?;
    let mut odd = deployment.clone();
    odd["spec"]["template"]["spec"]["containers"] = json!([]);
    t.post("deployment, no containers", DEPLOYMENTS, odd).await?;
    t.post("deployment", DEPLOYMENTS, deployment).await?;
    let web = &format!("{DEPLOYMENTS}/web");
    t.get("scale, read", &format!("{web}/scale")).await?;
    t.patch("scale, patch", &format!("{web}/scale"), MERGE, json!({"spec": {"replicas": 1}})).await?;
    t.patch("scale, negative", &format!("{web}/scale"), MERGE, json!({"spec": {"replicas": -1}})).await?;
    t.patch("scale, back", &format!("{web}/scale"), MERGE, json!({"spec": {"replicas": 0}})).await?;
    t.patch("deployment, other selector", web, MERGE, json!({"spec": {"selector": {"matchLabels": {"app": "other"}}}}))
        .await?;
    t.get("deployment, no such subresource", &format!("{web}/none")).await?;
    t.delete("deployment, delete", &format!("{web}?propagationPolicy=Background"), Value::Null).await?;
    Ok(())
}

async fn pods(t: &mut Transcript) -> Result<()> {
    let pod = |name: &str| {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"play": "honesty", "app": name}},
            "spec": {"schedulerName": "nobody", "terminationGracePeriodSeconds": 30, "automountServiceAccountToken": false,
                "containers": [{"name": "c", "image": "nginx"}]},
        })
    };
    let p = t.post("pod", PODS, pod("p")).await?;
    let mut odd = pod("odd");
    odd["spec"]["containers"][0]["resources"] = json!({"requests": {"tke.cloud.tencent.com/eni-ip": "1"}});
    t.post("pod, request without limit", PODS, odd).await?;
    let condition = |status: &str| json!({"status": {"conditions": [{"type": "galaxy.k8s.io/FloatingIP", "status": status, "reason": "R", "message": "m"}]}});
    t.patch("pod status, strategic", &format!("{PODS}/p/status"), STRATEGIC, condition("False")).await?;
    t.patch("pod status, not by the pod", &format!("{PODS}/p"), STRATEGIC, condition("True")).await?;
    let binding = |uid: &str, node: &str| {
        json!({
            "apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p", "uid": uid, "annotations": {"from": "binding"}},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        })
    };
    let bind = &format!("{PODS}/p/binding");
    t.post("bind, other uid", bind, binding("00000000-0000-0000-0000-000000000000", "a1")).await?;
    t.post("bind, absent pod", &format!("{PODS}/absent/binding"), json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": {"name": "absent"}, "target": {"kind": "Node", "name": "a1"}})).await?;
    t.post("bind, no node", bind, binding(&p.uid(), "")).await?;
    // A node of no kubelet, so that nobody touches the pod.
    t.post("bind", bind, binding(&p.uid(), "nowhere")).await?;
    t.post("bind, again", bind, binding(&p.uid(), "nowhere")).await?;
    t.get("pod, bound", &format!("{PODS}/p")).await?;
    t.get("pods of a node", &format!("{PODS}?fieldSelector=spec.nodeName%3Dnowhere")).await?;
    t.patch("pod, another node", &format!("{PODS}/p"), MERGE, json!({"spec": {"nodeName": "a1"}})).await?;
    t.post("pod to evict", PODS, pod("e")).await?;
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "e"}});
    t.post("evict", &format!("{PODS}/e/eviction"), eviction.clone()).await?;
    t.get("pod, evicted", &format!("{PODS}/e")).await?;
    t.post("evict, absent", &format!("{PODS}/e/eviction"), eviction).await?;
    t.delete("pod, delete at once", &format!("{PODS}/p?gracePeriodSeconds=0"), Value::Null).await?;
    t.get("pod, gone", &format!("{PODS}/p")).await?;
    Ok(())
}

fn definition() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "widgets.example.test"},
        "spec": {
            "group": "example.test", "scope": "Namespaced", "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}},
                "additionalPrinterColumns": [
                    {"name": "Size", "type": "integer", "jsonPath": ".spec.replicas"},
                    {"name": "Colour", "type": "string", "jsonPath": ".spec.colour", "priority": 1},
                    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                ],
                "selectableFields": [{"jsonPath": ".spec.colour"}],
                "schema": {"openAPIV3Schema": {"type": "object", "required": ["spec"], "properties": {
                    "spec": {"type": "object", "required": ["replicas"], "properties": {
                        "replicas": {"type": "integer", "minimum": 0, "maximum": 10},
                        "colour": {"type": "string", "enum": ["red", "blue"], "default": "red"},
                        "list": {"type": "array", "maxItems": 2, "items": {"type": "string", "maxLength": 3}},
                    }},
                    "status": {"type": "object", "properties": {"replicas": {"type": "integer"}}},
                }}},
            }],
        },
    })
}

async fn definitions(t: &mut Transcript) -> Result<()> {
    t.get("no definition yet", WIDGETS).await?;
    let mut odd = definition();
    odd["metadata"]["name"] = "gadgets.example.test".into();
    t.post("definition, other name", CRDS, odd).await?;
    let mut odd = definition();
    odd["spec"]["versions"][0]["storage"] = false.into();
    t.post("definition, nothing stored", CRDS, odd).await?;
    let made = t.quietly("POST", CRDS, JSON, JSON, definition()).await?;
    ensure!(made.code == 201, "{}", made.body);
    for _ in 0..300 {
        if t.quietly("GET", WIDGETS, JSON, JSON, Value::Null).await?.code == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let widget = |name: &str, spec: Value| {
        json!({
            "apiVersion": "example.test/v1", "kind": "Widget", "metadata": {"name": name, "labels": {"play": "honesty"}}, "spec": spec,
        })
    };
    let w = t.post("widget", WIDGETS, widget("w", json!({"replicas": 2, "unknown": 5}))).await?;
    for (step, spec) in [
        ("missing member", json!({})),
        ("wrong type", json!({"replicas": "2"})),
        ("too small", json!({"replicas": -1})),
        ("too large", json!({"replicas": 11})),
        ("no such word", json!({"replicas": 1, "colour": "green"})),
        ("too long a list", json!({"replicas": 1, "list": ["a", "b", "c"]})),
        ("too long an item", json!({"replicas": 1, "list": ["abcd"]})),
        ("null", json!({"replicas": 1, "colour": null})),
        ("several faults", json!({"replicas": 11, "colour": "green"})),
    ] {
        t.post(&format!("widget, {step}"), WIDGETS, widget(&step.replace(' ', "-"), spec)).await?;
    }
    let path = &format!("{WIDGETS}/w");
    t.patch(
        "widget, unknown member, strict",
        &format!("{path}?fieldValidation=Strict"),
        MERGE,
        json!({"spec": {"more": 1}}),
    )
    .await?;
    t.patch("widget, spec", path, MERGE, json!({"spec": {"replicas": 3}, "status": {"replicas": 9}})).await?;
    t.patch("widget, labels only", path, MERGE, json!({"metadata": {"labels": {"more": "yes"}}})).await?;
    t.patch(
        "widget, status",
        &format!("{path}/status"),
        MERGE,
        json!({"spec": {"replicas": 7}, "status": {"replicas": 3}}),
    )
    .await?;
    t.patch("widget, strategic", path, STRATEGIC, json!({"spec": {"replicas": 1}})).await?;
    t.get("widget, scale", &format!("{path}/scale")).await?;
    t.patch("widget, scale patched", &format!("{path}/scale"), MERGE, json!({"spec": {"replicas": 4}})).await?;
    t.put("widget, stale", path, w.body.clone()).await?;
    t.put("widget, no version", path, widget("w", json!({"replicas": 4}))).await?;
    t.get("widgets by a field", &format!("{WIDGETS}?fieldSelector=spec.colour%3Dred")).await?;
    t.get("widgets by a field not selectable", &format!("{WIDGETS}?fieldSelector=spec.replicas%3D4")).await?;
    t.table("table of widgets", WIDGETS).await?;
    t.delete("widget, delete", path, Value::Null).await?;
    t.get("no such version", "/apis/example.test/v9/namespaces/default/widgets").await?;
    let gone_too = t.quietly("DELETE", &format!("{CRDS}/widgets.example.test"), JSON, JSON, Value::Null).await?;
    ensure!(gone_too.code == 200);
    gone(t, &format!("{CRDS}/widgets.example.test")).await
}

async fn watches(t: &mut Transcript) -> Result<()> {
    let mine = format!("{MAPS}?labelSelector=play%3Dhonesty");
    let from = t.quietly("GET", &mine, JSON, JSON, Value::Null).await?.version();
    t.post("watched, create", MAPS, map("watched", json!({}))).await?;
    t.patch("watched, change", &format!("{MAPS}/watched"), MERGE, json!({"data": {"x": "1"}})).await?;
    t.patch("watched, nothing changes", &format!("{MAPS}/watched"), MERGE, json!({"data": {"x": "1"}})).await?;
    t.patch(
        "watched, leaves the selection",
        &format!("{MAPS}/watched"),
        MERGE,
        json!({"metadata": {"labels": {"play": "other"}}}),
    )
    .await?;
    t.patch(
        "watched, comes back",
        &format!("{MAPS}/watched"),
        MERGE,
        json!({"metadata": {"labels": {"play": "honesty"}}}),
    )
    .await?;
    t.delete("watched, delete", &format!("{MAPS}/watched"), Value::Null).await?;
    t.watch("watch from a version", &format!("{mine}&resourceVersion={from}")).await?;
    t.watch(
        "watch from a version, one name",
        &format!("{MAPS}?fieldSelector=metadata.name%3Dwatched&resourceVersion={from}"),
    )
    .await?;
    t.watch("watch from nowhere", &mine).await?;
    t.watch("watch from 0", &format!("{mine}&resourceVersion=0")).await?;
    t.watch(
        "watch with its list",
        &format!("{mine}&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"),
    )
    .await?;
    t.watch("watch with its list, no match", &format!("{mine}&sendInitialEvents=true")).await?;
    t.watch("watch, bad version", &format!("{mine}&resourceVersion=junk")).await?;
    t.delete("all maps go", &mine, Value::Null).await?;
    Ok(())
}

async fn nothing_there(t: &mut Transcript) -> Result<()> {
    for (step, path) in [
        ("unknown group", "/apis/no.such.group/v1/things"),
        ("unknown resource of a known group", "/apis/apps/v1/namespaces/default/things"),
        ("unknown core resource", "/api/v1/namespaces/default/things"),
        ("unknown version", "/apis/apps/v7/deployments"),
        ("unknown path", "/no/such/path"),
        ("object without its namespace", "/api/v1/configmaps/a"),
    ] {
        t.get(step, path).await?;
    }
    t.post("create without a namespace", "/api/v1/configmaps", map("n", json!({}))).await?;
    t.call("put to a collection", "PUT", MAPS, JSON, map("n", json!({}))).await?;
    t.post("post to an object", &format!("{MAPS}/a"), map("a", json!({}))).await?;
    Ok(())
}
