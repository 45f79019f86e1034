//! Counting what Rust's test harness reports.

/// How many tests passed and failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl Counts {
    /// Adds a total as [`Counts`] prints it. Returns whether the line is one.
    pub(crate) fn add_total(&mut self, line: &str) -> bool {
        let numbers = line.split_once(" passed, ").and_then(|(passed, rest)| {
            Some((passed.parse::<u64>().ok()?, rest.strip_suffix(" failed")?.parse::<u64>().ok()?))
        });
        if let Some((passed, failed)) = numbers {
            self.passed += passed;
            self.failed += failed;
        }
        numbers.is_some()
    }

    /// Adds what a line of test output says, if it is the summary of a test program.
    pub(crate) fn add_line(&mut self, line: &str) {
        let Some(summary) = line.strip_prefix("test result: ") else { return };
        let (_, counts) = summary.split_once(". ").unwrap_or_default();
        for count in counts.split(';') {
            match count.trim().split_once(' ') {
                Some((n, "passed")) => self.passed += n.parse::<u64>().unwrap_or(0),
                Some((n, "failed")) => self.failed += n.parse::<u64>().unwrap_or(0),
                _ => {}
            }
        }
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::Counts;

    #[test]
    fn sums_up_all_programs() {
        let mut counts = Counts::default();
        for line in [
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "test result: FAILED. 40 passed; 2 failed; 1 ignored; 0 measured; 7 filtered out; finished in 1.20s",
            "test result of something else: 5 passed",
            "all doctests ran in 0.50s; merged doctests compilation took 0.40s",
        ] {
            counts.add_line(line);
        }
        assert_eq!(counts, Counts { passed: 43, failed: 2 });
        assert_eq!(counts.to_string(), "43 passed, 2 failed");
        assert!(counts.add_total("1 passed, 1 failed") && !counts.add_total("none passed, 1 failed"));
        assert_eq!(counts.to_string(), "44 passed, 3 failed");
    }
}
