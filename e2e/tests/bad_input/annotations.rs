//! Pods whose annotations no address can be found for: the condition names the annotation and the value, and nothing is bound.

use anyhow::Result;
use galaxy_api::names::ARGS_ANNOTATION;
use galaxy_e2e::{Seen, Workload};
use serde_json::json;

use crate::table::Table;

/// Reason, and what the condition's message must have.
type Expected = (&'static str, Vec<&'static str>);

/// The workload, what is wrong with it, and what comes of it.
type Row = (Workload, String, Expected);

pub(crate) async fn rows(table: &mut Table) -> Result<()> {
    let mut bad: Vec<Row> = Vec::new();
    for (number, (args, parts)) in args().into_iter().enumerate() {
        let pod = Workload::pod(&format!("bad-args-{number}")).annotate(ARGS_ANNOTATION, &args);
        let parts = [ARGS_ANNOTATION].into_iter().chain(parts.iter().copied()).collect();
        bad.push((pod, args, ("BadAnnotation", parts)));
    }
    for (workload, parts) in policies(table).await? {
        let input = format!(
            "{} {}",
            workload.name,
            workload.manifest().metadata.annotations.map_or_else(String::new, |it| format!("{it:?}"))
        );
        bad.push((workload, input, ("UnsupportedPolicy", parts.to_vec())));
    }
    for (workload, _, _) in &bad {
        table.c.apply(workload).await?;
    }
    // One look at all of them: they are large.
    let refused = |seen: &Seen, (workload, _, (reason, _)): &Row| {
        seen.of(workload).into_iter().find(|pod| pod.waits_for() == *reason).cloned()
    };
    let pods =
        table.c.wait("all are refused", |seen| bad.iter().map(|row| refused(seen, row)).collect::<Option<Vec<_>>>());
    for ((_, input, (_, parts)), pod) in bad.iter().zip(pods.await?) {
        table.tolerated(input, pod.node.is_empty() && !pod.args.contains("ipinfos"), &pod.args);
        let message = pod.floating.map(|condition| condition.message).unwrap_or_default();
        table.row(input, &message, parts);
    }
    // The scheduler quotes it to whoever describes the pod.
    let scheduled = table.c.see().await?.pod("bad-args-0").and_then(|pod| pod.scheduled.clone());
    let message = scheduled.map(|condition| condition.message).unwrap_or_default();
    table.row("what the scheduler shows", &message, &["FloatingIPPlugin:", ARGS_ANNOTATION]);
    for (workload, _, _) in &bad {
        table.c.delete(workload).await?;
    }
    table.c.until("all are gone", |seen| bad.iter().all(|(workload, _, _)| seen.of(workload).is_empty())).await?;
    Ok(())
}

/// Malformed values of the args annotation, and what the error must have.
fn args() -> Vec<(String, &'static [&'static str])> {
    let ranges = |text: &str| format!(r#"{{"request_ip_range":{text}}}"#);
    let mut rows: Vec<(String, &[&str])> = [
        ("{", &["not a JSON object", "\"{\""] as &[&str]),
        ("10.64.1.10", &["not a JSON object", "10.64.1.10"]),
        ("null", &["not a JSON object", "null"]),
        ("[]", &["not a JSON object", "[]"]),
        (r#""text""#, &["not a JSON object", "text"]),
        ("7", &["not a JSON object", "7"]),
        ("true", &["not a JSON object", "true"]),
        ("{} x", &["not a JSON object", "{} x"]),
        (r#"{"request_ip_range":[["10.64.1.10"]"#, &["not a JSON object", "request_ip_range"]),
        (r#"{request_ip_range:[]}"#, &["not a JSON object", "{request_ip_range:[]}"]),
        (r#"{"common":7}"#, &["common must be", "7"]),
        (r#"{"common":[]}"#, &["common must be", "[]"]),
        (r#"{"common":"x"}"#, &["common must be", "\"x\""]),
        (r#"{"request_ip_range":[["10.64.1.10"]],"request_ip_range":"x"}"#, &["request_ip_range must be", "\"x\""]),
        (r#"{"Request_IP_Range":[7]}"#, &["request_ip_range[0] must be", "7"]),
    ]
    .map(|(text, parts)| (text.to_owned(), parts))
    .into();
    rows.extend(
        [
            (r#""10.64.1.10""#, &["request_ip_range must be", "10.64.1.10"] as &[&str]),
            ("{}", &["request_ip_range must be", "{}"]),
            ("1e999", &["request_ip_range must be", "1e999"]),
            (r#"["10.64.1.10"]"#, &["request_ip_range[0] must be", "10.64.1.10"]),
            ("[null]", &["request_ip_range[0] must be", "null"]),
            ("[[]]", &["request_ip_range[0] is empty"]),
            ("[[null]]", &["request_ip_range[0][0] must be a string", "null"]),
            ("[[7]]", &["request_ip_range[0][0] must be a string", "7"]),
            (r#"[["10.64.1.10"],[["10.64.1.11"]]]"#, &["request_ip_range[1][0] must be a string", "10.64.1.11"]),
            (r#"[["10.64.1.10","10.64.1.11",{}]]"#, &["request_ip_range[0][2] must be a string", "{}"]),
            (r#"[[""]]"#, &["request_ip_range[0][0]", "\"\""]),
            (r#"[["10.64.1"]]"#, &["request_ip_range[0][0]", "\"10.64.1\""]),
            (r#"[["10.64.1.256"]]"#, &["request_ip_range[0][0]", "10.64.1.256"]),
            (r#"[["010.64.1.10"]]"#, &["request_ip_range[0][0]", "010.64.1.10"]),
            (r#"[["10.64.1.10~"]]"#, &["request_ip_range[0][0]", "10.64.1.10~"]),
            (r#"[["~10.64.1.10"]]"#, &["request_ip_range[0][0]", "~10.64.1.10"]),
            (r#"[["~"]]"#, &["request_ip_range[0][0]", "\"~\""]),
            (r#"[["10.64.1.20~10.64.1.10"]]"#, &["request_ip_range[0][0]", "write 10.64.1.10~10.64.1.20"]),
            (r#"[["10.64.1.10~10.64.1.20~10.64.1.30"]]"#, &["request_ip_range[0][0]", "10.64.1.20~10.64.1.30"]),
            (r#"[["10.64.1.10-10.64.1.20"]]"#, &["10.64.1.10-10.64.1.20", "with `~`"]),
            (r#"[["10.64.1.0/24"]]"#, &["10.64.1.0/24", "not a CIDR"]),
            (r#"[["10.64.1.10,10.64.1.11"]]"#, &["10.64.1.10,10.64.1.11", "a string of its own"]),
            (r#"[[" 10.64.1.10"]]"#, &["\" 10.64.1.10\"", "without spaces"]),
            (r#"[["１0.64.1.10"]]"#, &["request_ip_range[0][0]", "１0.64.1.10"]),
            (r#"[["10.64.1.10\u0000"]]"#, &["request_ip_range[0][0]", r"10.64.1.10\0"]),
            (r#"[["fd00::zz"]]"#, &["request_ip_range[0][0]", "fd00::zz"]),
            (r#"[["fe80::1%eth0"]]"#, &["request_ip_range[0][0]", "fe80::1%eth0"]),
            (r#"[["fd00::2~fd00::1"]]"#, &["fd00::2~fd00::1", "ends before it begins"]),
            (r#"[["fd00::10~10.64.1.10"]]"#, &["fd00::10~10.64.1.10", "one family"]),
            (r#"[["::ffff:10.64.1.10"]]"#, &["::ffff:10.64.1.10", "write 10.64.1.10"]),
        ]
        .map(|(text, parts)| (ranges(text), parts)),
    );
    let lists = vec![["10.64.1.10"]; 33];
    rows.push((ranges(&json!(lists).to_string()), &["request_ip_range has 33 lists"]));
    let alternatives = [vec!["10.64.1.10"; 10_001]];
    rows.push((ranges(&json!(alternatives).to_string()), &["request_ip_range has 10001 ranges"]));
    rows.push((ranges(&json!([["1".repeat(100_000)]]).to_string()), &["request_ip_range[0][0]", "1111"]));
    rows.push((ranges(&format!("[[{}{}]]", "[".repeat(5_000), "]".repeat(5_000))), &["request_ip_range[0][0]", "[[["]));
    rows.push(("[".repeat(5_000), &["not a JSON object", "[[["]));
    rows
}

/// Policies that these pods cannot have, and what the error must have.
async fn policies(table: &Table) -> Result<Vec<(Workload, &'static [&'static str])>> {
    let owner =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "odd-owner", "namespace": "default"}});
    let owner = table.c.create("configmaps", &owner).await?;
    let one = |name: &str| Workload::pod(name);
    Ok(vec![
        (one("bare").immutable(), &["release policy immutable", "default/bare", "no controller"]),
        (one("bare-1").immutable(), &["release policy immutable", "default/bare-1", "no controller"]),
        (one("no-index").never(), &["release policy never", "default/no-index", "-<integer>"]),
        (one("42").never(), &["release policy never", "default/42", "-<integer>"]),
        (one("index-1a").never(), &["release policy never", "default/index-1a", "-<integer>"]),
        (one("huge-99999999999999999999999").never(), &["release policy never", "huge-99999999999999999999999"]),
        (
            one("pooled").pool("Not A Pool!"),
            &["release policy never of pool", "Not A Pool!", "default/pooled", "-<integer>"],
        ),
        (
            Workload::deployment("ranged").immutable().ranges(&json!([["10.64.1.10"]])),
            &["release policy immutable", "request_ip_range"],
        ),
        (one("odd-owned").owner(&owner, true).immutable(), &["release policy immutable", "default/odd-owned"]),
        (one("odd-listed").owner(&owner, false).never(), &["release policy never", "default/odd-listed"]),
    ])
}
