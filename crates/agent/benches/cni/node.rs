//! A node in a namespace, with a gateway at the other end of its underlay device, the agent, and pods to be started. All is gone when it is
//! dropped.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use galaxy_api::{
    crd::crds,
    floatingip::{FloatingIP, FloatingIPSpec, OwnerReference, PodReference, State},
};
use galaxy_cni::netlink::{Net, Netns, Veth};
use galaxy_sandbox::{
    apiserver::{self, Server},
    underlay::ping,
};
use k8s_openapi::{
    api::core::v1::Pod, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{Api, Client, api::PostParams};
use serde_json::{Value, json};

use super::runtime::{Call, REFERENCE};

const NAME: &str = "node";
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Node {
    host: Net,
    gateway: Netns,
    dir: PathBuf,
    /// Uids, by number.
    pods: Vec<String>,
    agent: Child,
    _server: Server,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.agent.kill();
        let _ = self.agent.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Node {
    /// A node with so many pods bound to it, and an agent that is ready.
    pub(crate) async fn start(program: &Path, pods: usize) -> Result<Node> {
        let (host, gateway) = wire()?;
        let dir = std::env::temp_dir().join(format!("galaxy-bench-cni-{}", std::process::id()));
        fs::create_dir_all(dir.join("bin")).with_context(|| format!("cannot create {}", dir.display()))?;
        for name in ["galaxy-underlay-veth", "galaxy-sdn"] {
            symlink(program, dir.join("bin").join(name))?;
        }
        let server = Server::start(apiserver::Options::default()).await?;
        let client = server.client("bench");
        for crd in crds() {
            let api: Api<CustomResourceDefinition> = Api::all(client.clone());
            api.create(&PostParams::default(), &crd).await?;
        }
        let network = json!({ "name": "underlay", "type": "galaxy-underlay-veth", "device": "eth0", "run_dir": dir.join("agent") });
        let conf = json!({ "NetworkConf": [network], "ENIIPNetwork": "underlay" });
        fs::write(dir.join("galaxy.json"), conf.to_string())?;
        let path = |name: &str| dir.join(name).display().to_string();
        let agent = Command::new(env!("CARGO_BIN_EXE_galaxy"))
            .arg(format!("--master={}", server.url()))
            .arg(format!("--hostname-override={NAME}"))
            .arg(format!("--json-config-path={}", path("galaxy.json")))
            .arg(format!("--network-conf-dir={}", path("net.d")))
            .arg(format!("--socket={}", path("galaxy.sock")))
            .arg(format!("--state-dir={}", path("state")))
            .arg(format!("--host-netns={}", host.ns().path().display()))
            .args(["--runtime-endpoint=", "--bind=127.0.0.1", "--port=0", "--log-level=error"])
            .stdin(Stdio::null())
            .spawn()
            .context("cannot start the agent")?;
        let mut node = Node { host, gateway, dir, pods: Vec::new(), agent, _server: server };
        for number in 0..pods {
            node.pods.push(bind(&client, number).await?);
        }
        let (status, begin) = (node.agent(0), Instant::now());
        while let Err(lacking) = status.run(node.host(), "STATUS", &node.gateway) {
            ensure!(begin.elapsed() < PATIENCE, "the agent is not ready: {lacking:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(node)
    }

    pub(crate) fn host(&self) -> &Netns {
        self.host.ns()
    }

    /// galaxy-underlay-veth as a plugin.
    pub(crate) fn plugin(&self, number: usize) -> Call {
        let info = json!([{ "ip": format!("{}/16", address(number)), "vlan": 0, "gateway": "10.0.0.1" }]);
        let conf = json!({
            "cniVersion": "1.0.0", "name": "ours", "type": "galaxy-underlay-veth", "device": "eth0", "run_dir": self.dir.join("run"),
        });
        self.call("galaxy-underlay-veth", number, format!("IgnoreUnknown=1;ipinfos={info}"), conf)
    }

    /// The same by way of galaxy-sdn and the agent.
    pub(crate) fn agent(&self, number: usize) -> Call {
        let (uid, pod) = (&self.pods.get(number).map_or("", String::as_str), pod_name(number));
        let args = format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={pod};K8S_POD_UID={uid}");
        let conf = json!({
            "cniVersion": "1.0.0", "name": "agent", "type": "galaxy-sdn", "socket": self.dir.join("galaxy.sock"),
        });
        Call { ip: Some(address(number)), ..self.call("galaxy-sdn", number, args, conf) }
    }

    /// bridge and host-local.
    pub(crate) fn bridge(&self, number: usize) -> Call {
        let conf = json!({
            "cniVersion": "1.0.0", "name": "theirs", "type": "bridge", "bridge": "cni0", "isGateway": true,
            "ipam": {
                "type": "host-local", "dataDir": self.dir.join("ipam"),
                "ranges": [[{ "subnet": "10.9.0.0/16" }]], "routes": [{ "dst": "0.0.0.0/0" }],
            },
        });
        let call = self.call("bridge", number, "IgnoreUnknown=1".to_owned(), conf);
        Call { program: Path::new(REFERENCE).join("bridge"), ..call }
    }

    fn call(&self, name: &'static str, number: usize, args: String, conf: Value) -> Call {
        Call { program: self.dir.join("bin").join(name), name, id: format!("{name}-{number}"), args, conf, ip: None }
    }

    /// Deletes a pair whose other end is in another namespace, by the kernel alone.
    pub(crate) fn delete_bare_veth(&mut self) -> Result<Duration> {
        let pod = Netns::make()?;
        let veth = Veth { name: "bare", mac: None, peer: "eth0", peer_ns: &pod, peer_mac: None, mtu: None };
        self.host.create_veth(&veth)?;
        let index = self.host.link("bare")?.context("no veth")?.index;
        self.host.set_up(index)?;
        let mut inside = Net::open(&pod, None)?;
        let eth0 = inside.link("eth0")?.context("no veth")?.index;
        inside.set_up(eth0)?;
        let begin = Instant::now();
        self.host.delete(&[index])?;
        Ok(begin.elapsed())
    }

    /// Waits until no device of a pod is left.
    pub(crate) fn devices_gone(&mut self) -> Result<()> {
        let begin = Instant::now();
        while self.host.links()?.iter().any(|link| link.alias.starts_with("galaxy/")) {
            ensure!(begin.elapsed() < PATIENCE, "devices of deleted pods are still there");
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Whether an address answers the gateway.
    pub(crate) fn answers(&self, ip: IpAddr) -> bool {
        matches!(self.gateway.within(|| ping(ip)), Ok(Ok(())))
    }
}

/// Two namespaces with a wire: the host's end is its underlay device.
fn wire() -> Result<(Net, Netns)> {
    let (host, gateway) = (Netns::make().context("namespaces need root")?, Netns::make()?);
    let mut outside = Net::open(&gateway, None)?;
    let veth = Veth { name: "eth0", mac: None, peer: "eth0", peer_ns: &host, peer_mac: None, mtu: None };
    outside.create_veth(&veth).context("this kernel has no veths")?;
    let mut inside = Net::open(&host, None)?;
    for (net, ip) in [(&mut outside, "10.0.0.1/16"), (&mut inside, "10.0.0.11/16")] {
        let index = net.link("eth0")?.context("no veth")?.index;
        net.set_up(1)?;
        net.set_up(index)?;
        net.add_address(index, ip.parse()?, true)?;
    }
    Ok((inside, gateway))
}

fn pod_name(number: usize) -> String {
    format!("pod-{number}")
}

fn address(number: usize) -> IpAddr {
    let [.., third, fourth] = (256 + 2 + number).to_be_bytes();
    Ipv4Addr::new(10, 0, third, fourth).into()
}

/// Makes a pod as galaxy-ipam leaves it when it is bound.
async fn bind(client: &Client, number: usize) -> Result<String> {
    let (name, ip) = (pod_name(number), address(number));
    let infos = json!({ "common": { "ipinfos": [{ "ip": format!("{ip}/16"), "vlan": 0, "gateway": "10.0.0.1" }] } });
    let resources = json!({ "tke.cloud.tencent.com/eni-ip": "1" });
    let pod = json!({
        "metadata": { "name": name, "annotations": { "k8s.v1.cni.galaxy.io/args": infos.to_string() } },
        "spec": {
            "nodeName": NAME,
            "containers": [{ "name": "c", "image": "i", "resources": { "requests": resources, "limits": resources } }],
        },
    });
    let api: Api<Pod> = Api::default_namespaced(client.clone());
    let pod = api.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
    let uid = pod.metadata.uid.context("the API server gives no uid")?;
    let spec = FloatingIPSpec {
        key: format!("NULL_default_NULL_{name}"),
        state: Some(State::Bound),
        owner: Some(OwnerReference {
            kind: "Pod".to_owned(),
            namespace: "default".to_owned(),
            name: name.clone(),
            ..OwnerReference::default()
        }),
        pod: Some(PodReference { name, uid: uid.clone() }),
        node: Some(NAME.to_owned()),
        address: Some(format!("{ip}/16").parse()?),
        gateway: Some("10.0.0.1".parse()?),
        vlan: Some(0),
        ..FloatingIPSpec::default()
    };
    let api: Api<FloatingIP> = Api::all(client.clone());
    api.create(&PostParams::default(), &FloatingIP::for_address(ip, spec)).await?;
    Ok(uid)
}
