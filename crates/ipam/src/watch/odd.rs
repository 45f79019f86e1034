//! FloatingIP objects with members that make no sense: each is reported once, and they are counted.

use std::collections::HashMap;
use std::sync::Arc;

use crate::metrics::Metrics;

/// The odd objects that are there.
pub(crate) struct Odd {
    /// What was said about an object, by its name.
    said: HashMap<String, String>,
    metrics: Arc<Metrics>,
}

impl Odd {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Odd { said: HashMap::new(), metrics }
    }

    /// An object was seen, with what is odd about it; none if nothing is.
    pub(crate) fn seen(&mut self, name: &str, oddity: Option<String>) {
        let Some(oddity) = oddity else { return self.gone(name) };
        if self.said.get(name) != Some(&oddity) {
            tracing::warn!(floatingip = name, "{oddity}");
            self.said.insert(name.to_owned(), oddity);
            self.metrics.odd_objects(self.said.len());
        }
    }

    /// An object is gone, or in order.
    pub(crate) fn gone(&mut self, name: &str) {
        if self.said.remove(name).is_some() {
            self.metrics.odd_objects(self.said.len());
        }
    }
}
