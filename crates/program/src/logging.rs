//! Log lines: structured, as text or JSON, on the standard error.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging for the whole process, with `--log-format` and `--log-level`, and warns with the notes on flags without effect.
///
/// # Errors
/// The level is malformed, or logging has been started before.
pub fn init(format: LogFormat, level: &str, notes: &[String]) -> anyhow::Result<()> {
    let filter = EnvFilter::builder().parse(level)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("logging cannot be started: {error}"))?;
    for note in notes {
        tracing::warn!("{note}");
    }
    Ok(())
}

/// Checks `--log-level`.
///
/// # Errors
/// It is empty, or a part of it is no level and no `MODULE=LEVEL`.
pub fn directives(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("empty; use error, warn, info, debug or trace".to_owned());
    }
    // A lone word that is no level would otherwise be taken for a module.
    let bad = text.split(',').map(str::trim).find(|part| {
        let level = part.rsplit('=').next().unwrap_or(part);
        !["off", "error", "warn", "info", "debug", "trace"].contains(&level.to_ascii_lowercase().as_str())
    });
    if let Some(bad) = bad {
        return Err(format!("{bad:?} is not error, warn, info, debug, trace or off, nor MODULE=LEVEL"));
    }
    EnvFilter::builder().parse(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}
