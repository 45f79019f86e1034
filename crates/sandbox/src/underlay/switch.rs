//! The wire between the nodes: a bridge in a namespace of its own, which is also the gateway of all subnets.

use std::{collections::BTreeSet, fs, io, net::IpAddr};

use anyhow::{Context, ensure};
use galaxy_cni::netlink::{Net, Netns, NextHop, Route, Veth};
use galaxy_core::PoolConfig;
use ipnet::IpNet;

const BRIDGE: &str = "underlay";
/// The underlay device of a node.
pub(super) const DEVICE: &str = "eth0";

pub(super) struct Switch {
    net: Net,
    bridge: u32,
    /// VLANs that there are.
    vlans: BTreeSet<u16>,
}

impl Switch {
    /// The bridge with the gateways' addresses.
    pub(super) fn make(pools: &[PoolConfig]) -> anyhow::Result<Self> {
        let ns = Netns::make().context("network namespaces need root")?;
        let mut net = Net::open(&ns, None)?;
        let bridge = (|| {
            net.set_up(1)?;
            net.create_bridge(BRIDGE, Some([2, 0, 0, 0, 0, 1]))?;
            let bridge = index(&mut net, BRIDGE)?;
            net.set_up(bridge).map(|()| bridge)
        })();
        let bridge = bridge.context("this kernel has no bridges")?;
        forward(&ns)?;
        let mut switch = Switch { net, bridge, vlans: BTreeSet::from([0]) };
        for pool in pools {
            let device = switch.vlan(pool.vlan)?;
            if let Some(device) = device {
                switch.net.add_address(device, IpNet::new(pool.gateway, pool.subnet.prefix_len())?, true)?;
            }
            for subnet in &pool.node_subnets {
                switch.net.add_address(bridge, IpNet::new(gateway(subnet)?, subnet.prefix_len())?, true)?;
            }
        }
        Ok(switch)
    }

    pub(super) fn ns(&self) -> &Netns {
        self.net.ns()
    }

    /// The device of a VLAN; none if this kernel has no 802.1Q.
    fn vlan(&mut self, vlan: u16) -> anyhow::Result<Option<u32>> {
        if vlan == 0 {
            return Ok(Some(self.bridge));
        }
        let name = format!("{BRIDGE}.{vlan}");
        if self.vlans.insert(vlan) && self.net.create_vlan(&name, self.bridge, vlan).is_err() {
            self.vlans.remove(&vlan);
            return Ok(None);
        }
        let device = index(&mut self.net, &name)?;
        self.net.set_up(device)?;
        Ok(Some(device))
    }

    /// Whether all addresses that a node routes for pods can be had.
    pub(super) fn serves(&self, pools: &[PoolConfig], node: IpAddr) -> bool {
        of(pools, node).all(|pool| self.vlans.contains(&pool.vlan))
    }

    /// Makes a node's namespace: its device and addresses, one in each subnet of its pods, where it is number `place` of all nodes.
    pub(super) fn plug(&mut self, port: &str, ip: IpAddr, place: usize, pools: &[PoolConfig]) -> anyhow::Result<Netns> {
        let ns = Netns::make()?;
        let veth = Veth { name: port, mac: None, peer: DEVICE, peer_ns: &ns, peer_mac: None, mtu: None };
        // The port of the node before its power was cut goes with its namespace, in the kernel's own time.
        if let Some(old) = self.net.link(port)? {
            self.net.delete(&[old.index])?;
        }
        self.net.create_veth(&veth).context("this kernel has no veths")?;
        let port = index(&mut self.net, port)?;
        self.net.claim(port, "", Some(self.bridge))?;
        let mut net = Net::open(&ns, None)?;
        net.set_up(1)?;
        let device = index(&mut net, DEVICE)?;
        net.set_up(device)?;
        let subnets = pools.iter().flat_map(|pool| &pool.node_subnets);
        let subnet = subnets.into_iter().find(|subnet| subnet.contains(&ip)).context("a node in no nodeSubnet")?;
        net.add_address(device, IpNet::new(ip, subnet.prefix_len())?, true)?;
        for pool in of(pools, ip) {
            let device = match pool.vlan {
                0 => device,
                vlan => {
                    let name = format!("{DEVICE}.{vlan}");
                    net.create_vlan(&name, device, vlan)?;
                    let device = index(&mut net, &name)?;
                    net.set_up(device)?;
                    device
                }
            };
            let network = IpNet::new(pool.gateway, pool.subnet.prefix_len())?;
            let free =
                |ip: &IpAddr| *ip != pool.gateway && !pool.ranges.iter().any(|range| range.contains((*ip).into()));
            let own = network.hosts().filter(free).nth(place);
            let own =
                own.with_context(|| format!("all of {network} is for pods, and the nodes need an address each"))?;
            net.add_address(device, IpNet::new(own, network.prefix_len())?, true)?;
        }
        let everything = IpNet::new(std::net::Ipv4Addr::UNSPECIFIED.into(), 0)?;
        net.add_route(&Route::new(everything, NextHop::Gateway(gateway(subnet)?), device))?;
        Ok(ns)
    }
}

/// The pools that a node routes.
fn of(pools: &[PoolConfig], node: IpAddr) -> impl Iterator<Item = &PoolConfig> {
    pools.iter().filter(move |pool| pool.node_subnets.iter().any(|subnet| subnet.contains(&node)))
}

/// The gateway of the nodes in a subnet: its first address.
fn gateway(subnet: &IpNet) -> anyhow::Result<IpAddr> {
    ensure!(subnet.addr().is_ipv4(), "nodes here have IPv4 addresses, and {subnet} is none");
    subnet.hosts().next().with_context(|| format!("{subnet} is too small"))
}

fn index(net: &mut Net, name: &str) -> io::Result<u32> {
    let link = net.link(name)?;
    link.map(|link| link.index).ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no device {name}")))
}

/// Lets packets pass between subnets.
fn forward(ns: &Netns) -> anyhow::Result<()> {
    const SETTING: &str = "/proc/sys/net/ipv4/ip_forward";
    ns.within(|| fs::write(SETTING, "1"))?.with_context(|| format!("cannot write {SETTING}"))
}
