//! The node agent, see the library.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    // Fails only if a provider was chosen before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    galaxy_agent::run(std::env::args_os()).await
}
