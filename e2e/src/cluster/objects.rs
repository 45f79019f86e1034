//! Everything else that an operator writes and reads: configuration, pools, reservations, definitions, events.

use std::sync::PoisonError;

use anyhow::{Context, Result};
use galaxy_api::{FloatingIP, Pool, names};
use k8s_openapi::{
    api::core::v1::{ConfigMap, Event, Namespace},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use super::Cluster;

/// AlreadyExists is as good as made.
fn made<T>(result: kube::Result<T>) -> Result<()> {
    match result {
        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(()),
        result => Ok(result.map(drop)?),
    }
}

impl Cluster {
    /// Makes a namespace if it is not there.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn namespace(&self, name: &str) -> Result<()> {
        let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        made(Api::all(self.client.clone()).create(&PostParams::default(), &namespace).await)
    }

    /// Makes a custom resource definition if it is not there, and waits until its objects are served.
    ///
    /// # Errors
    /// The API server refuses it, or does not establish it.
    pub async fn define(&self, definition: &Value) -> Result<()> {
        let object: CustomResourceDefinition = serde_json::from_value(definition.clone())?;
        let api: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        made(api.create(&PostParams::default(), &object).await)?;
        let name = definition["metadata"]["name"].as_str().context("the definition has no name")?;
        self.poll(format!("{name} is established"), || async {
            let status = api.get(name).await?.status.unwrap_or_default();
            let conditions = status.conditions.unwrap_or_default();
            Ok(conditions.iter().any(|it| it.type_ == "Established" && it.status == "True").then_some(()))
        })
        .await
    }

    /// Creates any object; `plural` is its resource name.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn create(&self, plural: &str, object: &Value) -> kube::Result<DynamicObject> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let api_version = text("/apiVersion");
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let resource = ApiResource {
            group: group.into(),
            version: version.into(),
            api_version: api_version.into(),
            kind: text("/kind").into(),
            plural: plural.into(),
        };
        let api: Api<DynamicObject> = match text("/metadata/namespace") {
            "" => Api::all_with(self.client.clone(), &resource),
            namespace => Api::namespaced_with(self.client.clone(), namespace, &resource),
        };
        let object = serde_json::from_value(object.clone()).map_err(kube::Error::SerdeError)?;
        api.create(&PostParams::default(), &object).await
    }

    fn config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), names::SYSTEM_NAMESPACE)
    }

    /// Writes the document of pools; none removes the key.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn configure_text(&self, document: Option<&str>) -> Result<()> {
        let data = json!({ names::CONFIG_MAP_KEY: document });
        let patch = Patch::Merge(json!({ "data": data }));
        match self.config_maps().patch(names::CONFIG_MAP, &PatchParams::default(), &patch).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {
                let map = json!({"metadata": {"name": names::CONFIG_MAP}, "data": data});
                self.config_maps().create(&PostParams::default(), &serde_json::from_value(map)?).await?;
            }
            result => drop(result?),
        }
        Ok(())
    }

    /// Writes the pools.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn configure(&self, pools: &Value) -> Result<()> {
        self.configure_text(Some(&pools.to_string())).await
    }

    /// Writes the pools and waits until they are in force.
    ///
    /// # Errors
    /// They are not taken.
    pub async fn reconfigure(&self, pools: &Value) -> Result<()> {
        let generation = self.generation().await?;
        self.configure(pools).await?;
        self.poll("the new configuration is in force", || async {
            Ok((self.generation().await? > generation).then_some(()))
        })
        .await
    }

    /// How many configurations have come into force.
    ///
    /// # Errors
    /// galaxy-ipam does not answer.
    pub async fn generation(&self) -> Result<u64> {
        Ok(self.metric("galaxy_ipam_config_generation").await?.unwrap_or_default() as u64)
    }

    /// Writes a document of pools that must be refused, and returns the text of the event that says so.
    ///
    /// # Errors
    /// No such event comes.
    pub async fn refused_configuration(&self, document: &str) -> Result<String> {
        let before = self.events("ConfigMap", names::CONFIG_MAP).await?;
        self.configure_text(Some(document)).await?;
        self.poll(format!("the configuration {document:?} is refused"), || async {
            let now = self.events("ConfigMap", names::CONFIG_MAP).await?;
            let new = now
                .into_iter()
                .find(|(reason, text)| reason == "ConfigurationRefused" && !before.iter().any(|(_, old)| old == text));
            Ok(new.map(|(_, text)| text))
        })
        .await
    }

    /// Reason and message of all events about an object.
    ///
    /// # Errors
    /// The API server does not answer.
    pub async fn events(&self, kind: &str, name: &str) -> Result<Vec<(String, String)>> {
        let events = Api::<Event>::all(self.client.clone()).list(&ListParams::default()).await?.items;
        let about = |event: &Event| {
            let about = &event.involved_object;
            about.kind.as_deref() == Some(kind) && about.name.as_deref() == Some(name)
        };
        let texts = events.into_iter().filter(about);
        Ok(texts.map(|event| (event.reason.unwrap_or_default(), event.message.unwrap_or_default())).collect())
    }

    /// Waits for an event with this reason about an object, and returns its message.
    ///
    /// # Errors
    /// None comes.
    pub async fn event(&self, kind: &str, name: &str, reason: &str) -> Result<String> {
        self.poll(format!("event {reason} about {kind} {name}"), || async {
            let events = self.events(kind, name).await?;
            Ok(events.into_iter().find(|(found, _)| found == reason).map(|(_, message)| message))
        })
        .await
    }

    fn pool_api(&self, namespace: &str) -> Api<Pool> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Makes a Pool object in kube-system, or changes it.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn set_pool(&self, name: &str, size: u32, pre_allocate: bool) -> Result<()> {
        self.set_pool_in(names::SYSTEM_NAMESPACE, name, &json!({"size": size, "preAllocateIP": pre_allocate})).await
    }

    /// Makes a Pool object with these members, or changes it.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn set_pool_in(&self, namespace: &str, name: &str, members: &Value) -> Result<()> {
        let api = self.pool_api(namespace);
        match api.patch(name, &PatchParams::default(), &Patch::Merge(members)).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {
                let mut pool = members.clone();
                pool["apiVersion"] = "galaxy.k8s.io/v1alpha1".into();
                pool["kind"] = "Pool".into();
                pool["metadata"] = json!({"name": name, "namespace": namespace});
                self.create("pools", &pool).await?;
            }
            result => drop(result?),
        }
        Ok(())
    }

    /// Deletes a Pool object.
    ///
    /// # Errors
    /// There is none.
    pub async fn delete_pool(&self, namespace: &str, name: &str) -> Result<()> {
        self.pool_api(namespace).delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Waits until a Pool's status is as asked.
    ///
    /// # Errors
    /// It does not get so.
    pub async fn pool_until(&self, namespace: &str, name: &str, what: &str, is: impl Fn(&Pool) -> bool) -> Result<()> {
        let api = self.pool_api(namespace);
        let last = std::sync::Mutex::new(String::new());
        let found = self
            .poll(format!("pool {name}: {what}"), || async {
                let pool = api.get(name).await?;
                *last.lock().unwrap_or_else(PoisonError::into_inner) = serde_json::to_string(&pool.status)?;
                Ok(is(&pool).then_some(()))
            })
            .await;
        found.with_context(|| format!("status: {}", last.into_inner().unwrap_or_default()))
    }

    fn floating_ips(&self) -> Api<FloatingIP> {
        Api::all(self.client.clone())
    }

    /// Reserves an address as the documents tell an administrator to.
    ///
    /// # Errors
    /// The API server refuses it.
    pub async fn reserve(&self, ip: &str, key: &str) -> Result<()> {
        let object = json!({
            "apiVersion": "galaxy.k8s.io/v1alpha1", "kind": "FloatingIP",
            "metadata": {"name": ip, "labels": {names::RESERVED_LABEL: "this-is-not-for-pods"}},
            "spec": {"key": key, "policy": 2},
        });
        self.create("floatingips", &object).await?;
        Ok(())
    }

    /// Deletes a FloatingIP object by hand.
    ///
    /// # Errors
    /// There is none.
    pub async fn delete_floating_ip(&self, ip: &str) -> Result<()> {
        self.floating_ips().delete(ip, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Sets the label `reserved` of an object, or takes it away.
    ///
    /// # Errors
    /// There is no such object.
    pub async fn label_floating_ip(&self, ip: &str, reserved: bool) -> Result<()> {
        let value = if reserved { json!("yes") } else { Value::Null };
        let patch = Patch::Merge(json!({"metadata": {"labels": {names::RESERVED_LABEL: value}}}));
        self.floating_ips().patch(ip, &PatchParams::default(), &patch).await?;
        Ok(())
    }
}
