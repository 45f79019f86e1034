//! Objects put where the API server keeps them: by the API, half a million would take a quarter of an hour.

use anyhow::{Context, Result};
use base64::{Engine, prelude::BASE64_STANDARD};
use futures::{StreamExt, TryStreamExt, stream};
use galaxy_plane::{Component, Plane};
use kube::{Client, Config};
use serde_json::{Value, json};

/// Keys of FloatingIPs begin so.
pub(crate) const FLOATING_IPS: &str = "/registry/galaxy.k8s.io/floatingips/";
/// Keys of the pods of the default namespace begin so.
pub(crate) const PODS: &str = "/registry/pods/default/";
/// Keys of nodes begin so.
pub(crate) const NODES: &str = "/registry/minions/";
/// Keys of raw objects begin so.
pub(crate) const RAW: &str = "/registry/bench.galaxy.test/rawips/";

/// Puts in one transaction; etcd takes 128.
const BATCH: usize = 100;
/// Calls at once.
const AT_ONCE: usize = 8;

/// The store.
#[derive(Clone)]
pub(crate) struct Etcd(Client);

impl Etcd {
    pub(crate) fn of(plane: &Plane) -> Result<Self> {
        Ok(Self(Client::try_from(Config::new(plane.url(Component::Etcd).parse()?))?))
    }

    /// Puts objects, as JSON, under their keys, many at one revision: only while nobody watches them.
    pub(crate) async fn load(&self, objects: impl Iterator<Item = (String, String)>) -> Result<()> {
        self.put_by(BATCH, objects).await
    }

    /// Puts objects, as JSON, under their keys, each at a revision of its own as the API server does: a watch that is begun again
    /// in the middle of a revision misses the rest of it.
    pub(crate) async fn put(&self, objects: impl Iterator<Item = (String, String)>) -> Result<()> {
        self.put_by(1, objects).await
    }

    async fn put_by(&self, batch: usize, objects: impl Iterator<Item = (String, String)>) -> Result<()> {
        let mut objects = objects.peekable();
        let batches = std::iter::from_fn(move || {
            objects.peek()?;
            Some(objects.by_ref().take(batch).collect::<Vec<_>>())
        });
        let put = |batch: Vec<(String, String)>| async move {
            let puts = batch.into_iter().map(|(key, object)| {
                json!({"request_put": {"key": BASE64_STANDARD.encode(key), "value": BASE64_STANDARD.encode(object)}})
            });
            self.call("/v3/kv/txn", json!({"success": puts.collect::<Vec<_>>()})).await.map(drop)
        };
        stream::iter(batches.map(put)).buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Removes everything under a prefix as fast as etcd does it, each object at a revision of its own; how many that were.
    pub(crate) async fn remove(&self, prefix: &str) -> Result<usize> {
        let mut all = range(prefix);
        all["keys_only"] = json!(true);
        let answer = self.call("/v3/kv/range", all).await?;
        let keys: Vec<Value> = answer["kvs"].as_array().into_iter().flatten().map(|pair| pair["key"].clone()).collect();
        let remove = |key: &Value| {
            let key = json!({ "key": key });
            async move { self.call("/v3/kv/deleterange", key).await.map(drop) }
        };
        stream::iter(keys.iter().map(remove)).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        Ok(keys.len())
    }

    async fn call(&self, path: &str, body: Value) -> Result<Value> {
        let request = http::Request::post(path).body(body.to_string().into_bytes())?;
        let answer = self.0.request_text(request).await.with_context(|| format!("etcd, {path}"))?;
        Ok(serde_json::from_str(&answer)?)
    }
}

/// All keys with a prefix, which ends in no 0xff.
fn range(prefix: &str) -> Value {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    json!({"key": BASE64_STANDARD.encode(prefix), "range_end": BASE64_STANDARD.encode(end)})
}
