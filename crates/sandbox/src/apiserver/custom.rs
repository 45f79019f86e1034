//! One version of a custom resource: its schema at work.

use std::sync::Arc;

use serde_json::Value;

use super::{object::Object, resource::Resource, schema, status::Cause};

/// What a CRD says about one of its versions.
pub(super) struct Custom {
    pub(super) schema: Value,
    /// `additionalPrinterColumns`.
    pub(super) columns: Vec<Value>,
    /// Group and version in which objects are stored.
    pub(super) storage_api_version: String,
    pub(super) has_defaults: bool,
}

impl Custom {
    /// Prunes and fills in defaults; `unknown` receives the names of dropped fields.
    pub(super) fn typed(&self, mut value: Value, unknown: &mut Vec<String>) -> Result<Value, String> {
        let meta: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta =
            serde_path_to_error::deserialize(&value["metadata"])
                .map_err(|e| format!("field \"metadata.{}\": {}", e.path(), e.inner()))?;
        let typed = serde_json::to_value(meta).map_err(|error| error.to_string())?;
        super::kinds::lost("metadata", &value["metadata"], &typed, unknown);
        value["metadata"] = typed;
        schema::prune(&mut value, &self.schema, "", unknown);
        schema::default(&mut value, &self.schema);
        Ok(value)
    }

    pub(super) fn validate(&self, value: &Value, causes: &mut Vec<Cause>) {
        super::rules::metadata(&value["metadata"], causes);
        schema::validate(value, &self.schema, "", causes);
    }

    /// A stored object in this version; conversion changes nothing but `apiVersion`.
    pub(super) fn served(&self, resource: &Resource, stored: &Object) -> Object {
        let version = resource.api_version();
        if !self.has_defaults && stored["apiVersion"] == version {
            return stored.clone();
        }
        let mut value = (**stored).clone();
        value["apiVersion"] = version.into();
        schema::default(&mut value, &self.schema);
        if value == **stored { stored.clone() } else { Arc::new(value) }
    }
}
