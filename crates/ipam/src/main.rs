//! galaxy-ipam, see the library.

use std::process::ExitCode;

use galaxy_ipam::cli::Options;
use galaxy_ipam::service;
use galaxy_program::logging;

#[tokio::main]
async fn main() -> ExitCode {
    // Fails only if a provider was chosen before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let options = Options::parse_args(std::env::args_os()).unwrap_or_else(|error| error.exit());
    if let Err(error) = logging::init(options.log_format, &options.log_level, &options.notes) {
        eprintln!("galaxy-ipam: {error:#}");
        return ExitCode::FAILURE;
    }
    match service::run(options, service::stop_signal()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
