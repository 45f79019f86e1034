//! Booleans as Go writes them.

/// A boolean as Go's `strconv.ParseBool` reads it.
///
/// # Errors
/// The text is neither.
pub fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("not true or false".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn booleans() {
        for (text, value) in [("1", Some(true)), ("F", Some(false)), ("True", Some(true)), ("yes", None), ("", None)] {
            assert_eq!(super::parse_bool(text).ok(), value, "{text}");
        }
    }
}
