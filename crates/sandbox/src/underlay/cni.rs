//! Calls of galaxy-sdn, as a container runtime makes them.

use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, bail};
use galaxy_cni::netlink::Netns;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::control::meta::Meta;

/// What a runtime asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Add,
    Del,
    Status,
}

/// What a runtime keeps of a sandbox: its own id, and whose it is.
#[derive(Clone, Debug, Default)]
pub(super) struct Pause {
    pub(super) id: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
}

impl Pause {
    /// A new sandbox for a pod.
    pub(super) fn of(pod: &Pod) -> Self {
        Pause {
            id: uuid::Uuid::new_v4().simple().to_string(),
            namespace: pod.ns().to_owned(),
            name: pod.name().to_owned(),
            uid: pod.uid().to_owned(),
        }
    }

    /// For calls that concern no sandbox.
    pub(super) fn none() -> Self {
        Pause::default()
    }
}

/// Makes one call from within a node.
pub(super) fn call(
    program: &Path,
    socket: &Path,
    node: &Netns,
    call: Call,
    pause: &Pause,
    pod: Option<&Netns>,
) -> anyhow::Result<()> {
    let verb = match call {
        Call::Add => "ADD",
        Call::Del => "DEL",
        Call::Status => "STATUS",
    };
    let Pause { id, namespace, name, uid } = pause;
    let args = format!(
        "IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name};K8S_POD_INFRA_CONTAINER_ID={id};K8S_POD_UID={uid}"
    );
    let conf = json!({ "cniVersion": "1.1.0", "name": "galaxy", "type": "galaxy-sdn", "socket": socket });
    let mut command = Command::new(program);
    command.args(["plugin", "galaxy-sdn"]).env_clear();
    command.env("CNI_COMMAND", verb).env("CNI_CONTAINERID", id).env("CNI_IFNAME", "eth0").env("CNI_ARGS", args);
    command.env("CNI_PATH", "/opt/cni/bin").env("CNI_NETNS", pod.map_or(Path::new(""), Netns::path));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = node.within(|| command.spawn())?.context("cannot start galaxy-sdn")?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that ends without reading says why.
        let _ = stdin.write_all(conf.to_string().as_bytes());
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default();
    bail!("{verb}: {}", said["msg"].as_str().unwrap_or("galaxy-sdn ended without an answer"))
}
