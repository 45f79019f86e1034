//! Workloads that are made, scaled, rolled and deleted all the time.

use std::{collections::BTreeMap, fmt::Debug};

use anyhow::{Context, Result};
use galaxy_api::Pool;
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::{Deployment, StatefulSet},
        core::v1::Pod,
    },
};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use rand::{Rng, rngs::StdRng, seq::IndexedRandom};
use serde_json::{Value, json};

/// Where all of it lives.
pub(crate) const NAMESPACE: &str = "default";
/// The sized pool.
pub(crate) const POOL: &str = "blue";
/// Sizes that the pool has in turn; no less than the largest number of its pods.
const SIZES: [i64; 3] = [5, 6, 8];

/// Kinds of workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Deployment,
    StatefulSet,
}

/// A workload, and how many pods it shall have.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Release policy; empty for the default.
    pub(crate) policy: &'static str,
    /// In the sized pool.
    pub(crate) pooled: bool,
    most: i32,
    /// None while it is deleted.
    pub(crate) replicas: Option<i32>,
    /// The most it has had: what is kept for ever is kept for so many.
    pub(crate) peak: i32,
}

/// All workloads.
pub(crate) struct Load {
    client: Client,
    pub(crate) apps: Vec<App>,
}

impl Load {
    /// Makes them all, with a few pods each.
    pub(crate) async fn start(client: Client) -> Result<Self> {
        let app = |name, kind, policy, pooled, most| App { name, kind, policy, pooled, most, replicas: None, peak: 0 };
        let apps = vec![
            app("plain", Kind::Deployment, "", false, 6),
            app("web", Kind::Deployment, "immutable", false, 3),
            app("shop", Kind::Deployment, "immutable", false, 5),
            app("api", Kind::Deployment, "never", false, 4),
            app("pooled", Kind::Deployment, "never", true, 4),
            app("queue", Kind::StatefulSet, "", false, 3),
            app("db", Kind::StatefulSet, "immutable", false, 4),
            app("log", Kind::StatefulSet, "never", false, 3),
        ];
        let mut load = Self { client, apps };
        let pools: Api<Pool> = Api::namespaced(load.client.clone(), "kube-system");
        let pool = serde_json::from_value(json!({"metadata": {"name": POOL}, "size": SIZES[0]}))?;
        pools.create(&PostParams::default(), &pool).await.context("cannot make the pool")?;
        for index in 0..load.apps.len() {
            load.create(index, 2).await?;
        }
        Ok(load)
    }

    /// Does a few random things. Some may be refused while the API server is away: what was asked for then is not expected.
    pub(crate) async fn stir(&mut self, random: &mut StdRng, things: usize) {
        for _ in 0..things {
            let index = random.random_range(0..self.apps.len());
            let dice = random.random_range(0..10);
            let result = match (self.apps[index].replicas, dice) {
                (None, _) => self.create(index, random.random_range(1..=self.apps[index].most)).await,
                (Some(_), 0) => self.delete(index).await,
                (Some(_), 1) => self.resize(random).await,
                (Some(_), 2..=4) => self.roll(index, random.random()).await,
                (Some(_), 5..=6) => self.delete_pods(random).await,
                (Some(_), _) => {
                    let replicas = random.random_range(0..=self.apps[index].most);
                    self.scale(index, replicas).await
                }
            };
            if let Err(error) = result {
                println!("    load: {}: {error:#}", self.apps[index].name);
            }
        }
    }

    /// Asks again for what may not have been heard, until it is.
    pub(crate) async fn insist(&mut self) -> Result<()> {
        for index in 0..self.apps.len() {
            match self.apps[index].replicas {
                None => self.delete(index).await?,
                Some(replicas) => self.scale(index, replicas).await?,
            }
        }
        Ok(())
    }

    async fn create(&mut self, index: usize, replicas: i32) -> Result<()> {
        let app = &mut self.apps[index];
        (app.replicas, app.peak) = (Some(replicas), app.peak.max(replicas));
        let manifest = app.manifest(replicas);
        match app.kind {
            Kind::Deployment => create::<Deployment>(&self.client, manifest).await,
            Kind::StatefulSet => create::<StatefulSet>(&self.client, manifest).await,
        }
    }

    async fn delete(&mut self, index: usize) -> Result<()> {
        let app = &mut self.apps[index];
        app.replicas = None;
        match app.kind {
            Kind::Deployment => delete::<Deployment>(&self.client, app.name).await,
            Kind::StatefulSet => delete::<StatefulSet>(&self.client, app.name).await,
        }
    }

    async fn scale(&mut self, index: usize, replicas: i32) -> Result<()> {
        let app = &mut self.apps[index];
        (app.replicas, app.peak) = (Some(replicas), app.peak.max(replicas));
        if self.patch(index, json!({"spec": {"replicas": replicas}})).await? {
            return Ok(());
        }
        // Its creation was not heard.
        self.create(index, replicas).await
    }

    async fn roll(&self, index: usize, version: u32) -> Result<()> {
        let annotations = json!({"chaos.test/version": version.to_string()});
        self.patch(index, json!({"spec": {"template": {"metadata": {"annotations": annotations}}}})).await.map(drop)
    }

    /// Whether it is there.
    async fn patch(&self, index: usize, patch: Value) -> Result<bool> {
        let app = &self.apps[index];
        match app.kind {
            Kind::Deployment => merge::<Deployment>(&self.client, app.name, patch).await,
            Kind::StatefulSet => merge::<StatefulSet>(&self.client, app.name, patch).await,
        }
    }

    async fn resize(&self, random: &mut StdRng) -> Result<()> {
        let pools: Api<Pool> = Api::namespaced(self.client.clone(), "kube-system");
        let size = SIZES.choose(random).copied().unwrap_or_default();
        pools.patch(POOL, &PatchParams::default(), &Patch::Merge(json!({"size": size}))).await?;
        Ok(())
    }

    async fn delete_pods(&self, random: &mut StdRng) -> Result<()> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        let names: Vec<String> =
            pods.list(&ListParams::default()).await?.items.into_iter().filter_map(|pod| pod.metadata.name).collect();
        for name in names.choose_multiple(random, 2) {
            let grace = if random.random_bool(0.5) { Some(0) } else { None };
            let params = DeleteParams { grace_period_seconds: grace, ..DeleteParams::default() };
            gone_is_fine(pods.delete(name, &params).await)?;
        }
        Ok(())
    }
}

impl App {
    fn manifest(&self, replicas: i32) -> Value {
        let labels = json!({"app": self.name});
        let mut annotations = BTreeMap::new();
        if self.pooled {
            annotations.insert("tke.cloud.tencent.com/eni-ip-pool", POOL);
        }
        if !self.policy.is_empty() {
            annotations.insert("k8s.v1.cni.galaxy.io/release-policy", self.policy);
        }
        let resources = json!({"tke.cloud.tencent.com/eni-ip": "1"});
        let mut spec = json!({
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels, "annotations": annotations},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [
                    {"name": "c", "image": "x", "resources": {"requests": resources, "limits": resources}}]},
            },
        });
        let kind = match self.kind {
            Kind::Deployment => "Deployment",
            Kind::StatefulSet => {
                spec["serviceName"] = self.name.into();
                spec["podManagementPolicy"] = "Parallel".into();
                "StatefulSet"
            }
        };
        json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": self.name, "namespace": NAMESPACE}, "spec": spec})
    }
}

async fn create<K>(client: &Client, manifest: Value) -> Result<()>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + serde::Serialize
        + serde::de::DeserializeOwned
        + Clone
        + Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), NAMESPACE);
    match api.create(&PostParams::default(), &serde_json::from_value(manifest)?).await {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        created => Ok(created.map(drop)?),
    }
}

async fn delete<K>(client: &Client, name: &str) -> Result<()>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + serde::de::DeserializeOwned + Clone + Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), NAMESPACE);
    gone_is_fine(api.delete(name, &DeleteParams::background()).await)
}

async fn merge<K>(client: &Client, name: &str, patch: Value) -> Result<bool>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + serde::de::DeserializeOwned + Clone + Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), NAMESPACE);
    match api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        patched => Ok(patched.map(|_| true)?),
    }
}

fn gone_is_fine<T>(result: kube::Result<T>) -> Result<()> {
    match result {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        done => Ok(done.map(drop)?),
    }
}
