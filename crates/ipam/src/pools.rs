//! What the Pool objects say about themselves, so that a status is written only when it changes.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use galaxy_api::pool::{self, PoolStatus};
use galaxy_core::ledger::{PoolStatus as Numbers, Uid};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The Pool objects by uid.
#[derive(Default)]
pub(crate) struct PoolObjects(Mutex<HashMap<Uid, Known>>);

#[derive(Clone)]
struct Known {
    /// Why the size does not count as it stands.
    limit_error: Option<String>,
    generation: Option<i64>,
    /// As observed or, since, written.
    status: PoolStatus,
}

impl PoolObjects {
    pub(crate) fn observed(&self, uid: &Uid, limit_error: Option<String>, generation: Option<i64>, status: PoolStatus) {
        self.lock().insert(uid.clone(), Known { limit_error, generation, status });
    }

    pub(crate) fn gone(&self, uid: &Uid) {
        self.lock().remove(uid);
    }

    /// The status to write, if it differs from the one there is. `winner` is the object that has the name, when this one
    /// does not count.
    pub(crate) fn due(
        &self,
        uid: &Uid,
        numbers: &Numbers,
        winner: Option<&str>,
        now: jiff::Timestamp,
    ) -> Option<PoolStatus> {
        let known = self.lock().get(uid).cloned()?;
        let mut conditions = vec![accepted(&known, winner)];
        let counts = winner.is_none();
        if counts && numbers.object.as_ref().is_some_and(|object| object.pre_allocate) {
            conditions.extend(pre_allocated(numbers));
        }
        for condition in &mut conditions {
            condition.observed_generation = known.generation;
            let earlier = known.status.conditions.iter().find(|earlier| earlier.type_ == condition.type_);
            let since = earlier.filter(|earlier| earlier.status == condition.status);
            condition.last_transition_time = since.map_or(Time(now), |since| since.last_transition_time.clone());
        }
        let number = |number: u32| if counts { u64::from(number) } else { 0 };
        let status = PoolStatus {
            observed_generation: known.generation,
            real_size: number(numbers.used.saturating_add(numbers.reserved)),
            used: number(numbers.used),
            reserved: number(numbers.reserved),
            conditions,
        };
        (status != known.status).then_some(status)
    }

    /// The status was written.
    pub(crate) fn written(&self, uid: &Uid, status: PoolStatus) {
        if let Some(known) = self.lock().get_mut(uid) {
            known.status = status;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uid, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn condition(kind: &str, status: bool, reason: &str, message: String) -> Condition {
    Condition {
        type_: kind.to_owned(),
        status: if status { "True" } else { "False" }.to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation: None,
        last_transition_time: Time(jiff::Timestamp::UNIX_EPOCH),
    }
}

fn accepted(known: &Known, winner: Option<&str>) -> Condition {
    match (winner, &known.limit_error) {
        (Some(winner), _) => condition(
            pool::ACCEPTED,
            false,
            pool::NAME_TAKEN,
            format!(
                "Pool {winner} has this name; delete one of them, or rename this one and the annotations that name it"
            ),
        ),
        (None, Some(error)) => condition(pool::ACCEPTED, false, pool::INVALID_SIZE, error.clone()),
        (None, None) => condition(pool::ACCEPTED, true, "Accepted", "the size counts".to_owned()),
    }
}

/// None while it is not settled yet.
fn pre_allocated(numbers: &Numbers) -> Option<Condition> {
    if numbers.shortfall > 0 {
        let message = format!(
            "{} more addresses are needed than are free; they are reserved as others become free or are configured",
            numbers.shortfall
        );
        return Some(condition(pool::PRE_ALLOCATED, false, pool::NO_ENOUGH_IPS, message));
    }
    let done = || condition(pool::PRE_ALLOCATED, true, "Reserved", "all addresses are reserved".to_owned());
    (!numbers.settling).then(done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use galaxy_core::ledger::PoolView;

    fn numbers(shortfall: u32, settling: bool) -> Numbers {
        let object = PoolView {
            uid: "u".into(),
            namespace: "kube-system".into(),
            name: "blue".into(),
            version: 1,
            created: galaxy_core::ledger::Time(0),
            size: Some(4),
            pre_allocate: true,
        };
        Numbers { object: Some(object), rejected: Vec::new(), used: 1, reserved: 2, shortfall, settling }
    }

    fn reasons(status: &PoolStatus) -> Vec<(&str, &str)> {
        status.conditions.iter().map(|condition| (&*condition.status, &*condition.reason)).collect()
    }

    #[test]
    fn a_status_is_due_only_when_it_changes() {
        let (pools, uid) = (PoolObjects::default(), Uid::from("u"));
        let at = |second| jiff::Timestamp::from_second(second).unwrap();
        assert_eq!(pools.due(&uid, &numbers(0, false), None, at(1)), None, "an unknown object");
        pools.observed(&uid, None, Some(3), PoolStatus::default());
        let first = pools.due(&uid, &numbers(1, false), None, at(1)).unwrap();
        assert_eq!((first.real_size, first.used, first.reserved), (3, 1, 2));
        assert_eq!(reasons(&first), [("True", "Accepted"), ("False", "NoEnoughIPs")]);
        pools.written(&uid, first.clone());
        assert_eq!(pools.due(&uid, &numbers(1, false), None, at(2)), None);
        let second = pools.due(&uid, &numbers(0, false), None, at(3)).unwrap();
        assert_eq!(reasons(&second), [("True", "Accepted"), ("True", "Reserved")]);
        assert_eq!(second.conditions[0].last_transition_time, Time(at(1)));
        assert_eq!(second.conditions[1].last_transition_time, Time(at(3)));
        assert_eq!(reasons(&pools.due(&uid, &numbers(0, true), None, at(4)).unwrap()), [("True", "Accepted")]);
    }

    #[test]
    fn a_pool_whose_name_is_taken_says_by_whom_and_has_no_numbers() {
        let (pools, uid) = (PoolObjects::default(), Uid::from("u"));
        pools.observed(&uid, Some("size: -1 is not between 0 and 9".into()), None, PoolStatus::default());
        let now = jiff::Timestamp::UNIX_EPOCH;
        let taken = pools.due(&uid, &numbers(0, false), Some("kube-system/blue"), now).unwrap();
        assert_eq!(reasons(&taken), [("False", "NameTaken")]);
        assert!(taken.conditions[0].message.contains("kube-system/blue"));
        assert_eq!((taken.real_size, taken.used), (0, 0));
        let invalid = pools.due(&uid, &numbers(0, true), None, now).unwrap();
        assert_eq!(reasons(&invalid), [("False", "InvalidSize")]);
    }
}
