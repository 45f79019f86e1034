//! Requests to galaxy-ipam's HTTP API.

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::Value;

/// Sends JSON, if any, and reads JSON.
///
/// # Errors
/// No connection, an answer other than 2xx, or one that is not JSON.
pub(super) async fn request(method: Method, url: &str, body: Option<&Value>) -> anyhow::Result<Value> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let content = body.map(Value::to_string).unwrap_or_default();
    let request = Request::builder()
        .method(&method)
        .uri(url)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(content)))?;
    let response = client.request(request).await.with_context(|| format!("{method} {url}"))?;
    let status = response.status();
    let bytes = response.into_body().collect().await?.to_bytes();
    if !status.is_success() {
        bail!("{method} {url}: {status}: {}", String::from_utf8_lossy(&bytes));
    }
    serde_json::from_slice(&bytes).with_context(|| format!("{method} {url}: the answer is not JSON"))
}
