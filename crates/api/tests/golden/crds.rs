use galaxy_api::{crd::crds, names};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};

fn crd(name: &str) -> CustomResourceDefinition {
    crds().into_iter().find(|crd| crd.metadata.name.as_deref() == Some(name)).unwrap()
}

fn schema(crd: &CustomResourceDefinition) -> Value {
    let validation = crd.spec.versions[0].schema.as_ref().unwrap();
    serde_json::to_value(validation.open_api_v3_schema.as_ref().unwrap()).unwrap()
}

/// What an API server would complain about, as far as these definitions use it.
fn validate(schema: &Value, value: &Value, path: &str, errors: &mut Vec<String>) {
    let fits = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64(),
        Some("boolean") => value.is_boolean(),
        _ => false,
    };
    if !fits {
        errors.push(format!("{path}: not of type {}", schema["type"]));
    }
    for required in schema["required"].as_array().into_iter().flatten() {
        if value.get(required.as_str().unwrap()).is_none() {
            errors.push(format!("{path}.{}: required", required.as_str().unwrap()));
        }
    }
    if let (Some(number), Some(min)) = (value.as_f64(), schema["minimum"].as_f64())
        && number < min
    {
        errors.push(format!("{path}: below {min}"));
    }
    if let (Some(number), Some(max)) = (value.as_f64(), schema["maximum"].as_f64())
        && number > max
    {
        errors.push(format!("{path}: above {max}"));
    }
    if let (Some(text), Some(max)) = (value.as_str(), schema["maxLength"].as_u64())
        && text.len() as u64 > max
    {
        errors.push(format!("{path}: too long"));
    }
    if let Some(values) = schema["enum"].as_array()
        && !values.contains(value)
    {
        errors.push(format!("{path}: not one of {values:?}"));
    }
    for (name, member) in value.as_object().into_iter().flatten() {
        match schema["properties"].get(name) {
            Some(property) => validate(property, member, &format!("{path}.{name}"), errors),
            None if path.is_empty() && ["apiVersion", "kind"].contains(&name.as_str()) => {}
            None if path == ".metadata" => {}
            None if name == "metadata" => {}
            None => errors.push(format!("{path}.{name}: unknown")),
        }
    }
}

fn errors(schema: &Value, object: &Value) -> Vec<String> {
    let mut errors = Vec::new();
    validate(schema, object, "", &mut errors);
    errors
}

#[test]
fn names_scope_and_approval() {
    for (name, kind, list, scope, short) in [
        (names::FLOATING_IP_CRD, "FloatingIP", "FloatingIPList", "Cluster", Some("fip")),
        (names::POOL_CRD, "Pool", "PoolList", "Namespaced", None),
    ] {
        let crd = crd(name);
        assert_eq!(
            crd.metadata.annotations.as_ref().unwrap()["api-approved.kubernetes.io"],
            "unapproved, kept for compatibility with galaxy"
        );
        assert_eq!((crd.spec.names.kind.as_str(), crd.spec.names.list_kind.as_deref()), (kind, Some(list)));
        assert_eq!((crd.spec.scope.as_str(), crd.spec.group.as_str()), (scope, names::API_GROUP));
        assert_eq!(crd.spec.names.short_names.unwrap_or_default(), short.into_iter().collect::<Vec<_>>());
        let [version] = &crd.spec.versions[..] else { panic!("one version") };
        assert_eq!((version.name.as_str(), version.served, version.storage), (names::API_VERSION, true, true));
    }
    let status = |name| crd(name).spec.versions[0].subresources.as_ref().is_some_and(|sub| sub.status.is_some());
    assert!(status(names::POOL_CRD));
    assert!(!status(names::FLOATING_IP_CRD));
}

/// Every path that columns, selectors and rules use is in the schema, or the API server shows nothing.
#[test]
fn paths_exist() {
    for crd in crds() {
        let schema = schema(&crd);
        let version = &crd.spec.versions[0];
        let columns = version.additional_printer_columns.iter().flatten().map(|column| &column.json_path);
        let selectable = version.selectable_fields.iter().flatten().map(|field| &field.json_path);
        for path in columns.chain(selectable).filter(|path| !path.starts_with(".metadata")) {
            let steps = path.split('[').next().unwrap().split('.').skip(1);
            let found = steps.fold(&schema, |schema, step| &schema["properties"][step]);
            assert!(found["type"].is_string(), "{path} of {:?}", crd.metadata.name);
        }
    }
    let selectable = crd(names::FLOATING_IP_CRD).spec.versions[0].selectable_fields.clone().unwrap();
    let paths: Vec<_> = selectable.iter().map(|field| field.json_path.as_str()).collect();
    assert_eq!(paths, [".spec.node", ".spec.owner.namespace", ".spec.pod.uid"]);
}

/// Every string is bounded, so that the API server can bound the cost of the rules; nothing is nullable or filled in.
#[test]
fn schemas_are_structural_and_bounded() {
    fn walk(schema: &Value, path: &str) {
        assert!(schema["type"].is_string(), "{path} has no type");
        assert_eq!(
            (&schema["nullable"], &schema["default"], &schema["$ref"]),
            (&Value::Null, &Value::Null, &Value::Null)
        );
        let bounded = !schema["maxLength"].is_null() || !schema["enum"].is_null() || !schema["format"].is_null();
        assert!(schema["type"] != "string" || bounded || path.contains(".conditions"), "{path} has no bound");
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            walk(property, &format!("{path}.{name}"));
        }
        if schema["type"] == "array" {
            assert!(schema["maxItems"].is_number(), "{path} has no bound");
            walk(&schema["items"], &format!("{path}[]"));
        }
    }
    for crd in crds() {
        walk(&schema(&crd), "");
    }
}

#[test]
fn old_and_hand_made_objects_are_valid() {
    let fip = schema(&crd(names::FLOATING_IP_CRD));
    let of = |spec: Value| json!({"apiVersion":"galaxy.k8s.io/v1alpha1","kind":"FloatingIP","metadata":{"name":"10.20.5.17"},"spec":spec});
    for spec in [
        json!({"key":"sts_shop_cart_cart-2","attribute":"{\"NodeName\":\"worker-3\",\"Uid\":\"u-81\"}","policy":1,"updateTime":"2024-03-05T08:00:12Z"}),
        json!({"key":"pool__reserved-for-node_","policy":2}),
        json!({"key":"dp_shop_web_","attribute":"","policy":1,"subnet":"10.0.0.0/24","updateTime":"2024-03-05T08:00:12.123456Z"}),
    ] {
        assert_eq!(errors(&fip, &of(spec)), [""; 0]);
    }
    for (spec, error) in [
        (json!({"policy":1}), ".spec.key: required"),
        (json!({"key":""}), ".spec.policy: required"),
        (json!({"key":"","policy":3}), ".spec.policy: above 2"),
        (json!({"key":"","policy":-1}), ".spec.policy: below 0"),
        (json!({"key":"","policy":0,"vlan":4095}), ".spec.vlan: above 4094"),
        (json!({"key":"","policy":0,"spare":"yes"}), ".spec.spare: not of type \"boolean\""),
        (json!({"key":"x".repeat(1025),"policy":0}), ".spec.key: too long"),
        (json!({"key":"","policy":0,"keys":1}), ".spec.keys: unknown"),
    ] {
        assert_eq!(errors(&fip, &of(spec)), [error]);
    }
    let state = errors(&fip, &of(json!({"key":"","policy":0,"state":"bound"})));
    assert!(state[0].starts_with(".spec.state: not one of"), "{state:?}");

    let pool = schema(&crd(names::POOL_CRD));
    let of = |size: Value| json!({"apiVersion":"galaxy.k8s.io/v1alpha1","kind":"Pool","metadata":{"name":"example-pool"},"size":size});
    assert_eq!(errors(&pool, &of(json!(4))), [""; 0]);
    assert_eq!(errors(&pool, &of(json!(-1))), [".size: below 0"]);
    assert_eq!(errors(&pool, &of(json!("4"))), [".size: not of type \"integer\""]);
    assert_eq!(errors(&pool, &json!({"preAllocateIP":true})), [".size: required"]);
}

/// The names that the rule admits are exactly those that the code writes and reads.
#[test]
fn rules() {
    let fip = schema(&crd(names::FLOATING_IP_CRD));
    let rules = fip["x-kubernetes-validations"].as_array().unwrap();
    assert!(rules[0]["rule"].as_str().unwrap().starts_with("self.metadata.name.matches('^("));
    assert!(rules.iter().all(|rule| rule["message"].as_str().unwrap().len() > 20));
    assert_eq!(fip["properties"]["metadata"]["properties"]["name"]["maxLength"], 39);
    assert_eq!(fip["properties"]["spec"]["x-kubernetes-validations"].as_array().unwrap().len(), 2);
}

/// The committed YAML is another notation of the same definition.
#[test]
fn yaml_says_the_same() {
    for crd in crds() {
        let path =
            format!("{}/../../deploy/crds/{}.yaml", env!("CARGO_MANIFEST_DIR"), crd.metadata.name.as_deref().unwrap());
        let committed: Value = serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let committed: CustomResourceDefinition = serde_json::from_value(committed).unwrap();
        assert_eq!(committed, crd, "run `cargo xtask gen`");
    }
}
