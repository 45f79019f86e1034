//! Pods as network namespaces: who answers on an address, and who does not any more.

use std::{
    collections::BTreeMap,
    io::Write,
    net::IpAddr,
    time::{Duration, Instant},
};

use galaxy_cni::netlink::Netns;
use galaxy_sandbox::{
    nodes::floating_ips,
    underlay::{Answer, greeting},
    up::{Agents, Ports, World, examples},
};
use k8s_openapi::api::{apps::v1::StatefulSet, core::v1::Pod};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, PostParams},
};

const PATIENCE: Duration = Duration::from_secs(30);

async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(begin.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// The addresses of pods on real nodes, and what each must answer.
fn expected(world: &World, pods: &[Pod]) -> Vec<(IpAddr, String)> {
    let underlay = world.underlay().unwrap();
    let mut all = Vec::new();
    for pod in pods {
        let node = pod.spec.as_ref().unwrap().node_name.as_deref().unwrap();
        if underlay.has(node) {
            let said = greeting(&pod.name_any(), &pod.uid().unwrap(), node);
            all.extend(floating_ips(pod).into_iter().map(|ip| (ip, said.clone())));
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_answer_as_themselves_and_not_after_their_end() {
    if Netns::make().is_err() {
        let line = "\nSKIPPED 1 test of the sandbox's underlay that needs root\n";
        let _ = std::io::stderr().write_all(line.as_bytes());
        return;
    }
    let program = env!("CARGO_BIN_EXE_galaxy-sandbox").into();
    let agents = Agents { program, log_level: "error".to_owned() };
    let world = World::start(Ports::default(), None, Some(agents)).await.unwrap();
    let underlay = world.underlay().expect("this user can make namespaces");
    let sets: Api<StatefulSet> = Api::default_namespaced(world.client());
    let pods: Api<Pod> = Api::default_namespaced(world.client());
    let object = examples::objects("statefulset.yaml").unwrap().remove(0);
    let set: StatefulSet = object.try_parse().unwrap();
    sets.create(&PostParams::default(), &set).await.unwrap();
    let ready = async || {
        let list = pods.list(&Default::default()).await.unwrap().items;
        (list.len() == 3 && list.iter().all(is_ready)).then_some(list)
    };
    let first = eventually("three pods", ready).await;
    let wanted = expected(&world, &first);
    assert!(!wanted.is_empty(), "all pods are on made-up nodes");
    let failed = |answers: BTreeMap<IpAddr, Answer>| answers.into_values().filter_map(Answer::err).collect::<Vec<_>>();
    // Whoever is reported ready answers at once.
    assert_eq!(failed(underlay.ask(wanted.clone()).await), [""; 0]);

    // The answer of somebody else is none.
    let (ip, said) = wanted[0].clone();
    let wrong = failed(underlay.ask(vec![(ip, said.replace("pod sts-", "pod other-"))]).await);
    assert!(wrong.len() == 1 && wrong[0].contains("instead of"), "{wrong:?}");

    // A pod that is deleted by force does not answer any more when its successor has the address.
    let victim = first.iter().find(|pod| floating_ips(pod).contains(&ip)).unwrap();
    let force = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    pods.delete(&victim.name_any(), &force).await.unwrap();
    let again = async || ready().await.filter(|list| list.iter().all(|pod| pod.uid() != victim.uid()));
    let second = eventually("its successor", again).await;
    assert!(second.iter().any(|pod| pod.name_any() == victim.name_any() && floating_ips(pod).contains(&ip)));
    let answer = async || failed(underlay.ask(expected(&world, &second)).await).is_empty().then_some(());
    eventually("all answer as the pods that have the addresses now", answer).await;

    // Nobody has them in the end.
    sets.delete("sts", &DeleteParams::background()).await.unwrap();
    eventually("no pods", async || pods.list(&Default::default()).await.unwrap().items.is_empty().then_some(())).await;
    let silent = async || failed(underlay.ask(wanted.clone()).await).len() == wanted.len();
    eventually("silence", async || silent().await.then_some(())).await;
    world.stop().await.unwrap();
}
