//! HTTP as a user with curl speaks it.

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;

/// A client for plain HTTP.
#[derive(Clone, Debug)]
pub struct Http(Client<HttpConnector, Full<Bytes>>);

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// HTTP status code.
    pub status: u16,
    /// Header Content-Type.
    pub content_type: String,
    /// Body.
    pub body: String,
}

impl Reply {
    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

impl Default for Http {
    fn default() -> Self {
        Self(Client::builder(TokioExecutor::new()).build_http())
    }
}

impl Http {
    /// GET.
    ///
    /// # Errors
    /// No answer.
    pub async fn get(&self, url: &str) -> Result<Reply> {
        self.send(Method::GET, url, None, "").await
    }

    /// DELETE.
    ///
    /// # Errors
    /// No answer.
    pub async fn delete(&self, url: &str) -> Result<Reply> {
        self.send(Method::DELETE, url, None, "").await
    }

    /// POST of a JSON body.
    ///
    /// # Errors
    /// No answer.
    pub async fn post(&self, url: &str, body: &Value) -> Result<Reply> {
        self.send(Method::POST, url, Some("application/json"), &body.to_string()).await
    }

    /// Any request.
    ///
    /// # Errors
    /// No answer.
    pub async fn send(&self, method: Method, url: &str, content_type: Option<&str>, body: &str) -> Result<Reply> {
        self.send_as(method, url, content_type, body, None).await
    }

    /// Any request, with a header `Authorization`.
    ///
    /// # Errors
    /// No answer.
    pub async fn send_as(
        &self,
        method: Method,
        url: &str,
        content_type: Option<&str>,
        body: &str,
        authorization: Option<&str>,
    ) -> Result<Reply> {
        let mut request = Request::builder().method(method).uri(url);
        if let Some(content_type) = content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        if let Some(authorization) = authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes())))?;
        let answer = self.0.request(request).await.with_context(|| format!("no answer from {url}"))?;
        let status = answer.status().as_u16();
        let content_type = answer.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or_default().to_owned();
        let body = answer.into_body().collect().await.with_context(|| format!("half an answer from {url}"))?;
        let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        Ok(Reply { status, content_type, body })
    }
}

/// Escapes what may not stand in a query.
pub fn query(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
