use galaxy_core::ReleasePolicy;
use serde_json::{Value, json};

use super::*;

fn read(json: Value) -> Option<Stored> {
    stored(&serde_json::from_value(json).unwrap())
}

fn old(key: &str, node: &str, uid: &str) -> Record {
    let attribute = json!({"NodeName": node, "Uid": uid}).to_string();
    let object = json!({"metadata": {"name": "10.20.5.17", "uid": "o", "resourceVersion": "41"},
        "spec": {"key": key, "attribute": attribute, "policy": 1, "updateTime": "2024-03-05T08:00:12Z"}});
    let stored = read(object).unwrap();
    assert_eq!(stored.object, ObjectRef { uid: "o".into(), version: 41 });
    stored.record
}

#[test]
fn objects_of_the_original_are_read_by_their_key() {
    use State::{Admin, Bound, Reserved};
    let web = || Some(WorkloadId::deployment("shop", "web"));
    let cart = || Some(WorkloadId::stateful_set("shop", "cart"));
    let tapp = || Some(WorkloadId::new("?", "tapp", "ns1", "demo"));
    // key, node, uid; state, workload, pod, pool
    for (key, node, uid, state, workload, pod, pool) in [
        ("dp_shop_web_web-7c9d-x2k4p", "n1", "u1", Bound, web(), Some("web-7c9d-x2k4p"), None),
        ("dp_shop_web_web-7c9d-x2k4p", "", "u1", Bound, web(), Some("web-7c9d-x2k4p"), None),
        ("dp_shop_web_web-7c9d-x2k4p", "", "", Bound, web(), Some("web-7c9d-x2k4p"), None),
        ("dp_shop_web_", "", "", Reserved, web(), None, None),
        ("sts_shop_cart_cart-2", "n1", "u1", Bound, cart(), Some("cart-2"), None),
        ("sts_shop_cart_cart-2", "n1", "", Bound, cart(), Some("cart-2"), None),
        ("sts_shop_cart_cart-2", "", "", Reserved, cart(), Some("cart-2"), None),
        ("tapp_ns1_demo_demo-1", "", "", Reserved, tapp(), Some("demo-1"), None),
        ("NULL_ns1_NULL_pod1", "n1", "u1", Bound, Some(WorkloadId::bare_pod("ns1", "pod1")), Some("pod1"), None),
        ("pool__blue_", "", "", Reserved, None, None, Some("blue")),
        ("pool__blue_dp_shop_web_web-1", "n1", "u1", Bound, web(), Some("web-1"), Some("blue")),
        ("pool__blue_sts_shop_cart_cart-2", "", "", Reserved, cart(), Some("cart-2"), Some("blue")),
        ("", "", "", Admin, None, None, None),
        ("nonsense", "n1", "u1", Admin, None, None, None),
        ("pool__a_b_dp_shop_web_pod", "n1", "u1", Admin, None, None, None),
        ("dp___", "", "", Admin, None, None, None),
    ] {
        let record = old(key, node, uid);
        assert_eq!((record.state, &record.workload), (state, &workload), "{key}");
        assert_eq!((record.pod_name.as_deref(), record.pool.as_deref()), (pod, pool), "{key}");
        if state != Admin {
            assert_eq!(record.fip_key().to_string(), key);
            assert_eq!(record.pod_uid, (!uid.is_empty()).then(|| uid.into()));
        } else {
            assert_eq!(record.key.as_deref().unwrap_or_default(), key, "an administrator's key is shown as it stands");
        }
        assert_eq!(record.policy, ReleasePolicy::Immutable);
        assert_eq!(timestamp(record.updated_at).to_string(), "2024-03-05T08:00:12Z");
    }
}

#[test]
fn what_an_administrator_reserved_is_never_anybodys() {
    let record = read(json!({"metadata": {"name": "10.20.5.17", "labels": {"reserved": ""}},
        "spec": {"key": "sts_shop_cart_cart-2", "policy": 2}}))
    .unwrap()
    .record;
    assert_eq!((record.state, record.workload), (State::Admin, None));
    assert_eq!(record.key.as_deref(), Some("sts_shop_cart_cart-2"));
}

#[test]
fn objects_that_are_no_address_are_none() {
    for name in ["ten-twenty", "10.20.5", "010.0.0.1", "2001:db8::1", ""] {
        assert_eq!(read(json!({"metadata": {"name": name}, "spec": {"key": "", "policy": 0}})), None, "{name}");
    }
}

#[test]
fn typed_members_that_contradict_each_other_are_left_alone() {
    let owner = json!({"apiGroup": "apps", "kind": "Deployment", "namespace": "shop", "name": "web", "uid": "w"});
    for (spec, state) in [
        (json!({"state": "Bound", "owner": owner, "pod": {"name": "web-1", "uid": "u"}}), State::Bound),
        (json!({"state": "Held", "owner": owner, "pod": {"name": "web-1", "uid": "u"}}), State::Bound),
        (json!({"state": "Bound", "owner": owner}), State::Admin),
        (json!({"state": "Bound", "pod": {"name": "web-1"}}), State::Admin),
        (json!({"state": "Reserved", "owner": owner}), State::Reserved),
        (json!({"state": "Reserved", "pool": "blue"}), State::Reserved),
        (json!({"state": "Reserved"}), State::Admin),
        (
            json!({"state": "Quarantined", "owner": owner, "node": "n", "releasedAt": "2024-03-05T08:00:12Z"}),
            State::Quarantined,
        ),
        (json!({"state": "Quarantined", "owner": owner}), State::Admin),
        // A state from a future version: the key speaks, and here says nothing.
        (json!({"state": "Frozen", "owner": owner}), State::Admin),
    ] {
        let record = read(json!({"metadata": {"name": "10.20.5.17"}, "spec": spec})).unwrap().record;
        assert_eq!(record.state, state, "{spec}");
    }
}

fn topology() -> Topology {
    let pools = r#"[{"nodeSubnets":["10.0.0.0/16"],"ips":["10.20.5.2~10.20.5.99"],"subnet":"10.20.5.0/24",
        "gateway":"10.20.5.1","vlan":7}]"#;
    Topology::build(galaxy_api::config::parse_pools(pools).unwrap()).unwrap().0
}

fn records() -> Vec<Record> {
    let base = Record {
        addr: "10.20.5.17".parse().unwrap(),
        state: State::Bound,
        workload: Some(WorkloadId::deployment("shop", "web")),
        workload_uid: Some("w1".into()),
        pod_name: Some("web-7c9d-x2k4p".into()),
        pod_uid: Some("6b1f0c9e-7f2e-4a55-9a55-0d3a7b5c1e10".into()),
        pool: None,
        node: Some("worker-3".into()),
        policy: ReleasePolicy::Immutable,
        spare: true,
        released_at: None,
        updated_at: Time(1_709_625_612_123_456),
        key: None,
    };
    let reserved = Record { state: State::Reserved, pod_name: None, pod_uid: None, node: None, ..base.clone() };
    vec![
        base.clone(),
        reserved.clone(),
        Record { released_at: Some(Time(1_709_625_612_000_001)), ..reserved.clone() },
        Record { pool: Some("blue".into()), ..base.clone() },
        Record { pool: Some("blue".into()), workload: None, workload_uid: None, spare: false, ..reserved.clone() },
        Record { workload: Some(WorkloadId::new("example.com", "Deployment", "shop", "web")), ..base.clone() },
        Record { workload: Some(WorkloadId::replica_set("shop", "web-5d")), ..base.clone() },
        Record {
            workload: Some(WorkloadId::stateful_set("shop", "cart")),
            pod_name: Some("cart-2".into()),
            ..reserved
        },
        Record { state: State::Quarantined, released_at: Some(Time(7)), ..base.clone() },
        Record { addr: "2001:db8::5".parse().unwrap(), ..base },
    ]
}

#[test]
fn records_round_trip() {
    let topology = topology();
    for record in records() {
        for topology in [None, Some(&topology)] {
            let json = serde_json::to_value(object(&record, topology, None)).unwrap();
            assert_eq!(read(json.clone()).unwrap().record, record, "{json}");
        }
    }
}

#[test]
fn keys_of_records() {
    let keys: Vec<String> = records().iter().map(|record| object(record, None, None).spec.key).collect();
    assert_eq!(
        keys,
        [
            "dp_shop_web_web-7c9d-x2k4p",
            "dp_shop_web_",
            "dp_shop_web_",
            "pool__blue_dp_shop_web_web-7c9d-x2k4p",
            "pool__blue_",
            "dp_shop_web_web-7c9d-x2k4p",
            "replicasets_shop_web-5d_web-7c9d-x2k4p",
            "sts_shop_cart_cart-2",
            "dp_shop_web_web-7c9d-x2k4p",
            "dp_shop_web_web-7c9d-x2k4p",
        ]
    );
}

#[test]
fn an_object_as_it_is_written() {
    let topology = topology();
    let json = serde_json::to_value(object(&records()[0], Some(&topology), None)).unwrap();
    assert_eq!(
        json,
        json!({"apiVersion": "galaxy.k8s.io/v1alpha1", "kind": "FloatingIP", "metadata": {"name": "10.20.5.17"}, "spec": {
            "key": "dp_shop_web_web-7c9d-x2k4p",
            "attribute": "{\"NodeName\":\"worker-3\",\"Uid\":\"6b1f0c9e-7f2e-4a55-9a55-0d3a7b5c1e10\"}",
            "policy": 1,
            "updateTime": "2024-03-05T08:00:12.123456Z",
            "state": "Bound",
            "owner": {"apiGroup": "apps", "kind": "Deployment", "namespace": "shop", "name": "web", "uid": "w1"},
            "pod": {"name": "web-7c9d-x2k4p", "uid": "6b1f0c9e-7f2e-4a55-9a55-0d3a7b5c1e10"},
            "node": "worker-3",
            "address": "10.20.5.17/24",
            "gateway": "10.20.5.1",
            "vlan": 7,
            "spare": true}})
    );
    let orphan = object(&Record { addr: "10.99.0.1".parse().unwrap(), ..records().remove(0) }, Some(&topology), None);
    assert_eq!(orphan.spec.address.unwrap().to_string(), "10.99.0.1/32");
    assert_eq!((orphan.spec.gateway, orphan.spec.vlan), (None, None));
}

#[test]
fn an_update_names_its_version_and_keeps_what_others_put_there() {
    let existing: FloatingIP = serde_json::from_value(json!({
        "metadata": {"name": "10.20.5.17", "uid": "o", "resourceVersion": "41", "generation": 3,
            "labels": {"team": "shop"}, "annotations": {"note": "by hand"}, "finalizers": ["example.com/keep"]},
        "spec": {"key": "dp_shop_web_", "policy": 1}}))
    .unwrap();
    let extra = Extra::of(&existing.metadata).map(|extra| *extra);
    let updated = object(&records()[0], None, Some((&object_ref(&existing), extra)));
    assert_eq!(
        serde_json::to_value(&updated.metadata).unwrap(),
        json!({"name": "10.20.5.17", "uid": "o", "resourceVersion": "41", "labels": {"team": "shop"},
            "annotations": {"note": "by hand"}, "finalizers": ["example.com/keep"]})
    );
}
