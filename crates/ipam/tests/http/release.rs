use std::time::Duration;

use galaxy_core::{
    ReleasePolicy::{Immutable, Never},
    ledger::{PodRef, ReleaseStep},
};
use galaxy_ipam::http::Settings;
use serde_json::json;

use crate::{Site, open, shelf::addr};

fn pod() -> PodRef {
    PodRef { namespace: "shop".into(), name: "cart-2".into(), uid: "uid-of-cart-2".into() }
}

#[tokio::test]
async fn what_a_list_shows_can_be_sent_back() {
    let site = Site::new().await;
    for (ip, key) in [
        ("10.0.0.1", "sts_shop_cart_cart-2"),
        ("10.0.0.2", "dp_shop_web_"),
        ("10.0.0.3", "NULL_ops_NULL_toolbox"),
        ("10.0.0.4", "tapp_ops_demo_demo-1"),
        ("10.0.0.5", "pool__blue_"),
        ("10.0.0.6", "pool__blue_dp_ops_api_api-5f-aaaaa"),
        ("10.0.0.7", "replicasets_ops_lone_lone-x"),
    ] {
        site.shelf.give(ip, key, Never);
    }
    let list = site.get("/v1/ip").await.json();
    let answer = site.post("/v1/ip", json!({"ips": list["content"]}).to_string()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.text, "{\n \"code\": 200,\n \"message\": \"\"\n}");
    let asked: Vec<String> = site.shelf.things().asked.iter().map(|ask| format!("{} {}", ask.addr, ask.key)).collect();
    assert_eq!(
        asked,
        [
            "10.0.0.1 sts_shop_cart_cart-2",
            "10.0.0.2 dp_shop_web_",
            "10.0.0.3 NULL_ops_NULL_toolbox",
            "10.0.0.4 tapp_ops_demo_demo-1",
            "10.0.0.5 pool__blue_",
            "10.0.0.6 pool__blue_dp_ops_api_api-5f-aaaaa",
            "10.0.0.7 replicasets_ops_lone_lone-x",
        ]
    );
}

#[tokio::test]
async fn parts_that_are_left_out() {
    let site = Site::new().await;
    site.shelf.free("10.0.0.1");
    for (item, key) in [
        (r#"{"ip":"10.0.0.1","appName":"cart","podName":"cart-2","namespace":"shop"}"#, "sts_shop_cart_cart-2"),
        (r#"{"IP":"10.0.0.1","APPNAME":"cart","PodName":"cart-2","nameSpace":"shop"}"#, "sts_shop_cart_cart-2"),
        (r#"{"ip":"10.0.0.1","appName":"web","appType":"deployments","namespace":"shop"}"#, "dp_shop_web_"),
        (r#"{"ip":"10.0.0.1","poolName":"blue","namespace":"ignored"}"#, "pool__blue_"),
        (r#"{"ip":"10.0.0.1","podName":"toolbox","namespace":"ops","appType":"NULL"}"#, "NULL_ops_NULL_toolbox"),
    ] {
        let answer = site.post("/v1/ip", format!("{{\"ips\":[{item}]}}")).await;
        assert_eq!(answer.status, 200, "{item}: {answer:?}");
        assert_eq!(site.shelf.things().asked.pop().map(|ask| ask.key).as_deref(), Some(key), "{item}");
    }
}

#[tokio::test]
async fn what_is_not_released_comes_with_a_reason_each() {
    let site = Site::new().await;
    for host in 1..=4 {
        site.shelf.give(&format!("10.0.0.{host}"), &format!("sts_shop_cart_cart-{host}"), Immutable);
    }
    let refused = ReleaseStep::Refused("10.0.0.2: pod shop/cart-2 (uid u-2) is running".to_owned());
    site.shelf.things().steps.insert(addr("10.0.0.2"), [refused].into());
    let unknown = ReleaseStep::Refused("10.0.0.9 is in no configured pool and has no FloatingIP".to_owned());
    site.shelf.things().steps.insert(addr("10.0.0.9"), [unknown].into());
    let item = |host: u32| json!({"ip": format!("10.0.0.{host}"), "namespace": "shop", "appName": "cart", "podName": format!("cart-{host}")});
    let body = json!({"ips": [item(1), item(2), item(9), {"ip": "10.0.0.3", "namespace": "shop"}, item(4)]});
    let answer = site.post("/v1/ip", body.to_string()).await;
    assert_eq!(answer.status, 202);
    assert_eq!(
        answer.json(),
        json!({
            "code": 202,
            "message": "Released 2 ips, 3 ips failed, please check the reasons why they failed",
            "unreleased": ["10.0.0.2", "10.0.0.9", "10.0.0.3"],
            "reasons": [
                "10.0.0.2: pod shop/cart-2 (uid u-2) is running",
                "10.0.0.9 is in no configured pool and has no FloatingIP",
                "10.0.0.3: none of appName, podName and poolName is given; send the entry as a list shows it",
            ],
        })
    );
    let asked: Vec<_> = site.shelf.things().asked.iter().map(|ask| ask.addr).collect();
    assert_eq!(asked, ["10.0.0.1", "10.0.0.2", "10.0.0.9", "10.0.0.4"].map(addr));
}

#[tokio::test]
async fn a_malformed_request_releases_nothing() {
    let site = Site::new().await;
    site.shelf.give("10.0.0.1", "sts_shop_cart_cart-1", Immutable);
    let good = r#"{"ip":"10.0.0.1","namespace":"shop","appName":"cart","podName":"cart-1"}"#;
    for (body, words) in [
        (format!(r#"{{"ips":[{good},{{"ip":"10.0.0.256"}}]}}"#), "ips[1].ip: \"10.0.0.256\""),
        (format!(r#"{{"ips":[{good},{{"appName":"cart"}}]}}"#), "ips[1].ip: \"\""),
        (format!(r#"{{"ips":[{good},{{"ip":7}}]}}"#), "ips: [1]: ip: invalid type: integer `7`"),
        (format!(r#"{{"ips":[{good}]"#), "EOF"),
        (r#"{"ips":"all"}"#.to_owned(), "ips: invalid type: string \"all\""),
        ("[]".to_owned(), "expected a JSON object"),
        (" ".to_owned(), "the body is empty"),
        ("\u{0}".to_owned(), "expected value"),
        (format!(r#"{{"ips":[{{"ip":"{}"}}]}}"#, "9".repeat(5000)), "ips[0].ip"),
        ("{".repeat(100_000), "key must be a string"),
        (format!(r#"{{"ips":[],"x":{}"#, "[".repeat(100_000)), "EOF while parsing"),
    ] {
        let answer = site.post("/v1/ip", body.clone()).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        let message = answer.message();
        assert!(message.starts_with("bad request: ") && message.contains(words), "{message}");
        assert!(message.len() < 300, "{message}");
    }
    let answer = site.post("/v1/ip", vec![b' '; 9 << 20]).await;
    assert_eq!(answer.status, 400, "too large: {}", answer.text);
    assert!(site.shelf.things().asked.is_empty());
    for nothing in ["{}", r#"{"ips":null}"#, r#"{"ips":[]}"#, r#"{"ips":[null]}"#, "null"] {
        assert_eq!(site.post("/v1/ip", nothing).await.status, 200, "{nothing}");
    }
}

#[tokio::test]
async fn a_pod_is_proved_gone_before_its_address_is_released() {
    let site = Site::new().await;
    site.shelf.give("10.0.0.1", "sts_shop_cart_cart-2", Immutable);
    let body = r#"{"ips":[{"ip":"10.0.0.1","namespace":"shop","appName":"cart","podName":"cart-2"}]}"#;
    site.shelf.things().steps.insert(addr("10.0.0.1"), [ReleaseStep::Prove(pod())].into());
    assert_eq!(site.post("/v1/ip", body).await.status, 200);
    assert_eq!(site.shelf.things().proved, [pod()]);

    site.shelf.things().steps.insert(addr("10.0.0.1"), [ReleaseStep::Prove(pod())].into());
    site.shelf.things().proof = Err("pod shop/cart-2 cannot be read: timeout".to_owned());
    let answer = site.post("/v1/ip", body).await;
    assert_eq!(answer.json()["reasons"], json!(["pod shop/cart-2 cannot be read: timeout"]));

    site.shelf.things().proof = Ok(());
    site.shelf.things().steps.insert(addr("10.0.0.1"), vec![ReleaseStep::Prove(pod()); 9].into());
    let answer = site.post("/v1/ip", body).await;
    assert_eq!(answer.json()["reasons"], json!(["10.0.0.1: pod shop/cart-2 keeps coming back; try again"]));
}

#[tokio::test]
async fn releases_wait_for_what_they_set_off() {
    let site = std::sync::Arc::new(Site::new().await);
    site.shelf.give("10.0.0.1", "sts_shop_cart_cart-2", Immutable);
    site.shelf.things().steps.insert(addr("10.0.0.1"), [ReleaseStep::Wait, ReleaseStep::Wait].into());
    let body = r#"{"ips":[{"ip":"10.0.0.1","namespace":"shop","appName":"cart","podName":"cart-2"}]}"#;
    let request = tokio::spawn({
        let site = site.clone();
        async move { site.post("/v1/ip", body).await.status }
    });
    site.shelf.listened().await;
    site.shelf.settle();
    while site.shelf.things().steps[&addr("10.0.0.1")].len() > 1 {
        tokio::task::yield_now().await;
    }
    assert!(!request.is_finished());
    while !request.is_finished() {
        site.shelf.settle();
        tokio::task::yield_now().await;
    }
    assert_eq!(request.await.unwrap(), 200);
}

#[tokio::test]
async fn a_release_that_takes_too_long_goes_on_without_the_client() {
    let release_patience = Duration::from_millis(20);
    let site = Site::with(Settings { release_patience, ..open() }).await;
    site.shelf.give("10.0.0.1", "sts_shop_cart_cart-2", Immutable);
    site.shelf.things().steps.insert(addr("10.0.0.1"), vec![ReleaseStep::Wait; 100].into());
    let body = r#"{"ips":[{"ip":"10.0.0.1","namespace":"shop","appName":"cart","podName":"cart-2"}]}"#;
    let answer = site.post("/v1/ip", body).await;
    assert_eq!(answer.json()["reasons"], json!(["10.0.0.1 is still being released; list it again in a while"]));
}

#[tokio::test]
async fn only_the_leader_releases() {
    let site = Site::new().await;
    site.shelf.give("10.0.0.1", "sts_shop_cart_cart-2", Immutable);
    site.shelf.things().ready = Err("this replica does not lead".to_owned());
    let answer = site.post("/v1/ip", r#"{"ips":[{"ip":"10.0.0.1","appName":"cart"}]}"#).await;
    assert_eq!(
        (answer.status.as_u16(), answer.message()),
        (500, "server error: this replica does not lead".to_owned())
    );
    assert!(site.shelf.things().asked.is_empty());
}
