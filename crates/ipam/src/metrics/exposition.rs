//! From OpenMetrics, which the library writes, to the Prometheus text format, which every scraper reads.

/// Format of a scrape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text format 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// The format that a scraper's `Accept` header asks for.
    pub fn accepted(accept: Option<&str>) -> Self {
        match accept {
            Some(accept) if accept.contains("application/openmetrics-text") => Format::OpenMetrics,
            _ => Format::Text,
        }
    }

    /// Its `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Turns OpenMetrics into `format`.
///
/// The formats differ in how counters are announced: OpenMetrics names the family without `_total`, the text format
/// names the sample. The end mark is a comment to the text format, but a scrape is nicer without it.
pub(super) fn render(format: Format, open_metrics: String) -> String {
    if format == Format::OpenMetrics {
        return open_metrics;
    }
    let mut text = String::with_capacity(open_metrics.len());
    let mut lines = open_metrics.lines().peekable();
    while let Some(line) = lines.next() {
        if line == "# EOF" {
            continue;
        }
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(name), Some(help)) => {
                let counter = lines.peek().is_some_and(|next| *next == format!("# TYPE {name} counter"));
                let suffix = if counter { "_total" } else { "" };
                text.push_str(&format!("# HELP {name}{suffix} {help}"));
            }
            (Some("#"), Some("TYPE"), Some(name), Some("counter")) => {
                text.push_str(&format!("# TYPE {name}_total counter"));
            }
            _ => text.push_str(line),
        }
        text.push('\n');
    }
    text
}
