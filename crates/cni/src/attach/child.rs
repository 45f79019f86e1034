//! A macvlan or ipvlan, made right in the pod.

use super::{Attacher, Ground, Made, Plan, mac_of};
use crate::{
    announce::Where,
    netlink::{Child, IpvlanMode, Link, LinkKind, exists, format_mac},
    spec::{Error, Interface},
    undo::Undo,
};

impl Attacher<'_> {
    pub(super) fn child(&mut self, plan: &Plan) -> Result<Made, Error> {
        let ip = plan.wanted.net.addr();
        let parent = plan.ground.device();
        let (kind, child) = match &plan.ground {
            Ground::Ipvlan(_, mode) => (LinkKind::Ipvlan, Child::Ipvlan(*mode)),
            _ => (LinkKind::Macvlan, Child::Macvlan(mac_of(ip))),
        };
        let l3 = matches!(child, Child::Ipvlan(IpvlanMode::L3 | IpvlanMode::L3s));
        let link = self.only_child(plan, &kind, &child)?;
        self.prepare(plan)?;
        self.up(plan, link.index)?;
        self.wait_running(&link, None)?;
        let mac = link.mac.unwrap_or_default();
        if l3 {
            self.detect(self.host.ns(), &parent.name, parent.mac.unwrap_or_default(), ip)?;
        } else {
            self.detect(self.pod.ns(), &plan.name, mac, ip)?;
        }
        self.configure(plan, &link, true)?;
        let pod = Where::Pod(self.netns.to_owned());
        let announce = if l3 {
            // The pod's own device is silent in these modes; the host speaks for it.
            parent.mac.map(|mac| self.job((Where::Host, pod), &link, &parent.name, mac, ip))
        } else {
            Some(self.job((pod.clone(), pod), &link, &plan.name, mac, ip))
        };
        let interface = Interface {
            name: plan.name.clone(),
            mac: link.mac.map(format_mac),
            mtu: Some(plan.mtu),
            sandbox: Some(self.netns.to_owned()),
        };
        Ok(Made { interfaces: vec![interface], announce })
    }

    /// The device, made under a name that says whose it is, then renamed together with getting its alias.
    fn only_child(&mut self, plan: &Plan, kind: &LinkKind, child: &Child) -> Result<Link, Error> {
        let parent = plan.ground.device();
        let (temporary, alias) = (self.identity.device(plan.index), self.identity.alias(plan.index));
        let fail = |error: std::io::Error| {
            let hint = match error.raw_os_error() {
                _ if exists(&error) => " (something else has made this interface; remove it)",
                Some(busy) if busy == nix::errno::Errno::EBUSY as i32 => {
                    " (the device has macvlans, ipvlans or a bridge already, which exclude each other)"
                }
                _ => "",
            };
            Error::network(
                format!("cannot create interface {} of the pod on device {}{hint}", plan.name, parent.name),
                &error,
            )
        };
        if let Some(link) = self.pod.link(&plan.name).map_err(fail)?.filter(|link| link.alias == alias) {
            let address = *kind == LinkKind::Ipvlan || link.mac == Some(mac_of(plan.wanted.net.addr()));
            if link.kind == *kind && link.parent == Some(parent.index) && link.mtu == plan.mtu && address {
                return Ok(link);
            }
            self.pod.delete(&[link.index]).map_err(fail)?;
        }
        if let Some(half) = self.pod.link(&temporary).map_err(fail)? {
            self.pod.delete(&[half.index]).map_err(fail)?;
        }
        self.host.create_child(&temporary, parent.index, self.pod.ns(), plan.mtu, child).map_err(fail)?;
        self.done.extend([&temporary, &alias].map(|name| Undo::PodLink(self.pod.ns().clone(), name.clone())));
        let gone = || Error::config(format!("interface {} vanished while it was being set up", plan.name));
        let link = self.pod.link(&temporary).map_err(fail)?.ok_or_else(gone)?;
        self.pod.rename(link.index, &plan.name, &alias).map_err(fail)?;
        Ok(Link { name: plan.name.clone(), alias, ..link })
    }
}
