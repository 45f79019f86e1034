use std::time::Duration;

use galaxy_api::{Pool, pool::PoolSpec};
use galaxy_core::ledger::{PoolStatus, PoolView, Time};
use galaxy_ipam::http::Settings;
use galaxy_sandbox::apiserver::{Action, Rule};
use kube::{Api, ResourceExt, api::PostParams};
use serde_json::json;

use crate::{Site, open};

async fn site() -> Site {
    install(Site::new().await).await
}

/// Installs the custom resources.
async fn install(site: Site) -> Site {
    let crds: Api<k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition> =
        Api::all(site.kubernetes.client("admin"));
    for crd in galaxy_api::crd::crds() {
        crds.create(&PostParams::default(), &crd).await.unwrap();
    }
    site
}

fn pools(site: &Site, namespace: &str) -> Api<Pool> {
    Api::namespaced(site.kubernetes.client("admin"), namespace)
}

#[tokio::test]
async fn a_pool_is_created_shown_changed_and_deleted() {
    let site = site().await;
    let answer = site.get("/v1/pool/blue").await;
    assert_eq!((answer.status.as_u16(), answer.message()), (404, "not found: pool \"blue\"".to_owned()));

    let answer = site.post("/v1/pool", r#"{"name":"blue","size":4}"#).await;
    assert_eq!((answer.status.as_u16(), &*answer.text), (200, "{\n \"code\": 200,\n \"message\": \"\"\n}"));
    let stored = pools(&site, "kube-system").get("blue").await.unwrap();
    assert_eq!(stored.spec, PoolSpec { size: 4, pre_allocate_ip: false });
    let answer = site.get("/v1/pool/blue").await;
    let pool = json!({"name": "blue", "size": 4, "preAllocateIP": false});
    assert_eq!(answer.json(), json!({"code": 200, "message": "", "pool": pool}));

    // What others wrote on the object stays.
    let mut labelled = stored.clone();
    labelled.labels_mut().insert("team".to_owned(), "shop".to_owned());
    pools(&site, "kube-system").replace("blue", &PostParams::default(), &labelled).await.unwrap();
    assert_eq!(site.post("/v1/pool", r#"{"name":"blue","size":6}"#).await.status, 200);
    let stored = pools(&site, "kube-system").get("blue").await.unwrap();
    assert_eq!((stored.spec.size, stored.labels().get("team").map(String::as_str)), (6, Some("shop")));

    // The same again writes nothing.
    assert_eq!(site.post("/v1/pool", r#"{"name":"blue","size":6}"#).await.status, 200);
    assert_eq!(pools(&site, "kube-system").get("blue").await.unwrap().resource_version(), stored.resource_version());

    let answer = site.delete("/v1/pool/blue").await;
    assert_eq!(answer.json(), json!({"code": 200, "message": ""}));
    assert_eq!(site.shelf.things().deleted, [stored.uid().unwrap().into()]);
    let answer = site.delete("/v1/pool/blue").await;
    assert_eq!((answer.status.as_u16(), answer.message()), (404, "not found: pool \"blue\"".to_owned()));
}

#[tokio::test]
async fn wrong_pools_are_refused_with_field_and_value() {
    let site = site().await;
    let long = format!(r#"{{"name":"{}","size":1}}"#, "a".repeat(254));
    for (body, words) in [
        (r#"{"size":4}"#, "name: pool name is empty"),
        (r#"{"name":"","size":4}"#, "name: pool name is empty"),
        (r#"{"name":"Blue","size":4}"#, "name: \"Blue\""),
        (r#"{"name":"a_b","size":4}"#, "name: \"a_b\""),
        (r#"{"name":"../x","size":4}"#, "name: \"../x\""),
        (&*long, "name: \"aaaa"),
        (r#"{"name":"blue","size":-1}"#, "size: -1"),
        (r#"{"name":"blue","size":16777217}"#, "size: 16777217"),
        (r#"{"name":"blue","size":99999999999999999999}"#, "size: invalid"),
        (r#"{"name":"blue","size":"four"}"#, "size: invalid type: string \"four\""),
        (r#"{"name":"blue","size":4.5}"#, "size: invalid type: floating point `4.5`"),
        (r#"{"name":7,"size":4}"#, "name: invalid type: integer `7`"),
        (r#"{"name":"blue","preAllocateIP":"yes"}"#, "preAllocateIP: invalid type: string \"yes\""),
        ("blue", "expected value"),
        ("", "the body is empty"),
    ] {
        let answer = site.post("/v1/pool", body.to_owned()).await;
        assert_eq!(answer.status, 400, "{body}: {answer:?}");
        let message = answer.message();
        assert!(message.starts_with("bad request: ") && message.contains(words), "{message}");
    }
    assert_eq!(site.kubernetes.calls().count("create", "pools", "galaxy-ipam"), 0);
    for bad in ["/v1/pool/Blue", "/v1/pool/a%2Fb", "/v1/pool/%20"] {
        assert_eq!(site.get(bad).await.status, 404, "{bad}");
        assert_eq!(site.delete(bad).await.status, 404, "{bad}");
    }
}

#[tokio::test]
async fn pre_allocation_says_how_many_addresses_the_pool_has() {
    // Addresses in use and reserved, asked for; what comes back.
    for (used, reserved, size, code, real) in
        [(1, 3, 4, 200, 4), (3, 4, 4, 200, 7), (1, 1, 4, 202, 2), (0, 0, 0, 200, 0)]
    {
        let site = site().await;
        site.shelf.things().pools.insert("blue".to_owned(), PoolStatus { used, reserved, ..PoolStatus::default() });
        let body = format!(r#"{{"name":"blue","size":{size},"preAllocateIP":true}}"#);
        let answer = site.post("/v1/pool", body).await;
        let message = if code == 202 { "No enough IPs" } else { "" };
        assert_eq!(answer.json(), json!({"code": code, "message": message, "realPoolSize": real}));
    }
}

#[tokio::test]
async fn pre_allocation_waits_until_the_pool_has_settled() {
    let site = std::sync::Arc::new(site().await);
    site.shelf.things().settling = true;
    let request = tokio::spawn({
        let site = site.clone();
        async move { site.post("/v1/pool", r#"{"name":"blue","size":2,"preAllocateIP":true}"#).await.json() }
    });
    while site.shelf.things().pools.get("blue").is_none_or(|pool| !pool.settling) {
        tokio::task::yield_now().await;
    }
    site.shelf.settle();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!request.is_finished(), "the pool is still being filled");
    {
        let mut things = site.shelf.things();
        let pool = things.pools.get_mut("blue").unwrap();
        (pool.settling, pool.reserved) = (false, 2);
    }
    site.shelf.settle();
    assert_eq!(request.await.unwrap(), json!({"code": 200, "message": "", "realPoolSize": 2}));
}

#[tokio::test]
async fn pre_allocation_that_takes_too_long_says_so() {
    let fill_patience = Duration::from_millis(20);
    let site = install(Site::with(Settings { fill_patience, ..open() }).await).await;
    site.shelf.things().settling = true;
    let answer = site.post("/v1/pool", r#"{"name":"blue","size":4,"preAllocateIP":true}"#).await;
    let message = "0 of 4 IPs so far, the pool is still being filled";
    assert_eq!(answer.json(), json!({"code": 202, "message": message, "realPoolSize": 0}));
}

#[tokio::test]
async fn others_who_write_the_same_pool_are_not_overwritten_unseen() {
    let site = site().await;
    let faults = site.kubernetes.faults();
    assert_eq!(site.post("/v1/pool", r#"{"name":"blue","size":4}"#).await.status, 200);
    faults.add(Rule::new(Action::conflict()).verb("update").resource("pools").agent("galaxy-ipam").times(2));
    assert_eq!(site.post("/v1/pool", r#"{"name":"blue","size":5}"#).await.status, 200);
    assert_eq!(pools(&site, "kube-system").get("blue").await.unwrap().spec.size, 5);

    // Somebody creates it between our read and our create.
    let lost = Rule::new(Action::error(404, "NotFound")).verb("get").resource("pools").agent("galaxy-ipam").times(1);
    faults.add(lost);
    assert_eq!(site.post("/v1/pool", r#"{"name":"blue","size":6}"#).await.status, 200);
    assert_eq!(pools(&site, "kube-system").get("blue").await.unwrap().spec.size, 6);

    faults.add(Rule::new(Action::conflict()).verb("update").resource("pools").agent("galaxy-ipam"));
    let answer = site.post("/v1/pool", r#"{"name":"blue","size":7}"#).await;
    assert_eq!(answer.status, 500);
    assert!(answer.message().starts_with("server error: pool blue is being changed by others"), "{answer:?}");
}

#[tokio::test]
async fn failures_of_the_api_server_are_told() {
    let call_deadline = Duration::from_millis(500);
    let site = install(Site::with(Settings { call_deadline, ..open() }).await).await;
    let faults = site.kubernetes.faults();
    let forbidden = || Rule::new(Action::error(403, "Forbidden")).resource("pools").agent("galaxy-ipam");
    faults.add(forbidden().verb("get").times(2));
    for answer in [site.get("/v1/pool/blue").await, site.delete("/v1/pool/blue").await] {
        assert_eq!(answer.status, 500);
        assert!(answer.message().starts_with("server error: pool blue: "), "{answer:?}");
    }
    faults.add(forbidden().verb("create"));
    let answer = site.post("/v1/pool", r#"{"name":"blue","size":7}"#).await;
    assert_eq!(answer.status, 500);
    assert!(answer.message().contains("Forbidden"), "{answer:?}");
    faults.clear();

    faults.add(Rule::new(Action::Delay(Duration::from_secs(60))).verb("get").resource("pools").times(1));
    let answer = site.get("/v1/pool/blue").await;
    assert_eq!(answer.status, 500);
    assert_eq!(answer.message(), "server error: the API server did not answer within 500ms");
}

#[tokio::test]
async fn a_pool_made_elsewhere_is_shown_and_deleted_there() {
    let site = site().await;
    let made = Pool::new("blue", PoolSpec { size: 4, pre_allocate_ip: true });
    let made = pools(&site, "default").create(&PostParams::default(), &made).await.unwrap();
    let view = PoolView {
        uid: made.uid().unwrap().into(),
        namespace: "default".into(),
        name: "blue".into(),
        version: 1,
        created: Time(0),
        size: Some(4),
        pre_allocate: true,
    };
    let counts = PoolStatus { object: Some(view), ..PoolStatus::default() };
    site.shelf.things().pools.insert("blue".to_owned(), counts.clone());
    assert_eq!(
        site.get("/v1/pool/blue").await.json()["pool"],
        json!({"name": "blue", "size": 4, "preAllocateIP": true})
    );

    // Where pools of kube-system do not count, writing one there does not help.
    site.shelf.things().counts = false;
    let answer = site.post("/v1/pool", r#"{"name":"blue","size":5}"#).await;
    assert_eq!(answer.status, 500);
    assert!(answer.message().contains("the one in namespace default counts"), "{answer:?}");
    site.shelf.things().pools.clear();
    let answer = site.post("/v1/pool", r#"{"name":"red","size":5}"#).await;
    assert!(answer.message().contains("--pool-namespaces"), "{answer:?}");

    site.shelf.things().pools.insert("blue".to_owned(), counts);
    assert_eq!(site.delete("/v1/pool/blue").await.status, 200);
    assert!(pools(&site, "default").get_opt("blue").await.unwrap().is_none());
}

#[tokio::test]
async fn only_the_leader_changes_pools() {
    let site = site().await;
    site.shelf.things().ready = Err("this replica does not lead".to_owned());
    let answer = site.post("/v1/pool", r#"{"name":"blue","size":5}"#).await;
    assert_eq!(
        (answer.status.as_u16(), answer.message()),
        (500, "server error: this replica does not lead".to_owned())
    );
    assert_eq!(site.kubernetes.calls().count("create", "pools", "galaxy-ipam"), 0);
}
