//! The API server as kube clients and kubectl meet it.

mod custom;
mod deletion;
mod faults;
mod kubectl;
mod lists;
mod objects;
mod patches;
mod watches;

use std::time::Duration;

use galaxy_sandbox::apiserver::{Options, Server};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use serde_json::{Value, json};

async fn start() -> (Server, Client) {
    let server = Server::start(Options::default()).await.unwrap();
    let client = server.client("test");
    (server, client)
}

fn from<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn pod(name: &str) -> Pod {
    from(json!({
        "metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "nginx:1.7.9", "resources": {"limits": {"tke.cloud.tencent.com/eni-ip": "1"}}}]},
    }))
}

/// Code, reason and message of an answer that must be a `Status`.
#[track_caller]
fn status<T: std::fmt::Debug>(result: kube::Result<T>) -> (u16, String, String) {
    match result {
        Err(kube::Error::Api(status)) => (status.code, status.reason.clone(), status.message.clone()),
        other => panic!("expected a Status, got {other:?}"),
    }
}

/// A request with a JSON body, as it stands.
async fn raw(client: &Client, method: &str, path: &str, content_type: &str, body: Value) -> kube::Result<Value> {
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", content_type)
        .body(if body.is_null() { Vec::new() } else { serde_json::to_vec(&body).unwrap() })
        .unwrap();
    client.request(request).await
}

async fn get(client: &Client, path: &str) -> kube::Result<Value> {
    raw(client, "GET", path, "application/json", Value::Null).await
}

async fn post(client: &Client, path: &str, body: Value) -> kube::Result<Value> {
    raw(client, "POST", path, "application/json", body).await
}

/// Waits until `what` holds, and says so if it does not within 10 s.
async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The result of something that must not take 10 s.
#[track_caller]
fn soon<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let at = std::panic::Location::caller();
    async move {
        tokio::time::timeout(Duration::from_secs(10), future).await.unwrap_or_else(|_| panic!("{at}: took too long"))
    }
}
