//! Documents of pools, configuration files and command lines: refused as a whole, and the old one stays in force.

use anyhow::Result;
use galaxy_api::config::FileConfig;
use galaxy_e2e::setup::rack_pool;
use galaxy_ipam::cli::Options;
use serde_json::{Value, json};

use crate::table::Table;

pub(crate) async fn rows(table: &mut Table) -> Result<()> {
    for (document, parts) in documents() {
        let error = table.c.refused_configuration(&document).await?;
        table.row(&document, &error, parts);
    }
    table.c.configure_text(None).await?;
    let error = table.c.poll("the missing key is reported", || async {
        let events = table.c.events("ConfigMap", "floatingip-config").await?;
        Ok(events.into_iter().map(|(_, text)| text).find(|text| text.contains("missing") && text.contains("data.")))
    });
    let error = error.await?;
    table.row("no key", &error, &["data.floatingips"]);
    for (file, parts) in files() {
        let error =
            FileConfig::parse(file.as_bytes()).map_or_else(|error| error.to_string(), |it| format!("taken: {it:?}"));
        table.row(file, &error, parts);
    }
    for (flags, parts) in FLAGS {
        let args = ["galaxy-ipam"].iter().chain(flags.iter()).map(Into::into);
        let error = Options::parse_args(args).map_or_else(|error| error.to_string(), |_| String::new());
        table.row(&flags.join(" "), &error, parts);
    }
    Ok(())
}

/// Documents and what the event must have.
fn documents() -> Vec<(String, &'static [&'static str])> {
    let mut rows: Vec<(String, &[&str])> = [
        ("", &["floatingips is empty"] as &[&str]),
        ("null", &["floatingips is null"]),
        ("[]", &["floatingips is []"]),
        ("{}", &["floatingips", "map", "a list"]),
        ("7", &["floatingips", "integer `7`"]),
        (r#""text""#, &["floatingips", "\"text\""]),
        ("[{]", &["floatingips[0]", "column 3"]),
        ("[", &["floatingips", "EOF"]),
        ("[null]", &["floatingips[0]", "null"]),
        ("[7]", &["floatingips[0]", "integer `7`"]),
        ("[[]]", &["floatingips[0]", "sequence"]),
        (r#"["pool"]"#, &["floatingips[0]", "\"pool\""]),
        ("[{}]", &["floatingips[0]: nodeSubnets is missing"]),
    ]
    .map(|(text, parts)| (text.to_owned(), parts))
    .into();
    rows.push((format!("{} x", json!([rack_pool(1, 20)])), &["floatingips", "trailing"]));
    rows.push((format!(r#"[{{"x":{}"#, "[".repeat(5_000)), &["floatingips[0]", "EOF"]));

    // One member of the second pool spoilt: the good first one must not be taken either.
    let spoil = |member: &str, value: Value| {
        let mut pool = rack_pool(2, 4);
        pool[member] = value;
        json!([rack_pool(1, 20), pool]).to_string()
    };
    let members: &[(&str, Value, &[&str])] = &[
        ("vlan", json!(4095), &["pool 1 ", "`vlan` 4095", "4094"]),
        ("vlan", json!(65535), &["pool 1 ", "`vlan` 65535"]),
        ("vlan", json!(65536), &["floatingips[1]", "vlan", "65536"]),
        ("vlan", json!(-1), &["floatingips[1]", "vlan", "-1"]),
        ("vlan", json!(1.5), &["floatingips[1]", "vlan", "1.5"]),
        ("vlan", json!("2"), &["floatingips[1]", "vlan", "\"2\""]),
        ("gateway", Value::Null, &["floatingips[1]: gateway is missing"]),
        ("gateway", json!(7), &["floatingips[1]", "gateway", "integer `7`"]),
        ("gateway", json!("here"), &["floatingips[1].gateway", "\"here\""]),
        ("gateway", json!("10.64.2.1/24"), &["floatingips[1].gateway", "10.64.2.1/24"]),
        ("gateway", json!("10.64.2.256"), &["floatingips[1].gateway", "10.64.2.256"]),
        ("gateway", json!("::ffff:10.64.2.1"), &["`gateway`", "::ffff:10.64.2.1", "write 10.64.2.1"]),
        ("gateway", json!("fd00::1"), &["pool 1 ", "10.64.2.0/24", "fd00::1", "one family"]),
        ("gateway", json!("9".repeat(100_000)), &["floatingips[1].gateway", "999"]),
        ("subnet", json!(""), &["floatingips[1]: subnet is missing"]),
        ("subnet", json!(24), &["floatingips[1]", "subnet", "24"]),
        ("subnet", json!("10.64.2.0"), &["floatingips[1].subnet", "\"10.64.2.0\""]),
        ("subnet", json!("10.64.2.0/33"), &["floatingips[1].subnet", "10.64.2.0/33"]),
        ("subnet", json!("10.64.2.0/-1"), &["floatingips[1].subnet", "10.64.2.0/-1"]),
        ("nodeSubnets", Value::Null, &["floatingips[1]: nodeSubnets is missing"]),
        ("nodeSubnets", json!("10.0.2.0/24"), &["floatingips[1]", "nodeSubnets", "10.0.2.0/24"]),
        ("nodeSubnets", json!(["10.0.2.0"]), &["floatingips[1].nodeSubnets[0]", "\"10.0.2.0\""]),
        ("nodeSubnets", json!(["10.0.2.0/24", "10.0.2.0/99"]), &["floatingips[1].nodeSubnets[1]", "10.0.2.0/99"]),
        ("nodeSubnets", json!([null]), &["floatingips[1].nodeSubnets[0]", "null"]),
        ("nodeSubnets", json!([7]), &["floatingips[1]", "nodeSubnets", "integer `7`"]),
        ("nodeSubnets", json!(["::ffff:10.0.2.0/120"]), &["pool 1 ", "`nodeSubnets`", "write 10.0.2.0"]),
        ("routableSubnet", json!("rack"), &["floatingips[1].routableSubnet", "\"rack\""]),
        ("ips", json!("10.64.2.10"), &["floatingips[1]", "ips", "10.64.2.10"]),
        ("ips", json!([7]), &["floatingips[1]", "ips", "integer `7`"]),
        ("ips", json!([null]), &["floatingips[1].ips[0]", "null"]),
        ("ips", json!(["10.64.2.10", "x"]), &["floatingips[1].ips[1]", "\"x\""]),
        ("ips", json!(["10.64.2.0/28"]), &["floatingips[1].ips[0]", "10.64.2.0/28", "not a CIDR"]),
        ("ips", json!(["10.64.2.20~10.64.2.10"]), &["floatingips[1].ips[0]", "write 10.64.2.10~10.64.2.20"]),
        ("ips", json!(["10.64.2.10-10.64.2.20"]), &["floatingips[1].ips[0]", "10.64.2.10-10.64.2.20"]),
        ("ips", json!(["10.64.2.10~10.64.2.19", "10.64.2.20"]), &["pool 1 ", "adjacent", "10.64.2.10~10.64.2.20"]),
        ("ips", json!(["10.64.2.20", "10.64.2.10"]), &["pool 1 ", "10.64.2.10 does not come after 10.64.2.20"]),
        ("ips", json!(["10.64.2.10~10.64.2.20", "10.64.2.15"]), &["pool 1 ", "10.64.2.15", "10.64.2.10~10.64.2.20"]),
        ("ips", json!(["10.64.2.10", "10.64.2.10"]), &["pool 1 ", "10.64.2.10 does not come after 10.64.2.10"]),
        ("ips", json!(["10.64.3.10"]), &["pool 1 ", "10.64.3.10 is not inside 10.64.2.0/24"]),
        ("ips", json!(["10.64.2.250~10.64.3.5"]), &["pool 1 ", "10.64.2.250~10.64.3.5 is not inside"]),
        ("ips", json!(["0.0.0.0~255.255.255.255"]), &["pool 1 ", "0.0.0.0~255.255.255.255 is not inside"]),
        ("ips", json!(["fd00::10"]), &["pool 1 ", "fd00::10 is not inside"]),
    ];
    rows.extend(members.iter().map(|(member, value, parts)| (spoil(member, value.clone()), *parts)));
    let other = {
        let mut pool = rack_pool(1, 0);
        pool["ips"] = json!(["10.64.1.15~10.64.1.40"]);
        pool["gateway"] = json!("10.64.1.254");
        pool
    };
    let overlap: &[&str] =
        &["pool 0 (gateway 10.64.1.1/24)", "pool 1 (gateway 10.64.1.254/24)", "10.64.1.15~10.64.1.40"];
    rows.push((json!([rack_pool(1, 20), other]).to_string(), overlap));
    rows.push((
        json!([rack_pool(2, 4), rack_pool(2, 4)]).to_string(),
        &["pool 0 ", "pool 1 ", "10.64.2.10~10.64.2.13"],
    ));
    let twice = r#"[{"nodeSubnets":["10.0.1.0/24"],"subnet":"10.64.1.0/24","gateway":"10.64.1.1","gateway":"twice"}]"#;
    rows.push((twice.to_owned(), &["floatingips[0].gateway", "\"twice\""]));
    rows
}

/// Configuration files and what the error must have.
fn files() -> [(&'static str, &'static [&'static str]); 8] {
    [
        ("{", &["configuration file", "EOF"]),
        ("[]", &["configuration file", "sequence"]),
        (r#"{"schedule_plugin":7}"#, &["schedule_plugin", "integer `7`"]),
        (r#"{"schedule_plugin":{"floatingips":{}}}"#, &["floatingips", "map"]),
        (r#"{"schedule_plugin":{"floatingips":[{"nodeSubnets":["x"]}]}}"#, &["floatingips[0].nodeSubnets[0]", "\"x\""]),
        (r#"{"schedule_plugin":{"resyncInterval":"soon"}}"#, &["resyncInterval", "\"soon\""]),
        (r#"{"schedule_plugin":{"configMapName":7}}"#, &["configMapName", "integer `7`"]),
        (r#"{"schedule_plugin":{"cloudProviderGrpcAddr":[]}}"#, &["cloudProviderGrpcAddr", "sequence"]),
    ]
}

/// Command lines and what the error must have.
const FLAGS: [(&[&str], &[&str]); 12] = [
    (&["--bind=here"], &["--bind", "here"]),
    (&["--port=99999"], &["--port", "99999"]),
    (&["--port=-1"], &["--port", "-1"]),
    (&["--api-port=http"], &["--api-port", "http"]),
    (&["--swagger=maybe"], &["--swagger", "maybe"]),
    (&["--wake=bell"], &["--wake", "bell"]),
    (&["--reuse-delay=soon"], &["--reuse-delay", "soon"]),
    (&["--quarantine=-5m"], &["--quarantine", "-5m"]),
    (&["--leader-elect-lease-duration=5"], &["--leader-elect-lease-duration", "5"]),
    (&["--leader-elect-renew-deadline=20s"], &["--leader-elect-renew-deadline", "20s"]),
    (&["--log-format=xml"], &["--log-format", "xml"]),
    (&["--no-such-flag=1"], &["--no-such-flag"]),
];
