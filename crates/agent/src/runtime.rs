//! The container runtime, asked which sandboxes there are.

/// The protocol, generated from `proto/cri.proto`.
#[allow(missing_docs, unreachable_pub)]
pub mod proto {
    tonic::include_proto!("runtime.v1");
}

use std::{collections::HashSet, path::PathBuf, time::Duration};

use hyper_util::rt::TokioIo;
use proto::{ListPodSandboxRequest, runtime_service_client::RuntimeServiceClient};
use tokio::net::UnixStream;
use tonic::transport::Endpoint;
use tower::service_fn;

/// Longest wait for its answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Largest answer in bytes: thousands of sandboxes.
const MAX_BYTES: usize = 64 << 20;

/// The runtime's socket.
#[derive(Debug, Clone)]
pub struct Runtime(PathBuf);

impl Runtime {
    /// The runtime at `unix:///PATH` or `/PATH`; none if there is no path.
    pub fn new(endpoint: &str) -> Option<Self> {
        let path = endpoint.strip_prefix("unix://").unwrap_or(endpoint);
        Some(path).filter(|path| !path.is_empty()).map(|path| Runtime(path.into()))
    }

    /// Container ids of all sandboxes, whatever their state.
    ///
    /// # Errors
    /// The runtime cannot be reached or refuses. Nothing is known then.
    pub async fn sandboxes(&self) -> Result<HashSet<String>, String> {
        let path = self.0.clone();
        let ask = async {
            let connector = service_fn(move |_| {
                let path = path.clone();
                async move { UnixStream::connect(path).await.map(TokioIo::new) }
            });
            let endpoint = Endpoint::from_static("http://localhost");
            let channel = endpoint.connect_with_connector(connector).await.map_err(|error| error.to_string())?;
            let mut client = RuntimeServiceClient::new(channel).max_decoding_message_size(MAX_BYTES);
            let answer = client.list_pod_sandbox(ListPodSandboxRequest {}).await;
            answer.map_err(|status| format!("{}: {}", status.code(), status.message()))
        };
        let answer = tokio::time::timeout(PATIENCE, ask)
            .await
            .map_err(|_| "it does not answer".to_owned())
            .and_then(|done| done);
        let answer = answer.map_err(|why| format!("container runtime at {}: {why}", self.0.display()))?;
        Ok(answer.into_inner().items.into_iter().map(|sandbox| sandbox.id).collect())
    }
}
