//! An observer of the whole run: at no moment may two pods have one address.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::StreamExt;
use galaxy_api::{FloatingIP, floatingip::State};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, ResourceExt,
    runtime::watcher::{self, Event, watcher},
};
use tokio_util::task::AbortOnDropHandle;

use super::seen::SeenPod;

/// The pause after a failed watch.
const RETRY: Duration = Duration::from_millis(100);

/// What was observed so far.
#[derive(Default)]
struct Book {
    /// By uid, the pods that are bound and not finished: name and addresses.
    alive: HashMap<String, (String, Vec<String>)>,
    /// By object name, who has a bound address.
    bound: HashMap<String, String>,
    /// The most addresses that pods of a workload had at once.
    most: BTreeMap<String, usize>,
    broken: Vec<String>,
}

/// Watches until it is dropped.
pub(super) struct Audit {
    book: Arc<Mutex<Book>>,
    _tasks: [AbortOnDropHandle<()>; 2],
}

impl Audit {
    pub(super) fn start(client: Client) -> Self {
        let book = Arc::new(Mutex::new(Book::default()));
        let pods = watch(Api::<Pod>::all(client.clone()), book.clone(), Book::pod, |book| book.alive.clear());
        let addresses = watch(Api::<FloatingIP>::all(client), book.clone(), Book::address, |book| book.bound.clear());
        Self { book, _tasks: [pods, addresses] }
    }

    /// What was wrong so far.
    pub(super) fn broken(&self) -> Vec<String> {
        self.book().broken.clone()
    }

    /// The most addresses that pods of a workload had at once; `owner` as `Deployment default/web`.
    pub(super) fn most(&self, owner: &str) -> usize {
        self.book().most.get(owner).copied().unwrap_or(0)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn watch<K>(
    api: Api<K>,
    book: Arc<Mutex<Book>>,
    learn: fn(&mut Book, &K, bool),
    forget: fn(&mut Book),
) -> AbortOnDropHandle<()>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut events = Box::pin(watcher(api, watcher::Config::default()));
        while let Some(event) = events.next().await {
            if event.is_err() {
                // The watcher tries again by itself, at once.
                tokio::time::sleep(RETRY).await;
            }
            let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
            match event {
                Ok(Event::Apply(object) | Event::InitApply(object)) => learn(&mut book, &object, true),
                Ok(Event::Delete(object)) => learn(&mut book, &object, false),
                // What went away before a list is not told any more.
                Ok(Event::Init) => forget(&mut book),
                Ok(Event::InitDone) | Err(_) => {}
            }
        }
    }))
}

impl Book {
    fn pod(&mut self, pod: &Pod, there: bool) {
        let pod = SeenPod::of(pod);
        if !there || pod.node.is_empty() || pod.is_finished() {
            self.alive.remove(&pod.uid);
            return;
        }
        let name = format!("{}/{}", pod.namespace, pod.name);
        for (other, ips) in self.alive.iter().filter(|(uid, _)| **uid != pod.uid).map(|(_, it)| it) {
            if let Some(ip) = pod.ips.iter().find(|ip| ips.contains(ip)) {
                self.broken.push(format!("{ip} belongs to {name} on {} while {other} has it", pod.node));
            }
        }
        let mut sorted = pod.ips.clone();
        sorted.sort();
        sorted.dedup();
        if sorted.len() != pod.ips.len() {
            self.broken.push(format!("{name} has an address twice: {:?}", pod.ips));
        }
        self.alive.insert(pod.uid, (name, pod.ips));
    }

    fn address(&mut self, object: &FloatingIP, there: bool) {
        let owner = object.spec.owner.as_ref().filter(|_| there && object.spec.state == Some(State::Bound));
        let Some(owner) = owner else {
            self.bound.remove(&object.name_any());
            return;
        };
        let owner = format!("{} {}/{}", owner.kind, owner.namespace, owner.name);
        self.bound.insert(object.name_any(), owner.clone());
        let now = self.bound.values().filter(|other| **other == owner).count();
        let most = self.most.entry(owner).or_default();
        *most = (*most).max(now);
    }
}
