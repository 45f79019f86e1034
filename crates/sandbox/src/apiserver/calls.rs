//! What was asked of the server: counters and an audit log.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;

/// One request, in the terms of Kubernetes authorisation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// get, list, watch, create, update, patch, delete or deletecollection.
    pub verb: String,
    /// API group, empty for the core.
    pub group: String,
    /// Plural name.
    pub resource: String,
    /// Such as `status`, `binding`; empty for the object itself.
    pub subresource: String,
    /// Empty for cluster scope and for all namespaces.
    pub namespace: String,
    /// Empty for collections and for creations (where the body has the name).
    pub name: String,
    /// The `User-Agent` header.
    pub user_agent: String,
}

/// A call that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The request.
    pub call: Call,
    /// When the answer was decided, by the sandbox's clock.
    pub at: Timestamp,
    /// HTTP status code; 0 where the connection was dropped instead of answering.
    pub code: u16,
    /// Revision of the store when the answer was decided.
    pub revision: u64,
}

/// How many of the newest calls the audit log keeps. Counters are never cut.
const LOG_LIMIT: usize = 50_000;

#[derive(Default)]
struct Book {
    counts: BTreeMap<(String, String, String), u64>,
    total: u64,
    log: VecDeque<Answered>,
}

/// The record of all calls.
#[derive(Default)]
pub struct Calls(Mutex<Book>);

impl Calls {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn record(&self, answered: Answered) {
        let call = &answered.call;
        let resource = if call.subresource.is_empty() {
            call.resource.clone()
        } else {
            format!("{}/{}", call.resource, call.subresource)
        };
        let mut book = self.book();
        *book.counts.entry((call.verb.clone(), resource, call.user_agent.clone())).or_default() += 1;
        book.total += 1;
        if book.log.len() == LOG_LIMIT {
            book.log.pop_front();
        }
        book.log.push_back(answered);
    }

    /// How many calls of this verb on this resource (`pods`, or `pods/binding` for a subresource) came from user agents that
    /// contain `agent`. An empty argument counts all.
    pub fn count(&self, verb: &str, resource: &str, agent: &str) -> u64 {
        self.book()
            .counts
            .iter()
            .filter(|((v, r, a), _)| {
                (verb.is_empty() || v == verb) && (resource.is_empty() || r == resource) && a.contains(agent)
            })
            .map(|(_, count)| count)
            .sum()
    }

    /// All counters: by verb, resource and user agent.
    pub fn counts(&self) -> BTreeMap<(String, String, String), u64> {
        self.book().counts.clone()
    }

    /// A place in the audit log, for [`Calls::since`].
    pub fn mark(&self) -> u64 {
        self.book().total
    }

    /// The calls answered after `mark`, oldest first; at most the newest 50,000.
    pub fn since(&self, mark: u64) -> Vec<Answered> {
        let book = self.book();
        let first = book.total - book.log.len() as u64;
        let skip = usize::try_from(mark.saturating_sub(first)).unwrap_or(usize::MAX);
        book.log.iter().skip(skip).cloned().collect()
    }
}
