//! The configuration in force, read again when the file changes.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::Config;
use crate::metrics::Metrics;

/// How often the file is looked at. A symlink may lead elsewhere by then, as in mounted ConfigMaps, which no
/// notification tells.
const PERIOD: Duration = Duration::from_secs(1);

/// The configuration in force.
#[derive(Debug, Default)]
pub struct Configs(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    content: Option<Vec<u8>>,
    config: Option<Arc<Config>>,
    problem: Option<String>,
}

impl Configs {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last one that made sense.
    pub fn now(&self) -> Option<Arc<Config>> {
        self.state().config.clone()
    }

    /// What is wrong with the file as it is.
    pub fn problem(&self) -> Option<String> {
        self.state().problem.clone()
    }

    /// Looks at the file. A broken one is refused, and the old one stays.
    pub fn look(&self, path: &Path, metrics: &Metrics) {
        let read = fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()));
        let mut state = self.state();
        if let Ok(content) = &read
            && state.content.as_ref() == Some(content)
        {
            return;
        }
        let parsed = read.and_then(|content| {
            state.content = Some(content.clone());
            Config::parse(&content).map_err(|why| format!("{}: {why}", path.display()))
        });
        match parsed {
            Ok(config) => {
                tracing::info!(networks = config.networks.len(), "configuration in force");
                (state.config, state.problem) = (Some(Arc::new(config)), None);
            }
            Err(problem) if state.problem.as_ref() != Some(&problem) => {
                tracing::error!(problem, "configuration refused; the one before stays in force");
                metrics.config_refused();
                state.problem = Some(problem);
            }
            Err(_) => {}
        }
        metrics.config_valid(state.problem.is_none());
    }
}

/// Looks at the file for ever.
pub async fn follow(configs: Arc<Configs>, path: std::path::PathBuf, metrics: Arc<Metrics>) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        configs.look(&path, &metrics);
    }
}
