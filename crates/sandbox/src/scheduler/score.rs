//! Which of the nodes that can take a pod suits it best.

use std::{
    collections::BTreeMap,
    ops::{AddAssign, SubAssign},
};

use super::cache::{NodeInfo, PodInfo};
use crate::control::meta::Meta;

/// What a pod that asks for nothing is taken to use, so that such pods spread too: 100m CPU and 200 MiB, in thousandths.
const UNSTATED: Weight = Weight { cpu: 100, memory: 200 * 1024 * 1024 * 1000 };

/// CPU and memory, in thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    cpu: i128,
    memory: i128,
}

impl AddAssign for Weight {
    fn add_assign(&mut self, other: Self) {
        self.cpu += other.cpu;
        self.memory += other.memory;
    }
}

impl SubAssign for Weight {
    fn sub_assign(&mut self, other: Self) {
        self.cpu -= other.cpu;
        self.memory -= other.memory;
    }
}

/// What a pod with these requests is taken to use.
pub fn weight(requests: &BTreeMap<String, i128>) -> Weight {
    let asked = |name: &str, unstated| requests.get(name).copied().filter(|amount| *amount > 0).unwrap_or(unstated);
    Weight { cpu: asked("cpu", UNSTATED.cpu), memory: asked("memory", UNSTATED.memory) }
}

/// 0 to 400 for each node, in their order: the free share (0–100), the balance between resources (0–100), and how few pods of the
/// same controller it has (0–200).
pub fn scores(pod: &PodInfo, nodes: &[&NodeInfo]) -> Vec<i64> {
    let owner = pod.pod.controller_uid();
    let siblings = |node: &NodeInfo| owner.and_then(|owner| node.controllers.get(owner)).copied().unwrap_or(0);
    let most = nodes.iter().map(|node| siblings(node)).max().unwrap_or(0);
    let spread = |node: &NodeInfo| match most {
        0 => 200,
        most => 200 * (most - siblings(node)) / most,
    };
    nodes.iter().map(|node| room(pod, node) + spread(node)).collect()
}

fn room(pod: &PodInfo, node: &NodeInfo) -> i64 {
    // In thousandths of the node.
    let share = |name: &str, used: i128| match node.allocatable.get(name).copied().unwrap_or(0) {
        0 => 1000,
        all => i64::try_from(used.saturating_mul(1000) / all).unwrap_or(1000).clamp(0, 1000),
    };
    let cpu = share("cpu", pod.weight.cpu + node.weight.cpu);
    let memory = share("memory", pod.weight.memory + node.weight.memory);
    let free = (2000 - cpu - memory) / 20;
    let balance = 100 - (cpu - memory).abs() / 20;
    free + balance
}
