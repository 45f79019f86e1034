//! Watches: what happens in the cluster, made slim at the door and fed to the ledger.
//!
//! Every list is a quorum read (no resourceVersion), so what was known before a list began and is not in it is proved gone
//! (rule 9). One object that cannot be read never stops a watch: it is reported and counts as present.

mod cluster;
mod config_map;
mod custom;
mod floating_ips;
mod object;
mod odd;
mod pods;

pub(crate) use cluster::{Deployments, Nodes, Pools, ReplicaSets, StatefulSets};
pub(crate) use config_map::follow_config_map;
pub(crate) use custom::CustomKinds;
pub(crate) use floating_ips::{FloatingIps, Reload};
pub(crate) use object::{Object, Slim};
pub(crate) use pods::Pods;

use std::collections::HashMap;
use std::hash::Hash;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::core::ApiResource;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use tokio::sync::watch;

use crate::calls::{Backoff, chain};
use crate::metrics::Metrics;

/// Delays after errors of a watch. Short at the end: a service that is blind decides on old news.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// Objects in a page of a list. Pages are fetched one after another, so that small ones wait for many answers; a page of pods is read
/// at once, at about 10 KB each.
const PAGE: u32 = 2_000;

/// How long the API server keeps a quiet watch, in seconds; it goes on from there. Less than the silence that a client bears: so a
/// watch that never tells anything again, as after a cut that nobody announced, is not taken for a quiet one.
const WATCH_SECONDS: u32 = 20;

/// What one watch feeds.
pub(crate) trait Feed: Send {
    /// The slim form of the watched objects.
    type Item: Slim;
    /// What tells one object from all others, earlier ones of its name included.
    type Key: Eq + Hash + Clone + Send;
    /// What is remembered of an object beside its key.
    type Seen: Send;

    /// The key of an object and what to remember; none for objects of no interest.
    fn key(&self, object: &Object<Self::Item>) -> Option<(Self::Key, Self::Seen)>;

    /// An object was made or changed, or is in a list.
    fn observed(&mut self, object: Object<Self::Item>);

    /// An object is gone: DELETED, with its last state, or absent from a quorum list that began after it was known.
    fn gone(&mut self, key: Self::Key, seen: Self::Seen, last: Option<Object<Self::Item>>);

    /// An object without a key was made, changed or, if `gone`, deleted.
    fn passed_over(&mut self, _object: Object<Self::Item>, _gone: bool) {}

    /// A list is about to begin.
    fn listing(&mut self, _known: &mut HashMap<Self::Key, Self::Seen>) {}

    /// A list is complete, its deletions fed.
    fn listed(&mut self) {}
}

/// Whether the first list of a watch is complete.
pub(crate) type Synced = watch::Receiver<bool>;

/// One running watch: everything that [`follow`] needs beside the feed.
pub(crate) struct Following {
    pub(crate) client: Client,
    pub(crate) resource: ApiResource,
    /// Field selector; empty for all objects.
    pub(crate) fields: String,
    /// Namespace; none for all.
    pub(crate) namespace: Option<String>,
    pub(crate) metrics: Arc<Metrics>,
}

/// Why a watch was given up: the resource is not there, or may not be watched.
#[derive(Debug)]
pub(crate) struct Denied(pub(crate) String);

impl Following {
    /// A watch of all objects of a resource.
    pub(crate) fn all(client: &Client, resource: ApiResource, metrics: &Arc<Metrics>) -> Self {
        Following {
            client: client.clone(),
            resource,
            fields: String::new(),
            namespace: None,
            metrics: Arc::clone(metrics),
        }
    }

    /// Watches for ever, through all errors.
    pub(crate) async fn follow<F: Feed>(&self, mut feed: F, synced: &watch::Sender<bool>) {
        let mut known = HashMap::new();
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        loop {
            // Resources that are denied now may be allowed later.
            let Denied(reason) = self.follow_once(&mut feed, &mut known, synced).await;
            tracing::warn!(resource = self.resource.plural, reason, "cannot watch; trying again");
            backoff.wait().await;
        }
    }

    /// Watches until the API server says that the resource is not there or not allowed.
    pub(crate) async fn follow_once<F: Feed>(
        &self,
        feed: &mut F,
        known: &mut HashMap<F::Key, F::Seen>,
        synced: &watch::Sender<bool>,
    ) -> Denied {
        let config = watcher::Config {
            field_selector: Some(self.fields.clone()).filter(|fields| !fields.is_empty()),
            timeout: Some(WATCH_SECONDS),
            page_size: Some(PAGE),
            ..watcher::Config::default()
        };
        let api = match &self.namespace {
            Some(namespace) => Api::<Object<F::Item>>::namespaced_with(self.client.clone(), namespace, &self.resource),
            None => Api::<Object<F::Item>>::all_with(self.client.clone(), &self.resource),
        };
        let mut events = pin!(watcher::watcher(api, config));
        let mut state = Lists { before: HashMap::new(), known, first: true };
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        loop {
            match events.next().await {
                Some(Ok(event)) => {
                    if !matches!(event, Event::Init) {
                        backoff = Backoff::new(RETRY.0, RETRY.1);
                    } else if !std::mem::take(&mut state.first) {
                        self.metrics.watch_restart(&self.resource.plural);
                    }
                    if state.apply(feed, event) {
                        synced.send_replace(true);
                    }
                }
                Some(Err(error)) => {
                    if let Some(reason) = denied(&error) {
                        return Denied(reason);
                    }
                    let error = chain(&error);
                    tracing::warn!(resource = self.resource.plural, error, "watch failed; trying again");
                    backoff.wait().await;
                }
                None => return Denied("the watch ended".to_owned()),
            }
        }
    }
}

fn denied(error: &watcher::Error) -> Option<String> {
    let (watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error)) = error else {
        return None;
    };
    match error {
        kube::Error::Api(status) if matches!(status.code, 401 | 403 | 404 | 405) => {
            Some(format!("{} ({})", status.message, status.code))
        }
        _ => None,
    }
}

/// What is known of the objects, and what a list under way has not shown yet.
struct Lists<'a, F: Feed> {
    known: &'a mut HashMap<F::Key, F::Seen>,
    before: HashMap<F::Key, F::Seen>,
    first: bool,
}

impl<F: Feed> Drop for Lists<'_, F> {
    fn drop(&mut self) {
        // The next list proves what this one no longer can.
        self.known.extend(std::mem::take(&mut self.before));
    }
}

impl<F: Feed> Lists<'_, F> {
    /// Feeds one event; true when a list is complete.
    fn apply(&mut self, feed: &mut F, event: Event<Object<F::Item>>) -> bool {
        match event {
            Event::Init => {
                // An unfinished list before this one proved nothing.
                self.known.extend(std::mem::take(&mut self.before));
                feed.listing(self.known);
                self.before = std::mem::take(self.known);
            }
            Event::InitApply(object) | Event::Apply(object) => {
                if let Some((key, seen)) = feed.key(&object) {
                    self.before.remove(&key);
                    self.known.insert(key, seen);
                    feed.observed(object);
                } else {
                    feed.passed_over(object, false);
                }
            }
            Event::Delete(object) => {
                if let Some((key, seen)) = feed.key(&object) {
                    self.known.remove(&key);
                    feed.gone(key, seen, Some(object));
                } else {
                    feed.passed_over(object, true);
                }
            }
            Event::InitDone => {
                for (key, seen) in std::mem::take(&mut self.before) {
                    feed.gone(key, seen, None);
                }
                feed.listed();
                return true;
            }
        }
        false
    }
}

/// Spawns a watch in `tasks` and returns whether it has synced.
pub(crate) fn spawn<F: Feed + 'static>(
    tasks: &mut tokio::task::JoinSet<()>,
    following: Following,
    feed: F,
) -> (String, Synced) {
    let (sender, synced) = watch::channel(false);
    let name = following.resource.plural.clone();
    tasks.spawn(async move { following.follow(feed, &sender).await });
    (name, synced)
}
