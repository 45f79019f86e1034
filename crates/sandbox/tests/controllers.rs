//! Deployments, StatefulSets and the others, in a whole cluster.

mod support;

use std::time::Duration;

use galaxy_sandbox::{
    apiserver::{Action, EventAction, Rule},
    controllers::CustomWorkload,
    nodes::BEHAVIOUR,
};
use k8s_openapi::{
    api::{
        apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet},
        batch::v1::Job,
        core::v1::{Node, Pod},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use support::{api, create, eventually, is_ready, merge, name, node, node_of, pod, pods, quick, start, template, uid};

fn deployment(replicas: i32, image: &str) -> Value {
    json!({
        "metadata": {"name": "web"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template("web", image, json!({}))},
    })
}

fn image(pod: &Pod) -> String {
    pod.spec.as_ref().unwrap().containers[0].image.clone().unwrap()
}

/// Waits until the Deployment says that its rollout of `version` is complete.
async fn rolled(client: &Client, version: &str, replicas: i32) -> Deployment {
    eventually(&format!("{replicas} of {version}"), || async {
        let deployment = api::<Deployment>(client).get("web").await.ok()?;
        let status = deployment.status.clone()?;
        let wanted = Some(replicas);
        let there = pods(client, "web").await;
        let ready = there.iter().filter(|pod| is_ready(pod) && image(pod) == version).count();
        let done = status.observed_generation >= deployment.metadata.generation
            && status.updated_replicas.unwrap_or(0) == replicas
            && status.replicas.unwrap_or(0) == replicas
            && status.available_replicas.unwrap_or(0) == replicas
            && wanted == deployment.spec.replicas
            && there.len() == ready
            && i32::try_from(ready) == Ok(replicas);
        done.then_some(deployment)
    })
    .await
}

fn revision(deployment: &Deployment) -> &str {
    &deployment.metadata.annotations.as_ref().unwrap()["deployment.kubernetes.io/revision"]
}

async fn set_image(client: &Client, image: &str, mut annotations: Value) {
    // A merge patch keeps what it does not name.
    if annotations[BEHAVIOUR].is_null() {
        annotations[BEHAVIOUR] = Value::Null;
    }
    let patch = json!({"spec": {"template": template("web", image, annotations)}});
    merge::<Deployment>(client, "web", patch).await;
}

async fn sets(client: &Client) -> Vec<ReplicaSet> {
    api::<ReplicaSet>(client).list(&ListParams::default()).await.unwrap().items
}

#[tokio::test(flavor = "multi_thread")]
async fn deployments_roll_forth_and_back() {
    let (cluster, client) = start(quick()).await;
    for replicas in 1..=4 {
        create::<Deployment>(&client, deployment(replicas, "v1")).await;
        assert_eq!(revision(&rolled(&client, "v1", replicas).await), "1");
        set_image(&client, "v2", json!({})).await;
        assert_eq!(revision(&rolled(&client, "v2", replicas).await), "2");
        // Back to the first template: its ReplicaSet is used again under a new number.
        let names = |sets: &[ReplicaSet]| sets.iter().map(|set| set.metadata.name.clone()).collect::<Vec<_>>();
        let before = names(&sets(&client).await);
        set_image(&client, "v1", json!({})).await;
        let back = rolled(&client, "v1", replicas).await;
        assert_eq!((revision(&back), names(&sets(&client).await)), ("3", before));
        let conditions = back.status.unwrap().conditions.unwrap();
        let reason = |kind: &str| {
            conditions.iter().find(|it| it.type_.as_deref() == Some(kind)).and_then(|it| it.reason.clone())
        };
        assert_eq!(reason("Available").as_deref(), Some("MinimumReplicasAvailable"));
        assert_eq!(reason("Progressing").as_deref(), Some("NewReplicaSetAvailable"));
        // kubectl rollout restart.
        set_image(&client, "v1", json!({"kubectl.kubernetes.io/restartedAt": "now"})).await;
        eventually("the fourth revision", || async {
            let deployment = api::<Deployment>(&client).get("web").await.ok()?;
            (revision(&deployment) == "4").then_some(())
        })
        .await;
        rolled(&client, "v1", replicas).await;
        api::<Deployment>(&client).delete("web", &DeleteParams::background()).await.unwrap();
        eventually("no pods", || async { pods(&client, "web").await.is_empty().then_some(()) }).await;
        eventually("no ReplicaSets", || async { sets(&client).await.is_empty().then_some(()) }).await;
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crashing_version_leaves_the_old_one_serving_and_the_next_replaces_both() {
    let (cluster, client) = start(quick()).await;
    create::<Deployment>(&client, deployment(4, "v1")).await;
    rolled(&client, "v1", 4).await;
    set_image(&client, "bad", json!({BEHAVIOUR: "crash"})).await;
    let bad = || async {
        let pods = pods(&client, "web").await;
        let bad: Vec<_> = pods.into_iter().filter(|pod| image(pod) == "bad").collect();
        (bad.len() == 2 && bad.iter().all(|pod| support::condition(pod, "Ready").is_some())).then_some(bad)
    };
    eventually("two crashing pods", bad).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let there = pods(&client, "web").await;
    let serving = there.iter().filter(|pod| is_ready(pod) && image(pod) == "v1").count();
    assert_eq!((serving, there.len()), (3, 5), "25 % of 4 may be missing and 25 % more may exist");
    let crashed = there.iter().find(|pod| image(pod) == "bad").unwrap();
    let containers = crashed.status.clone().unwrap().container_statuses.unwrap();
    let waiting = containers[0].state.clone().unwrap().waiting.unwrap();
    assert_eq!(waiting.reason.as_deref(), Some("CrashLoopBackOff"));
    set_image(&client, "v3", json!({})).await;
    rolled(&client, "v3", 4).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_deployment_scales_but_does_not_roll() {
    let (cluster, client) = start(quick()).await;
    create::<Deployment>(&client, deployment(2, "v1")).await;
    rolled(&client, "v1", 2).await;
    merge::<Deployment>(&client, "web", json!({"spec": {"paused": true, "replicas": 3}})).await;
    set_image(&client, "v2", json!({})).await;
    eventually("three of the old version", || async {
        let pods = pods(&client, "web").await;
        (pods.len() == 3 && pods.iter().all(|pod| is_ready(pod) && image(pod) == "v1")).then_some(())
    })
    .await;
    assert_eq!(sets(&client).await.len(), 1);
    merge::<Deployment>(&client, "web", json!({"spec": {"paused": false}})).await;
    rolled(&client, "v2", 3).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn recreate_takes_all_down_first() {
    let (cluster, client) = start(quick()).await;
    let mut object = deployment(3, "v1");
    object["spec"]["strategy"] = json!({"type": "Recreate"});
    create::<Deployment>(&client, object).await;
    rolled(&client, "v1", 3).await;
    let stop = tokio::spawn({
        let client = client.clone();
        async move {
            // At no time are there pods of both versions.
            loop {
                let pods = pods(&client, "web").await;
                let versions: std::collections::BTreeSet<_> = pods.iter().map(image).collect();
                assert!(versions.len() <= 1, "{versions:?}");
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    });
    set_image(&client, "v2", json!({})).await;
    rolled(&client, "v2", 3).await;
    assert!(!stop.is_finished(), "{:?}", stop.await);
    stop.abort();
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scaling_during_a_rollout_ends_well() {
    let (cluster, client) = start(quick()).await;
    create::<Deployment>(&client, deployment(8, "v1")).await;
    rolled(&client, "v1", 8).await;
    set_image(&client, "stuck", json!({BEHAVIOUR: "never-ready"})).await;
    eventually("a rollout half-way", || async {
        (pods(&client, "web").await.iter().filter(|pod| image(pod) == "stuck").count() >= 2).then_some(())
    })
    .await;
    merge::<Deployment>(&client, "web", json!({"spec": {"replicas": 12}})).await;
    eventually("more of both versions", || async {
        let pods = pods(&client, "web").await;
        let old = pods.iter().filter(|pod| image(pod) == "v1" && is_ready(pod)).count();
        // 12 replicas and a surge of 3; at most 3 may be missing.
        (pods.len() == 15 && old >= 9).then_some(())
    })
    .await;
    set_image(&client, "v2", json!({})).await;
    rolled(&client, "v2", 12).await;
    merge::<Deployment>(&client, "web", json!({"spec": {"replicas": 0}})).await;
    rolled(&client, "v2", 0).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_versions_are_kept_up_to_the_history_limit() {
    let (cluster, client) = start(quick()).await;
    let mut object = deployment(1, "v1");
    object["spec"]["revisionHistoryLimit"] = 1.into();
    create::<Deployment>(&client, object).await;
    for version in ["v1", "v2", "v3", "v4"] {
        set_image(&client, version, json!({})).await;
        rolled(&client, version, 1).await;
    }
    eventually("two ReplicaSets", || async { (sets(&client).await.len() == 2).then_some(()) }).await;
    cluster.stop().await;
}

fn stateful_set(replicas: i32, image: &str) -> Value {
    json!({
        "metadata": {"name": "cart"},
        "spec": {
            "serviceName": "cart", "replicas": replicas, "selector": {"matchLabels": {"app": "cart"}},
            "template": template("cart", image, json!({})),
        },
    })
}

/// Waits for exactly these pods of `cart`, all ready; by name.
async fn carts(client: &Client, expected: &[(&str, &str)]) -> Vec<Pod> {
    eventually(&format!("{expected:?}"), || async {
        let there = pods(client, "cart").await;
        let seen: Vec<_> = there.iter().map(|pod| (name(pod), image(pod))).collect();
        let same = seen.iter().map(|(name, image)| (name.as_str(), image.as_str())).eq(expected.iter().copied());
        (same && there.iter().all(is_ready)).then_some(there)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn stateful_sets_scale_heal_and_roll() {
    let (cluster, client) = start(quick()).await;
    create::<StatefulSet>(&client, stateful_set(3, "v1")).await;
    let first = carts(&client, &[("cart-0", "v1"), ("cart-1", "v1"), ("cart-2", "v1")]).await;
    assert!(first.windows(2).all(|pair| pair[0].metadata.creation_timestamp <= pair[1].metadata.creation_timestamp));
    api::<Pod>(&client).delete("cart-1", &DeleteParams::default()).await.unwrap();
    eventually("another cart-1", || async {
        let pod = pod(&client, "cart-1").await?;
        (uid(&pod) != uid(&first[1]) && is_ready(&pod)).then_some(())
    })
    .await;
    // A partition keeps the lower ones at the old version, even if they are made anew.
    let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 2}});
    let patch = json!({"spec": {"updateStrategy": rolling, "template": template("cart", "v2", json!({}))}});
    merge::<StatefulSet>(&client, "cart", patch).await;
    carts(&client, &[("cart-0", "v1"), ("cart-1", "v1"), ("cart-2", "v2")]).await;
    let old = uid(&pod(&client, "cart-0").await.unwrap());
    api::<Pod>(&client).delete("cart-0", &DeleteParams::default()).await.unwrap();
    eventually("another cart-0", || async { (uid(&pod(&client, "cart-0").await?) != old).then_some(()) }).await;
    carts(&client, &[("cart-0", "v1"), ("cart-1", "v1"), ("cart-2", "v2")]).await;
    merge::<StatefulSet>(&client, "cart", json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": 0}}}}))
        .await;
    carts(&client, &[("cart-0", "v2"), ("cart-1", "v2"), ("cart-2", "v2")]).await;
    eventually("the rollout complete", || async {
        let status = api::<StatefulSet>(&client).get("cart").await.ok()?.status?;
        (status.current_revision == status.update_revision && status.updated_replicas == Some(3)).then_some(())
    })
    .await;
    merge::<StatefulSet>(&client, "cart", json!({"spec": {"replicas": 1}})).await;
    carts(&client, &[("cart-0", "v2")]).await;
    merge::<StatefulSet>(&client, "cart", json!({"spec": {"replicas": 2, "ordinals": {"start": 5}}})).await;
    carts(&client, &[("cart-5", "v2"), ("cart-6", "v2")]).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn custom_workloads_make_pods_by_ordinal() {
    let mut options = quick();
    let kind = CustomWorkload::new("apps.tkestack.io", "v1", "TApp", "tapps");
    options.controllers.custom.push(kind.clone());
    let (cluster, client) = start(options).await;
    let any = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let definition = json!({
        "metadata": {"name": "tapps.apps.tkestack.io"},
        "spec": {
            "group": "apps.tkestack.io", "scope": "Namespaced",
            "names": {"plural": "tapps", "singular": "tapp", "kind": "TApp", "listKind": "TAppList"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": any, "status": any}}},
                "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}},
            }],
        },
    });
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    crds.create(&PostParams::default(), &support::from(definition)).await.unwrap();
    let tapps: Api<DynamicObject> = Api::default_namespaced_with(client.clone(), &kind.resource);
    let tapp: DynamicObject = support::from(json!({
        "apiVersion": "apps.tkestack.io/v1", "kind": "TApp", "metadata": {"name": "demo"},
        "spec": {"replicas": 3, "template": template("demo", "v1", json!({}))},
    }));
    eventually("the kind served", || async { tapps.create(&PostParams::default(), &tapp).await.ok() }).await;
    let names = |expected: &'static [&'static str]| {
        let client = client.clone();
        async move {
            eventually(&format!("{expected:?}"), || async {
                let pods = pods(&client, "demo").await;
                (pods.iter().map(name).eq(expected.iter().copied()) && pods.iter().all(is_ready)).then_some(())
            })
            .await;
        }
    };
    names(&["demo-0", "demo-1", "demo-2"]).await;
    let scale = Patch::Merge(json!({"spec": {"replicas": 1}}));
    tapps.patch_scale("demo", &PatchParams::default(), &scale).await.unwrap();
    names(&["demo-0"]).await;
    eventually("the status", || async {
        (tapps.get("demo").await.ok()?.data["status"]["replicas"] == 1).then_some(())
    })
    .await;
    tapps.delete("demo", &DeleteParams::background()).await.unwrap();
    names(&[]).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_node_loses_its_pods_when_it_is_back_or_gone() {
    let (cluster, client) = start(quick()).await;
    create::<StatefulSet>(&client, stateful_set(1, "v1")).await;
    let stuck = carts(&client, &[("cart-0", "v1")]).await.remove(0);
    let home = node_of(&stuck).unwrap();
    // The Deployment's pods avoid the other nodes, so that one of them is on the dead node too.
    create::<Deployment>(&client, deployment(6, "v1")).await;
    rolled(&client, "v1", 6).await;
    let on_home = || async {
        let pods = pods(&client, "web").await;
        pods.into_iter().filter(|pod| node_of(pod).as_ref() == Some(&home)).collect::<Vec<_>>()
    };
    let there = on_home().await.len();
    assert!(there > 0, "replicas are spread over the nodes");
    cluster.nodes.power_off(&home);
    eventually("the pods deleted", || async {
        let pod = pod(&client, "cart-0").await?;
        let others = on_home().await;
        let gone = pod.metadata.deletion_timestamp.is_some()
            && others.iter().all(|pod| pod.metadata.deletion_timestamp.is_some());
        gone.then_some(())
    })
    .await;
    let dead = node(&client, &home).await;
    let taints: Vec<_> = dead.spec.unwrap().taints.unwrap().into_iter().map(|it| (it.key, it.effect)).collect();
    let unreachable = |effect: &str| ("node.kubernetes.io/unreachable".to_owned(), effect.to_owned());
    assert_eq!(taints, [unreachable("NoSchedule"), unreachable("NoExecute")]);
    // Elsewhere successors of the Deployment's pods run; the StatefulSet waits for its name.
    eventually("six pods elsewhere", || async {
        let pods = pods(&client, "web").await;
        let elsewhere = pods.iter().filter(|pod| is_ready(pod) && node_of(pod).as_ref() != Some(&home)).count();
        (elsewhere == 6).then_some(())
    })
    .await;
    let waiting = pod(&client, "cart-0").await.unwrap();
    assert_eq!(uid(&waiting), uid(&stuck));
    assert!(!is_ready(&waiting));
    let disrupted = support::condition(&waiting, "DisruptionTarget").unwrap();
    assert_eq!(disrupted.reason.as_deref(), Some("DeletionByTaintManager"));

    cluster.nodes.power_on(&home);
    let back = eventually("cart-0 anew", || async {
        let pod = pod(&client, "cart-0").await?;
        (uid(&pod) != uid(&stuck) && is_ready(&pod)).then_some(pod)
    })
    .await;
    eventually("the node ready and untainted", || async {
        node(&client, &home)
            .await
            .spec
            .is_none_or(|spec| spec.taints.is_none_or(|taints| taints.is_empty()))
            .then_some(())
    })
    .await;

    // A node that is deleted: its pods fail, go, and come back elsewhere.
    let home = node_of(&back).unwrap();
    cluster.nodes.power_off(&home);
    cluster.nodes.remove(&home).await.unwrap();
    eventually("cart-0 elsewhere", || async {
        let pod = pod(&client, "cart-0").await?;
        (is_ready(&pod) && node_of(&pod)? != home).then_some(())
    })
    .await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_out_of_service_frees_its_stuck_pods() {
    let (cluster, client) = start(quick()).await;
    create::<StatefulSet>(&client, stateful_set(1, "v1")).await;
    let stuck = carts(&client, &[("cart-0", "v1")]).await.remove(0);
    let home = node_of(&stuck).unwrap();
    cluster.nodes.power_off(&home);
    eventually("the pod stuck", || async { pod(&client, "cart-0").await?.metadata.deletion_timestamp }).await;
    eventually("the taint", || async {
        let mut taints = node(&client, &home).await.spec?.taints?;
        taints.push(support::from(
            json!({"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"}),
        ));
        let patch = Patch::Merge(json!({"spec": {"taints": taints}}));
        Api::<Node>::all(client.clone()).patch(&home, &PatchParams::default(), &patch).await.ok()
    })
    .await;
    eventually("cart-0 elsewhere", || async {
        let pod = pod(&client, "cart-0").await?;
        (is_ready(&pod) && node_of(&pod)? != home).then_some(())
    })
    .await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_end_and_daemons_are_everywhere() {
    let (cluster, client) = start(quick()).await;
    for (job, behaviour, condition) in [("good", "complete", "Complete"), ("bad", "fail", "Failed")] {
        let mut pods = template(job, "v1", json!({BEHAVIOUR: behaviour}));
        pods["spec"]["restartPolicy"] = "Never".into();
        let object = json!({"metadata": {"name": job}, "spec": {"completions": 2, "parallelism": 2, "backoffLimit": 0, "template": pods}});
        create::<Job>(&client, object).await;
        eventually(&format!("{job} {condition}"), || async {
            let conditions = api::<Job>(&client).get(job).await.ok()?.status?.conditions?;
            conditions.iter().any(|it| it.type_ == condition && it.status == "True").then_some(())
        })
        .await;
    }
    let daemon = json!({
        "metadata": {"name": "agent"},
        "spec": {"selector": {"matchLabels": {"app": "agent"}}, "template": template("agent", "v1", json!({}))},
    });
    create::<DaemonSet>(&client, daemon).await;
    let everywhere = |version: &'static str| {
        let client = client.clone();
        async move {
            eventually(&format!("{version} on all nodes"), || async {
                let pods = pods(&client, "agent").await;
                let nodes: std::collections::BTreeSet<_> = pods.iter().filter_map(node_of).collect();
                let fine = pods.iter().all(|pod| is_ready(pod) && image(pod) == version);
                (nodes.len() == 6 && pods.len() == 6 && fine).then_some(())
            })
            .await;
        }
    };
    everywhere("v1").await;
    merge::<DaemonSet>(&client, "agent", json!({"spec": {"template": template("agent", "v2", json!({}))}})).await;
    everywhere("v2").await;
    cluster.stop().await;
}

/// With one call in eight failing, answers lost, and watch events lost and doubled, everything still gets where it should.
#[tokio::test(flavor = "multi_thread")]
async fn faults_delay_but_do_not_stop() {
    for seed in 1..=3 {
        under_faults(seed).await;
    }
}

async fn under_faults(seed: u64) {
    let mut options = quick();
    options.relist = Duration::from_millis(500);
    let (cluster, client) = start(options).await;
    let faults = cluster.api.faults();
    faults.seed(seed);
    for agent in ["kube-controller-manager", "kube-scheduler", "kubelet"] {
        for action in [
            Action::error(500, "InternalError"),
            Action::conflict(),
            Action::DropAfter,
            Action::Event(EventAction::Drop),
            Action::Event(EventAction::Duplicate),
        ] {
            faults.add(Rule::new(action).agent(agent).probability(0.03));
        }
    }
    create::<Deployment>(&client, deployment(4, "v1")).await;
    create::<StatefulSet>(&client, stateful_set(2, "v1")).await;
    rolled(&client, "v1", 4).await;
    carts(&client, &[("cart-0", "v1"), ("cart-1", "v1")]).await;
    set_image(&client, "v2", json!({})).await;
    merge::<StatefulSet>(&client, "cart", json!({"spec": {"template": template("cart", "v2", json!({}))}})).await;
    rolled(&client, "v2", 4).await;
    carts(&client, &[("cart-0", "v2"), ("cart-1", "v2")]).await;
    faults.clear();
    cluster.stop().await;
}
