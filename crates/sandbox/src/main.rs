//! galaxy-sandbox: a cluster in one process, galaxy-ipam beside it, and a tour of what it promises.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use galaxy_sandbox::up;

/// A Kubernetes cluster in one process to try floating IPs on. Nothing is installed, nothing needs root, nothing stays behind.
#[derive(Parser)]
#[command(name = "galaxy-sandbox", version, max_term_width = 110, arg_required_else_help = true)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Up(up::Args),
}

#[tokio::main]
async fn main() -> ExitCode {
    // Fails only if a provider was chosen before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let Command::Up(args) = Args::parse().command;
    match up::run(args).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("galaxy-sandbox: {error:#}");
            ExitCode::FAILURE
        }
    }
}
