//! Pods.

use std::collections::HashSet;
use std::sync::Arc;

use galaxy_api::names;
use galaxy_api::pod::PodView as WirePod;
use galaxy_core::ledger::{Notice, PodRef, Uid};
use k8s_openapi::api::core::v1::Pod;
use kube::core::{ApiResource, ObjectMeta};
use serde::Deserialize;
use serde_json::Value;

use super::{Feed, Object, Slim};
use crate::convert;
use crate::engine::Engine;

impl Slim for WirePod {
    fn read(_: &ObjectMeta, object: Value) -> Result<Self, String> {
        WirePod::deserialize(object).map_err(|error| error.to_string())
    }
}

/// Feeds pods that want floating addresses.
pub(crate) struct Pods {
    engine: Arc<Engine>,
    /// Pods that were told that their release policy is no such word.
    told: HashSet<Uid>,
}

impl Pods {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Pods { engine, told: HashSet::new() }
    }

    /// Tells a pod once that its release policy means nothing. It is served all the same, as ever.
    fn check_policy(&mut self, pod: &WirePod) {
        let Some(unknown) = pod.unknown_release_policy() else { return };
        if self.engine.is_active() && !pod.is_finished() && self.told.insert(Uid::from(pod.uid.as_str())) {
            let message = format!("annotation {}: {unknown}", names::RELEASE_POLICY_ANNOTATION);
            let pod = PodRef {
                namespace: pod.namespace.as_str().into(),
                name: pod.name.as_str().into(),
                uid: pod.uid.as_str().into(),
            };
            self.engine.notify(Notice::PodEvent { pod, warning: true, reason: "UnknownReleasePolicy", message });
        }
    }

    pub(crate) fn resource() -> ApiResource {
        ApiResource::erase::<Pod>(&())
    }
}

impl Feed for Pods {
    type Item = WirePod;
    type Key = Uid;
    type Seen = ();

    fn key(&self, object: &Object<WirePod>) -> Option<(Uid, ())> {
        // Nobody knows what a pod that cannot be read wants: it is reported with the others and kept out.
        let concerned = object.item.as_ref().map_or(true, |pod| pod.wants_floating_ip);
        concerned.then(|| (convert::uid(&object.meta), ()))
    }

    fn observed(&mut self, object: Object<WirePod>) {
        if let Some(pod) = object.item("Pod") {
            self.engine.pod_observed(&pod);
            self.check_policy(&pod);
        }
    }

    fn gone(&mut self, uid: Uid, (): (), last: Option<Object<WirePod>>) {
        // Its last state says how it ended.
        if let Some(pod) = last.and_then(|object| object.item.ok()) {
            self.engine.pod_observed(&pod);
        }
        self.engine.pod_gone(&uid);
        self.told.remove(&uid);
    }
}
