//! Calls that come to a replica which does not lead go to the one that does, over one hop.
//!
//! Where no leader is known or it does not answer, the call is decided here after all, which means that it is told "not
//! now" (extender), answered from the caches (lists) or refused with 503. A call that was forwarded is never forwarded again.

mod connector;

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use galaxy_api::http::Envelope;
use galaxy_api::names::{API_URL_ANNOTATION, EXTENDER_URL_ANNOTATION};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio_util::task::TaskTracker;

use crate::calls::chain;
use crate::lease::{Sightings, holder};
use crate::metrics::{Metrics, Port};
use crate::tenure::Tenure;
use crate::tls::Tls;
use connector::Connector;

/// Marks a call that another replica has forwarded; the value is that replica's identity.
const HOP: HeaderName = HeaderName::from_static("x-galaxy-forwarded-by");
/// When a call of the scheduler must be answered: its patience is 5 s.
const EXTENDER: Duration = Duration::from_secs(4);
/// The same for a bind, whose answer the leader itself owes within 4 s.
const BIND: Duration = Duration::from_millis(4500);
/// When a call of the HTTP API must be answered; releasing may wait for the cloud provider.
const API: Duration = Duration::from_secs(75);
/// How long the leader may take to say that it is ready.
const HEALTH: Duration = Duration::from_secs(1);
/// Largest body, either way: 5,000 whole nodes have about 60 MB.
const MAX_BODY_BYTES: usize = 256 << 20;
/// What concerns one connection only.
const HOP_BY_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::EXPECT,
];

/// Who leads, and where it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leader {
    /// As the Lease names it.
    pub(crate) identity: String,
    extender: Option<Uri>,
    api: Option<Uri>,
}

/// The other replicas: who of them leads, and the client that reaches it.
pub(crate) struct Peers {
    identity: String,
    tenure: Arc<Tenure>,
    sightings: Sightings,
    client: Client<Connector, Full<Bytes>>,
    /// Calls under way. The caller may hang up: what it asked for goes on.
    tasks: TaskTracker,
    metrics: Arc<Metrics>,
}

impl Peers {
    pub(crate) fn new(
        identity: String,
        tenure: Arc<Tenure>,
        sightings: Sightings,
        tasks: TaskTracker,
        tls: Option<Arc<Tls>>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(60))
            .build(Connector::new(tls));
        Arc::new(Peers { identity, tenure, sightings, client, tasks, metrics })
    }

    /// The replica that leads, if it is another one.
    pub(crate) fn leader(&self) -> Option<Leader> {
        let lease = self.sightings.last()?;
        let identity = holder(&lease);
        if identity.is_empty() || identity == self.identity || self.tenure.holds() {
            return None;
        }
        let url = |name| lease.metadata.annotations.as_ref()?.get(name)?.parse().ok();
        let (extender, api) = (url(EXTENDER_URL_ANNOTATION), url(API_URL_ANNOTATION));
        Some(Leader { identity: identity.to_owned(), extender, api })
    }

    /// How the leader itself stands.
    ///
    /// # Errors
    /// No leader is known, it does not answer, or it is not ready; a sentence.
    pub(crate) async fn standing(&self) -> Result<String, String> {
        let Some(leader) = self.leader() else { return Err("standby: no leader is known yet".to_owned()) };
        let (mut parts, ()) = http::Request::new(()).into_parts();
        parts.uri = Uri::from_static("/readyz");
        match self.call(&leader, Port::Extender, parts, Bytes::new(), HEALTH).await {
            Ok(answer) if answer.status() == StatusCode::OK => Ok(format!("ok: standby of {}", leader.identity)),
            Ok(answer) => {
                let said = String::from_utf8_lossy(answer.body());
                Err(format!("standby of {}, which is not ready: {said}", leader.identity))
            }
            Err(error) => Err(format!("standby of {}, which does not answer: {error}", leader.identity)),
        }
    }

    /// Asks the leader and returns its answer.
    async fn call(
        &self,
        leader: &Leader,
        port: Port,
        mut parts: Parts,
        body: Bytes,
        deadline: Duration,
    ) -> Result<http::Response<Bytes>, String> {
        let base = match port {
            Port::Extender => &leader.extender,
            Port::Api => &leader.api,
        };
        let base = base.as_ref().ok_or("its Lease does not say where it answers (see --advertise-address)")?;
        parts.uri = at(base, parts.uri.path_and_query()).map_err(|error| format!("{base}: {error}"))?;
        strip(&mut parts.headers);
        let hop = HeaderValue::from_str(&self.identity).unwrap_or(HeaderValue::from_static("a-replica"));
        parts.headers.insert(HOP, hop);
        parts.version = http::Version::HTTP_11;
        let request = http::Request::from_parts(parts, Full::new(body));
        let answer = async {
            let (mut parts, body) = self.client.request(request).await.map_err(|error| chain(&error))?.into_parts();
            strip(&mut parts.headers);
            let body = body.collect().await.map_err(|error| chain(&error))?.to_bytes();
            Ok(http::Response::from_parts(parts, body))
        };
        match tokio::time::timeout(deadline, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {} s", deadline.as_secs_f64())),
        }
    }
}

/// Passes `/v1/` calls of a port on to the leader while this replica does not lead.
pub(crate) async fn to_leader(
    State((peers, port)): State<(Arc<Peers>, Port)>,
    request: Request,
    next: Next,
) -> Response {
    if peers.tenure.holds() || !request.uri().path().starts_with("/v1/") {
        return next.run(request).await;
    }
    if let Some(by) = request.headers().get(HOP) {
        tracing::info!(?by, path = request.uri().path(), "forwarded to this replica, which does not lead");
        return here(next, request, port, "a call was forwarded to this replica, which does not lead").await;
    }
    let call = call_name(port, request.uri().path());
    let Some(leader) = peers.leader() else {
        peers.metrics.forwarded(call, "no_leader");
        return here(next, request, port, "this replica does not lead, and who does is not known").await;
    };
    let (parts, body) = request.into_parts();
    let body = match to_bytes(body, MAX_BODY_BYTES).await {
        Ok(body) => body,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("the body cannot be read: {error}\n")).into_response(),
    };
    let deadline = match (port, call) {
        (Port::Api, _) => API,
        (Port::Extender, "bind") => BIND,
        (Port::Extender, _) => EXTENDER,
    };
    let attempt = {
        let (peers, leader, parts, body) = (Arc::clone(&peers), leader.clone(), parts.clone(), body.clone());
        async move { peers.call(&leader, port, parts, body, deadline).await }
    };
    // In a task of its own: this one is dropped when the caller hangs up.
    let answer = peers.tasks.spawn(attempt).await.unwrap_or_else(|broken| Err(broken.to_string()));
    match answer {
        Ok(answer) => {
            peers.metrics.forwarded(call, "answered");
            answer.map(Body::from)
        }
        Err(error) => {
            tracing::warn!(leader = leader.identity, call, error, "the leader does not answer a forwarded call");
            peers.metrics.forwarded(call, "failed");
            let why = format!("the leader {} does not answer: {error}", leader.identity);
            here(next, Request::from_parts(parts, Body::from(body)), port, &why).await
        }
    }
}

/// What this replica can say by itself: a reading answer, the extender's "not now", or 503.
async fn here(next: Next, request: Request, port: Port, why: &str) -> Response {
    if port == Port::Extender || matches!(*request.method(), Method::GET | Method::HEAD) {
        return next.run(request).await;
    }
    let envelope = Envelope { code: 503, message: format!("cannot decide now: {why}") };
    (StatusCode::SERVICE_UNAVAILABLE, axum::Json(envelope)).into_response()
}

/// A path below a base URL.
fn at(base: &Uri, path: Option<&PathAndQuery>) -> Result<Uri, http::Error> {
    let mut parts = base.clone().into_parts();
    parts.path_and_query = Some(path.cloned().unwrap_or(PathAndQuery::from_static("/")));
    Ok(Uri::from_parts(parts)?)
}

fn strip(headers: &mut HeaderMap) {
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// The base URL of a port, as a Lease names it.
pub(crate) fn base_url(tls: bool, address: std::net::IpAddr, port: u16) -> String {
    let scheme = if tls { "https" } else { "http" };
    format!("{scheme}://{}", std::net::SocketAddr::new(address, port))
}

fn call_name(port: Port, path: &str) -> &'static str {
    let verbs = ["filter", "priority", "bind", "preempt"];
    let verb = path.strip_prefix("/v1/").and_then(|verb| verbs.into_iter().find(|known| *known == verb));
    if port == Port::Api { "api" } else { verb.unwrap_or("other") }
}
