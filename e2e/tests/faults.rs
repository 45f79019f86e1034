//! The races that the rules name, each forced, and two hundred seeds of bad weather.

use futures::{StreamExt, stream};
use galaxy_e2e::{sandbox::lab, storm};

/// How many clusters live at a time. Most of their life they wait.
const AT_ONCE: usize = 8;
const SEEDS: u64 = 200;

/// At the end of each no address has two owners, none is lost, and nobody sleeps while there is one for him.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_seeds_of_bad_weather() {
    let mut lives = stream::iter(storm::seeds(SEEDS))
        .map(|seed| async move { (seed, tokio::spawn(storm::weather(lab(), seed)).await) })
        .buffer_unordered(AT_ONCE);
    let mut failed = Vec::new();
    while let Some((seed, outcome)) = lives.next().await {
        let error = match outcome {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => format!("{error:#}"),
            Err(panic) => format!("seed {seed} panicked: {panic}"),
        };
        println!(
            "{error}\nagain with: E2E_SEED={seed} cargo test -p galaxy-e2e --test faults -- --nocapture bad_weather\n"
        );
        failed.push(seed);
    }
    assert!(failed.is_empty(), "seeds {failed:?} failed");
}

macro_rules! races {
    ($($name:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Err(error) = galaxy_e2e::races::$name(lab()).await {
                    panic!("{error:#}");
                }
            }
        )*
    };
}

races! {
    rule_02_a_claim_whose_answer_is_lost_is_read_back_and_used
    rule_02_a_claim_that_never_arrived_is_made_again
    rule_02_a_claim_that_arrives_late_is_not_lost
    rule_02_an_address_taken_meanwhile_is_left_alone
    rule_02_releases_and_updates_of_unknown_outcome_are_read_back
    rule_03_a_late_event_of_an_old_pod_changes_nothing_of_the_new_one
    rule_07_a_binding_whose_answer_is_lost_is_done
    rule_07_a_binding_that_lands_late_finds_its_address_kept
    rule_07_a_pod_deleted_while_its_binding_hangs_gives_its_address_back
    rule_07_one_bind_at_a_time
    rule_08_a_claim_that_never_got_bound_pins_nothing
    rule_08_what_a_pod_owns_beyond_its_request_is_swept
    rule_09_a_pod_that_no_watch_shows_is_proved_alive
    rule_09_without_an_answer_nothing_is_freed
    rule_09_an_idle_sweep_costs_nothing
    rule_09_a_pod_that_vanished_from_a_dead_node_unseen_is_quarantined
    rule_16_who_asks_before_the_release_is_written_is_woken_after_it
    rule_16_a_wake_that_is_lost_is_repeated
    rule_16_refused_while_the_address_comes_free
    a_crash_between_claim_and_binding_leaves_nothing
    a_configuration_that_takes_the_address_away_in_the_middle_of_a_claim
}
