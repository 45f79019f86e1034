//! Bodies in and out.

use axum::extract::Request;
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use galaxy_api::wire;
use serde::{Deserialize, Serialize};
use serde_json::ser::PrettyFormatter;

/// Reads a request; one that is no JSON of the right shape is answered with 500 and plain text, as ever.
pub(super) fn read<'a, T: Deserialize<'a> + Default>(body: &'a [u8]) -> Result<T, Box<Response>> {
    wire::from_slice(body).map_err(|error| {
        let text = format!("bad request: {}\n", wire::error_text(&error));
        Box::new((StatusCode::INTERNAL_SERVER_ERROR, text).into_response())
    })
}

/// JSON indented by one space.
pub(super) fn json(value: &impl Serialize) -> Response {
    let mut out = Vec::with_capacity(256);
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, PrettyFormatter::with_indent(b" "));
    match value.serialize(&mut serializer) {
        Ok(()) => ([(header::CONTENT_TYPE, "application/json")], out).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// 415 for a POST of anything but JSON.
pub(super) async fn json_only(request: Request, next: Next) -> Response {
    let media_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = media_type.and_then(|value| value.split(';').next()).map(str::trim).unwrap_or_default();
    if request.method() == Method::POST && !essence.eq_ignore_ascii_case("application/json") {
        let text = "415: Unsupported Media Type: send Content-Type: application/json\n";
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, text).into_response();
    }
    next.run(request).await
}
