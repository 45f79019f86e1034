//! What command lines written for the original may hold: `_` for `-` in flag names, and flags of its log library.

use std::ffi::{OsStr, OsString};

/// What the end of a help text says of how flags are read.
pub const READ_AS_GO: &str = "\
Flags are also read as the original reads them: _ and - are the same in names, booleans are given as --flag or \
--flag=false, durations as 15s, 1m30s or 1.5h.";

/// A flag without effect, and whether it is a boolean (whose value must follow `=`).
pub type Ignored = (&'static str, bool);

/// Flags of the original's log library.
const LOGGING: [Ignored; 14] = [
    ("v", false),
    ("vmodule", false),
    ("logtostderr", true),
    ("alsologtostderr", true),
    ("stderrthreshold", false),
    ("log-dir", false),
    ("log-file", false),
    ("log-file-max-size", false),
    ("log-backtrace-at", false),
    ("log-flush-frequency", false),
    ("add-dir-header", true),
    ("one-output", true),
    ("skip-headers", true),
    ("skip-log-headers", true),
];

/// Rewrites a command line (program name first) into one without flags of the log library and those that the program itself ignores,
/// and says what was left out.
pub fn normalise(args: impl IntoIterator<Item = OsString>, own: &[Ignored]) -> (Vec<OsString>, Vec<String>) {
    let mut args = args.into_iter();
    let mut kept: Vec<OsString> = args.next().into_iter().collect();
    let mut notes = Vec::new();
    while let Some(arg) = args.next() {
        if arg == "--" {
            kept.push(arg);
            kept.extend(args);
            break;
        }
        let Some((name, value)) = split(&arg) else {
            kept.push(arg);
            continue;
        };
        let is = |(ignored, _): &&Ignored| *ignored == name;
        match own.iter().find(is).or_else(|| LOGGING.iter().find(is)) {
            Some((_, boolean)) => {
                if value.is_none() && !boolean {
                    // The next argument is the flag's value.
                    args.next();
                }
                let instead = if own.iter().any(|flag| is(&flag)) { "" } else { "; see --log-level and --log-format" };
                notes.push(format!("--{name} has no effect here{instead}"));
            }
            None if name.len() > 1 => {
                let mut flag = format!("--{name}");
                if let Some(value) = value {
                    flag.push('=');
                    flag.push_str(value);
                }
                kept.push(flag.into());
            }
            None => kept.push(arg),
        }
    }
    (kept, notes)
}

/// Name, with `-` for `_`, and value of a flag. None for what is no flag or not text; clap says what it thinks of that.
fn split(arg: &OsStr) -> Option<(String, Option<&str>)> {
    let arg = arg.to_str()?;
    let Some(long) = arg.strip_prefix("--") else {
        // The log library's verbosity is the only short flag that is known here: -v=4, -v 4, -v4.
        let rest = arg.strip_prefix("-v")?;
        let value = rest.strip_prefix('=').unwrap_or(rest);
        let number = value.bytes().all(|byte| byte.is_ascii_digit());
        return number.then(|| ("v".to_owned(), (!rest.is_empty()).then_some(value)));
    };
    let (name, value) = match long.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (long, None),
    };
    Some((name.replace('_', "-"), value))
}
