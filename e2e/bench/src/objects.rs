//! What is in the cluster: a topology of a million addresses, nodes as kubelets keep them, pods.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

/// Pools, each with the nodes of one rack.
pub(crate) const RACKS: usize = 20;
/// Addresses of each pool: a million in all.
const POOL_ADDRESSES: u32 = 50_000;
/// First address of a pool, from its subnet's.
const FIRST: u32 = 10;

/// A pod, as far as the extender needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) uid: String,
}

impl Pod {
    /// Pod number `number` of some that have a name and a kind of uid, three digits, in common.
    pub(crate) fn new(name: &str, kind: u16, number: usize) -> Self {
        Self { name: format!("{name}-{number}"), uid: format!("b0000000-0{kind:03}-4000-8000-{number:012}") }
    }
}

/// The topology: rack r has nodes in 172.(16 + r).0.0/16 and addresses from 10.(100 + r).0.10 on.
pub(crate) fn config_map() -> Value {
    let pools = (0..RACKS).map(|rack| {
        let last = Ipv4Addr::from(u32::from(subnet(rack)) + FIRST + POOL_ADDRESSES - 1);
        json!({
            "nodeSubnets": [format!("172.{}.0.0/16", 16 + rack)],
            "ips": [format!("{}~{last}", Ipv4Addr::from(u32::from(subnet(rack)) + FIRST))],
            "subnet": format!("{}/16", subnet(rack)),
            "gateway": gateway(rack),
        })
    });
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "floatingip-config", "namespace": "kube-system"},
        "data": {"floatingips": Value::Array(pools.collect()).to_string()},
    })
}

fn subnet(rack: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 100 + rack as u8, 0, 0)
}

/// The gateway of a rack's addresses.
pub(crate) fn gateway(rack: usize) -> String {
    format!("10.{}.255.254", 100 + rack)
}

/// Allocated address number `number`, of rack `number % RACKS`: from the upper end, for galaxy-ipam takes the lowest that is free.
pub(crate) fn address(number: usize) -> Ipv4Addr {
    let offset = FIRST + POOL_ADDRESSES - 1 - (number / RACKS) as u32;
    Ipv4Addr::from(u32::from(subnet(number % RACKS)) + offset)
}

/// Name of a node, of rack `number % RACKS`.
pub(crate) fn node_name(number: usize) -> String {
    format!("node-{number:05}")
}

/// A node as kubelet keeps it, with the fifty images that it reports: some 12 KB.
pub(crate) fn node(number: usize) -> Value {
    let name = node_name(number);
    let within = number / RACKS;
    let address = format!("172.{}.{}.{}", 16 + number % RACKS, within / 250, within % 250 + 1);
    let images = (0..50).map(|image| {
        let name = format!("registry.example.test/platform/service-{image:02}");
        json!({
            "names": [format!("{name}@sha256:{:064x}", image * 7 + number), format!("{name}:v1.{image}.{}", number % 10)],
            "sizeBytes": 50_000_000 + image,
        })
    });
    let conditions = ["MemoryPressure", "DiskPressure", "PIDPressure", "Ready"].map(|kind| {
        json!({
            "type": kind, "status": if kind == "Ready" { "True" } else { "False" }, "reason": format!("KubeletHas{kind}"),
            "message": "kubelet says how it is",
            "lastHeartbeatTime": "2026-11-23T12:04:15Z", "lastTransitionTime": "2026-11-20T12:04:15Z",
        })
    });
    let room = json!({"cpu": "32", "memory": "263856792Ki", "pods": "110", "ephemeral-storage": "203056560Ki"});
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name, "uid": format!("a0000000-0000-4000-8000-{number:012}"), "creationTimestamp": "2026-11-23T12:04:15Z",
            "labels": {
                "kubernetes.io/arch": "amd64", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux",
                "node.kubernetes.io/instance-type": "m7i.8xlarge", "topology.kubernetes.io/region": "eu-central-1",
                "topology.kubernetes.io/zone": format!("eu-central-1{}", ["a", "b", "c"][number % 3]),
            },
            "annotations": {
                "node.alpha.kubernetes.io/ttl": "0", "volumes.kubernetes.io/controller-managed-attach-detach": "true",
                "csi.volume.kubernetes.io/nodeid": format!("{{\"csi.example.test\":\"i-{number:017x}\"}}"),
            },
        },
        "spec": {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.1.0/24"], "providerID": format!("cloud:///a/i-{number:017x}")},
        "status": {
            "capacity": room, "allocatable": room, "conditions": conditions, "images": images.collect::<Vec<_>>(),
            "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            "nodeInfo": {
                "machineID": "ec2e0ab1f0c34", "systemUUID": "ec2e0ab1-f0c3-4", "bootID": "0d5a3a1c", "kernelVersion": "6.8.0",
                "osImage": "Linux", "containerRuntimeVersion": "containerd://2.1.4", "kubeletVersion": "v1.37.2",
                "kubeProxyVersion": "", "operatingSystem": "linux", "architecture": "amd64",
            },
        },
    })
}

/// A pod that wants this resource, if any.
pub(crate) fn pod(name: &str, resource: Option<&str>) -> Value {
    let resources = resource.map_or(json!({}), |name| json!({"requests": {name: "1"}, "limits": {name: "1"}}));
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": "bench"}},
        "spec": {
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": "registry.example.test/platform/service-01:v1.1.1", "resources": resources}],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_addresses_that_are_all_different() {
        let all: std::collections::HashSet<_> = (0..RACKS * POOL_ADDRESSES as usize).map(address).collect();
        assert_eq!(all.len(), 1_000_000);
        assert_eq!(address(0), Ipv4Addr::new(10, 100, 195, 89));
        assert_eq!(address(999_999), Ipv4Addr::new(10, 119, 0, 10));
        assert!(config_map()["data"]["floatingips"].as_str().unwrap().contains("10.100.0.10~10.100.195.89"));
    }
}
