//! What is known of the FloatingIP objects beyond their record: the last version seen, and the metadata that people and
//! other programs put on them, which an update must carry on (a PUT replaces the whole object).

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use galaxy_core::Addr;
use galaxy_core::ledger::ObjectRef;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::core::ObjectMeta;

/// The objects by address. Fed by the watch and by the answers to the writer's own calls, always before the ledger, so
/// that whatever version the ledger decides on, its metadata (or newer) is here.
#[derive(Debug, Default)]
pub(crate) struct Objects(Mutex<HashMap<Addr, Known>>);

#[derive(Debug)]
struct Known {
    object: ObjectRef,
    extra: Option<Box<Extra>>,
}

/// Metadata that galaxy-ipam does not write itself. Most objects have none.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Extra {
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    owner_references: Option<Vec<OwnerReference>>,
    finalizers: Option<Vec<String>>,
}

impl Extra {
    /// What an object has of it, if anything.
    pub(crate) fn of(meta: &ObjectMeta) -> Option<Box<Extra>> {
        let extra = Extra {
            labels: meta.labels.clone().filter(|labels| !labels.is_empty()),
            annotations: meta.annotations.clone().filter(|annotations| !annotations.is_empty()),
            owner_references: meta.owner_references.clone().filter(|owners| !owners.is_empty()),
            finalizers: meta.finalizers.clone().filter(|finalizers| !finalizers.is_empty()),
        };
        (extra != Extra::default()).then(|| Box::new(extra))
    }

    /// Puts it on an object about to be written.
    pub(crate) fn put(self, meta: &mut ObjectMeta) {
        meta.labels = self.labels;
        meta.annotations = self.annotations;
        meta.owner_references = self.owner_references;
        meta.finalizers = self.finalizers;
    }
}

impl Objects {
    /// Learns of an object. Older versions of the one known are ignored.
    pub(crate) fn observed(&self, addr: Addr, object: &ObjectRef, extra: Option<Box<Extra>>) {
        let mut known = self.lock();
        let newer = |at: &Known| at.object.version > object.version;
        if !known.get(&addr).is_some_and(newer) {
            known.insert(addr, Known { object: object.clone(), extra });
        }
    }

    /// Forgets an object that is gone; one made since under the same name stays.
    pub(crate) fn gone(&self, addr: Addr, object: &ObjectRef) {
        let mut known = self.lock();
        if known.get(&addr).is_some_and(|at| at.object.uid == object.uid) {
            known.remove(&addr);
        }
    }

    /// The metadata of the object, if it is still the one with this uid and has any.
    pub(crate) fn extra(&self, addr: Addr, object: &ObjectRef) -> Option<Extra> {
        let known = self.lock();
        let at = known.get(&addr).filter(|at| at.object.uid == object.uid)?;
        at.extra.as_deref().cloned()
    }

    /// Every object with the last version seen.
    pub(crate) fn versions(&self) -> HashMap<Addr, ObjectRef> {
        self.lock().iter().map(|(addr, known)| (*addr, known.object.clone())).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Addr, Known>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(uid: &str, version: u64) -> ObjectRef {
        ObjectRef { uid: uid.into(), version }
    }

    fn labelled(value: &str) -> Option<Box<Extra>> {
        let labels = BTreeMap::from([("team".to_owned(), value.to_owned())]);
        Extra::of(&ObjectMeta { labels: Some(labels), ..ObjectMeta::default() })
    }

    #[test]
    fn late_news_change_nothing() {
        let (objects, addr) = (Objects::default(), "10.0.0.5".parse().unwrap());
        objects.observed(addr, &object("a", 5), labelled("new"));
        objects.observed(addr, &object("a", 4), None);
        assert_eq!(objects.extra(addr, &object("a", 5)), labelled("new").map(|extra| *extra));
        objects.observed(addr, &object("b", 7), None);
        objects.gone(addr, &object("a", 6));
        assert_eq!(objects.versions().get(&addr), Some(&object("b", 7)), "the deletion was of its predecessor");
        assert_eq!(objects.extra(addr, &object("a", 5)), None);
        objects.gone(addr, &object("b", 8));
        assert!(objects.versions().is_empty());
    }

    #[test]
    fn only_what_is_not_ours_is_kept() {
        assert_eq!(Extra::of(&ObjectMeta { labels: Some(BTreeMap::new()), ..ObjectMeta::default() }), None);
        let mut meta = ObjectMeta::default();
        labelled("x").unwrap().put(&mut meta);
        assert_eq!(Extra::of(&meta), labelled("x"));
    }
}
