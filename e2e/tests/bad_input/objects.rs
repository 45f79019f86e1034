//! Objects: what the definitions' schemas refuse, and what gets in all the same (an API server without rules, or from before
//! them) and must then be left alone.

use anyhow::{Context, Result, ensure};
use galaxy_api::FloatingIP;
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::table::Table;

pub(crate) async fn rows(table: &mut Table) -> Result<()> {
    for (plural, object, parts) in refused() {
        let error = match table.c.create(plural, &object).await {
            Ok(made) => format!("taken: {}", serde_json::to_string(&made)?),
            Err(error) => error.to_string(),
        };
        table.row(&object.to_string(), &error, parts);
    }
    odd_addresses(table).await?;
    odd_nodes(table).await
}

fn floating_ip(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "galaxy.k8s.io/v1alpha1", "kind": "FloatingIP", "metadata": {"name": name}, "spec": spec})
}

/// Objects that the API server refuses, and what the error must have.
fn refused() -> Vec<(&'static str, Value, &'static [&'static str])> {
    let spoil = |member: &str, value: Value| {
        let mut spec = json!({"key": "pool__x_", "policy": 2});
        spec[member] = value;
        floating_ip("10.64.1.20", spec)
    };
    let addresses: Vec<(Value, &[&str])> = vec![
        (spoil("policy", json!(3)), &["spec.policy", "3"]),
        (spoil("policy", json!(-1)), &["spec.policy", "-1"]),
        (spoil("policy", json!("never")), &["spec.policy", "string"]),
        (spoil("policy", Value::Null), &["spec.policy", "Required"]),
        (spoil("key", json!(7)), &["spec.key", "integer"]),
        (spoil("key", Value::Null), &["spec.key", "Required"]),
        (spoil("key", json!("k".repeat(1025))), &["spec.key", "1024"]),
        (spoil("attribute", json!({})), &["spec.attribute", "object"]),
        (spoil("updateTime", json!("yesterday")), &["spec.updateTime", "yesterday"]),
        (spoil("vlan", json!(4095)), &["spec.vlan", "4095"]),
        (spoil("vlan", json!("x")), &["spec.vlan", "string"]),
        (spoil("state", json!("Free")), &["spec.state", "Free"]),
        (spoil("spare", json!("yes")), &["spec.spare", "string"]),
        (spoil("owner", json!("web")), &["spec.owner", "string"]),
        (spoil("owner", json!({"kind": 7})), &["spec.owner.kind", "integer"]),
        (spoil("pod", json!({"uid": []})), &["spec.pod.uid", "array"]),
        (spoil("node", json!("n".repeat(254))), &["spec.node", "253"]),
        (spoil("releasedAt", json!(0)), &["spec.releasedAt", "integer"]),
        (floating_ip("10.64.1.20", Value::Null), &["spec"]),
        (floating_ip("10.64.1.20", json!([])), &["spec", "array"]),
        (floating_ip("FE80::1", json!({"key": "", "policy": 0})), &["metadata.name", "FE80::1"]),
    ];
    let pool = |name: &str, members: Value| {
        let mut pool = members;
        pool["apiVersion"] = "galaxy.k8s.io/v1alpha1".into();
        pool["kind"] = "Pool".into();
        pool["metadata"] = json!({"name": name, "namespace": "default"});
        pool
    };
    let pools: Vec<(Value, &[&str])> = vec![
        (pool("odd", json!({"size": -1})), &["size", "-1"]),
        (pool("odd", json!({"size": 16_777_217})), &["size", "16777217"]),
        (pool("odd", json!({"size": "4"})), &["size", "string"]),
        (pool("odd", json!({"size": 1.5})), &["size", "number"]),
        (pool("odd", json!({"size": null})), &["size", "Required"]),
        (pool("odd", json!({"size": 4, "preAllocateIP": "yes"})), &["preAllocateIP", "string"]),
        (pool("A_B", json!({"size": 4})), &["metadata.name", "A_B"]),
    ];
    let of = |plural: &'static str| move |(object, parts)| (plural, object, parts);
    addresses.into_iter().map(of("floatingips")).chain(pools.into_iter().map(of("pools"))).collect()
}

/// FloatingIPs that say nothing: their addresses are somebody's all the same, so nobody else has them and nobody writes them.
async fn odd_addresses(table: &mut Table) -> Result<()> {
    let nameless = ["not-an-address", "10.64.1", "10.64.1.256", "010.64.1.20", "fd00-1", "10.64.1.20-24"];
    let junk = [
        ("10.64.1.20", json!({"key": "junk", "policy": 2})),
        ("10.64.1.21", json!({"key": "dp__web_", "policy": 1, "attribute": "{{{"})),
        ("10.64.1.22", json!({"key": "a_b_c_d_e_f", "policy": 0, "attribute": "[]"})),
        ("10.64.1.23", json!({"key": "", "policy": 0})),
        ("10.64.1.24", json!({"key": "x", "policy": 1, "state": "Bound"})),
        ("10.64.1.25", json!({"key": "x", "policy": 1, "state": "Bound", "pod": {"name": "", "uid": "u"}})),
        ("10.64.1.26", json!({"key": "x", "policy": 1, "state": "Quarantined"})),
        (
            "10.64.1.27",
            json!({"key": "x", "policy": 1, "state": "Reserved", "address": "10.64.1.27", "gateway": "here"}),
        ),
        // Of no pool: nobody could have it anyway.
        ("192.0.2.7", json!({"key": "x", "policy": 2})),
    ];
    let api: Api<FloatingIP> = Api::all(table.c.client());
    let mut versions = Vec::new();
    for (name, spec) in nameless.map(|name| (name, json!({"key": "x", "policy": 2}))).into_iter().chain(junk.clone()) {
        let made = table.c.create("floatingips", &floating_ip(name, spec)).await.with_context(|| name.to_owned())?;
        versions.push((name, made.resource_version()));
    }
    for name in nameless {
        table.logged(name, &["FloatingIP", &format!("floatingip=\"{name}\""), "name is not an address"]).await?;
    }
    for (ip, spec) in &junk {
        let shown = table
            .c
            .poll(format!("{ip} is listed"), || async {
                let list = table.c.get("/v1/ip?keyword=&size=9999").await?.json();
                let entries = list["content"].as_array().cloned().unwrap_or_default();
                Ok(entries.into_iter().find(|entry| entry["ip"] == *ip && entry.get("note").is_some()))
            })
            .await?;
        table.row(&format!("{ip} {spec}"), &shown.to_string(), &["\"note\":\"AdminReserved", ip]);
    }
    table.c.sweep().await?;
    for (name, version) in versions {
        let now = api.get(name).await?;
        ensure!(now.resource_version() == version, "{name} was written: {now:?}");
        api.delete(name, &DeleteParams::default()).await?;
    }
    let listed = || async {
        let list = table.c.get("/v1/ip?size=9999").await?.json();
        let entries = list["content"].as_array().cloned().unwrap_or_default();
        let still =
            entries.iter().any(|entry| junk.iter().any(|(ip, _)| entry["ip"] == *ip && entry.get("note").is_some()));
        Ok((!still).then_some(()))
    };
    table.c.poll("the junk is forgotten", listed).await
}

/// Nodes without an address that Galaxy can use: refused, and why.
async fn odd_nodes(table: &mut Table) -> Result<()> {
    let api: Api<Node> = Api::all(table.c.client());
    let pod = serde_json::to_value(table.c.get_pod("asked").await?)?;
    let nodes = [
        ("no-addresses", json!([]), "FloatingIPPlugin:UnknowNode"),
        ("junk-address", json!([{"type": "InternalIP", "address": "not an address"}]), "FloatingIPPlugin:UnknowNode"),
        ("outside-only", json!([{"type": "ExternalIP", "address": "10.0.1.99"}]), "FloatingIPPlugin:UnknowNode"),
        ("elsewhere", json!([{"type": "InternalIP", "address": "0.0.0.0"}]), "FloatingIPPlugin:NoFIPConfigNode"),
    ];
    for (name, addresses, word) in nodes {
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}});
        table.c.create("nodes", &node).await?;
        let status = Patch::Merge(json!({"status": {"addresses": addresses}}));
        api.patch_status(name, &PatchParams::default(), &status).await?;
        let body = json!({"Pod": pod, "NodeNames": [name]});
        let why = table
            .c
            .poll(format!("node {name} is known"), || async {
                let answer = table.c.extender("/v1/filter", &body).await?.json();
                let why = answer["failedNodes"][name].as_str().unwrap_or_default().to_owned();
                Ok(why.starts_with(word).then_some(why))
            })
            .await?;
        table.row(&format!("node {name} {addresses}"), &why, &[word]);
        api.delete(name, &DeleteParams::default()).await?;
    }
    Ok(())
}
