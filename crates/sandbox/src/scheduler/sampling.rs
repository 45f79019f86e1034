//! How many nodes are looked at in a big cluster.

/// Below this many nodes all are looked at, and never fewer than this are looked for.
const MIN_FEASIBLE_NODES: usize = 100;
/// The least share that adaptation goes down to, in percent.
const MIN_PERCENTAGE: usize = 5;

/// How many nodes that can take the pod are enough, of `all`. Percentage 0 adapts: 50 % for 100 nodes, falling to 5 % at 5,600.
pub fn nodes_to_find(percentage: u32, all: usize) -> usize {
    let percentage = usize::try_from(percentage).unwrap_or(usize::MAX);
    if all < MIN_FEASIBLE_NODES || percentage >= 100 {
        return all;
    }
    let share = match percentage {
        0 => 50_usize.saturating_sub(all / 125).max(MIN_PERCENTAGE),
        given => given,
    };
    (all * share / 100).max(MIN_FEASIBLE_NODES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_kube_scheduler() {
        // From kube-scheduler's own table of this function.
        for (percentage, all, expected) in [
            (0, 10, 10),
            (40, 10, 10),
            (0, 1000, 420),
            (40, 1000, 400),
            (0, 6000, 300),
            (40, 6000, 2400),
            (100, 6000, 6000),
            (1, 200, 100),
            (0, 99, 99),
            (0, 100, 100),
        ] {
            assert_eq!(nodes_to_find(percentage, all), expected, "{percentage} % of {all}");
        }
    }
}
