//! The scheduler extender on port 9040.
//!
//! Handlers translate, they do not decide, and a filter or preempt call writes nothing. Answers are JSON indented by one
//! space; what goes wrong inside a well-formed request is told inside the answer.

mod bind;
mod filter;
mod preempt;
mod reply;
mod request;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::post;

pub(crate) use bind::Binder;
pub use filter::decide as decide_filter;

use crate::engine::Engine;

/// What the handlers share.
#[derive(Clone)]
struct Extender {
    engine: Arc<Engine>,
    binder: Arc<Binder>,
}

/// The extender's verbs. Health is added by whoever serves it.
pub(crate) fn router(engine: Arc<Engine>, binder: Arc<Binder>) -> Router {
    Router::new()
        .route("/v1/filter", post(filter::filter))
        .route("/v1/priority", post(filter::priority))
        .route("/v1/bind", post(bind::bind))
        .route("/v1/preempt", post(preempt::preempt))
        .route_layer(axum::middleware::from_fn(request::json_only))
        .layer(DefaultBodyLimit::max(request::MAX_BYTES))
        .with_state(Extender { engine, binder })
}
