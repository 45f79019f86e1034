use std::net::IpAddr;

use galaxy_api::{
    http::{
        Envelope, IpEntry, IpList, ListQuery, PoolBody, PoolGetResponse, PoolSetResponse, ReleaseItem, ReleaseRequest,
        ReleaseResponse, Sort, SortField, ZERO_TIME,
    },
    wire,
};

fn entry(ip: &str, pod: &str, time: &str) -> IpEntry {
    IpEntry {
        ip: ip.parse().unwrap(),
        namespace: "default".to_owned(),
        app_name: "sts".to_owned(),
        pod_name: pod.to_owned(),
        pool_name: String::new(),
        policy: 2,
        app_type: "statefulset".to_owned(),
        update_time: time.parse().unwrap(),
        status: "Deleted".to_owned(),
        releasable: true,
        note: String::new(),
    }
}

fn text(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap()
}

/// The list of float-ip.md, member for member and in its order.
#[test]
fn list_of_the_user_documentation() {
    let documented = r#"{
        "last": true,
        "totalElements": 2,
        "totalPages": 1,
        "first": true,
        "numberOfElements": 2,
        "size": 10,
        "number": 0,
        "content": [
            {
                "ip": "10.0.0.112",
                "namespace": "default",
                "appName": "sts",
                "podName": "sts-0",
                "policy": 2,
                "appType": "statefulset",
                "updateTime": "2020-05-29T11:11:44.633383558Z",
                "status": "Deleted",
                "releasable": true
            },
            {
                "ip": "10.0.0.174",
                "namespace": "default",
                "appName": "sts",
                "podName": "sts-1",
                "policy": 2,
                "appType": "statefulset",
                "updateTime": "2020-05-29T11:11:45.132450117Z",
                "status": "Deleted",
                "releasable": true
            }
        ]
    }"#;
    let query = ListQuery::default();
    let list = IpList::page(2, query.page(), query.size(), |positions| {
        assert_eq!(positions, 0..2);
        vec![
            entry("10.0.0.112", "sts-0", "2020-05-29T11:11:44.633383558Z"),
            entry("10.0.0.174", "sts-1", "2020-05-29T11:11:45.132450117Z"),
        ]
    });
    let compact: String = documented.lines().map(|line| line.trim().replace("\": ", "\":")).collect();
    assert_eq!(text(&list), compact);
}

#[test]
fn list_elements() {
    // Contract §6.1.
    let running = IpEntry {
        namespace: "shop".to_owned(),
        app_name: "cart".to_owned(),
        policy: 1,
        status: "Running".to_owned(),
        releasable: false,
        ..entry("10.20.5.17", "cart-2", "2024-03-05T08:00:12.5Z")
    };
    assert_eq!(
        text(&running),
        concat!(
            r#"{"ip":"10.20.5.17","namespace":"shop","appName":"cart","podName":"cart-2","policy":1,"#,
            r#""appType":"statefulset","updateTime":"2024-03-05T08:00:12.5Z","status":"Running"}"#
        )
    );
    let free = IpEntry {
        ip: "fd00::5".parse().unwrap(),
        namespace: String::new(),
        app_name: String::new(),
        pod_name: String::new(),
        pool_name: String::new(),
        policy: 0,
        app_type: String::new(),
        update_time: ZERO_TIME,
        status: String::new(),
        releasable: false,
        note: String::new(),
    };
    assert_eq!(
        text(&free),
        r#"{"ip":"fd00::5","namespace":"","appName":"","podName":"","policy":0,"updateTime":"0001-01-01T00:00:00Z"}"#
    );
    let pooled = IpEntry { pool_name: "blue".to_owned(), note: "Orphaned".to_owned(), ..free };
    assert_eq!(
        text(&pooled),
        r#"{"ip":"fd00::5","namespace":"","appName":"","podName":"","poolName":"blue","policy":0,"updateTime":"0001-01-01T00:00:00Z","note":"Orphaned"}"#
    );
}

#[test]
fn pages() {
    let page = |total, page, size| {
        let list = IpList::page(total, page, size, |positions| {
            positions.map(|n| entry("10.0.0.1", &n.to_string(), "2024-03-05T08:00:12Z")).collect()
        });
        let names: Vec<String> = list.content.iter().map(|entry| entry.pod_name.clone()).collect();
        (list.first, list.last, list.total_pages, list.number_of_elements, list.number, names.join(","))
    };
    let none = String::new;
    assert_eq!(page(0, 0, 10), (true, true, 0, 0, 0, none()));
    assert_eq!(page(5, 0, 2), (true, false, 3, 2, 0, "0,1".to_owned()));
    assert_eq!(page(5, 1, 2), (false, false, 3, 2, 1, "2,3".to_owned()));
    assert_eq!(page(5, 2, 2), (false, true, 3, 1, 2, "4".to_owned()));
    assert_eq!(page(4, 1, 2), (false, true, 2, 2, 1, "2,3".to_owned()));
    assert_eq!(page(5, 9, 2), (false, true, 3, 0, 2, none()), "beyond the end");
    assert_eq!(page(5, usize::MAX, usize::MAX), (false, true, 1, 0, 0, none()));
    assert_eq!(page(1, 0, 0), (true, true, 1, 1, 0, "0".to_owned()));
    let empty = text(&IpList::page(0, 0, 10, |_| Vec::new()));
    assert_eq!(
        empty,
        r#"{"last":true,"totalElements":0,"totalPages":0,"first":true,"numberOfElements":0,"size":10,"number":0}"#
    );
}

#[test]
fn queries() {
    for (text, page, size) in [
        ("", 0, 10),
        ("x", 0, 10),
        ("1.5", 0, 10),
        (" 3", 0, 10),
        ("-1", 0, 10),
        ("0", 0, 10),
        ("7", 7, 7),
        ("+7", 7, 7),
        ("99999", 99_999, 9_999),
        ("100000", 99_999, 9_999),
        ("99999999999999999999999", 99_999, 9_999),
        ("-99999999999999999999999", 0, 10),
    ] {
        let query = ListQuery { page: text.to_owned(), size: text.to_owned(), ..ListQuery::default() };
        assert_eq!((query.page(), query.size()), (page, size), "{text:?}");
    }
    for (sort, field, descending) in [
        ("", SortField::Ip, false),
        ("ip desc", SortField::Ip, true),
        ("IP DESC", SortField::Ip, true),
        ("namespace", SortField::Ip, false),
        ("namespace asc", SortField::Namespace, false),
        ("Namespace Desc", SortField::Namespace, true),
        ("podname", SortField::PodName, false),
        ("podName desc", SortField::PodName, true),
        ("policy", SortField::Policy, false),
        ("policy desc", SortField::Policy, true),
        ("policy  desc", SortField::Ip, false),
        ("'; drop table", SortField::Ip, false),
    ] {
        let query = ListQuery { sort: sort.to_owned(), ..ListQuery::default() };
        assert_eq!(query.sort(), Sort { field, descending }, "{sort:?}");
    }
}

/// The release call of float-ip.md and its answer.
#[test]
fn release_of_the_user_documentation() {
    let body = r#"{"ips":[{"ip":"10.0.0.112", "appName":"sts", "appType":"statefulset", "podName":"sts-0","namespace":"default"},{"ip":"10.0.0.174", "appName":"sts", "appType":"statefulset", "podName":"sts-1", "namespace":"default"}]}"#;
    let request: ReleaseRequest = wire::from_slice(body.as_bytes()).unwrap();
    let item = |ip: &str, pod: &str| ReleaseItem {
        ip: ip.to_owned(),
        namespace: "default".to_owned(),
        app_name: "sts".to_owned(),
        pod_name: pod.to_owned(),
        pool_name: String::new(),
        app_type: "statefulset".to_owned(),
    };
    assert_eq!(request.ips, [item("10.0.0.112", "sts-0"), item("10.0.0.174", "sts-1")]);
    assert_eq!(text(&ReleaseResponse::new(2, Vec::new())), r#"{"code":200,"message":""}"#);

    // What a list gives can be sent back as it is.
    let listed = text(&entry("10.0.0.112", "sts-0", "2020-05-29T11:11:44Z"));
    let request: ReleaseRequest = wire::from_slice(format!("{{\"ips\":[{listed}]}}").as_bytes()).unwrap();
    assert_eq!(request.ips, [item("10.0.0.112", "sts-0")]);
}

#[test]
fn release_in_part() {
    let failed: IpAddr = "10.20.5.18".parse().unwrap();
    let response = ReleaseResponse::new(1, vec![(failed, "pod shop_cart-2 (uid u-81) is running".to_owned())]);
    assert_eq!(
        text(&response),
        concat!(
            r#"{"code":202,"message":"Released 1 ips, 1 ips failed, please check the reasons why they failed","#,
            r#""unreleased":["10.20.5.18"],"reasons":["pod shop_cart-2 (uid u-81) is running"]}"#
        )
    );
}

#[test]
fn release_requests() {
    for (body, count) in [
        ("null", 0),
        ("{}", 0),
        (r#"{"ips":null}"#, 0),
        (r#"{"ips":[null]}"#, 0),
        (r#"{"IPS":[{"IP":"10.0.0.1","APPNAME":null}]}"#, 1),
        (r#"{"ips":[{"ip":"10.0.0.1","updateTime":"garbage","policy":"x","status":3}]}"#, 1),
    ] {
        assert_eq!(wire::from_slice::<ReleaseRequest>(body.as_bytes()).expect(body).ips.len(), count, "{body}");
    }
    for (body, error) in [
        ("", "EOF"),
        ("[]", "expected a JSON object"),
        (r#"{"ips":{}}"#, "ips: invalid type: map, expected a list"),
        (r#"{"ips":["10.0.0.1"]}"#, "ips: [0]: invalid type: string \"10.0.0.1\""),
        (r#"{"ips":[{"ip":10}]}"#, "ips: [0]: ip: invalid type: integer `10`"),
        (r#"{"ips":[{"ip":"10.0.0.1","appName":["x"]}]}"#, "ips: [0]: appName: invalid type: sequence"),
    ] {
        let found = wire::from_slice::<ReleaseRequest>(body.as_bytes()).expect_err(body).to_string();
        assert!(found.contains(error), "{body}: {found}");
    }
    for ip in ["", "x", "10.0.0", "10.0.0.256", "10.0.0.1/24", " 10.0.0.1", "10.0.0.01"] {
        let item = ReleaseItem { ip: ip.to_owned(), ..ReleaseItem::default() };
        assert_eq!(item.address().unwrap_err().to_string(), format!("ip: {ip:?} is not a valid ip"));
    }
}

/// Contract §6.3.
#[test]
fn pools() {
    let body = r#"{"name":"blue","size":4,"preAllocateIP":true}"#;
    let pool: PoolBody = wire::from_slice(body.as_bytes()).unwrap();
    assert_eq!(pool, PoolBody { name: "blue".to_owned(), size: 4, pre_allocate_ip: true });
    assert_eq!(text(&pool), body);
    let get = PoolGetResponse::new(PoolBody { pre_allocate_ip: false, ..pool });
    assert_eq!(text(&get), r#"{"code":200,"message":"","pool":{"name":"blue","size":4,"preAllocateIP":false}}"#);
    assert_eq!(text(&PoolSetResponse::ok()), r#"{"code":200,"message":""}"#);
    assert_eq!(text(&PoolSetResponse::pre_allocated(4, true)), r#"{"code":200,"message":"","realPoolSize":4}"#);
    assert_eq!(
        text(&PoolSetResponse::pre_allocated(0, false)),
        r#"{"code":202,"message":"No enough IPs","realPoolSize":0}"#
    );
    for (body, error) in [
        ("null", "name: pool name is empty"),
        (r#"{"size":4}"#, "name: pool name is empty"),
        (r#"{"name":"Blue"}"#, "name: \"Blue\" is not a lower-case DNS name"),
        (r#"{"name":"a_b"}"#, "name: \"a_b\""),
        (r#"{"name":"-a"}"#, "name: \"-a\""),
        (r#"{"name":"a..b"}"#, "name: \"a..b\""),
        (r#"{"name":"../x"}"#, "name: \"../x\""),
        (r#"{"name":"a","size":-1}"#, "size: -1 is not between"),
        (r#"{"name":"a","size":99999999999}"#, "size: 99999999999 is not between"),
    ] {
        let pool: PoolBody = wire::from_slice(body.as_bytes()).unwrap();
        let found = pool.validate().expect_err(body).to_string();
        assert!(found.starts_with(error), "{body}: {found}");
    }
    for (body, error) in [
        (r#"{"name":5}"#, "name: invalid type: integer `5`"),
        (r#"{"name":"a","size":"4"}"#, "size: invalid type: string \"4\""),
        (r#"{"name":"a","size":1.5}"#, "size: invalid type: floating point `1.5`"),
        (r#"{"name":"a","preAllocateIP":"true"}"#, "preAllocateIP: invalid type: string \"true\""),
    ] {
        let found = wire::from_slice::<PoolBody>(body.as_bytes()).expect_err(body).to_string();
        assert!(found.contains(error), "{body}: {found}");
    }
}

#[test]
fn envelopes() {
    for (envelope, json) in [
        (Envelope::ok(), r#"{"code":200,"message":""}"#),
        (Envelope::bad_request("x"), r#"{"code":400,"message":"bad request: x"}"#),
        (Envelope::not_found("x"), r#"{"code":404,"message":"not found: x"}"#),
        (Envelope::server_error("x"), r#"{"code":500,"message":"server error: x"}"#),
    ] {
        assert_eq!(text(&envelope), json);
    }
}
