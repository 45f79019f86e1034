use galaxy_api::config::{FileConfig, parse_pools, pools_to_json};
use galaxy_core::Topology;

#[test]
fn reads_a_config_map() {
    let json = r#"[
        {"nodeSubnets":["10.49.28.0/26","10.49.29.7/24"],"ips":["10.0.70.2~10.0.70.241","10.0.70.243"],
         "subnet":"10.0.70.0/24","gateway":"10.0.70.1","vlan":2},
        {"routableSubnet":"10.180.1.3/32","nodeSubnets":["1.1.1.0/24"],"ips":null,"subnet":"0.0.0.0/27",
         "gateway":"10.180.154.1","vlan":null,"unknown":[1]},
        {"NODESUBNETS":["fd00:1::/64"],"Ips":["fd00:2::5~fd00:2::9"],"Subnet":"fd00:2::/64","gateWay":"fd00:2::1"}
    ]"#;
    let pools = parse_pools(json).unwrap();
    assert_eq!(pools.len(), 3);
    assert_eq!((pools[0].vlan, pools[0].ranges.len(), pools[0].node_subnets.len()), (2, 2, 2));
    assert_eq!(pools[1].node_subnets, ["10.180.1.3/32".parse().unwrap()], "routableSubnet wins");
    assert!(pools[1].ranges.is_empty());
    assert_eq!(pools[2].gateway.to_string(), "fd00:2::1");
    Topology::build(pools).unwrap();
}

/// The form pinned by the original: vlan only if there is one, the subnet as the network that it means.
#[test]
fn writes_what_it_reads() {
    let json = concat!(
        r#"[{"nodeSubnets":["10.0.0.0/16"],"ips":["10.0.70.2~10.0.70.241","10.0.70.243"],"subnet":"10.0.70.0/24","gateway":"10.0.70.1","vlan":2},"#,
        r#"{"nodeSubnets":["10.180.1.2/32","10.180.1.3/32"],"ips":[],"subnet":"10.180.154.0/25","gateway":"10.180.154.1"}]"#
    );
    assert_eq!(pools_to_json(&parse_pools(json).unwrap()), json);
    let sparse = json.replace("10.180.154.0/25", "0.0.0.0/25");
    assert_eq!(pools_to_json(&parse_pools(&sparse).unwrap()), json);
}

/// Nothing of a malformed document is used; the text names field and value.
#[test]
fn malformed() {
    let pool = |change: &str| {
        let mut members = vec![
            ("nodeSubnets", r#"["10.0.0.0/16"]"#),
            ("gateway", r#""10.0.70.1""#),
            ("subnet", r#""10.0.70.0/24""#),
            ("ips", r#"["10.0.70.2"]"#),
        ];
        let (name, value) = change.split_once('=').unwrap();
        members.retain(|member| member.0 != name);
        if !value.is_empty() {
            members.push((name, value));
        }
        let members: Vec<String> = members.iter().map(|(name, value)| format!("{name:?}:{value}")).collect();
        format!("[{{{}}}]", members.join(","))
    };
    assert!(parse_pools(&pool("vlan=1")).is_ok(), "the base is well formed");
    for (json, field, value) in [
        (String::new(), "floatingips is empty", ""),
        (" \n".to_owned(), "floatingips is empty", ""),
        ("null".to_owned(), "floatingips", "null"),
        ("[]".to_owned(), "floatingips", "[]"),
        ("{}".to_owned(), "floatingips", "map"),
        ("[".to_owned(), "floatingips", "EOF"),
        ("[]]".to_owned(), "floatingips", "trailing"),
        ("\"[]\"".to_owned(), "floatingips", "string"),
        ("[null]".to_owned(), "floatingips[0]", "null"),
        ("[5]".to_owned(), "floatingips", "integer `5`"),
        ("[{}]".to_owned(), "nodeSubnets", "missing"),
        (pool("nodeSubnets="), "floatingips[0]: nodeSubnets", "missing"),
        (pool("nodeSubnets=[]"), "floatingips[0]: nodeSubnets", "missing"),
        (pool("nodeSubnets=null"), "floatingips[0]: nodeSubnets", "missing"),
        (pool("nodeSubnets=[null]"), "nodeSubnets[0]", "null"),
        (pool(r#"nodeSubnets="10.0.0.0/16""#), "nodeSubnets", "10.0.0.0/16"),
        (pool(r#"nodeSubnets=["10.0.0.0"]"#), "nodeSubnets[0]", "10.0.0.0"),
        (pool(r#"nodeSubnets=["10.0.0.0/33"]"#), "nodeSubnets[0]", "10.0.0.0/33"),
        (pool(r#"nodeSubnets=["10.0.0.0/16",""]"#), "nodeSubnets[1]", "\"\""),
        (pool(r#"routableSubnet="x""#), "routableSubnet", "\"x\""),
        (pool("gateway="), "floatingips[0]: gateway", "missing"),
        (pool(r#"gateway=""#), "floatingips", ""),
        (pool(r#"gateway="10.0.70""#), "floatingips[0].gateway", "10.0.70"),
        (pool("gateway=1"), "gateway", "integer `1`"),
        (pool("subnet="), "floatingips[0]: subnet", "missing"),
        (pool(r#"subnet="10.0.70.0""#), "floatingips[0].subnet", "10.0.70.0"),
        (pool(r#"ips="10.0.70.2""#), "ips", "10.0.70.2"),
        (pool(r#"ips=["10.0.70.2",""]"#), "ips[1]", "\"\""),
        (pool("ips=[null]"), "ips[0]", "null"),
        (pool(r#"ips=["10.0.70.2-10.0.70.9"]"#), "ips[0]", "10.0.70.2-10.0.70.9"),
        (pool(r#"ips=["10.0.70.9~10.0.70.2"]"#), "ips[0]", "10.0.70.9~10.0.70.2"),
        (pool("vlan=65536"), "vlan", "65536"),
        (pool("vlan=-1"), "vlan", "-1"),
        (pool("vlan=1.5"), "vlan", "1.5"),
        (pool(r#"vlan="2""#), "vlan", "\"2\""),
    ] {
        let error = parse_pools(&json).expect_err(&json).to_string();
        assert!(error.contains(field) && error.contains(value), "{json}: {error}");
    }
}

/// Two pools, the second bad: the first does not count either.
#[test]
fn refused_as_a_whole() {
    let good = r#"{"nodeSubnets":["10.0.0.0/16"],"ips":["10.0.70.2"],"subnet":"10.0.70.0/24","gateway":"10.0.70.1"}"#;
    let error = parse_pools(&format!(r#"[{good},{{"nodeSubnets":["10.1.0.0/16"],"gateway":"x"}}]"#)).unwrap_err();
    assert!(error.to_string().starts_with("floatingips[1].gateway: \"x\""), "{error}");
}

#[test]
fn file() {
    let json = r#"{"schedule_plugin":{
        "floatingips":[{"routableSubnet":"10.0.0.0/16","ips":["10.0.70.2"],"subnet":"10.0.70.0/24","gateway":"10.0.70.1"}],
        "resyncInterval":5,"configMapName":"a","configMapNamespace":"b","floatingipKey":"c",
        "cloudProviderGrpcAddr":"10.0.0.2:9042","storageDriver":"k8s-crd"},"other":1}"#;
    let config = FileConfig::parse(json.as_bytes()).unwrap();
    assert_eq!(config.pools.as_ref().map(Vec::len), Some(1));
    assert_eq!(config.resync_interval_minutes, 5);
    assert_eq!(
        (config.config_map_name.as_str(), config.config_map_namespace.as_str(), config.config_map_key.as_str()),
        ("a", "b", "c")
    );
    assert_eq!(config.cloud_provider_addr.as_deref(), Some("10.0.0.2:9042"));

    let defaults = FileConfig::default();
    assert_eq!(defaults.config_map_name, "floatingip-config");
    assert_eq!(defaults.config_map_namespace, "kube-system");
    assert_eq!(defaults.config_map_key, "floatingips");
    for json in [
        "null",
        "{}",
        r#"{"schedule_plugin":null}"#,
        r#"{"schedule_plugin":{"floatingips":null,"resyncInterval":0,"configMapName":"","cloudProviderGrpcAddr":""}}"#,
        r#"{"schedule_plugin":{"floatingips":[],"resyncInterval":-7}}"#,
    ] {
        assert_eq!(FileConfig::parse(json.as_bytes()).unwrap(), defaults, "{json}");
    }
    for (json, text) in [
        ("", "configuration file: EOF"),
        ("[]", "configuration file"),
        (r#"{"schedule_plugin":5}"#, "schedule_plugin: invalid type: integer `5`"),
        (
            r#"{"schedule_plugin":{"resyncInterval":"1"}}"#,
            "schedule_plugin: resyncInterval: invalid type: string \"1\"",
        ),
        (r#"{"schedule_plugin":{"floatingips":[{}]}}"#, "floatingips[0]: nodeSubnets is missing"),
        (r#"{"schedule_plugin":{"floatingips":{}}}"#, "schedule_plugin: floatingips"),
    ] {
        let error = FileConfig::parse(json.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(text), "{json}: {error}");
    }
}
