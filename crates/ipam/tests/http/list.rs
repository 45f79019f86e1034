use galaxy_core::{
    ReleasePolicy::{Default, Immutable, Never},
    ledger::{Phase, State},
};
use serde_json::{Value, json};

use crate::Site;

/// Addresses of every kind, and three free ones.
async fn shop() -> Site {
    let site = Site::new().await;
    let shelf = &site.shelf;
    shelf.give("10.0.0.9", "sts_shop_cart_cart-1", Immutable);
    shelf.give("10.0.0.10", "sts_shop_cart_cart-10", Immutable);
    shelf.give("10.0.0.100", "dp_shop_web_web-7c9d-x2k4p", Default);
    shelf.give("10.0.0.20", "dp_shop_web_", Never);
    shelf.give("10.0.0.21", "NULL_ops_NULL_toolbox", Default);
    shelf.give("10.0.0.22", "tapp_ops_demo_demo-1", Immutable);
    shelf.give("10.0.0.23", "pool__blue_dp_ops_api_api-5f-aaaaa", Never);
    shelf.give("10.0.0.24", "pool__blue_", Never);
    shelf.give("10.0.0.25", "replicasets_ops_lone_lone-x", Default);
    shelf.give("10.0.0.26", "", Default);
    shelf.change("10.0.0.26", |info| {
        info.state = Some(State::Admin);
        info.key = Some("pool__reserved-for-node_".into());
    });
    for ip in ["10.0.0.2", "10.0.0.11", "10.0.0.99"] {
        shelf.free(ip);
    }
    site
}

/// The last parts of the listed addresses, in order.
#[track_caller]
fn hosts(list: &Value) -> Vec<u8> {
    let content = list.get("content").and_then(Value::as_array).cloned().unwrap_or_default();
    assert_eq!(list["numberOfElements"], content.len(), "{list}");
    let host = |entry: &Value| entry["ip"].as_str().unwrap().rsplit('.').next().unwrap().parse().unwrap();
    content.iter().map(host).collect()
}

#[tokio::test]
async fn queries_match_exactly_what_they_name() {
    let site = shop().await;
    for (query, found) in [
        // Free addresses are listed only where nothing is asked for.
        ("size=99", vec![2, 9, 10, 11, 20, 21, 22, 23, 24, 25, 26, 99, 100]),
        ("size=99&unknown=1", vec![2, 9, 10, 11, 20, 21, 22, 23, 24, 25, 26, 99, 100]),
        // A pod, not those whose names begin like its own.
        ("podName=cart-1&appName=cart&namespace=shop", vec![9]),
        ("podName=cart-1&appName=cart&namespace=shop&appType=statefulset", vec![9]),
        ("podName=cart-1", vec![9]),
        ("podName=cart", vec![]),
        // A namespace alone, an app alone.
        ("namespace=shop", vec![9, 10, 20, 100]),
        ("namespace=sho", vec![]),
        ("appName=cart", vec![9, 10]),
        ("appName=cart&namespace=ops", vec![]),
        // An app without its kind is a StatefulSet, as documented.
        ("appName=web&namespace=shop", vec![]),
        ("appName=web&namespace=shop&appType=deployment", vec![20, 100]),
        ("appName=web&namespace=shop&appType=Deployments", vec![20, 100]),
        ("appName=web&namespace=shop&appType=replicaset", vec![20, 100]),
        ("appName=cart&namespace=shop&appType=statefulsets", vec![9, 10]),
        ("appType=deployments", vec![20, 23, 100]),
        ("appType=TApp", vec![22]),
        ("appType=replicasets", vec![25]),
        // Bare pods.
        ("appType=NULL", vec![21]),
        ("appName=NULL&appType=NULL&namespace=ops", vec![21]),
        ("podName=toolbox&namespace=ops", vec![21]),
        // Pools.
        ("poolName=blue", vec![23, 24]),
        ("poolName=blu", vec![]),
        ("poolName=blue&appName=api&appType=deployment", vec![23]),
        ("poolName=blue&namespace=ops", vec![23]),
        ("poolName=reserved-for-node", vec![26]),
        // Keywords search keys, in their own letter case, and nothing else counts then.
        ("keyword=cart-1", vec![9, 10]),
        ("keyword=pool__", vec![23, 24, 26]),
        ("keyword=ops", vec![21, 22, 23, 25]),
        ("keyword=OPS", vec![]),
        ("keyword=10.0.0.9", vec![]),
        ("keyword=NULL_&podName=cart-1", vec![21]),
        ("keyword=&podName=cart-1", vec![9]),
        // The first of two counts, and text is decoded.
        ("podName=cart-1&podName=cart-10", vec![9]),
        ("podName=cart%2D1", vec![9]),
        ("podName=%ff", vec![]),
    ] {
        let answer = site.get(&format!("/v1/ip?{query}")).await;
        assert_eq!(answer.status, 200, "{query}");
        let list = answer.json();
        assert_eq!(hosts(&list), found, "{query}");
        assert_eq!(list["totalElements"], found.len(), "{query}");
        assert_eq!(list.get("content").is_some(), !found.is_empty(), "{query}: content is left out when empty");
    }
}

#[tokio::test]
async fn order_is_numeric_and_stable() {
    let site = shop().await;
    let ascending = vec![2, 9, 10, 11, 20, 21, 22, 23, 24, 25, 26, 99, 100];
    let descending: Vec<u8> = ascending.iter().rev().copied().collect();
    for (sort, found) in [
        ("", ascending.clone()),
        ("ip", ascending.clone()),
        ("IP%20ASC", ascending.clone()),
        ("ip+desc", descending.clone()),
        ("namespace", ascending.clone()),
        ("ip%20%20desc", ascending.clone()),
        ("color+asc", ascending),
        ("namespace+asc", vec![2, 11, 24, 26, 99, 21, 22, 23, 25, 9, 10, 20, 100]),
        ("namespace+desc", vec![9, 10, 20, 100, 21, 22, 23, 25, 2, 11, 24, 26, 99]),
        ("podname", vec![2, 11, 20, 24, 26, 99, 23, 9, 10, 22, 25, 21, 100]),
        ("podName+desc", vec![100, 21, 25, 22, 10, 9, 23, 2, 11, 20, 24, 26, 99]),
        ("policy", vec![2, 11, 21, 25, 26, 99, 100, 9, 10, 22, 20, 23, 24]),
        ("policy+desc", vec![20, 23, 24, 9, 10, 22, 2, 11, 21, 25, 26, 99, 100]),
    ] {
        let list = site.get(&format!("/v1/ip?size=99&sort={sort}")).await.json();
        assert_eq!(hosts(&list), found, "sort={sort}");
        // The same list in pages of every size.
        for size in 1..=found.len() + 1 {
            let mut paged = Vec::new();
            for page in 0.. {
                let list = site.get(&format!("/v1/ip?size={size}&page={page}&sort={sort}")).await.json();
                paged.extend(hosts(&list));
                if list["last"] == true {
                    break;
                }
            }
            assert_eq!(paged, found, "sort={sort} size={size}");
        }
    }
    let list = site.get("/v1/ip?namespace=shop&sort=policy+desc&size=3").await.json();
    assert_eq!(hosts(&list), [20, 9, 10]);
    let list = site.get("/v1/ip?namespace=shop&sort=policy+desc&size=3&page=1").await.json();
    assert_eq!(hosts(&list), [100]);
}

#[tokio::test]
async fn pages() {
    let site = Site::new().await;
    let empty = site.get("/v1/ip").await;
    assert_eq!(
        empty.json(),
        json!({"last": true, "totalElements": 0, "totalPages": 0, "first": true, "numberOfElements": 0, "size": 10, "number": 0})
    );
    for n in 0..25 {
        site.shelf.give(&format!("10.0.0.{n}"), &format!("sts_shop_cart_cart-{n}"), Default);
    }
    let site = &site;
    let page = async |query: &str| {
        let list = site.get(&format!("/v1/ip?{query}")).await.json();
        assert_eq!((&list["totalElements"], list["size"].as_u64().unwrap() > 0), (&json!(25), true));
        let number = |name: &str| list[name].as_u64().unwrap();
        let flags = (list["first"] == true, list["last"] == true);
        (number("size"), number("totalPages"), number("number"), hosts(&list).len(), flags)
    };
    for all in ["", "appName=cart&", "keyword=cart&"] {
        for (query, expected) in [
            ("", (10, 3, 0, 10, (true, false))),
            ("page=1", (10, 3, 1, 10, (false, false))),
            ("page=2", (10, 3, 2, 5, (false, true))),
            // Beyond the end: empty, under the number that was asked for.
            ("page=7", (10, 3, 7, 0, (false, true))),
            ("page=99999999999999999999", (10, 3, 99_999, 0, (false, true))),
            ("page=-1", (10, 3, 0, 10, (true, false))),
            ("page=two", (10, 3, 0, 10, (true, false))),
            ("size=25", (25, 1, 0, 25, (true, true))),
            ("size=24", (24, 2, 0, 24, (true, false))),
            ("size=0", (10, 3, 0, 10, (true, false))),
            ("size=-5", (10, 3, 0, 10, (true, false))),
            ("size=many", (10, 3, 0, 10, (true, false))),
            ("size=10000", (9_999, 1, 0, 25, (true, true))),
        ] {
            assert_eq!(page(&format!("{all}{query}")).await, expected, "{all}{query}");
        }
    }
}

#[tokio::test]
async fn entries_say_who_has_the_address_and_whether_it_can_be_released() {
    let site = shop().await;
    let shelf = &site.shelf;
    shelf.change("10.0.0.10", |info| (info.phase, info.pod_uid, info.state) = (None, None, Some(State::Reserved)));
    shelf.change("10.0.0.22", |info| (info.phase, info.state) = (None, Some(State::Quarantined)));
    shelf.change("10.0.0.25", |info| info.phase = Some(Phase::Pending));
    shelf.change("10.0.0.9", |info| info.orphaned = true);
    shelf.change("10.0.0.2", |info| info.disputed = true);
    let list = site.get("/v1/ip?size=99").await.json();
    let entries = list["content"].as_array().unwrap();
    let time = "2024-03-05T08:00:12.5Z";
    let zero = "0001-01-01T00:00:00Z";
    for expected in [
        json!({"ip": "10.0.0.2", "namespace": "", "appName": "", "podName": "", "policy": 0, "updateTime": zero, "note": "Disputed"}),
        json!({"ip": "10.0.0.11", "namespace": "", "appName": "", "podName": "", "policy": 0, "updateTime": zero}),
        json!({"ip": "10.0.0.9", "namespace": "shop", "appName": "cart", "podName": "cart-1", "policy": 1,
            "appType": "statefulset", "updateTime": time, "status": "Running", "note": "Orphaned"}),
        json!({"ip": "10.0.0.10", "namespace": "shop", "appName": "cart", "podName": "cart-10", "policy": 1,
            "appType": "statefulset", "updateTime": time, "status": "Deleted", "releasable": true}),
        json!({"ip": "10.0.0.20", "namespace": "shop", "appName": "web", "podName": "", "policy": 2,
            "appType": "deployment", "updateTime": time, "status": "Deleted", "releasable": true}),
        json!({"ip": "10.0.0.21", "namespace": "ops", "appName": "NULL", "podName": "toolbox", "policy": 0,
            "appType": "NULL", "updateTime": time, "status": "Running"}),
        json!({"ip": "10.0.0.22", "namespace": "ops", "appName": "demo", "podName": "demo-1", "policy": 1,
            "appType": "tapp", "updateTime": time, "status": "Deleted", "releasable": true, "note": "Quarantined"}),
        json!({"ip": "10.0.0.23", "namespace": "ops", "appName": "api", "podName": "api-5f-aaaaa", "poolName": "blue", "policy": 2,
            "appType": "deployment", "updateTime": time, "status": "Running"}),
        json!({"ip": "10.0.0.24", "namespace": "", "appName": "", "podName": "", "poolName": "blue", "policy": 2,
            "updateTime": time, "status": "Deleted", "releasable": true}),
        json!({"ip": "10.0.0.25", "namespace": "ops", "appName": "lone", "podName": "lone-x", "policy": 0,
            "appType": "replicasets", "updateTime": time, "status": "Pending"}),
        json!({"ip": "10.0.0.26", "namespace": "", "appName": "", "podName": "", "poolName": "reserved-for-node", "policy": 0,
            "updateTime": time, "note": "AdminReserved"}),
    ] {
        let entry = entries.iter().find(|entry| entry["ip"] == expected["ip"]);
        assert_eq!(entry, Some(&expected));
    }
}

#[tokio::test]
async fn long_lists_are_complete() {
    let site = Site::new().await;
    for n in 0..2048 {
        site.shelf.give(&format!("10.0.{}.{}", n / 256, n % 256), &format!("sts_shop_cart_cart-{n}"), Default);
    }
    for (ip, n) in [("255.255.255.255", 2048), ("fd00::1", 2049), ("fd00::2", 2050)] {
        site.shelf.give(ip, &format!("sts_shop_cart_cart-{n}"), Default);
    }
    let list = site.get("/v1/ip?appName=cart&size=5000").await.json();
    let names: Vec<&str> =
        list["content"].as_array().unwrap().iter().map(|entry| entry["podName"].as_str().unwrap()).collect();
    assert_eq!(names, (0..2051).map(|n| format!("cart-{n}")).collect::<Vec<_>>());
    assert_eq!(site.get("/v1/ip?keyword=cart-2050").await.json()["content"][0]["ip"], "fd00::2");
}

#[tokio::test]
async fn json_is_indented_by_one_space() {
    let site = Site::new().await;
    site.shelf.give("10.20.5.17", "sts_shop_cart_cart-2", Immutable);
    let answer = site.get("/v1/ip?appName=cart&appType=statefulsets&namespace=shop").await;
    assert_eq!(
        answer.text,
        r#"{
 "last": true,
 "totalElements": 1,
 "totalPages": 1,
 "first": true,
 "numberOfElements": 1,
 "size": 10,
 "number": 0,
 "content": [
  {
   "ip": "10.20.5.17",
   "namespace": "shop",
   "appName": "cart",
   "podName": "cart-2",
   "policy": 1,
   "appType": "statefulset",
   "updateTime": "2024-03-05T08:00:12.5Z",
   "status": "Running"
  }
 ]
}"#
    );
}

#[tokio::test]
async fn a_standby_lists_and_a_newcomer_does_not() {
    let site = shop().await;
    site.shelf.things().ready = Err("this replica does not lead".to_owned());
    assert_eq!(site.get("/v1/ip").await.status, 200);
    site.shelf.things().synced = Err("pods are not listed yet".to_owned());
    let answer = site.get("/v1/ip").await;
    assert_eq!((answer.status.as_u16(), answer.message()), (500, "server error: pods are not listed yet".to_owned()));
}
