//! The races that the rules of design.md name, each forced by gates and lost answers at the API server.

use anyhow::{Result, ensure};
use galaxy_api::floatingip::State;
use galaxy_sandbox::apiserver::{Action, EventAction, Gate, Rule, Status};
use serde_json::json;

use crate::{Cluster, Lab, Setup, Workload, setup::rack_pool};

/// A rule about galaxy-ipam's writes of FloatingIPs.
fn on_floating_ips(action: Action, verb: &str) -> Rule {
    Rule::new(action).verb(verb).resource("floatingips").agent("galaxy-ipam")
}

/// A rule about galaxy-ipam's Bindings.
fn on_bindings(action: Action) -> Rule {
    Rule::new(action).verb("create").resource("pods").subresource("binding").agent("galaxy-ipam")
}

fn created(c: &Cluster) -> Result<u64> {
    Ok(c.server()?.calls().count("create", "floatingips", "galaxy-ipam"))
}

/// Rule 2: a claim whose answer is lost is read back, found to be ours and used.
pub async fn rule_02_a_claim_whose_answer_is_lost_is_read_back_and_used(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 5)).await?;
    let lost = c.server()?.faults().add(on_floating_ips(Action::DropAfter, "create").times(1));
    let pod = Workload::pod("p");
    c.apply(&pod).await?;
    c.up(&pod).await?;
    ensure!(lost.hits() == 1 && created(&c)? == 1, "{} creations", created(&c)?);
    ensure!(c.see().await?.addresses.len() == 1);
    c.settled().await
}

/// Rule 2: a claim that never arrived is read back too, and made again.
pub async fn rule_02_a_claim_that_never_arrived_is_made_again(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 1)).await?;
    c.server()?.faults().add(on_floating_ips(Action::Drop, "create").times(1));
    let pod = Workload::pod("p");
    c.apply(&pod).await?;
    c.up(&pod).await?;
    c.settled().await
}

/// Rule 2: a claim that arrives long after its sender gave it up ends as the pod's or free, not as nobody's.
pub async fn rule_02_a_claim_that_arrives_late_is_not_lost(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 3)).await?;
    let gate = Gate::new();
    c.server()?.faults().add(on_floating_ips(Action::Hold(gate.clone()), "create").times(1));
    let pod = Workload::pod("p");
    c.apply(&pod).await?;
    gate.arrived(1).await;
    // The call's deadline passes; the address is read, nothing is there, and the pod is served all the same.
    c.up(&pod).await?;
    gate.open();
    c.until("one object is left", |seen| seen.addresses.len() == 1).await?;
    c.sweep().await?;
    c.until("one object is left", |seen| seen.addresses.len() == 1).await?;
    c.settled().await
}

/// Rule 2: while the outcome is unknown somebody else takes the address; who has it is learnt, and another is chosen.
pub async fn rule_02_an_address_taken_meanwhile_is_left_alone(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 2)).await?;
    let gate = Gate::new();
    c.server()?.faults().add(on_floating_ips(Action::Hold(gate.clone()), "create").times(1));
    let pod = Workload::pod("p");
    c.apply(&pod).await?;
    gate.arrived(1).await;
    c.reserve("10.64.1.10", "pool__reserved-for-node_").await?;
    gate.open();
    ensure!(c.ip(&pod).await? == "10.64.1.11");
    ensure!(c.see().await?.addresses["10.64.1.10"].key() == "pool__reserved-for-node_");
    c.settled().await
}

/// Rule 2: a release and an update whose answers are lost are read back as well.
pub async fn rule_02_releases_and_updates_of_unknown_outcome_are_read_back(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 3)).await?;
    let db = Workload::stateful_set("db").immutable();
    c.apply(&db).await?;
    let ip = c.ip(&db).await?;
    for action in [Action::DropAfter, Action::Drop, Action::ErrorAfter(Status::new(500, "InternalError", "injected"))] {
        let lost = c.server()?.faults().add(on_floating_ips(action.clone(), "update").times(2));
        c.delete_pod("db-0").await?;
        ensure!(c.ip(&db).await? == ip, "{action:?}");
        ensure!(lost.hits() == 2, "{action:?}: {} hits", lost.hits());
    }
    for (n, action) in [Action::DropAfter, Action::Drop].into_iter().enumerate() {
        let pod = Workload::pod(&format!("p{n}"));
        c.apply(&pod).await?;
        let ip = c.ip(&pod).await?;
        c.server()?.faults().add(on_floating_ips(action, "delete").times(1));
        c.delete_pod(&pod.name).await?;
        c.free(&ip).await?;
    }
    c.settled().await
}

/// Rule 3: a late event of an old pod changes nothing of a new one of its name.
pub async fn rule_03_a_late_event_of_an_old_pod_changes_nothing_of_the_new_one(lab: Lab) -> Result<()> {
    crate::defects::ownership::row_03_a_late_delete_event_of_an_old_pod_frees_nothing_of_the_new_one(lab).await
}

/// Rule 7: the answer to a Binding is lost; the pod is bound and has its address.
pub async fn rule_07_a_binding_whose_answer_is_lost_is_done(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 5)).await?;
    let lost = c.server()?.faults().add(on_bindings(Action::DropAfter).times(1));
    let pod = Workload::pod("p");
    c.apply(&pod).await?;
    let pod = c.up(&pod).await?.remove(0);
    ensure!(lost.hits() == 1);
    c.sweep().await?;
    ensure!(c.see().await?.addresses.get(pod.ip()).is_some_and(|it| it.pod_uid() == pod.uid));
    ensure!(c.see().await?.addresses.len() == 1);
    c.settled().await
}

/// Rule 7: a Binding that lands long after its answer was given up finds its address kept for that very pod.
pub async fn rule_07_a_binding_that_lands_late_finds_its_address_kept(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 1)).await?;
    let gate = Gate::new();
    let hold = c.server()?.faults().add(on_bindings(Action::Hold(gate.clone())));
    let (pod, other) = (Workload::pod("p"), Workload::pod("other"));
    c.apply(&pod).await?;
    gate.arrived(1).await;
    let uid = c.get_pod("p").await?.metadata.uid.unwrap_or_default();
    c.apply(&other).await?;
    c.waits("other", "NoAddress").await?;
    // The call's deadline passes and the scheduler tries again; the address stays with the pod all the time.
    gate.arrived(2).await;
    c.sweep().await?;
    let seen = c.see().await?;
    ensure!(seen.addresses.len() == 1 && seen.addresses.values().all(|it| it.pod_uid() == uid), "{seen}");
    hold.remove();
    gate.open();
    c.up(&pod).await?;
    c.sweep().await?;
    ensure!(c.see().await?.pod("other").is_some_and(|pod| pod.node.is_empty()));
    c.settled().await
}

/// Rule 7: a pod that is deleted while its Binding hangs gives its address back once it is gone, and not before.
pub async fn rule_07_a_pod_deleted_while_its_binding_hangs_gives_its_address_back(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 1)).await?;
    let gate = Gate::new();
    let hold = c.server()?.faults().add(on_bindings(Action::Hold(gate.clone())).times(1));
    c.apply(&Workload::pod("p")).await?;
    gate.arrived(1).await;
    c.force_delete_pod("p").await?;
    let other = Workload::pod("other");
    c.apply(&other).await?;
    hold.remove();
    gate.open();
    c.up(&other).await?;
    c.settled().await
}

/// Rule 7: while a bind to one node is under way, one to another node is an error, and one to the same node joins it.
pub async fn rule_07_one_bind_at_a_time(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 5)).await?;
    let gate = Gate::new();
    c.server()?.faults().add(on_bindings(Action::Hold(gate.clone())).times(1));
    let pod = Workload::pod("p").pod_spec("schedulerName", &json!("nobody"));
    c.apply(&pod).await?;
    let uid = c.get_pod("p").await?.metadata.uid.unwrap_or_default();
    let body = |node: &str| json!({"PodName": "p", "PodNamespace": "default", "PodUID": uid, "Node": node});
    let (first, second) = (body("a1"), body("a1"));
    let (first, second, ()) = tokio::join!(c.extender("/v1/bind", &first), c.extender("/v1/bind", &second), async {
        gate.arrived(1).await;
        let other = c.extender("/v1/bind", &body("a2")).await;
        let refused = other.is_ok_and(|other| other.json()["Error"].as_str().is_some_and(|text| text.contains("a1")));
        assert!(refused, "a bind to another node was not refused");
        gate.open();
    });
    ensure!(first?.json() == json!({"Error": ""}) && second?.json() == json!({"Error": ""}));
    let bindings = c.server()?.calls().count("create", "pods/binding", "galaxy-ipam");
    ensure!(bindings == 1, "{bindings} Bindings");
    c.up(&pod).await?;
    c.settled().await
}

/// Rule 8: a claim that never got bound does not pin the pod to its rack, and is given back.
pub async fn rule_08_a_claim_that_never_got_bound_pins_nothing(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::racks(&[(1, 3), (1, 3)])).await?;
    c.cordon("b1", true).await?;
    let no = Status::new(403, "Forbidden", "injected: an admission plugin says no");
    let hold = c.server()?.faults().add(on_bindings(Action::Error(no)));
    let db = Workload::stateful_set("db").immutable();
    c.apply(&db).await?;
    c.until("the claim is there and the bind failed", |seen| !seen.is_free("10.64.1.10") && hold.hits() > 0).await?;
    c.cordon("a1", true).await?;
    c.cordon("b1", false).await?;
    hold.remove();
    ensure!(c.ip(&db).await?.starts_with("10.64.2."));
    c.until("the first claim is given back", |seen| seen.addresses.len() == 1).await?;
    c.settled().await
}

/// Rule 8: the sweep frees what a bound pod owns beyond its request.
pub async fn rule_08_what_a_pod_owns_beyond_its_request_is_swept(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 3)).await?;
    let pod = Workload::pod("p");
    c.apply(&pod).await?;
    let pod = c.up(&pod).await?.remove(0);
    // As a claim that arrived late would look.
    let mut spec = serde_json::to_value(&c.see().await?.addresses[pod.ip()].object.spec)?;
    spec["address"] = "10.64.1.12/24".into();
    let object = json!({
        "apiVersion": "galaxy.k8s.io/v1alpha1", "kind": "FloatingIP", "metadata": {"name": "10.64.1.12"}, "spec": spec,
    });
    c.create("floatingips", &object).await?;
    c.sweep().await?;
    c.free("10.64.1.12").await?;
    ensure!(c.see().await?.state(pod.ip()) == Some(State::Bound));
    c.settled().await
}

/// Hides everything about a pod from galaxy-ipam's watch.
fn unseen(name: &str) -> Rule {
    let name = name.to_owned();
    let about =
        move |_: &_, object: Option<&serde_json::Value>| object.is_some_and(|pod| pod["metadata"]["name"] == *name);
    Rule::new(Action::Event(EventAction::Drop)).resource("pods").agent("galaxy-ipam").when(about)
}

/// Rule 9: a pod that no watch ever showed is asked for before anything is freed, and kept while it lives.
pub async fn rule_09_a_pod_that_no_watch_shows_is_proved_alive(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 2)).await?;
    c.server()?.faults().add(unseen("p"));
    let pod = Workload::pod("p");
    c.apply(&pod).await?;
    let ip = c.ip(&pod).await?;
    let reads = c.server()?.calls().count("get", "pods", "galaxy-ipam");
    c.sweep().await?;
    ensure!(c.server()?.calls().count("get", "pods", "galaxy-ipam") > reads, "nobody asked");
    ensure!(c.see().await?.state(&ip) == Some(State::Bound));
    c.delete_pod("p").await?;
    c.no_pods(&pod).await?;
    c.sweep().await?;
    c.free(&ip).await?;
    c.settled().await
}

/// Rule 9: when the API server cannot be asked, nothing is proved and nothing is freed.
pub async fn rule_09_without_an_answer_nothing_is_freed(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 2)).await?;
    c.server()?.faults().add(unseen("p"));
    let pod = Workload::pod("p");
    c.apply(&pod).await?;
    let ip = c.ip(&pod).await?;
    c.delete_pod("p").await?;
    c.no_pods(&pod).await?;
    let deaf = Rule::new(Action::error(503, "ServiceUnavailable")).verb("get").resource("pods").agent("galaxy-ipam");
    let deaf = c.server()?.faults().add(deaf);
    c.sweep().await?;
    ensure!(deaf.hits() > 0 && c.see().await?.state(&ip) == Some(State::Bound));
    deaf.remove();
    c.sweep().await?;
    c.free(&ip).await?;
    c.settled().await
}

/// Rule 9: an idle sweep costs no API call.
pub async fn rule_09_an_idle_sweep_costs_nothing(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 10)).await?;
    let (web, db) = (Workload::deployment("web").replicas(3).immutable(), Workload::stateful_set("db").never());
    c.apply(&web).await?;
    c.apply(&db).await?;
    c.up(&web).await?;
    c.up(&db).await?;
    c.delete(&db).await?;
    c.until("db-0 is reserved", |seen| seen.owned_by(&db).iter().all(|it| it.state() == Some(State::Reserved))).await?;
    c.agree().await?;
    let calls = |mark| -> Result<Vec<String>> {
        let since = c.server()?.calls().since(mark).into_iter().map(|answered| answered.call);
        let mine = since.filter(|call| call.user_agent.contains("galaxy-ipam") && call.verb != "watch");
        Ok(mine.map(|call| format!("{} {} {}", call.verb, call.resource, call.name)).collect())
    };
    let mark = c.server()?.calls().mark();
    c.sweep().await?;
    let made = calls(mark)?;
    ensure!(made.is_empty(), "{made:?}");
    c.settled().await
}

/// Rule 9: a pod that vanishes from a dead node may still run, also when its address is known from the object alone.
pub async fn rule_09_a_pod_that_vanished_from_a_dead_node_unseen_is_quarantined(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 1)).await?;
    let pod = Workload::pod("p");
    c.apply(&pod).await?;
    let old = c.up(&pod).await?.remove(0);
    c.backend().kill_ipam();
    c.node_dies(&old.node).await?;
    c.force_delete_pod("p").await?;
    c.no_pods(&pod).await?;
    c.backend().start_ipam(true).await?;
    let other = Workload::pod("other");
    c.apply(&other).await?;
    c.sweep().await?;
    c.until("the address is quarantined", |seen| seen.state(old.ip()) == Some(State::Quarantined)).await?;
    c.waits("other", "NoAddress").await?;
    c.node_returns(&old.node).await?;
    c.up(&other).await?;
    c.settled().await
}

/// Rule 16: the scheduler asks again right after DELETED, before the release is written, and is told no; the release then wakes the pod.
pub async fn rule_16_who_asks_before_the_release_is_written_is_woken_after_it(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 1)).await?;
    let (holder, next) = (Workload::pod("holder"), Workload::pod("next"));
    c.apply(&holder).await?;
    let ip = c.ip(&holder).await?;
    c.apply(&next).await?;
    c.waits("next", "NoAddress").await?;
    let gate = Gate::new();
    c.server()?.faults().add(on_floating_ips(Action::Hold(gate.clone()), "delete").times(1));
    let filters = r#"galaxy_schedule_latency_count{func="filter"}"#;
    let before = c.metric(filters).await?.unwrap_or_default();
    c.delete_pod("holder").await?;
    gate.arrived(1).await;
    c.poll("the scheduler asked again, and was told no", || async {
        Ok((c.metric(filters).await?.unwrap_or_default() > before).then_some(()))
    })
    .await?;
    ensure!(c.see().await?.pod("next").is_some_and(|pod| pod.node.is_empty()));
    gate.open();
    ensure!(c.ip(&next).await? == ip);
    c.settled().await
}

/// Rule 16: a wake whose write fails is written again.
pub async fn rule_16_a_wake_that_is_lost_is_repeated(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 1)).await?;
    let (holder, next) = (Workload::pod("holder"), Workload::pod("next"));
    c.apply(&holder).await?;
    c.up(&holder).await?;
    c.apply(&next).await?;
    c.waits("next", "NoAddress").await?;
    let patch =
        |action| Rule::new(action).verb("patch").resource("pods").subresource("status").agent("galaxy-ipam").times(1);
    let faults = c.server()?.faults();
    let rules =
        [Action::Drop, Action::conflict(), Action::error(500, "InternalError")].map(|action| faults.add(patch(action)));
    // By configuration: no event of the cluster helps.
    c.configure(&json!([rack_pool(1, 2)])).await?;
    c.up(&next).await?;
    ensure!(rules.iter().all(|rule| rule.hits() == 1), "not every fault was met");
    c.settled().await
}

/// Rule 16: a pod that is refused in the very moment that an address comes free is woken.
pub async fn rule_16_refused_while_the_address_comes_free(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 2)).await?;
    let web = Workload::deployment("web").replicas(2);
    c.apply(&web).await?;
    c.up(&web).await?;
    let more = Workload::deployment("more").replicas(2);
    for round in 0..5 {
        // Demand and supply change hands at once, so that filters and releases cross each other.
        let (old, new) = if round % 2 == 0 { (&web, &more) } else { (&more, &web) };
        tokio::try_join!(c.delete(old), c.apply(new))?;
        c.up(new).await?;
    }
    c.settled().await
}

/// Rule 14: what a restart finds half done is finished: a claim without a Binding, a release without a delete.
pub async fn a_crash_between_claim_and_binding_leaves_nothing(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(2, 2)).await?;
    for (n, rule) in [
        on_floating_ips(Action::HoldAfter(Gate::new()), "create").times(1),
        on_bindings(Action::Hold(Gate::new())).times(1),
        on_bindings(Action::HoldAfter(Gate::new())).times(1),
    ]
    .into_iter()
    .enumerate()
    {
        let hit = c.server()?.faults().add(rule);
        let pod = Workload::pod(&format!("p{n}"));
        c.apply(&pod).await?;
        c.poll("the crash is due", || async { Ok((hit.hits() == 1).then_some(())) }).await?;
        c.crash_ipam().await?;
        let ip = c.ip(&pod).await?;
        c.settled().await?;
        ensure!(c.see().await?.addresses.len() == 1, "{}", c.see().await?);
        let gone = c.server()?.faults().add(on_floating_ips(Action::Drop, "delete").times(1));
        c.delete_pod(&pod.name).await?;
        c.poll("the release is lost", || async { Ok((gone.hits() == 1).then_some(())) }).await?;
        c.crash_ipam().await?;
        c.sweep().await?;
        c.free(&ip).await?;
    }
    c.settled().await
}

/// Rule 5 and 1: a reload in the middle of a claim.
pub async fn a_configuration_that_takes_the_address_away_in_the_middle_of_a_claim(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 1)).await?;
    let gate = Gate::new();
    c.server()?.faults().add(on_floating_ips(Action::Hold(gate.clone()), "create").times(1));
    let pod = Workload::pod("p");
    c.apply(&pod).await?;
    gate.arrived(1).await;
    let mut other = rack_pool(1, 0);
    other["ips"] = json!(["10.64.1.50"]);
    c.reconfigure(&json!([other])).await?;
    gate.open();
    ensure!(c.ip(&pod).await? == "10.64.1.50");
    c.sweep().await?;
    c.free("10.64.1.10").await?;
    c.settled().await
}
