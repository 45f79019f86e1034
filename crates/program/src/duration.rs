//! Durations as Go writes them: `15s`, `1m30s`, `1.5h`, `300ms`.

use std::time::Duration;

/// A text is no duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadDuration {
    /// Not the syntax.
    #[error("not a duration; write it as 15s, 1m30s or 1.5h")]
    Syntax,
    /// A number without a unit.
    #[error("the unit is missing; write it as 15s, 1m30s or 1.5h")]
    NoUnit,
    /// A minus sign.
    #[error("a duration cannot be negative here")]
    Negative,
    /// Above about 292 years, the most that Go can hold.
    #[error("too long")]
    TooLong,
}

/// Nanoseconds in each unit, longer names first where one is the beginning of another.
const UNITS: [(&str, u128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads a duration: decimal numbers, each with a unit, or `0`.
///
/// # Errors
/// See [`BadDuration`].
pub fn parse_duration(text: &str) -> Result<Duration, BadDuration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.starts_with('-') {
        return Err(BadDuration::Negative);
    }
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(BadDuration::Syntax);
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let digits = |text: &str| text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (whole, after) = rest.split_at(digits(rest));
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => after.split_at(digits(after)),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(BadDuration::Syntax);
        }
        let &(unit, nanos) = UNITS.iter().find(|(unit, _)| after.starts_with(unit)).ok_or(if after.is_empty() {
            BadDuration::NoUnit
        } else {
            BadDuration::Syntax
        })?;
        let number = |digits: &str| match digits {
            "" => Ok(0),
            digits => digits.parse::<u128>().map_err(|_| BadDuration::TooLong),
        };
        // Twelve places are below a nanosecond for every unit.
        let fraction = &fraction[..fraction.len().min(12)];
        let scale = 10u128.pow(fraction.len() as u32);
        let part = number(whole)?.checked_mul(nanos).ok_or(BadDuration::TooLong)? + number(fraction)? * nanos / scale;
        total = total.checked_add(part).ok_or(BadDuration::TooLong)?;
        rest = &after[unit.len()..];
    }
    match i64::try_from(total) {
        Ok(nanos) => Ok(Duration::from_nanos(nanos.unsigned_abs())),
        Err(_) => Err(BadDuration::TooLong),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, nanos) in [
            ("0", 0),
            ("0s", 0),
            ("15s", 15_000_000_000),
            ("+2s", 2_000_000_000),
            ("1m30s", 90_000_000_000),
            ("1h0m0.5s", 3_600_500_000_000),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("5.s", 5_000_000_000),
            ("300ms", 300_000_000),
            ("10us", 10_000),
            ("10µs", 10_000),
            ("7ns", 7),
            ("0.1234567891234567s", 123_456_789),
            ("9223372036854775807ns", i64::MAX as u64),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
        for (text, error) in [
            ("", BadDuration::Syntax),
            ("+", BadDuration::Syntax),
            ("s", BadDuration::Syntax),
            (".s", BadDuration::Syntax),
            ("15", BadDuration::NoUnit),
            ("1m30", BadDuration::NoUnit),
            ("15 s", BadDuration::Syntax),
            ("15d", BadDuration::Syntax),
            ("-15s", BadDuration::Negative),
            ("9223372036854775808ns", BadDuration::TooLong),
            ("99999999999999999999999999999999999999999999h", BadDuration::TooLong),
            ("1e3s", BadDuration::Syntax),
            ("١s", BadDuration::Syntax),
        ] {
            assert_eq!(parse_duration(text), Err(error), "{text}");
        }
    }
}
