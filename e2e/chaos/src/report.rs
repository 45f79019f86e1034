//! How long things took.

use std::{collections::BTreeMap, fmt, time::Duration};

/// Durations by what they are of.
#[derive(Debug, Default)]
pub(crate) struct Report(BTreeMap<&'static str, Vec<Duration>>);

impl Report {
    /// One more.
    pub(crate) fn note(&mut self, what: &'static str, took: Duration) {
        self.0.entry(what).or_default().push(took);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:36} {:>5} {:>9} {:>9}", "seconds", "times", "median", "longest")?;
        for (what, times) in &self.0 {
            let mut sorted: Vec<f64> = times.iter().map(Duration::as_secs_f64).collect();
            sorted.sort_by(f64::total_cmp);
            let (median, longest) = (sorted[sorted.len() / 2], sorted[sorted.len() - 1]);
            writeln!(f, "{what:36} {:5} {median:9.2} {longest:9.2}", sorted.len())?;
        }
        Ok(())
    }
}
