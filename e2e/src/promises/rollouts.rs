//! Rollouts of Deployments that keep their addresses: none deadlocks, and the set of addresses is stable (rule 17).

use anyhow::{Result, ensure};
use galaxy_api::{floatingip::State, names::SPARE_ADDRESSES_ANNOTATION};
use serde_json::json;

use super::{count, owned};
use crate::{Cluster, Lab, Setup, Workload, workload::CRASHING};

/// The FAQ: default strategy, rolled so many times; the set is the same from the second rollout on.
pub(crate) async fn rolls(lab: Lab, replicas: u32, policy: &str, times: usize) -> Result<()> {
    let c = lab.cluster(Setup::racks(&[(2, 6), (1, 6)])).await?;
    let mut web = Workload::deployment("web").replicas(replicas).policy(policy);
    c.apply(&web).await?;
    c.up(&web).await?;
    let mut sets = Vec::new();
    for version in 1..=times {
        c.roll(&mut web, &format!("nginx:1.{version}")).await?;
        c.up(&web).await?;
        sets.push(rested(&c, &web).await?);
    }
    ensure!(sets[1..].iter().all(|set| *set == sets[1]), "from the second on: {:?}", &sets[1..]);
    let spare = usize::from(replicas < 4);
    ensure!(sets[1].len() == web.wanted() + spare, "{} replicas have {:?}", replicas, sets[1]);
    ensure!(c.most_addresses(&web) <= web.wanted() + 1, "{} at once", c.most_addresses(&web));
    c.settled().await
}

/// Waits until the workload's addresses are those of its pods and reserved ones, and returns them.
async fn rested(c: &Cluster, web: &Workload) -> Result<std::collections::BTreeSet<String>> {
    c.wait(format!("the addresses of {} are at rest", web.name), |seen| {
        let bound = count(seen, web, State::Bound);
        let all = owned(seen, web);
        (bound == web.wanted() && bound + count(seen, web, State::Reserved) == all.len()).then_some(all)
    })
    .await
}

/// 1 replica, immutable.
pub async fn one_immutable_replica_rolls_three_times(lab: Lab) -> Result<()> {
    rolls(lab, 1, "immutable", 3).await
}

/// 2 replicas, immutable.
pub async fn two_immutable_replicas_roll_three_times(lab: Lab) -> Result<()> {
    rolls(lab, 2, "immutable", 3).await
}

/// 3 replicas, immutable.
pub async fn three_immutable_replicas_roll_three_times(lab: Lab) -> Result<()> {
    rolls(lab, 3, "immutable", 3).await
}

/// 4 replicas, immutable: one pod may go first, so there is no spare.
pub async fn four_immutable_replicas_roll_three_times(lab: Lab) -> Result<()> {
    rolls(lab, 4, "immutable", 3).await
}

/// 1 replica, never.
pub async fn one_never_replica_rolls_three_times(lab: Lab) -> Result<()> {
    rolls(lab, 1, "never", 3).await
}

/// 2 replicas, never.
pub async fn two_never_replicas_roll_three_times(lab: Lab) -> Result<()> {
    rolls(lab, 2, "never", 3).await
}

/// 3 replicas, never.
pub async fn three_never_replicas_roll_three_times(lab: Lab) -> Result<()> {
    rolls(lab, 3, "never", 3).await
}

/// 4 replicas, never.
pub async fn four_never_replicas_roll_three_times(lab: Lab) -> Result<()> {
    rolls(lab, 4, "never", 3).await
}

/// No policy: nothing is limited, the surge takes what it needs.
pub async fn a_rollout_without_a_policy_is_not_limited(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    let strategy = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "100%", "maxUnavailable": 0}});
    let mut web = Workload::deployment("web").replicas(3).strategy(&strategy);
    c.apply(&web).await?;
    c.up(&web).await?;
    c.roll(&mut web, "nginx:2").await?;
    c.up(&web).await?;
    ensure!(c.most_addresses(&web) >= 6, "{} at once", c.most_addresses(&web));
    c.settled().await
}

/// Starts a rollout and stops it when a pod of the new version is up and an old one is left.
async fn half_way(c: &Cluster, web: &mut Workload, image: &str) -> Result<()> {
    let old = web.current_image().to_owned();
    // The new version needs so long to count as available that the pause comes in time.
    c.roll(web, image).await?;
    c.until("a new pod is up beside an old one", |seen| {
        let pods = seen.of(web);
        pods.iter().any(|pod| pod.image == image && pod.is_up()) && pods.iter().any(|pod| pod.image == old)
    })
    .await?;
    c.pause(web, true).await
}

/// A version that takes its time, so that a rollout can be caught half-way.
fn slow(replicas: u32) -> Workload {
    Workload::deployment("web").replicas(replicas).immutable().spec("minReadySeconds", &json!(20))
}

/// A rollback half-way.
pub async fn a_rollback_half_way_finishes(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    let mut web = slow(3);
    c.apply(&web).await?;
    let ips = c.ips(&web).await?;
    half_way(&c, &mut web, "nginx:2").await?;
    c.pause(&web, false).await?;
    c.roll(&mut web, "nginx:1.7.9").await?;
    c.up(&web).await?;
    let set = rested(&c, &web).await?;
    ensure!(ips.is_subset(&set) && set.len() <= 4, "{ips:?} became {set:?}");
    ensure!(c.most_addresses(&web) <= 4);
    c.settled().await
}

/// A pause: both versions keep what they have, and the rollout finishes later.
pub async fn a_paused_rollout_keeps_its_addresses_and_finishes(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    let mut web = slow(2);
    c.apply(&web).await?;
    c.up(&web).await?;
    half_way(&c, &mut web, "nginx:2").await?;
    c.agree().await?;
    let held = owned(&c.see().await?, &web);
    // A pod that dies meanwhile is replaced with an address of the set.
    let victim = c.see().await?.of(&web)[0].clone();
    c.delete_pod(&victim.name).await?;
    c.until("the pod is replaced", |seen| {
        let pods = seen.of(&web);
        pods.iter().all(|pod| pod.is_up() && pod.uid != victim.uid) && pods.len() >= 2
    })
    .await?;
    c.sweep().await?;
    ensure!(owned(&c.see().await?, &web) == held);
    c.pause(&web, false).await?;
    c.up(&web).await?;
    ensure!(rested(&c, &web).await? == held);
    c.settled().await
}

/// A new version over an unfinished one.
pub async fn a_new_version_over_an_unfinished_one_finishes(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    let mut web = slow(3);
    c.apply(&web).await?;
    c.up(&web).await?;
    half_way(&c, &mut web, "nginx:2").await?;
    c.pause(&web, false).await?;
    c.roll(&mut web, "nginx:3").await?;
    c.up(&web).await?;
    ensure!(rested(&c, &web).await?.len() <= 4);
    ensure!(c.most_addresses(&web) <= 4, "{} at once", c.most_addresses(&web));
    c.settled().await
}

/// A version that crashes: the old pods keep their addresses and serve, and the next version finishes.
pub async fn a_crash_looping_version_takes_nothing_from_the_old(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    let mut web = Workload::deployment("web").replicas(2).immutable();
    c.apply(&web).await?;
    let before = c.up(&web).await?;
    c.roll(&mut web, CRASHING).await?;
    c.until("the new version is bound and crashes", |seen| {
        seen.of(&web).iter().any(|pod| pod.image == CRASHING && !pod.node.is_empty() && pod.phase == "Running")
    })
    .await?;
    c.sweep().await?;
    let seen = c.see().await?;
    for pod in &before {
        let now = seen.pod(&pod.name);
        ensure!(
            now.is_some_and(|now| now.is_up() && now.ips == pod.ips),
            "{} does not serve any more\n{seen}",
            pod.name
        );
    }
    // An old pod that dies now comes back with the address it had: the new version does not take it.
    c.delete_pod(&before[0].name).await?;
    c.until("an old pod is back with its address", |seen| {
        let old: Vec<_> = seen.of(&web).into_iter().filter(|pod| pod.image != CRASHING && pod.is_up()).collect();
        old.len() == 2 && old.iter().any(|pod| pod.uid != before[0].uid && pod.ips == before[0].ips)
    })
    .await?;
    c.roll(&mut web, "nginx:3").await?;
    c.up(&web).await?;
    ensure!(rested(&c, &web).await?.len() == 3);
    ensure!(c.most_addresses(&web) <= 3, "{} at once", c.most_addresses(&web));
    c.settled().await
}

/// Scaling up and down in the middle of a rollout.
pub async fn scaling_during_a_rollout_finishes(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 20)).await?;
    let mut web = slow(3);
    c.apply(&web).await?;
    c.up(&web).await?;
    half_way(&c, &mut web, "nginx:2").await?;
    c.pause(&web, false).await?;
    c.scale(&mut web, 6).await?;
    c.up(&web).await?;
    half_way(&c, &mut web, "nginx:3").await?;
    c.pause(&web, false).await?;
    c.scale(&mut web, 2).await?;
    c.up(&web).await?;
    ensure!(rested(&c, &web).await?.len() <= 3);
    c.settled().await
}

/// Recreate takes all pods down first: no spare, the same set.
pub async fn recreate_keeps_exactly_its_set(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    let mut web = Workload::deployment("web").replicas(3).immutable().strategy(&json!({"type": "Recreate"}));
    c.apply(&web).await?;
    let ips = c.ips(&web).await?;
    for image in ["nginx:2", "nginx:3"] {
        c.roll(&mut web, image).await?;
        ensure!(c.ips(&web).await? == ips);
    }
    ensure!(c.most_addresses(&web) == 3);
    ensure!(rested(&c, &web).await? == ips);
    c.settled().await
}

/// The spare goes when the Deployment is scaled down or takes its pods down first.
pub async fn the_spare_goes_when_it_is_not_needed_any_more(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    let mut web = Workload::deployment("web").replicas(3).immutable();
    c.apply(&web).await?;
    c.up(&web).await?;
    c.roll(&mut web, "nginx:2").await?;
    c.up(&web).await?;
    c.until("there is a marked spare", |seen| {
        let all = seen.owned_by(&web);
        all.len() == 4 && all.iter().filter(|address| address.object.spec.spare).count() == 1
    })
    .await?;
    c.sweep().await?;
    ensure!(owned(&c.see().await?, &web).len() == 4, "a sweep took the spare");
    c.scale(&mut web, 2).await?;
    let ips = c.ips(&web).await?;
    c.until("the spare is gone", |seen| owned(seen, &web) == ips).await?;
    c.roll(&mut web, "nginx:3").await?;
    c.up(&web).await?;
    c.until("there is a spare again", |seen| owned(seen, &web).len() == 3).await?;
    c.patch(&web, &json!({"spec": {"strategy": {"type": "Recreate", "rollingUpdate": null}}})).await?;
    c.until("the spare is gone", |seen| {
        let all = seen.owned_by(&web);
        all.len() == 2 && all.iter().all(|address| !address.object.spec.spare)
    })
    .await?;
    c.settled().await
}

/// `spare-addresses: "0"` restores the original's waiting, and says what to change.
pub async fn no_spare_means_waiting_and_the_condition_says_so(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    let mut web = Workload::deployment("web").immutable().annotate_workload(SPARE_ADDRESSES_ANNOTATION, "0");
    c.apply(&web).await?;
    c.up(&web).await?;
    c.roll(&mut web, "nginx:2").await?;
    let waiting = c.one_waits(&web, "LimitReached").await?;
    let message = waiting.floating.map(|condition| condition.message).unwrap_or_default();
    ensure!(message.contains(SPARE_ADDRESSES_ANNOTATION), "{message}");
    web = web.annotate_workload(SPARE_ADDRESSES_ANNOTATION, "1");
    c.change(&web).await?;
    c.up(&web).await?;
    c.settled().await
}

/// `spare-addresses` raises the spare up to the surge.
pub async fn more_spares_up_to_the_surge(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 20)).await?;
    let strategy = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 2, "maxUnavailable": 0}});
    let web = Workload::deployment("web").replicas(3).immutable().strategy(&strategy);
    let mut web = web.annotate_workload(SPARE_ADDRESSES_ANNOTATION, "9");
    c.apply(&web).await?;
    c.up(&web).await?;
    c.roll(&mut web, "nginx:2").await?;
    c.up(&web).await?;
    ensure!(rested(&c, &web).await?.len() == 5);
    ensure!(c.most_addresses(&web) == 5, "{} at once", c.most_addresses(&web));
    c.settled().await
}

/// In a sized pool the size rules; the condition says what to change.
pub async fn in_a_sized_pool_the_size_rules(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    c.set_pool("blue", 2, false).await?;
    let mut web = Workload::deployment("web").replicas(2).pool("blue");
    c.apply(&web).await?;
    c.up(&web).await?;
    c.roll(&mut web, "nginx:2").await?;
    let waiting = c.one_waits(&web, "LimitReached").await?;
    let message = waiting.floating.map(|condition| condition.message).unwrap_or_default();
    ensure!(message.contains("\"blue\"") && message.contains("2 of 2") && message.contains("Pool.size"), "{message}");
    c.set_pool("blue", 3, false).await?;
    c.up(&web).await?;
    c.settled().await
}
