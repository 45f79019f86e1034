//! Where addresses come from: `ipinfos` in `CNI_ARGS`, else a delegated IPAM plugin.

mod exec;

use std::net::IpAddr;

use galaxy_api::{annotation::IpInfo, names::CNI_ARGS_IPINFOS};
use ipnet::IpNet;
use serde_json::Value;

use crate::spec::{AddResult, Command, Dns, Error, NetConf, Request, Route, code};

/// Largest VLAN id.
const MAX_VLAN: u16 = 4094;
/// Most addresses of a pod.
const MAX_ADDRESSES: usize = 256;

/// One address to give to a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The address with the prefix length of its subnet.
    pub net: IpNet,
    /// VLAN id; 0 for none.
    pub vlan: u16,
    /// Gateway of the subnet.
    pub gateway: Option<IpAddr>,
    /// Routes by the gateway, or as they say.
    pub routes: Vec<Route>,
}

/// The addresses for a call, with the name service of the one who gave them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Given {
    pub wanted: Vec<Wanted>,
    pub dns: Dns,
}

/// What `CNI_ARGS` says; none if it says nothing.
pub(crate) fn from_args(request: &Request) -> Result<Option<Given>, Error> {
    let Some(text) = request.args.get(CNI_ARGS_IPINFOS) else { return Ok(None) };
    let bad = |why: String| {
        Err(Error::new(code::INVALID_ENVIRONMENT, format!("CNI_ARGS: {CNI_ARGS_IPINFOS}={text:?}: {why}")))
    };
    let infos: Vec<IpInfo> = match serde_json::from_str(text) {
        Ok(infos) => infos,
        Err(error) => return bad(format!("not a list of objects with ip, vlan and gateway: {error}")),
    };
    if infos.is_empty() || infos.len() > MAX_ADDRESSES {
        return bad(format!("{} addresses; give 1 to {MAX_ADDRESSES}", infos.len()));
    }
    for (index, info) in infos.iter().enumerate() {
        let ip = info.ip.addr();
        if !is_host(ip) {
            return bad(format!("{ip} cannot be an address of a pod"));
        }
        if info.vlan > MAX_VLAN {
            return bad(format!("vlan {} is more than {MAX_VLAN}", info.vlan));
        }
        if ip.is_ipv4() != info.gateway.is_ipv4() || !is_host(info.gateway) {
            return bad(format!("{} cannot be the gateway of {ip}", info.gateway));
        }
        if ip == info.gateway {
            return bad(format!("{ip} is its own gateway"));
        }
        if infos[..index].iter().any(|other| other.ip.addr() == ip) {
            return bad(format!("{ip} is there twice"));
        }
    }
    let wanted = infos.into_iter().map(|info| Wanted {
        net: info.ip,
        vlan: info.vlan,
        gateway: Some(info.gateway),
        routes: vec![Route { dst: everything(info.ip.addr()), gw: None }],
    });
    Ok(Some(Given { wanted: wanted.collect(), dns: Dns::default() }))
}

/// The IPAM plugin to ask, if the configuration names one.
pub(crate) struct Delegate<'a> {
    conf: &'a NetConf,
    request: &'a Request,
    kind: &'a str,
}

impl<'a> Delegate<'a> {
    pub(crate) fn new(conf: &'a NetConf, request: &'a Request) -> Option<Self> {
        Some(Delegate { conf, request, kind: conf.ipam.as_deref()? })
    }

    /// Asks for addresses. The answer is kept as it came.
    pub(crate) fn add(&self) -> Result<Value, Error> {
        exec::call(self.kind, self.request, Command::Add, &self.conf.value)
    }

    /// Reads what [`Delegate::add`] answered.
    pub(crate) fn read(&self, answer: &Value) -> Result<Given, Error> {
        let result = AddResult::from_json(answer, self.conf.version)
            .map_err(|error| Error::new(error.code, format!("IPAM plugin {}: {error}", self.kind)))?;
        let bad = |why: String| Err(Error::new(code::INVALID_CONFIG, format!("IPAM plugin {} {why}", self.kind)));
        if result.ips.is_empty() || result.ips.len() > MAX_ADDRESSES {
            return bad(format!("gave {} addresses; 1 to {MAX_ADDRESSES} can be used", result.ips.len()));
        }
        if let Some(ip) = result.ips.iter().map(|ip| ip.address.addr()).find(|ip| !is_host(*ip)) {
            return bad(format!("gave {ip}, which cannot be an address of a pod"));
        }
        let mut routes = result.routes;
        let wanted = result.ips.into_iter().map(|ip| {
            // Each route goes with the first address of its family.
            let (own, rest) = std::mem::take(&mut routes)
                .into_iter()
                .partition(|route| route.dst.addr().is_ipv4() == ip.address.addr().is_ipv4());
            routes = rest;
            Wanted { net: ip.address, vlan: 0, gateway: ip.gateway, routes: own }
        });
        Ok(Given { wanted: wanted.collect(), dns: result.dns })
    }

    /// DEL, CHECK, GC or STATUS of the IPAM plugin. One that is too old for the last two has nothing to say.
    pub(crate) fn call(&self, command: Command) -> Result<(), Error> {
        match exec::call(self.kind, self.request, command, &self.conf.value) {
            Err(error)
                if matches!(command, Command::Gc | Command::Status) && error.code == code::INVALID_ENVIRONMENT =>
            {
                Ok(())
            }
            done => done.map(drop),
        }
    }
}

fn is_host(ip: IpAddr) -> bool {
    !(ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() || ip == IpAddr::V4(std::net::Ipv4Addr::BROADCAST))
}

/// `0.0.0.0/0` or `::/0`
pub(crate) fn everything(like: IpAddr) -> IpNet {
    match like {
        IpAddr::V4(_) => IpNet::V4(ipnet::Ipv4Net::default()),
        IpAddr::V6(_) => IpNet::V6(ipnet::Ipv6Net::default()),
    }
}
