//! A network of namespaces: two hosts and a gateway on a switch. All of it is gone when it is dropped.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
};

use galaxy_cni::netlink::{Net, Netns, NextHop, Route, Veth};
use ipnet::IpNet;
use serde_json::{Value, json};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_galaxy-cni");
pub(crate) const UNDERLAY: &str = "galaxy-underlay-veth";
pub(crate) const VLAN: &str = "galaxy-k8s-vlan";

/// Addresses of the gateway that are in no subnet of the lab.
pub(crate) const BEYOND: &str = "192.0.2.1";
pub(crate) const BEYOND6: &str = "2001:db8::1";

/// Whether tests that make namespaces can run; else a line that no test harness swallows, and a count.
pub(crate) fn root() -> bool {
    static SKIPPED: AtomicUsize = AtomicUsize::new(0);
    if Netns::make().is_ok() {
        return true;
    }
    let count = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    // In one piece: other tests write at the same time.
    let line = format!("\nSKIPPED {count} tests of galaxy-cni that need root, the last is {name}\n");
    let _ = io::stderr().write_all(line.as_bytes());
    false
}

/// A namespace with a socket in it.
pub(crate) struct Space {
    pub(crate) ns: Netns,
    pub(crate) net: Net,
}

impl Space {
    pub(crate) fn make() -> Space {
        let ns = Netns::make().unwrap();
        let mut net = Net::open(&ns, None).unwrap();
        net.set_up(1).unwrap();
        ns.within(|| {
            // A node's own addresses were checked for duplicates long ago.
            let _ = fs::write("/proc/sys/net/ipv6/conf/default/accept_dad", "0");
        })
        .unwrap();
        // Bridged frames pass by the packet filter of the machine, whatever modules it has loaded.
        ns.within(|| {
            for family in ["ip", "ip6", "arp"] {
                let _ = fs::write(format!("/proc/sys/net/bridge/bridge-nf-call-{family}tables"), "0");
            }
        })
        .unwrap();
        Space { ns, net }
    }

    pub(crate) fn index(&mut self, name: &str) -> u32 {
        self.net.link(name).unwrap().unwrap_or_else(|| panic!("no device {name}")).index
    }

    pub(crate) fn address(&mut self, name: &str, address: &str) {
        let index = self.index(name);
        self.net.add_address(index, address.parse().unwrap(), true).unwrap();
    }

    pub(crate) fn route(&mut self, name: &str, dst: &str, gateway: &str) {
        let index = self.index(name);
        let hop = NextHop::Gateway(gateway.parse().unwrap());
        self.net.add_route(&Route::new(dst.parse().unwrap(), hop, index)).unwrap();
    }

    /// All that a plugin could change here.
    pub(crate) fn state(&mut self) -> BTreeSet<String> {
        let net = &mut self.net;
        let mut state = BTreeSet::new();
        for link in net.links().unwrap() {
            state.insert(format!("{} {:?} {} {:?} {:?}", link.name, link.kind, link.alias, link.master, link.mac));
        }
        state.extend(net.addresses(None).unwrap().into_iter().filter(|a| a.global).map(|a| format!("{a:?}")));
        let routes = net.routes().unwrap().into_iter();
        let link_local = |dst: IpNet| dst.addr().is_ipv6() && (dst.to_string().starts_with("f"));
        state.extend(routes.filter(|route| !link_local(route.dst)).map(|route| {
            format!("{:?} {:?} {} {:?} {}", route.dst, route.hop, route.index, route.source, route.table)
        }));
        state.extend(net.rules().unwrap().iter().map(|rule| format!("{rule:?}")));
        state.extend(net.proxies().unwrap().iter().map(|proxy| format!("{proxy:?}")));
        state
    }

    /// A VLAN device `v` + id with the addresses that end in `last`.
    pub(crate) fn vlan(&mut self, device: &str, vlan: u8, last: u8) {
        let (name, device) = (format!("v{vlan}"), self.index(device));
        self.net.create_vlan(&name, device, vlan.into()).unwrap();
        let index = self.index(&name);
        self.net.set_up(index).unwrap();
        for ip in [v4(vlan, last), v6(vlan, last)] {
            self.net.add_address(index, subnet(ip), true).unwrap();
        }
    }

    pub(crate) fn path(&self) -> String {
        self.ns.path().to_str().unwrap().to_owned()
    }
}

/// Two hosts 10.0.0.11 and .12, and a gateway 10.0.0.1, fd00:: alike, which also has 192.0.2.1 and 2001:db8::1.
///
/// The switch passes tagged frames as they are. Subnets of VLAN 100 are 10.0.100.0/24 and fd00:0:0:64::/64.
pub(crate) struct Lab {
    pub(crate) hosts: [Space; 2],
    pub(crate) gateway: Space,
    /// Only kept alive.
    _switch: Space,
    pub(crate) dir: PathBuf,
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Lab {
    pub(crate) fn new() -> Lab {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("galaxy-cni-{}-{number}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let mut switch = Space::make();
        switch.net.create_bridge("br0", Some([2, 0, 0, 0, 0, 1])).unwrap();
        let bridge = switch.index("br0");
        switch.net.set_up(bridge).unwrap();
        let plug = |switch: &mut Space, last: u8| {
            let mut space = Space::make();
            let port = format!("port{last}");
            let mac = Some([2, 0, 0, 0, 1, last]);
            let veth =
                Veth { name: &port, mac: None, peer: "eth0", peer_ns: &space.ns, peer_mac: mac, mtu: Some(1450) };
            switch.net.create_veth(&veth).unwrap();
            let port = switch.index(&port);
            switch.net.claim(port, "", Some(bridge)).unwrap();
            let index = space.index("eth0");
            space.net.set_up(index).unwrap();
            space.address("eth0", &format!("10.0.0.{last}/24"));
            space.address("eth0", &format!("fd00::{last}/64"));
            if last != 1 {
                space.route("eth0", "0.0.0.0/0", "10.0.0.1");
                space.route("eth0", "::/0", "fd00::1");
            }
            space
        };
        let mut gateway = plug(&mut switch, 1);
        for beyond in [BEYOND, BEYOND6] {
            gateway.net.add_address(1, beyond.parse::<IpAddr>().unwrap().into(), true).unwrap();
        }
        let hosts = [plug(&mut switch, 11), plug(&mut switch, 12)];
        Lab { hosts, gateway, _switch: switch, dir }
    }

    /// Gives the gateway an end of these VLANs, and lets it pass on packets between them.
    pub(crate) fn trunk(&mut self, vlans: &[u8]) {
        vlans.iter().for_each(|vlan| self.gateway.vlan("eth0", *vlan, 1));
        let forward = || {
            fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
            fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").unwrap();
        };
        self.gateway.ns.within(forward).unwrap();
    }

    /// VLAN devices of the hosts that an administrator made, with an address and a default route each.
    pub(crate) fn prepare_hosts(&mut self, vlans: &[u8]) {
        for (host, last) in self.hosts.iter_mut().zip([11, 12]) {
            for vlan in vlans {
                host.vlan("eth0", *vlan, last);
                let index = host.index(&format!("v{vlan}"));
                for (dst, gateway) in [("0.0.0.0/0", v4(*vlan, 1)), ("::/0", v6(*vlan, 1))] {
                    let route = Route::new(dst.parse().unwrap(), NextHop::Gateway(gateway), index);
                    let metric = Some(2000 + u32::from(*vlan));
                    host.net.add_route(&Route { metric, ..route }).unwrap();
                }
            }
        }
    }

    /// Configuration of a network, with more members.
    pub(crate) fn conf(&self, host: usize, plugin: &str, more: Value) -> Value {
        let mut conf = json!({
            "cniVersion": "1.1.0", "name": "net", "type": plugin, "device": "eth0",
            "run_dir": self.dir.join(host.to_string()),
        });
        let members = more.as_object().unwrap().clone();
        conf.as_object_mut().unwrap().extend(members);
        conf
    }
}

/// A call of a plugin.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) id: String,
    pub(crate) netns: String,
    pub(crate) ifname: String,
    pub(crate) args: String,
    pub(crate) path: String,
    pub(crate) conf: Value,
}

impl Call {
    pub(crate) fn new(id: &str, netns: &str, ips: &[&str], conf: &Value) -> Call {
        let mut args = "IgnoreUnknown=1;K8S_POD_NAME=p".to_owned();
        if !ips.is_empty() {
            args = format!("{args};ipinfos={}", ip_infos(ips));
        }
        let path = String::new();
        Call { id: id.to_owned(), netns: netns.to_owned(), ifname: "eth0".to_owned(), args, path, conf: conf.clone() }
    }

    pub(crate) fn env(&self, command: &str) -> Vec<(String, String)> {
        let pairs = [
            ("CNI_COMMAND", command),
            ("CNI_CONTAINERID", &self.id),
            ("CNI_NETNS", &self.netns),
            ("CNI_IFNAME", &self.ifname),
            ("CNI_ARGS", &self.args),
            ("CNI_PATH", &self.path),
        ];
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec()
    }

    /// Runs the plugin as a process on a host.
    pub(crate) fn run(&self, host: &Space, command: &str) -> Result<Value, Value> {
        let output = host.ns.within(|| {
            let mut child = Command::new(PROGRAM)
                .arg0(self.conf["type"].as_str().unwrap())
                .env_clear()
                .envs(self.env(command))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            child.stdin.take().unwrap().write_all(self.conf.to_string().as_bytes()).unwrap();
            child.wait_with_output().unwrap()
        });
        let output = output.unwrap();
        let answer = serde_json::from_slice(&output.stdout).unwrap_or_default();
        if output.status.success() { Ok(answer) } else { Err(answer) }
    }

    #[track_caller]
    pub(crate) fn add(&self, host: &Space) -> Value {
        self.run(host, "ADD").unwrap_or_else(|error| panic!("ADD: {error}"))
    }

    #[track_caller]
    pub(crate) fn del(&self, host: &Space) {
        self.run(host, "DEL").unwrap_or_else(|error| panic!("DEL: {error}"));
    }
}

/// Prefix, gateway and VLAN follow from the address.
fn ip_infos(ips: &[&str]) -> Value {
    let info = |ip: &&str| {
        let ip: IpAddr = ip.parse().unwrap();
        json!({ "ip": subnet(ip).to_string(), "vlan": vlan_of(ip), "gateway": gateway_of(ip) })
    };
    ips.iter().map(info).collect()
}

/// The address of a VLAN, 0 for none, that ends in `last`.
pub(crate) fn v4(vlan: u8, last: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, vlan, last).into()
}

/// Like [`v4`].
pub(crate) fn v6(vlan: u8, last: u8) -> IpAddr {
    // fd00::20 and 10.0.0.20 look alike.
    let last = u16::from_str_radix(&last.to_string(), 16).unwrap();
    Ipv6Addr::new(0xfd00, 0, 0, vlan.into(), 0, 0, 0, last).into()
}

pub(crate) fn vlan_of(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(ip) => ip.octets()[2],
        IpAddr::V6(ip) => ip.octets()[7],
    }
}

pub(crate) fn gateway_of(ip: IpAddr) -> IpAddr {
    if ip.is_ipv4() { v4(vlan_of(ip), 1) } else { v6(vlan_of(ip), 1) }
}

/// The address with its prefix length.
fn subnet(ip: IpAddr) -> IpNet {
    IpNet::new(ip, if ip.is_ipv4() { 24 } else { 64 }).unwrap()
}
