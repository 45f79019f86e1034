//! Results in the form of every version.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Error, Version, code};

/// Name service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dns {
    /// Addresses of name servers.
    #[serde(deserialize_with = "or_null", skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<String>,
    /// Local domain.
    #[serde(deserialize_with = "or_null", skip_serializing_if = "String::is_empty")]
    pub domain: String,
    /// Search list.
    #[serde(deserialize_with = "or_null", skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
    /// Resolver options.
    #[serde(deserialize_with = "or_null", skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

/// An interface of a result.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Name.
    pub name: String,
    /// MAC address; none for devices without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// Since 1.1.0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Path of the namespace; none for interfaces of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
}

/// An address of a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpConfig {
    /// Index into the interfaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<usize>,
    /// The address with its prefix length.
    pub address: IpNet,
    /// Gateway of its subnet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
}

/// A route of a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Destination.
    pub dst: IpNet,
    /// Next hop; none means the gateway of the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gw: Option<IpAddr>,
}

/// What ADD made, without regard to a version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddResult {
    /// Interfaces on the host and in the container.
    pub interfaces: Vec<Interface>,
    /// All addresses.
    pub ips: Vec<IpConfig>,
    /// Routes in the container.
    pub routes: Vec<Route>,
    /// Name service.
    pub dns: Dns,
}

/// The form of 0.1.0 and 0.2.0 for one family.
#[derive(Serialize, Deserialize)]
struct OldIp {
    ip: IpNet,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gateway: Option<IpAddr>,
    #[serde(default, deserialize_with = "or_null", skip_serializing_if = "Vec::is_empty")]
    routes: Vec<Route>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AnyResult {
    #[serde(deserialize_with = "or_null")]
    interfaces: Vec<Interface>,
    #[serde(deserialize_with = "or_null")]
    ips: Vec<IpConfig>,
    #[serde(deserialize_with = "or_null")]
    routes: Vec<Route>,
    ip4: Option<OldIp>,
    ip6: Option<OldIp>,
    dns: Option<Dns>,
}

impl AddResult {
    /// The result in the form of a version.
    ///
    /// 0.1.0 and 0.2.0 know one address of each family: the first.
    pub fn to_json(&self, version: Version) -> Value {
        let mut out = Map::new();
        out.insert("cniVersion".to_owned(), version.as_str().into());
        if version < Version::V0_3_0 {
            for (member, v4) in [("ip4", true), ("ip6", false)] {
                let Some(ip) = self.ips.iter().find(|ip| ip.address.addr().is_ipv4() == v4) else { continue };
                let routes = self.routes.iter().filter(|route| route.dst.addr().is_ipv4() == v4).cloned().collect();
                let old = OldIp { ip: ip.address, gateway: ip.gateway, routes };
                out.insert(member.to_owned(), json!(old));
            }
        } else {
            let interfaces = self.interfaces.iter().cloned().map(|mut interface| {
                interface.mtu = interface.mtu.filter(|_| version >= Version::V1_1_0);
                json!(interface)
            });
            out.insert("interfaces".to_owned(), interfaces.collect());
            let ips = self.ips.iter().map(|ip| {
                let mut value = json!(ip);
                if version < Version::V1_0_0 {
                    value["version"] = if ip.address.addr().is_ipv4() { "4" } else { "6" }.into();
                }
                value
            });
            out.insert("ips".to_owned(), ips.collect());
            if !self.routes.is_empty() {
                out.insert("routes".to_owned(), json!(self.routes));
            }
        }
        out.insert("dns".to_owned(), json!(self.dns));
        Value::Object(out)
    }

    /// Reads a result of another plugin, or a previous one. Its own version counts; `version` where it names none.
    ///
    /// # Errors
    /// [`code::DECODING`], naming the member; [`code::INCOMPATIBLE_VERSION`].
    pub fn from_json(value: &Value, version: Version) -> Result<Self, Error> {
        let version = match value.get("cniVersion").and_then(Value::as_str) {
            None | Some("") => version,
            Some(text) => Version::parse(text)?,
        };
        let raw: AnyResult = serde_path_to_error::deserialize(value).map_err(|error| {
            let path = error.path().to_string();
            Error::new(code::DECODING, format!("CNI result: {path}: {}", error.into_inner()))
        })?;
        let mut result = AddResult { dns: raw.dns.unwrap_or_default(), ..Default::default() };
        if version < Version::V0_3_0 {
            for old in [raw.ip4, raw.ip6].into_iter().flatten() {
                result.ips.push(IpConfig { interface: None, address: old.ip, gateway: old.gateway });
                result.routes.extend(old.routes);
            }
        } else {
            let count = raw.interfaces.len();
            if let Some(bad) = raw.ips.iter().filter_map(|ip| ip.interface).find(|index| *index >= count) {
                let msg = format!("CNI result: ips: interface {bad} does not exist, there are {count}");
                return Err(Error::new(code::DECODING, msg));
            }
            (result.interfaces, result.ips, result.routes) = (raw.interfaces, raw.ips, raw.routes);
        }
        Ok(result)
    }
}

/// Go writes empty lists as null.
fn or_null<'de, D: serde::Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
