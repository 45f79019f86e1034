//! A pair of devices: one end in the host, the other made right in the pod.

use std::net::IpAddr;

use super::{Attacher, Ground, Made, Plan, mac_of};
use crate::{
    announce::Where,
    netlink::{CONDEMNED, Link, LinkKind, NextHop, Route, Veth, exists, format_mac},
    spec::{Error, Interface},
    sysctl,
    undo::Undo,
};

impl Attacher<'_> {
    pub(super) fn veth(&mut self, plan: &Plan) -> Result<Made, Error> {
        let ip = plan.wanted.net.addr();
        let mac = mac_of(ip);
        let (master, routed) = match &plan.ground {
            Ground::Bridge(bridge) => (Some(bridge.index), None),
            other => (None, Some(other.device())),
        };
        if let Some(device) = routed {
            let own = device.mac.unwrap_or_default();
            self.detect(self.host.ns(), &device.name, own, ip)?;
        }
        let (host, pod) = self.pair(plan)?;
        if routed.is_some() {
            self.host_settings(&host, ip)?;
        }
        let alias = self.identity.alias(plan.index);
        self.host.claim(host.index, &alias, master).map_err(|error| {
            Error::network(format!("cannot connect device {} to {}", host.name, plan.ground.device().name), &error)
        })?;
        self.prepare(plan)?;
        self.up(plan, pod.index)?;
        self.wait_running(&pod, Some(host.index))?;
        if master.is_some() {
            self.detect(self.pod.ns(), &plan.name, mac, ip)?;
        }
        // A routed IPv6 pod finds nobody on its link but the host.
        self.configure(plan, &pod, master.is_some() || ip.is_ipv4())?;
        let announce = match routed {
            Some(device) => {
                self.route_to(plan, &host, device)?;
                device.mac.map(|mac| self.job((Where::Host, Where::Host), &host, &device.name, mac, ip))
            }
            None => {
                let place = Where::Pod(self.netns.to_owned());
                Some(self.job((place.clone(), place), &pod, &plan.name, mac, ip))
            }
        };
        let interfaces = vec![
            Interface { name: host.name, mac: host.mac.map(format_mac), mtu: Some(plan.mtu), sandbox: None },
            Interface {
                name: plan.name.clone(),
                mac: Some(format_mac(mac)),
                mtu: Some(plan.mtu),
                sandbox: Some(self.netns.to_owned()),
            },
        ];
        Ok(Made { interfaces, announce })
    }

    /// Both ends. A pair of an earlier call is used if it is what is wanted, else made anew.
    fn pair(&mut self, plan: &Plan) -> Result<(Link, Link), Error> {
        let name = self.identity.device(plan.index);
        let mac = mac_of(plan.wanted.net.addr());
        let fail = |error: std::io::Error| {
            let hint = if exists(&error) { " (something else has made this interface; remove it)" } else { "" };
            Error::network(format!("cannot create interface {} of the pod with device {name}{hint}", plan.name), &error)
        };
        if let Some(host) = self.host.link(&name).map_err(fail)? {
            let pod = self.pod.link(&plan.name).map_err(fail)?;
            let pod = pod.filter(|pod| {
                let pair = host.parent == Some(pod.index) && pod.parent == Some(host.index);
                pair && pod.kind == LinkKind::Veth && pod.mac == Some(mac) && pod.mtu == plan.mtu
            });
            match pod {
                Some(pod) if host.mtu == plan.mtu && host.group != CONDEMNED => return Ok((host, pod)),
                _ => self.host.delete(&[host.index]).map_err(fail)?,
            }
        }
        let veth = Veth {
            name: &name,
            mac: Some(self.identity.mac(plan.index)),
            peer: &plan.name,
            peer_ns: self.pod.ns(),
            peer_mac: Some(mac),
            mtu: Some(plan.mtu),
        };
        match self.host.create_veth(&veth) {
            // The name may be that of a device which only waits to be deleted.
            Err(error) if exists(&error) => {
                self.host.delete_condemned().map_err(fail)?;
                self.host.create_veth(&veth).map_err(fail)?;
            }
            done => done.map_err(fail)?,
        }
        self.done.push(Undo::Link(name.clone()));
        let gone = || Error::config(format!("device {name} vanished while it was being set up"));
        let host = self.host.link(&name).map_err(fail)?.ok_or_else(gone)?;
        let pod = self.pod.link(&plan.name).map_err(fail)?.ok_or_else(gone)?;
        Ok((host, pod))
    }

    /// The host's end answers the pod for everything that the host can reach.
    fn host_settings(&self, host: &Link, ip: IpAddr) -> Result<(), Error> {
        let name = &host.name;
        sysctl::forward(self.host.ns(), name, ip.is_ipv4())?;
        let settings = if ip.is_ipv4() {
            vec![(format!("ipv4/conf/{name}/proxy_arp"), "1"), (format!("ipv4/conf/{name}/rp_filter"), "0")]
        } else {
            vec![(format!("ipv6/conf/{name}/accept_dad"), "0"), (format!("ipv6/conf/{name}/accept_ra"), "0")]
        };
        sysctl::set(self.host.ns(), &settings)
    }

    /// The host's route to the pod, and its answers for the pod on the underlay.
    fn route_to(&mut self, plan: &Plan, host: &Link, device: &Link) -> Result<(), Error> {
        let ip = plan.wanted.net.addr();
        let fail = |error| Error::network(format!("cannot route {ip} to device {}", host.name), &error);
        let mut route = Route::new(ip.into(), NextHop::Link, host.index);
        if ip.is_ipv4() {
            let addresses = self.host.addresses(Some(device.index)).map_err(fail)?;
            route.source = addresses.iter().map(|address| address.net.addr()).find(IpAddr::is_ipv4);
        }
        match self.host.add_route(&route) {
            Err(error) if exists(&error) => self.same_route(&route, ip)?,
            done => done.map_err(fail)?,
        }
        if let (IpAddr::V6(_), Some(gateway)) = (ip, plan.wanted.gateway) {
            self.host.add_proxy(host.index, gateway).map_err(fail)?;
        }
        sysctl::forward(self.host.ns(), &device.name, ip.is_ipv4())?;
        self.host
            .add_proxy(device.index, ip)
            .map_err(|error| Error::network(format!("cannot make device {} answer for {ip}", device.name), &error))?;
        self.done.push(Undo::Proxy(device.index, ip));
        Ok(())
    }

    /// A route that exists must be this one: else another pod has the address.
    fn same_route(&mut self, route: &Route, ip: IpAddr) -> Result<(), Error> {
        let fail = |error| Error::network("cannot list routes", &error);
        let routes = self.host.routes().map_err(fail)?;
        let there = routes.iter().find(|other| other.dst == route.dst && other.table == route.table);
        let Some(there) = there.filter(|there| there.index != route.index) else { return Ok(()) };
        let owner = self.host.link_at(there.index).map_err(fail)?;
        let owner = owner.map_or(String::new(), |link| format!(" {} ({})", link.name, link.alias));
        Err(Error::new(
            crate::spec::code::ADDRESS_CONFLICT,
            format!("address {ip} is already routed to device{owner} on this node; delete the pod that has it"),
        ))
    }
}
