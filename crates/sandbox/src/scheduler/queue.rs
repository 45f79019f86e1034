//! The scheduling queue: who is tried next, who pauses, who sleeps until something happens. Pure; the caller brings the time.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::{
    cache::PodInfo,
    config::SchedulerConfig,
    event::{self, ClusterEvent},
    filter::Plugin,
};
use crate::clock::after;

/// Pods that are not bound yet, by uid.
#[derive(Debug)]
pub struct Queue {
    initial_backoff: Duration,
    max_backoff: Duration,
    max_asleep: Duration,
    pop_from_backoff: bool,
    entries: HashMap<String, Entry>,
    /// By priority, then by time, then by arrival.
    active: BTreeSet<(Reverse<i32>, Timestamp, u64, String)>,
    /// By the end of the pause.
    backoff: BTreeSet<(Timestamp, u64, String)>,
    /// By the time they fell asleep.
    asleep: BTreeSet<(Timestamp, u64, String)>,
    serial: u64,
}

#[derive(Debug)]
struct Entry {
    pod: Arc<PodInfo>,
    place: Place,
    serial: u64,
    /// When it was queued first, or last failed.
    stamp: Timestamp,
    refusals: u32,
    /// Errors since it was last refused.
    errors: u32,
    refused_by: BTreeSet<Plugin>,
}

/// Where a pod of the queue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// To be tried as soon as its turn comes.
    Active,
    /// Pausing; after an error the pause is always kept.
    Backoff {
        /// Its end.
        until: Timestamp,
        /// Whether an error is the cause.
        error: bool,
    },
    /// Refused, waiting for an event that concerns it.
    Asleep,
    /// Being scheduled or bound.
    InFlight,
}

impl Queue {
    /// An empty queue.
    pub fn new(config: &SchedulerConfig) -> Self {
        Self {
            initial_backoff: config.pod_initial_backoff,
            max_backoff: config.pod_max_backoff,
            max_asleep: config.pod_max_in_unschedulable,
            pop_from_backoff: config.pop_from_backoff,
            entries: HashMap::new(),
            active: BTreeSet::new(),
            backoff: BTreeSet::new(),
            asleep: BTreeSet::new(),
            serial: 0,
        }
    }

    /// Where the pod with this uid is.
    pub fn place(&self, uid: &str) -> Option<Place> {
        self.entries.get(uid).map(|entry| entry.place)
    }

    /// Adds a pod, or takes notice of its new form: a sleeping pod wakes if the change concerns it.
    pub fn upsert(&mut self, pod: Arc<Pod>, now: Timestamp) {
        let pod = Arc::new(PodInfo::new(pod));
        let Some(entry) = self.entries.get_mut(&pod.uid) else {
            self.serial += 1;
            let (uid, serial) = (pod.uid.clone(), self.serial);
            self.active.insert((Reverse(pod.priority), now, serial, uid.clone()));
            let entry = Entry {
                pod,
                place: Place::Active,
                serial,
                stamp: now,
                refusals: 0,
                errors: 0,
                refused_by: BTreeSet::new(),
            };
            self.entries.insert(uid, entry);
            return;
        };
        let uid = pod.uid.clone();
        let change = event::pod_change(&entry.pod.pod, &pod.pod);
        if entry.place == Place::Active && entry.pod.priority != pod.priority {
            self.active.remove(&(Reverse(entry.pod.priority), entry.stamp, entry.serial, uid.clone()));
            self.active.insert((Reverse(pod.priority), entry.stamp, entry.serial, uid.clone()));
        }
        entry.pod = pod;
        if let (Place::Asleep, Some(change)) = (entry.place, change)
            && entry.is_concerned(&ClusterEvent::PodUpdated(change))
        {
            self.wake(&uid, now);
        }
    }

    /// Drops a pod that is bound or gone. Whether it was there.
    pub fn remove(&mut self, uid: &str) -> bool {
        let place = self.place(uid);
        if let Some(place) = place {
            self.leave(uid, place);
            self.entries.remove(uid);
        }
        place.is_some()
    }

    /// Takes the pod whose turn it is.
    pub fn pop(&mut self, now: Timestamp) -> Option<Arc<PodInfo>> {
        self.flush(now);
        let active = self.active.first().map(|(_, _, _, uid)| uid.clone());
        let uid = active.or_else(|| self.pausing())?;
        let place = self.place(&uid)?;
        self.leave(&uid, place);
        let entry = self.entries.get_mut(&uid)?;
        entry.place = Place::InFlight;
        Some(entry.pod.clone())
    }

    /// The pod that an idle scheduler takes out of its pause.
    fn pausing(&self) -> Option<String> {
        let refused = |uid: &String| matches!(self.place(uid), Some(Place::Backoff { error: false, .. }));
        let mut pausing = self.backoff.iter().map(|(_, _, uid)| uid);
        pausing.find(|uid| self.pop_from_backoff && refused(uid)).cloned()
    }

    /// The pod in flight found no place; it sleeps until an event concerns one of `plugins`.
    pub fn refused(&mut self, uid: &str, plugins: BTreeSet<Plugin>, now: Timestamp) {
        if plugins.is_empty() {
            return self.failed(uid, now);
        }
        let Some(entry) = self.entries.get_mut(uid) else { return };
        entry.refusals += 1;
        entry.errors = 0;
        entry.refused_by = plugins;
        entry.stamp = now;
        entry.place = Place::Asleep;
        self.asleep.insert((now, entry.serial, uid.to_owned()));
    }

    /// Scheduling or binding the pod in flight ended in an error; it is tried again after a pause.
    pub fn failed(&mut self, uid: &str, now: Timestamp) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        entry.errors += 1;
        entry.refused_by.clear();
        entry.stamp = now;
        let until = after(now, pause(self.initial_backoff, self.max_backoff, entry.errors));
        entry.place = Place::Backoff { until, error: true };
        self.backoff.insert((until, entry.serial, uid.to_owned()));
    }

    /// Wakes the sleeping pods, but for `except`, that `event` concerns.
    pub fn event(&mut self, event: &ClusterEvent, except: Option<&str>, now: Timestamp) {
        let concerned: Vec<String> = self
            .asleep
            .iter()
            .map(|(_, _, uid)| uid)
            .filter(|uid| Some(uid.as_str()) != except)
            .filter(|uid| self.entries.get(*uid).is_some_and(|entry| entry.is_concerned(event)))
            .cloned()
            .collect();
        concerned.iter().for_each(|uid| self.wake(uid, now));
    }

    /// Ends the pauses that are over, and the sleep of those who slept too long.
    fn flush(&mut self, now: Timestamp) {
        while let Some((until, _, uid)) = self.backoff.first().cloned()
            && until <= now
        {
            let place = self.place(&uid).unwrap_or(Place::Asleep);
            self.leave(&uid, place);
            self.activate(&uid);
        }
        while let Some((since, _, uid)) = self.asleep.first().cloned()
            && after(since, self.max_asleep) <= now
        {
            self.wake(&uid, now);
        }
    }

    /// When the queue has to be looked at again although nothing happens.
    pub fn next_deadline(&self) -> Timestamp {
        if !self.active.is_empty() || self.pausing().is_some() {
            return Timestamp::MIN;
        }
        let pause = self.backoff.first().map(|(until, _, _)| *until);
        let sleep = self.asleep.first().map(|(since, _, _)| after(*since, self.max_asleep));
        pause.into_iter().chain(sleep).min().unwrap_or(Timestamp::MAX)
    }

    fn wake(&mut self, uid: &str, now: Timestamp) {
        self.leave(uid, Place::Asleep);
        let Some(entry) = self.entries.get_mut(uid) else { return };
        let until = after(entry.stamp, pause(self.initial_backoff, self.max_backoff, entry.refusals));
        if until <= now {
            return self.activate(uid);
        }
        entry.place = Place::Backoff { until, error: false };
        self.backoff.insert((until, entry.serial, uid.to_owned()));
    }

    fn activate(&mut self, uid: &str) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        entry.place = Place::Active;
        self.active.insert((Reverse(entry.pod.priority), entry.stamp, entry.serial, uid.to_owned()));
    }

    fn leave(&mut self, uid: &str, place: Place) {
        let Some(entry) = self.entries.get(uid) else { return };
        let uid = uid.to_owned();
        match place {
            Place::Active => {
                self.active.remove(&(Reverse(entry.pod.priority), entry.stamp, entry.serial, uid));
            }
            Place::Backoff { until, .. } => {
                self.backoff.remove(&(until, entry.serial, uid));
            }
            Place::Asleep => {
                self.asleep.remove(&(entry.stamp, entry.serial, uid));
            }
            Place::InFlight => {}
        }
    }
}

impl Entry {
    fn is_concerned(&self, event: &ClusterEvent) -> bool {
        self.refused_by.iter().any(|plugin| event::concerns(event, *plugin, &self.pod))
    }
}

/// The pause after the `count`th failure in a row.
fn pause(initial: Duration, max: Duration, count: u32) -> Duration {
    let doublings = count.saturating_sub(1).min(31);
    initial.saturating_mul(1 << doublings).min(max)
}
