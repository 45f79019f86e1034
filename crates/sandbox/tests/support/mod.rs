//! What the tests of the cluster share.
#![allow(dead_code, reason = "each test binary uses a part of it")]

pub(crate) mod extender;

use std::{
    fmt::Debug,
    future::Future,
    time::{Duration, Instant},
};

use galaxy_sandbox::{
    cluster::{Options, SandboxCluster},
    controllers::ControllersConfig,
    nodes::{NodeSpec, NodesConfig},
};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// A cluster with six nodes in three racks whose waiting times are short.
pub(crate) fn quick() -> Options {
    Options {
        nodes: NodeSpec::racks(6, 3),
        controllers: ControllersConfig {
            node_monitor_period: Duration::from_millis(100),
            node_monitor_grace: Duration::from_millis(1500),
            max_toleration: Some(Duration::from_millis(300)),
            pod_gc_period: Duration::from_millis(100),
            pod_gc_quarantine: Duration::from_millis(200),
            custom: Vec::new(),
        },
        kubelets: NodesConfig {
            heartbeat: Some(Duration::from_millis(200)),
            start_delay: Duration::ZERO,
            stop_delay: Duration::ZERO,
            lifetime: Duration::from_millis(50),
            runtime: None,
        },
        ..Options::default()
    }
}

pub(crate) async fn start(options: Options) -> (SandboxCluster, Client) {
    let cluster = SandboxCluster::start(options).await.unwrap();
    let client = cluster.client("test");
    (cluster, client)
}

/// Waits until `probe` finds something; says what was missed.
pub(crate) async fn eventually<T, F, R>(what: &str, mut probe: F) -> T
where
    F: FnMut() -> R,
    R: Future<Output = Option<T>>,
{
    let start = Instant::now();
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(start.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn from<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

pub(crate) fn api<K>(client: &Client) -> Api<K>
where
    K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
{
    Api::default_namespaced(client.clone())
}

pub(crate) async fn create<K>(client: &Client, value: Value) -> K
where
    K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned,
{
    api::<K>(client).create(&PostParams::default(), &from(value)).await.unwrap()
}

pub(crate) async fn merge<K>(client: &Client, name: &str, patch: Value) -> K
where
    K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    api::<K>(client).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap()
}

/// The pods of the default namespace with label app=`app`, by name.
pub(crate) async fn pods(client: &Client, app: &str) -> Vec<Pod> {
    let labels = ListParams::default().labels(&format!("app={app}"));
    api::<Pod>(client).list(&labels).await.unwrap().items
}

pub(crate) async fn pod(client: &Client, name: &str) -> Option<Pod> {
    api::<Pod>(client).get_opt(name).await.unwrap()
}

pub(crate) async fn node(client: &Client, name: &str) -> Node {
    Api::<Node>::all(client.clone()).get(name).await.unwrap()
}

pub(crate) fn name(pod: &Pod) -> String {
    pod.metadata.name.clone().unwrap()
}

pub(crate) fn uid(pod: &Pod) -> String {
    pod.metadata.uid.clone().unwrap()
}

pub(crate) fn node_of(pod: &Pod) -> Option<String> {
    pod.spec.as_ref()?.node_name.clone()
}

pub(crate) fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a k8s_openapi::api::core::v1::PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|it| it.type_ == kind)
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|it| it.status == "True")
}

/// A pod template with label app=`app`.
pub(crate) fn template(app: &str, image: &str, annotations: Value) -> Value {
    json!({
        "metadata": {"labels": {"app": app}, "annotations": annotations},
        "spec": {"containers": [{"name": "c", "image": image}]},
    })
}

/// A pod that wants a floating IP.
pub(crate) fn floating_pod(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "image": "nginx", "resources": {
            "requests": {"tke.cloud.tencent.com/eni-ip": "1"}, "limits": {"tke.cloud.tencent.com/eni-ip": "1"},
        }}]},
    })
}
