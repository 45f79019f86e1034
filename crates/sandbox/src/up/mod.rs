//! `galaxy-sandbox up`: the sandbox with six nodes in three racks, galaxy-ipam as its client, and a guided tour.
//!
//! Nothing on the tour is canned. Each step sends the requests that kubectl or curl would, waits until the promise it states holds or its
//! time is up, and shows what the API server then says.

mod answers;
mod compare;
pub mod examples;
mod hands;
mod http;
mod screen;
mod snapshot;
mod steps;
mod table;
mod tour;
mod world;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use screen::Screen;
pub use world::{Agents, Ports, World};

/// Start the sandbox and galaxy-ipam, take the guided tour, and stay up until Ctrl-C.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Args {
    /// End after the tour; the exit code is 0 if every step was as promised, else 1.
    #[arg(long, conflicts_with = "no_tour")]
    pub once: bool,

    /// Start with an empty cluster (nodes and address pools, no pods).
    #[arg(long)]
    pub no_tour: bool,

    /// Port of galaxy-ipam's HTTP API, Swagger UI and metrics (9041 on a real cluster). 0 takes any free one.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub api_port: u16,

    /// Port of galaxy-ipam's scheduler extender (9040 on a real cluster). 0 takes any free one.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub extender_port: u16,

    /// Port of the sandbox's Kubernetes API. 0 takes any free one.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub kube_port: u16,

    /// Where to write the kubeconfig for kubectl. A temporary folder, if not given.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// What is logged to the standard error: error, warn, info, debug, or per module as in `info,galaxy_ipam=debug`.
    #[arg(long, value_name = "LEVEL", default_value = "error")]
    pub log_level: String,
}

/// Runs the command until it is done or the user wants it to end.
///
/// # Errors
/// A port is taken, a file cannot be written, or the sandbox does not come up.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let filter = log_filter(&args.log_level).with_context(|| format!("--log-level={}", args.log_level))?;
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
    let screen = Screen::stdout();
    let ports = Ports { api: args.api_port, extender: args.extender_port, kube: args.kube_port };
    let mut interrupted = std::pin::pin!(galaxy_ipam::service::stop_signal());
    let program = std::env::current_exe().context("this program's own file")?;
    let agents = Agents { program, log_level: args.log_level.clone() };
    let world = tokio::select! {
        started = World::start(ports, args.kubeconfig.clone(), Some(agents)) => started?,
        () = &mut interrupted => return Ok(ExitCode::FAILURE),
    };
    let code = tokio::select! {
        code = visit(&args, &world, &screen) => code?,
        () = &mut interrupted => {
            world.stop().await?;
            return Ok(if args.once { ExitCode::FAILURE } else { ExitCode::SUCCESS });
        }
    };
    if !args.once {
        interrupted.await;
        screen.line("");
        screen.line("    Stopping.");
    }
    world.stop().await?;
    Ok(code)
}

/// What is logged. A word of its own has to be a level: mistyped, it would be a module that there is none of.
fn log_filter(text: &str) -> anyhow::Result<EnvFilter> {
    for word in text.split(',').map(str::trim).filter(|word| !word.contains('=')) {
        word.parse::<LevelFilter>()
            .map_err(|_| anyhow::anyhow!("{word:?} is none of error, warn, info, debug, trace and off"))?;
    }
    Ok(EnvFilter::builder().parse(text)?)
}

/// The tour, if wanted, and where everything is.
async fn visit(args: &Args, world: &World, screen: &Screen) -> anyhow::Result<ExitCode> {
    tour::welcome(screen, world);
    let broken = if args.no_tour { 0 } else { steps::tour(world, screen).await? };
    if !args.once {
        tour::addresses(screen, world);
    }
    Ok(if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use super::log_filter;

    #[test]
    fn a_mistyped_level_is_told() {
        for good in ["error", "off", "info,galaxy_ipam=debug", "galaxy_ipam=debug", "INFO"] {
            assert!(log_filter(good).is_ok(), "{good}");
        }
        for (bad, word) in [("inof", "inof"), ("info,galaxy_ipam", "galaxy_ipam"), ("galaxy_ipam=loud", "")] {
            assert!(log_filter(bad).unwrap_err().to_string().contains(word), "{bad}");
        }
    }
}
