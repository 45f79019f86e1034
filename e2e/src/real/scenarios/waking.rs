//! Twenty pods wait for one address that moves among them: how long after it comes free the next has it (rule 16).

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use galaxy_api::names::RESOURCE;
use serde_json::json;

use crate::{
    Cluster, Lab, Setup, Workload,
    real::watching::{Proxy, Timeline},
};

const WAITING: usize = 20;
/// The scheduler's back-off after the first refusal; it doubles up to the longest.
const BACK_OFF: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(10);

/// What is to be seen of one move.
struct Move {
    /// From the address being available to the next pod being bound.
    slept: Duration,
    /// That, less the back-off that the scheduler gave the pod.
    beyond: Duration,
}

/// What makes it harder.
#[derive(Clone, Copy, Default)]
struct Harder {
    /// As many pods wait for something else, and are more important.
    others: bool,
    /// galaxy-ipam is killed before the address moves for the first time.
    leader_change: bool,
    /// The scheduler looks at a sample of the nodes only.
    sample: bool,
}

async fn others(c: &Cluster) -> Result<()> {
    let class = json!({
        "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "high"}, "value": 1000,
    });
    c.create("priorityclasses", &class).await?;
    for number in 0..5 {
        let high =
            |name: &str| Workload::pod(&format!("{name}-{number}")).pod_spec("priorityClassName", &json!("high"));
        c.apply(&high("elsewhere").on_node("nowhere")).await?;
        let cpus = json!({"requests": {"cpu": "1000", RESOURCE: "1"}, "limits": {RESOURCE: "1"}});
        c.apply(&high("hungry").resources(&cpus)).await?;
    }
    Ok(())
}

async fn moves(lab: Lab, setup: Setup, harder: Harder) -> Result<()> {
    let c = lab.cluster(setup).await?;
    let proxy = Proxy::start(&c.backend().extender_url()).await?;
    c.backend().reroute(proxy.url(), harder.sample).await?;
    let holder = Workload::pod("holder");
    c.apply(&holder).await?;
    c.up(&holder).await?;
    if harder.others {
        others(&c).await?;
    }
    let timeline = Timeline::start(c.client());
    for number in 0..WAITING {
        c.apply(&Workload::pod(&format!("waiting-{number}"))).await?;
    }
    c.until("all of them wait", |seen| {
        seen.pods.iter().filter(|pod| pod.name.starts_with("waiting") && pod.waits_for() == "NoAddress").count()
            == WAITING
    })
    .await?;
    if harder.leader_change {
        c.crash_ipam().await?;
        proxy.to(&c.backend().extender_url());
    }
    let mut last = "holder".to_owned();
    let mut seen = Vec::new();
    for round in 0..WAITING {
        c.force_delete_pod(&last).await?;
        let gone = last.clone();
        last = timeline.bound_after(&gone).await.with_context(|| format!("move {round}"))?;
        let (freed, bound) = (timeline.freed(round)?, timeline.bound(&last)?);
        let until = proxy.back_off(&last, bound, BACK_OFF, LONGEST).map_or(freed, |until| until.max(freed));
        seen.push(Move {
            slept: bound.saturating_duration_since(freed),
            beyond: bound.saturating_duration_since(until),
        });
    }
    report(&seen, harder)?;
    c.settled().await
}

fn report(moves: &[Move], harder: Harder) -> Result<()> {
    let sorted = |of: fn(&Move) -> Duration| {
        let mut all: Vec<Duration> = moves.iter().map(of).collect();
        all.sort();
        all
    };
    let (slept, beyond) = (sorted(|it| it.slept), sorted(|it| it.beyond));
    let (median, longest) = (beyond[beyond.len() / 2], slept[slept.len() - 1]);
    let what =
        [(harder.others, "others wait too"), (harder.leader_change, "leader changed"), (harder.sample, "sample")];
    let what: Vec<&str> = what.iter().filter(|(is, _)| *is).map(|(_, what)| *what).collect();
    println!(
        "measured: {} moves ({}): available to bound, beyond the back-off: median {median:.3?}, longest {:.3?}; with it: median {:.3?}, longest {longest:.3?}",
        moves.len(),
        if what.is_empty() { "nothing else".to_owned() } else { what.join(", ") },
        beyond[beyond.len() - 1],
        slept[slept.len() / 2],
    );
    ensure!(median <= Duration::from_millis(300), "the median is {median:?} beyond the scheduler's back-off");
    ensure!(longest <= Duration::from_secs(15), "a pod slept for {longest:?}");
    Ok(())
}

/// Nothing else happens.
pub async fn an_address_moves_among_twenty_pods(lab: Lab) -> Result<()> {
    moves(lab, Setup::one_rack(3, 1), Harder::default()).await
}

/// Ten pods that are more important wait for other things.
pub async fn an_address_moves_while_others_wait_for_other_things(lab: Lab) -> Result<()> {
    moves(lab, Setup::one_rack(3, 1), Harder { others: true, ..Harder::default() }).await
}

/// After a leader change, with all that.
pub async fn an_address_moves_after_a_leader_change(lab: Lab) -> Result<()> {
    moves(lab, Setup::one_rack(3, 1), Harder { others: true, leader_change: true, ..Harder::default() }).await
}

/// A thousand nodes of which the scheduler looks at a sample, and a hundred can route the address.
pub async fn an_address_moves_in_a_sample_of_a_thousand_nodes(lab: Lab) -> Result<()> {
    let racks: Vec<(usize, usize)> = (1..=10).map(|rack| (100, usize::from(rack == 5))).collect();
    moves(lab, Setup::racks(&racks), Harder { sample: true, ..Harder::default() }).await
}
