//! galaxy-sandbox: a cluster in one process, galaxy-ipam beside it, and a tour of what it promises.

use std::{ffi::OsString, io::Read, process::ExitCode};

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
    /// The node agent `galaxy`, until the standard input ends: so it never outlives a sandbox that was killed.
    #[command(hide = true)]
    Agent {
        #[arg(allow_hyphen_values = true, trailing_var_arg = true)]
        flags: Vec<OsString>,
    },
    /// A CNI plugin of this name.
    #[command(hide = true)]
    Plugin {
        name: OsString,
    },
}

fn main() -> ExitCode {
    // Fails only if a provider was chosen before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match Args::parse().command {
        Command::Up(args) => up(args),
        Command::Agent { flags } => agent(flags),
        Command::Plugin { name } => galaxy_cni::run([name]),
    }
}

#[tokio::main]
async fn up(args: up::Args) -> ExitCode {
    match up::run(args).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("galaxy-sandbox: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn agent(flags: Vec<OsString>) -> ExitCode {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    galaxy_agent::run(std::iter::once("galaxy".into()).chain(flags)).await
}
