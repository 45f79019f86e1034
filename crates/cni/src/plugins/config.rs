//! The configuration of both plugins.

use serde::Deserialize;

use crate::{
    device::device,
    netlink::{IpvlanMode, Link, Net},
    spec::{Error, NetConf, code, decode},
    state::RunDir,
};

/// How pods are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Switch {
    Bridge,
    Pure,
    Macvlan,
    Ipvlan(IpvlanMode),
}

/// What to do about an address that somebody else answers for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Conflict {
    /// Do not ask.
    Off,
    /// Say it on standard error and go on.
    Warn,
    /// Fail.
    Refuse,
}

#[derive(Deserialize)]
struct Raw {
    device: Option<String>,
    devices: Option<Vec<String>>,
    switch: Option<String>,
    ipvlan_mode: Option<String>,
    disable_default_bridge: Option<bool>,
    default_bridge_name: Option<String>,
    bridge_name_prefix: Option<String>,
    vlan_name_prefix: Option<String>,
    gratuitous_arp_request: Option<bool>,
    mtu: Option<u32>,
    address_conflict: Option<String>,
    run_dir: Option<String>,
}

/// The configuration, checked.
#[derive(Debug)]
pub(super) struct Config {
    /// Candidates for the underlay device; the first that exists is used.
    pub devices: Vec<String>,
    pub switch: Switch,
    /// None: disabled if no address is untagged.
    pub disable_default_bridge: Option<bool>,
    pub default_bridge_name: String,
    pub bridge_name_prefix: String,
    pub vlan_name_prefix: String,
    pub gratuitous_arp_request: bool,
    pub mtu: Option<u32>,
    pub conflict: Conflict,
    run_dir: Option<String>,
}

impl Config {
    pub(super) fn read(conf: &NetConf) -> Result<Self, Error> {
        let raw: Raw = decode(&conf.value)?;
        let unsupported = |member: &str, value: &str, want: &str| {
            Err(Error::new(code::UNSUPPORTED_FIELD, format!("{member} {value:?} is not supported; use {want}")))
        };
        let mode = match raw.ipvlan_mode.as_deref().unwrap_or_default() {
            "" | "l3" => IpvlanMode::L3,
            "l2" => IpvlanMode::L2,
            "l3s" => IpvlanMode::L3s,
            other => return unsupported("ipvlan_mode", other, "l2, l3 or l3s"),
        };
        let switch = match raw.switch.as_deref().unwrap_or_default() {
            "" | "bridge" => Switch::Bridge,
            "pure" => Switch::Pure,
            "macvlan" => Switch::Macvlan,
            "ipvlan" => Switch::Ipvlan(mode),
            other => return unsupported("switch", other, "bridge, pure, macvlan or ipvlan"),
        };
        let conflict = match raw.address_conflict.as_deref().unwrap_or_default() {
            "" | "off" => Conflict::Off,
            "warn" => Conflict::Warn,
            "refuse" => Conflict::Refuse,
            other => return unsupported("address_conflict", other, "off, warn or refuse"),
        };
        let mtu = raw.mtu.filter(|mtu| *mtu > 0);
        if let Some(mtu) = mtu.filter(|mtu| !(68..=65535).contains(mtu)) {
            return Err(Error::config(format!("mtu {mtu} is not within 68 and 65535")));
        }
        let devices = match raw.device.filter(|name| !name.is_empty()) {
            Some(device) => vec![device],
            None => raw.devices.unwrap_or_default(),
        };
        let named = |member, name: Option<String>, default: &str, room: usize| {
            let name = name.filter(|name| !name.is_empty()).unwrap_or_else(|| default.to_owned());
            let valid = crate::spec::is_interface_name(&name) && name.len() <= room;
            let why = format!("{member} {name:?} must be up to {room} characters of an interface name");
            if valid { Ok(name) } else { Err(Error::config(why)) }
        };
        for name in &devices {
            named("device", Some(name.clone()), "", 15)?;
        }
        Ok(Config {
            devices,
            switch,
            disable_default_bridge: raw.disable_default_bridge,
            default_bridge_name: named("default_bridge_name", raw.default_bridge_name, "docker", 15)?,
            // Up to four digits of a VLAN id follow.
            bridge_name_prefix: named("bridge_name_prefix", raw.bridge_name_prefix, "docker", 11)?,
            vlan_name_prefix: named("vlan_name_prefix", raw.vlan_name_prefix, "vlan", 11)?,
            gratuitous_arp_request: raw.gratuitous_arp_request.unwrap_or(false),
            mtu,
            conflict,
            run_dir: raw.run_dir,
        })
    }

    pub(super) fn run_dir(&self) -> Result<RunDir, Error> {
        RunDir::open(self.run_dir.as_deref())
    }

    /// The underlay device: the only one named, or the first candidate that exists. None if none is named.
    pub(super) fn device(&self, net: &mut Net) -> Result<Option<Link>, Error> {
        if let [name] = self.devices.as_slice() {
            return device(net, name).map(Some);
        }
        for name in &self.devices {
            let found =
                net.link(name).map_err(|error| Error::network(format!("cannot look up device {name}"), &error))?;
            if found.is_some() {
                return Ok(found);
            }
        }
        if self.devices.is_empty() {
            return Ok(None);
        }
        Err(Error::config(format!("none of the devices {} exists on this node", self.devices.join(", "))))
    }
}
