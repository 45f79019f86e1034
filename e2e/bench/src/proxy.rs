//! A small HTTP server, and a way to the API server that counts what passes and refuses some of it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use kube::Client;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Answer = Response<UnsyncBoxBody<Bytes, BoxError>>;

/// Answers HTTP on a free port of 127.0.0.1. A request that fails breaks its connection.
pub(crate) async fn serve<F>(
    answer: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static,
) -> Result<(u16, JoinHandle<()>)>
where
    F: Future<Output = Result<Answer>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.context("no free port")?;
    let port = listener.local_addr()?.port();
    let task = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                    let _ = stream.set_nodelay(true);
                    let answer = answer.clone();
                    let service = service_fn(move |request| {
                        let answer = answer(request);
                        async move { answer.await.map_err(BoxError::from) }
                    });
                    connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
                },
                Some(_) = connections.join_next() => {}
            }
        }
    });
    Ok((port, task))
}

/// A whole body.
pub(crate) async fn whole(body: Incoming) -> Result<Bytes> {
    Ok(body.collect().await?.to_bytes())
}

/// An answer in JSON.
pub(crate) fn json(code: u16, body: &Value) -> Answer {
    let body = Full::new(Bytes::from(body.to_string())).map_err(|never| match never {});
    let mut answer = Response::new(body.boxed_unsync());
    *answer.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    answer
}

/// Calls by method and resource, as `POST pods/binding`. Watches are not counted, nor what keeps the Lease.
pub(crate) type Calls = BTreeMap<String, usize>;

/// Counts calls.
pub(crate) struct Counter {
    pub(crate) port: u16,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    calls: Calls,
    /// Every so-manyth write is a conflict; none for 0.
    conflict_every: usize,
    writes: usize,
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Counter {
    /// A proxy for a client.
    pub(crate) async fn start(upstream: Client) -> Result<Self> {
        let state = Arc::new(Mutex::new(State::default()));
        let counted = state.clone();
        let (port, task) = serve(move |request| pass(upstream.clone(), counted.clone(), request)).await?;
        Ok(Self { port, state, task })
    }

    /// From now on every so-manyth write is refused as a conflict; 0 for none.
    pub(crate) fn conflict_every(&self, writes: usize) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.conflict_every = writes;
        state.writes = 0;
    }

    /// What was counted since the last time.
    pub(crate) fn take(&self) -> Calls {
        std::mem::take(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner).calls)
    }
}

async fn pass(upstream: Client, state: Arc<Mutex<State>>, request: Request<Incoming>) -> Result<Answer> {
    let resource = resource(request.uri().path());
    let watches = request.uri().query().is_some_and(|query| query.contains("watch=true"));
    let (mut parts, body) = request.into_parts();
    if !watches && resource != "leases" {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        *state.calls.entry(format!("{} {resource}", parts.method)).or_default() += 1;
        if !matches!(parts.method, Method::GET | Method::HEAD) {
            state.writes += 1;
            if state.conflict_every > 0 && state.writes.is_multiple_of(state.conflict_every) {
                let exists = parts.method == Method::POST && resource == "floatingips";
                let reason = if exists { "AlreadyExists" } else { "Conflict" };
                return Ok(json(
                    409,
                    &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                        "message": "a conflict of the bench", "reason": reason, "code": 409}),
                ));
            }
        }
    }
    let body = whole(body).await?;
    for name in [header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
        parts.headers.remove(name);
    }
    let mut answer = upstream.send(Request::from_parts(parts, kube::client::Body::from(body.to_vec()))).await?;
    answer.headers_mut().remove(header::TRANSFER_ENCODING);
    Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync()))
}

/// The resource of a path, with its subresource if there is one.
fn resource(path: &str) -> String {
    let mut parts = path.trim_matches('/').split('/');
    let versioned = match parts.next() {
        Some("apis") => parts.nth(1),
        _ => parts.next(),
    };
    let mut parts: Vec<&str> = versioned.map_or_else(Vec::new, |_| parts.collect());
    if parts.len() > 2 && parts[0] == "namespaces" {
        parts.drain(..2);
    }
    match parts[..] {
        [resource, _, subresource] => format!("{resource}/{subresource}"),
        [resource, ..] => resource.to_owned(),
        [] => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_told_apart_by_resource() {
        for (path, expected) in [
            ("/api/v1/namespaces/default/pods/web-0/binding", "pods/binding"),
            ("/api/v1/pods", "pods"),
            ("/api/v1/namespaces/default", "namespaces"),
            ("/apis/galaxy.k8s.io/v1alpha1/floatingips/10.0.0.5", "floatingips"),
            ("/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/galaxy-ipam", "leases"),
            ("/version", "/version"),
        ] {
            assert_eq!(resource(path), expected);
        }
    }
}
