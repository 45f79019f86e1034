//! Malformed input of every kind, through the doors it comes in by: each gets an error that names the field and the value, the service
//! stays up, and nothing changes.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use galaxy_api::names::{ARGS_ANNOTATION, CONFIG_MAP};
use galaxy_e2e::{Cluster, Setup, Workload, sandbox::lab, setup::rack_pool};
use http::Method;
use serde_json::{Value, json};

/// A cluster with something to lose, and the state that must not change.
struct Ground {
    c: Cluster,
    before: BTreeMap<String, Value>,
}

impl Ground {
    async fn new() -> Result<Self> {
        let c = lab().cluster(Setup::one_rack(2, 8)).await?;
        let (pod, db) = (Workload::pod("p"), Workload::stateful_set("db").never());
        c.apply(&pod).await?;
        c.apply(&db).await?;
        c.up(&pod).await?;
        c.up(&db).await?;
        c.delete(&db).await?;
        c.no_pods(&db).await?;
        c.reserve("10.64.1.17", "pool__reserved-for-node_").await?;
        c.until("db-0 is reserved", |seen| seen.owned_by(&db).iter().all(|it| it.pod_uid().is_empty())).await?;
        let before = objects(&c).await?;
        ensure!(before.len() == 3);
        Ok(Self { c, before })
    }

    /// The service is up, nobody gained or lost anything, and whoever comes is served.
    async fn unharmed(&self) -> Result<()> {
        for base in [self.c.backend().api_url(), self.c.backend().extender_url()] {
            ensure!(self.c.http().get(&format!("{base}/readyz")).await?.status == 200);
        }
        self.c.sweep().await?;
        let after = objects(&self.c).await?;
        ensure!(after == self.before, "{:#?} became {after:#?}", self.before);
        let fresh = Workload::pod("fresh");
        self.c.apply(&fresh).await?;
        self.c.up(&fresh).await?;
        self.c.delete_pod("fresh").await?;
        self.c.settled().await
    }
}

async fn objects(c: &Cluster) -> Result<BTreeMap<String, Value>> {
    let seen = c.see().await?;
    let spec = |it: galaxy_e2e::cluster::SeenAddress| Ok((it.ip, serde_json::to_value(it.object.spec)?));
    seen.addresses.into_values().map(spec).collect()
}

/// Every part stands in the text.
fn says(input: &dyn std::fmt::Display, text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{input:.200}: {part:?} is missing in {text:?}");
    }
    assert!(text.len() < 2000, "{input:.200}: {} bytes of text", text.len());
}

fn finish(result: Result<()>) {
    if let Err(error) = result {
        panic!("{error:#}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn annotations() {
    finish(malformed_annotations().await);
}

async fn malformed_annotations() -> Result<()> {
    let ground = Ground::new().await?;
    let many = |n: usize| format!(r#"{{"request_ip_range":[{}]}}"#, vec![r#"["10.64.1.10"]"#; n].join(","));
    let wide = format!(r#"{{"request_ip_range":[[{}]]}}"#, vec![r#""10.64.1.10""#; 10_001].join(","));
    let long = format!(r#"{{"x":"{}"}}"#, "9".repeat(300_000));
    let table: Vec<(String, &[&str])> = vec![
        (" ".into(), &["not a JSON object"]),
        ("x".into(), &["not a JSON object", "x"]),
        ("[]".into(), &["not a JSON object", "[]"]),
        ("null".into(), &["not a JSON object", "null"]),
        ("3".into(), &["not a JSON object", "3"]),
        ("true".into(), &["not a JSON object", "true"]),
        ("{".into(), &["not a JSON object", "{"]),
        (r#"{"request_ip_range":[["10.0.0.1"]]"#.into(), &["not a JSON object", "10.0.0.1"]),
        (r#"{"request_ip_range":[["10.0.0.1"]]} x"#.into(), &["not a JSON object", "10.0.0.1"]),
        (r#"{"request_ip_range":[["10.0.0.1"],]}"#.into(), &["not a JSON object", "10.0.0.1"]),
        (r#"{"request_ip_range":"10.0.0.1"}"#.into(), &["request_ip_range must be", "10.0.0.1"]),
        (r#"{"request_ip_range":{}}"#.into(), &["request_ip_range must be", "{}"]),
        (r#"{"request_ip_range":1}"#.into(), &["request_ip_range must be", "1"]),
        (r#"{"request_ip_range":["10.0.0.1"]}"#.into(), &["request_ip_range[0] must be", "10.0.0.1"]),
        (r#"{"request_ip_range":[null]}"#.into(), &["request_ip_range[0] must be", "null"]),
        (r#"{"request_ip_range":[["10.0.0.1"],[]]}"#.into(), &["request_ip_range[1]", "empty"]),
        (r#"{"request_ip_range":[["10.0.0.1"],[7]]}"#.into(), &["request_ip_range[1][0] must be", "7"]),
        (r#"{"request_ip_range":[["10.0.0.1",null]]}"#.into(), &["request_ip_range[0][1] must be", "null"]),
        (r#"{"request_ip_range":[["10.0.0.1",""]]}"#.into(), &["request_ip_range[0][1]", "\"\""]),
        (r#"{"request_ip_range":[["a~b"]]}"#.into(), &["request_ip_range[0][0]", "a~b"]),
        (
            r#"{"request_ip_range":[["192.168.0.0~192.168.0.256"]]}"#.into(),
            &["request_ip_range[0][0]", "192.168.0.256"],
        ),
        (r#"{"request_ip_range":[["10.0.0.9~10.0.0.2"]]}"#.into(), &["request_ip_range[0][0]", "10.0.0.9~10.0.0.2"]),
        (r#"{"request_ip_range":[["10.0.0.0/24"]]}"#.into(), &["request_ip_range[0][0]", "10.0.0.0/24"]),
        (r#"{"request_ip_range":[["10.0.0.1-10.0.0.2"]]}"#.into(), &["request_ip_range[0][0]", "10.0.0.1-10.0.0.2"]),
        (r#"{"request_ip_range":[["10.0.0.1 ~ 10.0.0.2"]]}"#.into(), &["request_ip_range[0][0]", "10.0.0.1 "]),
        (
            r#"{"request_ip_range":[["10.0.0.1~10.0.0.2~10.0.0.3"]]}"#.into(),
            &["request_ip_range[0][0]", "10.0.0.2~10.0.0.3"],
        ),
        (r#"{"request_ip_range":[["fd00::1~10.0.0.1"]]}"#.into(), &["request_ip_range[0][0]", "fd00::1~10.0.0.1"]),
        (r#"{"request_ip_range":[["::ffff:10.0.0.1"]]}"#.into(), &["request_ip_range[0][0]", "::ffff:10.0.0.1"]),
        (r#"{"request_ip_range":[["10.0.0.1~"]]}"#.into(), &["request_ip_range[0][0]", "10.0.0.1~"]),
        (r#"{"request_ip_range":[["~10.0.0.1"]]}"#.into(), &["request_ip_range[0][0]", "~10.0.0.1"]),
        (r#"{"request_ip_range":[["010.0.0.1"]]}"#.into(), &["request_ip_range[0][0]", "010.0.0.1"]),
        (r#"{"common":5}"#.into(), &["common must be", "5"]),
        (r#"{"common":[]}"#.into(), &["common must be", "[]"]),
        (r#"{"common":"x"}"#.into(), &["common must be", "x"]),
        (many(33), &["request_ip_range", "33"]),
        (wide, &["request_ip_range", "10001"]),
        (long, &["more than", "bytes"]),
    ];
    let pod = Workload::pod("bad").on_node("nowhere");
    ground.c.apply(&pod).await?;
    let mut object = serde_json::to_value(ground.c.get_pod("bad").await?)?;
    for (n, (annotation, parts)) in table.iter().enumerate() {
        object["metadata"]["annotations"][ARGS_ANNOTATION] = annotation.as_str().into();
        object["metadata"]["uid"] = format!("bad-{n}").into();
        object["metadata"]["name"] = format!("bad-{n}").into();
        let body = json!({"Pod": object, "NodeNames": ["a1", "a2"]});
        let answer = ground.c.extender("/v1/filter", &body).await?.json();
        assert!(answer["failedNodes"]["a1"].is_string(), "{annotation:.100}: {answer}");
        let text = answer["failedNodes"]["a1"].as_str().unwrap_or_default().to_owned();
        says(annotation, &text, &["FloatingIPPlugin:NoFIPLeft", ARGS_ANNOTATION]);
        says(annotation, &text, parts);
        assert_eq!(answer["failedAndUnresolvableNodes"]["a1"], answer["failedNodes"]["a1"], "{annotation:.100}");
        assert_eq!(answer["failedNodes"]["a2"], answer["failedNodes"]["a1"], "{annotation:.100}");
        let bind = json!({"PodName": format!("bad-{n}"), "PodNamespace": "default", "PodUID": format!("bad-{n}"), "Node": "a1"});
        let answer = ground.c.extender("/v1/bind", &bind).await?.json();
        assert_ne!(answer["Error"], "", "{annotation:.100}");
    }
    // A pod that is really there says it in its condition too, and is served once it is edited.
    let pod = Workload::pod("edited").annotate(ARGS_ANNOTATION, r#"{"request_ip_range":[["10.0.0.9~10.0.0.2"]]}"#);
    ground.c.apply(&pod).await?;
    let condition = ground.c.waits("edited", "BadAnnotation").await?;
    says(&"edited", &condition.message, &["request_ip_range[0][0]", "10.0.0.9~10.0.0.2"]);
    ground.c.annotate_pod("edited", &json!({ ARGS_ANNOTATION: "" })).await?;
    ground.c.up(&pod).await?;
    ground.c.delete_pod("edited").await?;
    ground.c.no_pods(&pod).await?;
    ground.c.until("its address is free", |seen| seen.addresses.len() == 3).await?;
    ground.unharmed().await
}

/// A pool with one member changed; an empty value takes it away.
fn pool(change: &str) -> String {
    let mut members = vec![
        ("nodeSubnets", r#"["10.0.1.0/24"]"#),
        ("gateway", r#""10.64.1.1""#),
        ("subnet", r#""10.64.1.0/24""#),
        ("ips", r#"["10.64.1.10~10.64.1.17"]"#),
    ];
    let (name, value) = change.split_once('=').unwrap_or((change, ""));
    members.retain(|member| member.0 != name);
    if !value.is_empty() {
        members.push((name, value));
    }
    let members: Vec<String> = members.iter().map(|(name, value)| format!("{name:?}:{value}")).collect();
    format!("[{{{}}}]", members.join(","))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn configurations() {
    finish(malformed_configurations().await);
}

async fn malformed_configurations() -> Result<()> {
    let ground = Ground::new().await?;
    let two = |first: Value, second: Value| json!([first, second]).to_string();
    let with = |member: &str, value: Value| {
        let mut pool = rack_pool(2, 4);
        pool[member] = value;
        pool
    };
    let table: Vec<(String, &[&str])> = vec![
        ("".into(), &["empty"]),
        (" \n".into(), &["empty"]),
        ("null".into(), &["null"]),
        ("[]".into(), &["[]"]),
        ("{}".into(), &["floatingips"]),
        ("[".into(), &["EOF"]),
        ("[]]".into(), &["trailing"]),
        ("\"[]\"".into(), &["string"]),
        ("[null]".into(), &["floatingips[0]", "null"]),
        ("[5]".into(), &["5"]),
        ("[{}]".into(), &["nodeSubnets", "missing"]),
        (pool("nodeSubnets="), &["nodeSubnets", "missing"]),
        (pool("nodeSubnets=[]"), &["nodeSubnets"]),
        (pool("nodeSubnets=null"), &["nodeSubnets"]),
        (pool("nodeSubnets=[null]"), &["nodeSubnets[0]", "null"]),
        (pool(r#"nodeSubnets="10.0.0.0/16""#), &["nodeSubnets", "10.0.0.0/16"]),
        (pool(r#"nodeSubnets=["10.0.0.0"]"#), &["nodeSubnets[0]", "10.0.0.0"]),
        (pool(r#"nodeSubnets=["10.0.0.0/33"]"#), &["nodeSubnets[0]", "10.0.0.0/33"]),
        (pool(r#"nodeSubnets=["10.0.0.0/16",""]"#), &["nodeSubnets[1]", "\"\""]),
        (pool(r#"routableSubnet="x""#), &["routableSubnet", "\"x\""]),
        (pool("gateway="), &["gateway", "missing"]),
        (pool(r#"gateway="10.64.1""#), &["gateway", "10.64.1"]),
        (pool("gateway=1"), &["gateway", "1"]),
        (pool("subnet="), &["subnet", "missing"]),
        (pool(r#"subnet="10.64.1.0""#), &["subnet", "10.64.1.0"]),
        (pool(r#"subnet="10.64.1.0/40""#), &["subnet", "10.64.1.0/40"]),
        (pool(r#"ips="10.64.1.10""#), &["ips", "10.64.1.10"]),
        (pool(r#"ips=["10.64.1.10",""]"#), &["ips[1]", "\"\""]),
        (pool("ips=[null]"), &["ips[0]", "null"]),
        (pool(r#"ips=["10.64.1.10-10.64.1.17"]"#), &["ips[0]", "10.64.1.10-10.64.1.17"]),
        (pool(r#"ips=["10.64.1.17~10.64.1.10"]"#), &["ips[0]", "10.64.1.17~10.64.1.10"]),
        (pool(r#"ips=["10.64.2.10"]"#), &["ips", "10.64.2.10", "10.64.1.0/24"]),
        (pool(r#"ips=["10.64.1.250~10.64.2.5"]"#), &["ips", "10.64.1.250~10.64.2.5"]),
        (pool(r#"ips=["10.64.1.10~10.64.1.12","10.64.1.13"]"#), &["ips", "10.64.1.10~10.64.1.12", "10.64.1.13"]),
        (pool(r#"ips=["10.64.1.10~10.64.1.12","10.64.1.11"]"#), &["ips", "10.64.1.11"]),
        (pool(r#"ips=["10.64.1.15","10.64.1.11"]"#), &["ips", "10.64.1.15", "10.64.1.11"]),
        (pool(r#"ips=["fd00::5"]"#), &["ips", "fd00::5"]),
        (pool("vlan=4095"), &["vlan", "4095"]),
        (pool("vlan=65536"), &["vlan", "65536"]),
        (pool("vlan=-1"), &["vlan", "-1"]),
        (pool("vlan=1.5"), &["vlan", "1.5"]),
        (pool(r#"vlan="2""#), &["vlan", "\"2\""]),
        (two(rack_pool(1, 8), with("gateway", json!("x"))), &["floatingips[1].gateway", "\"x\""]),
        (two(rack_pool(1, 8), rack_pool(1, 3)), &["10.64.1.10~10.64.1.17", "10.64.1.10~10.64.1.12"]),
        (
            two(rack_pool(2, 8), with("ips", json!(["10.64.2.17~10.64.2.30"]))),
            &["10.64.2.10~10.64.2.17", "10.64.2.17~10.64.2.30"],
        ),
    ];
    let generation = ground.c.generation().await?;
    for (document, parts) in &table {
        ground.c.configure_text(Some(document)).await?;
        // The text of a document that is as bad as one before is there already.
        let what = format!("{document:?} is refused with {parts:?}");
        let text = ground
            .c
            .poll(what, || async {
                let events = ground.c.events("ConfigMap", CONFIG_MAP).await?;
                Ok(events.into_iter().map(|(_, text)| text).find(|text| parts.iter().all(|part| text.contains(part))))
            })
            .await?;
        says(document, &text, &["the old one stays in force"]);
    }
    // Documents are taken in order: after this one none before it can still come into force.
    ground.c.refused_configuration("the last").await?;
    assert_eq!(ground.c.generation().await?, generation);
    ground.unharmed().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests() {
    finish(malformed_requests().await);
}

async fn malformed_requests() -> Result<()> {
    let ground = Ground::new().await?;
    let c = &ground.c;
    let release = |entry: Value| {
        json!({"ips": [{"ip": "10.64.1.10", "appName": "db", "podName": "db-0", "namespace": "default"}, entry]})
            .to_string()
    };
    let pool = |name: &str, size: Value| json!({"name": name, "size": size}).to_string();
    let table: Vec<(&str, String, u16, &[&str])> = vec![
        ("/v1/ip", "".into(), 400, &["bad request", "empty"]),
        ("/v1/ip", "{".into(), 400, &["bad request", "EOF"]),
        ("/v1/ip", "[]".into(), 400, &["bad request", "object"]),
        ("/v1/ip", "5".into(), 400, &["bad request", "5"]),
        ("/v1/ip", r#"{"ips":{}}"#.into(), 400, &["ips", "map"]),
        ("/v1/ip", r#"{"ips":["10.64.1.10"]}"#.into(), 400, &["ips", "10.64.1.10"]),
        ("/v1/ip", r#"{"ips":[{"ip":10}]}"#.into(), 400, &["ips", "ip", "10"]),
        ("/v1/ip", r#"{"ips":[{"ip":"10.64.1.10","appName":["x"]}]}"#.into(), 400, &["appName", "sequence"]),
        ("/v1/ip", release(json!({"ip": ""})), 400, &["ips[1].ip", "\\\"\\\""]),
        ("/v1/ip", release(json!({"ip": "x"})), 400, &["ips[1].ip", "x"]),
        ("/v1/ip", release(json!({"ip": "10.64.1"})), 400, &["ips[1].ip", "10.64.1"]),
        ("/v1/ip", release(json!({"ip": "10.64.1.256"})), 400, &["ips[1].ip", "10.64.1.256"]),
        ("/v1/ip", release(json!({"ip": "10.64.1.10/24"})), 400, &["ips[1].ip", "10.64.1.10/24"]),
        ("/v1/ip", release(json!({"ip": " 10.64.1.10"})), 400, &["ips[1].ip", " 10.64.1.10"]),
        ("/v1/ip", release(json!({"ip": "10.64.1.010"})), 400, &["ips[1].ip", "10.64.1.010"]),
        ("/v1/pool", "null".into(), 400, &["name", "empty"]),
        ("/v1/pool", "{}".into(), 400, &["name", "empty"]),
        ("/v1/pool", pool("", json!(1)), 400, &["name", "empty"]),
        ("/v1/pool", pool("Blue", json!(1)), 400, &["name", "Blue"]),
        ("/v1/pool", pool("a_b", json!(1)), 400, &["name", "a_b"]),
        ("/v1/pool", pool("../../x", json!(1)), 400, &["name", "../../x"]),
        ("/v1/pool", pool(&"a".repeat(300), json!(1)), 400, &["name", "aaa"]),
        ("/v1/pool", pool("a", json!(-1)), 400, &["size", "-1"]),
        ("/v1/pool", pool("a", json!(99_999_999_999_i64)), 400, &["size", "99999999999"]),
        ("/v1/pool", pool("a", json!("4")), 400, &["size", "4"]),
        ("/v1/pool", pool("a", json!(1.5)), 400, &["size", "1.5"]),
        ("/v1/pool", r#"{"name":5}"#.into(), 400, &["name", "5"]),
        ("/v1/pool", r#"{"name":"a","preAllocateIP":"true"}"#.into(), 400, &["preAllocateIP", "true"]),
    ];
    for (path, body, status, parts) in &table {
        let url = format!("{}{path}", c.backend().api_url());
        let answer = c.http().send(Method::POST, &url, Some("application/json"), body).await?;
        assert_eq!((answer.status, &answer.json()["code"]), (*status, &json!(status)), "{path} {body}: {answer:?}");
        says(body, &answer.body, parts);
    }
    // Refused for what they ask, not for how: the address and the reason.
    let entry =
        |ip: &str, app: &str, pod: &str| json!({"ip": ip, "appName": app, "podName": pod, "namespace": "default"});
    for (entry, parts) in [
        (json!({"ip": "10.64.1.10"}), &["10.64.1.10", "appName"][..]),
        (entry("10.64.1.10", "other", "other-0"), &["10.64.1.10"]),
        (entry("10.64.1.17", "reserved", ""), &["10.64.1.17", "administrator"]),
        (json!({"ip": "10.64.1.17", "poolName": "reserved-for-node"}), &["10.64.1.17", "administrator"]),
        (entry("8.8.8.8", "db", "db-0"), &["8.8.8.8", "no configured pool"]),
        (entry("fd00::1", "db", "db-0"), &["fd00::1", "no configured pool"]),
    ] {
        let answer = c.post("/v1/ip", &json!({ "ips": [entry] })).await?;
        assert_eq!(answer.status, 202, "{entry}: {answer:?}");
        says(&entry, answer.json()["reasons"][0].as_str().unwrap_or_default(), parts);
    }
    // What cannot be read in a query has a default.
    for query in [
        "page=x&size=-5&sort=sideways",
        "page=99999999999999999999",
        "size=%00",
        "sort=%F0%9F%92%A9",
        "keyword=%25%00",
        "x=y&&=&",
    ] {
        let answer = c.get(&format!("/v1/ip?{query}")).await?;
        assert_eq!(answer.status, 200, "{query}: {answer:?}");
    }
    for (path, status) in
        [("/v1/pool/no-such-pool", 404), ("/v1/pool/..%2F..%2Fx", 404), ("/v1/pool/", 404), ("/v1/nothing", 404)]
    {
        assert_eq!(c.get(path).await?.status, status, "{path}");
    }
    let answer = c.http().delete(&format!("{}/v1/pool/no-such-pool", c.backend().api_url())).await?;
    assert_eq!(answer.status, 404, "{answer:?}");
    says(&"delete", &answer.body, &["no-such-pool"]);

    let extender: Vec<(&str, &str, u16, &[&str])> = vec![
        ("/v1/filter", "", 500, &["EOF"]),
        ("/v1/filter", "[]", 500, &["object"]),
        ("/v1/filter", r#"{"Pod":5}"#, 500, &["Pod", "5"]),
        ("/v1/filter", r#"{"NodeNames":"a1"}"#, 500, &["NodeNames", "a1"]),
        ("/v1/filter", r#"{"NodeNames":[1]}"#, 500, &["NodeNames", "1"]),
        ("/v1/filter", "null", 200, &["Pod"]),
        ("/v1/filter", "{}", 200, &["Pod"]),
        ("/v1/priority", "[", 500, &["object"]),
        ("/v1/bind", "{", 500, &["EOF"]),
        ("/v1/bind", "null", 200, &["PodName"]),
        ("/v1/bind", r#"{"PodName":"p","PodNamespace":"default","PodUID":"","Node":"a1"}"#, 200, &["PodUID"]),
        ("/v1/bind", r#"{"PodName":"p","PodNamespace":"default","PodUID":"u","Node":""}"#, 200, &["Node"]),
        ("/v1/bind", r#"{"PodName":"ghost","PodNamespace":"default","PodUID":"u","Node":"a1"}"#, 200, &["ghost"]),
        ("/v1/bind", r#"{"PodName":["p"]}"#, 500, &["PodName"]),
        ("/v1/preempt", "{", 500, &["EOF"]),
        ("/v1/preempt", r#"{"NodeNameToMetaVictims":5}"#, 500, &["NodeNameToMetaVictims", "5"]),
    ];
    for (path, body, status, parts) in &extender {
        let url = format!("{}{path}", c.backend().extender_url());
        let answer = c.http().send(Method::POST, &url, Some("application/json"), body).await?;
        assert_eq!(answer.status, *status, "{path} {body}: {answer:?}");
        says(body, &answer.body, parts);
    }
    ground.unharmed().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_of_the_api() {
    finish(malformed_objects().await);
}

async fn malformed_objects() -> Result<()> {
    let ground = Ground::new().await?;
    let pool = |members: Value| {
        let mut pool = json!({"apiVersion": "galaxy.k8s.io/v1alpha1", "kind": "Pool", "metadata": {"name": "bad", "namespace": "kube-system"}});
        for (name, value) in members.as_object().into_iter().flatten() {
            pool[name] = value.clone();
        }
        ("pools", pool)
    };
    let address = |name: &str, spec: Value| {
        let object = json!({"apiVersion": "galaxy.k8s.io/v1alpha1", "kind": "FloatingIP", "metadata": {"name": name}, "spec": spec});
        ("floatingips", object)
    };
    let free = "10.64.1.13";
    let table: Vec<((&str, Value), &[&str])> = vec![
        (pool(json!({})), &["size"]),
        (pool(json!({"size": -1})), &["size", "-1"]),
        (pool(json!({"size": 16_777_217})), &["size", "16777217"]),
        (pool(json!({"size": "four"})), &["size", "string"]),
        (pool(json!({"size": 1.5})), &["size", "number"]),
        (pool(json!({"size": null})), &["size"]),
        (pool(json!({"size": 1, "preAllocateIP": "yes"})), &["preAllocateIP", "string"]),
        (address(free, json!({})), &["key"]),
        (address(free, json!({"key": "x"})), &["policy"]),
        (address(free, json!({"policy": 0})), &["key"]),
        (address(free, json!({"key": 5, "policy": 0})), &["key", "integer"]),
        (address(free, json!({"key": "x", "policy": 3})), &["policy", "3"]),
        (address(free, json!({"key": "x", "policy": -1})), &["policy", "-1"]),
        (address(free, json!({"key": "x", "policy": "never"})), &["policy", "string"]),
        (address(free, json!({"key": "x".repeat(1025), "policy": 0})), &["key"]),
        (address(free, json!({"key": "x", "policy": 0, "state": "Lost"})), &["state", "Lost"]),
        (address(free, json!({"key": "x", "policy": 0, "vlan": 5000})), &["vlan", "5000"]),
        (address(free, json!({"key": "x", "policy": 0, "spare": "yes"})), &["spare", "string"]),
        (address(free, json!({"key": "x", "policy": 0, "owner": "me"})), &["owner", "string"]),
        (address(free, json!({"key": "x", "policy": 0, "updateTime": "yesterday"})), &["updateTime", "yesterday"]),
    ];
    for ((plural, object), parts) in &table {
        match ground.c.create(plural, object).await {
            Err(kube::Error::Api(status)) => says(object, &status.message, parts),
            other => panic!("{object}: {other:?}"),
        }
    }
    // Objects that no schema can judge are left alone: they take nobody's address, and nobody stumbles over them. A real API server
    // refuses the first three by their CEL rules.
    for name in ["foo", "10.64.1.300", "2001-db8"] {
        let (plural, object) = address(name, json!({"key": "sts_default_db_db-0", "policy": 1}));
        if let Ok(made) = ground.c.create(plural, &object).await {
            ground.c.sweep().await?;
            ground.c.delete_floating_ip(&made.metadata.name.unwrap_or_default()).await?;
        }
    }
    for attribute in ["{", "[]", "\"x\"", "{\"Uid\":5}", "{\"NodeName\":null,\"Uid\":null}"] {
        let (plural, object) = address(free, json!({"key": "dp_a_b_c_d_e", "policy": 2, "attribute": attribute}));
        ground.c.create(plural, &object).await?;
        ground.c.sweep().await?;
        ground.c.delete_floating_ip(free).await?;
    }
    ground.unharmed().await
}

#[test]
fn flags_and_configuration_file() {
    use galaxy_api::config::FileConfig;
    use galaxy_ipam::cli::Options;

    let flags: [(&str, &[&str]); 12] = [
        ("--prot=1", &["--prot"]),
        ("--port=70000", &["--port", "70000"]),
        ("--bind=localhost", &["--bind", "localhost"]),
        ("--leader-elect=maybe", &["--leader-elect", "maybe"]),
        ("--quarantine=10", &["--quarantine", "10"]),
        ("--reuse-delay=-1s", &["--reuse-delay", "-1s"]),
        ("--wake=phone", &["--wake", "phone"]),
        ("--log-format=xml", &["--log-format", "xml"]),
        ("--log-level=loud", &["--log-level", "loud"]),
        ("--pool-namespaces=Shop", &["--pool-namespaces", "Shop"]),
        ("--port=9041", &["--port", "9041"]),
        ("--leader-elect-retry-period=10s", &["--leader-elect-retry-period", "10s"]),
    ];
    for (flag, parts) in flags {
        let error = Options::parse_args(["galaxy-ipam", flag].map(Into::into)).expect_err(flag);
        assert_eq!(error.exit_code(), 2, "{flag}");
        says(&flag, &error.to_string(), parts);
    }
    let files: [(&str, &[&str]); 6] = [
        ("", &["EOF"]),
        ("[]", &["configuration file"]),
        (r#"{"schedule_plugin":5}"#, &["schedule_plugin", "5"]),
        (r#"{"schedule_plugin":{"resyncInterval":"1"}}"#, &["resyncInterval", "\"1\""]),
        (r#"{"schedule_plugin":{"floatingips":[{}]}}"#, &["floatingips[0]", "nodeSubnets"]),
        (r#"{"schedule_plugin":{"floatingips":{}}}"#, &["floatingips"]),
    ];
    for (file, parts) in files {
        says(&file, &FileConfig::parse(file.as_bytes()).expect_err(file).to_string(), parts);
    }
}
