//! What a scenario wants its cluster to be: nodes in racks, the address pools they route, how galaxy-ipam is started.

use serde_json::{Value, json};

/// A node to make.
#[derive(Clone, Debug)]
pub struct NodeSetup {
    /// Name.
    pub name: String,
    /// InternalIP.
    pub address: String,
}

/// A cluster to make.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Nodes that are ready when the scenario starts.
    pub nodes: Vec<NodeSetup>,
    /// The document of the ConfigMap; none to start without a ConfigMap.
    pub pools: Option<String>,
    /// More flags of galaxy-ipam.
    pub flags: Vec<String>,
    /// More members of `schedule_plugin` in its configuration file.
    pub plugin: Value,
    /// Whether the scheduler sends nodes by name only.
    pub names_only: bool,
}

impl Setup {
    /// A single rack `a` with nodes `a1`, `a2` … and this many addresses, from 10.64.1.10 on.
    pub fn one_rack(nodes: usize, addresses: usize) -> Self {
        Self::racks(&[(nodes, addresses)])
    }

    /// Racks `a`, `b` … of so many nodes and addresses each. Rack number r has nodes 10.0.r.11 … and pods 10.64.r.10 …
    pub fn racks(racks: &[(usize, usize)]) -> Self {
        let mut nodes = Vec::new();
        let mut pools = Vec::new();
        for (rack, &(count, addresses)) in racks.iter().enumerate() {
            let number = rack + 1;
            let letter = char::from(b'a' + rack as u8);
            for node in 1..=count {
                nodes.push(NodeSetup {
                    name: format!("{letter}{node}"),
                    address: format!("10.0.{number}.{}", 10 + node),
                });
            }
            pools.push(rack_pool(number, addresses));
        }
        Self::new(nodes, &Value::Array(pools))
    }

    /// These nodes and pools.
    pub fn new(nodes: Vec<NodeSetup>, pools: &Value) -> Self {
        Self { nodes, pools: Some(pools.to_string()), flags: Vec::new(), plugin: json!({}), names_only: false }
    }

    /// One more flag of galaxy-ipam.
    pub fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    /// With a cloud provider at `host:port`.
    pub fn cloud(mut self, address: &str) -> Self {
        self.plugin["cloudProviderGrpcAddr"] = address.into();
        self
    }

    /// With another document of pools.
    pub fn pools(mut self, pools: &Value) -> Self {
        self.pools = Some(pools.to_string());
        self
    }

    /// Without a ConfigMap at the start.
    pub fn unconfigured(mut self) -> Self {
        self.pools = None;
        self
    }
}

/// The pool of a rack of [`Setup::racks`], with this many addresses.
pub fn rack_pool(number: usize, addresses: usize) -> Value {
    let ips = match addresses {
        0 => json!([]),
        1 => json!([format!("10.64.{number}.10")]),
        _ => json!([format!("10.64.{number}.10~10.64.{number}.{}", 9 + addresses)]),
    };
    json!({
        "nodeSubnets": [format!("10.0.{number}.0/24")], "ips": ips,
        "subnet": format!("10.64.{number}.0/24"), "gateway": format!("10.64.{number}.1"), "vlan": number,
    })
}

/// The only rack's pool, with this many addresses.
pub fn pools(addresses: usize) -> Value {
    Value::Array(vec![rack_pool(1, addresses)])
}
