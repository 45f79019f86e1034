//! Which scenarios run on a real control plane.

use futures::future::BoxFuture;

use crate::cluster::Lab;

/// Calls a macro for every module of scenarios that need a real control plane, as [`scenarios!`](crate::scenarios).
#[macro_export]
macro_rules! plane_scenarios {
    ($each:ident) => {
        $each! { access = $crate::real::scenarios::access, "real/scenarios/access.rs" {
            galaxy_ipam_uses_exactly_its_rights
            tokens_and_roles_decide
            the_scheduler_calls_over_tls
            the_shipped_manifests_are_valid
        } }
        $each! { controllers = $crate::real::scenarios::controllers, "real/scenarios/controllers.rs" {
            a_job_gives_its_addresses_back
            a_replica_set_of_its_own_is_scaled_and_collected
            a_deployment_is_collected_with_everything_it_owns
            a_second_custom_kind_keeps_its_addresses
        } }
        $each! { dead_nodes = $crate::real::scenarios::dead_nodes, "real/scenarios/dead_nodes.rs" {
            everybody_returns_when_the_node_is_deleted
            everybody_returns_when_the_node_is_out_of_service
            everybody_returns_when_the_pods_are_force_deleted
            a_quarantine_ends_with_the_time_of_its_flag
        } }
        $each! { kubectl = $crate::real::scenarios::kubectl, "real/scenarios/kubectl.rs" {
            apply_by_client_and_by_server
            scale_and_roll
            drain
        } }
        $each! { migration = $crate::real::scenarios::migration, "real/scenarios/migration.rs" {
            what_the_original_left_is_adopted
            what_is_written_is_what_the_original_reads
        } }
        $each! { preemption = $crate::real::scenarios::preemption, "real/scenarios/preemption.rs" {
            a_lesser_pod_makes_room
            a_victim_gives_its_room_and_its_address
        } }
        $each! { ten_rollouts = $crate::real::scenarios::rollouts, "real/scenarios/rollouts.rs" {
            one_replica_rolls_ten_times
            two_replicas_roll_ten_times
            three_replicas_roll_ten_times
            four_replicas_roll_ten_times
        } }
        $each! { waking = $crate::real::scenarios::waking, "real/scenarios/waking.rs" {
            an_address_moves_among_twenty_pods
            an_address_moves_while_others_wait_for_other_things
            an_address_moves_after_a_leader_change
            an_address_moves_in_a_sample_of_a_thousand_nodes
        } }
    };
}

/// Scenarios of the suite that only the sandbox can run, and why.
const SANDBOX_ONLY: &[(&str, &[&str])] = &[
    ("moves the time: a quarantine lasts ten minutes", &["a_quarantine_ends_with_its_time"]),
    (
        "counts calls of the API server",
        &[
            "nobody_waiting_costs_nothing",
            "the_condition_is_written_once_per_reason",
            "two_writes_for_a_pod_and_one_for_its_release",
            "row_20_a_node_that_changes_its_address_is_noticed",
        ],
    ),
    (
        "needs the API server to fail, to delay or to hold back at a given call",
        &[
            "row_03_a_late_delete_event_of_an_old_pod_frees_nothing_of_the_new_one",
            "row_07_a_kind_that_cannot_be_watched_fails_only_its_own_pods",
            "row_16_the_replica_limit_is_exact_between_filter_and_bind",
            "row_17_a_hanging_write_holds_up_nobody_else",
            "row_27_the_uid_of_the_request_owns_the_address",
            "row_29_a_taken_address_is_passed_over",
        ],
    ),
];

/// Scenarios that a version's own controllers do not get through: version, scenario, why.
const NOT_ON: &[(&str, &str, &str)] = &[(
    "1.33",
    "scaling_during_a_rollout_finishes",
    "its ReplicaSet controller may miss that a pod has been ready for minReadySeconds while others of the set are pending",
)];

/// A scenario.
#[derive(Clone, Copy)]
pub(super) struct Scenario {
    /// As `waiting::by_priority_then_by_age`.
    pub(super) name: &'static str,
    /// What runs on every Kubernetes version.
    pub(super) promise: bool,
    pub(super) run: fn(Lab) -> BoxFuture<'static, anyhow::Result<()>>,
}

/// All scenarios for a real control plane of this version.
pub(super) fn scenarios(kubernetes: &str) -> Vec<Scenario> {
    let mut all = everything();
    all.retain(|scenario| {
        !NOT_ON.iter().any(|(version, name, _)| *version == kubernetes && *name == last(scenario.name))
    });
    all.retain(|scenario| !SANDBOX_ONLY.iter().any(|(_, names)| names.contains(&last(scenario.name))));
    all
}

fn last(name: &str) -> &str {
    name.rsplit("::").next().unwrap_or(name)
}

fn everything() -> Vec<Scenario> {
    let mut all = Vec::new();
    macro_rules! collect {
        ($module:ident = $path:path, $source:literal { $($name:ident)* }) => {{
            use $path as module;
            $(all.push(Scenario {
                name: concat!(stringify!($module), "::", stringify!($name)),
                promise: $source.starts_with("promises/"),
                run: |lab| Box::pin(module::$name(lab)),
            });)*
        }};
    }
    crate::scenarios!(collect);
    crate::plane_scenarios!(collect);
    all
}

#[cfg(test)]
mod tests {
    use super::{SANDBOX_ONLY, everything, last};

    #[test]
    fn what_only_the_sandbox_runs_is_a_scenario() {
        let all = everything();
        for name in SANDBOX_ONLY.iter().flat_map(|(_, names)| *names) {
            assert_eq!(all.iter().filter(|it| last(it.name) == *name).count(), 1, "{name}");
        }
    }
}
