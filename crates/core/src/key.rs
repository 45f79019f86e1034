//! The key strings of `FloatingIP` objects (`spec.key`).
//!
//! ```text
//! key     = ""                            free
//!         | "pool__" POOL "_"             reserved in a pool
//!         | "pool__" POOL "_" appkey      owned by a pod of a workload that uses the pool
//!         | appkey
//! appkey  = PREFIX NAMESPACE "_" APP "_" [ POD ]      no POD: reserved for the workload
//! PREFIX  = "dp_" | "sts_" | "NULL_" | lowercase(owner kind) "_"
//! ```
//!
//! New objects carry typed owner fields; keys are written for old readers and the HTTP API, and parsed only for old objects.
//! A pool name that contains `_` does not survive parsing: the grammar has no escape.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

const POOL: &str = "pool__";
const DEPLOYMENT: &str = "dp_";
const STATEFUL_SET: &str = "sts_";
const BARE: &str = "NULL_";
/// The workload name in the key of a pod without a workload.
pub const BARE_APP: &str = "NULL";

/// What kind of workload a key names, as far as its prefix tells.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AppKind {
    /// `dp_`
    Deployment,
    /// `sts_`
    StatefulSet,
    /// A ReplicaSet without a Deployment. Its prefix is `replicasets_`: the original used `dp_` with a shortened name,
    /// so that its pods took the addresses of a Deployment that happened to have that name.
    ReplicaSet,
    /// `NULL_`, a pod without a workload.
    Bare,
    /// Any other kind, in lower case.
    Other(String),
}

impl AppKind {
    /// The kind of workload that an owner's `kind` names. A ReplicaSet is the workload only if no Deployment owns it.
    pub fn of_owner(kind: &str) -> Self {
        match kind.to_lowercase() {
            kind if kind == "deployment" => AppKind::Deployment,
            kind if kind == "statefulset" => AppKind::StatefulSet,
            kind if kind == "replicaset" => AppKind::ReplicaSet,
            kind => AppKind::Other(kind),
        }
    }

    /// The kind that a prefix stands for; none for an empty prefix.
    pub fn of_prefix(prefix: &str) -> Option<Self> {
        match prefix {
            DEPLOYMENT => Some(AppKind::Deployment),
            STATEFUL_SET => Some(AppKind::StatefulSet),
            BARE => Some(AppKind::Bare),
            "replicasets_" => Some(AppKind::ReplicaSet),
            other => {
                other.strip_suffix('_').filter(|kind| !kind.is_empty()).map(|kind| AppKind::Other(kind.to_owned()))
            }
        }
    }

    /// The key prefix, with its closing `_`.
    pub fn prefix(&self) -> String {
        match self {
            AppKind::Deployment => DEPLOYMENT.to_owned(),
            AppKind::StatefulSet => STATEFUL_SET.to_owned(),
            AppKind::ReplicaSet => "replicasets_".to_owned(),
            AppKind::Bare => BARE.to_owned(),
            AppKind::Other(kind) => format!("{kind}_"),
        }
    }
}

/// The key prefix for an `appType` of the HTTP API.
///
/// Singular and plural, in any case, name Deployments and StatefulSets; empty means StatefulSet, as documented. `NULL`
/// names bare pods exactly as a list shows them (in lower case it would be a kind called `null`). `replicaset` has always
/// meant Deployment here; ReplicaSets of their own are shown and found as `replicasets`.
pub fn prefix_for_app_type(app_type: &str) -> String {
    if app_type == BARE_APP {
        return BARE.to_owned();
    }
    match app_type.to_lowercase().as_str() {
        "" | "statefulset" | "statefulsets" => STATEFUL_SET.to_owned(),
        "deployment" | "deployments" | "replicaset" => DEPLOYMENT.to_owned(),
        other => format!("{other}_"),
    }
}

/// The `appType` that the HTTP API shows for a key prefix; [`prefix_for_app_type`] takes it back.
pub fn app_type_for_prefix(prefix: &str) -> &str {
    match prefix {
        DEPLOYMENT => "deployment",
        STATEFUL_SET => "statefulset",
        other => other.strip_suffix('_').unwrap_or(other),
    }
}

/// A key in its parts. Empty parts are parts the key does not have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FipKey {
    /// Pool; never `Some("")`.
    pub pool: Option<String>,
    /// Prefix of the workload's kind with its closing `_`, such as `dp_`.
    pub prefix: String,
    /// Namespace of workload and pod.
    pub namespace: String,
    /// Workload name, [`BARE_APP`] for a bare pod.
    pub app: String,
    /// Pod name; empty when reserved for the workload or the pool.
    pub pod: String,
}

impl FipKey {
    /// The key of a pod's address. An empty `pool` is none.
    pub fn for_pod(pool: Option<&str>, kind: &AppKind, namespace: &str, app: &str, pod: &str) -> Self {
        FipKey {
            pool: some_pool(pool),
            prefix: kind.prefix(),
            namespace: namespace.to_owned(),
            app: app.to_owned(),
            pod: pod.to_owned(),
        }
    }

    /// The key of a bare pod's address: `NULL_ns_NULL_pod`.
    pub fn for_bare_pod(pool: Option<&str>, namespace: &str, pod: &str) -> Self {
        FipKey::for_pod(pool, &AppKind::Bare, namespace, BARE_APP, pod)
    }

    /// The key of an address reserved for a workload: `dp_ns_app_`.
    pub fn for_app(kind: &AppKind, namespace: &str, app: &str) -> Self {
        FipKey::for_pod(None, kind, namespace, app, "")
    }

    /// The key of an address reserved in a pool: `pool__blue_`.
    pub fn for_pool(pool: &str) -> Self {
        FipKey { pool: some_pool(Some(pool)), ..FipKey::default() }
    }

    /// The key of an address that this one leaves reserved: of the pool if there is one, else of the workload.
    pub fn reserved(&self) -> Self {
        match &self.pool {
            Some(pool) => FipKey::for_pool(pool),
            None => FipKey { pod: String::new(), ..self.clone() },
        }
    }

    /// Parses a key. What does not follow the grammar leaves its parts empty, see [`FipKey::is_empty`].
    pub fn parse(key: &str) -> Self {
        let (pool, app_key) = match key.strip_prefix(POOL) {
            Some(rest) => match rest.split_once('_') {
                Some((pool, app_key)) => (some_pool(Some(pool)), app_key),
                None => return FipKey::default(),
            },
            None => (None, key),
        };
        let mut parts = app_key.split('_');
        let split = [parts.next(), parts.next(), parts.next(), parts.next(), parts.next()];
        match split {
            [Some(prefix), Some(namespace), Some(app), Some(pod), None] => FipKey {
                pool,
                prefix: format!("{prefix}_"),
                namespace: namespace.to_owned(),
                app: app.to_owned(),
                pod: pod.to_owned(),
            },
            _ => FipKey { pool, ..FipKey::default() },
        }
    }

    /// The key that the HTTP API means by these parts: the pool alone if no app is given (namespace and pod do not
    /// count then), nothing if neither pool, app nor namespace is given, else all parts, empty ones left empty.
    pub fn from_parts(pool: &str, app_type: &str, namespace: &str, app: &str, pod: &str) -> Self {
        let pool = some_pool(Some(pool));
        if app.is_empty() && (pool.is_some() || namespace.is_empty()) {
            return FipKey { pool, ..FipKey::default() };
        }
        FipKey {
            pool,
            prefix: prefix_for_app_type(app_type),
            namespace: namespace.to_owned(),
            app: app.to_owned(),
            pod: pod.to_owned(),
        }
    }

    /// The workload's kind; none if the key names no workload.
    pub fn kind(&self) -> Option<AppKind> {
        AppKind::of_prefix(&self.prefix)
    }

    /// The `appType` that the HTTP API shows.
    pub fn app_type(&self) -> &str {
        app_type_for_prefix(&self.prefix)
    }

    /// Whether the key has no part at all.
    pub fn is_empty(&self) -> bool {
        self.pool.is_none() && !self.has_app()
    }

    /// Whether the key has a workload part, with or without a pod.
    fn has_app(&self) -> bool {
        !(self.prefix.is_empty() && self.namespace.is_empty() && self.app.is_empty() && self.pod.is_empty())
    }
}

fn some_pool(pool: Option<&str>) -> Option<String> {
    pool.filter(|pool| !pool.is_empty()).map(str::to_owned)
}

impl FromStr for FipKey {
    type Err = Infallible;

    fn from_str(key: &str) -> Result<Self, Infallible> {
        Ok(FipKey::parse(key))
    }
}

impl fmt::Display for FipKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(pool) = &self.pool {
            write!(f, "{POOL}{pool}_")?;
        }
        if self.has_app() {
            write!(f, "{}{}_{}_{}", self.prefix, self.namespace, self.app, self.pod)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn examples_of_the_contract() {
        // key, pool, prefix, namespace, app, pod, appType
        for (key, pool, prefix, namespace, app, pod, app_type) in [
            ("", "", "", "", "", "", ""),
            ("dp_shop_web_web-7c9d-x2k4p", "", "dp_", "shop", "web", "web-7c9d-x2k4p", "deployment"),
            ("dp_shop_web_", "", "dp_", "shop", "web", "", "deployment"),
            ("sts_shop_cart_cart-2", "", "sts_", "shop", "cart", "cart-2", "statefulset"),
            ("tapp_ns1_demo_demo-1", "", "tapp_", "ns1", "demo", "demo-1", "tapp"),
            ("NULL_ns1_NULL_pod1", "", "NULL_", "ns1", "NULL", "pod1", "NULL"),
            ("pool__blue_", "blue", "", "", "", "", ""),
            ("pool__blue_dp_shop_web_web-7c9d-x2k4p", "blue", "dp_", "shop", "web", "web-7c9d-x2k4p", "deployment"),
            ("pool__blue_sts_shop_cart_cart-2", "blue", "sts_", "shop", "cart", "cart-2", "statefulset"),
            ("pool__reserved-for-node_", "reserved-for-node", "", "", "", "", ""),
        ] {
            let parsed = FipKey::parse(key);
            assert_eq!(parsed.pool.as_deref().unwrap_or(""), pool, "{key}");
            assert_eq!((&*parsed.prefix, &*parsed.namespace), (prefix, namespace), "{key}");
            assert_eq!((&*parsed.app, &*parsed.pod, parsed.app_type()), (app, pod, app_type), "{key}");
            assert_eq!(parsed.to_string(), key);
            assert_eq!(FipKey::from_parts(pool, app_type, namespace, app, pod), parsed, "as the API sends it back");
        }
    }

    #[test]
    fn what_is_not_a_key_has_empty_parts() {
        for (key, pool) in [
            ("nonsense", None),
            ("dp_shop_web", None),
            ("dp_shop_web_pod_more", None),
            ("pool__blue", None),
            ("pool__", None),
            ("pool___", None),
            ("pool__a_b_dp_shop_web_pod", Some("a")),
            ("pool__blue_nonsense", Some("blue")),
            ("____________", None),
        ] {
            let parsed = FipKey::parse(key);
            assert_eq!(parsed, FipKey { pool: pool.map(str::to_owned), ..FipKey::default() }, "{key}");
            assert_eq!(parsed.is_empty(), pool.is_none(), "{key}");
        }
    }

    #[test]
    fn keys_of_pods_and_what_they_leave_reserved() {
        let web = FipKey::for_pod(None, &AppKind::of_owner("Deployment"), "shop", "web", "web-7c9d-x2k4p");
        assert_eq!(web.to_string(), "dp_shop_web_web-7c9d-x2k4p");
        assert_eq!(web.reserved().to_string(), "dp_shop_web_");
        assert_eq!(web.reserved(), FipKey::for_app(&AppKind::Deployment, "shop", "web"));

        let cart = FipKey::for_pod(Some("blue"), &AppKind::of_owner("StatefulSet"), "shop", "cart", "cart-2");
        assert_eq!(cart.to_string(), "pool__blue_sts_shop_cart_cart-2");
        assert_eq!(cart.reserved().to_string(), "pool__blue_");

        let tapp = FipKey::for_pod(Some(""), &AppKind::of_owner("TApp"), "ns1", "demo", "demo-1");
        assert_eq!(tapp.to_string(), "tapp_ns1_demo_demo-1");
        assert_eq!(FipKey::for_bare_pod(None, "ns1", "pod1").to_string(), "NULL_ns1_NULL_pod1");

        let lone = FipKey::for_pod(None, &AppKind::of_owner("ReplicaSet"), "shop", "web-5d", "web-5d-x2k4p");
        assert_ne!(lone.kind(), Some(AppKind::Deployment), "a ReplicaSet of its own is a workload of its own");
    }

    #[test]
    fn app_types() {
        for (app_type, prefix) in [
            ("statefulset", "sts_"),
            ("StatefulSets", "sts_"),
            ("", "sts_"),
            ("replicaset", "dp_"),
            ("deployment", "dp_"),
            ("deployments", "dp_"),
            ("Deployments", "dp_"),
            ("TApp", "tapp_"),
            ("NULL", "NULL_"),
            ("null", "null_"),
            ("replicasets", "replicasets_"),
        ] {
            assert_eq!(prefix_for_app_type(app_type), prefix);
        }
        for kind in [
            AppKind::Deployment,
            AppKind::StatefulSet,
            AppKind::ReplicaSet,
            AppKind::Bare,
            AppKind::Other("tapp".into()),
            AppKind::Other("null".into()),
        ] {
            assert_eq!(prefix_for_app_type(app_type_for_prefix(&kind.prefix())), kind.prefix());
            assert_eq!(AppKind::of_prefix(&kind.prefix()), Some(kind));
        }
        assert_eq!(AppKind::of_prefix(""), None);
        assert_eq!(AppKind::of_prefix("_"), None);
    }

    #[test]
    fn keys_from_parts_of_a_query() {
        for (pool, app_type, namespace, app, pod, key) in [
            ("blue", "deployment", "shop", "", "web-1", "pool__blue_"),
            ("", "statefulset", "", "", "cart-1", ""),
            ("", "statefulset", "shop", "", "", "sts_shop__"),
            ("", "", "shop", "", "", "sts_shop__"),
            ("", "statefulset", "", "cart", "", "sts__cart_"),
            ("", "deployments", "shop", "web", "", "dp_shop_web_"),
            ("blue", "tapp", "ns1", "demo", "demo-1", "pool__blue_tapp_ns1_demo_demo-1"),
            ("", "NULL", "ns1", "NULL", "pod1", "NULL_ns1_NULL_pod1"),
        ] {
            assert_eq!(FipKey::from_parts(pool, app_type, namespace, app, pod).to_string(), key);
        }
    }

    proptest! {
        #[test]
        fn names_without_underscores_round_trip(
            pool in proptest::option::of("[a-z0-9.-]{1,9}"),
            kind in prop_oneof!["Deployment", "StatefulSet", "ReplicaSet", "[A-Z][a-z]{1,8}"],
            namespace in "[a-z0-9-]{1,9}", app in "[a-z0-9.-]{1,9}", pod in "[a-z0-9.-]{0,9}",
        ) {
            let key = FipKey::for_pod(pool.as_deref(), &AppKind::of_owner(&kind), &namespace, &app, &pod);
            prop_assert_eq!(FipKey::parse(&key.to_string()), key.clone());
            let back = FipKey::from_parts(pool.as_deref().unwrap_or(""), key.app_type(), &namespace, &app, &pod);
            prop_assert_eq!(back, key);
        }

        #[test]
        fn any_text_parses_and_a_parsed_key_is_stable(text in "(pool__)?[a-zN_-]{0,24}") {
            let key = FipKey::parse(&text);
            if !key.to_string().starts_with("pool__") || key.pool.is_some() {
                prop_assert_eq!(FipKey::parse(&key.to_string()), key);
            }
        }
    }
}
