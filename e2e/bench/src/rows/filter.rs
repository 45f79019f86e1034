//! Filters of all nodes over HTTP, by name and as whole objects.

use std::time::Instant;

use anyhow::{Result, ensure};
use bytes::Bytes;
use k8s_openapi::api::core::v1::{Node, Pod as KubePod};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    Scale,
    ground::{Ground, RESOURCE},
    objects::{self, node_name},
    report::{Report, Target, Times},
};

const NAMES_CALLS: usize = 1_000;
const WHOLE_CALLS: usize = 40;

/// The body as a handler in the plainest style would decode it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Plain {
    #[expect(dead_code, reason = "only read")]
    pod: KubePod,
    nodes: Items,
}

#[derive(Deserialize)]
struct Items {
    items: Vec<Node>,
}

/// A filter call for a pod that nobody knows yet.
pub(crate) fn body(nodes: Value, names: Value) -> Bytes {
    let mut pod = objects::pod("filtered", Some(RESOURCE));
    pod["metadata"]["uid"] = json!("e0000000-0000-4000-8000-000000000000");
    pod["metadata"]["resourceVersion"] = json!("9");
    pod["status"] = json!({"phase": "Pending"});
    json!({"Pod": pod, "Nodes": nodes, "NodeNames": names}).to_string().into()
}

/// A filter call with the first so many nodes by name.
pub(crate) fn names(count: usize) -> Bytes {
    body(Value::Null, (0..count).map(node_name).collect())
}

pub(crate) async fn run(ground: &mut Ground, scale: &Scale, report: &mut Report) -> Result<()> {
    ground.reserve(scale.allocated).await?;
    let mut service = ground.service(&[]).await?;
    let by_name = names(scale.nodes);
    let mut times = Times::default();
    for call in 0..NAMES_CALLS + 20 {
        let begun = Instant::now();
        service.calls.filter(by_name.clone()).await?;
        if call >= 20 {
            times.extend([begun.elapsed()]);
        }
    }
    report.row(
        format!("filter of {} nodes by name over HTTP, p99 in ms", scale.nodes),
        times.percentile(99),
        Target::AtMost(2.0),
        times.text(),
    );
    let nodes: Vec<Value> = (0..scale.nodes).map(objects::node).collect();
    let whole = body(json!({"metadata": {}, "items": nodes}), Value::Null);
    drop(nodes);
    let (mut ours, mut parses) = (Times::default(), Times::default());
    for call in 0..WHOLE_CALLS + 2 {
        let begun = Instant::now();
        let answer = service.calls.filter(whole.clone()).await?;
        let took = begun.elapsed();
        ensure!(answer.len() * 2 > whole.len(), "not all nodes pass");
        drop(answer);
        let begun = Instant::now();
        let parsed: Plain = serde_json::from_slice(&whole)?;
        let parse = begun.elapsed();
        ensure!(parsed.nodes.items.len() == scale.nodes, "nodes are missing");
        if call >= 2 {
            ours.extend([took]);
            parses.extend([parse]);
        }
    }
    report.row(
        format!("filter of {} whole nodes over HTTP, p99 ÷ p50 of only parsing", scale.nodes),
        ours.percentile(99) / parses.percentile(50),
        Target::AtMost(1.5),
        format!("{} MB; {}; parsing {}", whole.len() / 1_000_000, ours.text(), parses.text()),
    );
    service.end().await
}
