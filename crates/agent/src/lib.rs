//! The node agent: gives the pods of its node exactly the addresses that galaxy-ipam gave them.
//!
//! Calls come in by a Unix socket from galaxy-sdn ([`socket`]). ADD learns the pod and its confirmed addresses
//! ([`cluster`]), chooses networks ([`config`]), writes down what it is about to do ([`state`]) and runs the plugins
//! ([`call`]). DEL needs only what was written down. What nobody asks for any more is collected ([`orphans`]).

pub mod call;
pub mod cli;
pub mod cluster;
pub mod config;
mod events;
pub mod install;
pub mod metrics;
mod orphans;
pub mod runtime;
pub mod service;
mod socket;
pub mod state;
mod sweep;
mod sysctl;
mod web;

use std::{ffi::OsString, process::ExitCode};

use cli::{Action, Options};
use galaxy_program::logging;

/// Runs the command line, program name first. Returns when the agent was told to stop.
pub async fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let options = Options::parse_args(args).unwrap_or_else(|error| error.exit());
    let done = match &options.action {
        Some(Action::Install(install)) => install::install(install),
        Some(Action::Uninstall(install)) => install::uninstall(install),
        None => match logging::init(options.log_format, &options.log_level, &options.notes) {
            Ok(()) => service::run(options).await,
            failed => failed,
        },
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("galaxy: {error:#}");
            ExitCode::FAILURE
        }
    }
}
