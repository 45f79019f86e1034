//! Scenarios on a real control plane.

use std::process::ExitCode;

use clap::Parser;
use galaxy_e2e::real;

#[tokio::main]
async fn main() -> ExitCode {
    match real::run(real::Args::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
