//! When an address is freed.

use std::fmt;

use crate::range::shown;

/// Release policy of an address (numbers and words are wire format).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum ReleasePolicy {
    /// Freed when the pod is deleted or finished.
    #[default]
    Default = 0,
    /// Freed only when the workload is scaled down or deleted.
    Immutable = 1,
    /// Never freed automatically.
    Never = 2,
}

impl ReleasePolicy {
    /// The policy that a pod's annotations ask for.
    ///
    /// `policy` is case-sensitive, and any unknown word means [`ReleasePolicy::Default`]. A non-empty `pool` forces
    /// [`ReleasePolicy::Never`]; an empty one is the same as none.
    pub fn from_annotations(policy: Option<&str>, pool: Option<&str>) -> Self {
        if pool.is_some_and(|pool| !pool.is_empty()) {
            return ReleasePolicy::Never;
        }
        match policy {
            Some("immutable") => ReleasePolicy::Immutable,
            Some("never") => ReleasePolicy::Never,
            _ => ReleasePolicy::Default,
        }
    }

    /// What [`ReleasePolicy::from_annotations`] took for the default although it says something else: worth a warning, for
    /// an address may be freed that its user meant to keep. With a `pool` the word counts for nothing.
    pub fn unknown_word(policy: Option<&str>, pool: Option<&str>) -> Option<UnknownPolicy> {
        let word = policy.filter(|word| !word.is_empty())?;
        let unknown = ReleasePolicy::from_annotations(policy, pool) == ReleasePolicy::Default;
        unknown.then(|| UnknownPolicy { word: shown(word) })
    }

    /// The policy with this number in objects and the HTTP API; none if there is no such policy.
    pub fn from_number(number: i64) -> Option<Self> {
        match number {
            0 => Some(ReleasePolicy::Default),
            1 => Some(ReleasePolicy::Immutable),
            2 => Some(ReleasePolicy::Never),
            _ => None,
        }
    }

    /// Its number in objects and the HTTP API.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The annotation's value for this policy; empty for the default.
    pub fn annotation(self) -> &'static str {
        match self {
            ReleasePolicy::Default => "",
            ReleasePolicy::Immutable => "immutable",
            ReleasePolicy::Never => "never",
        }
    }
}

/// A word in the release policy annotation that stands for no policy. Its display is a message for the pod's owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownPolicy {
    /// The word, cut short if it is very long.
    pub word: String,
}

impl fmt::Display for UnknownPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "release policy {:?} is none of \"\" (freed with the pod), \"immutable\" and \"never\": it counts as \"\"",
            self.word
        )
    }
}

impl fmt::Display for ReleasePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            ReleasePolicy::Default => "default",
            other => other.annotation(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::ReleasePolicy::{self, Default, Immutable, Never};

    #[test]
    fn annotations() {
        for (policy, pool, want) in [
            (None, None, Default),
            (Some(""), None, Default),
            (Some("immutable"), None, Immutable),
            (Some("never"), Some(""), Never),
            (Some("immutable"), Some(""), Immutable),
            (Some("Immutable"), None, Default),
            (Some("NEVER"), None, Default),
            (Some(" never"), None, Default),
            (Some("forever"), None, Default),
            (None, Some("blue"), Never),
            (Some("immutable"), Some("blue"), Never),
            (Some("unknown"), Some("blue"), Never),
        ] {
            assert_eq!(ReleasePolicy::from_annotations(policy, pool), want, "{policy:?} {pool:?}");
        }
    }

    #[test]
    fn a_word_that_is_no_policy_is_told() {
        for (policy, pool, want) in [
            (None, None, None),
            (Some(""), None, None),
            (Some("immutable"), None, None),
            (Some("never"), None, None),
            (Some("forever"), None, Some("forever")),
            (Some("Never"), Some(""), Some("Never")),
            (Some(" "), None, Some(" ")),
            (Some("forever"), Some("blue"), None),
        ] {
            let unknown = ReleasePolicy::unknown_word(policy, pool);
            assert_eq!(unknown.as_ref().map(|unknown| &*unknown.word), want, "{policy:?} {pool:?}");
        }
        let text = ReleasePolicy::unknown_word(Some("forever"), None).unwrap().to_string();
        assert!(["\"forever\"", "\"\"", "\"immutable\"", "\"never\""].iter().all(|word| text.contains(word)), "{text}");
        let huge = ReleasePolicy::unknown_word(Some(&"x".repeat(100_000)), None).unwrap();
        assert!(huge.to_string().len() < 300);
    }

    #[test]
    fn numbers_and_words_round_trip() {
        for policy in [Default, Immutable, Never] {
            assert_eq!(ReleasePolicy::from_number(policy.number().into()), Some(policy));
            assert_eq!(ReleasePolicy::from_annotations(Some(policy.annotation()), None), policy);
        }
        for number in [-1, 3, 256, i64::MIN, i64::MAX] {
            assert_eq!(ReleasePolicy::from_number(number), None);
        }
        assert_eq!(format!("{Default} {Immutable} {Never}"), "default immutable never");
    }
}
