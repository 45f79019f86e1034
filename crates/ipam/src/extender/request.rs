//! Bodies in: how much is read of them, and where that is done.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Request};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

/// Largest request: 5,000 whole nodes have about 60 MB.
pub(super) const MAX_BYTES: usize = 256 << 20;
/// From here on, a request takes milliseconds to read, which would keep an async worker from all its other work.
const LARGE_BYTES: usize = 256 << 10;
/// How many large requests are read at a time. A scheduler sends one after the other.
const LARGE_AT_ONCE: usize = 2;

static LARGE: Semaphore = Semaphore::const_new(LARGE_AT_ONCE);

/// A whole body.
pub(super) struct Whole(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for Whole {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        Bytes::from_request(request, state).await.map(Whole).map_err(|rejection: BytesRejection| {
            if rejection.status() != StatusCode::PAYLOAD_TOO_LARGE {
                return rejection.into_response();
            }
            let text = format!(
                "413: the request has more than {} MiB: let the scheduler send names instead of whole nodes, with \
                 nodeCacheCapable: true in the extender's part of its configuration\n",
                MAX_BYTES >> 20
            );
            (StatusCode::PAYLOAD_TOO_LARGE, text).into_response()
        })
    }
}

/// Has a request answered: a small one here, a large one on a thread where it is in nobody's way.
pub(super) async fn answer(body: Bytes, how: impl FnOnce(Bytes) -> Response + Send + 'static) -> Response {
    if body.len() < LARGE_BYTES {
        return how(body);
    }
    let turn = LARGE.acquire().await;
    let answer = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        how(body)
    });
    match answer.await {
        Ok(response) => response,
        Err(broken) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("the request broke off: {broken}\n")).into_response()
        }
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
