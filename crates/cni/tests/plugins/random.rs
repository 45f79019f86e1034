//! Hundreds of random calls, kills and losses; after each the whole state of host and pods is compared with a model.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    net::IpAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use crate::{
    faults::run_and_kill,
    lab::{Call, Lab, Space, UNDERLAY, VLAN, root, v4, v6},
    traffic::ping,
};

const STEPS: usize = 500;
/// Repeats a run.
const SEED: &str = "GALAXY_CNI_TEST_SEED";

/// xorshift64*
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).unwrap() % limit
    }
}

/// A pod that should work.
struct Pod {
    space: Space,
    call: Call,
    ips: Vec<IpAddr>,
    routed: bool,
    /// Its record exists. Without it and without the namespace nobody knows which addresses the host answered for.
    recorded: bool,
}

struct World {
    lab: Lab,
    bare: BTreeSet<String>,
    pods: BTreeMap<String, Pod>,
    next: usize,
    dice: Dice,
}

impl World {
    fn conf(&self, routed: bool) -> Value {
        let (plugin, more) = if routed { (UNDERLAY, json!({})) } else { (VLAN, json!({ "switch": "macvlan" })) };
        let mut conf = self.lab.conf(0, plugin, more);
        conf["name"] = plugin.into();
        conf
    }

    /// One to three addresses that no pod has.
    fn addresses(&mut self) -> Vec<IpAddr> {
        let taken: BTreeSet<IpAddr> = self.pods.values().flat_map(|pod| pod.ips.clone()).collect();
        let mut ips = Vec::new();
        let count = 1 + self.dice.below(3);
        while ips.len() < count {
            let last = u8::try_from(20 + self.dice.below(60)).unwrap();
            let ip = if self.dice.below(3) == 0 { v6(0, last) } else { v4(0, last) };
            if !taken.contains(&ip) && !ips.contains(&ip) {
                ips.push(ip);
            }
        }
        ips
    }

    fn call(&mut self, space: &Space, ips: &[IpAddr], routed: bool) -> Call {
        self.next += 1;
        let ips: Vec<String> = ips.iter().map(IpAddr::to_string).collect();
        let ips: Vec<&str> = ips.iter().map(String::as_str).collect();
        Call::new(&format!("pod-{}", self.next), &space.path(), &ips, &self.conf(routed))
    }

    fn some_pod(&mut self) -> Option<String> {
        if self.pods.is_empty() {
            return None;
        }
        let at = self.dice.below(self.pods.len());
        self.pods.keys().nth(at).cloned()
    }

    fn gc(&self, routed: bool) {
        let host = &self.lab.hosts[0];
        let mut gc = Call::new("", "", &[], &self.conf(routed));
        gc.ifname.clear();
        let valid = self.pods.keys().map(|id| json!({ "containerID": id, "ifname": "eth0" }));
        gc.conf["cni.dev/valid-attachments"] = valid.collect();
        gc.run(host, "GC").unwrap();
    }

    /// One step; says what it was.
    fn step(&mut self) -> String {
        let routed = self.dice.below(2) == 0;
        match self.dice.below(12) {
            0..=3 => {
                let (space, ips) = (Space::make(), self.addresses());
                let call = self.call(&space, &ips, routed);
                call.add(&self.lab.hosts[0]);
                let said = format!("ADD {} {ips:?}", call.id);
                self.pods.insert(call.id.clone(), Pod { space, call, ips, routed, recorded: true });
                said
            }
            4 => {
                let (space, ips) = (Space::make(), self.addresses());
                let call = self.call(&space, &ips, routed);
                let at = self.dice.below(40);
                let survived = run_and_kill(&self.lab.hosts[0], &call, "ADD", at);
                if self.dice.below(2) == 0 {
                    call.del(&self.lab.hosts[0]);
                } else {
                    drop(space);
                    self.gc(routed);
                }
                format!("ADD {} killed at {at} ({survived}), cleaned", call.id)
            }
            5 => {
                // The same address for another pod of the host: the route to the first one says no.
                let used = self.pods.values().find(|pod| pod.routed).map(|pod| pod.ips[0]);
                let Some(used) = used else { return "nothing".to_owned() };
                let space = Space::make();
                let call = self.call(&space, &[used], true);
                let error = call.run(&self.lab.hosts[0], "ADD").unwrap_err();
                assert_eq!(error["code"], 101, "{error}");
                format!("ADD of {used} refused")
            }
            kind => {
                let Some(id) = self.some_pod() else { return "nothing".to_owned() };
                self.disturb(kind, &id);
                format!("{kind} {id}")
            }
        }
    }

    /// Something happens to a pod.
    fn disturb(&mut self, kind: usize, id: &str) {
        let other = self.addresses();
        let at = self.dice.below(20);
        match kind {
            // ADD once more.
            6 => {
                let pod = self.pods.get_mut(id).unwrap();
                pod.call.add(&self.lab.hosts[0]);
                pod.recorded = true;
            }
            // ADD with other addresses.
            7 => {
                let ips: Vec<String> = other.iter().map(IpAddr::to_string).collect();
                let ips: Vec<&str> = ips.iter().map(String::as_str).collect();
                let pod = self.pods.get_mut(id).unwrap();
                pod.call.args = Call::new("", "", &ips, &Value::Null).args;
                (pod.ips, pod.recorded) = (other, true);
                pod.call.add(&self.lab.hosts[0]);
            }
            // All records are lost.
            8 => {
                let _ = fs::remove_dir_all(self.lab.dir.join("0"));
                self.pods.values_mut().for_each(|pod| pod.recorded = false);
            }
            // DEL that is killed, then DEL.
            9 => {
                let pod = self.pods.remove(id).unwrap();
                run_and_kill(&self.lab.hosts[0], &pod.call, "DEL", at);
                pod.call.del(&self.lab.hosts[0]);
            }
            // The namespace is gone before DEL, which comes twice.
            10 if self.pods[id].recorded => {
                let Pod { space, call, .. } = self.pods.remove(id).unwrap();
                drop(space);
                let late = Call { netns: String::new(), ..call };
                late.del(&self.lab.hosts[0]);
                late.del(&self.lab.hosts[0]);
            }
            _ => {
                let pod = self.pods.remove(id).unwrap();
                pod.call.del(&self.lab.hosts[0]);
                self.gc(pod.routed);
            }
        }
    }

    /// Compares everything.
    fn check(&mut self) {
        let host = &mut self.lab.hosts[0];
        let links = host.net.links().unwrap();
        let ours: Vec<_> = links.iter().filter(|link| link.name.starts_with("gx")).collect();
        let eth0 = links.iter().find(|link| link.name == "eth0").unwrap().index;
        let routed = || self.pods.values().filter(|pod| pod.routed);
        let aliases: BTreeSet<String> = ours.iter().map(|link| link.alias.clone()).collect();
        let wanted: BTreeSet<String> = routed()
            .flat_map(|pod| {
                (0..pod.ips.len()).map(|index| format!("galaxy/{UNDERLAY}/{UNDERLAY}/{}/eth0/{index}", pod.call.id))
            })
            .collect();
        assert_eq!(aliases, wanted, "devices");
        assert_eq!(ours.len(), wanted.len(), "devices");
        let is_ours = |index: u32| ours.iter().any(|link| link.index == index);
        let addresses: BTreeSet<IpAddr> = routed().flat_map(|pod| pod.ips.clone()).collect();
        let mut routes = BTreeSet::new();
        for route in host.net.routes().unwrap().into_iter().filter(|route| is_ours(route.index)) {
            // The kernel's own for link-local addresses.
            if !matches!(route.dst.addr(), IpAddr::V6(ip) if ip.is_unicast_link_local() || ip.is_multicast()) {
                assert!(route.dst.prefix_len() == route.dst.max_prefix_len(), "{route:?}");
                routes.insert(route.dst.addr());
            }
        }
        assert_eq!(routes, addresses, "routes");
        let proxies = host.net.proxies().unwrap().into_iter();
        let proxies: BTreeSet<IpAddr> = proxies.filter(|(index, _)| *index == eth0).map(|(_, ip)| ip).collect();
        assert_eq!(proxies, addresses, "addresses that the host answers for");
        let bare: BTreeSet<String> = self.bare.difference(&host.state()).cloned().collect();
        assert!(bare.is_empty(), "lost: {bare:?}");
        for pod in self.pods.values_mut() {
            let net = &mut pod.space.net;
            let addresses = net.addresses(None).unwrap().into_iter();
            let found: BTreeSet<IpAddr> =
                addresses.filter(|a| a.index != 1 && a.global).map(|a| a.net.addr()).collect();
            assert_eq!(found, pod.ips.iter().copied().collect(), "addresses of {}", pod.call.id);
            assert_eq!(net.links().unwrap().len(), 1 + pod.ips.len(), "interfaces of {}", pod.call.id);
            let rules = if pod.ips.len() > 1 { pod.ips.len() } else { 0 };
            assert_eq!(net.rules().unwrap().len(), rules, "rules of {}", pod.call.id);
        }
        let records = fs::read_dir(self.lab.dir.join("0/attachments")).map_or(0, Iterator::count);
        assert!(records <= self.pods.len(), "{records} records of {} pods", self.pods.len());
    }
}

#[test]
fn random_calls_kills_and_losses() {
    if !root() {
        return;
    }
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = env::var(SEED).map_or_else(|_| clock() | 1, |seed| seed.parse().unwrap());
    println!("{SEED}={seed}");
    let mut lab = Lab::new();
    let bare = lab.hosts[0].state();
    let mut world = World { lab, bare, pods: BTreeMap::new(), next: 0, dice: Dice(seed) };
    for number in 0..STEPS {
        if world.pods.len() > 8 {
            let id = world.some_pod().unwrap();
            world.disturb(11, &id);
        }
        let said = world.step();
        println!("{number}: {said}");
        world.check();
        if number % 50 == 0 {
            for pod in world.pods.values() {
                let from = if pod.ips[0].is_ipv4() { "10.0.0.1" } else { "fd00::1" };
                ping(&world.lab.gateway.ns, from, &pod.ips[0].to_string());
            }
        }
    }
    while let Some(id) = world.some_pod() {
        world.disturb(11, &id);
    }
    world.check();
    assert_eq!(world.lab.hosts[0].state(), world.bare);
}
