//! The configuration of containerd and kubelet.

use std::path::Path;

use galaxy_plane::Runtime;
use serde_json::{Value, json};

/// The image that holds a pod's namespaces.
pub(crate) const PAUSE: &str = "galaxy.test/pause:1";

/// containerd's configuration file. Its CNI folders are the usual ones, `/etc/cni/net.d` and `/opt/cni/bin`.
pub(crate) fn containerd(runtime: Runtime, runc: &Path) -> String {
    let runc = runc.display();
    match runtime {
        Runtime::Containerd2 => format!(
            r#"version = 3
imports = []
disabled_plugins = ['io.containerd.nri.v1.nri']
[plugins.'io.containerd.cri.v1.images']
  snapshotter = 'overlayfs'
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = '{PAUSE}'
[plugins.'io.containerd.cri.v1.runtime']
  disable_apparmor = true
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    use_internal_loopback = true
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = 'io.containerd.runc.v2'
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      BinaryName = '{runc}'
      SystemdCgroup = false
"#
        ),
        Runtime::Debian => format!(
            r#"version = 2
[plugins.'io.containerd.grpc.v1.cri']
  sandbox_image = '{PAUSE}'
  disable_apparmor = true
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.runc]
    runtime_type = 'io.containerd.runc.v2'
    [plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.runc.options]
      BinaryName = '{runc}'
"#
        ),
    }
}

/// kubelet's configuration. The API server's calls for logs and exec are known by a certificate of this authority.
pub(crate) fn kubelet(cgroup: &str, client_authority: &Path) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "failCgroupV1": false,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroup,
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": false},
            "x509": {"clientCAFile": client_authority},
        },
        "authorization": {"mode": "AlwaysAllow"},
        "failSwapOn": false,
        "resolvConf": "",
        "makeIPTablesUtilChains": false,
        "localStorageCapacityIsolation": false,
        // Images are brought, not pulled, and the disk is not the node's own.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"memory.available": "0%", "nodefs.available": "0%", "imagefs.available": "0%", "nodefs.inodesFree": "0%"},
        "nodeStatusUpdateFrequency": "2s",
    })
}
