//! A node: a namespace with an underlay device, and a gateway at its other end. All of it is gone when it is dropped.

use std::{
    fs,
    io::Write,
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use galaxy_agent::{
    cli::Options,
    runtime::proto::{
        ListPodSandboxRequest, ListPodSandboxResponse, PodSandbox,
        runtime_service_server::{RuntimeService, RuntimeServiceServer},
    },
    service::{self, Running},
};
use galaxy_api::{
    crd::crds,
    floatingip::{FloatingIP, FloatingIPSpec, OwnerReference, PodReference, State},
};
use galaxy_cni::netlink::{CONDEMNED, Net, Netns, Veth};
use galaxy_sandbox::apiserver::{self, Server};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use k8s_openapi::{
    api::{core::v1::Pod, events::v1::Event},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::wire::{answers, post};

pub(crate) const NODE: &str = "node-a";
/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Whether tests that make namespaces can run; else a line that no test harness swallows, and a count.
pub(crate) fn root() -> bool {
    static SKIPPED: AtomicUsize = AtomicUsize::new(0);
    if Netns::make().is_ok() {
        return true;
    }
    let count = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    let line = format!("\nSKIPPED {count} tests of the agent that need root, the last is {name}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    false
}

pub(crate) struct Lab {
    pub(crate) server: Server,
    pub(crate) client: Client,
    pub(crate) host: Net,
    pub(crate) gateway: Netns,
    pub(crate) dir: PathBuf,
    /// Container ids that the runtime lists; none if it refuses.
    pub(crate) sandboxes: Arc<Mutex<Option<Vec<String>>>>,
    pub(crate) flags: Vec<String>,
    running: Option<Running>,
    child: Option<Child>,
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// What a call says about itself.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) id: String,
    pub(crate) netns: String,
    pub(crate) ifname: String,
    pub(crate) args: String,
    pub(crate) config: Value,
}

impl Call {
    pub(crate) fn new(id: &str, netns: &Netns, pod: &Pod) -> Call {
        let (name, uid) = (pod.metadata.name.as_deref().unwrap(), pod.metadata.uid.as_deref().unwrap());
        Call {
            id: id.to_owned(),
            netns: netns.path().to_str().unwrap().to_owned(),
            ifname: "eth0".to_owned(),
            args: format!(
                "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={name};K8S_POD_UID={uid};K8S_POD_INFRA_CONTAINER_ID={id}"
            ),
            config: json!({ "cniVersion": "1.1.0", "name": "galaxy", "type": "galaxy-sdn" }),
        }
    }

    /// As containerd repeats it long after.
    pub(crate) fn late(&self) -> Call {
        Call { netns: String::new(), ..self.clone() }
    }

    pub(crate) fn body(&self, command: &str) -> Vec<u8> {
        let env = json!({
            "CNI_COMMAND": command, "CNI_CONTAINERID": self.id, "CNI_NETNS": self.netns, "CNI_IFNAME": self.ifname,
            "CNI_PATH": "/nowhere", "CNI_ARGS": self.args, "PATH": "/usr/bin:/bin",
        });
        json!({ "env": env, "config": STANDARD.encode(self.config.to_string()) }).to_string().into_bytes()
    }
}

impl Lab {
    /// A node whose pods with floating IPs are in network `underlay`, of galaxy-underlay-veth.
    pub(crate) async fn new() -> Lab {
        let dir = {
            static NUMBER: AtomicUsize = AtomicUsize::new(0);
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            std::env::temp_dir().join(format!("galaxy-agent-{}-{number}", std::process::id()))
        };
        fs::create_dir_all(dir.join("bin")).unwrap();
        let (host, gateway) = (Netns::make().unwrap(), Netns::make().unwrap());
        let mut outside = Net::open(&gateway, None).unwrap();
        let mac = |last| Some([2, 0, 0, 0, 1, last]);
        let veth = Veth { name: "eth0", mac: mac(1), peer: "eth0", peer_ns: &host, peer_mac: mac(11), mtu: Some(1450) };
        outside.create_veth(&veth).unwrap();
        let mut inside = Net::open(&host, None).unwrap();
        for (net, address) in [(&mut outside, "10.0.0.1/24"), (&mut inside, "10.0.0.11/24")] {
            let index = net.link("eth0").unwrap().unwrap().index;
            net.set_up(1).unwrap();
            net.set_up(index).unwrap();
            net.add_address(index, address.parse().unwrap(), true).unwrap();
        }
        let server = Server::start(apiserver::Options::default()).await.unwrap();
        let client = server.client("test");
        for crd in crds() {
            Api::<CustomResourceDefinition>::all(client.clone()).create(&PostParams::default(), &crd).await.unwrap();
        }
        let mut lab = Lab {
            server,
            client,
            host: inside,
            gateway,
            sandboxes: Arc::default(),
            flags: Vec::new(),
            dir,
            running: None,
            child: None,
        };
        lab.serve_runtime();
        lab.configure(&json!({ "NetworkConf": [lab.underlay("underlay")], "ENIIPNetwork": "underlay", "DefaultNetworks": ["other"] }));
        lab
    }

    /// Configuration of a network of galaxy-underlay-veth.
    pub(crate) fn underlay(&self, name: &str) -> Value {
        json!({ "name": name, "type": "galaxy-underlay-veth", "device": "eth0", "run_dir": self.dir.join("run") })
    }

    pub(crate) fn configure(&mut self, config: &Value) {
        fs::write(self.dir.join("galaxy.json"), config.to_string()).unwrap();
    }

    /// Flags of the agent in this lab.
    fn args(&self) -> Vec<String> {
        let path = |name: &str| self.dir.join(name).display().to_string();
        let mut args = vec![
            "galaxy".to_owned(),
            format!("--master={}", self.server.url()),
            format!("--hostname-override={NODE}"),
            format!("--json-config-path={}", path("galaxy.json")),
            format!("--network-conf-dir={}", path("net.d")),
            format!("--cni-paths={}", path("bin")),
            format!("--socket={}", path("galaxy.sock")),
            format!("--state-dir={}", path("state")),
            format!("--runtime-endpoint=unix://{}", path("cri.sock")),
            format!("--gc-dirs={}", path("by-name")),
            format!("--flannel-allocated-ip-dir={}", path("leases")),
            format!("--host-netns={}", self.host.ns().path().display()),
            "--bind=127.0.0.1".to_owned(),
            "--port=0".to_owned(),
            "--wait=2s".to_owned(),
            "--gc-interval=50ms".to_owned(),
            "--gc-age=1h".to_owned(),
        ];
        args.extend(self.flags.iter().cloned());
        args
    }

    /// Starts the agent in this process.
    pub(crate) async fn start(&mut self) {
        let options = Options::parse_args(self.args().into_iter().map(Into::into)).unwrap();
        let running = service::start(&options, self.server.client("galaxy")).await.unwrap();
        let agent = Arc::clone(&running.agent);
        self.running = Some(running);
        eventually("the agent knows the cluster", async || agent.cluster.lacking().is_none().then_some(())).await;
    }

    /// Starts the agent as a process of its own, which can be killed.
    pub(crate) async fn start_process(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_galaxy"));
        let child = command.args(&self.args()[1..]).stderr(Stdio::null()).spawn().unwrap();
        self.child = Some(child);
        let call = Call {
            id: "none".to_owned(),
            netns: String::new(),
            ifname: "eth0".to_owned(),
            args: String::new(),
            config: json!({ "cniVersion": "1.1.0", "name": "galaxy", "type": "galaxy-sdn" }),
        };
        eventually("the process serves", async || self.call(&call, "STATUS").await.ok().map(drop)).await;
    }

    /// The process, which is killed when it is dropped.
    pub(crate) fn take_child(&mut self) -> Dying {
        Dying(self.child.take().expect("a process was started"))
    }

    /// Ends the agent as kill -9 does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub(crate) async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
    }

    pub(crate) fn running(&self) -> &Running {
        self.running.as_ref().expect("the agent was started")
    }

    pub(crate) async fn post(&self, body: Vec<u8>) -> std::io::Result<(u16, String)> {
        let socket = self.dir.join("galaxy.sock");
        tokio::task::spawn_blocking(move || post(&socket, &body)).await.unwrap()
    }

    /// The result, or the message.
    pub(crate) async fn call(&self, call: &Call, command: &str) -> Result<Value, String> {
        match self.post(call.body(command)).await {
            Ok((200, body)) if body.is_empty() => Ok(Value::Null),
            Ok((200, body)) => Ok(serde_json::from_str(&body).unwrap()),
            Ok((_, body)) => Err(body),
            Err(error) => Err(error.to_string()),
        }
    }

    #[track_caller]
    pub(crate) fn add(&self, call: &Call) -> impl Future<Output = Value> {
        let (lab, call) = (self, call.clone());
        async move { lab.call(&call, "ADD").await.unwrap_or_else(|error| panic!("ADD: {error}")) }
    }

    pub(crate) async fn del(&self, call: &Call) {
        self.call(call, "DEL").await.unwrap_or_else(|error| panic!("DEL: {error}"));
    }

    fn serve_runtime(&self) {
        let listener = tokio::net::UnixListener::bind(self.dir.join("cri.sock")).unwrap();
        let service = RuntimeServiceServer::new(FakeRuntime(Arc::clone(&self.sandboxes)));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = TowerToHyperService::new(service.clone());
                tokio::spawn(async move {
                    let server = auto::Builder::new(TokioExecutor::new()).http2_only();
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
    }

    /// A pod that is bound to this node and wants a floating IP; with these addresses in its annotation.
    pub(crate) async fn pod(&self, name: &str, ips: &[&str]) -> Pod {
        let args = if ips.is_empty() { Value::Null } else { annotation(ips).into() };
        self.pod_with(name, json!({ "k8s.v1.cni.galaxy.io/args": args }), true).await
    }

    pub(crate) async fn pod_with(&self, name: &str, mut annotations: Value, wants_ip: bool) -> Pod {
        annotations.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let resources = if wants_ip { json!({ "tke.cloud.tencent.com/eni-ip": "1" }) } else { json!({}) };
        let pod = json!({
            "metadata": { "name": name, "annotations": annotations },
            "spec": {
                "nodeName": NODE,
                "containers": [{ "name": "c", "image": "i", "resources": { "requests": resources, "limits": resources } }],
            },
        });
        let api: Api<Pod> = Api::default_namespaced(self.client.clone());
        api.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap()
    }

    /// A pod with addresses that its FloatingIPs confirm.
    pub(crate) async fn confirmed(&self, name: &str, ips: &[&str]) -> Pod {
        let pod = self.pod(name, ips).await;
        for ip in ips {
            self.claim(ip, &pod, NODE).await;
        }
        pod
    }

    pub(crate) async fn delete_pod(&self, name: &str) {
        let api: Api<Pod> = Api::default_namespaced(self.client.clone());
        let params = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        api.delete(name, &params).await.unwrap();
    }

    /// The FloatingIP of an address, as galaxy-ipam writes it for a bound pod.
    pub(crate) async fn claim(&self, ip: &str, pod: &Pod, node: &str) {
        let name = pod.metadata.name.clone().unwrap();
        let spec = FloatingIPSpec {
            key: format!("NULL_default_NULL_{name}"),
            state: Some(State::Bound),
            owner: Some(OwnerReference {
                kind: "Pod".to_owned(),
                namespace: "default".to_owned(),
                name: name.clone(),
                ..OwnerReference::default()
            }),
            pod: Some(PodReference { name, uid: pod.metadata.uid.clone().unwrap() }),
            node: Some(node.to_owned()),
            address: Some(format!("{ip}/24").parse().unwrap()),
            gateway: Some("10.0.0.1".parse().unwrap()),
            vlan: Some(0),
            ..FloatingIPSpec::default()
        };
        self.put(ip, spec).await;
    }

    /// Makes the FloatingIP of an address, in the place of another.
    pub(crate) async fn put(&self, ip: &str, spec: FloatingIPSpec) {
        let api: Api<FloatingIP> = Api::all(self.client.clone());
        let object = FloatingIP::for_address(ip.parse::<IpAddr>().unwrap(), spec);
        let _ = api.delete(object.metadata.name.as_deref().unwrap(), &DeleteParams::default()).await;
        api.create(&PostParams::default(), &object).await.unwrap();
    }

    pub(crate) async fn annotate(&self, name: &str, annotations: Value) {
        let api: Api<Pod> = Api::default_namespaced(self.client.clone());
        let patch = Patch::Merge(json!({ "metadata": { "annotations": annotations } }));
        api.patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    /// Waits for an event about a pod whose note contains all words.
    pub(crate) async fn event(&self, pod: &str, words: &[&str]) -> Event {
        let api: Api<Event> = Api::default_namespaced(self.client.clone());
        eventually(&format!("an event on {pod} with {words:?}"), async || {
            let events = api.list(&Default::default()).await.unwrap().items;
            events.into_iter().find(|event| {
                let about = event.regarding.as_ref().and_then(|object| object.name.as_deref());
                let note = event.note.as_deref().unwrap_or_default();
                about == Some(pod) && words.iter().all(|word| note.contains(word))
            })
        })
        .await
    }

    /// Devices of pods in the host's namespace, without those that only wait to be deleted.
    pub(crate) fn devices(&mut self) -> Vec<String> {
        let links = self.host.links().unwrap().into_iter();
        links
            .filter(|link| link.alias.starts_with("galaxy/") && link.group != CONDEMNED)
            .map(|link| link.alias)
            .collect()
    }

    /// Devices that wait to be deleted.
    pub(crate) fn condemned(&mut self) -> usize {
        self.host.links().unwrap().iter().filter(|link| link.group == CONDEMNED).count()
    }

    /// All traces of pods: devices, routes, proxy entries, records, state files.
    pub(crate) fn traces(&mut self) -> Vec<String> {
        let mut traces = self.devices();
        let routes = self.host.routes().unwrap().into_iter().filter(|route| route.dst.prefix_len() == 32);
        traces.extend(routes.map(|route| format!("route {}", route.dst)));
        traces.extend(self.host.proxies().unwrap().into_iter().map(|(_, ip)| format!("proxy {ip}")));
        for folder in ["state", "run/attachments"] {
            let entries = fs::read_dir(self.dir.join(folder)).into_iter().flatten().flatten();
            traces.extend(entries.map(|entry| format!("{folder}/{}", entry.file_name().display())));
        }
        traces
    }

    /// Whether the gateway gets answers from an address.
    pub(crate) fn answers(&self, ip: &str, patience: Duration) -> bool {
        answers(&self.gateway, ip.parse::<Ipv4Addr>().unwrap(), patience)
    }

    /// A CNI plugin that is a shell script. It finds its standard input in `$in`.
    pub(crate) fn script(&self, name: &str, script: &str) {
        let path = self.dir.join("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\nin=$(cat)\nlog={}/log\n{script}\n", self.dir.display())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// What scripts wrote to `$log`.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }
}

/// Content of the annotation with addresses.
pub(crate) fn annotation(ips: &[&str]) -> String {
    let infos: Vec<Value> =
        ips.iter().map(|ip| json!({ "ip": format!("{ip}/24"), "vlan": 0, "gateway": "10.0.0.1" })).collect();
    json!({ "common": { "ipinfos": infos } }).to_string()
}

/// Waits until `probe` finds something; says what was missed.
pub(crate) async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(begin.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A process that is killed when this is dropped.
pub(crate) struct Dying(Child);

impl Drop for Dying {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct FakeRuntime(Arc<Mutex<Option<Vec<String>>>>);

#[tonic::async_trait]
impl RuntimeService for FakeRuntime {
    async fn list_pod_sandbox(
        &self,
        _: tonic::Request<ListPodSandboxRequest>,
    ) -> Result<tonic::Response<ListPodSandboxResponse>, tonic::Status> {
        let listed = self.0.lock().unwrap().clone();
        let ids = listed.ok_or_else(|| tonic::Status::unavailable("still starting"))?;
        let items = ids.into_iter().map(|id| PodSandbox { id }).collect();
        Ok(tonic::Response::new(ListPodSandboxResponse { items }))
    }
}
