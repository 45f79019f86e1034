//! The objects, their revisions, and the log that watches read.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use serde_json::Value;
use tokio::sync::{mpsc, watch};

use super::{
    Status,
    object::{self, Object},
    resource::Registry,
};

/// Which object: its collection, namespace (empty for cluster scope) and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) storage: String,
    pub(super) namespace: String,
    pub(super) name: String,
}

impl Key {
    pub(super) fn new(storage: &str, namespace: &str, name: &str) -> Self {
        Self { storage: storage.into(), namespace: namespace.into(), name: name.into() }
    }
}

/// What a write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Added,
    Modified,
    Deleted,
}

/// One write.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) revision: u64,
    pub(super) change: Change,
    /// The new state; of a deletion, the last state with the revision of the deletion.
    pub(super) object: Object,
    pub(super) old: Option<Object>,
}

/// All objects of one resource.
pub(super) struct Collection {
    objects: BTreeMap<(String, String), Object>,
    log: VecDeque<Arc<Event>>,
    /// Revision of the newest event that is no longer in the log.
    dropped: u64,
    /// No list or watch may start below this revision.
    compacted: u64,
    /// While set, the watch cache stands still at this revision.
    held: Option<u64>,
    /// Bumped on every change of what watches may see.
    pulse: watch::Sender<u64>,
}

/// Events that a collection keeps, far more than a client can be behind by accident.
const LOG_LIMIT: usize = 20_000;

/// Work for the garbage collector.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Garbage {
    /// Look at this object: its owners or its own deletion may ask for something.
    Check(Key),
    /// The object with this uid is gone.
    OwnerGone(String),
    /// Something in this namespace changed while the namespace is being deleted.
    Namespace(String),
}

/// The whole state of the API server.
pub(super) struct Store {
    revision: u64,
    collections: BTreeMap<String, Collection>,
    by_uid: HashMap<String, Key>,
    dependents: HashMap<String, BTreeSet<Key>>,
    garbage: mpsc::UnboundedSender<Garbage>,
    pub(super) registry: Registry,
    /// What each field manager applied last, for server-side apply: by uid and manager.
    pub(super) applied: HashMap<(String, String), Value>,
}

impl Store {
    pub(super) fn new(garbage: mpsc::UnboundedSender<Garbage>) -> Self {
        Self {
            revision: 1,
            collections: BTreeMap::new(),
            by_uid: HashMap::new(),
            dependents: HashMap::new(),
            garbage,
            registry: Registry::builtins(),
            applied: HashMap::new(),
        }
    }

    /// The revision of the last write.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) fn collection(&mut self, storage: &str) -> &mut Collection {
        let born = self.revision;
        self.collections.entry(storage.to_string()).or_insert_with(|| Collection {
            objects: BTreeMap::new(),
            log: VecDeque::new(),
            // A watch may start at any revision, for nothing happened here before.
            compacted: 0,
            dropped: 0,
            held: None,
            pulse: watch::Sender::new(born),
        })
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Object> {
        self.collections.get(&key.storage)?.objects.get(&(key.namespace.clone(), key.name.clone()))
    }

    /// Looks in a collection by namespace and name without building a key.
    pub(super) fn find(&self, storage: &str, namespace: &str, name: &str) -> Option<&Object> {
        self.get(&Key::new(storage, namespace, name))
    }

    /// The objects of a collection, of one namespace if given, in order of namespace and name.
    pub(super) fn list(&self, storage: &str, namespace: Option<&str>) -> Vec<Object> {
        self.collections.get(storage).map(|collection| in_namespace(&collection.objects, namespace)).unwrap_or_default()
    }

    pub(super) fn by_uid(&self, uid: &str) -> Option<&Key> {
        self.by_uid.get(uid)
    }

    /// The objects that name `uid` as an owner.
    pub(super) fn dependents(&self, uid: &str) -> Vec<Key> {
        self.dependents.get(uid).map(|keys| keys.iter().cloned().collect()).unwrap_or_default()
    }

    /// Asks the garbage collector to look at something.
    pub(super) fn look_at(&self, item: Garbage) {
        let _ = self.garbage.send(item);
    }

    /// Every object of a namespace.
    pub(super) fn contents(&self, namespace: &str) -> Vec<Key> {
        let mut keys = Vec::new();
        for (storage, collection) in &self.collections {
            let from = (namespace.to_string(), String::new());
            for ((ns, name), _) in collection.objects.range(from..) {
                if ns != namespace {
                    break;
                }
                keys.push(Key::new(storage, ns, name));
            }
        }
        keys
    }

    /// Writes a new state and returns it with its resource version.
    pub(super) fn put(&mut self, key: &Key, mut value: Value) -> Object {
        self.revision += 1;
        let revision = self.revision;
        object::meta_mut(&mut value).insert("resourceVersion".into(), revision.to_string().into());
        let new: Object = Arc::new(value);
        let old = self.collection(&key.storage).objects.insert((key.namespace.clone(), key.name.clone()), new.clone());
        self.reindex(key, old.as_ref(), Some(&new));
        let change = if old.is_some() { Change::Modified } else { Change::Added };
        self.log(key, Event { revision, change, object: new.clone(), old });
        let owned = !object::items(&new, "/metadata/ownerReferences").is_empty();
        if owned || object::is_terminating(&new) {
            let _ = self.garbage.send(Garbage::Check(key.clone()));
        }
        new
    }

    /// Removes an object and returns its last state, with the revision of the deletion.
    pub(super) fn remove(&mut self, key: &Key) -> Option<Object> {
        let at = (key.namespace.clone(), key.name.clone());
        let old = self.collection(&key.storage).objects.remove(&at)?;
        self.revision += 1;
        let revision = self.revision;
        let mut last = (*old).clone();
        object::meta_mut(&mut last).insert("resourceVersion".into(), revision.to_string().into());
        let last: Object = Arc::new(last);
        self.reindex(key, Some(&old), None);
        self.applied.retain(|(uid, _), _| uid != object::uid(&old));
        self.log(key, Event { revision, change: Change::Deleted, object: last.clone(), old: Some(old) });
        let _ = self.garbage.send(Garbage::OwnerGone(object::uid(&last).to_string()));
        // An owner may have waited for this one.
        for owner in object::items(&last, "/metadata/ownerReferences") {
            if let Some(key) = self.by_uid.get(object::text(owner, "/uid")) {
                let _ = self.garbage.send(Garbage::Check(key.clone()));
            }
        }
        if !key.namespace.is_empty() {
            let _ = self.garbage.send(Garbage::Namespace(key.namespace.clone()));
        }
        Some(last)
    }

    fn log(&mut self, key: &Key, event: Event) {
        let collection = self.collection(&key.storage);
        let revision = event.revision;
        collection.log.push_back(Arc::new(event));
        if collection.held.is_none() {
            while collection.log.len() > LOG_LIMIT {
                if let Some(dropped) = collection.log.pop_front() {
                    collection.dropped = dropped.revision;
                    collection.compacted = dropped.revision;
                }
            }
        }
        collection.pulse.send_replace(revision);
    }

    fn reindex(&mut self, key: &Key, old: Option<&Object>, new: Option<&Object>) {
        let owners = |object: Option<&Object>| -> Vec<String> {
            object
                .map(|o| object::items(o, "/metadata/ownerReferences"))
                .unwrap_or_default()
                .iter()
                .map(|owner| object::text(owner, "/uid").to_string())
                .collect()
        };
        for uid in owners(old) {
            if let Some(set) = self.dependents.get_mut(&uid) {
                set.remove(key);
                if set.is_empty() {
                    self.dependents.remove(&uid);
                }
            }
        }
        for uid in owners(new) {
            self.dependents.entry(uid).or_default().insert(key.clone());
        }
        if let (Some(old), None) = (old, new) {
            self.by_uid.remove(object::uid(old));
        }
        if let Some(new) = new {
            self.by_uid.insert(object::uid(new).to_string(), key.clone());
        }
    }

    /// Forgets the log of every collection, as etcd's compaction does: watches from older revisions end with 410.
    pub(super) fn compact(&mut self) {
        // Who resumes from the newest revision shall list again like all others, whatever was written last.
        self.revision += 1;
        let revision = self.revision;
        for collection in self.collections.values_mut() {
            if collection.held.is_none() {
                if let Some(newest) = collection.log.back() {
                    collection.dropped = newest.revision;
                }
                collection.log.clear();
                collection.compacted = revision;
            }
        }
    }

    /// Freezes what lists at revision 0 and watches see; all collections if none is named.
    pub(super) fn hold(&mut self, storage: Option<&str>) {
        let revision = self.revision;
        // Named or not, collections that nobody has touched yet must be held too.
        let names: Vec<String> = match storage {
            Some(storage) => vec![storage.to_string()],
            None => self.registry.all().map(|r| r.storage.clone()).collect(),
        };
        for name in names {
            let collection = self.collection(&name);
            collection.held.get_or_insert(revision);
        }
    }

    /// Ends [`Store::hold`].
    pub(super) fn release(&mut self, storage: Option<&str>) {
        let revision = self.revision;
        for (name, collection) in &mut self.collections {
            if storage.is_none_or(|s| s == name) && collection.held.take().is_some() {
                collection.pulse.send_replace(revision);
            }
        }
    }

    /// The revision that lists at revision 0 and watches of this collection see now.
    pub(super) fn cached_revision(&mut self, storage: &str) -> u64 {
        let revision = self.revision;
        self.collection(storage).held.unwrap_or(revision)
    }

    /// The objects as they were at `revision`.
    ///
    /// # Errors
    /// 410 if the log does not reach back that far.
    pub(super) fn list_at(
        &mut self,
        storage: &str,
        namespace: Option<&str>,
        revision: u64,
    ) -> Result<Vec<Object>, Status> {
        let collection = self.collection(storage);
        if revision < collection.compacted {
            return Err(too_old(revision, collection.compacted));
        }
        let mut objects = collection.objects.clone();
        for event in collection.log.iter().rev() {
            if event.revision <= revision {
                break;
            }
            let at = (object::namespace(&event.object).to_string(), object::name(&event.object).to_string());
            match &event.old {
                Some(old) => objects.insert(at, old.clone()),
                None => objects.remove(&at),
            };
        }
        Ok(in_namespace(&objects, namespace))
    }
}

impl Collection {
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.pulse.subscribe()
    }

    /// Whether a watch may start after `revision`.
    ///
    /// # Errors
    /// 410 if the history does not reach back that far.
    pub(super) fn check_start(&self, revision: u64) -> Result<(), Status> {
        if revision < self.compacted { Err(too_old(revision, self.compacted)) } else { Ok(()) }
    }

    /// The visible events after `revision`. A watch that is up to date survives a compaction.
    ///
    /// # Errors
    /// 410 if some of them are no longer in the log.
    pub(super) fn since(&self, revision: u64) -> Result<Vec<Arc<Event>>, Status> {
        if revision < self.dropped {
            return Err(too_old(revision, self.dropped));
        }
        let limit = self.held.unwrap_or(u64::MAX);
        let from = self.log.partition_point(|event| event.revision <= revision);
        Ok(self.log.range(from..).take_while(|event| event.revision <= limit).cloned().collect())
    }
}

fn too_old(revision: u64, compacted: u64) -> Status {
    Status::expired(format!("too old resource version: {revision} ({compacted})"))
}

fn in_namespace(objects: &BTreeMap<(String, String), Object>, namespace: Option<&str>) -> Vec<Object> {
    match namespace {
        None => objects.values().cloned().collect(),
        Some(namespace) => objects
            .range((namespace.to_string(), String::new())..)
            .take_while(|((ns, _), _)| ns == namespace)
            .map(|(_, object)| object.clone())
            .collect(),
    }
}
