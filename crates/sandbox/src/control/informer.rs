//! A cache of one kind of object, kept by list and watch, that also knows the outcome of its user's own writes.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    fmt::{self, Debug},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::StreamExt;
use kube::{
    Api, Resource,
    runtime::watcher::{self, Event, watcher},
};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};

use super::{Context, meta::Meta};

/// Bounds of the pause after a failed list or watch. Real time.
const RETRY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// Uids remembered after deletion, so that a late answer to a write does not bring an object back.
const TOMBSTONES: usize = 4096;

/// Namespace and name; the namespace of a cluster-wide object is empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Namespace, or empty.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl ObjectKey {
    /// The key of `namespace`/`name`.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The key of an object.
    pub fn of<K: Resource>(object: &K) -> Self {
        Self::new(object.ns(), object.name())
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.as_str() {
            "" => f.write_str(&self.name),
            namespace => write!(f, "{namespace}/{}", self.name),
        }
    }
}

/// One step in the life of an object: added (no `old`), updated, or deleted (no `new`).
#[derive(Clone, Debug)]
pub struct Change<K> {
    /// As it was in the cache before.
    pub old: Option<Arc<K>>,
    /// As it is now.
    pub new: Option<Arc<K>>,
}

impl<K> Change<K> {
    /// The newest known form of the object.
    pub fn object(&self) -> &Arc<K> {
        match (&self.new, &self.old) {
            (Some(object), _) | (None, Some(object)) => object,
            (None, None) => unreachable!("a change has an object"),
        }
    }
}

/// A handle on the cache; clones share it.
pub struct Informer<K> {
    state: Arc<Mutex<State<K>>>,
    synced: watch::Sender<bool>,
}

impl<K> Clone for Informer<K> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone(), synced: self.synced.clone() }
    }
}

struct Entry<K> {
    object: Arc<K>,
    /// The list that was last begun when this form was learnt.
    epoch: u64,
}

struct State<K> {
    objects: BTreeMap<ObjectKey, Entry<K>>,
    /// Controller uid to the objects it owns.
    owned: HashMap<String, BTreeMap<ObjectKey, Arc<K>>>,
    subscribers: Vec<mpsc::UnboundedSender<Change<K>>>,
    epoch: u64,
    listed: Option<BTreeMap<ObjectKey, K>>,
    buried: HashSet<String>,
    burials: VecDeque<String>,
}

impl<K> Informer<K>
where
    K: Resource + Clone + Debug + Send + Sync + 'static,
{
    /// Lists and watches `api` until `ctx` is shut down.
    pub fn start(ctx: &Context, api: Api<K>) -> Self
    where
        K: DeserializeOwned,
        K::DynamicType: Send,
    {
        let informer = Self::detached();
        ctx.spawn(informer.clone().follow(api, ctx.relist));
        informer
    }

    /// A cache that nothing feeds but [`Informer::record`].
    fn detached() -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                objects: BTreeMap::new(),
                owned: HashMap::new(),
                subscribers: Vec::new(),
                epoch: 0,
                listed: None,
                buried: HashSet::new(),
                burials: VecDeque::new(),
            })),
            synced: watch::Sender::new(false),
        }
    }

    async fn follow(self, api: Api<K>, relist: Duration)
    where
        K: DeserializeOwned,
        K::DynamicType: Send,
    {
        let mut pause = RETRY.0;
        loop {
            let mut events = Box::pin(watcher(api.clone(), watcher::Config::default()));
            let relist = tokio::time::sleep(relist);
            tokio::pin!(relist);
            loop {
                let event = tokio::select! {
                    event = events.next() => event,
                    () = &mut relist => break,
                };
                match event {
                    Some(Ok(event)) => {
                        if !matches!(event, Event::Init) {
                            pause = RETRY.0;
                        }
                        self.apply(event);
                    }
                    Some(Err(error)) => {
                        tracing::debug!(%error, "watch failed; it will be tried again");
                        tokio::time::sleep(pause).await;
                        pause = (pause * 2).min(RETRY.1);
                    }
                    None => break,
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, event: Event<K>) {
        let mut state = self.state();
        match event {
            Event::Init => {
                state.epoch += 1;
                state.listed = Some(BTreeMap::new());
            }
            Event::InitApply(object) => {
                if let Some(listed) = &mut state.listed {
                    listed.insert(ObjectKey::of(&object), object);
                }
            }
            Event::InitDone => {
                let listed = state.listed.take().unwrap_or_default();
                state.replace(listed);
                drop(state);
                self.synced.send_replace(true);
            }
            Event::Apply(object) => state.upsert(object),
            Event::Delete(object) => state.remove(&ObjectKey::of(&object), object.uid()),
        }
    }

    /// Notes the answer to a write of ours, so that the next look at the cache is not older than it.
    pub fn record(&self, object: K) {
        self.state().upsert(object);
    }

    /// Notes that the object with this uid is gone.
    pub fn forget(&self, key: &ObjectKey, uid: &str) {
        self.state().remove(key, uid);
    }

    /// Returns once the first list is complete.
    pub async fn synced(&self) {
        let _ = self.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// Whether the first list is complete.
    pub fn is_synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// The object of this name.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.state().objects.get(key).map(|entry| entry.object.clone())
    }

    /// All objects, by key.
    pub fn all(&self) -> Vec<Arc<K>> {
        self.state().objects.values().map(|entry| entry.object.clone()).collect()
    }

    /// The objects whose controller has this uid, by key.
    pub fn owned_by(&self, uid: &str) -> Vec<Arc<K>> {
        self.state().owned.get(uid).into_iter().flat_map(BTreeMap::values).cloned().collect()
    }

    /// Every change from now on, after an addition for each object there already is.
    pub fn subscribe(&self) -> mpsc::UnboundedReceiver<Change<K>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut state = self.state();
        for entry in state.objects.values() {
            let _ = sender.send(Change { old: None, new: Some(entry.object.clone()) });
        }
        state.subscribers.push(sender);
        receiver
    }
}

impl<K: Resource> State<K> {
    fn publish(&mut self, old: Option<Arc<K>>, new: Option<Arc<K>>) {
        self.subscribers.retain(|subscriber| {
            let (old, new) = (old.clone(), new.clone());
            subscriber.send(Change { old, new }).is_ok()
        });
    }

    fn upsert(&mut self, object: K) {
        let key = ObjectKey::of(&object);
        if self.buried.contains(object.uid()) {
            return;
        }
        if let Some(entry) = self.objects.get_mut(&key) {
            if entry.object.uid() == object.uid() {
                if entry.object.version() >= object.version() {
                    // Seen again: it was still there when the present list began.
                    entry.epoch = self.epoch;
                    return;
                }
            } else {
                let uid = entry.object.uid().to_owned();
                self.remove(&key, &uid);
            }
        }
        let new = Arc::new(object);
        let entry = Entry { object: new.clone(), epoch: self.epoch };
        let old = self.objects.insert(key.clone(), entry).map(|entry| entry.object);
        let after = new.controller_uid();
        if let Some(before) = old.as_ref().and_then(|old| old.controller_uid())
            && Some(before) != after
        {
            self.disown(before, &key);
        }
        if let Some(uid) = after {
            self.owned.entry(uid.to_owned()).or_default().insert(key, new.clone());
        }
        self.publish(old, Some(new));
    }

    fn remove(&mut self, key: &ObjectKey, uid: &str) {
        if self.buried.insert(uid.to_owned()) {
            self.burials.push_back(uid.to_owned());
            if self.burials.len() > TOMBSTONES
                && let Some(oldest) = self.burials.pop_front()
            {
                self.buried.remove(&oldest);
            }
        }
        if self.objects.get(key).is_none_or(|entry| entry.object.uid() != uid) {
            return;
        }
        if let Some(Entry { object, .. }) = self.objects.remove(key) {
            if let Some(uid) = object.controller_uid() {
                self.disown(uid, key);
            }
            self.publish(Some(object), None);
        }
    }

    fn disown(&mut self, uid: &str, key: &ObjectKey) {
        if let Some(keys) = self.owned.get_mut(uid) {
            keys.remove(key);
            if keys.is_empty() {
                self.owned.remove(uid);
            }
        }
    }

    /// Takes over a complete list. What it lacks is gone, unless it was learnt after the list was begun: then the watch that
    /// follows tells.
    fn replace(&mut self, listed: BTreeMap<ObjectKey, K>) {
        let gone: Vec<_> = self
            .objects
            .iter()
            .filter(|(key, entry)| entry.epoch < self.epoch && !listed.contains_key(key))
            .map(|(key, entry)| (key.clone(), entry.object.uid().to_owned()))
            .collect();
        for (key, uid) in gone {
            self.remove(&key, &uid);
        }
        for object in listed.into_values() {
            self.upsert(object);
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::core::ObjectMeta;

    use super::*;

    fn object(name: &str, uid: &str, version: u64) -> ConfigMap {
        let metadata = ObjectMeta {
            name: Some(name.into()),
            uid: Some(uid.into()),
            resource_version: Some(version.to_string()),
            ..ObjectMeta::default()
        };
        ConfigMap { metadata, ..ConfigMap::default() }
    }

    fn list(informer: &Informer<ConfigMap>, objects: &[ConfigMap]) {
        informer.apply(Event::Init);
        objects.iter().for_each(|object| informer.apply(Event::InitApply(object.clone())));
        informer.apply(Event::InitDone);
    }

    fn held(informer: &Informer<ConfigMap>) -> Vec<(String, u64)> {
        informer.all().iter().map(|o| (o.uid().to_owned(), o.version())).collect()
    }

    #[test]
    fn old_news_and_duplicates_change_nothing() {
        let informer = Informer::detached();
        list(&informer, &[object("a", "u1", 5)]);
        let mut changes = informer.subscribe();
        assert!(changes.try_recv().is_ok(), "what is there is told first");
        for event in [
            Event::Apply(object("a", "u1", 5)),
            Event::Apply(object("a", "u1", 4)),
            Event::Delete(object("a", "u0", 9)),
            Event::Apply(object("a", "u0", 9)),
        ] {
            informer.apply(event);
            assert!(changes.try_recv().is_err());
        }
        assert_eq!(held(&informer), [("u1".into(), 5)]);
    }

    #[test]
    fn an_own_write_is_seen_at_once_and_a_late_answer_revives_nothing() {
        let informer = Informer::detached();
        list(&informer, &[]);
        informer.record(object("a", "u1", 5));
        assert_eq!(held(&informer), [("u1".into(), 5)]);
        informer.apply(Event::Apply(object("a", "u1", 5)));
        informer.apply(Event::Delete(object("a", "u1", 8)));
        informer.record(object("a", "u1", 6));
        assert_eq!(held(&informer), []);
    }

    #[test]
    fn a_new_list_drops_what_is_gone_but_not_what_was_made_meanwhile() {
        let informer = Informer::detached();
        list(&informer, &[object("a", "u1", 5)]);
        informer.apply(Event::Init);
        informer.record(object("b", "u2", 9));
        informer.apply(Event::InitDone);
        assert_eq!(held(&informer), [("u2".into(), 9)]);
        list(&informer, &[]);
        assert_eq!(held(&informer), []);
    }

    #[test]
    fn a_namesake_is_a_deletion_and_an_addition() {
        let informer = Informer::detached();
        list(&informer, &[object("a", "u1", 5)]);
        let mut changes = informer.subscribe();
        let _ = changes.try_recv();
        list(&informer, &[object("a", "u2", 9)]);
        let (first, second) = (changes.try_recv().unwrap(), changes.try_recv().unwrap());
        assert!(first.new.is_none() && first.old.is_some());
        assert!(second.old.is_none() && second.new.is_some());
    }
}
