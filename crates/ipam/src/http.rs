//! The HTTP API on port 9041: who has which address, releasing addresses, pools; documentation, health and metrics.
//!
//! Handlers translate, they do not decide: what may be released and how a pool is filled, the ledger says.

mod backend;
mod docs;
mod entry;
mod list;
mod openapi;
mod pools;
mod release;
mod reply;
mod swagger12;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};

pub use backend::Backend;
pub use openapi::openapi_json;
pub use swagger12::{declaration as swagger12_declaration, listing as swagger12_listing};

pub(crate) use reply::answer;

use crate::auth;
use crate::cli::ApiAuth;
use crate::metrics::{Format, Metrics};

/// Largest request body: a full page of a list, sent back to be released, has about 2.5 MB.
const MAX_BODY_BYTES: usize = 8 << 20;

/// What is served and how long a client may wait.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Serve the documentation's page at `/apidocs/` too (`--swagger`).
    pub swagger_page: bool,
    /// The port speaks TLS.
    pub tls: bool,
    /// Who decides what a caller may do (`--api-auth`).
    pub auth: ApiAuth,
    /// Longest time for one call of the API server.
    pub call_deadline: Duration,
    /// How long to wait until a pool is filled before the answer says how far it came.
    pub fill_patience: Duration,
    /// How long to wait for one release before the answer says that it goes on. Longer than a call of the cloud provider.
    pub release_patience: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            swagger_page: false,
            tls: false,
            auth: ApiAuth::default(),
            call_deadline: Duration::from_secs(4),
            fill_patience: Duration::from_secs(10),
            release_patience: Duration::from_secs(65),
        }
    }
}

/// What the handlers share.
#[derive(Clone)]
struct Api {
    backend: Arc<dyn Backend>,
    client: kube::Client,
    metrics: Arc<Metrics>,
    settings: Settings,
}

/// Everything that is served on the API port.
pub fn router(backend: Arc<dyn Backend>, client: kube::Client, metrics: Arc<Metrics>, settings: Settings) -> Router {
    let health = health_router(backend.clone());
    let v1 = Router::new()
        .route("/v1/ip", get(list::list).post(release::release))
        .route("/v1/pool", axum::routing::post(pools::set))
        .route("/v1/pool/{name}", get(pools::get).delete(pools::delete))
        .layer(axum::middleware::from_fn(reply::negotiate))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES));
    // Documentation, health and metrics are open, as in the original.
    let v1 = match settings.auth {
        ApiAuth::Kubernetes => {
            let gate = auth::Gate::new(client.clone(), metrics.clone());
            v1.layer(axum::middleware::from_fn_with_state(gate, auth::guard))
        }
        ApiAuth::None => v1,
    };
    v1.route("/metrics", get(scrape))
        .with_state(Api { backend, client, metrics, settings })
        .merge(docs::router(settings.swagger_page, if settings.tls { "https" } else { "http" }))
        .merge(health)
        .fallback(reply::not_found)
        .method_not_allowed_fallback(reply::method_not_allowed)
}

/// `/healthy` (the process serves) and `/readyz` (it decides or passes on to who does; else 503 and why not), for either port.
pub fn health_router(backend: Arc<dyn Backend>) -> Router {
    let ready: MethodRouter = get(move || async move {
        match backend.standing().await {
            Ok(standing) => (StatusCode::OK, standing),
            Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why),
        }
    });
    Router::new().route("/healthy", get(|| async { "ok" })).route("/readyz", ready)
}

async fn scrape(State(api): State<Api>, headers: HeaderMap) -> Response {
    let format = Format::accepted(headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()));
    let text = api.metrics.encode(format, &api.backend.snapshot());
    ([(header::CONTENT_TYPE, format.content_type())], text).into_response()
}
