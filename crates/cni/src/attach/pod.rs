//! The pod's end: settings, address, routes, rules.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{Attacher, Plan};
use crate::{
    ipam::everything,
    netlink::{Link, NextHop, Route, Rule, exists},
    spec::Error,
    sysctl,
    undo::Undo,
};

/// Table for what leaves by interface `index` of a pod with several addresses.
pub(super) fn table(index: u32) -> u32 {
    1000 + index
}

/// Longest wait for the kernel to clear a namespace.
const FREE_WITHIN: Duration = Duration::from_secs(2);

/// Longest wait for a device that was just set up.
const UP_WITHIN: Duration = Duration::from_millis(500);

/// Longest wait for an IPv6 address that was just added.
const LOCAL_WITHIN: Duration = Duration::from_secs(1);

impl Attacher<'_> {
    /// Settings that must be there before the interface is up.
    pub(super) fn prepare(&mut self, plan: &Plan) -> Result<(), Error> {
        let name = &plan.name;
        let mut settings = vec![
            (format!("ipv4/conf/{name}/rp_filter"), "0"),
            ("ipv4/conf/all/rp_filter".to_owned(), "0"),
            // A pod has the addresses that it was given, not what a router advertises.
            (format!("ipv6/conf/{name}/accept_ra"), "0"),
            (format!("ipv6/conf/{name}/accept_dad"), "0"),
        ];
        if plan.wanted.net.addr().is_ipv6() {
            settings.push((format!("ipv6/conf/{name}/disable_ipv6"), "0"));
        }
        if self.several {
            // Each interface answers for its own address only, or neighbours would learn the wrong one.
            settings.push((format!("ipv4/conf/{name}/arp_ignore"), "1"));
            settings.push((format!("ipv4/conf/{name}/arp_announce"), "2"));
        }
        sysctl::set(self.pod.ns(), &settings)
    }

    /// Sets the interface up. The macvlan of a pod that has just gone keeps its Ethernet address until the kernel has
    /// cleared its namespace.
    pub(super) fn up(&mut self, plan: &Plan, index: u32) -> Result<(), Error> {
        let deadline = Instant::now() + FREE_WITHIN;
        loop {
            match self.pod.set_up(index) {
                Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(2));
                }
                done => {
                    let what = format!("cannot set up interface {} of the pod", plan.name);
                    return done.map_err(|error| Error::network(what, &error));
                }
            }
        }
    }

    /// Address, routes and rules of an interface that is up. `on_link`: the whole subnet is on this link.
    pub(super) fn configure(&mut self, plan: &Plan, link: &Link, on_link: bool) -> Result<(), Error> {
        let wanted = &plan.wanted;
        let fail = |what: String, error| Error::network(format!("interface {} of the pod: {what}", plan.name), &error);
        self.pod
            .add_address(link.index, wanted.net, on_link)
            .map_err(|error| fail(format!("cannot add address {}", wanted.net), error))?;
        self.wait_local(plan)?;
        let mut routes = Vec::new();
        for route in &plan.routes {
            let hop = route.gw.or(wanted.gateway).map_or(NextHop::Link, NextHop::Gateway);
            routes.push(Route::new(route.dst, hop, link.index));
        }
        if let (false, Some(gateway)) = (on_link, wanted.gateway) {
            let direct = Route::new(gateway.into(), NextHop::Link, link.index);
            routes.insert(0, direct.clone());
            // Where another interface leads to the gateway, it leads to all that is behind.
            if self.several {
                let there = self.pod.routes().map_err(|error| fail("cannot list routes".to_owned(), error))?;
                let taken = |other: &Route| {
                    other.dst == direct.dst && other.table == direct.table && other.index != direct.index
                };
                if there.iter().any(taken) {
                    routes.clear();
                }
            }
        }
        for route in &routes {
            match self.pod.add_route(route) {
                // The first interface that wants a route has it.
                Err(error) if exists(&error) => {}
                done => done.map_err(|error| fail(format!("cannot add a route to {}", route.dst), error))?,
            }
        }
        if self.several {
            self.by_source(plan, link, on_link)
                .map_err(|error| fail("cannot add its routing table".to_owned(), error))?;
        }
        Ok(())
    }

    /// Waits until the pod takes in what is sent to its IPv6 address. The kernel does the rest of adding one, its route and the group
    /// that neighbours ask, in work of its own that waits behind all other changes of networks; an answer that comes before is lost, and
    /// neighbours ask again only after a second.
    fn wait_local(&mut self, plan: &Plan) -> Result<(), Error> {
        let addr = plan.wanted.net.addr();
        let deadline = Instant::now() + LOCAL_WITHIN;
        let mut pause = Duration::from_micros(100);
        while addr.is_ipv6() && Instant::now() < deadline {
            let local = self.pod.is_local(addr);
            if local.map_err(|error| Error::network(format!("cannot look up the route of {addr}"), &error))? {
                break;
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(5));
        }
        Ok(())
    }

    /// What comes from the address leaves by its interface, whatever the other interfaces' routes say.
    fn by_source(&mut self, plan: &Plan, link: &Link, on_link: bool) -> std::io::Result<()> {
        let (net, table) = (plan.wanted.net, table(link.index));
        let direct = if on_link { Some(net.trunc()) } else { plan.wanted.gateway.map(Into::into) };
        let direct = direct.map(|dst| Route::new(dst, NextHop::Link, link.index));
        let hop = if on_link { NextHop::Gateway } else { NextHop::Near };
        let default = plan.wanted.gateway.map(hop);
        let default = default.map(|hop| Route::new(everything(net.addr()), hop, link.index));
        for route in [direct, default].into_iter().flatten() {
            self.pod.replace_route(&Route { table, source: Some(net.addr()), ..route })?;
        }
        let rule = Rule { from: net.addr(), table };
        self.pod.add_rule(&rule)?;
        self.done.push(Undo::PodRule(self.pod.ns().clone(), rule));
        Ok(())
    }

    /// Waits until frames can pass: the interface runs, and so does the host's end, which forwards if it is a port of a bridge. The
    /// kernel gets them ready in its own time, drops what is sent before, and neighbours ask again only after a second.
    pub(super) fn wait_running(&mut self, link: &Link, port: Option<u32>) -> Result<(), Error> {
        let deadline = Instant::now() + UP_WITHIN;
        let fail = |error| Error::network(format!("cannot look up interface {}", link.name), &error);
        let mut pause = Duration::from_micros(100);
        loop {
            let running = self.pod.link_at(link.index).map_err(fail)?.is_some_and(|link| link.running);
            let forwarding = match port {
                Some(port) if running => self
                    .host
                    .link_at(port)
                    .map_err(fail)?
                    .is_some_and(|link| link.running && (link.forwarding || link.master.is_none())),
                _ => true,
            };
            // A parent without carrier comes later; the pod is complete without it.
            if running && forwarding || Instant::now() > deadline {
                return Ok(());
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(5));
        }
    }
}
