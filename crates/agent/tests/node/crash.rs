//! The agent is killed at any point; the next one finishes.

use std::time::Duration;

use galaxy_cni::netlink::Netns;

use crate::lab::{Call, Lab, eventually, root};

/// Restarts in the middle of ADD and DEL lose nothing: the runtime's DEL, or its next ADD, ends well.
#[tokio::test(flavor = "multi_thread")]
async fn kill_9_at_random_points() {
    if !root() {
        return;
    }
    let mut lab = Lab::new().await;
    for round in 0..24u64 {
        lab.start_process().await;
        let netns = Netns::make().unwrap();
        let ip = format!("10.0.0.{}", 20 + round);
        let pod = lab.confirmed(&format!("p{round}"), &[&ip]).await;
        let call = Call::new(&format!("c{round}"), &netns, &pod);
        let command = if round % 3 == 2 { "DEL" } else { "ADD" };
        if command == "DEL" {
            lab.add(&call).await;
        }
        // From before the call to well after it, in steps that no machine repeats exactly.
        let (socket, body) = (lab.dir.join("galaxy.sock"), call.body(command));
        let caller = std::thread::spawn(move || crate::wire::post(&socket, &body));
        tokio::time::sleep(Duration::from_micros(round * 700)).await;
        lab.kill();
        let _ = caller.join();
        lab.start_process().await;
        if round % 2 == 0 {
            // The runtime gives this sandbox up and makes another, for the same pod.
            lab.del(&call).await;
            let next = Call { id: format!("n{round}"), ..call.clone() };
            lab.add(&next).await;
            assert!(lab.answers(&ip, Duration::from_secs(3)), "round {round}");
            lab.del(&call.late()).await;
            lab.call(&next, "CHECK").await.unwrap();
            lab.del(&next).await;
        } else {
            lab.add(&call).await;
            lab.call(&call, "CHECK").await.unwrap();
            assert!(lab.answers(&ip, Duration::from_secs(3)), "round {round}");
            lab.del(&call).await;
        }
        assert_eq!(lab.traces(), Vec::<String>::new(), "round {round}");
        eventually("condemned devices are gone", async || (lab.condemned() == 0).then_some(())).await;
        lab.kill();
    }
}

/// Devices that wait to be deleted are deleted by the next agent.
#[tokio::test(flavor = "multi_thread")]
async fn condemned_devices_survive_no_restart() {
    if !root() {
        return;
    }
    let mut lab = Lab::new().await;
    lab.start_process().await;
    let netns = Netns::make().unwrap();
    let pod = lab.confirmed("web", &["10.0.0.20"]).await;
    let call = Call::new("c1", &netns, &pod);
    lab.add(&call).await;
    lab.del(&call).await;
    lab.kill();
    assert!(!lab.answers("10.0.0.20", Duration::from_millis(100)));
    lab.start_process().await;
    eventually("the device is gone", async || (lab.condemned() == 0).then_some(())).await;
    assert_eq!(lab.host.links().unwrap().len(), 2);
}

/// A second agent waits for the first, and takes over its socket.
#[tokio::test(flavor = "multi_thread")]
async fn one_agent_at_a_time() {
    if !root() {
        return;
    }
    let mut lab = Lab::new().await;
    lab.start_process().await;
    let netns = Netns::make().unwrap();
    let pod = lab.confirmed("web", &["10.0.0.20"]).await;
    let call = Call::new("c1", &netns, &pod);
    let first = lab.add(&call).await;
    let pid_file = lab.dir.join("galaxy.sock");
    let before = std::fs::metadata(&pid_file).unwrap();
    let dying = lab.take_child();
    let waiting = tokio::time::timeout(Duration::from_millis(500), lab.start()).await;
    assert!(waiting.is_err(), "two agents would work on the same sandboxes");
    drop(dying);
    lab.start().await;
    let after = std::fs::metadata(&pid_file).unwrap();
    assert_ne!(std::os::unix::fs::MetadataExt::ino(&before), std::os::unix::fs::MetadataExt::ino(&after));
    assert_eq!(lab.add(&call).await, first);
}
