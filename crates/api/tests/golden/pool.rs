use galaxy_api::{
    Pool,
    pool::{MAX_SIZE, PoolSpec, PoolStatus},
};
use serde_json::json;

/// The example of float-ip.md: no namespace, no `preAllocateIP`, the size at the top.
#[test]
fn example_of_the_user_documentation() {
    let yaml = "apiVersion: galaxy.k8s.io/v1alpha1\nkind: Pool\nmetadata:\n  name: example-pool\nsize: 4\n";
    let pool: Pool = serde_saphyr::from_str(yaml).unwrap();
    assert_eq!(pool.metadata.name.as_deref(), Some("example-pool"));
    assert_eq!(pool.spec, PoolSpec { size: 4, pre_allocate_ip: false });
    assert_eq!(pool.spec.limit().unwrap(), 4);
    assert_eq!(
        serde_json::to_value(&pool).unwrap(),
        json!({"apiVersion":"galaxy.k8s.io/v1alpha1","kind":"Pool","metadata":{"name":"example-pool"},
               "size":4,"preAllocateIP":false})
    );
}

#[test]
fn status_round_trips() {
    let json = json!({"apiVersion":"galaxy.k8s.io/v1alpha1","kind":"Pool",
        "metadata":{"name":"blue","namespace":"kube-system"},"size":4,"preAllocateIP":true,
        "status":{"observedGeneration":2,"realSize":3,"used":1,"reserved":2,"conditions":[
            {"type":"Accepted","status":"True","reason":"Accepted","message":"","lastTransitionTime":"2024-03-05T08:00:12Z"}]}});
    let pool: Pool = serde_json::from_value(json.clone()).unwrap();
    assert_eq!(pool.status.as_ref().unwrap().real_size, 3);
    assert_eq!(serde_json::to_value(&pool).unwrap(), json);
}

/// A watch must not stop at an odd object; its size is refused later, by name.
#[test]
fn odd_objects_still_read() {
    for (members, size) in [
        (json!({}), 0),
        (json!({"size":null,"preAllocateIP":null,"status":null}), 0),
        (json!({"size":"4"}), 0),
        (json!({"size":-3,"preAllocateIP":"yes","spec":{"size":9}}), -3),
        (json!({"size":1e9}), 0),
        (json!({"size":4,"status":{}}), 4),
        (json!({"size":4,"status":{"conditions":[{"type":"x"}],"realSize":-1}}), 4),
    ] {
        let mut object = json!({"apiVersion":"galaxy.k8s.io/v1alpha1","kind":"Pool","metadata":{"name":"p"}});
        object.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        let pool: Pool = serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{object}: {error}"));
        assert_eq!(pool.spec.size, size, "{object}");
        assert!(pool.status.is_none_or(|status| status == PoolStatus::default()), "{object}");
    }
}

#[test]
fn sizes() {
    let limit = |size| PoolSpec { size, pre_allocate_ip: false }.limit();
    assert_eq!(limit(0), Ok(0));
    assert_eq!(limit(MAX_SIZE), Ok(1 << 24));
    for size in [-1, i64::MIN, MAX_SIZE + 1, i64::MAX] {
        assert_eq!(limit(size).unwrap_err().to_string(), format!("size: {size} is not between 0 and 16777216"));
    }
}
