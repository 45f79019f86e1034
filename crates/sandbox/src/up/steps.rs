//! The steps of the tour, one for each promise of float-ip.md.

use std::collections::BTreeSet;

use galaxy_api::floatingip::State;
use serde_json::{Value, json};

use super::{
    hands::Kind,
    screen::{Screen, Style},
    snapshot::Snapshot,
    tour::{Tour, Verdict},
    world::World,
};

/// Takes the whole tour. Returns how many promises were not kept.
///
/// # Errors
/// The API server does not answer at all.
pub(super) async fn tour(world: &World, screen: &Screen) -> anyhow::Result<usize> {
    let mut tour = Tour::new(world, screen);
    let t = &mut tour;
    // A step that fails does not keep the next from being tried.
    macro_rules! take {
        ($($step:ident),*) => { $(if let Err(error) = $step(t).await { t.failed(&error); })* };
    }
    take!(
        default_policy,
        immutable_deployment,
        spare,
        never_deployment,
        stateful_set,
        custom_workload,
        pool,
        ranges,
        dead_node,
        http_api
    );
    let (promises, broken) = (tour.promises, tour.broken);
    let (style, summary) = match broken {
        0 => (Style::Good, format!("All {promises} promises were kept.")),
        _ => (Style::Bad, format!("{broken} of {promises} promises were NOT kept.")),
    };
    screen.line(format!("    {}", screen.styled(style, summary)));
    screen.line("");
    Ok(broken)
}

fn ensure(holds: bool, lacking: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(lacking()) }
}

/// `app` has exactly `count` pods, all ready and with as many different addresses, and none of them is on its way out.
fn runs(now: &Snapshot, app: &str, count: usize) -> Verdict {
    let all = now.pods.iter().filter(|pod| pod.app == app).count();
    let ready = now.live(app).iter().filter(|pod| pod.ready).count();
    let ips = now.ips(app).len();
    ensure((all, ready, ips) == (count, count, count), || {
        format!("{app} has {all} pods, {ready} of them ready, with {ips} different addresses; {count} are wanted")
    })
}

/// The workload owns exactly these addresses.
fn owns(now: &Snapshot, workload: &str, wanted: &BTreeSet<std::net::IpAddr>) -> Verdict {
    let owned = now.owned(workload);
    ensure(owned == *wanted, || format!("{workload} owns {owned:?} and should own {wanted:?}"))
}

async fn default_policy(t: &mut Tour<'_>) -> anyhow::Result<()> {
    t.step("A pod with a floating IP and no policy", &["plain"], &[]).await?;
    t.apply("pod.yaml").await?;
    t.promise("it gets an address that its node can route.", |_, now| runs(now, "plain", 1)).await?;
    t.delete(Kind::Pod, "plain").await?;
    t.promise("the address is free as soon as the pod is gone.", |_, now| {
        runs(now, "plain", 0)?;
        owns(now, "plain", &BTreeSet::new())
    })
    .await
}

async fn immutable_deployment(t: &mut Tour<'_>) -> anyhow::Result<()> {
    t.step("A Deployment with policy immutable", &["web"], &[]).await?;
    t.apply("deployment-immutable.yaml").await?;
    t.promise("four pods, four addresses.", |_, now| runs(now, "web", 4)).await?;
    let Some(victim) = t.before().live("web").first().map(|pod| pod.name.clone()) else { return Ok(()) };
    t.delete(Kind::Pod, &victim).await?;
    t.promise("the pod that takes its place waits for its address and takes it.", |before, now| {
        runs(now, "web", 4)?;
        ensure(now.live("web").iter().all(|pod| pod.name != victim), || format!("{victim} is still there"))?;
        owns(now, "web", &before.owned("web"))
    })
    .await?;
    t.set_image(Kind::Deployment, "web", "nginx:1.9.1").await?;
    t.promise("a rollout gives the new pods the addresses of the old ones.", |before, now| {
        rolled(now, "web", 4, "nginx:1.9.1")?;
        owns(now, "web", &before.owned("web"))
    })
    .await?;
    t.scale(Kind::Deployment, "web", 3).await?;
    t.promise("scaling down frees one address; the other pods keep theirs.", |before, now| {
        runs(now, "web", 3)?;
        ensure(now.ips("web").is_subset(&before.ips("web")), || "a pod has another address".to_owned())?;
        owns(now, "web", &now.ips("web"))
    })
    .await
}

async fn spare(t: &mut Tour<'_>) -> anyhow::Result<()> {
    t.step("Rolling three replicas: the deadlock of the FAQ", &["web"], &[]).await?;
    t.say(
        "With up to three replicas the default strategy takes no pod down before a new one is ready, and a new one that waits for the address \
         of an old one waits for ever. So the Deployment may have one address more, its spare.",
    );
    t.set_image(Kind::Deployment, "web", "nginx:1.11").await?;
    t.promise(
        "the rollout finishes. The three addresses are kept, and one more is reserved as the spare.",
        |before, now| {
            rolled(now, "web", 3, "nginx:1.11")?;
            let (old, new) = (before.owned("web"), now.owned("web"));
            let spares = now.addresses.values().filter(|address| address.spare).count();
            ensure(new.is_superset(&old) && new.len() == 4 && spares == 1, || {
                format!("web owns {new:?}, {spares} of them spare")
            })
        },
    )
    .await?;
    t.set_image(Kind::Deployment, "web", "nginx:1.12").await?;
    t.promise("from now on every rollout uses the same four.", |before, now| {
        rolled(now, "web", 3, "nginx:1.12")?;
        owns(now, "web", &before.owned("web"))
    })
    .await
}

/// `app` runs `count` pods, all of them with this image.
fn rolled(now: &Snapshot, app: &str, count: usize, image: &str) -> Verdict {
    runs(now, app, count)?;
    ensure(now.live(app).iter().all(|pod| pod.image == image), || format!("not all pods run {image}"))
}

async fn never_deployment(t: &mut Tour<'_>) -> anyhow::Result<()> {
    t.step("A Deployment with policy never", &["api"], &[]).await?;
    t.apply("deployment-never.yaml").await?;
    t.promise("two pods, two addresses.", |_, now| runs(now, "api", 2)).await?;
    t.delete(Kind::Deployment, "api").await?;
    t.promise("the Deployment is gone, its addresses stay reserved.", |before, now| {
        runs(now, "api", 0)?;
        owns(now, "api", &before.owned("api"))?;
        let reserved =
            now.addresses.values().filter(|address| address.owner.as_ref().is_some_and(|owner| owner.name == "api"));
        ensure(reserved.into_iter().all(|address| address.state == State::Reserved), || {
            "not all are reserved yet".to_owned()
        })
    })
    .await?;
    t.apply("deployment-never.yaml").await?;
    t.promise("a Deployment of the same name gets them back.", |before, now| {
        runs(now, "api", 2)?;
        owns(now, "api", &before.owned("api"))
    })
    .await
}

async fn stateful_set(t: &mut Tour<'_>) -> anyhow::Result<()> {
    t.step("A StatefulSet with policy immutable", &["sts"], &[]).await?;
    t.apply("statefulset.yaml").await?;
    t.promise("three pods, three addresses.", |_, now| runs(now, "sts", 3)).await?;
    t.delete(Kind::Pod, "sts-1").await?;
    t.promise("the new sts-1 has the address of the old one.", |before, now| {
        runs(now, "sts", 3)?;
        same_by_name(before, now, "sts")?;
        let uid = |at: &Snapshot| at.live("sts").iter().find(|pod| pod.name == "sts-1").map(|pod| pod.uid.clone());
        ensure(uid(before) != uid(now), || "sts-1 is still the old one".to_owned())
    })
    .await?;
    t.scale(Kind::StatefulSet, "sts", 1).await?;
    t.promise("scaling down frees the addresses of sts-1 and sts-2, and only those.", |before, now| {
        runs(now, "sts", 1)?;
        same_by_name(before, now, "sts")?;
        owns(now, "sts", &now.ips("sts"))
    })
    .await
}

/// Every pod of the app has the addresses that the pod of its name had.
fn same_by_name(before: &Snapshot, now: &Snapshot, app: &str) -> Verdict {
    for pod in now.live(app) {
        let old = before.live(app).into_iter().find(|old| old.name == pod.name);
        if let Some(old) = old.filter(|old| old.ips != pod.ips) {
            return Err(format!("{} had {:?} and has {:?}", pod.name, old.ips, pod.ips));
        }
    }
    Ok(())
}

async fn custom_workload(t: &mut Tour<'_>) -> anyhow::Result<()> {
    t.step("A custom workload: TApp, known by its CRD only", &["game"], &[]).await?;
    t.apply("custom-workload-crd.yaml").await?;
    t.apply("custom-workload.yaml").await?;
    t.promise("its pods are served like a StatefulSet's.", |_, now| runs(now, "game", 2)).await?;
    t.delete(Kind::Pod, "game-0").await?;
    t.promise("the new game-0 has the address of the old one.", |before, now| {
        runs(now, "game", 2)?;
        let uid = |at: &Snapshot| at.live("game").first().map(|pod| pod.uid.clone());
        ensure(uid(before) != uid(now), || "game-0 is still the old one".to_owned())?;
        same_by_name(before, now, "game")
    })
    .await?;
    t.scale(Kind::TApp, "game", 1).await?;
    t.promise("its replicas are read through its scale subresource: the address of game-1 is freed.", |before, now| {
        runs(now, "game", 1)?;
        same_by_name(before, now, "game")?;
        owns(now, "game", &now.ips("game"))
    })
    .await
}

async fn pool(t: &mut Tour<'_>) -> anyhow::Result<()> {
    const POOL: &str = "example-pool";
    t.step("A pool of four addresses, shared by two Deployments: a blue-green release", &["blue", "green"], &[POOL])
        .await?;
    t.apply("pool.yaml").await?;
    t.apply("pool-deployments.yaml").await?;
    t.promise("blue uses the whole pool.", |_, now| {
        runs(now, "blue", 4)?;
        ensure(now.pooled(POOL).len() == 4, || format!("the pool has {:?}", now.pooled(POOL)))
    })
    .await?;
    t.scale(Kind::Deployment, "green", 4).await?;
    t.promise("green waits, and its pods say for what: the size is a limit.", |before, now| {
        runs(now, "blue", 4)?;
        let waiting = now.live("green").iter().filter(|pod| pod.node.is_none() && pod.waits.is_some()).count();
        ensure(waiting == 4, || format!("{waiting} of 4 pods say why they wait"))?;
        ensure(now.pooled(POOL) == before.pooled(POOL), || format!("the pool has {:?}", now.pooled(POOL)))
    })
    .await?;
    t.scale(Kind::Deployment, "blue", 0).await?;
    t.promise("as blue goes, green gets the very same addresses.", |before, now| {
        runs(now, "blue", 0)?;
        runs(now, "green", 4)?;
        ensure(now.ips("green") == before.ips("blue"), || {
            format!("blue had {:?}, green has {:?}", before.ips("blue"), now.ips("green"))
        })
    })
    .await
}

async fn ranges(t: &mut Tour<'_>) -> anyhow::Result<()> {
    t.step("A pod that asks for three addresses, each from ranges of its own", &["router"], &[]).await?;
    t.apply("ranges-pod.yaml").await?;
    t.promise("one address from each list, in that order.", |_, now| {
        let pod = now.live("router").into_iter().find(|pod| pod.ready).cloned().unwrap_or_default();
        ensure(pod.ips.len() == 3, || format!("the pod has {:?}", pod.ips))?;
        for (list, ip) in pod.ranges.iter().zip(&pod.ips) {
            let inside = list.iter().any(|range| range.contains((*ip).into()));
            ensure(inside, || format!("{ip} is not in {list:?}"))?;
        }
        Ok(())
    })
    .await
}

async fn dead_node(t: &mut Tour<'_>) -> anyhow::Result<()> {
    t.step("A node dies", &["web", "sts"], &[]).await?;
    // Where some nodes are made up, one that is not.
    let nodes = t.before().live("web").into_iter().filter_map(|pod| pod.node.clone());
    let is_made_up = |node: &String| t.world.underlay().is_some_and(|underlay| !underlay.has(node));
    let Some(node) = nodes.min_by_key(is_made_up) else { return Ok(()) };
    t.power_off(&node);
    t.say("(a real cluster takes 40 s to notice and five minutes to evict the pods; this one is impatient)");
    t.promise(
        "its pods may run on, so nobody gets their addresses. Their successors wait, and say for what.",
        |before, now| {
            let there = |at: &Snapshot| {
                at.pods.iter().filter(|pod| pod.node.as_ref() == Some(&node)).cloned().collect::<Vec<_>>()
            };
            ensure(now.dead.contains(&node), || format!("{node} is not found dead yet"))?;
            ensure(there(now).iter().all(|pod| pod.going), || format!("not all pods on {node} are evicted yet"))?;
            for pod in there(before) {
                let owner = pod.ips.first().and_then(|ip| now.addresses.get(ip)?.pod.as_ref());
                ensure(owner.is_some_and(|owner| owner.uid == pod.uid), || format!("{} lost {:?}", pod.name, pod.ips))?;
            }
            let waiting = now.live("web").into_iter().filter(|pod| pod.node.is_none() && pod.waits.is_some()).count();
            let stuck = there(now).iter().filter(|pod| pod.app == "web").count();
            ensure(waiting == stuck, || format!("{waiting} of {stuck} successors say why they wait"))
        },
    )
    .await?;
    let waiting = t.before().live("web").into_iter().find_map(|pod| pod.waits.clone());
    t.say(&format!("kubectl describe pod shows: {}", waiting.unwrap_or_default()));
    let moving = t.before().pods.iter().find(|pod| pod.node.as_ref() == Some(&node) && pod.app == "web");
    let moving = moving.and_then(|pod| pod.ips.first().copied());
    t.out_of_service(&node, true).await?;
    t.promise(
        "once an administrator vouches that the node is off, they get those very addresses elsewhere.",
        |before, now| {
            runs(now, "web", 3)?;
            runs(now, "sts", 1)?;
            ensure(now.live("web").iter().all(|pod| pod.node.as_ref() != Some(&node)), || {
                format!("a pod is still on {node}")
            })?;
            let had =
                |at: &Snapshot| at.pods.iter().filter(|pod| pod.app == "web").flat_map(|pod| pod.ips.clone()).collect();
            let (old, new): (BTreeSet<_>, BTreeSet<_>) = (had(before), had(now));
            ensure(old == new, || format!("web had {old:?} and has {new:?}"))?;
            same_by_name(before, now, "sts")
        },
    )
    .await?;
    if let Some(ip) = moving {
        t.ask_pod(ip).await?;
    }
    t.power_on(&node);
    t.out_of_service(&node, false).await?;
    t.promise("the node comes back, and no address moves.", |before, now| {
        ensure(now.dead.is_empty(), || format!("{:?} are dead", now.dead))?;
        ensure(now.ips("sts") == before.ips("sts") && now.ips("web") == before.ips("web"), || {
            "an address moved".to_owned()
        })
    })
    .await
}

async fn http_api(t: &mut Tour<'_>) -> anyhow::Result<()> {
    t.step("The HTTP API: who has what, and giving a reserved address back", &["api"], &[]).await?;
    t.delete(Kind::Deployment, "api").await?;
    t.promise("the addresses stay reserved.", |before, now| {
        runs(now, "api", 0)?;
        owns(now, "api", &before.owned("api"))
    })
    .await?;
    let list = t.get("/v1/ip?appName=api&appType=deployment&namespace=default").await?;
    let entries: Vec<&Value> = list["content"].as_array().into_iter().flatten().collect();
    const SHOWN: [&str; 6] = ["ip", "namespace", "appName", "policy", "status", "releasable"];
    let cell = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let rows: Vec<_> = entries.iter().map(|entry| SHOWN.map(|member| cell(&entry[member]))).collect();
    t.table(SHOWN, &rows);
    let releasable = entries.iter().filter(|entry| entry["releasable"] == json!(true)).count();
    t.claim("it lists both as releasable.", ensure(releasable == 2, || list.to_string()));
    let Some(ip) = t.before().owned("api").into_iter().next() else { return Ok(()) };
    let body = json!({"ips": [{"ip": ip, "namespace": "default", "appName": "api", "appType": "deployment"}]});
    let answer = t.post("/v1/ip", &body).await?;
    t.say(&answer.to_string());
    t.promise("this one is free, the other stays reserved.", |before, now| {
        let mut wanted = before.owned("api");
        wanted.remove(&ip);
        owns(now, "api", &wanted)
    })
    .await
}
