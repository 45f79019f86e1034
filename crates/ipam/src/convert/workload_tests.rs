use serde_json::{Value, json};

use super::*;

fn with_strategy(replicas: Value, strategy: Value) -> WorkloadView {
    let object = json!({"metadata": {"namespace": "shop", "name": "web", "uid": "u1", "resourceVersion": "9"},
        "spec": {"replicas": replicas, "strategy": strategy, "selector": {}, "template": {}}});
    deployment(&serde_json::from_value(object).unwrap())
}

#[test]
fn rollouts_resolve_as_the_deployment_controller_does() {
    let rolling = |surge: Value, unavailable: Value| json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}});
    for (replicas, strategy, surges_first, max_surge) in [
        (json!(1), json!({}), true, 1),
        (json!(3), json!({}), true, 1),
        (json!(4), json!({}), false, 1),
        (json!(5), json!({}), false, 2),
        (json!(null), json!({}), true, 1),
        (json!(0), json!({}), false, 0),
        (json!(3), rolling(json!(0), json!(0)), false, 0),
        (json!(3), rolling(json!("0%"), json!("10%")), false, 0),
        (json!(10), rolling(json!("10%"), json!("0%")), true, 1),
        (json!(3), rolling(json!(2), json!(1)), false, 2),
        (json!(3), rolling(json!("nonsense"), json!(0)), false, 0),
        (json!(3), json!({"type": "Recreate"}), false, 0),
    ] {
        let view = with_strategy(replicas.clone(), strategy.clone());
        assert_eq!((view.surges_first, view.max_surge), (surges_first, max_surge), "{replicas} {strategy}");
    }
}

#[test]
fn a_deployment_in_full() {
    let object = json!({"metadata": {"namespace": "shop", "name": "web", "uid": "u1", "resourceVersion": "9",
            "annotations": {"galaxy.k8s.io/on-node-failure": "replace"}},
        "spec": {"replicas": 2, "selector": {},
            "template": {"metadata": {"annotations": {"galaxy.k8s.io/spare-addresses": "2"}}}}});
    let view = deployment(&serde_json::from_value(object).unwrap());
    assert_eq!(view.id, WorkloadId::deployment("shop", "web"));
    assert_eq!((view.uid, view.version, view.replicas), ("u1".into(), 9, Some(2)));
    assert_eq!(view.spare_addresses, Some(2), "from the template");
    assert!(view.replace_on_node_failure);
}

#[test]
fn ordinals_start_where_the_stateful_set_says() {
    for (spec, replicas, start) in [
        (json!({"selector": {}, "template": {}, "replicas": 3, "ordinals": {"start": 5}}), 3, 5),
        (json!({"selector": {}, "template": {}}), 1, 0),
        (json!({"selector": {}, "template": {}, "replicas": 0}), 0, 0),
    ] {
        let object = json!({"metadata": {"namespace": "shop", "name": "cart"}, "spec": spec});
        let view = stateful_set(&serde_json::from_value(object).unwrap());
        assert_eq!((view.replicas, view.ordinal_start), (Some(replicas), start));
    }
}

#[test]
fn a_replica_set_without_a_deployment_is_a_workload() {
    let object = |owners: Value| {
        let json = json!({"metadata": {"namespace": "shop", "name": "web-5d", "ownerReferences": owners,
            "annotations": {"deployment.kubernetes.io/revision": "12"}}, "spec": {"replicas": 4, "selector": {}}});
        replica_set(&serde_json::from_value(json).unwrap())
    };
    let (set, own) = object(json!([]));
    assert_eq!((set.replicas, set.revision, set.controller), (4, Some(12), None));
    assert_eq!(own.unwrap().id, WorkloadId::replica_set("shop", "web-5d"));
    let (set, own) =
        object(json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "d", "controller": true}]));
    assert_eq!(own, None);
    assert_eq!(&*set.controller.unwrap().group, "apps");
}

#[test]
fn replicas_of_custom_kinds_are_read_at_the_scale_path_or_not_at_all() {
    let path = ["spec".to_owned(), "size".to_owned()];
    for (object, replicas) in [
        (json!({"spec": {"size": 3}}), Some(3)),
        (json!({"spec": {"size": 0}}), Some(0)),
        (json!({"spec": {"size": "3"}}), None),
        (json!({"spec": {"size": -1}}), None),
        (json!({"spec": {}}), None),
        (json!({}), None),
    ] {
        let view = custom("example.com", "TApp", &ObjectMeta::default(), &object, &path);
        assert_eq!(view.replicas, replicas, "{object}");
    }
}
