//! Who waits for an address is told why and woken when one can be had (rules 15, 16).

use std::time::Duration;

use anyhow::{Result, ensure};
use galaxy_sandbox::apiserver::Answered;
use serde_json::json;

use crate::{Cluster, Lab, Setup, Workload, setup::pools};

async fn priority(c: &Cluster, name: &str, value: i32) -> Result<()> {
    let class = json!({
        "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": value,
    });
    c.create("priorityclasses", &class).await?;
    Ok(())
}

fn of_class(name: &str, class: &str) -> Workload {
    Workload::pod(name).pod_spec("priorityClassName", &json!(class))
}

const FILTERS: &str = r#"galaxy_schedule_latency_count{func="filter"}"#;

/// Waits until the scheduler has tried everybody it was going to try: for longer than its longest pause nobody came.
async fn quiet(c: &Cluster) -> Result<()> {
    loop {
        let before = c.metric(FILTERS).await?;
        c.pass(Duration::from_secs(12)).await;
        if c.metric(FILTERS).await? == before {
            return Ok(());
        }
    }
}

/// The pod says why it waits, in words for `kubectl describe pod`; once bound it says that it has what it waited for.
pub async fn a_waiting_pod_says_why_and_is_served(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 1)).await?;
    let (first, second) = (Workload::pod("first"), Workload::pod("second"));
    c.apply(&first).await?;
    let ip = c.ip(&first).await?;
    c.apply(&second).await?;
    let condition = c.waits("second", "NoAddress").await?;
    ensure!(!condition.message.is_empty());
    c.event("Pod", "second", "NoAddress").await?;
    let scheduled =
        c.wait("the scheduler was told in the original's words", |seen| seen.pod("second")?.scheduled.clone()).await?;
    ensure!(scheduled.message.contains("FloatingIPPlugin:NoFIPLeft"), "{}", scheduled.message);
    ensure!(c.metric(r#"galaxy_ipam_waiting_pods{reason="NoAddress"}"#).await? == Some(1.0));
    c.delete_pod("first").await?;
    ensure!(c.ip(&second).await? == ip);
    c.until("the condition is True", |seen| {
        seen.pod("second").is_some_and(|pod| pod.floating.as_ref().is_some_and(|it| it.status == "True"))
    })
    .await?;
    ensure!(c.metric(r#"galaxy_ipam_waiting_pods{reason="NoAddress"}"#).await?.unwrap_or_default() == 0.0);
    c.settled().await
}

/// One address, several who wait: the one of the highest priority has it, then the oldest.
pub async fn by_priority_then_by_age(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 1)).await?;
    priority(&c, "high", 1000).await?;
    let holder = Workload::pod("holder");
    c.apply(&holder).await?;
    c.up(&holder).await?;
    let waiting = [
        Workload::pod("low-old"),
        Workload::pod("low-young"),
        of_class("high-old", "high"),
        of_class("high-young", "high"),
    ];
    for pod in &waiting {
        c.apply(pod).await?;
        c.waits(&pod.name, "NoAddress").await?;
        // Creation times have whole seconds.
        c.pass(Duration::from_secs(1)).await;
    }
    // One address more at a time, by the configuration: nothing that happens to pods brings them to the scheduler.
    let mut served = vec!["holder".to_owned()];
    for (round, next) in ["high-old", "high-young", "low-old", "low-young"].into_iter().enumerate() {
        quiet(&c).await?;
        c.configure(&pools(2 + round)).await?;
        let new = c
            .wait(format!("somebody has address number {}", 2 + round), |seen| {
                seen.pods.iter().find(|pod| pod.is_up() && !served.contains(&pod.name)).map(|pod| pod.name.clone())
            })
            .await?;
        ensure!(new == next, "{new} was served before {next}");
        served.push(new);
    }
    c.settled().await
}

/// A woken pod that does not come, here because it waits for CPU, forfeits its turn to the next.
pub async fn a_woken_pod_that_does_not_come_forfeits_its_turn(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 1)).await?;
    priority(&c, "high", 1000).await?;
    let holder = Workload::pod("holder");
    c.apply(&holder).await?;
    c.up(&holder).await?;
    let cpu = |cpus: &str| {
        let resource = galaxy_api::names::RESOURCE;
        json!({"requests": {"cpu": cpus, resource: "1"}, "limits": {resource: "1"}})
    };
    let first = of_class("first", "high").resources(&cpu("20"));
    c.apply(&first).await?;
    c.waits("first", "NoAddress").await?;
    // Meanwhile somebody of the same rank takes the CPUs that it needs.
    let hungry = of_class("hungry", "high").resources(&json!({"requests": {"cpu": "20"}}));
    c.apply(&hungry).await?;
    c.until("the CPUs are gone", |seen| seen.pod("hungry").is_some_and(|pod| pod.is_up())).await?;
    let second = Workload::pod("second");
    c.apply(&second).await?;
    c.waits("second", "NoAddress").await?;
    c.delete_pod("holder").await?;
    c.up(&second).await?;
    c.settled().await
}

/// Nobody waits: nothing is written about pods.
pub async fn nobody_waiting_costs_nothing(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    let (web, db) = (Workload::deployment("web").replicas(3), Workload::stateful_set("db").replicas(3).immutable());
    for workload in [&web, &db] {
        c.apply(workload).await?;
        for pod in c.up(workload).await? {
            c.delete_pod(&pod.name).await?;
        }
        c.up(workload).await?;
    }
    c.sweep().await?;
    let calls = c.server()?.calls();
    for resource in ["pods", "pods/status"] {
        let patches = calls.count("patch", resource, "galaxy-ipam");
        ensure!(patches == 0, "{patches} patches of {resource}");
    }
    c.settled().await
}

/// A refused pod's condition is written once per reason, not with every attempt.
pub async fn the_condition_is_written_once_per_reason(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 0)).await?;
    let pod = Workload::pod("p");
    c.apply(&pod).await?;
    c.waits("p", "NoAddress").await?;
    let before = c.metric(FILTERS).await?.unwrap_or_default();
    // Unrelated changes of the pod bring it back to the scheduler.
    for round in 0..3 {
        c.annotate_pod("p", &json!({"note": round.to_string(), "k8s.v1.cni.galaxy.io/args": ""})).await?;
        c.clock()?.advance(Duration::from_secs(12));
        c.poll("the pod came back", || async {
            Ok((c.metric(FILTERS).await?.unwrap_or_default() > before + f64::from(round)).then_some(()))
        })
        .await?;
    }
    let patches = c.server()?.calls().count("patch", "pods/status", "galaxy-ipam");
    ensure!(patches == 1, "{patches} patches of the condition");
    c.settled().await
}

/// Rule 15: a pod of high priority and 24 nodes full of lesser pods: the scheduler stays calm.
pub async fn a_refused_pod_of_high_priority_does_not_spin(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(24, 24)).await?;
    priority(&c, "high", 1000).await?;
    let lesser = Workload::deployment("lesser").replicas(24);
    c.apply(&lesser).await?;
    c.up(&lesser).await?;
    let before = c.metric(FILTERS).await?.unwrap_or_default();
    let pod = of_class("important", "high");
    c.apply(&pod).await?;
    c.waits("important", "NoAddress").await?;
    c.pass(Duration::from_secs(15)).await;
    let calls = c.metric(FILTERS).await?.unwrap_or_default() - before;
    println!("measured: {calls} filter calls in 15 s");
    ensure!(calls <= 3.0, "{calls} filter calls in 15 s");
    ensure!(c.see().await?.of(&lesser).iter().all(|pod| pod.is_up()), "a lesser pod was preempted in vain");
    c.settled().await
}

/// A fresh pod costs two writes, its release one, and no reads.
pub async fn two_writes_for_a_pod_and_one_for_its_release(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    let calls = c.server()?.calls();
    let mark = calls.mark();
    let pod = Workload::pod("p");
    c.apply(&pod).await?;
    let ip = c.ip(&pod).await?;
    c.delete_pod("p").await?;
    c.free(&ip).await?;
    let mine = |answered: &Answered| {
        let call = &answered.call;
        call.user_agent.contains("galaxy-ipam")
            && !["watch", "list"].contains(&&*call.verb)
            && call.resource != "events"
    };
    let made = calls.since(mark).into_iter().filter(mine).map(|answered| {
        let call = answered.call;
        format!("{} {} {}", call.verb, call.resource, call.subresource).trim_end().to_owned()
    });
    let made: Vec<String> = made.collect();
    ensure!(made == ["create floatingips", "create pods binding", "delete floatingips"], "{made:?}");
    c.settled().await
}
