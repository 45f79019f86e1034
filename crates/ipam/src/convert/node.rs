//! Nodes.

use std::net::IpAddr;

use galaxy_api::names::OUT_OF_SERVICE_TAINT;
use galaxy_core::Family;
use galaxy_core::ledger::NodeView;
use k8s_openapi::api::core::v1::Node;

/// A node as the ledger knows it.
pub(crate) fn node_view(node: &Node) -> NodeView {
    let status = node.status.as_ref();
    let addresses = status.and_then(|status| status.addresses.as_deref()).unwrap_or_default();
    let internal = addresses.iter().filter(|address| address.type_ == "InternalIP");
    let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready");
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    NodeView {
        name: node.metadata.name.as_deref().unwrap_or_default().into(),
        ips: first_of_each_family(internal.filter_map(|address| address.address.parse().ok())),
        ready: ready.is_none_or(|condition| condition.status == "True"),
        out_of_service: taints.iter().any(|taint| taint.key == OUT_OF_SERVICE_TAINT),
    }
}

/// The first address of each family, in the order given.
pub(crate) fn first_of_each_family(ips: impl IntoIterator<Item = IpAddr>) -> Vec<IpAddr> {
    let mut first: Vec<IpAddr> = Vec::with_capacity(1);
    for ip in ips {
        if !first.iter().any(|known| Family::of(*known) == Family::of(ip)) {
            first.push(ip);
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(json: serde_json::Value) -> NodeView {
        node_view(&serde_json::from_value(json).unwrap())
    }

    #[test]
    fn the_first_internal_address_of_each_family_counts() {
        let view = node(serde_json::json!({"metadata": {"name": "n1"}, "status": {"addresses": [
            {"type": "Hostname", "address": "n1"}, {"type": "ExternalIP", "address": "1.2.3.4"},
            {"type": "InternalIP", "address": "not an address"}, {"type": "InternalIP", "address": "fd00::1"},
            {"type": "InternalIP", "address": "10.0.0.1"}, {"type": "InternalIP", "address": "10.0.0.2"}]}}));
        assert_eq!(view.ips, ["fd00::1".parse::<IpAddr>().unwrap(), "10.0.0.1".parse().unwrap()]);
        assert!(view.ready, "a node without a Ready condition counts as ready");
        assert!(!view.out_of_service);
    }

    #[test]
    fn readiness_and_the_taint() {
        for (status, ready) in [("True", true), ("False", false), ("Unknown", false)] {
            let view = node(serde_json::json!({
                "spec": {"taints": [{"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}]},
                "status": {"conditions": [{"type": "Ready", "status": status}]}}));
            assert_eq!(view.ready, ready, "{status}");
            assert!(view.out_of_service);
        }
    }
}
