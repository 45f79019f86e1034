//! The way from one replica to the API server, and the weather on it.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use bytes::Bytes;
use futures::stream;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Frame, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use kube::{
    Client,
    config::{KubeConfigOptions, Kubeconfig},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Answer = Response<UnsyncBoxBody<Bytes, BoxError>>;

/// What happens on the way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Weather {
    /// No connection is let in; those that are there break.
    pub(crate) cut: bool,
    /// Connections stay open and nothing moves on them. They break when the weather changes.
    pub(crate) half_open: bool,
    /// Each request waits up to so long.
    pub(crate) delay: Duration,
    /// Requests are refused with this status, with this probability.
    pub(crate) storm: Option<(u16, f64)>,
    /// The answer to a write is lost with this probability.
    pub(crate) lost: f64,
    /// Watches are told that their place in the history is forgotten (410).
    pub(crate) expired: bool,
}

/// A proxy. Ends when dropped.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    weather: Arc<watch::Sender<Weather>>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Way {
    upstream: Client,
    weather: Arc<watch::Sender<Weather>>,
    random: Mutex<StdRng>,
}

impl Proxy {
    /// A proxy in good weather for the API server of a kubeconfig.
    pub(crate) async fn start(kubeconfig: &std::path::Path, seed: u64) -> Result<Self> {
        let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
        let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        config.default_retry = false;
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no port for the proxy")?;
        let port = listener.local_addr()?.port();
        let weather = Arc::new(watch::Sender::new(Weather::default()));
        let random = Mutex::new(StdRng::seed_from_u64(seed));
        let way = Arc::new(Way { upstream: Client::try_from(config)?, weather: weather.clone(), random });
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                        connections.spawn(Arc::clone(&way).connection(stream));
                    },
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Ok(Self { port, weather, task })
    }

    /// Changes the weather. Cuts and silences break what is connected at their end or begin.
    pub(crate) fn weather(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }
}

impl Way {
    async fn connection(self: Arc<Self>, stream: TcpStream) {
        let mut weather = self.weather.subscribe();
        if weather.borrow_and_update().cut {
            return;
        }
        let _ = stream.set_nodelay(true);
        let service = {
            let way = Arc::clone(&self);
            service_fn(move |request| Arc::clone(&way).answer(request))
        };
        let connection = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        loop {
            let now = weather.borrow_and_update().clone();
            if now.half_open {
                // Neither read nor written until it is over.
                let _ = weather.changed().await;
                return;
            }
            if now.cut || now.expired {
                return;
            }
            tokio::select! {
                _ = &mut connection => return,
                _ = weather.changed() => {}
            }
        }
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Answer, Broken> {
        let weather = self.weather.borrow().clone();
        let (wait, refused, lost) = {
            let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
            let refused = weather.storm.filter(|(_, chance)| random.random_bool(*chance));
            (weather.delay.mul_f64(random.random()), refused, random.random_bool(weather.lost))
        };
        tokio::time::sleep(wait).await;
        if let Some((code, _)) = refused {
            return Ok(status(code));
        }
        if weather.expired && request.uri().query().is_some_and(|query| query.contains("watch=true")) {
            let event = json!({"type": "ERROR", "object": status_object(410)}).to_string();
            let once = stream::iter([Ok(Frame::data(Bytes::from(event + "\n")))]);
            return Ok(Response::new(StreamBody::new(once).boxed_unsync()));
        }
        let writes = !matches!(*request.method(), Method::GET | Method::HEAD);
        let (mut parts, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| Broken)?.to_bytes();
        parts.headers.remove(header::HOST);
        parts.headers.remove(header::CONTENT_LENGTH);
        parts.headers.remove(header::TRANSFER_ENCODING);
        // In a task of its own: what was sent is done, whatever becomes of the connection.
        let upstream = self.upstream.clone();
        let sent = Request::from_parts(parts, kube::client::Body::from(body.to_vec()));
        let answer = tokio::spawn(async move { upstream.send(sent).await }).await.map_err(|_| Broken)?;
        if lost && writes {
            return Err(Broken);
        }
        let mut answer = answer.map_err(|_| Broken)?;
        answer.headers_mut().remove(header::TRANSFER_ENCODING);
        Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync()))
    }
}

/// Makes hyper close the connection without an answer.
#[derive(Debug)]
struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection breaks")
    }
}

impl std::error::Error for Broken {}

fn status(code: u16) -> Answer {
    let full = Full::new(Bytes::from(status_object(code).to_string())).map_err(|never: Infallible| match never {});
    let mut answer = Response::new(full.boxed_unsync());
    *answer.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    answer
}

fn status_object(code: u16) -> Value {
    let reason = match code {
        410 => "Expired",
        429 => "TooManyRequests",
        _ => "ServiceUnavailable",
    };
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "bad weather",
        "reason": reason, "code": code})
}
