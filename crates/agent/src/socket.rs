//! The Unix socket that galaxy-sdn calls.

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::any,
};
use galaxy_cni::spec::{Error, Version, code};
use serde_json::Value;
use tokio::net::UnixListener;

use crate::call::{Agent, Call};

/// Largest request in bytes: an environment and a configuration.
const MAX_BYTES: usize = 8 << 20;
/// Longest wait for the agent before to end.
const HANDOVER: Duration = Duration::from_secs(30);

/// The socket, and the lock that says whose it is.
pub(crate) struct Socket {
    listener: UnixListener,
    _lock: File,
}

impl Socket {
    /// Listens. A socket that a killed agent left is replaced; a living agent is waited for.
    pub(crate) async fn open(path: &Path) -> anyhow::Result<Self> {
        let folder = path.parent().unwrap_or(Path::new("/"));
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(folder)
            .with_context(|| format!("cannot create the folder {}", folder.display()))?;
        let lock_path = path.with_extension("lock");
        let lock = File::create(&lock_path).with_context(|| format!("cannot create {}", lock_path.display()))?;
        let begin = Instant::now();
        while lock.try_lock().is_err() {
            anyhow::ensure!(begin.elapsed() < HANDOVER, "another agent serves {}; stop it first", path.display());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // Nobody may connect before it is private.
        let temporary = path.with_extension("new");
        let _ = fs::remove_file(&temporary);
        let listener =
            UnixListener::bind(&temporary).with_context(|| format!("cannot listen at {}", path.display()))?;
        fs::set_permissions(&temporary, Permissions::from_mode(0o600))?;
        fs::rename(&temporary, path).with_context(|| format!("cannot listen at {}", path.display()))?;
        Ok(Socket { listener, _lock: lock })
    }

    /// Answers until `stop`; calls under way are finished.
    pub(crate) async fn serve(
        self,
        agent: Arc<Agent>,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<()> {
        let router = Router::new().route("/cni", any(cni)).layer(DefaultBodyLimit::max(MAX_BYTES)).with_state(agent);
        axum::serve(self.listener, router).with_graceful_shutdown(stop).await
    }
}

async fn cni(State(agent): State<Arc<Agent>>, body: Bytes) -> Response {
    let call = match Call::read(&body) {
        Ok(call) => call,
        Err(why) => return (StatusCode::BAD_REQUEST, why).into_response(),
    };
    let version = call.version;
    // What was begun is finished, whether or not somebody still listens.
    let work = tokio::spawn(async move { agent.answer(&call).await });
    let answer =
        work.await.unwrap_or_else(|error| Err(Error::new(code::IO, format!("the agent failed badly: {error}"))));
    match answer {
        Ok(Value::Null) => StatusCode::OK.into_response(),
        Ok(result) => json(StatusCode::OK, &result),
        Err(error) => json(StatusCode::INTERNAL_SERVER_ERROR, &error.to_json(version.max(Version::V0_1_0))),
    }
}

fn json(status: StatusCode, value: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}
