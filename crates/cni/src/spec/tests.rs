//! Results in every version.

use serde_json::{Value, json};

use super::*;

fn result() -> AddResult {
    let ip = |index, address: &str, gateway: &str| IpConfig {
        interface: Some(index),
        address: address.parse().unwrap(),
        gateway: Some(gateway.parse().unwrap()),
    };
    AddResult {
        interfaces: vec![
            Interface {
                name: "host".to_owned(),
                mac: Some("02:00:00:00:00:01".to_owned()),
                mtu: Some(1500),
                sandbox: None,
            },
            Interface { name: "eth0".to_owned(), mac: None, mtu: Some(1500), sandbox: Some("/ns".to_owned()) },
        ],
        ips: vec![ip(1, "10.0.0.5/24", "10.0.0.1"), ip(1, "10.0.0.6/24", "10.0.0.1"), ip(1, "fd00::5/64", "fd00::1")],
        routes: vec![
            Route { dst: "0.0.0.0/0".parse().unwrap(), gw: None },
            Route { dst: "::/0".parse().unwrap(), gw: Some("fd00::1".parse().unwrap()) },
        ],
        dns: Dns { nameservers: vec!["10.0.0.2".to_owned()], ..Dns::default() },
    }
}

#[test]
fn results_in_every_version() {
    for version in Version::ALL {
        let json = result().to_json(version);
        assert_eq!(json["cniVersion"], version.as_str());
        assert_eq!(json["dns"], json!({ "nameservers": ["10.0.0.2"] }));
        if version < Version::V0_3_0 {
            let ip4 = json!({ "ip": "10.0.0.5/24", "gateway": "10.0.0.1", "routes": [{ "dst": "0.0.0.0/0" }] });
            assert_eq!(json["ip4"], ip4);
            assert_eq!(json["ip6"]["ip"], "fd00::5/64");
            assert_eq!(json["ip6"]["routes"], json!([{ "dst": "::/0", "gw": "fd00::1" }]));
            assert!(json.get("ips").is_none() && json.get("interfaces").is_none() && json.get("routes").is_none());
        } else {
            let family = if version < Version::V1_0_0 { json!("6") } else { Value::Null };
            assert_eq!(json["ips"].as_array().unwrap().len(), 3);
            assert_eq!(json["ips"][2]["version"], family);
            assert_eq!(json["ips"][2]["interface"], 1);
            let mtu = if version < Version::V1_1_0 { Value::Null } else { json!(1500) };
            assert_eq!(json["interfaces"][1]["mtu"], mtu);
            assert_eq!(json["interfaces"][1]["sandbox"], "/ns");
            assert!(json["interfaces"][0].get("sandbox").is_none());
            assert_eq!(json["routes"].as_array().unwrap().len(), 2);
        }
        let back = AddResult::from_json(&json, Version::V1_1_0).unwrap();
        assert_eq!(back.to_json(version), json, "{version:?}");
    }
}

/// Row 48: an answer in the old form keeps its addresses, also where it names no version.
#[test]
fn addresses_of_old_results_are_kept() {
    let old = json!({ "ip4": { "ip": "10.0.0.5/24", "gateway": "10.0.0.1", "routes": null } });
    let read = AddResult::from_json(&old, Version::V0_2_0).unwrap();
    let new = read.to_json(Version::V1_0_0);
    assert_eq!(new["ips"], json!([{ "address": "10.0.0.5/24", "gateway": "10.0.0.1" }]));
}

#[test]
fn arguments_split_at_the_first_equals_sign() {
    let args = Args::parse("a=1; b = x=y ;c;=;a=2;ipinfos=[{\"ip\":\"10.0.0.5/24\"}]");
    for (key, value) in [("a", Some("2")), ("b", Some("x=y")), ("c", None), ("d", None)] {
        assert_eq!(args.get(key), value, "{key}");
    }
    assert_eq!(args.get("ipinfos"), Some("[{\"ip\":\"10.0.0.5/24\"}]"));
}

#[test]
fn several_errors_are_one() {
    assert_eq!(Error::join(Vec::new()), Ok(()));
    let errors = vec![Error::new(code::IO, "a"), Error::new(code::NETWORK, "b")];
    assert_eq!(Error::join(errors), Err(Error::new(code::IO, "a; b")));
}
