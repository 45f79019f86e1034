//! galaxy-ipam called as kube-scheduler calls it, by HTTP with connections kept open; and things done by many workers at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};

use crate::{objects::Pod, report::Times};

/// Calls galaxy-ipam.
#[derive(Clone)]
pub(crate) struct Extender {
    client: Client<HttpConnector, Full<Bytes>>,
    extender: Arc<str>,
    api: Arc<str>,
}

impl Extender {
    /// At these base URLs.
    pub(crate) fn new(extender: &str, api: &str) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            extender: extender.into(),
            api: api.into(),
        }
    }

    /// The answer to a call with a body.
    pub(crate) async fn post(&self, verb: &str, body: Bytes) -> Result<Bytes> {
        let request = http::Request::post(format!("{}/v1/{verb}", self.extender))
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))?;
        let answer = self.client.request(request).await?;
        ensure!(answer.status().is_success(), "{verb}: {}", answer.status());
        Ok(answer.into_body().collect().await?.to_bytes())
    }

    /// Filters, and returns the answer.
    pub(crate) async fn filter(&self, body: Bytes) -> Result<Bytes> {
        let answer = self.post("filter", body).await?;
        ensure!(answer.len() > 100, "filter: {}", String::from_utf8_lossy(&answer));
        Ok(answer)
    }

    /// Binds a pod.
    pub(crate) async fn bind(&self, pod: &Pod, node: &str) -> Result<()> {
        let body = json!({"PodName": pod.name, "PodNamespace": "default", "PodUID": pod.uid, "Node": node});
        let answer: Value = serde_json::from_slice(&self.post("bind", body.to_string().into()).await?)?;
        match answer["Error"].as_str() {
            None | Some("") => Ok(()),
            Some(error) => bail!("bind of {}: {error}", pod.name),
        }
    }

    /// Whether it decides.
    pub(crate) async fn ready(&self) -> bool {
        let Ok(answer) = self.get("/readyz").await else { return false };
        answer.starts_with("ok: leader")
    }

    /// The sum of the samples of a metric whose labels contain all of these.
    pub(crate) async fn metric(&self, name: &str, labels: &[&str]) -> Result<f64> {
        let text = self.get("/metrics").await?;
        let samples = text.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
                && labels.iter().all(|label| line.contains(label))
        });
        Ok(samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    async fn get(&self, path: &str) -> Result<String> {
        let request = http::Request::get(format!("{}{path}", self.api)).body(Full::default())?;
        let answer = self.client.request(request).await?.into_body().collect().await?.to_bytes();
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}

/// Calls `call` with 0..count, so many at once; how long all took together, and each.
pub(crate) async fn drive<F>(
    count: usize,
    at_once: usize,
    call: impl Fn(usize) -> F + Clone + Send + 'static,
) -> Result<(Duration, Times)>
where
    F: Future<Output = Result<()>> + Send,
{
    let (next, begun) = (Arc::new(AtomicUsize::new(0)), Instant::now());
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..at_once {
        let (next, call) = (next.clone(), call.clone());
        workers.spawn(async move {
            let mut times = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return anyhow::Ok(times);
                }
                let begun = Instant::now();
                call(number).await?;
                times.push(begun.elapsed());
            }
        });
    }
    let mut times = Times::default();
    while let Some(worker) = workers.join_next().await {
        times.extend(worker.context("a worker broke off")??);
    }
    Ok((begun.elapsed(), times))
}
