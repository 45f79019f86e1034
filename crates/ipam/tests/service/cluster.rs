//! Workloads and pools, as the watches bring them.

use galaxy_api::Pool;
use k8s_openapi::{
    api::apps::v1::{Deployment, ReplicaSet},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::site::{Site, eventually, object, owner, template};

#[tokio::test]
async fn a_deployment_leaves_its_address_to_the_next_pod_and_frees_it_when_deleted() {
    let site = Site::new().await;
    let spec = json!({"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "strategy": {"type": "Recreate"},
        "template": template()});
    let web: Deployment = site.create(json!({"metadata": {"name": "web"}, "spec": spec})).await;
    let by = owner("apps/v1", "Deployment", "web", web.metadata.uid.as_deref().unwrap());
    let set = json!({"metadata": {"name": "web-1", "ownerReferences": [by],
            "annotations": {"deployment.kubernetes.io/revision": "1"}},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": template()}});
    let set: ReplicaSet = site.create(set).await;
    let of_set = || Some(owner("apps/v1", "ReplicaSet", "web-1", set.metadata.uid.as_deref().unwrap()));
    let immutable = json!({"k8s.v1.cni.galaxy.io/release-policy": "immutable"});
    let first = site.pod("web-1-aaaaa", immutable.clone(), of_set()).await;
    eventually(vec!["n1".to_owned()], async || site.filter(&first, &["n1"]).await).await;
    let ips = site.place(&first, "n1").await;
    let fip = site.fips().get(&ips[0]).await.unwrap();
    assert_eq!(fip.spec.key, "dp_default_web_web-1-aaaaa");
    assert_eq!(fip.spec.owner.unwrap().kind, "Deployment");
    site.delete_pod(&first).await;
    eventually(vec![(ips[0].clone(), "Reserved".to_owned(), String::new())], async || site.states().await).await;
    let second = site.pod("web-1-bbbbb", immutable, of_set()).await;
    assert_eq!(site.filter(&second, &["n1", "n2"]).await, ["n1"]);
    assert_eq!(site.place(&second, "n1").await, ips);

    site.delete_pod(&second).await;
    let deployments: Api<Deployment> = Api::namespaced(site.client.clone(), "default");
    deployments.delete("web", &DeleteParams::default()).await.unwrap();
    eventually(vec![], async || site.states().await).await;
}

fn crd(scale: Value) -> CustomResourceDefinition {
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    object(json!({"metadata": {"name": "tapps.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
        "names": {"kind": "TApp", "listKind": "TAppList", "plural": "tapps", "singular": "tapp"},
        "versions": [{"name": "v2", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
            "subresources": scale}]}}))
}

#[tokio::test]
async fn a_custom_workload_is_watched_on_demand_or_the_reason_is_told() {
    let site = Site::new().await;
    let crds: Api<CustomResourceDefinition> = Api::all(site.client.clone());
    crds.create(&PostParams::default(), &crd(json!({}))).await.unwrap();
    let resource = ApiResource {
        group: "example.com".into(),
        version: "v2".into(),
        api_version: "example.com/v2".into(),
        kind: "TApp".into(),
        plural: "tapps".into(),
    };
    let tapps: Api<DynamicObject> = Api::namespaced_with(site.client.clone(), "default", &resource);
    let demo =
        json!({"apiVersion": "example.com/v2", "kind": "TApp", "metadata": {"name": "demo"}, "spec": {"size": 1}});
    let demo = tapps.create(&PostParams::default(), &object(demo)).await.unwrap();

    let immutable = json!({"k8s.v1.cni.galaxy.io/release-policy": "immutable"});
    let by = owner("example.com/v2", "TApp", "demo", demo.metadata.uid.as_deref().unwrap());
    let pod = site.pod("demo-0", immutable, Some(by)).await;
    let reason = async || {
        let answer = site.post("/v1/filter", &json!({"Pod": pod, "NodeNames": ["n1"]})).await;
        answer["failedNodes"]["n1"].as_str().unwrap_or_default().to_owned()
    };
    eventually(true, async || reason().await.contains("tapps.example.com has no scale subresource")).await;
    let scale = json!({"scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"}});
    let patch = Patch::Merge(json!({"spec": {"versions": crd(scale).spec.versions}}));
    crds.patch("tapps.example.com", &PatchParams::default(), &patch).await.unwrap();
    eventually(vec!["n1".to_owned()], async || site.filter(&pod, &["n1"]).await).await;
    let ips = site.place(&pod, "n1").await;
    site.delete_pod(&pod).await;
    let reserved = vec![(ips[0].clone(), "Reserved".to_owned(), "demo-0".to_owned())];
    eventually(reserved, async || site.states().await).await;
    let patch = Patch::Merge(json!({"spec": {"size": 0}}));
    tapps.patch("demo", &PatchParams::default(), &patch).await.unwrap();
    eventually(vec![], async || site.states().await).await;
}

#[tokio::test]
async fn a_pool_made_with_kubectl_is_filled_and_says_so() {
    let site = Site::new().await;
    let pools: Api<Pool> = Api::namespaced(site.client.clone(), "kube-system");
    let blue = json!({"metadata": {"name": "blue"}, "size": 5, "preAllocateIP": true});
    pools.create(&PostParams::default(), &object(blue)).await.unwrap();
    let status = async |api: &Api<Pool>, name: &str| {
        let status = api.get(name).await.unwrap().status.unwrap_or_default();
        let conditions: Vec<(String, String)> =
            status.conditions.into_iter().map(|condition| (condition.status, condition.reason)).collect();
        (status.real_size, conditions)
    };
    let say =
        |words: &[(&str, &str)]| words.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<Vec<_>>();
    let short = (4, say(&[("True", "Accepted"), ("False", "NoEnoughIPs")]));
    eventually(short, async || status(&pools, "blue").await).await;
    let patch = Patch::Merge(json!({"size": 4}));
    pools.patch("blue", &PatchParams::default(), &patch).await.unwrap();
    let full = (4, say(&[("True", "Accepted"), ("True", "Reserved")]));
    eventually(full, async || status(&pools, "blue").await).await;

    let others: Api<Pool> = Api::namespaced(site.client.clone(), "default");
    others.create(&PostParams::default(), &object(json!({"metadata": {"name": "blue"}, "size": 1}))).await.unwrap();
    eventually((0, say(&[("False", "NameTaken")])), async || status(&others, "blue").await).await;
}
