//! An API server with two nodes and pools, and the service beside it.

use std::{
    fmt::Debug,
    panic::Location,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use galaxy_api::{FloatingIP, config::FileConfig};
use galaxy_ipam::{
    cli::Options,
    clock::SystemClock,
    cloud::CloudProvider,
    service::{self, Running, Setup},
};
use galaxy_sandbox::apiserver::{Options as ServerOptions, Server};
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode};
use hyper_util::{client::legacy::Client as HttpClient, rt::TokioExecutor};
use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{ConfigMap, Node, Pod},
};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// How long anything may take that is bound to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// The User-Agent of the service.
pub(crate) const AGENT: &str = "galaxy-ipam";

/// Two addresses for each of the racks 1 and 2.
pub(crate) const POOLS: &str = r#"[
    {"nodeSubnets":["10.0.1.0/24"],"ips":["10.100.1.2~10.100.1.3"],"subnet":"10.100.1.0/24","gateway":"10.100.1.1"},
    {"nodeSubnets":["10.0.2.0/24"],"ips":["10.100.2.2~10.100.2.3"],"subnet":"10.100.2.0/24","gateway":"10.100.2.1","vlan":2}]"#;

pub(crate) struct Site {
    pub(crate) kubernetes: Server,
    /// The client of whoever is not the service.
    pub(crate) client: Client,
    pub(crate) service: Running,
}

impl Site {
    /// A cluster with nodes n1 (rack 1) and n2 (rack 2) and [`POOLS`] in force.
    pub(crate) async fn new() -> Self {
        let kubernetes = Self::cluster(Some(POOLS)).await;
        let site = Self::serve(kubernetes, &[], None).await;
        site.service.ready(PATIENCE).await.unwrap();
        site
    }

    pub(crate) async fn cluster(pools: Option<&str>) -> Server {
        let kubernetes = Server::start(ServerOptions::default()).await.unwrap();
        let client = kubernetes.client("test");
        for (name, ip) in [("n1", "10.0.1.11"), ("n2", "10.0.2.11")] {
            let nodes: Api<Node> = Api::all(client.clone());
            let status = json!({"addresses": [{"type": "InternalIP", "address": ip}],
                "conditions": [{"type": "Ready", "status": "True"}]});
            nodes.create(&PostParams::default(), &object(json!({"metadata": {"name": name}}))).await.unwrap();
            let patch = Patch::Merge(json!({ "status": status }));
            nodes.patch_status(name, &PatchParams::default(), &patch).await.unwrap();
        }
        if let Some(pools) = pools {
            configure(&client, pools).await;
        }
        kubernetes
    }

    /// Starts the service for a cluster.
    pub(crate) async fn serve(kubernetes: Server, flags: &[&str], cloud: Option<Arc<dyn CloudProvider>>) -> Self {
        let mut config = kubernetes.config(AGENT);
        config.default_retry = false;
        let args =
            ["galaxy-ipam", "--bind=127.0.0.1", "--port=0", "--api-port=0", "--leader-elect=false", "--api-auth=none"];
        let options = Options::parse_args(args.iter().chain(flags).map(Into::into)).unwrap();
        let client = kubernetes.client("test");
        let setup = Setup {
            client: Client::try_from(config).unwrap(),
            options,
            file: FileConfig::default(),
            clock: Arc::new(SystemClock::start()),
            cloud,
        };
        let service = service::start(setup).await.unwrap();
        Site { kubernetes, client, service }
    }

    pub(crate) async fn configure(&self, pools: &str) {
        configure(&self.client, pools).await;
    }

    /// Sends a request to the port where the path is served.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: impl Into<Bytes>,
    ) -> (StatusCode, String) {
        let server = if path.starts_with("/v1/ip") { self.service.api } else { self.service.extender };
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{server}{path}"))
            .header("Content-Type", content_type)
            .body(Full::new(body.into()))
            .unwrap();
        let client = HttpClient::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
        let (parts, body) = client.request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (parts.status, String::from_utf8(body.to_vec()).unwrap())
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Value {
        let (status, text) = self.send(Method::POST, path, "application/json", body.to_string()).await;
        assert_eq!(status, StatusCode::OK, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    /// Sends a request to the HTTP API.
    pub(crate) async fn api(&self, method: Method, path: &str, body: &str) -> Value {
        let (_, text) = self.send(method, path, "application/json", body.to_owned()).await;
        serde_json::from_str(&text).unwrap()
    }

    /// The names of the nodes that pass.
    pub(crate) async fn filter(&self, pod: &Pod, nodes: &[&str]) -> Vec<String> {
        let answer = self.post("/v1/filter", &json!({"Pod": pod, "NodeNames": nodes})).await;
        assert_eq!(answer.get("error"), None, "{answer}");
        serde_json::from_value(answer["NodeNames"].clone()).unwrap()
    }

    /// The error of a bind; empty for success.
    pub(crate) async fn bind(&self, pod: &Pod, node: &str) -> String {
        let meta = &pod.metadata;
        let body = json!({"PodName": meta.name, "PodNamespace": meta.namespace, "PodUID": meta.uid, "Node": node});
        self.post("/v1/bind", &body).await["Error"].as_str().unwrap().to_owned()
    }

    /// Filters and binds, and returns the addresses in the pod's annotation.
    pub(crate) async fn place(&self, pod: &Pod, node: &str) -> Vec<String> {
        assert_eq!(self.filter(pod, &[node]).await, [node]);
        assert_eq!(self.bind(pod, node).await, "");
        self.addresses(pod).await
    }

    /// The addresses in the annotation of a pod.
    pub(crate) async fn addresses(&self, pod: &Pod) -> Vec<String> {
        let args = self.args(pod).await;
        let infos = args["common"]["ipinfos"].as_array().cloned().unwrap_or_default();
        infos.iter().map(|info| info["ip"].as_str().unwrap().split('/').next().unwrap().to_owned()).collect()
    }

    /// The args annotation of a pod.
    pub(crate) async fn args(&self, pod: &Pod) -> Value {
        let pod = self.pods().get(pod.metadata.name.as_deref().unwrap()).await.unwrap();
        let annotations = pod.metadata.annotations.unwrap_or_default();
        annotations.get("k8s.v1.cni.galaxy.io/args").map_or(Value::Null, |text| serde_json::from_str(text).unwrap())
    }

    pub(crate) fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), "default")
    }

    pub(crate) fn fips(&self) -> Api<FloatingIP> {
        Api::all(self.client.clone())
    }

    /// Every FloatingIP: name, state and pod.
    pub(crate) async fn states(&self) -> Vec<(String, String, String)> {
        let list = self.fips().list(&Default::default()).await.unwrap();
        let line = |fip: FloatingIP| {
            let state = fip.spec.state.map(|state| format!("{state:?}")).unwrap_or_default();
            (fip.metadata.name.unwrap(), state, fip.spec.pod.map(|pod| pod.name).unwrap_or_default())
        };
        list.items.into_iter().map(line).collect()
    }

    /// Makes a pod that wants an address, with these annotations and this owner.
    pub(crate) async fn pod(&self, name: &str, annotations: Value, owner: Option<Value>) -> Pod {
        let requests = json!({"tke.cloud.tencent.com/eni-ip": "1"});
        let pod = json!({
            "metadata": {"name": name, "annotations": annotations, "ownerReferences": owner.into_iter().collect::<Vec<_>>()},
            "spec": {"containers": [{"name": "c", "image": "x", "resources": {"requests": requests, "limits": requests}}]}});
        self.pods().create(&PostParams::default(), &object(pod)).await.unwrap()
    }

    /// Deletes a pod as kubelet would after its grace period.
    pub(crate) async fn delete_pod(&self, pod: &Pod) {
        let params = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        self.pods().delete(pod.metadata.name.as_deref().unwrap(), &params).await.unwrap();
    }

    /// Makes an object in the default namespace.
    pub(crate) async fn create<K>(&self, json: Value) -> K
    where
        K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + serde::Serialize
            + DeserializeOwned
            + Clone
            + Debug,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), "default");
        api.create(&PostParams::default(), &object(json)).await.unwrap()
    }

    /// What the service asked of the API server since a mark, as `verb resource`; watches and events left out.
    pub(crate) fn calls_since(&self, mark: u64) -> Vec<String> {
        let calls = self.kubernetes.calls().since(mark);
        let ours = calls.iter().map(|answered| &answered.call).filter(|call| call.user_agent == AGENT);
        let asked = ours.filter(|call| call.verb != "watch" && call.resource != "events");
        asked
            .map(|call| match call.subresource.as_str() {
                "" => format!("{} {}", call.verb, call.resource),
                sub => format!("{} {}/{sub}", call.verb, call.resource),
            })
            .collect()
    }
}

async fn configure(client: &Client, pools: &str) {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "kube-system");
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "floatingip-config"},
        "data": {"floatingips": pools}});
    if maps.get_opt("floatingip-config").await.unwrap().is_some() {
        maps.patch("floatingip-config", &PatchParams::default(), &Patch::Merge(map)).await.unwrap();
    } else {
        maps.create(&PostParams::default(), &object(map)).await.unwrap();
    }
}

pub(crate) fn object<K: DeserializeOwned>(json: Value) -> K {
    serde_json::from_value(json).unwrap()
}

/// A selector and a template, for whatever makes pods.
pub(crate) fn template() -> Value {
    json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}})
}

/// An owner reference of a controller.
pub(crate) fn owner(api_version: &str, kind: &str, name: &str, uid: &str) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "name": name, "uid": uid, "controller": true})
}

/// Waits until a look at the world shows what is expected.
#[track_caller]
pub(crate) fn eventually<T: PartialEq + Debug>(
    expected: T,
    mut look: impl AsyncFnMut() -> T,
) -> impl Future<Output = ()> {
    let (caller, begun) = (Location::caller(), Instant::now());
    async move {
        loop {
            let seen = look().await;
            if seen == expected {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{caller}: still {seen:?} instead of {expected:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
