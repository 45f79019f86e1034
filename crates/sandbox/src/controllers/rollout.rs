//! The arithmetic of a Deployment's rollout, as kube-controller-manager does it. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// What a rollout may do at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Pods wanted.
    pub replicas: i32,
    /// Pods beyond them that may exist for a while.
    pub surge: i32,
    /// Pods short of them that may be missing for a while.
    pub unavailable: i32,
}

impl Limits {
    /// The limits of a rolling update: a share of the surge is rounded up, of the unavailable down, and not both can be 0.
    pub fn rolling(replicas: i32, surge: Option<&IntOrString>, unavailable: Option<&IntOrString>) -> Self {
        let surge = resolve(surge, replicas, true);
        let unavailable = match resolve(unavailable, replicas, false) {
            // A surge of 0 would leave no way forward; by validation only shares that round down to 0 come here.
            0 if surge == 0 => 1,
            unavailable => unavailable,
        };
        Self { replicas, surge, unavailable }
    }

    /// The limits of strategy Recreate.
    pub fn recreate(replicas: i32) -> Self {
        Self { replicas, surge: 0, unavailable: 0 }
    }

    /// Pods that must stay available.
    pub fn min_available(&self) -> i32 {
        self.replicas - self.max_unavailable()
    }

    /// Pods that may be missing, never more than are wanted.
    pub fn max_unavailable(&self) -> i32 {
        self.unavailable.min(self.replicas)
    }
}

/// A number as given, or a percentage of `total`. A missing or malformed one is 0.
pub fn resolve(value: Option<&IntOrString>, total: i32, round_up: bool) -> i32 {
    match value {
        Some(IntOrString::Int(number)) => (*number).max(0),
        Some(IntOrString::String(text)) => {
            let percent = text.strip_suffix('%').and_then(|text| text.parse::<i64>().ok());
            let scaled = percent.unwrap_or(0).max(0).saturating_mul(i64::from(total));
            let rounded = if round_up { scaled.saturating_add(99) / 100 } else { scaled / 100 };
            i32::try_from(rounded).unwrap_or(i32::MAX)
        }
        None => 0,
    }
}

/// What the arithmetic needs of a ReplicaSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// When it was made; older ones shrink first.
    pub created: Timestamp,
    /// Pods it is told to have.
    pub size: i32,
    /// Of its pods, those available.
    pub available: i32,
    /// Replicas and surge of the Deployment when it was last scaled, from its annotation.
    pub max_replicas: Option<i32>,
}

fn sum(sets: &[Set], of: fn(&Set) -> i32) -> i32 {
    sets.iter().map(of).sum()
}

/// The size that the newest ReplicaSet should have next in a rolling update, where all together are `total` now.
pub fn grow_new(limits: Limits, new: i32, total: i32) -> i32 {
    if new > limits.replicas {
        return limits.replicas;
    }
    let room = limits.replicas + limits.surge - total;
    match room {
        room if room <= 0 => new,
        room => new + room.min(limits.replicas - new),
    }
}

/// The sizes that the older ReplicaSets should have next in a rolling update: first unhealthy pods go, then, oldest first, what
/// availability allows.
pub fn shrink_old(limits: Limits, new: &Set, old: &[Set]) -> Vec<i32> {
    let mut sizes: Vec<i32> = old.iter().map(|set| set.size).collect();
    let mut by_age: Vec<usize> = (0..old.len()).collect();
    by_age.sort_by_key(|at| old[*at].created);
    let total = sum(old, |set| set.size) + new.size;
    let mut surplus = total - limits.min_available() - (new.size - new.available);
    if surplus <= 0 || total == new.size {
        return sizes;
    }
    for at in &by_age {
        let unhealthy = (sizes[*at] - old[*at].available).clamp(0, surplus.max(0));
        sizes[*at] -= unhealthy;
        surplus -= unhealthy;
    }
    let mut spare = sum(old, |set| set.available) + new.available - limits.min_available();
    for at in by_age {
        let down = sizes[at].clamp(0, spare.max(0));
        sizes[at] -= down;
        spare -= down;
    }
    sizes
}

/// The sizes after a change of the Deployment's replicas while several ReplicaSets have pods: each gets its share. `newest` is the
/// one that a tie favours, `status_replicas` stands in where an annotation is missing.
pub fn proportional(limits: Limits, sets: &[Set], status_replicas: i32) -> Vec<i32> {
    let allowed = match limits.replicas {
        0 => 0,
        replicas => replicas + limits.surge,
    };
    let to_add = allowed - sum(sets, |set| set.size);
    let mut sizes: Vec<i32> = sets.iter().map(|set| set.size).collect();
    if to_add == 0 {
        return sizes;
    }
    let mut order: Vec<usize> = (0..sets.len()).collect();
    // The biggest first; of equals the newest if there is something to add, the oldest if to take away.
    order.sort_by(|a, b| {
        let age = sets[*a].created.cmp(&sets[*b].created);
        let age = if to_add > 0 { age.reverse() } else { age };
        sets[*b].size.cmp(&sets[*a].size).then(age)
    });
    let mut added = 0;
    for at in &order {
        let share = share(limits, &sets[*at], status_replicas);
        let left = to_add - added;
        let share = match (sets[*at].size, left) {
            (0, _) | (_, 0) => 0,
            _ if to_add > 0 => share.min(left),
            _ => share.max(left),
        };
        sizes[*at] += share;
        added += share;
    }
    if let Some(first) = order.first() {
        sizes[*first] = (sizes[*first] + to_add - added).max(0);
    }
    sizes
}

/// How much a set's size changes if it keeps its share of the whole.
fn share(limits: Limits, set: &Set, status_replicas: i32) -> i32 {
    if limits.replicas == 0 {
        return -set.size;
    }
    let whole = limits.replicas + limits.surge;
    let before = set.max_replicas.filter(|max| *max != 0).unwrap_or(status_replicas);
    if before == 0 {
        return 0;
    }
    let size = (f64::from(set.size) * f64::from(whole) / f64::from(before)).round();
    // Sizes are far below 2^31; a cast saturates.
    size as i32 - set.size
}

#[cfg(test)]
mod tests {
    use super::*;

    fn percent(text: &str) -> IntOrString {
        match text.parse() {
            Ok(number) => IntOrString::Int(number),
            Err(_) => IntOrString::String(text.to_owned()),
        }
    }

    fn limits(replicas: i32, surge: &str, unavailable: &str) -> Limits {
        Limits::rolling(replicas, Some(&percent(surge)), Some(&percent(unavailable)))
    }

    fn set(age: i64, size: i32, available: i32) -> Set {
        Set { created: Timestamp::from_second(1000 - age).unwrap(), size, available, max_replicas: None }
    }

    #[test]
    fn surge_rounds_up_and_unavailable_down_and_not_both_are_zero() {
        for (surge, unavailable, replicas, expected) in [
            ("0%", "0%", 0, (0, 1)),
            ("0%", "0%", 10, (0, 1)),
            ("39%", "39%", 10, (4, 3)),
            ("25%", "25%", 1, (1, 0)),
            ("25%", "25%", 3, (1, 0)),
            ("25%", "25%", 4, (1, 1)),
            ("25%", "25%", 5, (2, 1)),
            ("25%", "25%", 10, (3, 2)),
            ("0", "1%", 10, (0, 1)),
            ("3", "0", 10, (3, 0)),
            ("oops", "2", 10, (0, 2)),
        ] {
            let limits = limits(replicas, surge, unavailable);
            assert_eq!((limits.surge, limits.unavailable), expected, "{surge} {unavailable} of {replicas}");
        }
    }

    #[test]
    fn growth_of_the_new_set() {
        // replicas, surge, old, new -> new; kube-controller-manager's own table.
        for (replicas, surge, old, new, expected) in
            [(10, "0", 10, 0, 0), (10, "2", 10, 0, 2), (10, "2", 5, 0, 7), (10, "2", 10, 2, 2), (10, "2", 2, 11, 10)]
        {
            assert_eq!(
                grow_new(limits(replicas, surge, "1"), new, old + new),
                expected,
                "{replicas} {surge} {old} {new}"
            );
        }
    }

    #[test]
    fn shrinking_of_the_old_sets() {
        // replicas, unavailable, old, new, available of old and new -> old; kube-controller-manager's own table.
        for (replicas, unavailable, old, new, old_up, new_up, expected) in [
            (10, "0", 10, 0, 10, 0, 10),
            (10, "2", 10, 0, 10, 0, 8),
            (10, "2", 10, 0, 8, 0, 8),
            (10, "2", 10, 0, 9, 0, 8),
            (10, "2", 10, 2, 8, 0, 8),
            (10, "2", 10, 2, 8, 2, 6),
            (10, "2", 0, 10, 0, 10, 0),
        ] {
            let sizes = shrink_old(limits(replicas, "2", unavailable), &set(0, new, new_up), &[set(9, old, old_up)]);
            assert_eq!(sizes, [expected], "{replicas} {unavailable} {old} {new} {old_up} {new_up}");
        }
    }

    #[test]
    fn a_crashing_version_goes_first_and_the_healthy_old_one_stays() {
        // v1 serves, v2 crash-loops, v3 starts: v2's pods are the ones to go.
        let sizes = shrink_old(limits(4, "25%", "25%"), &set(0, 0, 0), &[set(20, 3, 3), set(10, 2, 0)]);
        assert_eq!(sizes, [3, 0]);
    }

    #[test]
    fn scaling_shares_out() {
        let with = |max: i32, mut set: Set| {
            set.max_replicas = Some(max);
            set
        };
        for (replicas, sets, expected) in [
            // Up from 10 to 15, halves: the newer one gets what is left over.
            (15, vec![with(10, set(0, 5, 5)), with(10, set(9, 5, 5))], vec![8, 7]),
            // Down from 10 to 5.
            (5, vec![with(10, set(0, 8, 8)), with(10, set(9, 2, 2))], vec![4, 1]),
            (0, vec![with(10, set(0, 8, 8)), with(10, set(9, 2, 2))], vec![0, 0]),
            (10, vec![with(10, set(0, 8, 8)), with(10, set(9, 2, 2))], vec![8, 2]),
        ] {
            assert_eq!(proportional(limits(replicas, "0", "1"), &sets, 10), expected, "to {replicas}");
        }
    }

    /// Rolls from one version to the next with pods that become available one at a time, and checks the promise at every step.
    #[test]
    fn every_rollout_ends_and_keeps_its_promise() {
        let strategies = [
            ("25%", "25%"),
            ("1", "0"),
            ("0", "1"),
            ("0%", "0%"),
            ("50%", "50%"),
            ("100%", "0"),
            ("0", "100%"),
            ("3", "2"),
        ];
        for replicas in 1..=10 {
            for (surge, unavailable) in strategies {
                let limits = limits(replicas, surge, unavailable);
                let (mut new, mut old) = (set(0, 0, 0), set(9, replicas, replicas));
                let mut steps = 0;
                while (new.available, old.size) != (replicas, 0) {
                    steps += 1;
                    assert!(steps < 100, "{limits:?} hangs at {new:?} {old:?}");
                    let grown = grow_new(limits, new.size, new.size + old.size);
                    if grown != new.size {
                        new.size = grown;
                    } else {
                        let size = shrink_old(limits, &new, std::slice::from_ref(&old))[0];
                        old.size = size;
                        old.available = old.available.min(size);
                    }
                    assert!(new.size + old.size <= replicas + limits.surge, "{limits:?} at {new:?} {old:?}");
                    assert!(new.available + old.available >= limits.min_available(), "{limits:?} at {new:?} {old:?}");
                    if new.available < new.size {
                        new.available += 1;
                    }
                }
            }
        }
    }
}
