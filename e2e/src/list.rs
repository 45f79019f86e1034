//! The list of all scenarios, once.

/// Calls a macro for every module of scenarios: `$each! { module = path, "source" { name name … } }`.
#[macro_export]
macro_rules! scenarios {
    ($each:ident) => {
        $each! { bare_pods = $crate::promises::bare_pods, "promises/bare_pods.rs" {
            the_address_is_freed_when_the_pod_is_deleted
            the_address_is_freed_when_the_pod_is_finished
            immutable_is_refused_until_the_pod_is_edited
            never_keeps_the_address_for_the_name
            an_unknown_release_policy_is_told_once
            the_quantity_is_ignored
            a_pod_without_the_resource_is_left_alone
        } }
        $each! { cloud = $crate::promises::cloud, "promises/cloud.rs" {
            assigned_before_use_and_unassigned_before_free
            a_slow_assignment_runs_on
            a_stalled_assignment_keeps_nobody_else_waiting
            a_refused_assignment_is_tried_again
            a_pod_deleted_while_it_is_assigned_leaves_nothing
            a_lost_answer_is_asked_again
            every_address_of_a_pod_is_assigned_and_unassigned
            a_moving_address_leaves_the_old_node_first
            a_provider_that_goes_away_and_comes_back
            a_release_by_http_unassigns_first
            a_restart_in_the_middle_of_an_assignment
        } }
        $each! { config = $crate::promises::config, "promises/config.rs" {
            an_address_that_leaves_the_configuration_stays_with_its_owner
            an_address_that_comes_back_is_like_any_other
            a_larger_configuration_serves_who_waits
            a_new_node_subnet_opens_its_nodes
            a_refused_document_leaves_the_old_one_in_force
            a_missing_document_leaves_the_old_one_in_force
            pods_are_served_as_soon_as_there_is_a_configuration
            an_address_that_changes_pool_keeps_its_owner
        } }
        $each! { custom = $crate::promises::custom, "promises/custom.rs" {
            without_a_policy_the_address_is_freed_with_the_pod
            immutable_by_the_scale_subresource
            never_keeps_everything_for_the_same_name
            immutable_needs_a_scale_subresource_and_says_so
            immutable_needs_a_definition_and_says_so
            never_goes_by_the_name_of_the_pod
            never_is_not_for_jobs
        } }
        $each! { deployments = $crate::promises::deployments, "promises/deployments.rs" {
            without_a_policy_the_address_is_freed_with_the_pod
            an_empty_or_unknown_policy_is_none
            immutable_keeps_the_set_of_addresses
            the_newest_reservation_is_reused_first
            immutable_frees_the_surplus_on_scale_down
            immutable_scaled_to_zero_keeps_nothing
            immutable_frees_everything_with_the_deployment
            never_keeps_everything_for_the_same_name
            eviction_releases_by_policy
            without_a_surge_the_limit_is_the_replicas
            a_replica_set_of_its_own_keeps_its_addresses
        } }
        $each! { extender = $crate::promises::extender, "promises/extender.rs" {
            filter_and_preempt_write_nothing
            a_pod_that_wants_nothing_passes_everywhere
            refused_nodes_say_why
            load_evens_out_between_racks
            bind_is_idempotent
            a_scheduler_that_sends_names_only
            requests_that_make_no_sense
        } }
        $each! { http_api = $crate::promises::http_api, "promises/http_api.rs" {
            the_documented_list_and_release
            an_address_in_use_is_not_released
            only_the_owner_named_is_released
            a_released_address_serves_who_waits
            requests_that_make_no_sense
            health_documentation_and_metrics_are_served
        } }
        $each! { nodes = $crate::promises::nodes, "promises/nodes.rs" {
            a_deployments_successor_waits_and_says_for_whom
            a_deployment_moves_off_a_deleted_node
            a_deployment_moves_off_a_node_out_of_service
            a_deployment_has_the_address_of_a_force_deleted_pod
            a_deployment_goes_on_when_the_node_returns
            replace_takes_another_address_and_gives_the_surplus_back
            a_stateful_pod_moves_off_a_deleted_node
            a_stateful_pod_moves_off_a_node_out_of_service
            a_stateful_pod_is_force_deleted_and_keeps_its_address
            a_custom_pod_moves_off_a_deleted_node
            a_node_that_blinks_changes_nothing
            a_quarantine_ends_with_its_time
            a_quarantine_ends_when_the_node_returns
            a_quarantine_ends_when_the_node_is_deleted
            a_quarantine_ends_when_the_node_is_out_of_service
            without_a_policy_the_successor_takes_another_address
        } }
        $each! { pools = $crate::promises::pools, "promises/pools.rs" {
            an_unsized_pool_grows_and_is_shared
            the_newest_reservation_of_the_pool_is_reused_first
            a_sized_pool_limits_all_its_deployments
            a_burst_of_pods_does_not_overrun_the_size
            blue_green_keeps_the_set
            the_documented_pool_object_counts_in_any_namespace
            of_pools_with_one_name_one_counts
            pre_allocation_by_http
            pre_allocation_by_object
            a_shortfall_is_made_good_when_addresses_come_free
            a_shortfall_by_http_is_accepted_with_the_real_size
            a_pool_without_room_has_everybody_wait
            stateful_pods_in_a_pool_count
            deleting_a_pool_keeps_its_addresses
        } }
        $each! { ranges = $crate::promises::ranges, "promises/ranges.rs" {
            the_documented_pod_gets_its_three_addresses
            alternatives_make_one_address
            overlapping_lists_are_matched
            all_or_nothing_and_woken_when_complete
            a_stateful_pod_keeps_all_its_addresses
            a_reserving_deployment_cannot_ask_for_ranges
            the_node_must_route_every_address
        } }
        $each! { reservations = $crate::promises::reservations, "promises/reservations.rs" {
            a_reserved_address_is_handed_out_to_nobody
            a_reservation_shows_its_label_and_is_never_written
            an_odd_object_is_counted_and_left_alone
            the_label_on_an_address_in_use_keeps_it_when_the_pod_is_gone
            without_the_label_it_is_a_reservation_like_any_other
        } }
        $each! { restarts = $crate::promises::restarts, "promises/restarts.rs" {
            a_restart_changes_nothing
            what_happened_meanwhile_is_made_up_for
            who_waits_is_known_after_a_restart
            who_waits_is_served_after_a_restart
            in_the_middle_of_a_rollout
            in_the_middle_of_a_crash_loop
            a_quarantine_outlives_a_restart
            objects_of_the_original_are_understood
            a_running_pod_without_an_object_is_adopted
        } }
        $each! { rollouts = $crate::promises::rollouts, "promises/rollouts.rs" {
            one_immutable_replica_rolls_three_times
            two_immutable_replicas_roll_three_times
            three_immutable_replicas_roll_three_times
            four_immutable_replicas_roll_three_times
            one_never_replica_rolls_three_times
            two_never_replicas_roll_three_times
            three_never_replicas_roll_three_times
            four_never_replicas_roll_three_times
            a_rollout_without_a_policy_is_not_limited
            a_rollback_half_way_finishes
            a_paused_rollout_keeps_its_addresses_and_finishes
            a_new_version_over_an_unfinished_one_finishes
            a_crash_looping_version_takes_nothing_from_the_old
            scaling_during_a_rollout_finishes
            recreate_keeps_exactly_its_set
            the_spare_goes_when_it_is_not_needed_any_more
            no_spare_means_waiting_and_the_condition_says_so
            more_spares_up_to_the_surge
            in_a_sized_pool_the_size_rules
        } }
        $each! { stateful_sets = $crate::promises::stateful_sets, "promises/stateful_sets.rs" {
            without_a_policy_the_address_is_freed_with_the_pod
            immutable_keeps_each_pod_its_address
            immutable_frees_on_scale_down_and_deletion
            never_keeps_everything_for_the_same_name
            ordinals_count_from_their_start
            the_address_follows_the_pod_to_another_node
        } }
        $each! { waiting = $crate::promises::waiting, "promises/waiting.rs" {
            a_waiting_pod_says_why_and_is_served
            by_priority_then_by_age
            a_woken_pod_that_does_not_come_forfeits_its_turn
            nobody_waiting_costs_nothing
            the_condition_is_written_once_per_reason
            a_refused_pod_of_high_priority_does_not_spin
            two_writes_for_a_pod_and_one_for_its_release
        } }
        $each! { defects_configuration = $crate::defects::configuration, "defects/configuration.rs" {
            row_01_a_configuration_change_deletes_no_floating_ip
            row_02_a_configuration_change_in_the_middle_loses_nothing
            row_22_overlapping_pools_are_refused_and_named
            row_31_an_empty_value_is_no_configuration
            row_33_ipv6_addresses_are_handed_out
            row_34_vlan_and_pool_size_are_checked
        } }
        $each! { defects_ownership = $crate::defects::ownership, "defects/ownership.rs" {
            row_03_a_late_delete_event_of_an_old_pod_frees_nothing_of_the_new_one
            row_04_a_standby_replays_nothing_when_it_takes_over
            row_10_a_running_pod_without_its_annotation_harms_nobody
            row_27_the_uid_of_the_request_owns_the_address
            row_28_objects_changed_by_hand_are_noticed
            row_29_a_taken_address_is_passed_over
            row_35_the_newest_reservation_is_known_after_a_restart
            row_61_the_sweep_honours_the_label_reserved
        } }
        $each! { defects_ranges = $crate::defects::ranges, "defects/ranges.rs" {
            row_05_overlapping_lists_get_distinct_addresses
            row_06_a_huge_range_costs_little_and_ends
            row_14_lists_without_a_common_node_are_refused
            row_15_lists_are_matched_not_served_first_come
            row_36_unknown_members_of_the_annotation_stay
        } }
        $each! { defects_workloads = $crate::defects::workloads, "defects/workloads.rs" {
            row_07_a_kind_that_cannot_be_watched_fails_only_its_own_pods
            row_08_a_definition_in_version_v1_is_understood
            row_13_reservations_of_a_deployment_are_swept
            row_16_the_replica_limit_is_exact_between_filter_and_bind
            row_23_a_bare_replica_set_is_not_a_deployment
            row_24_a_kind_of_another_group_is_its_own_workload
            row_25_missing_replicas_free_nothing
            row_26_the_controller_reference_counts
            row_38_a_deployment_without_replicas_has_one
        } }
        $each! { defects_nodes = $crate::defects::nodes, "defects/nodes.rs" {
            row_11_a_reservation_elsewhere_does_not_pin_the_pod
            row_12_a_reservation_does_not_confine_the_deployment
            row_17_a_hanging_write_holds_up_nobody_else
            row_18_node_names_are_enough
            row_19_preempt_is_read_only
            row_20_a_node_that_changes_its_address_is_noticed
            row_21_a_node_in_several_subnets_uses_them_all
            row_32_a_standby_is_healthy_and_not_ready
            row_62_bodies_without_a_pod_are_answered
        } }
        $each! { defects_cloud = $crate::defects::cloud, "defects/cloud.rs" {
            row_09_every_address_of_a_pod_is_unassigned
            row_30_a_slow_provider_does_not_keep_the_scheduler_waiting
            row_37_unassign_names_its_node
        } }
        $each! { defects_http_api = $crate::defects::http_api, "defects/http_api.rs" {
            row_40_release_honours_the_label_and_the_documented_default
            row_41_bare_pods_and_plural_kinds_work
            row_42_queries_are_exact_and_sorted_by_number
            row_43_a_satisfied_pool_is_reported_as_such
        } }
    };
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    #[test]
    fn every_scenario_is_listed() {
        macro_rules! check {
            ($module:ident = $path:path, $source:literal { $($name:ident)* }) => {
                let source = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join($source)).unwrap();
                let written = source.lines().filter_map(|line| line.strip_prefix("pub async fn ")?.split_once("(lab: Lab)"));
                let written: BTreeSet<&str> = written.map(|(name, _)| name).collect();
                let listed: BTreeSet<&str> = [$(stringify!($name)),*].into();
                assert_eq!(listed, written, "the list and {}", $source);
            };
        }
        crate::scenarios!(check);
        crate::plane_scenarios!(check);
    }
}
