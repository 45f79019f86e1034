use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::testing::{addr, range};

/// A pool as a configuration has it: node subnets, ranges, subnet, gateway, vlan.
fn pool(nodes: &[&str], ips: &[&str], subnet: &str, gateway: &str, vlan: u16) -> PoolConfig {
    PoolConfig {
        node_subnets: nodes.iter().map(|net| net.parse().unwrap()).collect(),
        ranges: ips.iter().map(|text| range(text)).collect(),
        subnet: subnet.parse().unwrap(),
        gateway: gateway.parse().unwrap(),
        vlan,
    }
}

/// A pool of which only the addresses matter.
fn ips(ips: &[&str], subnet: &str, gateway: &str) -> PoolConfig {
    pool(&["192.168.0.0/16"], ips, subnet, gateway, 0)
}

fn build(configs: &[PoolConfig]) -> (Topology, Vec<String>) {
    let (topology, warnings) = Topology::build(configs.to_vec()).unwrap();
    (topology, warnings.iter().map(Warning::to_string).collect())
}

fn refusal(configs: &[PoolConfig]) -> String {
    Topology::build(configs.to_vec()).unwrap_err().to_string()
}

#[test]
fn refusals_name_pool_member_value_and_way_out() {
    let good = ips(&["10.1.0.2~10.1.0.9"], "10.1.0.0/24", "10.1.0.1");
    for (bad, message) in [
        (
            pool(&[], &["10.9.9.9"], "10.0.0.0/24", "10.0.0.1", 9999),
            "pool 1 (gateway 10.0.0.1/24): `nodeSubnets` is empty; name at least one CIDR that holds node addresses, such as \"10.0.0.0/16\"",
        ),
        (
            ips(&[], "fd00::/64", "10.0.0.1"),
            "pool 1 (gateway 10.0.0.1/64): `subnet` fd00::/64 and `gateway` 10.0.0.1 are not of one family; write both as IPv4 or both as IPv6",
        ),
        (
            ips(&[], "10.0.0.0/24", "fd00::1"),
            "pool 1 (gateway fd00::1/24): `subnet` 10.0.0.0/24 and `gateway` fd00::1 are not of one family; write both as IPv4 or both as IPv6",
        ),
        (
            ips(&[], "::ffff:10.0.0.0/120", "::ffff:10.0.0.1"),
            "pool 1 (gateway ::ffff:10.0.0.1/120): `gateway` has ::ffff:10.0.0.1, an IPv4-mapped IPv6 address; write 10.0.0.1",
        ),
        (
            pool(&["::ffff:10.0.0.0/104"], &[], "10.0.0.0/24", "10.0.0.1", 0),
            "pool 1 (gateway 10.0.0.1/24): `nodeSubnets` has ::ffff:10.0.0.0, an IPv4-mapped IPv6 address; write 10.0.0.0",
        ),
        (
            ips(&["10.0.0.250~10.0.1.3"], "10.0.0.0/24", "10.0.0.1"),
            "pool 1 (gateway 10.0.0.1/24): `ips` range 10.0.0.250~10.0.1.3 is not inside 10.0.0.0/24 (`gateway` masked by `subnet`); shorten it or correct those",
        ),
        (
            ips(&["10.0.0.9", "fd00::9"], "10.0.0.0/24", "10.0.0.1"),
            "pool 1 (gateway 10.0.0.1/24): `ips` range fd00::9 is not inside 10.0.0.0/24 (`gateway` masked by `subnet`); shorten it or correct those",
        ),
        (
            ips(&["10.0.0.9", "10.0.0.2"], "10.0.0.0/24", "10.0.0.1"),
            "pool 1 (gateway 10.0.0.1/24): `ips` range 10.0.0.2 does not come after 10.0.0.9; write the ranges in ascending order, none overlapping",
        ),
        (
            ips(&["10.0.0.2~10.0.0.9", "10.0.0.9~10.0.0.12"], "10.0.0.0/24", "10.0.0.1"),
            "pool 1 (gateway 10.0.0.1/24): `ips` range 10.0.0.9~10.0.0.12 does not come after 10.0.0.2~10.0.0.9; write the ranges in ascending order, none overlapping",
        ),
        (
            ips(&["10.0.0.2~10.0.0.9", "10.0.0.10~10.0.0.12"], "10.0.0.0/24", "10.0.0.1"),
            "pool 1 (gateway 10.0.0.1/24): `ips` ranges 10.0.0.2~10.0.0.9 and 10.0.0.10~10.0.0.12 are adjacent; write them as one, 10.0.0.2~10.0.0.12",
        ),
        (
            pool(&["192.168.0.0/16"], &["10.0.0.9"], "10.0.0.0/24", "10.0.0.1", 4095),
            "pool 1 (gateway 10.0.0.1/24): `vlan` 4095 is not a VLAN id; use 1 to 4094, or 0 for untagged",
        ),
        (
            ips(&["10.1.0.9~10.1.0.12"], "10.1.0.0/16", "10.1.0.1"),
            "pool 0 (gateway 10.1.0.1/24) and pool 1 (gateway 10.1.0.1/16): `ips` ranges 10.1.0.2~10.1.0.9 and 10.1.0.9~10.1.0.12 overlap; an address may be in one pool only",
        ),
    ] {
        assert_eq!(refusal(&[good.clone(), bad]), message);
    }
    assert!(refusal(&[]).starts_with("no pool is configured"));
}

#[test]
fn the_first_check_that_fails_is_the_one_named() {
    // Everything is wrong here; the order is that of the original.
    let mut config = pool(&[], &["10.0.0.9", "10.0.0.10"], "fd00::/24", "10.9.0.1", 4095);
    assert!(refusal(&[config.clone()]).contains("`nodeSubnets`"));
    config.node_subnets = vec!["10.0.0.0/8".parse().unwrap()];
    assert!(refusal(&[config.clone()]).contains("`subnet`"));
    config.subnet = "10.0.0.0/24".parse().unwrap();
    assert!(refusal(&[config.clone()]).contains("not inside"));
    config.gateway = "10.0.0.1".parse().unwrap();
    assert!(refusal(&[config.clone()]).contains("adjacent"));
    config.ranges.pop();
    assert!(refusal(&[config.clone()]).contains("`vlan`"));
    config.vlan = MAX_VLAN;
    build(&[config]);
}

#[test]
fn an_overlap_is_found_however_the_ranges_lie() {
    let wide = ips(&["10.0.0.2~10.0.0.200"], "10.0.0.0/24", "10.0.0.1");
    for inner in ["10.0.0.2", "10.0.0.100~10.0.0.120", "10.0.0.200~10.0.0.210", "10.0.0.2~10.0.0.200"] {
        let other = ips(&[inner], "10.0.0.0/24", "10.0.0.254");
        assert!(refusal(&[other.clone(), wide.clone()]).contains(" overlap"), "{inner}");
        assert!(refusal(&[wide.clone(), other]).contains(" overlap"), "{inner}");
    }
    // Touching is fine between pools, and so is sharing a subnet.
    build(&[wide, ips(&["10.0.0.201~10.0.0.210"], "10.0.0.0/24", "10.0.0.1")]);
}

#[test]
fn special_addresses_are_named_and_never_handed_out() {
    // ranges, subnet, gateway, what is named
    for (ranges, subnet, gateway, named) in [
        (
            &["10.0.0.0~10.0.0.255"][..],
            "10.0.0.0/24",
            "10.0.0.1",
            &[("10.0.0.0", "the network address"), ("10.0.0.1", "a gateway"), ("10.0.0.255", "the broadcast address")]
                [..],
        ),
        (&["10.0.0.2~10.0.0.254"], "10.0.0.0/24", "10.0.0.1", &[]),
        (
            &["10.0.0.4~10.0.0.7"],
            "10.0.0.0/30",
            "10.0.0.5",
            &[("10.0.0.4", "the network address"), ("10.0.0.5", "a gateway"), ("10.0.0.7", "the broadcast address")],
        ),
        (&["10.0.0.4~10.0.0.5"], "10.0.0.0/31", "10.0.0.4", &[("10.0.0.4", "a gateway")]),
        (&["10.0.0.4"], "10.0.0.4/32", "10.0.0.4", &[("10.0.0.4", "a gateway")]),
        (
            &["0.0.0.0~255.255.255.255"],
            "0.0.0.0/0",
            "10.0.0.1",
            &[
                ("0.0.0.0", "the network address"),
                ("10.0.0.1", "a gateway"),
                ("255.255.255.255", "the broadcast address"),
            ],
        ),
        (
            &["fd00::~fd00::ffff:ffff:ffff:ffff"],
            "fd00::/64",
            "fd00::1",
            &[("fd00::", "the subnet-router anycast address"), ("fd00::1", "a gateway")],
        ),
        (&["fd00::6~fd00::7"], "fd00::/127", "fd00::7", &[("fd00::7", "a gateway")]),
        (&["fd00::7"], "fd00::/128", "fd00::7", &[("fd00::7", "a gateway")]),
        (
            &["::~ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"],
            "::/0",
            "fd00::1",
            &[("::", "the subnet-router anycast address"), ("fd00::1", "a gateway")],
        ),
        // A gateway that is also the network address is named once.
        (&["10.0.0.0~10.0.0.3"], "10.0.0.0/24", "10.0.0.0", &[("10.0.0.0", "a gateway")]),
    ] {
        let (topology, warnings) = build(&[ips(ranges, subnet, gateway)]);
        let told: Vec<&String> = warnings.iter().filter(|text| text.contains("never handed out")).collect();
        assert_eq!(told.len(), named.len(), "{told:?}");
        for (text, (special, why)) in told.iter().zip(named) {
            assert!(text.contains(&format!("contains {special}, {why}")), "{text}");
            assert_eq!(topology.pool_of(addr(special)), Some(PoolId(0)), "configured all the same");
            assert!(!topology.is_usable(addr(special)));
        }
        let mut want = RangeSet::from_ranges(topology.pools()[0].ranges.iter().copied());
        for (special, _) in named {
            want.remove(range(special));
        }
        assert_eq!(topology.pools()[0].usable, want);
    }
}

#[test]
fn a_gateway_in_another_pools_range_is_not_handed_out() {
    let (topology, warnings) = build(&[
        ips(&["10.0.0.10~10.0.0.20"], "10.0.0.0/24", "10.0.0.1"),
        ips(&["10.0.0.30~10.0.0.40"], "10.0.0.0/24", "10.0.0.15"),
    ]);
    assert!(!topology.is_usable(addr("10.0.0.15")));
    assert_eq!(
        warnings,
        [
            "pool 0 (gateway 10.0.0.1/24): `ips` range 10.0.0.10~10.0.0.20 contains 10.0.0.15, a gateway of 10.0.0.0/24; it is never handed out"
        ]
    );
}

#[test]
fn only_the_prefix_length_of_subnet_counts() {
    let (topology, warnings) = build(&[ips(&["10.0.5.9"], "10.0.0.0/24", "10.0.5.1")]);
    assert_eq!(topology.pools()[0].network, "10.0.5.0/24".parse().unwrap());
    assert_eq!(
        warnings,
        [
            "pool 0 (gateway 10.0.5.1/24): `subnet` 10.0.0.0/24 does not hold the gateway; only its prefix length counts, the network is 10.0.5.0/24"
        ]
    );
    assert!(build(&[ips(&["10.0.5.9"], "10.0.5.77/24", "10.0.5.1")]).1.is_empty(), "host bits are no reason to warn");
}

#[test]
fn pools_are_sorted_by_gateway_as_a_number_then_by_first_range() {
    let configs = [
        ips(&["fd00::9"], "fd00::/64", "fd00::1"),
        ips(&["10.0.10.9"], "10.0.10.0/24", "10.0.10.1"),
        ips(&["10.0.9.200"], "10.0.9.0/24", "10.0.9.1"),
        ips(&["10.0.9.9"], "10.0.9.0/24", "10.0.9.1"),
        ips(&[], "10.0.9.0/24", "10.0.9.1"),
    ];
    let places =
        |configs: &[PoolConfig]| build(configs).0.pools().iter().map(|pool| pool.ranges.clone()).collect::<Vec<_>>();
    let want =
        [vec![], vec![range("10.0.9.9")], vec![range("10.0.9.200")], vec![range("10.0.10.9")], vec![range("fd00::9")]];
    assert_eq!(places(&configs), want);
    let mut reversed = configs.to_vec();
    reversed.reverse();
    assert_eq!(places(&reversed), want);
    let (topology, _) = build(&configs);
    assert!(topology.pools().iter().zip(0..).all(|(pool, index)| pool.index == PoolId(index)));
    for pool in topology.pools() {
        assert!(pool.ranges.iter().all(|range| topology.pool_of(range.first()) == Some(pool.index)));
    }
    assert_eq!(topology.pool_of(addr("10.0.9.10")), None);
    assert_eq!(topology.pool_of(Addr::V4_MIN), None);
    assert_eq!(topology.pool_of(Addr::V6_MAX), None);
}

#[test]
fn node_subnets_are_masked_and_each_kept_once_in_order() {
    let nodes = ["10.9.0.7/16", "10.8.0.0/16", "10.9.0.0/16", "fd01::1/64"];
    let (topology, _) = build(&[pool(&nodes, &[], "10.0.0.0/24", "10.0.0.1", 0)]);
    let want: Vec<IpNet> = ["10.9.0.0/16", "10.8.0.0/16", "fd01::/64"].map(|net| net.parse().unwrap()).to_vec();
    assert_eq!(topology.pools()[0].node_subnets, want);
    assert_eq!(topology.classes(), 1, "one set of pools is one class");
    assert_eq!(topology.subnets_of_class(ClassId(0)).len(), 3);
}

#[test]
fn a_node_in_several_node_subnets_reaches_the_pools_of_all() {
    let (topology, _) = build(&[
        pool(&["192.168.0.0/16"], &["10.0.0.9"], "10.0.0.0/24", "10.0.0.1", 0),
        pool(&["192.168.7.0/24"], &["10.0.1.9"], "10.0.1.0/24", "10.0.1.1", 0),
        pool(&["192.168.7.0/24", "192.168.8.0/24"], &["10.0.2.9"], "10.0.2.0/24", "10.0.2.1", 0),
        pool(&["192.168.9.0/24", "192.168.9.128/25"], &["10.0.3.9"], "10.0.3.0/24", "10.0.3.1", 0),
        pool(&["fd01::/64", "::/0"], &["fd00::9"], "fd00::/64", "fd00::1", 0),
    ]);
    for (node, pools) in [
        ("192.168.1.1", &[0][..]),
        ("192.168.7.1", &[0, 1, 2]),
        ("192.168.8.1", &[0, 2]),
        ("192.168.9.1", &[0, 3]),
        ("192.168.9.129", &[0, 3]),
        ("::ffff:192.168.7.1", &[0, 1, 2]),
        ("fd01::5", &[4]),
        ("2001:db8::5", &[4]),
        ("10.0.0.1", &[]),
        ("255.255.255.255", &[]),
    ] {
        let class = topology.class_of(node.parse().unwrap());
        let got: Vec<u32> =
            class.map_or(vec![], |class| topology.class_pools(class).iter().map(|pool| pool.0).collect());
        assert_eq!(got, pools, "{node}");
    }
    assert_eq!(topology.classes(), 5);
    let class = topology.class_of("192.168.9.129".parse().unwrap()).unwrap();
    let subnets: Vec<String> = topology.subnets_of_class(class).iter().map(IpNet::to_string).collect();
    assert_eq!(subnets, ["192.168.9.0/24", "192.168.9.128/25"]);
    assert_eq!(topology.classes_of_pool(PoolId(0)).len(), 4);
    assert_eq!(topology.classes_of_pool(PoolId(1)), [topology.class_of("192.168.7.9".parse().unwrap()).unwrap()]);
}

#[test]
fn without_pools_there_is_nothing() {
    let topology = Topology::default();
    assert_eq!((topology.pool_of(addr("10.0.0.1")), topology.class_of("10.0.0.1".parse().unwrap())), (None, None));
    assert_eq!((topology.pools().len(), topology.classes()), (0, 0));
}

#[test]
fn a_thousand_pools_build_fast() {
    let configs: Vec<PoolConfig> = (0..1_000)
        .map(|i| {
            let (a, b) = (i / 250, i % 250);
            pool(
                &[&format!("172.{}.{b}.0/24", 16 + a), "192.168.0.0/16"],
                &[&format!("10.{a}.{b}.0~10.{a}.{b}.255")],
                "10.0.0.0/24",
                &format!("10.{a}.{b}.1"),
                0,
            )
        })
        .collect();
    let started = Instant::now();
    let (topology, warnings) = build(&configs);
    assert!(started.elapsed() < Duration::from_secs(2), "took {:?}", started.elapsed());
    assert_eq!((topology.pools().len(), topology.classes()), (1_000, 1_001));
    assert_eq!(warnings.len(), 3_000 + 999, "three addresses each, and all but one have another subnet address");
    assert_eq!(topology.class_pools(topology.class_of("192.168.3.4".parse().unwrap()).unwrap()).len(), 1_000);
    assert_eq!(topology.clip(&IpRange::all(Family::V4)).count(), 1_000);
}

proptest! {
    /// Node subnets nest in every way around one address; classes agree with asking every subnet.
    #[test]
    fn classes_agree_with_every_subnet(
        nets in proptest::collection::vec(proptest::collection::vec((0u32..64, 24u8..=32), 1..4), 1..6),
        nodes in proptest::collection::vec(0u32..64, 1..8),
    ) {
        let ip = |n: u32| IpAddr::from(std::net::Ipv4Addr::from_bits(0xc0a8_0000 + (n << 2)));
        let configs: Vec<PoolConfig> = nets.iter().enumerate().map(|(i, nets)| PoolConfig {
            node_subnets: nets.iter().map(|&(n, len)| IpNet::new(ip(n), len).unwrap()).collect(),
            ..ips(&[], "10.0.0.0/24", &format!("10.0.{i}.1"))
        }).collect();
        let (topology, _) = build(&configs);
        for node in nodes.into_iter().map(ip) {
            let want: Vec<PoolId> = topology.pools().iter()
                .filter(|pool| pool.node_subnets.iter().any(|net| net.contains(&node)))
                .map(|pool| pool.index).collect();
            let got = topology.class_of(node).map_or(&[][..], |class| topology.class_pools(class));
            prop_assert_eq!(got, want);
        }
        let sets: BTreeSet<&[PoolId]> = (0..topology.classes()).map(|i| topology.class_pools(ClassId(i as u32))).collect();
        prop_assert_eq!(sets.len(), topology.classes(), "no two classes are alike");
        for pool in topology.pools() {
            for class in (0..topology.classes() as u32).map(ClassId) {
                let reaches = topology.class_pools(class).contains(&pool.index);
                prop_assert_eq!(topology.classes_of_pool(pool.index).contains(&class), reaches);
            }
        }
    }
}
