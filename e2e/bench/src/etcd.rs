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
const AT_ONCE: usize = 4;

/// The store.
#[derive(Clone)]
pub(crate) struct Etcd(Client);

impl Etcd {
    pub(crate) fn of(plane: &Plane) -> Result<Self> {
        Ok(Self(Client::try_from(Config::new(plane.url(Component::Etcd).parse()?))?))
    }

    /// Puts objects, as JSON, under their keys.
    pub(crate) async fn put(&self, objects: impl Iterator<Item = (String, String)>) -> Result<()> {
        let mut objects = objects.peekable();
        let batches = std::iter::from_fn(move || {
            objects.peek()?;
            Some(objects.by_ref().take(BATCH).collect::<Vec<_>>())
        });
        let put = |batch: Vec<(String, String)>| async move {
            let puts = batch.into_iter().map(|(key, object)| {
                json!({"request_put": {"key": BASE64_STANDARD.encode(key), "value": BASE64_STANDARD.encode(object)}})
            });
            self.call("/v3/kv/txn", json!({"success": puts.collect::<Vec<_>>()})).await.map(drop)
        };
        stream::iter(batches.map(put)).buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Removes everything under a prefix at one moment; how many that were.
    pub(crate) async fn remove(&self, prefix: &str) -> Result<usize> {
        let answer = self.call("/v3/kv/deleterange", range(prefix)).await?;
        number(&answer, "deleted")
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

/// etcd leaves out what is 0.
fn number(answer: &Value, member: &str) -> Result<usize> {
    answer[member].as_str().map_or(Ok(0), |text| text.parse().context("etcd counts oddly"))
}
