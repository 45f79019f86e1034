//! The CRDs under `deploy/` on a real API server: what it takes and what it says to the rest.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use galaxy_api::{FloatingIP, Pool};
use galaxy_plane::Plane;
use kube::{
    Api, Resource,
    api::{ApiResource, DynamicObject, ListParams, PostParams},
};
use serde_json::{Value, json};

/// Creates an object as written, in a namespace if one is given.
async fn create<K: Resource<DynamicType = ()>>(
    plane: &Plane,
    namespace: Option<&str>,
    object: Value,
) -> Result<DynamicObject> {
    let resource = ApiResource::erase::<K>(&());
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(plane.client(), namespace, &resource),
        None => Api::all_with(plane.client(), &resource),
    };
    let mut full = json!({"apiVersion": resource.api_version, "kind": resource.kind});
    for (key, value) in object.as_object().context("no object")? {
        full[key] = value.clone();
    }
    Ok(api.create(&PostParams::default(), &serde_json::from_value(full)?).await?)
}

/// Checks that an object is refused as invalid, with these words.
async fn refused<K: Resource<DynamicType = ()>>(
    plane: &Plane,
    namespace: Option<&str>,
    object: Value,
    words: &str,
) -> Result<()> {
    match create::<K>(plane, namespace, object.clone()).await {
        Ok(_) => bail!("{object} is taken"),
        Err(error) => match error.downcast_ref() {
            Some(kube::Error::Api(status)) if status.code == 422 && status.message.contains(words) => Ok(()),
            _ => bail!("{object}: {error:?} does not say {words:?}"),
        },
    }
}

fn ip(name: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": spec})
}

pub(crate) async fn floating_ips(plane: &Plane) -> Result<()> {
    plane.apply(Path::new("deploy/crds")).await?;
    let attribute = r#"{"NodeName":"worker-3","Uid":"6b1f0c9e-7f2e-4a55-9a55-0d3a7b5c1e10"}"#;
    let taken = [
        // As the original writes them, contract §1.4.
        ip(
            "10.20.5.17",
            json!({"key": "sts_shop_cart_cart-2", "attribute": attribute, "policy": 1, "updateTime": "2024-03-05T08:00:12Z"}),
        ),
        // As it wrote them before v1.0.7.
        ip(
            "10.20.5.18",
            json!({"key": "dp_shop_web_", "attribute": "", "policy": 2, "updateTime": "2024-03-05T08:00:12Z", "subnet": "10.20.5.0/24"}),
        ),
        // A reservation by hand, contract §1.3.
        json!({"metadata": {"name": "10.20.5.19", "labels": {"reserved": "this-is-not-from-pods"}}, "spec": {"key": "pool__reserved-for-node_", "policy": 2}}),
        ip("2001-0db8-0000-0000-0000-0000-0000-0001", json!({"key": "", "policy": 0, "address": "2001:db8::1/64"})),
        ip(
            "10.20.5.20",
            json!({
                "key": "dp_shop_web_web-1", "policy": 1, "address": "10.20.5.20/24", "gateway": "10.20.5.1", "vlan": 4094, "node": "worker-7",
                "state": "Bound", "owner": {"apiGroup": "apps", "kind": "Deployment", "namespace": "shop", "name": "web", "uid": "u1"},
                "pod": {"name": "web-1", "uid": "u2"}, "updateTime": "2026-03-05T08:00:12.123456Z", "spare": true,
            }),
        ),
        ip(
            "10.20.5.21",
            json!({"key": "k", "policy": 0, "state": "Quarantined", "node": "n", "releasedAt": "2026-03-05T08:00:12Z"}),
        ),
    ];
    for object in taken {
        create::<FloatingIP>(plane, None, object.clone()).await.with_context(|| object.to_string())?;
    }
    let name = "a FloatingIP is named by its address";
    let plain = || json!({"key": "k", "policy": 0});
    let with = |member: &str, value: Value| {
        let mut spec = plain();
        spec[member] = value;
        ip("10.20.5.30", spec)
    };
    let bad = [
        (ip("10.20.5.256", plain()), name),
        (ip("10.20.5", plain()), name),
        (ip("10.20.5.017", plain()), name),
        (ip("web", plain()), name),
        (ip("2001-db8--1", plain()), name),
        (json!({"metadata": {"name": "10.20.5.30"}}), "spec: Required value"),
        (ip("10.20.5.30", json!({"policy": 0})), "spec.key: Required value"),
        (ip("10.20.5.30", json!({"key": "k"})), "spec.policy: Required value"),
        (with("policy", json!(3)), "spec.policy"),
        (with("policy", json!("never")), "spec.policy"),
        (with("vlan", json!(4095)), "spec.vlan"),
        (with("state", json!("Lost")), "Unsupported value: \"Lost\""),
        (with("updateTime", json!("yesterday")), "spec.updateTime"),
        (with("attribute", json!({"NodeName": "n"})), "spec.attribute"),
        (
            with("address", json!("10.20.5.31/24")),
            "10.20.5.31/24: the address must be the one that the object is named by",
        ),
        (with("state", json!("Bound")), "an address in state Bound needs pod"),
        (with("state", json!("Quarantined")), "an address in state Quarantined needs node and releasedAt"),
    ];
    for (object, words) in bad {
        refused::<FloatingIP>(plane, None, object, words).await?;
    }
    // The name is the lock.
    match create::<FloatingIP>(plane, None, ip("10.20.5.17", plain())).await {
        Err(error) if error.to_string().contains("already exists") => {}
        other => bail!("a second owner: {other:?}"),
    }
    let pruned = create::<FloatingIP>(plane, None, with("madeUp", json!(1))).await?;
    ensure!(pruned.data["spec"].get("madeUp").is_none(), "unknown members are kept: {}", pruned.data);

    let all: Api<FloatingIP> = Api::all(plane.client());
    let typed = all.get("10.20.5.17").await?;
    ensure!(
        typed.spec.key == "sts_shop_cart_cart-2" && typed.spec.attribute.as_deref() == Some(attribute),
        "{typed:?}"
    );
    for selector in ["spec.node=worker-7", "spec.owner.namespace=shop", "spec.pod.uid=u2"] {
        let found = all.list(&ListParams::default().fields(selector)).await.with_context(|| selector.to_owned())?;
        let names: Vec<_> = found.items.iter().filter_map(|item| item.metadata.name.as_deref()).collect();
        ensure!(names == ["10.20.5.20"], "{selector} finds {names:?}");
    }
    let shown = plane.kubectl(&["get", "fip"]).await?;
    let line = shown.stdout.lines().find(|line| line.starts_with("10.20.5.20 ")).unwrap_or_default();
    let cells: Vec<_> = line.split_whitespace().collect();
    ensure!(
        cells.starts_with(&["10.20.5.20", "10.20.5.20/24", "shop", "web", "web-1", "worker-7", "1", "Bound"]),
        "{}",
        shown.stdout
    );
    Ok(())
}

pub(crate) async fn pools(plane: &Plane) -> Result<()> {
    // The example of the user documentation, as a user applies it: without a namespace.
    let example = "apiVersion: galaxy.k8s.io/v1alpha1\nkind: Pool\nmetadata:\n  name: example-pool\nsize: 4\n";
    let path = plane.dir().join("pool.yaml");
    std::fs::write(&path, example)?;
    for manner in [&["apply"][..], &["apply", "--server-side", "--force-conflicts"]] {
        let file = path.display().to_string();
        let applied = plane.kubectl(&[manner, &["-f", &file]].concat()).await?;
        ensure!(applied.success, "kubectl {manner:?}: {}", applied.stderr);
    }
    let pool = Api::<Pool>::namespaced(plane.client(), "default").get("example-pool").await?;
    ensure!(serde_json::to_value(&pool)?["size"] == 4, "{pool:?}");

    let named = |size: Value| json!({"metadata": {"name": "blue"}, "size": size});
    create::<Pool>(plane, Some("kube-system"), json!({"metadata": {"name": "blue"}, "size": 0, "preAllocateIP": true}))
        .await?;
    let bad = [
        (json!({"metadata": {"name": "blue"}}), "size: Required value"),
        (named(json!(-1)), "size"),
        (named(json!(16_777_217)), "size"),
        (named(json!("4")), "size"),
    ];
    for (object, words) in bad {
        refused::<Pool>(plane, Some("default"), object, words).await?;
    }
    Ok(())
}
