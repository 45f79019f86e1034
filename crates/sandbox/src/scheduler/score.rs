//! Which of the nodes that can take a pod suits it best.

use std::collections::BTreeMap;

use super::cache::{NodeInfo, PodInfo};
use crate::control::meta::Meta;

/// What a pod that asks for nothing is taken to use, so that such pods spread too: 100m CPU and 200 MiB, in thousandths.
const UNSTATED: [(&str, i128); 2] = [("cpu", 100), ("memory", 200 * 1024 * 1024 * 1000)];

/// 0 to 400 for each node, in their order: the free share (0–100), the balance between resources (0–100), and how few pods of the
/// same controller it has (0–200).
pub fn scores(pod: &PodInfo, nodes: &[&NodeInfo]) -> Vec<i64> {
    let siblings: Vec<i64> = nodes.iter().map(|node| siblings(pod, node)).collect();
    let most = siblings.iter().copied().max().unwrap_or(0);
    let spread = |siblings: i64| match most {
        0 => 200,
        most => 200 * (most - siblings) / most,
    };
    nodes.iter().zip(&siblings).map(|(node, siblings)| room(pod, node) + spread(*siblings)).collect()
}

fn siblings(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let Some(owner) = pod.pod.controller_uid() else { return 0 };
    let same = node.pods.values().filter(|other| other.pod.controller_uid() == Some(owner));
    i64::try_from(same.count()).unwrap_or(i64::MAX)
}

fn room(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let fractions = UNSTATED.map(|(name, unstated)| {
        let asked = |requests: &BTreeMap<String, i128>| match requests.get(name) {
            None | Some(0) => unstated,
            Some(amount) => *amount,
        };
        let used = asked(&pod.requests) + node.pods.values().map(|other| asked(&other.requests)).sum::<i128>();
        match node.allocatable.get(name).copied().unwrap_or(0) {
            0 => 1000,
            all => i64::try_from(used.saturating_mul(1000) / all).unwrap_or(1000).clamp(0, 1000),
        }
    });
    let [cpu, memory] = fractions;
    let free = (2000 - cpu - memory) / 20;
    let balance = 100 - (cpu - memory).abs() / 20;
    free + balance
}
