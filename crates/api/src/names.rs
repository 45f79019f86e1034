//! Names that users, manifests and other programs know. None of them may change.

/// Extended resource that a pod requests to get a floating IP. The quantity does not matter.
pub const RESOURCE: &str = "tke.cloud.tencent.com/eni-ip";

/// Pod annotation: name of the pool that the pod's addresses come from.
pub const POOL_ANNOTATION: &str = "tke.cloud.tencent.com/eni-ip-pool";
/// Pod annotation: release policy, `immutable` or `never`.
pub const RELEASE_POLICY_ANNOTATION: &str = "k8s.v1.cni.galaxy.io/release-policy";
/// Pod annotation: requested ranges in, addresses out.
pub const ARGS_ANNOTATION: &str = "k8s.v1.cni.galaxy.io/args";
/// Pod annotation: networks to attach, as in Multus.
pub const NETWORKS_ANNOTATION: &str = "k8s.v1.cni.cncf.io/networks";
/// Pod annotation: random host ports.
pub const PORT_MAPPING_ANNOTATION: &str = "tkestack.io/portmapping";
/// Annotation of a Deployment or its pod template: how many spare addresses a rollout may use; `"0"` for none.
pub const SPARE_ADDRESSES_ANNOTATION: &str = "galaxy.k8s.io/spare-addresses";
/// Pod annotation: `replace` gives the successor of a pod on a dead node another address.
pub const ON_NODE_FAILURE_ANNOTATION: &str = "galaxy.k8s.io/on-node-failure";
/// The value of [`ON_NODE_FAILURE_ANNOTATION`] that trades identity for availability.
pub const ON_NODE_FAILURE_REPLACE: &str = "replace";
/// Pod annotation written by `--wake=annotation` where a status change does not requeue a pod.
pub const WAKE_ANNOTATION: &str = "galaxy.k8s.io/wake";

/// The pod annotations that decide about addresses: all that a slim pod record keeps.
pub const POD_ANNOTATIONS: [&str; 5] = [
    POOL_ANNOTATION,
    RELEASE_POLICY_ANNOTATION,
    ARGS_ANNOTATION,
    SPARE_ADDRESSES_ANNOTATION,
    ON_NODE_FAILURE_ANNOTATION,
];

/// Pod condition that tells why a pod waits for a floating IP.
pub const POD_CONDITION: &str = "galaxy.k8s.io/FloatingIP";
/// Label of a `FloatingIP` object that an administrator reserved; any value.
pub const RESERVED_LABEL: &str = "reserved";
/// Key in `CNI_ARGS` that carries the addresses.
pub const CNI_ARGS_IPINFOS: &str = "ipinfos";

/// API group of the custom resources.
pub const API_GROUP: &str = "galaxy.k8s.io";
/// API version of the custom resources.
pub const API_VERSION: &str = "v1alpha1";
/// Name of the FloatingIP resource definition.
pub const FLOATING_IP_CRD: &str = "floatingips.galaxy.k8s.io";
/// Name of the Pool resource definition.
pub const POOL_CRD: &str = "pools.galaxy.k8s.io";
/// Annotation that API servers demand on definitions in groups ending in `k8s.io`.
pub const API_APPROVED_ANNOTATION: &str = "api-approved.kubernetes.io";
/// Value of [`API_APPROVED_ANNOTATION`].
pub const API_APPROVED_VALUE: &str = "unapproved, kept for compatibility with galaxy";

/// Namespace of the ConfigMap, of the leader lock, and of pools made by HTTP.
pub const SYSTEM_NAMESPACE: &str = "kube-system";
/// Default name of the ConfigMap with the address pools.
pub const CONFIG_MAP: &str = "floatingip-config";
/// Default data key in [`CONFIG_MAP`].
pub const CONFIG_MAP_KEY: &str = "floatingips";
/// Name of the leader lock.
pub const LEADER_LOCK: &str = "galaxy-ipam";
/// Annotation of the leader lock: base URL of the leader's extender.
pub const EXTENDER_URL_ANNOTATION: &str = "galaxy.k8s.io/extender-url";
/// Annotation of the leader lock: base URL of the leader's HTTP API.
pub const API_URL_ANNOTATION: &str = "galaxy.k8s.io/api-url";

/// Taint that declares a node's pods dead.
pub const OUT_OF_SERVICE_TAINT: &str = "node.kubernetes.io/out-of-service";
/// Annotation by which the Deployment controller numbers its ReplicaSets.
pub const REVISION_ANNOTATION: &str = "deployment.kubernetes.io/revision";

/// Longest name of an object, in bytes.
pub const MAX_NAME_BYTES: usize = 253;

/// Whether an object may be called so: a lower-case DNS name of letters, digits, `-` and `.`.
pub fn is_name(name: &str) -> bool {
    let edge = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let label = |label: &str| {
        let bytes = label.as_bytes();
        bytes.first().is_some_and(edge)
            && bytes.last().is_some_and(edge)
            && bytes.iter().all(|byte| edge(byte) || *byte == b'-')
    };
    name.len() <= MAX_NAME_BYTES && name.split('.').all(label)
}
