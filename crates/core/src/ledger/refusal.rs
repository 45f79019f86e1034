//! How a pod is told no.

use super::verdict::{Doubt, Reason, Refusal};

/// How the original's refusals begin.
pub(super) const NO_FIP_LEFT: &str = "FloatingIPPlugin:NoFIPLeft";
pub(super) const NO_FIP_CONFIG_NODE: &str = "FloatingIPPlugin:NoFIPConfigNode";
pub(super) const UNKNOWN_NODE: &str = "FloatingIPPlugin:UnknowNode";

/// Why a pod cannot be served, and what to prove so that it can.
#[derive(Debug)]
pub(super) struct Denial {
    pub(super) refusal: Refusal,
    pub(super) doubt: Option<Doubt>,
}

impl From<Refusal> for Box<Denial> {
    fn from(refusal: Refusal) -> Self {
        Box::new(Denial { refusal, doubt: None })
    }
}

pub(super) fn refusal(reason: Reason, text: String, detail: String) -> Refusal {
    Refusal { reason, text, detail }
}

/// A refusal that people are told in the scheduler's words, without the prefix.
pub(super) fn plain(reason: Reason, text: String) -> Refusal {
    let detail = text.strip_prefix(NO_FIP_LEFT).map_or(&*text, str::trim_start).to_owned();
    Refusal { reason, detail, text }
}
