use galaxy_api::annotation::{ArgsError, IpInfo, MAX_BYTES, PodArgs};

fn info(ip: &str, vlan: u16, gateway: &str) -> IpInfo {
    IpInfo { ip: ip.parse().unwrap(), vlan, gateway: gateway.parse().unwrap() }
}

fn compact(json: &str) -> String {
    // Not through a map: the order of the members is part of what is compared.
    json.lines().map(|line| line.trim().replace("\": ", "\":").replace(", {", ",{")).collect()
}

/// The example of float-ip.md: three lists in, three addresses out, in the same annotation.
#[test]
fn three_ranges_of_the_user_documentation() {
    let input = r#"{"request_ip_range":[["10.0.0.200~10.0.0.238"],["10.0.0.2~10.0.0.30"],["10.0.0.60~10.0.0.80"]]}"#;
    let output = r#"{
        "request_ip_range": [
            ["10.0.0.200~10.0.0.238"],
            ["10.0.0.2~10.0.0.30"],
            ["10.0.0.60~10.0.0.80"]
        ],
        "common": {
            "ipinfos": [{
                "ip": "10.0.0.200/24",
                "vlan": 0,
                "gateway": "10.0.0.1"
            }, {
                "ip": "10.0.0.2/24",
                "vlan": 0,
                "gateway": "10.0.0.1"
            }, {
                "ip": "10.0.0.60/24",
                "vlan": 0,
                "gateway": "10.0.0.1"
            }]
        }
    }"#;
    let args = PodArgs::parse(input).unwrap();
    assert_eq!(args.ranges.len(), 3);
    assert_eq!(args.ranges[0][0].to_string(), "10.0.0.200~10.0.0.238");
    let infos = ["10.0.0.200/24", "10.0.0.2/24", "10.0.0.60/24"].map(|ip| info(ip, 0, "10.0.0.1"));
    assert_eq!(args.with_ip_infos(&infos), compact(output));

    // A second bind reads what the first wrote and writes the same.
    let again = PodArgs::parse(output).unwrap();
    assert_eq!(again.ip_infos(), infos);
    assert_eq!(again.with_ip_infos(&infos), compact(output));
}

#[test]
fn output_forms() {
    let one = [info("10.20.5.10/24", 3, "10.20.5.1")];
    let infos = r#""ipinfos":[{"ip":"10.20.5.10/24","vlan":3,"gateway":"10.20.5.1"}]"#;
    for (input, output, with) in [
        // No request: no `request_ip_range`.
        ("", format!("{{\"common\":{{{infos}}}}}"), &one[..]),
        ("{}", format!("{{\"common\":{{{infos}}}}}"), &one[..]),
        (r#"{"request_ip_range":[]}"#, format!("{{\"common\":{{{infos}}}}}"), &one[..]),
        (r#"{"request_ip_range":null,"common":null}"#, format!("{{\"common\":{{{infos}}}}}"), &one[..]),
        // `common` is always there, `ipinfos` not when empty.
        ("", r#"{"common":{}}"#.to_owned(), &[]),
        // A range of one address is written as that.
        (
            r#"{"request_ip_range":[["10.20.5.10~10.20.5.10","10.20.5.40"]]}"#,
            format!("{{\"request_ip_range\":[[\"10.20.5.10\",\"10.20.5.40\"]],\"common\":{{{infos}}}}}"),
            &one[..],
        ),
        // What Galaxy does not know stays, number for number, at the top and in `common`; old addresses go.
        (
            r#" {"a" : 1.50, "common":{"mtu": 9000,"ipinfos":[{"ip":"10.9.9.9/8"}],"x":{"y":[1, 2]}},"b":"é\u0041"} "#,
            format!(r#"{{"common":{{{infos},"mtu":9000,"x":{{"y":[1, 2]}}}},"a":1.50,"b":"é\u0041"}}"#),
            &one[..],
        ),
        // Letter case as Go has it, the last of equals wins.
        (
            r#"{"Request_IP_Range":[["10.0.0.1"]],"request_ip_range":[["10.0.0.2"]],"COMMON":{"IpInfos":[1]}}"#,
            format!("{{\"request_ip_range\":[[\"10.0.0.2\"]],\"common\":{{{infos}}}}}"),
            &one[..],
        ),
        // IPv6.
        (
            r#"{"request_ip_range":[["fd00::5~fd00::9"]]}"#,
            r#"{"request_ip_range":[["fd00::5~fd00::9"]],"common":{"ipinfos":[{"ip":"fd00::5/64","vlan":0,"gateway":"fd00::1"}]}}"#.to_owned(),
            &[info("fd00::5/64", 0, "fd00::1")][..],
        ),
    ] {
        assert_eq!(PodArgs::parse(input).unwrap().with_ip_infos(with), output, "{input}");
    }
}

#[test]
fn reads_addresses_and_skips_odd_ones() {
    let json = r#"{"common":{"ipinfos":[
        {"ip":"10.20.5.17/24","gateway":"10.20.5.1","vlan":2,"routable_subnet":"10.20.0.0/16"},
        {"ip":"10.20.5.18/24","gateway":"10.20.5.1"},
        null, 5, {"ip":"nonsense"}, {"ip":"10.20.5.19/24","gateway":"10.20.5.1","vlan":70000}]}}"#;
    let infos = PodArgs::parse(json).unwrap().ip_infos();
    assert_eq!(infos, [info("10.20.5.17/24", 2, "10.20.5.1"), info("10.20.5.18/24", 0, "10.20.5.1")]);
    for none in ["", "{}", r#"{"common":{}}"#, r#"{"common":{"ipinfos":null}}"#, r#"{"common":{"ipinfos":"x"}}"#] {
        assert_eq!(PodArgs::parse(none).unwrap().ip_infos(), [], "{none}");
    }
}

/// Each malformed annotation is refused with a text that names annotation, place and value.
#[test]
fn malformed() {
    let long = format!(r#"{{"request_ip_range":[["{}"]]}}"#, "9".repeat(100_000));
    for (input, place, value) in [
        (" ", "not a JSON object", "\" \""),
        ("x", "not a JSON object", "\"x\""),
        ("[]", "not a JSON object", "\"[]\""),
        ("null", "not a JSON object", "\"null\""),
        ("3", "not a JSON object", "\"3\""),
        ("\"{}\"", "not a JSON object", "{}"),
        ("{", "not a JSON object", "\"{\""),
        (r#"{"request_ip_range":[["10.0.0.1"]]"#, "not a JSON object", "10.0.0.1"),
        (r#"{"request_ip_range":[["10.0.0.1"]]} x"#, "not a JSON object", "10.0.0.1"),
        (r#"{"request_ip_range":[["10.0.0.1"],]}"#, "not a JSON object", "10.0.0.1"),
        (r#"{"request_ip_range":"10.0.0.1"}"#, "request_ip_range must be", "10.0.0.1"),
        (r#"{"request_ip_range":{}}"#, "request_ip_range must be", "{}"),
        (r#"{"request_ip_range":1}"#, "request_ip_range must be", "1"),
        (r#"{"request_ip_range":["10.0.0.1"]}"#, "request_ip_range[0] must be", "10.0.0.1"),
        (r#"{"request_ip_range":[null]}"#, "request_ip_range[0] must be", "null"),
        (r#"{"request_ip_range":[["10.0.0.1"],[]]}"#, "request_ip_range[1]", "empty"),
        (r#"{"request_ip_range":[["10.0.0.1"],[7]]}"#, "request_ip_range[1][0] must be", "7"),
        (r#"{"request_ip_range":[["10.0.0.1",null]]}"#, "request_ip_range[0][1] must be", "null"),
        (r#"{"request_ip_range":[["10.0.0.1",""]]}"#, "request_ip_range[0][1]", "\"\""),
        (r#"{"request_ip_range":[["192.168.0.0~192.168.0.256"]]}"#, "request_ip_range[0][0]", "192.168.0.256"),
        (r#"{"request_ip_range":[["10.0.0.9~10.0.0.2"]]}"#, "request_ip_range[0][0]", "10.0.0.9~10.0.0.2"),
        (r#"{"request_ip_range":[["10.0.0.0/24"]]}"#, "request_ip_range[0][0]", "10.0.0.0/24"),
        (r#"{"request_ip_range":[["10.0.0.1 ~ 10.0.0.2"]]}"#, "request_ip_range[0][0]", "10.0.0.1 "),
        (r#"{"request_ip_range":[["10.0.0.1~10.0.0.2~10.0.0.3"]]}"#, "request_ip_range[0][0]", "10.0.0.2~10.0.0.3"),
        (r#"{"request_ip_range":[["fd00::1~10.0.0.1"]]}"#, "request_ip_range[0][0]", "fd00::1~10.0.0.1"),
        (r#"{"request_ip_range":[["10.0.0.1~"]]}"#, "request_ip_range[0][0]", "10.0.0.1~"),
        (r#"{"common":5}"#, "common must be", "5"),
        (r#"{"common":[]}"#, "common must be", "[]"),
        (&long, "request_ip_range[0][0]", "999"),
    ] {
        let error = PodArgs::parse(input).expect_err(input).to_string();
        assert!(error.starts_with("annotation k8s.v1.cni.galaxy.io/args"), "{error}");
        assert!(error.contains(place) && error.contains(value), "{input:.80}: {error}");
        assert!(error.len() < 500, "a huge value makes a huge text: {} bytes", error.len());
    }
}

#[test]
fn bounds() {
    let lists = |n| format!(r#"{{"request_ip_range":[{}]}}"#, vec![r#"["10.0.0.1"]"#; n].join(","));
    assert_eq!(PodArgs::parse(&lists(32)).unwrap().ranges.len(), 32);
    assert_eq!(PodArgs::parse(&lists(33)).unwrap_err(), ArgsError::TooManyLists(33));

    let ranges = |n| format!(r#"{{"request_ip_range":[[{}]]}}"#, vec![r#""10.0.0.1""#; n].join(","));
    assert_eq!(PodArgs::parse(&ranges(10_000)).unwrap().ranges[0].len(), 10_000);
    assert_eq!(PodArgs::parse(&ranges(10_001)).unwrap_err(), ArgsError::TooManyRanges(10_001));

    let padded = format!("{{}}{}", " ".repeat(MAX_BYTES - 2));
    assert!(PodArgs::parse(&padded).is_ok());
    assert_eq!(PodArgs::parse(&(padded + " ")).unwrap_err(), ArgsError::TooLong(MAX_BYTES + 1));

    // Deep nesting is skipped or refused, never overflows.
    let deep = format!(r#"{{"x":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let _ = PodArgs::parse(&deep);
}
