//! `/metrics`, `/healthy` and `/readyz`.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use tokio::net::TcpListener;

use crate::call::Agent;

/// Serves for ever.
pub(crate) async fn serve(listener: TcpListener, agent: Arc<Agent>) -> std::io::Result<()> {
    let alive = || async { "ok\n" };
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthy", get(alive))
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .with_state(agent);
    axum::serve(listener, router).await
}

async fn metrics(State(agent): State<Arc<Agent>>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], agent.metrics.encode())
}

async fn ready(State(agent): State<Arc<Agent>>) -> (StatusCode, String) {
    match agent.status().await {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
    }
}
