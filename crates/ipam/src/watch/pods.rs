//! Pods.

use std::sync::Arc;

use galaxy_api::pod::PodView as WirePod;
use galaxy_core::ledger::Uid;
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
pub(crate) struct Pods(pub(crate) Arc<Engine>);

impl Pods {
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
            self.0.pod_observed(&pod);
        }
    }

    fn gone(&mut self, uid: Uid, (): (), last: Option<Object<WirePod>>) {
        // Its last state says how it ended.
        if let Some(pod) = last.and_then(|object| object.item.ok()) {
            self.0.pod_observed(&pod);
        }
        self.0.pod_gone(&uid);
    }
}
