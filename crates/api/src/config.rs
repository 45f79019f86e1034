//! Address pools as configured: the ConfigMap's JSON array and the `--config` file.

use std::net::IpAddr;

use galaxy_core::{IpRange, PoolConfig};
use ipnet::IpNet;
use serde::Serialize;

use crate::{
    names,
    wire::{self, NullableList, error_text, from_members, shorten},
};

/// Why a configuration was refused. Nothing of a refused document is used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No text at all.
    #[error("floatingips is empty; it must be a JSON array of at least one pool")]
    Empty,
    /// `null` or `[]`. Nobody means to take every address out of use by that.
    #[error("floatingips is {0}; it must be a JSON array of at least one pool")]
    NoPools(&'static str),
    /// Not the JSON expected; the text begins with the position of the pool, or with a colon.
    #[error("floatingips{0}")]
    Json(String),
    /// The `--config` file is not the JSON expected.
    #[error("configuration file: {0}")]
    File(String),
    /// A pool lacks something.
    #[error("floatingips[{index}]: {member} is missing")]
    Missing {
        /// Position of the pool.
        index: usize,
        /// What it lacks.
        member: &'static str,
    },
    /// A value of a pool does not parse.
    #[error("floatingips[{index}].{member}: {error}")]
    Value {
        /// Position of the pool.
        index: usize,
        /// Member and, for a list, position in it.
        member: String,
        /// What is wrong, with the value.
        error: String,
    },
}

/// Reads the array of pools. The checks that concern addresses are `galaxy_core::Topology::build`'s.
///
/// # Errors
/// See [`ConfigError`]; the text names the pool, the member and the value.
pub fn parse_pools(json: &str) -> Result<Vec<PoolConfig>, ConfigError> {
    if json.trim().is_empty() {
        return Err(ConfigError::Empty);
    }
    let pools: Option<NullableList<RawPool>> = serde_json::from_str(json).map_err(|error| {
        let text = error_text(&error);
        ConfigError::Json(if text.starts_with('[') { text } else { format!(": {text}") })
    })?;
    match pools {
        None => Err(ConfigError::NoPools("null")),
        Some(NullableList(pools)) if pools.is_empty() => Err(ConfigError::NoPools("[]")),
        Some(NullableList(pools)) => check_pools(pools),
    }
}

fn check_pools(pools: Vec<Option<RawPool>>) -> Result<Vec<PoolConfig>, ConfigError> {
    let checked = pools.into_iter().enumerate().map(|(index, pool)| match pool {
        Some(pool) => pool.check(index),
        None => Err(ConfigError::Missing { index, member: "the pool (it is null)" }),
    });
    checked.collect()
}

/// A pool as written.
#[derive(Default)]
struct RawPool {
    node_subnets: Vec<Option<String>>,
    routable_subnet: String,
    ips: Vec<Option<String>>,
    subnet: String,
    gateway: String,
    vlan: u16,
}

from_members!(<'de> RawPool {
    "nodeSubnets" => |pool, subnets: Vec<Option<String>>| pool.node_subnets = subnets;
    "routableSubnet" => |pool, subnet: String| pool.routable_subnet = subnet;
    "ips" => |pool, ips: Vec<Option<String>>| pool.ips = ips;
    "subnet" => |pool, subnet: String| pool.subnet = subnet;
    "gateway" => |pool, gateway: String| pool.gateway = gateway;
    "vlan" => |pool, vlan: u16| pool.vlan = vlan;
});

impl RawPool {
    /// Checks in the original's order.
    fn check(self, index: usize) -> Result<PoolConfig, ConfigError> {
        let value = |member: String, error: String| ConfigError::Value { index, member, error };
        let cidr = |member: String, text: &str| -> Result<IpNet, ConfigError> {
            let error = || format!("{:?} is not a subnet; write it as 10.0.0.0/24", shorten(text));
            text.parse().map_err(|_| value(member, error()))
        };
        let node_subnets = if self.routable_subnet.is_empty() {
            let subnets = self.node_subnets.iter().enumerate();
            let parsed =
                subnets.map(|(i, subnet)| cidr(format!("nodeSubnets[{i}]"), subnet.as_deref().unwrap_or("null")));
            parsed.collect::<Result<_, _>>()?
        } else {
            vec![cidr("routableSubnet".to_owned(), &self.routable_subnet)?]
        };
        if node_subnets.is_empty() {
            return Err(ConfigError::Missing { index, member: "nodeSubnets" });
        }
        if self.gateway.is_empty() {
            return Err(ConfigError::Missing { index, member: "gateway" });
        }
        let gateway: IpAddr = self.gateway.parse().map_err(|_| {
            let error = format!("{:?} is not an address; write it as 10.0.0.1", shorten(&self.gateway));
            value("gateway".to_owned(), error)
        })?;
        if self.subnet.is_empty() {
            return Err(ConfigError::Missing { index, member: "subnet" });
        }
        let subnet = cidr("subnet".to_owned(), &self.subnet)?;
        let ranges = self.ips.iter().enumerate().map(|(i, text)| {
            let range = text.as_deref().unwrap_or("null").parse::<IpRange>();
            range.map_err(|error| value(format!("ips[{i}]"), error.to_string()))
        });
        Ok(PoolConfig { node_subnets, ranges: ranges.collect::<Result<_, _>>()?, subnet, gateway, vlan: self.vlan })
    }
}

/// Writes pools in the form that [`parse_pools`] reads.
pub fn pools_to_json(pools: &[PoolConfig]) -> String {
    let pools: Vec<PoolOut<'_>> = pools.iter().map(PoolOut::from).collect();
    serde_json::to_string(&pools).unwrap_or_default()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PoolOut<'a> {
    node_subnets: &'a [IpNet],
    ips: Vec<String>,
    subnet: IpNet,
    gateway: IpAddr,
    #[serde(skip_serializing_if = "is_zero")]
    vlan: u16,
}

fn is_zero(vlan: &u16) -> bool {
    *vlan == 0
}

impl<'a> From<&'a PoolConfig> for PoolOut<'a> {
    fn from(pool: &'a PoolConfig) -> Self {
        // Only the prefix length of `subnet` counts; what is shown is the network that it means.
        let network = IpNet::new(pool.gateway, pool.subnet.prefix_len()).map_or(pool.subnet, |network| network.trunc());
        PoolOut {
            node_subnets: &pool.node_subnets,
            ips: pool.ranges.iter().map(IpRange::to_string).collect(),
            subnet: network,
            gateway: pool.gateway,
            vlan: pool.vlan,
        }
    }
}

/// The `--config` file of galaxy-ipam.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileConfig {
    /// Pools given here; then no ConfigMap is read.
    pub pools: Option<Vec<PoolConfig>>,
    /// Time between sweeps, in minutes, at least 1.
    pub resync_interval_minutes: u32,
    /// Name of the ConfigMap.
    pub config_map_name: String,
    /// Namespace of the ConfigMap.
    pub config_map_namespace: String,
    /// Key in its data.
    pub config_map_key: String,
    /// `host:port` of the cloud provider; none without one.
    pub cloud_provider_addr: Option<String>,
}

impl Default for FileConfig {
    fn default() -> Self {
        FileConfig {
            pools: None,
            resync_interval_minutes: 1,
            config_map_name: names::CONFIG_MAP.to_owned(),
            config_map_namespace: names::SYSTEM_NAMESPACE.to_owned(),
            config_map_key: names::CONFIG_MAP_KEY.to_owned(),
            cloud_provider_addr: None,
        }
    }
}

impl FileConfig {
    /// Reads the file's JSON. Unknown members are ignored, absent ones have their defaults.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        let RawFile(raw) = wire::from_slice(json).map_err(|error| ConfigError::File(error_text(&error)))?;
        let mut config = FileConfig::default();
        if !raw.pools.is_empty() {
            config.pools = Some(check_pools(raw.pools)?);
        }
        config.resync_interval_minutes = u32::try_from(raw.resync_interval.max(1)).unwrap_or(u32::MAX);
        for (to, from) in [
            (&mut config.config_map_name, raw.config_map_name),
            (&mut config.config_map_namespace, raw.config_map_namespace),
            (&mut config.config_map_key, raw.config_map_key),
        ] {
            if !from.is_empty() {
                *to = from;
            }
        }
        config.cloud_provider_addr = Some(raw.cloud_provider_addr).filter(|addr| !addr.is_empty());
        Ok(config)
    }
}

#[derive(Default)]
struct RawFile(RawPlugin);

#[derive(Default)]
struct RawPlugin {
    pools: Vec<Option<RawPool>>,
    resync_interval: i64,
    config_map_name: String,
    config_map_namespace: String,
    config_map_key: String,
    cloud_provider_addr: String,
}

from_members!(<'de> RawFile { "schedule_plugin" => |file, plugin: RawPlugin| file.0 = plugin; });
from_members!(<'de> RawPlugin {
    "floatingips" => |plugin, pools: NullableList<RawPool>| plugin.pools = pools.0;
    "resyncInterval" => |plugin, minutes: i64| plugin.resync_interval = minutes;
    "configMapName" => |plugin, name: String| plugin.config_map_name = name;
    "configMapNamespace" => |plugin, namespace: String| plugin.config_map_namespace = namespace;
    "floatingipKey" => |plugin, key: String| plugin.config_map_key = key;
    "cloudProviderGrpcAddr" => |plugin, addr: String| plugin.cloud_provider_addr = addr;
});
