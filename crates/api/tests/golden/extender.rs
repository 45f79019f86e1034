use std::{borrow::Cow, sync::Arc};

use galaxy_api::{
    extender::{BindArgs, BindResult, ExtenderArgs, FilterResult, HostPriority, PreemptArgs, PreemptResult},
    pod::PodView,
    wire,
};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

const FILTER: &str = include_str!("../captures/filter.json");
const FILTER_NAMES: &str = include_str!("../captures/filter-names.json");
const PRIORITY: &str = include_str!("../captures/priority.json");
const BIND: &str = include_str!("../captures/bind.json");
const PREEMPT: &str = include_str!("../captures/preempt.json");
const PREEMPT_NAMES: &str = include_str!("../captures/preempt-names.json");

/// Both ways to read a request see the same in it.
fn args(json: &str) -> ExtenderArgs<'_> {
    let args = ExtenderArgs::read(json.as_bytes()).unwrap_or_else(|error| panic!("{json}: {error}"));
    assert_eq!(wire::from_slice::<ExtenderArgs<'_>>(json.as_bytes()).unwrap(), args, "{json}");
    args
}

/// The whole answer, without the white space around the nodes.
fn text(result: &FilterResult<'_>) -> String {
    let (head, tail) = result.around_nodes().unwrap();
    let close = |part: &str| part.lines().map(str::trim_start).collect::<String>().replace("\": ", "\":");
    format!("{}{}{}", close(&head), result.nodes().join(","), close(&tail))
}

/// Lower-cases the names of all members, as schedulers before 1.17 wrote at the top.
fn lower(json: &str) -> String {
    fn walk(value: &Value) -> Value {
        match value {
            Value::Object(members) => members
                .iter()
                .map(|(name, value)| (name.to_lowercase(), walk(value)))
                .collect::<serde_json::Map<_, _>>()
                .into(),
            Value::Array(items) => items.iter().map(walk).collect(),
            other => other.clone(),
        }
    }
    // Names of resources and annotations are lower case already.
    walk(&serde_json::from_str(json).unwrap()).to_string()
}

#[test]
fn filter_with_nodes() {
    for json in [FILTER.to_owned(), lower(FILTER)] {
        let args = args(&json);
        let pod = args.pod.as_ref().unwrap();
        assert_eq!(pod.to_string(), "default/web-698c599874-vm7xh");
        assert_eq!(pod.uid, "230be1a8-fbbc-477f-b15b-82a19042c9b8");
        assert!(pod.wants_floating_ip);
        assert_eq!(pod.annotation("k8s.v1.cni.galaxy.io/release-policy"), Some("immutable"));
        let owner = pod.controller().unwrap();
        assert_eq!(
            (owner.api_group(), owner.kind.as_str(), owner.name.as_str()),
            ("apps", "ReplicaSet", "web-698c599874")
        );
        assert_eq!(pod.phase, "Pending");
        let scheduled = pod.condition("PodScheduled").unwrap();
        assert_eq!((scheduled.status.as_str(), scheduled.reason.as_str()), ("False", "Unschedulable"));
        assert_eq!(scheduled.last_transition_time.unwrap().to_string(), "2026-11-23T12:04:15Z");
        assert_eq!(pod.created_at.unwrap().to_string(), "2026-11-23T12:04:15Z");
        assert_eq!(args.names().collect::<Vec<_>>(), ["n2"]);
        assert_eq!(
            args.nodes.as_ref().unwrap()[0].view.internal_ips,
            ["10.49.28.201".parse::<std::net::IpAddr>().unwrap()]
        );
        assert!(args.node_names.is_none());
    }
}

#[test]
fn filter_with_names() {
    let args = args(FILTER_NAMES);
    assert_eq!(args.pod.as_ref().unwrap().name, "hi-0");
    assert_eq!(args.pod.as_ref().unwrap().priority, 1000);
    assert!(args.nodes.is_none());
    assert_eq!(args.names().collect::<Vec<_>>(), ["n1"]);
    assert!(matches!(args.node_names.as_ref().unwrap()[0], Cow::Borrowed("n1")), "names are not copied");
}

#[test]
fn priority() {
    let args = args(PRIORITY);
    assert_eq!(args.names().collect::<Vec<_>>(), ["n1", "n2"]);
    assert!(args.nodes.unwrap().iter().all(|node| node.view.internal_ips.is_empty()));
}

/// A pod reads the same from a request as from a watch.
#[test]
fn same_view_of_a_watched_pod() {
    for json in [FILTER, FILTER_NAMES, PRIORITY, PREEMPT] {
        let value: Value = serde_json::from_str(json).unwrap();
        let watched: Pod = serde_json::from_value(value["Pod"].clone()).unwrap();
        assert_eq!(PodView::from(&watched), args(json).pod.unwrap());
    }
    let running = json!({"metadata":{"name":"p","namespace":"n","uid":"u","annotations":{"other":"x","tke.cloud.tencent.com/eni-ip-pool":"blue"},
            "deletionTimestamp":"2026-11-23T12:06:19Z","deletionGracePeriodSeconds":30,
            "ownerReferences":[{"apiVersion":"v1","kind":"Thing","name":"t","uid":"x"}]},
        "spec":{"nodeName":"n1","priority":5,"schedulerName":"s","containers":[{"name":"a"},{"name":"b","resources":{"requests":{"tke.cloud.tencent.com/eni-ip":"0"}}}]},
        "status":{"phase":"Failed","reason":"Evicted","podIPs":[{"ip":"10.0.0.2"},{"ip":"nonsense"},{"ip":"fd00::2"}],
            "conditions":[{"type":"Ready","status":"False","lastProbeTime":"2026-11-23T12:06:19Z","message":"m"}]}});
    let read: PodView = serde_json::from_value(running.clone()).unwrap();
    assert_eq!(PodView::from(&serde_json::from_value::<Pod>(running).unwrap()), read);
    assert_eq!(read.annotations.len(), 1, "only what Galaxy reads is kept");
    assert_eq!((read.deletion_grace_seconds, read.ips.len(), read.is_finished()), (Some(30), 2, true));
    assert!(read.wants_floating_ip, "the quantity does not matter");
    assert!(read.controller().is_none());
}

/// Only requests of ordinary containers count (contract §1.1).
#[test]
fn who_wants_an_address() {
    let requests = r#"{"resources":{"requests":{"tke.cloud.tencent.com/eni-ip":"1"}}}"#;
    for (spec, wants) in [
        (format!(r#"{{"containers":[{requests}]}}"#), true),
        (format!(r#"{{"containers":[{{}},null,{requests}]}}"#), true),
        (format!(r#"{{"initContainers":[{requests}]}}"#), false),
        (r#"{"containers":[{"resources":{"limits":{"tke.cloud.tencent.com/eni-ip":"1"}}}]}"#.to_owned(), false),
        (r#"{"containers":[{"resources":{"requests":{"tke.cloud.tencent.com/eni-ip":null}}}]}"#.to_owned(), true),
        (r#"{"containers":[{"resources":{"requests":{"tke.cloud.tencent.com/eni-ips":"1"}}}]}"#.to_owned(), false),
        (r#"{"containers":[{"resources":{"requests":null}},{"resources":null}]}"#.to_owned(), false),
        (r#"{"containers":null}"#.to_owned(), false),
        ("null".to_owned(), false),
    ] {
        let json = format!(r#"{{"pod":{{"spec":{spec}}}}}"#);
        assert_eq!(args(&json).pod.unwrap().wants_floating_ip, wants, "{spec}");
    }
}

/// `null` and absence anywhere, any letter case, members unknown or twice: all of it reads.
#[test]
fn tolerated_requests() {
    for (json, pod, names) in [
        ("null", false, ""),
        ("{}", false, ""),
        (r#"{"Pod":null,"Nodes":null,"NodeNames":null}"#, false, ""),
        (r#"{"Pod":{},"Nodes":{}}"#, true, ""),
        (r#"{"pod":{"metadata":null,"spec":null,"status":null},"nodes":{"items":null,"metadata":null}}"#, true, ""),
        (r#"{"POD":{},"NODENAMES":["a","b"]}"#, true, "a,b"),
        (r#"{"pod":{},"nodenames":["a",null,"b"]}"#, true, "a,b"),
        (r#"{"pod":{},"nodeNames":["\u0061","b\"c"]}"#, true, "a,b\"c"),
        (r#"{"pod":{},"NodeNames":[],"Nodes":{"items":[{"metadata":{"name":"a"}}]}}"#, true, ""),
        (
            r#"{"Extra":[{"deep":[null]}],"Nodes":{"Items":[null,{"metadata":{"name":"a"}},{},{"metadata":null,"status":{"addresses":[null,{}]}}]}}"#,
            false,
            "a,,",
        ),
        (r#"{"NodeNames":["x"],"NodeNames":["y"]}"#, false, "y"),
        (
            " { \"Nodes\" : { \"items\":[{}] ,\n\t\"items\" : [ {\"metadata\":{\"name\":\"b\"}} , null ],\"items\":null } ,\"x\":5 }\r\n",
            false,
            "b",
        ),
        (
            r#"{"Pod":{"metadata":{"creationTimestamp":"never","annotations":{"k8s.v1.cni.galaxy.io/args":null},"ownerReferences":[null,{}]}}}"#,
            true,
            "",
        ),
        (r#"{"Pod":{"status":{"podIPs":[null,{"ip":null},{"ip":"x"}],"conditions":[null,{"type":null}]}}}"#, true, ""),
    ] {
        let read = args(json);
        assert_eq!(read.pod.is_some(), pod, "{json}");
        assert_eq!(read.names().collect::<Vec<_>>().join(","), names, "{json}");
    }
}

/// Garbage is refused with the path to it.
#[test]
fn refused_requests() {
    for (json, error) in [
        ("", "EOF"),
        ("x", "expected value"),
        ("[]", "invalid type: sequence, expected a JSON object"),
        ("5", "invalid type: integer `5`"),
        ("{} {}", "trailing characters"),
        (r#"{"Pod":5}"#, "Pod: invalid type: integer `5`"),
        (r#"{"Pod":{"metadata":[]}}"#, "Pod: metadata: invalid type: sequence"),
        (r#"{"Pod":{"metadata":{"name":7}}}"#, "Pod: metadata: name: invalid type: integer `7`"),
        (r#"{"Pod":{"metadata":{"annotations":{"a":1}}}}"#, "Pod: metadata: annotations: a: invalid type: integer `1`"),
        (r#"{"Pod":{"spec":{"priority":"high"}}}"#, "Pod: spec: priority: invalid type: string \"high\""),
        (r#"{"Pod":{"spec":{"containers":{}}}}"#, "Pod: spec: containers: invalid type: map"),
        (r#"{"Pod":{"status":{"podIPs":["10.0.0.1"]}}}"#, "Pod: status: podIPs: [0]: invalid type: string"),
        (r#"{"Nodes":[]}"#, "Nodes: invalid type: sequence"),
        (r#"{"Nodes":{"items":[{},5]}}"#, "Nodes: items: [1]: invalid type: integer `5`"),
        (r#"{"Nodes":{"items":[{"metadata":{"name":{}}}]}}"#, "Nodes: items: [0]: metadata: name: invalid type: map"),
        (r#"{"NodeNames":"a"}"#, "NodeNames: invalid type: string \"a\""),
        (r#"{"NodeNames":["a",1]}"#, "NodeNames: [1]: invalid type: integer `1`"),
        (r#"{"Pod":{"metadata":{"name":"a"#, "EOF"),
        ("{\"Pod\":{\"metadata\":{\"name\":\"\u{1}\"}}}", "control character"),
    ] {
        let found = ExtenderArgs::read(json.as_bytes()).expect_err(json).to_string();
        assert!(found.contains(error), "{json}: {found}");
    }
    assert!(ExtenderArgs::read(b"{\"NodeNames\":[\"\xff\"]}").is_err(), "not UTF-8");
    let deep = format!(r#"{{"x":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let _ = ExtenderArgs::read(deep.as_bytes());
}

/// The one pass over a body and serde agree on every damaged one.
#[test]
fn damaged_requests() {
    let whole = FILTER.replace("\"items\":[", "\"items\":[null, ");
    for at in (0..whole.len()).step_by(11) {
        let (start, rest) = whole.split_at(at);
        for damaged in [
            start.to_owned(),
            format!("{start}{}", &rest[1..]),
            format!("{start},{rest}"),
            format!("{start}}}{}", &rest[1..]),
        ] {
            let found = ExtenderArgs::read(damaged.as_bytes()).map_err(|error| error.to_string());
            let expected = wire::from_slice::<ExtenderArgs<'_>>(damaged.as_bytes()).map_err(|error| error.to_string());
            assert_eq!(found, expected, "{damaged}");
        }
    }
}

#[test]
fn filter_answers_in_the_form_asked() {
    let why: Arc<str> = Arc::from("FloatingIPPlugin:NoFIPLeft");
    let refuse_b = |_: usize, name: &str, _: Option<&_>| (name == "b").then(|| why.clone());

    // Names in, names out.
    let result = FilterResult::sort(args(r#"{"NodeNames":["a","b","c"]}"#), refuse_b);
    assert_eq!((result.passed(), result.refused().collect::<Vec<_>>()), (2, vec![("b", "FloatingIPPlugin:NoFIPLeft")]));
    assert_eq!(
        text(&result),
        concat!(
            r#"{"NodeNames":["a","c"],"failedNodes":{"b":"FloatingIPPlugin:NoFIPLeft"},"#,
            r#""failedAndUnresolvableNodes":{"b":"FloatingIPPlugin:NoFIPLeft"}}"#
        )
    );
    // No names in: an empty list out, which is not the same as none.
    let result = FilterResult::sort(args(r#"{"NodeNames":[]}"#), refuse_b);
    assert_eq!(text(&result), r#"{"NodeNames":[]}"#);

    // Nodes in, the same nodes out, byte for byte, whatever Galaxy knows of them.
    let json = r#"{"Nodes":{"items":[{"metadata":{"name":"a" },"future":{"x":1.0e2}},{"metadata":{"name":"b"}},{"x":"é\u00e9"}]}}"#;
    let result = FilterResult::sort(args(json), refuse_b);
    assert_eq!(
        text(&result),
        concat!(
            r#"{"nodes":{"metadata":{},"items":[{"metadata":{"name":"a" },"future":{"x":1.0e2}},{"x":"é\u00e9"}]},"#,
            r#""failedNodes":{"b":"FloatingIPPlugin:NoFIPLeft"},"failedAndUnresolvableNodes":{"b":"FloatingIPPlugin:NoFIPLeft"}}"#
        )
    );
    // Neither: `nodes` is always present.
    let result = FilterResult::sort(args("null"), refuse_b);
    assert_eq!(text(&result), r#"{"nodes":{"metadata":{},"items":[]}}"#);
    assert_eq!(
        text(&FilterResult::error("not the leader")),
        r#"{"nodes":{"metadata":{},"items":[]},"error":"not the leader"}"#
    );

    // A real request passes through unchanged.
    let result = FilterResult::sort(args(FILTER), |index, name, node| {
        assert_eq!((index, name, node.unwrap().internal_ips.len()), (0, "n2", 1));
        None
    });
    let answer: Value = serde_json::from_str(&text(&result)).unwrap();
    let request: Value = serde_json::from_str(FILTER).unwrap();
    assert_eq!(answer, json!({"nodes": request["Nodes"]}));
}

#[test]
fn priority_answer() {
    let list = [HostPriority { host: "n1".into(), score: 10 }, HostPriority { host: "n2".into(), score: 0 }];
    assert_eq!(serde_json::to_string(&list).unwrap(), r#"[{"Host":"n1","Score":10},{"Host":"n2","Score":0}]"#);
}

#[test]
fn bind() {
    let want = BindArgs {
        pod_name: "web-698c599874-vm7xh".to_owned(),
        pod_namespace: "default".to_owned(),
        pod_uid: "230be1a8-fbbc-477f-b15b-82a19042c9b8".to_owned(),
        node: "n2".to_owned(),
    };
    for json in [BIND.to_owned(), lower(BIND)] {
        let args: BindArgs = wire::from_slice(json.as_bytes()).unwrap();
        assert_eq!(args, want);
        assert!(args.validate().is_ok());
    }
    for (json, missing) in [
        ("null", "PodName"),
        ("{}", "PodName"),
        (r#"{"PodName":"a","PodNamespace":null}"#, "PodNamespace"),
        (r#"{"podName":"a","podNamespace":"b","PodUID":""}"#, "PodUID"),
        (r#"{"podName":"a","podNamespace":"b","podUid":"c"}"#, "Node"),
    ] {
        let args: BindArgs = wire::from_slice(json.as_bytes()).unwrap();
        assert_eq!(args.validate().unwrap_err().to_string(), format!("bad request: {missing} is missing or empty"));
    }
    assert!(wire::from_slice::<BindArgs>(br#"{"PodName":1}"#).is_err());
    assert_eq!(serde_json::to_string(&BindResult::default()).unwrap(), r#"{"Error":""}"#);
    let error = BindResult { error: "assigning".to_owned() };
    assert_eq!(serde_json::to_string(&error).unwrap(), r#"{"Error":"assigning"}"#);
}

#[test]
fn preempt() {
    let whole: PreemptArgs = wire::from_slice(PREEMPT.as_bytes()).unwrap();
    assert_eq!(whole.pod.as_ref().unwrap().name, "hi-0");
    let uid = |args: &PreemptArgs, node: &str| args.victims[node].pods[0].uid.clone();
    assert_eq!(uid(&whole, "n1"), "d15ca97f-dbda-4873-8694-221e8aedfa09");
    assert_eq!(uid(&whole, "n2"), "309141a9-c762-48eb-848b-df5088544712");

    for json in [PREEMPT_NAMES.to_owned(), lower(PREEMPT_NAMES)] {
        let args: PreemptArgs = wire::from_slice(json.as_bytes()).unwrap();
        let answer = serde_json::to_value(PreemptResult { victims: args.victims }).unwrap();
        let request: Value = serde_json::from_str(PREEMPT_NAMES).unwrap();
        assert_eq!(answer, json!({"NodeNameToMetaVictims": request["NodeNameToMetaVictims"]}));
    }

    // Contract §2.1: where both are given, the uids count.
    let both = r#"{"Pod":{},"NodeNameToVictims":{"worker-3":{"Pods":[{"metadata":{"uid":"x"}}],"NumPDBViolations":0}},
        "NodeNameToMetaVictims":{"worker-3":{"Pods":[{"UID":"u-7"}],"NumPDBViolations":2}}}"#;
    let args: PreemptArgs = wire::from_slice(both.as_bytes()).unwrap();
    assert_eq!(
        serde_json::to_string(&PreemptResult { victims: args.victims }).unwrap(),
        r#"{"NodeNameToMetaVictims":{"worker-3":{"Pods":[{"UID":"u-7"}],"NumPDBViolations":2}}}"#
    );
    for (json, nodes) in [
        ("null", 0),
        (r#"{"NodeNameToVictims":null,"NodeNameToMetaVictims":null}"#, 0),
        (r#"{"NodeNameToVictims":{"a":null,"b":{"Pods":null},"c":{"Pods":[null,{"metadata":null}]}}}"#, 3),
        (r#"{"nodenametometavictims":{"a":{"pods":[{"uid":null}]}}}"#, 1),
    ] {
        let args: PreemptArgs = wire::from_slice(json.as_bytes()).unwrap();
        assert_eq!((args.pod.is_none(), args.victims.len()), (true, nodes), "{json}");
    }
    let error = wire::from_slice::<PreemptArgs>(br#"{"NodeNameToMetaVictims":{"a":{"Pods":5}}}"#).unwrap_err();
    assert!(error.to_string().starts_with("NodeNameToMetaVictims: a: Pods: invalid type: integer `5`"), "{error}");
    assert_eq!(serde_json::to_string(&PreemptResult::default()).unwrap(), r#"{"NodeNameToMetaVictims":{}}"#);
}
