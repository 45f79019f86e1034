//! What the extender answers. Go reads it in any letter case; these are the original's cases.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::request::{ExtenderArgs, MetaVictims};
use crate::wire;

/// Answer to `filter`.
///
/// A refused node stands with the same text in `failedNodes` and in `failedAndUnresolvableNodes`, where the scheduler
/// knows the latter: it then does not try to preempt pods for an address that preemption cannot free.
#[derive(Debug, Clone, Default)]
pub struct FilterResult<'a> {
    passed: Passed<'a>,
    refused: Vec<(Cow<'a, str>, Arc<str>)>,
    error: String,
}

/// The nodes that fit, in the form asked.
#[derive(Debug, Clone)]
enum Passed<'a> {
    Nodes(Vec<&'a str>),
    Names(Vec<Cow<'a, str>>),
}

impl Default for Passed<'_> {
    fn default() -> Self {
        Passed::Nodes(Vec::new())
    }
}

impl<'a> FilterResult<'a> {
    /// Sorts the candidates of a request: `refuse` says why a node does not fit, or nothing where it does.
    ///
    /// It is called once per node in the order sent, with the index, the name and, where sent, the node itself.
    /// Answers with names when names were sent.
    pub fn sort(
        args: ExtenderArgs<'a>,
        mut refuse: impl FnMut(usize, &str, Option<&super::NodeView>) -> Option<Arc<str>>,
    ) -> Self {
        let mut refused = Vec::new();
        let passed = match (args.node_names, args.nodes) {
            (Some(names), _) => {
                let mut passed = Vec::with_capacity(names.len());
                for (index, name) in names.into_iter().enumerate() {
                    match refuse(index, &name, None) {
                        Some(reason) => refused.push((name, reason)),
                        None => passed.push(name),
                    }
                }
                Passed::Names(passed)
            }
            (None, nodes) => {
                let nodes = nodes.unwrap_or_default();
                let mut passed = Vec::with_capacity(nodes.len());
                for (index, node) in nodes.into_iter().enumerate() {
                    match refuse(index, &node.view.name, Some(&node.view)) {
                        Some(reason) => refused.push((Cow::Owned(node.view.name), reason)),
                        None => passed.push(node.raw),
                    }
                }
                Passed::Nodes(passed)
            }
        };
        FilterResult { passed, refused, error: String::new() }
    }

    /// "Cannot decide now": the scheduler retries the pod after its back-off.
    pub fn error(text: impl Into<String>) -> Self {
        FilterResult { error: text.into(), ..Self::default() }
    }

    /// How many nodes fit.
    pub fn passed(&self) -> usize {
        match &self.passed {
            Passed::Nodes(nodes) => nodes.len(),
            Passed::Names(names) => names.len(),
        }
    }

    /// The nodes that fit, as sent.
    pub fn nodes(&self) -> &[&'a str] {
        match &self.passed {
            Passed::Nodes(nodes) => nodes,
            Passed::Names(_) => &[],
        }
    }

    /// The answer in JSON but for [`FilterResult::nodes`]: what stands before the first and after the last. Between them go commas.
    ///
    /// # Errors
    /// None that can happen: all keys are strings.
    pub fn around_nodes(&self) -> Result<(String, String), serde_json::Error> {
        let mut head = wire::to_text(&Frame(self))?;
        // Nothing but constant text stands before the list.
        let inside = match &self.passed {
            Passed::Nodes(_) => head.find("[]").map_or(head.len(), |list| list + 1),
            Passed::Names(_) => head.len(),
        };
        let tail = head.split_off(inside);
        Ok((head, tail))
    }

    /// The refused nodes with the reasons.
    pub fn refused(&self) -> impl Iterator<Item = (&str, &str)> {
        self.refused.iter().map(|(name, reason)| (name.as_ref(), reason.as_ref()))
    }
}

/// An answer whose nodes are still to be filled in.
struct Frame<'a>(&'a FilterResult<'a>);

impl Serialize for Frame<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let FilterResult { passed, refused, error } = self.0;
        let mut map = serializer.serialize_map(None)?;
        match passed {
            Passed::Nodes(_) => map.serialize_entry("nodes", &NodeList { metadata: Empty {}, items: [] })?,
            Passed::Names(names) => map.serialize_entry("NodeNames", names)?,
        }
        if !refused.is_empty() {
            map.serialize_entry("failedNodes", &Reasons(refused))?;
            map.serialize_entry("failedAndUnresolvableNodes", &Reasons(refused))?;
        }
        if !error.is_empty() {
            map.serialize_entry("error", error)?;
        }
        map.end()
    }
}

#[derive(Serialize)]
struct NodeList {
    metadata: Empty,
    items: [Empty; 0],
}

#[derive(Serialize)]
struct Empty {}

struct Reasons<'a>(&'a [(Cow<'a, str>, Arc<str>)]);

impl Serialize for Reasons<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, reason)| (name.as_ref(), reason.as_ref())))
    }
}

/// One element of the answer to `priority`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct HostPriority<'a> {
    /// Name of the node.
    pub host: Cow<'a, str>,
    /// 0 (worst) to 10 (best).
    pub score: i64,
}

/// Answer to `bind`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct BindResult {
    /// Why the pod was not bound; empty for success.
    pub error: String,
}

/// Answer to `preempt`: the nodes on which preemption can help, with the victims as asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PreemptResult {
    /// Victims per node.
    #[serde(rename = "NodeNameToMetaVictims")]
    pub victims: BTreeMap<String, MetaVictims>,
}
