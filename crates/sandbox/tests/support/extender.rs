//! An extender that answers as it is told and remembers what it was asked.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::{Path, State},
    routing::post,
};
use galaxy_sandbox::scheduler::ExtenderConfig;
use serde_json::{Value, json};
use tokio::net::TcpListener;

type Answer = Arc<dyn Fn(&str, &Value) -> Value + Send + Sync>;

#[derive(Clone)]
pub(crate) struct Extender {
    pub(crate) url: String,
    calls: Arc<Mutex<Vec<(Instant, String, Value)>>>,
    answer: Arc<Mutex<Answer>>,
    delay: Arc<Mutex<Duration>>,
    open: Arc<Mutex<(usize, usize)>>,
}

impl Extender {
    /// Starts an extender that lets everything pass and binds nothing: `bind` is left to the scheduler by its configuration.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let extender = Self {
            url: format!("http://{}/v1", listener.local_addr().unwrap()),
            calls: Arc::default(),
            answer: Arc::new(Mutex::new(Arc::new(pass))),
            delay: Arc::default(),
            open: Arc::default(),
        };
        let app = Router::new().route("/v1/{verb}", post(handle)).with_state(extender.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        extender
    }

    /// galaxy-ipam's configuration, but for binding.
    pub(crate) fn config(&self) -> ExtenderConfig {
        ExtenderConfig { bind_verb: String::new(), ..ExtenderConfig::galaxy(&self.url) }
    }

    pub(crate) fn answer(&self, answer: impl Fn(&str, &Value) -> Value + Send + Sync + 'static) {
        *self.answer.lock().unwrap() = Arc::new(answer);
    }

    pub(crate) fn delay(&self, delay: Duration) {
        *self.delay.lock().unwrap() = delay;
    }

    /// The bodies of the calls of a verb about a pod.
    pub(crate) fn calls(&self, verb: &str, pod: &str) -> Vec<Value> {
        self.timed(verb, pod).into_iter().map(|(_, body)| body).collect()
    }

    pub(crate) fn timed(&self, verb: &str, pod: &str) -> Vec<(Instant, Value)> {
        let calls = self.calls.lock().unwrap();
        let named = |body: &Value| body["Pod"]["metadata"]["name"] == pod || body["PodName"] == pod;
        let calls = calls.iter().filter(|(_, called, body)| called == verb && named(body));
        calls.map(|(at, _, body)| (*at, body.clone())).collect()
    }

    /// The most calls that were open at the same time.
    pub(crate) fn most_open(&self) -> usize {
        self.open.lock().unwrap().1
    }
}

async fn handle(State(extender): State<Extender>, Path(verb): Path<String>, Json(body): Json<Value>) -> Json<Value> {
    extender.calls.lock().unwrap().push((Instant::now(), verb.clone(), body.clone()));
    {
        let mut open = extender.open.lock().unwrap();
        open.0 += 1;
        open.1 = open.1.max(open.0);
    }
    let delay = *extender.delay.lock().unwrap();
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    extender.open.lock().unwrap().0 -= 1;
    let answer = extender.answer.lock().unwrap().clone();
    Json(answer(&verb, &body))
}

/// The names of the nodes that a filter call offers.
pub(crate) fn offered(body: &Value) -> Vec<String> {
    let names = body["NodeNames"].as_array().into_iter().flatten();
    let items = body["Nodes"]["items"].as_array().into_iter().flatten();
    let names = names.chain(items.map(|node| &node["metadata"]["name"]));
    names.filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

/// Lets everything pass.
pub(crate) fn pass(verb: &str, body: &Value) -> Value {
    match verb {
        "filter" => json!({"nodes": body["Nodes"], "nodenames": body["NodeNames"]}),
        "priority" => json!([]),
        "preempt" => {
            let nodes = body["NodeNameToVictims"].as_object().cloned().unwrap_or_default();
            let meta = nodes.into_iter().map(|(node, victims)| {
                let pods = victims["Pods"].as_array().cloned().unwrap_or_default();
                let pods: Vec<_> = pods.iter().map(|pod| json!({"UID": pod["metadata"]["uid"]})).collect();
                (node, json!({"Pods": pods}))
            });
            json!({"NodeNameToMetaVictims": meta.collect::<serde_json::Map<_, _>>()})
        }
        _ => json!({"Error": ""}),
    }
}

/// Refuses every node with `text`, in the map of failed nodes, and in that of unresolvable ones too if `calm`.
pub(crate) fn refuse(body: &Value, text: &str, calm: bool) -> Value {
    let failed: serde_json::Map<_, _> = offered(body).into_iter().map(|node| (node, text.into())).collect();
    let unresolvable = if calm { Value::Object(failed.clone()) } else { Value::Null };
    json!({"nodes": {"metadata": {}, "items": []}, "failedNodes": failed, "failedAndUnresolvableNodes": unresolvable})
}
