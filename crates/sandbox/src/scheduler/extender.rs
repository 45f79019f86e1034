//! The HTTP client side of a scheduler extender.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use k8s_openapi::api::core::v1::{Container, Pod};
use serde_json::{Value, json};
use thiserror::Error;

use super::{
    cache::{NodeInfo, PodInfo},
    config::ExtenderConfig,
    wire,
};
use crate::control::meta::Meta;

/// Points of the scheduler per point of an extender: 100 against 10.
const POINT: i64 = 10;

/// Why an extender gave no usable answer.
#[derive(Debug, Error)]
pub enum ExtenderError {
    /// It could not be reached, or broke off.
    #[error("Post \"{url}\": {source}")]
    Transport {
        /// What was called.
        url: String,
        /// What went wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It took too long.
    #[error("Post \"{url}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)")]
    Timeout {
        /// What was called.
        url: String,
    },
    /// It answered with another status than 200.
    #[error("failed {verb} with extender at URL {url}, code {code}")]
    Code {
        /// The verb.
        verb: String,
        /// What was called.
        url: String,
        /// The HTTP status.
        code: u16,
    },
    /// It answered something else than what was asked for.
    #[error("extender at URL {url}: {detail}")]
    Answer {
        /// What was called.
        url: String,
        /// What is wrong with the answer.
        detail: String,
    },
    /// It answered with an error of its own.
    #[error("{0}")]
    Refused(String),
}

/// What a filter call came to.
#[derive(Debug, Default)]
pub struct Filtered {
    /// Names of the nodes that passed, in its order.
    pub nodes: Vec<String>,
    /// Nodes refused, with the reason.
    pub failed: BTreeMap<String, String>,
    /// Nodes refused where removing pods would not help.
    pub unresolvable: BTreeMap<String, String>,
}

/// One extender.
#[derive(Debug)]
pub struct Extender {
    /// How it is called.
    pub config: ExtenderConfig,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Extender {
    /// A client for the extender of `config`.
    pub fn new(config: ExtenderConfig) -> Self {
        Self { config, client: Client::builder(TokioExecutor::new()).build_http() }
    }

    /// Whether the pod asks for something that the extender manages, in requests or limits of any container.
    pub fn is_interested(&self, pod: &Pod) -> bool {
        let managed = &self.config.managed_resources;
        let asks = |container: &Container| {
            let resources = container.resources.as_ref();
            let lists = resources.map(|resources| [&resources.requests, &resources.limits]);
            let mut names = lists.into_iter().flatten().flatten().flat_map(BTreeMap::keys);
            names.any(|name| managed.iter().any(|resource| resource.name == *name))
        };
        let Some(spec) = &pod.spec else { return managed.is_empty() };
        let mut containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        managed.is_empty() || containers.any(asks)
    }

    /// Which of `nodes` can take the pod.
    ///
    /// # Errors
    /// No usable answer, an error in it, or a node that was not asked about.
    pub async fn filter(&self, pod: &PodInfo, nodes: &[&NodeInfo]) -> Result<Filtered, ExtenderError> {
        let verb = &self.config.filter_verb;
        let answer = self.call(verb, self.args(pod, nodes)).await?;
        self.refusal(&answer, "error")?;
        let names = wire::any_case(&answer, "nodeNames").filter(|_| self.config.node_cache_capable);
        let names: Vec<&str> = match names {
            Some(names) => strings(names),
            None => {
                let nodes = wire::any_case(&answer, "nodes").and_then(|nodes| wire::any_case(nodes, "items"));
                let items = nodes.and_then(Value::as_array).into_iter().flatten();
                items.filter_map(|node| node["metadata"]["name"].as_str()).collect()
            }
        };
        let asked: HashMap<&str, ()> = nodes.iter().map(|node| (node.name(), ())).collect();
        if let Some(stranger) = names.iter().find(|name| !asked.contains_key(*name)) {
            return Err(self
                .bad(verb, format!("claims a filtered node {stranger:?} which is not found in the input node list")));
        }
        Ok(Filtered {
            nodes: names.into_iter().map(str::to_owned).collect(),
            failed: texts(wire::any_case(&answer, "failedNodes")),
            unresolvable: texts(wire::any_case(&answer, "failedAndUnresolvableNodes")),
        })
    }

    /// The extender's points for the nodes, in the scheduler's scale, times its weight.
    ///
    /// # Errors
    /// No usable answer.
    pub async fn prioritize(&self, pod: &PodInfo, nodes: &[&NodeInfo]) -> Result<HashMap<String, i64>, ExtenderError> {
        let answer = self.call(&self.config.prioritize_verb, self.args(pod, nodes)).await?;
        let scores = answer.as_array().into_iter().flatten();
        let scores = scores.filter_map(|score| {
            let host = wire::any_case(score, "host")?.as_str()?;
            let points = wire::any_case(score, "score")?.as_i64()?;
            Some((host.to_owned(), points.saturating_mul(self.config.weight).saturating_mul(POINT)))
        });
        Ok(scores.collect())
    }

    /// Has the extender bind the pod to `node`.
    ///
    /// # Errors
    /// No usable answer, or an error in it.
    pub async fn bind(&self, pod: &Pod, node: &str) -> Result<(), ExtenderError> {
        let body = json!({"PodName": pod.name(), "PodNamespace": pod.ns(), "PodUID": pod.uid(), "Node": node});
        let answer = self.call(&self.config.bind_verb, body.to_string()).await?;
        self.refusal(&answer, "error")
    }

    /// Which victims may go on which nodes, by uid. A node that is not named is none.
    ///
    /// # Errors
    /// No usable answer.
    pub async fn preempt(
        &self,
        pod: &PodInfo,
        victims: &BTreeMap<String, Vec<&Pod>>,
    ) -> Result<BTreeMap<String, Vec<String>>, ExtenderError> {
        let body = wire::preemption_args(&wire::pod(&pod.pod), victims, self.config.node_cache_capable);
        let answer = self.call(&self.config.preempt_verb, body).await?;
        let nodes = wire::any_case(&answer, "nodeNameToMetaVictims").and_then(Value::as_object);
        let uids = |victims: &Value| -> Vec<String> {
            let pods = wire::any_case(victims, "pods").and_then(Value::as_array);
            let uids = pods.into_iter().flatten();
            uids.filter_map(|pod| wire::any_case(pod, "uid")?.as_str().map(str::to_owned)).collect()
        };
        let nodes = nodes.into_iter().flatten();
        Ok(nodes.map(|(node, victims)| (node.clone(), uids(victims))).collect())
    }

    fn args(&self, pod: &PodInfo, nodes: &[&NodeInfo]) -> String {
        let names_only = self.config.node_cache_capable;
        let nodes = nodes.iter().map(|node| (node.name(), if names_only { "" } else { node.json() }));
        wire::extender_args(&wire::pod(&pod.pod), nodes, names_only)
    }

    fn url(&self, verb: &str) -> String {
        format!("{}/{verb}", self.config.url_prefix.trim_end_matches('/'))
    }

    fn bad(&self, verb: &str, detail: String) -> ExtenderError {
        let url = self.url(verb);
        ExtenderError::Answer { url, detail }
    }

    fn refusal(&self, answer: &Value, member: &str) -> Result<(), ExtenderError> {
        match wire::any_case(answer, member).and_then(Value::as_str) {
            Some(error) if !error.is_empty() => Err(ExtenderError::Refused(error.to_owned())),
            _ => Ok(()),
        }
    }

    async fn call(&self, verb: &str, body: String) -> Result<Value, ExtenderError> {
        let url = self.url(verb);
        let answer = tokio::time::timeout(self.config.http_timeout, self.post(verb, &url, body)).await;
        answer.unwrap_or(Err(ExtenderError::Timeout { url }))
    }

    async fn post(&self, verb: &str, url: &str, body: String) -> Result<Value, ExtenderError> {
        let transport =
            |source: Box<dyn std::error::Error + Send + Sync>| ExtenderError::Transport { url: url.to_owned(), source };
        let request = Request::builder().method(Method::POST).uri(url).header(CONTENT_TYPE, "application/json");
        let request = request.body(Full::from(body)).map_err(|error| transport(error.into()))?;
        let response = self.client.request(request).await.map_err(|error| transport(error.into()))?;
        let code = response.status();
        let body = response.into_body().collect().await.map_err(|error| transport(error.into()))?;
        if code != StatusCode::OK {
            return Err(ExtenderError::Code { verb: verb.to_owned(), url: url.to_owned(), code: code.as_u16() });
        }
        serde_json::from_slice(&body.to_bytes()).map_err(|error| self.bad(verb, format!("not JSON: {error}")))
    }
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn texts(value: Option<&Value>) -> BTreeMap<String, String> {
    let members = value.and_then(Value::as_object).into_iter().flatten();
    members.map(|(name, text)| (name.clone(), text.as_str().unwrap_or_default().to_owned())).collect()
}
