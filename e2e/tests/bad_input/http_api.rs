//! Requests to the HTTP API: 400 with what is wrong, 202 with the reason of each address, 404, 405 and 415 (contract §6).

use anyhow::Result;
use http::Method;
use serde_json::{Value, json};

use crate::table::Table;

const JSON: Option<&str> = Some("application/json");

pub(crate) async fn rows(table: &mut Table) -> Result<()> {
    let url = |table: &Table, path: &str| format!("{}{path}", table.c.backend().api_url());
    for path in ["/v1/ip", "/v1/pool"] {
        for (body, parts) in GARBAGE {
            let reply = table.c.http().send(Method::POST, &url(table, path), JSON, body).await?;
            table.reply(&format!("{path} {body}"), &reply, 400, parts);
        }
    }
    for (body, parts) in releases() {
        let reply = table.c.post("/v1/ip", &body).await?;
        table.reply(&body.to_string(), &reply, 400, &[&["bad request: "], parts].concat());
    }
    for (body, parts) in pools() {
        let reply = table.c.post("/v1/pool", &body).await?;
        table.reply(&body.to_string(), &reply, 400, &[&["bad request: "], parts].concat());
    }
    let kept = kept_address(table).await?;
    for (entry, parts) in unreleasable(&kept) {
        let reply = table.c.post("/v1/ip", &json!({ "ips": [entry] })).await?;
        table.reply(&entry.to_string(), &reply, 202, &[&["\"reasons\"", "1 ips failed"], parts].concat());
    }
    for method in [Method::GET, Method::DELETE] {
        for (name, parts) in [
            ("none", &["not found: ", "none"] as &[&str]),
            ("UPPER", &["not found: ", "UPPER"]),
            ("a_b", &["not found: ", "a_b"]),
            ("..%2Fblue", &["not found: ", "../blue"]),
            ("%00", &["not found: "]),
        ] {
            let path = format!("/v1/pool/{name}");
            let reply = table.c.http().send(method.clone(), &url(table, &path), None, "").await?;
            table.reply(&format!("{method} {path}"), &reply, 404, parts);
        }
        let reply = table.c.http().send(method.clone(), &url(table, "/v1/pool/%FF"), None, "").await?;
        table.reply("a pool's name that is no text", &reply, 400, &["UTF-8"]);
    }
    for (method, path, content_type, status) in [
        (Method::PUT, "/v1/ip", JSON, 405),
        (Method::DELETE, "/v1/ip", None, 405),
        (Method::PATCH, "/v1/pool/blue", JSON, 405),
        (Method::POST, "/v1/pool/blue", JSON, 405),
        (Method::POST, "/metrics", JSON, 405),
        (Method::POST, "/v1/ip", None, 415),
        (Method::POST, "/v1/ip", Some("text/plain"), 415),
        (Method::POST, "/v1/pool", Some("application/x-www-form-urlencoded"), 415),
        (Method::GET, "/v1/ips", None, 404),
        (Method::GET, "/v1/pool/a/b", None, 404),
        (Method::GET, "/v2/ip", None, 404),
    ] {
        let reply = table.c.http().send(method.clone(), &url(table, path), content_type, "{}").await?;
        let code = status.to_string();
        table.reply(&format!("{method} {path} {content_type:?}"), &reply, status, &[&code]);
    }
    queries(table).await
}

/// What is no object.
const GARBAGE: [(&str, &[&str]); 6] = [
    ("", &["bad request: ", "empty"]),
    ("{", &["bad request: ", "EOF"]),
    ("not json", &["bad request: ", "line 1"]),
    ("[]", &["bad request: ", "sequence"]),
    ("7", &["bad request: ", "integer `7`"]),
    ("{} x", &["bad request: ", "trailing"]),
];

/// Releases that are refused as a whole.
fn releases() -> Vec<(Value, &'static [&'static str])> {
    let good = json!({"ip": "10.64.1.10", "appName": "web", "appType": "deployment", "namespace": "default"});
    vec![
        (json!({"ips": 7}), &["ips", "integer `7`"]),
        (json!({"ips": {}}), &["ips", "map"]),
        (json!({"ips": ["10.64.1.10"]}), &["ips", "[0]", "10.64.1.10"]),
        (json!({"ips": [{"ip": 7}]}), &["ips", "[0]", "ip", "integer `7`"]),
        (json!({"ips": [{}]}), &["ips[0].ip", r#"\"\""#]),
        (json!({"ips": [{"ip": "10.64.1"}]}), &["ips[0].ip", "10.64.1"]),
        (json!({"ips": [{"ip": "10.64.1.10/24"}]}), &["ips[0].ip", "10.64.1.10/24"]),
        (json!({"ips": [good, {"ip": "10.64.1.256"}]}), &["ips[1].ip", "10.64.1.256"]),
        (json!({"ips": [good, {"ip": "x".repeat(100_000)}]}), &["ips[1].ip", "xxx"]),
        (json!({"ips": [{"ip": "10.64.1.10", "podName": 7}]}), &["ips", "[0]", "podName", "integer `7`"]),
        (json!({"ips": [{"ip": "10.64.1.10", "appType": []}]}), &["ips", "[0]", "appType", "sequence"]),
        (json!({"ips": [{"ip": "10.64.1.10", "namespace": {"x".repeat(100_000): 1}}]}), &["ips", "namespace"]),
    ]
}

/// Pools that are refused.
fn pools() -> Vec<(Value, &'static [&'static str])> {
    vec![
        (Value::Null, &["name"]),
        (json!({}), &["name"]),
        (json!({"name": "", "size": 3}), &["name", "empty"]),
        (json!({"name": 7, "size": 3}), &["name", "integer `7`"]),
        (json!({"name": "UPPER", "size": 3}), &["name", "UPPER"]),
        (json!({"name": "a_b", "size": 3}), &["name", "a_b"]),
        (json!({"name": "a b", "size": 3}), &["name", "a b"]),
        (json!({"name": "-a", "size": 3}), &["name", "-a"]),
        (json!({"name": "a.", "size": 3}), &["name", "a."]),
        (json!({"name": "../blue", "size": 3}), &["name", "../blue"]),
        (json!({"name": "größe", "size": 3}), &["name", "größe"]),
        (json!({"name": "a".repeat(254), "size": 3}), &["name", "aaa"]),
        (json!({"name": "blue", "size": -1}), &["size", "-1"]),
        (json!({"name": "blue", "size": 16_777_217}), &["size", "16777217"]),
        (json!({"name": "blue", "size": i64::MIN}), &["size", "-9223372036854775808"]),
        (json!({"name": "blue", "size": u64::MAX}), &["size", "18446744073709551615"]),
        (json!({"name": "blue", "size": 1e30}), &["size", "1e+30"]),
        (json!({"name": "blue", "size": 1.5}), &["size", "1.5"]),
        (json!({"name": "blue", "size": "4"}), &["size", r#"\"4\""#]),
        (json!({"name": "blue", "size": [4]}), &["size", "sequence"]),
        (json!({"name": "blue", "size": 4, "preAllocateIP": "yes"}), &["preAllocateIP", "yes"]),
        (json!({"name": "blue", "size": 4, "preAllocateIP": 1}), &["preAllocateIP", "`1`"]),
    ]
}

/// The address that is kept for a pod name.
async fn kept_address(table: &Table) -> Result<String> {
    let seen = table.c.see().await?;
    let kept = seen.addresses.values().find(|address| address.key() == "sts_default_gone_gone-0");
    Ok(kept.map(|address| address.ip.clone()).unwrap_or_default())
}

/// Entries that release nothing, and what the reason must have.
fn unreleasable(kept: &str) -> Vec<(Value, &'static [&'static str])> {
    let entry = |member: &str, value: &str| {
        let mut entry = json!({
            "ip": kept, "namespace": "default", "appName": "gone", "podName": "gone-0", "appType": "statefulset",
        });
        entry[member] = value.into();
        entry
    };
    vec![
        (json!({ "ip": kept }), &["none of appName, podName and poolName"]),
        (json!({"ip": kept, "namespace": "default"}), &["none of appName, podName and poolName"]),
        (entry("appType", "nonsense"), &["sts_default_gone_gone-0"]),
        (entry("appType", "deployment"), &["sts_default_gone_gone-0"]),
        (entry("podName", "gone-1"), &["sts_default_gone_gone-0"]),
        (entry("podName", ""), &["sts_default_gone_gone-0"]),
        (entry("namespace", "de_fault"), &["sts_default_gone_gone-0"]),
        (entry("namespace", ""), &["sts_default_gone_gone-0"]),
        (entry("appName", "GONE"), &["sts_default_gone_gone-0"]),
        (entry("poolName", "blue"), &["sts_default_gone_gone-0"]),
        (entry("ip", "192.0.2.1"), &["192.0.2.1"]),
        (entry("ip", "255.255.255.255"), &["255.255.255.255"]),
        (entry("ip", "fd00::1"), &["fd00::1"]),
        (json!({"ip": "10.64.1.29", "poolName": "reserved-for-node"}), &["10.64.1.29", "reserved"]),
    ]
}

/// Unreadable numbers of a query have a default or a bound; what matches nothing is an empty list.
async fn queries(table: &mut Table) -> Result<()> {
    for (query, member, value) in [
        ("page=-1", "number", 0),
        ("page=x", "number", 0),
        ("page=99999999999999999999999", "number", 99_999),
        ("page=100000", "number", 99_999),
        ("size=0", "size", 10),
        ("size=-5", "size", 10),
        ("size=many", "size", 10),
        ("size=10000", "size", 9_999),
        ("size=99999999999999999999999", "size", 9_999),
        ("sort=nonsense", "number", 0),
        ("sort=", "number", 0),
        ("appType=nonsense&appName=web", "totalElements", 0),
        ("namespace=no_such&appName=web", "totalElements", 0),
        ("keyword=%00", "totalElements", 0),
        ("keyword=%FF", "totalElements", 0),
        ("keyword=a%", "totalElements", 0),
        ("podName=..%2F..%2Fx&namespace=default&appName=web", "totalElements", 0),
        ("&&=&=x&page", "number", 0),
    ] {
        let reply = table.c.get(&format!("/v1/ip?{query}")).await?;
        let fine = reply.status == 200 && reply.json()[member] == value;
        table.tolerated(query, fine, &format!("{} {}", reply.status, reply.body));
    }
    Ok(())
}
