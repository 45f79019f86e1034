//! Log lines on the standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::cli::{LogFormat, Options};

/// Starts logging for the whole process and warns of flags without effect.
pub(crate) fn init(options: &Options) -> anyhow::Result<()> {
    let filter = EnvFilter::builder().parse(&options.log_level)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match options.log_format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("logging cannot be started: {error}"))?;
    for note in &options.notes {
        tracing::warn!("{note}");
    }
    Ok(())
}
