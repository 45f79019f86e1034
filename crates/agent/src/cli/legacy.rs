//! What command lines written for the original may hold: `_` for `-` in flag names, and flags without effect here.

use std::ffi::OsString;

/// End of the help text.
pub(super) const HELP: &str = "\
Flags are also read as the original reads them: _ and - are the same in names, booleans are given as --flag or \
--flag=false, durations as 15s, 1m30s or 1.5h.
Accepted without effect, so that existing manifests keep working: --network-policy, --route-eni, --pprof and the flags \
of the original's log library. Use --log-level and --log-format instead of the latter.";

/// Flags without effect, and whether they are booleans (whose value must follow `=`).
const IGNORED: [(&str, bool); 17] = [
    ("network-policy", true),
    ("route-eni", true),
    ("pprof", true),
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

/// Rewrites a command line (program name first) into one without legacy flags, and says what was left out.
pub(super) fn normalise(args: impl IntoIterator<Item = OsString>) -> (Vec<OsString>, Vec<String>) {
    let mut args = args.into_iter();
    let mut kept: Vec<OsString> = args.next().into_iter().collect();
    let mut notes = Vec::new();
    while let Some(arg) = args.next() {
        let flag =
            arg.to_str().and_then(|text| text.strip_prefix("--").or_else(|| text.strip_prefix("-v").map(|_| "v")));
        let Some(flag) = flag.filter(|flag| !flag.is_empty()) else {
            kept.push(arg);
            continue;
        };
        let (name, value) = flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value)));
        let name = name.replace('_', "-");
        match IGNORED.iter().find(|(ignored, _)| *ignored == name) {
            Some((_, boolean)) => {
                if value.is_none() && !boolean && arg.to_str().is_none_or(|text| text.starts_with("--") || text == "-v")
                {
                    // The next argument is the flag's value.
                    args.next();
                }
                notes.push(format!("--{name} has no effect here"));
            }
            None => kept.push(value.map_or(format!("--{name}"), |value| format!("--{name}={value}")).into()),
        }
    }
    (kept, notes)
}
