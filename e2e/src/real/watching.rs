//! What a stopwatch sees: when addresses come free and pods are bound, and when the scheduler asked for whom.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use futures::StreamExt;
use galaxy_api::FloatingIP;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, ResourceExt,
    runtime::watcher::{self, Event, watcher},
};
use serde_json::Value;
use tokio_util::task::AbortOnDropHandle;

use crate::cluster::Http;

/// How long a pod may take to be bound; longer than anything that is allowed, to be measured.
const PATIENCE: Duration = Duration::from_secs(330);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Default)]
struct Times {
    freed: Vec<Instant>,
    bound: BTreeMap<String, Instant>,
    /// In the order of being bound.
    order: Vec<String>,
}

/// When, by watches, FloatingIPs were deleted and pods bound.
pub(super) struct Timeline {
    times: Arc<Mutex<Times>>,
    _tasks: [AbortOnDropHandle<()>; 2],
}

impl Timeline {
    pub(super) fn start(client: Client) -> Self {
        let times = Arc::<Mutex<Times>>::default();
        let (of_pods, of_addresses) = (times.clone(), times.clone());
        let mut pods = watcher(Api::<Pod>::all(client.clone()), watcher::Config::default()).boxed();
        let mut addresses = watcher(Api::<FloatingIP>::all(client), watcher::Config::default()).boxed();
        let pods = tokio::spawn(async move {
            while let Some(event) = pods.next().await {
                let Ok(Event::Apply(pod) | Event::InitApply(pod)) = event else { continue };
                if pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()) {
                    let mut times = lock(&of_pods);
                    let name = pod.name_any();
                    if !times.bound.contains_key(&name) {
                        times.bound.insert(name.clone(), Instant::now());
                        times.order.push(name);
                    }
                }
            }
        });
        let addresses = tokio::spawn(async move {
            while let Some(event) = addresses.next().await {
                if let Ok(Event::Delete(_)) = event {
                    lock(&of_addresses).freed.push(Instant::now());
                }
            }
        });
        Self { times, _tasks: [AbortOnDropHandle::new(pods), AbortOnDropHandle::new(addresses)] }
    }

    /// The pod that was bound next after this one.
    pub(super) async fn bound_after(&self, pod: &str) -> Result<String> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let next = {
                let times = lock(&self.times);
                let place = times.order.iter().position(|name| name == pod);
                place.and_then(|place| times.order.get(place + 1).cloned())
            };
            if let Some(next) = next {
                return Ok(next);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        anyhow::bail!("nobody was bound within {PATIENCE:?} of the end of {pod}")
    }

    /// When an address came free for the `number`-th time.
    pub(super) fn freed(&self, number: usize) -> Result<Instant> {
        lock(&self.times).freed.get(number).copied().context("no address came free")
    }

    /// When a pod was bound.
    pub(super) fn bound(&self, pod: &str) -> Result<Instant> {
        lock(&self.times).bound.get(pod).copied().context("it is not bound")
    }
}

/// Answers to filter calls, by pod: when, and whether it was refused.
#[derive(Default)]
struct Asked {
    target: String,
    answers: BTreeMap<String, Vec<(Instant, bool)>>,
}

/// Stands between scheduler and galaxy-ipam and looks at the clock.
pub(super) struct Proxy {
    url: String,
    asked: Arc<Mutex<Asked>>,
    _server: AbortOnDropHandle<()>,
}

impl Proxy {
    /// In front of the extender at this URL.
    pub(super) async fn start(target: &str) -> Result<Self> {
        let asked = Arc::new(Mutex::new(Asked { target: target.to_owned(), ..Asked::default() }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let router = Router::new().fallback(forward).with_state((asked.clone(), Http::default()));
        let server = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { url, asked, _server: AbortOnDropHandle::new(server) })
    }

    /// Its base URL.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// In front of another from now on.
    pub(super) fn to(&self, target: &str) {
        lock(&self.asked).target = target.to_owned();
    }

    /// Until when the scheduler held a pod back that was bound then: its back-off began with the last refusal.
    pub(super) fn back_off(&self, pod: &str, bound: Instant, first: Duration, longest: Duration) -> Option<Instant> {
        let asked = lock(&self.asked);
        let refused: Vec<Instant> =
            asked.answers.get(pod)?.iter().filter(|(at, refused)| *refused && *at < bound).map(|(at, _)| *at).collect();
        let doubled = 2_u32.saturating_pow(u32::try_from(refused.len()).ok()?.checked_sub(1)?);
        Some(*refused.last()? + first.saturating_mul(doubled).min(longest))
    }
}

async fn forward(State((asked, http)): State<(Arc<Mutex<Asked>>, Http)>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, 64 << 20).await else { return StatusCode::BAD_REQUEST.into_response() };
    let path = parts.uri.path();
    let url = format!("{}{path}", lock(&asked).target);
    let text = String::from_utf8_lossy(&body);
    let Ok(reply) = http.send(parts.method, &url, Some("application/json"), &text).await else {
        return StatusCode::BAD_GATEWAY.into_response();
    };
    if path.ends_with("/filter") {
        let pod: Value = serde_json::from_str(&text).unwrap_or_default();
        let name = pod["Pod"]["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let answer = reply.json();
        let some = |value: &Value| value.as_array().is_some_and(|all| !all.is_empty());
        let member =
            |one: &str, other: &str| answer.get(one).or_else(|| answer.get(other)).cloned().unwrap_or_default();
        let passed = some(&member("NodeNames", "nodenames")) || some(&member("Nodes", "nodes")["items"]);
        lock(&asked).answers.entry(name).or_default().push((Instant::now(), !passed));
    }
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::BAD_GATEWAY);
    (status, [("content-type", "application/json")], Body::from(reply.body)).into_response()
}
