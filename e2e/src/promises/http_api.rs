//! The HTTP API: listing and releasing addresses, with the very members that float-ip.md shows.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use http::Method;
use serde_json::{Value, json};

use crate::{Cluster, Lab, Reply, Setup, Workload, cluster::query};

async fn list(c: &Cluster, parameters: &[(&str, &str)]) -> Result<Value> {
    let parameters: Vec<String> = parameters.iter().map(|(name, value)| format!("{name}={}", query(value))).collect();
    let answer = c.get(&format!("/v1/ip?{}", parameters.join("&"))).await?;
    ensure!(answer.status == 200 && answer.content_type.starts_with("application/json"), "{answer:?}");
    Ok(answer.json())
}

fn of(list: &Value, member: &str) -> Vec<String> {
    let content = list["content"].as_array().cloned().unwrap_or_default();
    content.iter().map(|entry| entry[member].as_str().unwrap_or_default().to_owned()).collect()
}

async fn release(c: &Cluster, entries: &[Value]) -> Result<Reply> {
    c.post("/v1/ip", &json!({ "ips": entries })).await
}

/// float-ip.md: list the addresses of a StatefulSet that is gone, and release them with the body shown there.
pub async fn the_documented_list_and_release(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    let sts = Workload::stateful_set("sts").replicas(2).never();
    c.apply(&sts).await?;
    c.up(&sts).await?;
    c.delete(&sts).await?;
    c.no_pods(&sts).await?;
    let shown = c
        .poll("both addresses are deleted and releasable", || async {
            let shown = list(&c, &[("appName", "sts"), ("appType", "statefulsets"), ("namespace", "default")]).await?;
            Ok((of(&shown, "status") == ["Deleted", "Deleted"]).then_some(shown))
        })
        .await?;
    let content = shown["content"].as_array().cloned().unwrap_or_default();
    let entry = |n: usize| {
        json!({
            "ip": content[n]["ip"], "namespace": "default", "appName": "sts", "podName": content[n]["podName"], "policy": 2,
            "appType": "statefulset", "updateTime": content[n]["updateTime"], "status": "Deleted", "releasable": true,
        })
    };
    let expected = json!({
        "last": true, "totalElements": 2, "totalPages": 1, "first": true, "numberOfElements": 2, "size": 10, "number": 0,
        "content": [entry(0), entry(1)],
    });
    ensure!(shown == expected, "{shown:#}");
    let names: BTreeSet<String> = of(&shown, "podName").into_iter().collect();
    ensure!(names == ["sts-0", "sts-1"].map(str::to_owned).into());
    for time in of(&shown, "updateTime") {
        let _: jiff::Timestamp = time.parse()?;
    }
    let ips: Vec<Value> = content
        .iter()
        .map(|entry| {
            json!({"ip": entry["ip"], "appName": "sts", "appType": "statefulset", "podName": entry["podName"], "namespace": "default"})
        })
        .collect();
    let answer = release(&c, &ips).await?;
    ensure!(answer.status == 200 && answer.json() == json!({"code": 200, "message": ""}), "{answer:?}");
    ensure!(c.see().await?.addresses.is_empty());
    let empty = list(&c, &[("appName", "sts"), ("appType", "statefulsets"), ("namespace", "default")]).await?;
    ensure!(empty["totalElements"] == 0 && empty.get("content").is_none(), "{empty}");
    c.settled().await
}

/// The address of a pod that is there is not released: 202, the address and the reason.
pub async fn an_address_in_use_is_not_released(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 10)).await?;
    let sts = Workload::stateful_set("sts").replicas(2).never();
    c.apply(&sts).await?;
    let pods = c.up(&sts).await?;
    c.delete(&sts).await?;
    c.no_pods(&sts).await?;
    c.reserved(pods[1].ip()).await?;
    let other = Workload::pod("other");
    c.apply(&other).await?;
    let used = c.ip(&other).await?;
    let gone = json!({"ip": pods[1].ip(), "appName": "sts", "podName": "sts-1", "namespace": "default", "appType": "statefulset"});
    let alive = json!({"ip": used, "appName": "NULL", "podName": "other", "namespace": "default", "appType": "NULL"});
    let answer = release(&c, &[gone, alive]).await?;
    let body = answer.json();
    ensure!(answer.status == 202 && body["code"] == 202, "{answer:?}");
    ensure!(body["unreleased"] == json!([used]), "{body}");
    let reason = body["reasons"][0].as_str().unwrap_or_default().to_owned();
    ensure!(reason.contains("running") && reason.contains("other"), "{reason}");
    ensure!(body["message"].as_str().is_some_and(|text| text.contains("Released 1 ips, 1 ips failed")), "{body}");
    let seen = c.see().await?;
    ensure!(seen.is_free(pods[1].ip()) && !seen.is_free(&used), "{seen}");
    c.settled().await
}

/// An entry whose parts are not those of the owner releases nothing.
pub async fn only_the_owner_named_is_released(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 10)).await?;
    let sts = Workload::stateful_set("sts").never();
    c.apply(&sts).await?;
    let ip = c.ip(&sts).await?;
    c.delete(&sts).await?;
    c.reserved(&ip).await?;
    let wrong =
        json!({"ip": ip, "appName": "sts", "podName": "sts-1", "namespace": "default", "appType": "statefulset"});
    let answer = release(&c, &[wrong]).await?;
    ensure!(answer.status == 202 && answer.body.contains("allocated to another pod"), "{answer:?}");
    ensure!(!c.see().await?.is_free(&ip));
    c.settled().await
}

/// Released whatever the policy: reserved addresses of a Deployment and of a pool too, and who waits has them.
pub async fn a_released_address_serves_who_waits(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 2)).await?;
    let (web, api) = (Workload::deployment("web").never(), Workload::deployment("api").pool("blue"));
    for workload in [&web, &api] {
        c.apply(workload).await?;
        let ip = c.ip(workload).await?;
        c.delete(workload).await?;
        c.reserved(&ip).await?;
    }
    let next = Workload::deployment("next").replicas(2);
    c.apply(&next).await?;
    c.one_waits(&next, "NoAddress").await?;
    let mut entries = list(&c, &[("keyword", "pool__blue_")]).await?["content"].as_array().cloned().unwrap_or_default();
    let deployments = list(&c, &[("appType", "deployment"), ("namespace", "default"), ("appName", "web")]).await?;
    entries.extend(deployments["content"].as_array().cloned().unwrap_or_default());
    ensure!(entries.len() == 2, "{entries:?}");
    // Send back what the list gave.
    let answer = release(&c, &entries).await?;
    ensure!(answer.status == 200, "{answer:?}");
    c.up(&next).await?;
    c.settled().await
}

/// Routing errors are plain, and malformed bodies release nothing.
pub async fn requests_that_make_no_sense(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 2)).await?;
    let url = |path: &str| format!("{}{path}", c.backend().api_url());
    ensure!(c.get("/v1/nothing").await?.status == 404);
    ensure!(c.http().delete(&url("/v1/ip")).await?.status == 405);
    let answer = c.http().send(Method::POST, &url("/v1/ip"), None, "{}").await?;
    ensure!(answer.status == 415, "{answer:?}");
    let answer = c.http().send(Method::POST, &url("/v1/ip"), Some("application/json"), "{").await?;
    ensure!(answer.status == 400 && answer.json()["code"] == 400, "{answer:?}");
    ensure!(answer.json()["message"].as_str().is_some_and(|text| text.starts_with("bad request: ")), "{answer:?}");
    let answer = c.get("/v1/pool/none").await?;
    ensure!(answer.json()["message"].as_str().is_some_and(|text| text.starts_with("not found: ")), "{answer:?}");
    c.settled().await
}

/// Health, readiness, documentation and metrics are there.
pub async fn health_documentation_and_metrics_are_served(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::racks(&[(1, 5), (1, 3)])).await?;
    let pod = Workload::pod("p");
    c.apply(&pod).await?;
    c.up(&pod).await?;
    for base in [c.backend().api_url(), c.backend().extender_url()] {
        let healthy = c.http().get(&format!("{base}/healthy")).await?;
        ensure!(healthy.status == 200 && healthy.body == "ok", "{healthy:?}");
        ensure!(c.http().get(&format!("{base}/readyz")).await?.status == 200);
    }
    let listing = c.get("/apidocs.json").await?.json();
    ensure!(listing["swaggerVersion"] == "1.2", "{listing}");
    let declaration = c.get("/apidocs.json/v1").await?.json();
    ensure!(declaration["resourcePath"] == "/v1" && declaration["swaggerVersion"] == "1.2", "{declaration}");
    let openapi = c.get("/openapi.json").await?.json();
    ensure!(openapi["openapi"].as_str().is_some_and(|version| version.starts_with("3.")));
    ensure!(openapi["paths"].get("/v1/ip").is_some() && openapi["paths"].get("/v1/pool/{name}").is_some());
    ensure!(c.get("/swagger-ui/").await?.body.contains("swagger-ui"));
    let metrics = c.get("/metrics").await?.body;
    for line in [
        r#"galaxy_ip_counter{type="total",subnet="10.64.1.0/24",first_ip="10.64.1.10"} 5"#,
        r#"galaxy_ip_counter{type="total",subnet="10.64.2.0/24",first_ip="10.64.2.10"} 3"#,
        r#"galaxy_schedule_latency_bucket{le="6.4",func="bind"} 1"#,
        "galaxy_ipam_leader 1",
    ] {
        ensure!(metrics.contains(line), "{line} is missing in\n{metrics}");
    }
    c.settled().await
}
