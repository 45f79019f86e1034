use galaxy_api::{
    FloatingIP, FloatingIPSpec,
    floatingip::{Attribute, OwnerReference, PodReference, State},
};
use galaxy_core::ReleasePolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use serde_json::{Value, json};

/// The example of contract §1.4, as old galaxy-ipam writes it: it reads, and is written back as it was.
#[test]
fn object_of_the_original() {
    let json = json!({"apiVersion":"galaxy.k8s.io/v1alpha1","kind":"FloatingIP","metadata":{"name":"10.20.5.17"},
        "spec":{"key":"sts_shop_cart_cart-2","attribute":"{\"NodeName\":\"worker-3\",\"Uid\":\"u-81\"}","policy":1,
        "updateTime":"2024-03-05T08:00:12Z"}});
    let fip: FloatingIP = serde_json::from_value(json.clone()).unwrap();
    assert_eq!(fip.ip(), Some("10.20.5.17".parse().unwrap()));
    assert_eq!(fip.spec.release_policy(), Some(ReleasePolicy::Immutable));
    let attribute = fip.spec.attribute_or_default();
    assert_eq!((attribute.node_name.as_str(), attribute.uid.as_str()), ("worker-3", "u-81"));
    assert_eq!(fip.spec.state, None);
    assert!(!fip.is_reserved_by_admin());

    let mut written = serde_json::to_value(&fip).unwrap();
    assert_eq!(written["spec"]["updateTime"], "2024-03-05T08:00:12.000000Z", "written with microseconds");
    written["spec"]["updateTime"] = json["spec"]["updateTime"].clone();
    assert_eq!(written, json);
}

#[test]
fn object_of_today() {
    let spec = FloatingIPSpec {
        key: "sts_shop_cart_cart-2".to_owned(),
        attribute: Some(Attribute { node_name: "worker-3".to_owned(), uid: "u-81".to_owned() }.to_string()),
        policy: 1,
        update_time: Some(MicroTime("2024-03-05T08:00:12.5Z".parse().unwrap())),
        state: Some(State::Bound),
        owner: Some(OwnerReference {
            api_group: "apps".to_owned(),
            kind: "StatefulSet".to_owned(),
            namespace: "shop".to_owned(),
            name: "cart".to_owned(),
            uid: "u-8".to_owned(),
        }),
        pod: Some(PodReference { name: "cart-2".to_owned(), uid: "u-81".to_owned() }),
        node: Some("worker-3".to_owned()),
        address: Some("10.20.5.17/24".parse().unwrap()),
        gateway: Some("10.20.5.1".parse().unwrap()),
        vlan: Some(0),
        spare: true,
        ..FloatingIPSpec::default()
    };
    let fip = FloatingIP::for_address("10.20.5.17".parse().unwrap(), spec);
    let json = json!({"apiVersion":"galaxy.k8s.io/v1alpha1","kind":"FloatingIP","metadata":{"name":"10.20.5.17"},
        "spec":{"key":"sts_shop_cart_cart-2","attribute":"{\"NodeName\":\"worker-3\",\"Uid\":\"u-81\"}","policy":1,
        "updateTime":"2024-03-05T08:00:12.500000Z","state":"Bound",
        "owner":{"apiGroup":"apps","kind":"StatefulSet","namespace":"shop","name":"cart","uid":"u-8"},
        "pod":{"name":"cart-2","uid":"u-81"},"node":"worker-3","address":"10.20.5.17/24","gateway":"10.20.5.1",
        "vlan":0,"spare":true}});
    assert_eq!(serde_json::to_value(&fip).unwrap(), json);
    assert_eq!(serde_json::from_value::<FloatingIP>(json).unwrap(), fip);

    let v6 = FloatingIP::for_address("2001:db8::1".parse().unwrap(), FloatingIPSpec::default());
    assert_eq!(v6.metadata.name.as_deref(), Some("2001-0db8-0000-0000-0000-0000-0000-0001"));
    assert_eq!(v6.ip(), Some("2001:db8::1".parse().unwrap()));
}

/// The documented reservation by hand: labels, key and policy, nothing else.
#[test]
fn reservation_by_hand() {
    let yaml = "apiVersion: galaxy.k8s.io/v1alpha1\nkind: FloatingIP\nmetadata:\n  name: 10.0.0.9\n  labels:\n    \
                reserved: this-is-not-for-pods\nspec:\n  key: pool__reserved-for-node_\n  policy: 2\n";
    let fip: FloatingIP = serde_saphyr::from_str(yaml).unwrap();
    assert!(fip.is_reserved_by_admin());
    assert_eq!(fip.spec.key, "pool__reserved-for-node_");
    assert_eq!(fip.spec.release_policy(), Some(ReleasePolicy::Never));
    assert_eq!(fip.spec.attribute_or_default(), Attribute::default());
}

/// An object that makes no sense still reads: it is in the way of its address, and must be seen to be so.
#[test]
fn odd_objects_still_read() {
    let spec = |spec: Value| -> FloatingIPSpec {
        let object =
            json!({"apiVersion":"galaxy.k8s.io/v1alpha1","kind":"FloatingIP","metadata":{"name":"x"},"spec":spec});
        serde_json::from_value::<FloatingIP>(object.clone()).unwrap_or_else(|error| panic!("{object}: {error}")).spec
    };
    let empty = FloatingIPSpec::default();
    for odd in [
        json!({}),
        json!({"key":null,"attribute":null,"policy":null,"updateTime":null,"state":null,"owner":null,"pod":null,
               "pool":null,"node":null,"address":null,"gateway":null,"vlan":null,"spare":null,"releasedAt":null,"subnet":null}),
        json!({"key":7,"attribute":{"NodeName":"n"},"policy":"1","updateTime":"yesterday","state":"Dreaming","owner":"cart",
               "pod":5,"pool":1,"node":{},"address":"10.0.0.5","gateway":"x","vlan":65536,"spare":"yes","releasedAt":3}),
        json!({"unknown":{"deep":[1,2,3]}}),
    ] {
        assert_eq!(spec(odd.clone()), empty, "{odd}");
    }
    let old = spec(json!({"key":"k","policy":9,"subnet":"10.0.0.0/24","updateTime":"2020-05-29T19:11:44+08:00"}));
    assert_eq!((old.policy, old.release_policy()), (9, None));
    assert_eq!(old.update_time.unwrap().0.to_string(), "2020-05-29T11:11:44Z");
    let partial = spec(json!({"owner":{"kind":"Job","name":null,"uid":4},"pod":{"uid":"u"}}));
    assert_eq!(partial.owner.unwrap().kind, "Job");
    assert_eq!(partial.pod.unwrap(), PodReference { name: String::new(), uid: "u".to_owned() });
}

#[test]
fn attribute() {
    for (json, node, uid) in [
        ("", "", ""),
        ("{}", "", ""),
        ("null", "", ""),
        (r#"{"NodeName":"","Uid":""}"#, "", ""),
        (r#"{"NodeName":"n","Uid":"u"}"#, "n", "u"),
        (r#"{"nodename":"n","uid":null,"More":[]}"#, "n", ""),
    ] {
        let attribute = Attribute::parse(json).unwrap();
        assert_eq!((attribute.node_name.as_str(), attribute.uid.as_str()), (node, uid), "{json}");
    }
    for json in ["{", "x", "[]", "5", r#"{"NodeName":5}"#, "{}}"] {
        assert!(Attribute::parse(json).is_err(), "{json}");
    }
    assert_eq!(Attribute::default().to_string(), r#"{"NodeName":"","Uid":""}"#);
    let quoted = Attribute { node_name: "a\"b".to_owned(), uid: String::new() };
    assert_eq!(Attribute::parse(&quoted.to_string()).unwrap(), quoted);
}
