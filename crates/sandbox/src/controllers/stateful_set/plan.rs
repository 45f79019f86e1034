//! Which pods of a StatefulSet to make and which to delete now. Pure.

/// What the plan needs of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) ordinal: i32,
    /// Being deleted.
    pub(super) terminating: bool,
    /// Succeeded or failed.
    pub(super) finished: bool,
    /// Running, ready, and that for long enough.
    pub(super) available: bool,
    /// Made from the present template.
    pub(super) updated: bool,
}

/// What is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    /// One at a time, in order.
    pub(super) ordered: bool,
    pub(super) start: i32,
    pub(super) replicas: i32,
    /// Pods below this place keep their template; `None` if none is replaced for its template.
    pub(super) partition: Option<i32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Create(i32),
    Delete(i32),
}

/// The next steps. A pod that is terminating keeps its name, so its successor waits until it is gone.
pub(super) fn plan(wish: Wish, members: &[Member]) -> Vec<Step> {
    let end = wish.start.saturating_add(wish.replicas);
    let find = |ordinal| members.iter().find(|member| member.ordinal == ordinal);
    let mut steps = Vec::new();
    for ordinal in wish.start..end {
        let waits = match find(ordinal) {
            None => {
                steps.push(Step::Create(ordinal));
                true
            }
            Some(member) if member.finished => {
                if !member.terminating {
                    steps.push(Step::Delete(ordinal));
                }
                true
            }
            Some(member) => member.terminating || !member.available,
        };
        if waits && wish.ordered {
            return steps;
        }
    }
    if remove(wish, members, end, &mut steps) {
        return steps;
    }
    update(wish, &find, &mut steps);
    steps
}

/// Deletes the pods outside the range, the highest first. Whether nothing else may be done now.
fn remove(wish: Wish, members: &[Member], end: i32, steps: &mut Vec<Step>) -> bool {
    let outside = |member: &&Member| !(wish.start..end).contains(&member.ordinal);
    let mut condemned: Vec<&Member> = members.iter().filter(outside).collect();
    condemned.sort_by_key(|member| std::cmp::Reverse(member.ordinal));
    let first_unhealthy = members
        .iter()
        .filter(|member| member.terminating || !member.available)
        .min_by_key(|member| (outside(member), member.ordinal))
        .map(|member| member.ordinal);
    for member in condemned {
        if member.terminating {
            if wish.ordered {
                return true;
            }
            continue;
        }
        if wish.ordered && !member.available && first_unhealthy != Some(member.ordinal) {
            return true;
        }
        steps.push(Step::Delete(member.ordinal));
        if wish.ordered {
            return true;
        }
    }
    false
}

/// Replaces one outdated pod, from the highest place down to the partition, waiting for each successor.
fn update<'a>(wish: Wish, find: &impl Fn(i32) -> Option<&'a Member>, steps: &mut Vec<Step>) {
    let Some(partition) = wish.partition else { return };
    for place in (partition.max(0)..wish.replicas).rev() {
        let ordinal = wish.start + place;
        match find(ordinal) {
            Some(member) if !member.updated && !member.terminating => {
                if !steps.contains(&Step::Delete(ordinal)) {
                    steps.push(Step::Delete(ordinal));
                }
                return;
            }
            Some(member) if member.available && !member.terminating => {}
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pods 0, 1, 2 … by letter: `r`eady, `s`tarting, `t`erminating, `f`inished, `.` absent; upper case is outdated.
    fn members(text: &str) -> Vec<Member> {
        let numbered = (0..).zip(text.chars()).filter(|(_, letter)| *letter != '.');
        numbered
            .map(|(ordinal, letter)| Member {
                ordinal,
                terminating: letter.eq_ignore_ascii_case(&'t'),
                finished: letter.eq_ignore_ascii_case(&'f'),
                available: letter.eq_ignore_ascii_case(&'r'),
                updated: letter.is_ascii_lowercase(),
            })
            .collect()
    }

    #[test]
    fn steps() {
        use Step::{Create, Delete};
        let (ordered, parallel) = (true, false);
        for (policy, start, replicas, partition, pods, expected) in [
            // Making, in order or at once.
            (ordered, 0, 3, Some(0), "", vec![Create(0)]),
            (ordered, 0, 3, Some(0), "s", vec![]),
            (ordered, 0, 3, Some(0), "r", vec![Create(1)]),
            (parallel, 0, 3, Some(0), "s", vec![Create(1), Create(2)]),
            (ordered, 2, 2, Some(0), "..r", vec![Create(3)]),
            // A stuck pod is waited for; a finished one is replaced.
            (ordered, 0, 3, Some(0), "rtr", vec![]),
            (parallel, 0, 3, Some(0), "rt.", vec![Create(2)]),
            (ordered, 0, 3, Some(0), "rfr", vec![Delete(1)]),
            // Fewer, from the top.
            (ordered, 0, 1, Some(0), "rrr", vec![Delete(2)]),
            (ordered, 0, 1, Some(0), "rrt", vec![]),
            (ordered, 0, 1, Some(0), "rsr", vec![Delete(2)]),
            (ordered, 0, 1, Some(0), "rss", vec![]),
            (ordered, 0, 1, Some(0), "rrs", vec![Delete(2)]),
            (parallel, 0, 1, Some(0), "rrr", vec![Delete(2), Delete(1)]),
            (ordered, 0, 0, Some(0), "r", vec![Delete(0)]),
            // The start moves.
            (ordered, 1, 2, Some(0), "rrr", vec![Delete(0)]),
            // A new template.
            (ordered, 0, 3, Some(0), "RRR", vec![Delete(2)]),
            (ordered, 0, 3, Some(0), "RRr", vec![Delete(1)]),
            (ordered, 0, 3, Some(0), "RRs", vec![]),
            (ordered, 0, 3, Some(2), "RRr", vec![]),
            (ordered, 0, 3, None, "RRR", vec![]),
            (parallel, 0, 3, Some(0), "RRs", vec![]),
            (parallel, 0, 3, Some(0), "RRR", vec![Delete(2)]),
        ] {
            let wish = Wish { ordered: policy, start, replicas, partition };
            assert_eq!(plan(wish, &members(pods)), expected, "{wish:?} {pods}");
        }
    }
}
