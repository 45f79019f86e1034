//! The address pools in force.
//!
//! A document is taken as a whole or not at all; a refused one leaves the old one in force (rule 5).

use std::sync::{Arc, Mutex, PoisonError};

use galaxy_api::config::{FileConfig, parse_pools};
use galaxy_core::{PoolConfig, Topology};

use crate::engine::Engine;
use crate::events::{Event, Events, Subject};

/// Where the document comes from when it is not in the configuration file.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// Namespace of the ConfigMap.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) name: String,
    /// Key in its data.
    pub(crate) key: String,
}

impl Source {
    /// The ConfigMap that a configuration file names.
    pub(crate) fn of(file: &FileConfig) -> Self {
        Source {
            namespace: file.config_map_namespace.clone(),
            name: file.config_map_name.clone(),
            key: file.config_map_key.clone(),
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ConfigMap {}/{}, key {}", self.namespace, self.name, self.key)
    }
}

/// Applies documents to the ledger.
pub(crate) struct Configuration {
    engine: Arc<Engine>,
    events: Events,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The last document seen, applied or refused.
    last: Option<String>,
    /// What keeps the latest document from being in force.
    problem: Option<String>,
}

impl Configuration {
    pub(crate) fn new(engine: Arc<Engine>, events: Events) -> Arc<Self> {
        Arc::new(Configuration { engine, events, state: Mutex::default() })
    }

    /// Why the latest document is not in force, if so.
    pub(crate) fn problem(&self) -> Option<String> {
        self.lock().problem.clone()
    }

    /// Puts the pools of the configuration file in force.
    ///
    /// # Errors
    /// Names pool, member and value.
    pub(crate) fn apply(&self, pools: Vec<PoolConfig>) -> Result<(), String> {
        let (topology, warnings) = Topology::build(pools).map_err(|error| error.to_string())?;
        for warning in &warnings {
            tracing::warn!(%warning, "address pools");
        }
        let (pools, generation) = self.engine.with(|ledger, now| {
            let pools = topology.pools().len();
            ledger.configure(now, topology);
            (pools, ledger.stats().generation)
        });
        tracing::info!(pools, generation, "address pools are in force");
        Ok(())
    }

    /// The document as the ConfigMap has it now; none if the key is missing.
    pub(crate) fn document(&self, source: &Source, uid: Option<String>, document: Option<String>) {
        let Some(document) = document else {
            let error = format!("the key is missing; put the JSON array of pools under data.{}", source.key);
            return self.refuse(source, uid, &error);
        };
        if self.lock().last.as_ref() == Some(&document) {
            return;
        }
        let applied = parse_pools(&document).map_err(|error| error.to_string()).and_then(|pools| self.apply(pools));
        self.lock().last = Some(document);
        match applied {
            Ok(()) => self.lock().problem = None,
            Err(error) => self.refuse(source, uid, &error),
        }
    }

    /// A document that cannot be used.
    pub(crate) fn refuse(&self, source: &Source, uid: Option<String>, error: &str) {
        let problem = format!("{source}: {error}");
        let mut state = self.lock();
        if state.problem.as_ref() == Some(&problem) {
            return;
        }
        state.problem = Some(problem);
        drop(state);
        tracing::warn!(%source, error, "configuration refused; the old one stays in force");
        self.engine.metrics.config_refused();
        self.events.send(Event {
            subject: Subject {
                api_version: Some("v1".to_owned()),
                kind: "ConfigMap".to_owned(),
                namespace: source.namespace.clone(),
                name: source.name.clone(),
                uid,
            },
            warning: true,
            reason: "ConfigurationRefused",
            message: format!("The configuration is refused, the old one stays in force: {error}"),
        });
    }

    /// The ConfigMap was deleted.
    pub(crate) fn missing(&self, source: &Source) {
        tracing::warn!(%source, "the ConfigMap is gone; the old configuration stays in force");
        let mut state = self.lock();
        state.last = None;
        state.problem = Some(format!("{source}: the ConfigMap does not exist"));
    }

    /// The ConfigMap has been looked for.
    pub(crate) fn listed(&self, source: &Source) {
        let mut state = self.lock();
        if state.last.is_none() && state.problem.is_none() {
            tracing::warn!(%source, "the ConfigMap does not exist; nothing can be handed out until it does");
            state.problem = Some(format!("{source}: the ConfigMap does not exist"));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
