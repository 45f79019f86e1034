//! The ConfigMap with the address pools.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::core::{ApiResource, ObjectMeta};
use serde_json::Value;
use tokio::sync::watch;

use super::{Feed, Following, Object, Slim};
use crate::config::{Configuration, Source};
use crate::metrics::Metrics;

/// The data of the one ConfigMap.
#[derive(Debug, Clone)]
pub(crate) struct Data(std::collections::BTreeMap<String, String>);

impl Slim for Data {
    fn read(_: &ObjectMeta, object: Value) -> Result<Self, String> {
        let map: ConfigMap = serde_json::from_value(object).map_err(|error| error.to_string())?;
        Ok(Data(map.data.unwrap_or_default()))
    }
}

struct Documents {
    configuration: Arc<Configuration>,
    source: Source,
}

impl Feed for Documents {
    type Item = Data;
    type Key = String;
    type Seen = ();

    fn key(&self, object: &Object<Data>) -> Option<(String, ())> {
        // A server that knows no field selectors sends all of the namespace.
        let name = object.meta.name.clone()?;
        (name == self.source.name).then_some((name, ()))
    }

    fn observed(&mut self, object: Object<Data>) {
        let uid = object.meta.uid.clone();
        match object.item {
            Ok(Data(mut data)) => {
                self.configuration.document(&self.source, uid, data.remove(&self.source.key));
            }
            Err(error) => self.configuration.refuse(&self.source, uid, &error),
        }
    }

    fn gone(&mut self, _: String, (): (), _: Option<Object<Data>>) {
        self.configuration.missing(&self.source);
    }

    fn listed(&mut self) {
        self.configuration.listed(&self.source);
    }
}

/// Applies the ConfigMap's document, and every change of it.
pub(crate) async fn follow_config_map(
    client: Client,
    configuration: Arc<Configuration>,
    source: Source,
    metrics: Arc<Metrics>,
) {
    let following = Following {
        client,
        resource: ApiResource::erase::<ConfigMap>(&()),
        fields: format!("metadata.name={}", source.name),
        namespace: Some(source.namespace.clone()),
        metrics,
    };
    following.follow(Documents { configuration, source }, &watch::Sender::new(false)).await;
}
