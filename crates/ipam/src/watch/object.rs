//! A watched object: its metadata and the few members somebody needs.

use std::borrow::Cow;
use std::fmt::Debug;

use kube::Resource;
use kube::core::{ApiResource, DynamicResourceScope, ObjectMeta};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// What is kept of an object of one kind.
pub(crate) trait Slim: Sized + Clone + Debug + Send + 'static {
    /// Reads it from the whole object. The metadata has been read already.
    fn read(meta: &ObjectMeta, object: Value) -> Result<Self, String>;
}

/// An object that was read, or why it could not be.
#[derive(Debug, Clone)]
pub(crate) struct Object<T> {
    pub(crate) meta: ObjectMeta,
    pub(crate) item: Result<T, String>,
}

impl<'de, T: Slim> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Through a value, so that an object that does not fit its kind is one bad object and not a broken stream.
        let mut object = Value::deserialize(deserializer)?;
        if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            meta.remove("managedFields");
        }
        let meta = object.get("metadata").map(ObjectMeta::deserialize);
        let (meta, odd) = match meta {
            Some(Ok(meta)) => (meta, None),
            Some(Err(error)) => (least_meta(&object), Some(format!("metadata: {error}"))),
            None => (ObjectMeta::default(), Some("metadata is missing".to_owned())),
        };
        let item = match odd {
            None => T::read(&meta, object),
            Some(odd) => Err(odd),
        };
        Ok(Object { meta, item })
    }
}

/// The identity of an object whose other metadata cannot be read.
fn least_meta(object: &Value) -> ObjectMeta {
    let text = |member: &str| object["metadata"][member].as_str().map(str::to_owned);
    ObjectMeta {
        name: text("name"),
        namespace: text("namespace"),
        uid: text("uid"),
        resource_version: text("resourceVersion"),
        ..ObjectMeta::default()
    }
}

impl<T> Object<T> {
    /// The slim form; what could not be read is reported and none.
    pub(crate) fn item(self, kind: &str) -> Option<T> {
        match self.item {
            Ok(item) => Some(item),
            Err(error) => {
                let (namespace, name) = (self.meta.namespace.unwrap_or_default(), self.meta.name.unwrap_or_default());
                tracing::warn!(kind, namespace, name, error, "cannot read this object; it is left out");
                None
            }
        }
    }
}

impl<T> Resource for Object<T> {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(resource: &ApiResource) -> Cow<'_, str> {
        resource.kind.as_str().into()
    }

    fn group(resource: &ApiResource) -> Cow<'_, str> {
        resource.group.as_str().into()
    }

    fn version(resource: &ApiResource) -> Cow<'_, str> {
        resource.version.as_str().into()
    }

    fn api_version(resource: &ApiResource) -> Cow<'_, str> {
        resource.api_version.as_str().into()
    }

    fn plural(resource: &ApiResource) -> Cow<'_, str> {
        resource.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}
