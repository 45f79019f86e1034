//! The HTTP API as a client sees it, over a service whose answers the tests set.

mod access;
mod docs;
mod ledger;
mod list;
mod pools;
mod release;
mod routing;
mod shelf;

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, StatusCode, header},
};
use galaxy_ipam::{
    cli::ApiAuth,
    http::{Settings, router},
    metrics::Metrics,
};
use galaxy_sandbox::apiserver::{Options, Server, User};
use serde_json::Value;
use shelf::Shelf;
use tower::ServiceExt;

/// As with `--api-auth=none`; who may use it is a test of its own.
fn open() -> Settings {
    Settings { auth: ApiAuth::None, ..Settings::default() }
}

/// The API over a shelf, with a Kubernetes API server behind it.
struct Site {
    shelf: Arc<Shelf>,
    kubernetes: Server,
    router: Router,
}

impl Site {
    async fn new() -> Self {
        Self::with(open()).await
    }

    async fn with(settings: Settings) -> Self {
        Self::with_users(settings, Vec::new()).await
    }

    async fn with_users(settings: Settings, users: Vec<User>) -> Self {
        let shelf = Arc::new(Shelf::default());
        let kubernetes = Server::start(Options { users, ..Options::default() }).await.unwrap();
        let client = kubernetes.client("galaxy-ipam");
        let router = router(shelf.clone(), client, Arc::new(Metrics::new()), settings);
        Site { shelf, kubernetes, router }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        send(&self.router, request).await
    }

    async fn get(&self, uri: &str) -> Answer {
        self.send(Request::get(uri).body(Body::empty()).unwrap()).await
    }

    async fn delete(&self, uri: &str) -> Answer {
        self.send(Request::delete(uri).body(Body::empty()).unwrap()).await
    }

    async fn post(&self, uri: &str, body: impl Into<Body>) -> Answer {
        let request = Request::post(uri).header(header::CONTENT_TYPE, "application/json");
        self.send(request.body(body.into()).unwrap()).await
    }
}

async fn send(router: &Router, request: Request<Body>) -> Answer {
    let (parts, body) = router.clone().oneshot(request).await.unwrap().into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let header = |name| {
        let value = parts.headers.get(name);
        value.map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    };
    let (content_type, location) = (header(header::CONTENT_TYPE), header(header::LOCATION));
    let challenge = header(header::WWW_AUTHENTICATE);
    let text = String::from_utf8_lossy(&body).into_owned();
    Answer { status: parts.status, content_type, location, challenge, text }
}

/// An answer.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    content_type: String,
    location: String,
    challenge: String,
    text: String,
}

impl Answer {
    /// The body, which must be JSON; its `code`, where it has one, must be the status.
    #[track_caller]
    fn json(&self) -> Value {
        assert_eq!(self.content_type, "application/json", "{self:?}");
        let value: Value = serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"));
        if let Some(code) = value.get("code") {
            assert_eq!(code.as_u64(), Some(self.status.as_u16().into()), "{self:?}");
        }
        value
    }

    /// The `message` of an envelope.
    #[track_caller]
    fn message(&self) -> String {
        self.json()["message"].as_str().unwrap().to_owned()
    }
}
