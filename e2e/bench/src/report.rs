//! Percentiles, and rows with targets.

use std::{fmt, time::Duration};

/// On which side of the target a value must be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
}

impl Target {
    fn met(self, value: f64) -> bool {
        match self {
            Target::AtLeast(target) => value >= target,
            Target::AtMost(target) => value <= target,
        }
    }

    /// How far a value is on the wrong side, in percent of the target.
    fn distance(self, value: f64) -> f64 {
        let (Target::AtLeast(target) | Target::AtMost(target)) = self;
        (value - target).abs() / target.max(f64::EPSILON) * 100.0
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::AtLeast(target) => write!(f, "≥ {target}"),
            Target::AtMost(target) => write!(f, "≤ {target}"),
        }
    }
}

struct Row {
    what: String,
    value: f64,
    target: Option<Target>,
    detail: String,
}

/// The rows so far.
#[derive(Default)]
pub(crate) struct Report(Vec<Row>);

impl Report {
    /// A row with a target.
    pub(crate) fn row(&mut self, what: impl Into<String>, value: f64, target: Target, detail: impl Into<String>) {
        self.add(Row { what: what.into(), value, target: Some(target), detail: detail.into() });
    }

    /// A value that is only shown.
    pub(crate) fn shown(&mut self, what: impl Into<String>, value: f64, detail: impl Into<String>) {
        self.add(Row { what: what.into(), value, target: None, detail: detail.into() });
    }

    fn add(&mut self, row: Row) {
        // At once too: a run takes long.
        println!("{row}");
        self.0.push(row);
    }

    /// Whether no target is missed.
    pub(crate) fn met(&self) -> bool {
        self.0.iter().all(|row| row.target.is_none_or(|target| target.met(row.value)))
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (target, verdict) = match self.target {
            None => (String::new(), String::new()),
            Some(target) if target.met(self.value) => (target.to_string(), "met".to_owned()),
            Some(target) => (target.to_string(), format!("missed by {:.0} %", target.distance(self.value))),
        };
        write!(f, "| {:<58} | {:>8.3} | {target:>7} | {verdict:<15} | {} |", self.what, self.value, self.detail)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| {:<58} | {:>8} | {:>7} | {:<15} | |", "what", "value", "target", "")?;
        writeln!(f, "| --- | ---: | ---: | --- | --- |")?;
        self.0.iter().try_for_each(|row| writeln!(f, "{row}"))
    }
}

/// Durations, ascending.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times(Vec<Duration>);

impl Extend<Duration> for Times {
    fn extend<I: IntoIterator<Item = Duration>>(&mut self, times: I) {
        self.0.extend(times);
        self.0.sort_unstable();
    }
}

impl Times {
    /// Those of another too.
    pub(crate) fn merge(&mut self, other: Times) {
        self.extend(other.0);
    }

    /// A percentile, in milliseconds; 0 of nothing.
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        let at = (self.0.len() * percent / 100).min(self.0.len().saturating_sub(1));
        self.0.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    }

    /// p50 and p99 as text.
    pub(crate) fn text(&self) -> String {
        format!("p50 {:.2} ms, p99 {:.2} ms", self.percentile(50), self.percentile(99))
    }
}

/// The middle one; 0 of nothing.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// Two rates that took turns, as they are told beside their ratio.
pub(crate) struct Rates {
    /// Seconds of each turn of ours and of what it is compared with.
    turns: Vec<(f64, f64)>,
    count: usize,
}

impl Rates {
    /// Turns of so many things each.
    pub(crate) fn of(count: usize) -> Self {
        Self { turns: Vec::new(), count }
    }

    /// One turn of each.
    pub(crate) fn turn(&mut self, ours: Duration, theirs: Duration) {
        self.turns.push((ours.as_secs_f64(), theirs.as_secs_f64()));
    }

    /// The middle of our rate ÷ theirs, turn by turn.
    pub(crate) fn ratio(&self) -> f64 {
        median(self.turns.iter().map(|(ours, theirs)| theirs / ours).collect())
    }

    /// Both rates, and how far the turns lie apart.
    pub(crate) fn text(&self, ours: &str, theirs: &str) -> String {
        let all = (self.count * self.turns.len()) as f64;
        let ours_s: f64 = self.turns.iter().map(|turn| turn.0).sum();
        let theirs_s: f64 = self.turns.iter().map(|turn| turn.1).sum();
        let ratios = || self.turns.iter().map(|(ours, theirs)| theirs / ours);
        let (least, most) = (ratios().fold(f64::INFINITY, f64::min), ratios().fold(0.0, f64::max));
        format!(
            "{:.0} {ours}/s, {:.0} {theirs}/s; {} turns: {least:.2} to {most:.2}",
            all / ours_s,
            all / theirs_s,
            self.turns.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_how_far_a_target_is_missed() {
        let mut report = Report::default();
        report.row("a", 0.8, Target::AtLeast(0.8), "");
        report.row("b", 1.2, Target::AtMost(1.2), "");
        report.shown("c", 9.0, "");
        assert!(report.met());
        report.row("d", 0.6, Target::AtLeast(0.8), "");
        assert!(!report.met());
        assert!(report.to_string().contains("missed by 25 %"), "{report}");
    }

    #[test]
    fn percentiles_and_rates() {
        let mut times = Times::default();
        times.extend((1..=100).rev().map(Duration::from_millis));
        assert_eq!((times.percentile(50), times.percentile(99), times.percentile(100)), (51.0, 100.0, 100.0));
        assert_eq!(Times::default().percentile(99), 0.0);
        let mut rates = Rates::of(10);
        for (ours, theirs) in [(2, 1), (4, 1), (2, 1)] {
            rates.turn(Duration::from_secs(ours), Duration::from_secs(theirs));
        }
        assert_eq!(rates.ratio(), 0.5, "one bad turn does not count");
        assert!(rates.text("binds", "pairs").starts_with("4 binds/s, 10 pairs/s; 3 turns: 0.25 to 0.50"));
    }
}
