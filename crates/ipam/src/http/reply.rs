//! Answers: JSON as the original wrote it, and plain text where no handler was found.

use axum::{
    extract::{FromRequest, Request, rejection::BytesRejection},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use galaxy_api::{http::Envelope, wire};
use serde::{Deserialize, Serialize};
use serde_json::ser::PrettyFormatter;

const JSON: &str = "application/json";

/// A value as JSON indented by one space.
pub(super) fn to_json(value: &impl Serialize) -> String {
    let mut out = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, PrettyFormatter::with_indent(b" "));
    // The bodies are plain structs: they always serialise, and JSON is always text.
    let _ = value.serialize(&mut serializer);
    String::from_utf8(out).unwrap_or_default()
}

/// An answer whose HTTP status is `code`.
pub(crate) fn answer(code: u16, body: &impl Serialize) -> Response {
    let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, JSON)], to_json(body)).into_response()
}

/// An envelope as an error of a handler.
#[derive(Debug)]
pub(super) struct Failure(pub(super) Envelope);

impl Failure {
    pub(super) fn bad_request(error: impl std::fmt::Display) -> Self {
        Failure(Envelope::bad_request(error))
    }

    pub(super) fn not_found(error: impl std::fmt::Display) -> Self {
        Failure(Envelope::not_found(error))
    }

    pub(super) fn server_error(error: impl std::fmt::Display) -> Self {
        Failure(Envelope::server_error(error))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        answer(self.0.code, &self.0)
    }
}

/// A JSON body. Letter case of member names does not matter, `null` is as good as absent.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: for<'de> Deserialize<'de> + Default> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|error: BytesRejection| Failure::bad_request(format_args!("the body cannot be read: {error}")))?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Err(Failure::bad_request("the body is empty; it must be a JSON object"));
        }
        wire::from_slice(&bytes).map(Body).map_err(|error| Failure::bad_request(wire::error_text(&error)))
    }
}

/// 415 for a body that is not JSON, 406 for a client that takes none.
pub(super) async fn negotiate(request: Request, next: Next) -> Response {
    if request.method() == Method::POST && !is_json(request.headers()) {
        return plain(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "415: Unsupported Media Type: send Content-Type: application/json",
        );
    }
    if !takes_json(request.headers()) {
        return plain(StatusCode::NOT_ACCEPTABLE, "406: Not Acceptable: only application/json is served here");
    }
    next.run(request).await
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|content_type| media_type(content_type).eq_ignore_ascii_case(JSON))
}

fn takes_json(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(header::ACCEPT).iter().peekable();
    accepted.peek().is_none()
        || accepted.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(|range| {
            ["", "*/*", "application/*", JSON].iter().any(|good| media_type(range).eq_ignore_ascii_case(good))
        })
}

/// A media type without its parameters.
fn media_type(value: &str) -> &str {
    value.split(';').next().unwrap_or(value).trim()
}

pub(super) async fn not_found() -> Response {
    plain(StatusCode::NOT_FOUND, "404: Page Not Found")
}

pub(super) async fn method_not_allowed() -> Response {
    plain(StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed")
}

fn plain(status: StatusCode, text: &'static str) -> Response {
    (status, text).into_response()
}
