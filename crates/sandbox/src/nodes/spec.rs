//! What a made-up node is like.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use jiff::Timestamp;
use serde_json::{Value, json};

/// The label that tells in which rack a node is.
pub const RACK_LABEL: &str = "topology.kubernetes.io/rack";

/// A node to register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSpec {
    /// Its name.
    pub name: String,
    /// Its address of type InternalIP; a node may lack one.
    pub internal_ip: Option<IpAddr>,
    /// Labels beside those that every node has.
    pub labels: BTreeMap<String, String>,
    /// Capacity and allocatable, as quantities.
    pub capacity: BTreeMap<String, String>,
}

impl NodeSpec {
    /// A node with 32 CPUs, 256 GiB and room for 110 pods.
    pub fn new(name: impl Into<String>, internal_ip: impl Into<IpAddr>) -> Self {
        let capacity = [("cpu", "32"), ("memory", "256Gi"), ("pods", "110")];
        Self {
            name: name.into(),
            internal_ip: Some(internal_ip.into()),
            labels: BTreeMap::new(),
            capacity: capacity.map(|(name, amount)| (name.to_owned(), amount.to_owned())).into(),
        }
    }

    /// In this rack.
    #[must_use]
    pub fn rack(self, rack: impl Into<String>) -> Self {
        self.label(RACK_LABEL, rack)
    }

    /// With this label.
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(name.into(), value.into());
        self
    }

    /// With so much of a resource.
    #[must_use]
    pub fn capacity(mut self, resource: impl Into<String>, amount: impl Into<String>) -> Self {
        self.capacity.insert(resource.into(), amount.into());
        self
    }

    /// Nodes `node-1` … `node-<count>` spread over `racks` racks; those of rack r have addresses 10.0.r.1, 10.0.r.2 …
    pub fn racks(count: u16, racks: u8) -> Vec<Self> {
        let racks = u16::from(racks.max(1));
        let node = |n: u16| {
            let (rack, place) = (n % racks + 1, n / racks + 1);
            let [high, low] = place.to_be_bytes();
            // 250 places would do in life; beyond them the third octet makes room.
            let third = u8::try_from(rack).unwrap_or(u8::MAX).wrapping_add(high);
            Self::new(format!("node-{}", n + 1), Ipv4Addr::new(10, 0, third, low)).rack(format!("rack-{rack}"))
        };
        (0..count).map(node).collect()
    }

    /// The object that a kubelet registers.
    pub(super) fn object(&self) -> Value {
        let mut labels = self.labels.clone();
        let common = [
            ("kubernetes.io/hostname", self.name.as_str()),
            ("kubernetes.io/os", "linux"),
            ("kubernetes.io/arch", "amd64"),
        ];
        for (name, value) in common {
            labels.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
        json!({"metadata": {"name": self.name, "labels": labels}, "spec": {}})
    }

    /// What a healthy kubelet reports.
    pub(super) fn status(&self, now: Timestamp) -> Value {
        let now = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now);
        let ip = self.internal_ip.map(|ip| json!({"type": "InternalIP", "address": ip}));
        let addresses: Vec<_> = ip.into_iter().chain([json!({"type": "Hostname", "address": self.name})]).collect();
        let condition = |kind: &str, status: &str, reason: &str, message: &str| {
            json!({
                "type": kind, "status": status, "reason": reason, "message": message,
                "lastHeartbeatTime": now, "lastTransitionTime": now,
            })
        };
        json!({
            "addresses": addresses,
            "capacity": self.capacity,
            "allocatable": self.capacity,
            "conditions": [
                condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
                condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
                condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
                condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            "nodeInfo": {
                "machineID": self.name, "systemUUID": self.name, "bootID": self.name,
                "kernelVersion": "6.12.0", "osImage": "Galaxy sandbox (nothing really runs)",
                "containerRuntimeVersion": "sandbox://1", "kubeletVersion": "v1.37.0-sandbox", "kubeProxyVersion": "",
                "operatingSystem": "linux", "architecture": "amd64",
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn racks_share_out_nodes_and_no_address_is_used_twice() {
        let nodes = NodeSpec::racks(6, 3);
        let places: Vec<_> = nodes
            .iter()
            .map(|node| (node.labels[RACK_LABEL].as_str(), node.internal_ip.unwrap().to_string()))
            .collect();
        assert_eq!(places[0], ("rack-1", "10.0.1.1".into()));
        assert_eq!(places[3], ("rack-1", "10.0.1.2".into()));
        assert_eq!(places[5], ("rack-3", "10.0.3.2".into()));
        let many = NodeSpec::racks(600, 3);
        let distinct: std::collections::BTreeSet<_> = many.iter().map(|node| node.internal_ip).collect();
        assert_eq!(distinct.len(), 600);
    }
}
