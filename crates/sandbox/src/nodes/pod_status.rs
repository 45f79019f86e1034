//! What a kubelet reports of a pod.

use std::{net::IpAddr, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::{
    clock::after,
    control::{meta::Meta, pods},
};

/// The annotation by which a pod says how it fares; see [`Behaviour`].
pub const BEHAVIOUR: &str = "sandbox.galaxy/behaviour";
/// The annotation that carries the floating IPs.
const CNI_ARGS: &str = "k8s.v1.cni.galaxy.io/args";
/// How long a container stays down after each crash.
const CRASH_PERIOD: Duration = Duration::from_secs(10);

/// How a pod fares on its node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Behaviour {
    /// It becomes ready and runs until it is deleted.
    #[default]
    Run,
    /// `never-ready`: it runs but never becomes ready.
    NeverReady,
    /// `crash`: its containers crash again and again.
    Crash,
    /// `complete`: after a while it succeeds.
    Complete,
    /// `fail`: after a while it fails.
    Fail,
}

impl Behaviour {
    /// What the pod's annotation says; anything unknown is [`Behaviour::Run`].
    pub fn of(pod: &Pod) -> Self {
        match pod.annotation(BEHAVIOUR) {
            Some("never-ready") => Self::NeverReady,
            Some("crash") => Self::Crash,
            Some("complete") => Self::Complete,
            Some("fail") => Self::Fail,
            _ => Self::Run,
        }
    }
}

/// The addresses that galaxy-ipam wrote into the pod's annotation.
pub fn floating_ips(pod: &Pod) -> Vec<IpAddr> {
    let annotation = pod.annotation(CNI_ARGS).unwrap_or_default();
    let args: Value = serde_json::from_str(annotation).unwrap_or_default();
    let infos = args["common"]["ipinfos"].as_array().into_iter().flatten();
    let addresses = infos.filter_map(|info| info["ip"].as_str()?.split('/').next()?.parse().ok());
    addresses.collect()
}

/// What a report is made of.
#[derive(Clone, Debug)]
pub(super) struct Report {
    phase: &'static str,
    ready: bool,
    ips: Vec<IpAddr>,
    host_ip: Option<IpAddr>,
    restarts: i32,
    started: Timestamp,
    container: Container,
    /// When the report will change by itself.
    pub(super) again: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Container {
    Running,
    CrashLoop,
    Exited(i32),
}

impl Report {
    /// The report at `now` on a pod that was started at `started`. A pod that completes or fails does so `lifetime` later.
    pub(super) fn new(
        behaviour: Behaviour,
        ips: Vec<IpAddr>,
        host_ip: Option<IpAddr>,
        started: Timestamp,
        lifetime: Duration,
        now: Timestamp,
    ) -> Self {
        let mut report = Self {
            phase: "Running",
            ready: true,
            ips,
            host_ip,
            restarts: 0,
            started,
            container: Container::Running,
            again: None,
        };
        let age = Duration::try_from(now.duration_since(started)).unwrap_or_default();
        match behaviour {
            Behaviour::Run => {}
            Behaviour::NeverReady => report.ready = false,
            Behaviour::Crash => {
                let crashes = age.as_secs() / CRASH_PERIOD.as_secs();
                report.ready = false;
                report.container = Container::CrashLoop;
                report.restarts = i32::try_from(crashes).unwrap_or(i32::MAX).saturating_add(1);
                let next = CRASH_PERIOD * u32::try_from(crashes + 1).unwrap_or(u32::MAX);
                report.again = Some(next.saturating_sub(age));
            }
            Behaviour::Complete | Behaviour::Fail if age < lifetime => report.again = Some(lifetime - age),
            Behaviour::Complete => report.end("Succeeded", 0),
            Behaviour::Fail => report.end("Failed", 1),
        }
        report
    }

    /// The last report on a pod that was stopped as asked.
    pub(super) fn stopped(mut self) -> Self {
        self.end("Succeeded", 0);
        self.again = None;
        self
    }

    /// Whether the pod has ended.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.container, Container::Exited(_))
    }

    fn end(&mut self, phase: &'static str, code: i32) {
        self.phase = phase;
        self.ready = false;
        self.container = Container::Exited(code);
    }

    /// Whether the pod's status says all this already.
    pub(super) fn is_said_by(&self, pod: &Pod) -> bool {
        let Some(status) = &pod.status else { return false };
        let ips = status.pod_ips.iter().flatten().map(|ip| ip.ip.clone());
        let containers = status.container_statuses.as_deref().unwrap_or_default();
        let expected = pod.spec.as_ref().map_or(0, |spec| spec.containers.len());
        pods::phase(pod) == self.phase
            && pods::is_ready(pod) == self.ready
            && pods::condition(pod, "Ready").is_some()
            && ips.eq(self.ips.iter().map(ToString::to_string))
            && containers.len() == expected
            && containers.iter().all(|it| it.ready == self.ready && it.restart_count == self.restarts)
    }

    /// The status patch that says it.
    pub(super) fn patch(&self, pod: &Pod, now: Timestamp) -> Value {
        let time = |at| json!(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at));
        let flag = |flag| if flag { "True" } else { "False" };
        let (down, over) = match self.container {
            Container::Exited(_) => (Some("PodCompleted"), true),
            _ => (Some("ContainersNotReady"), false),
        };
        let unready = down.filter(|_| !self.ready);
        let message = unready.filter(|_| !over).map(|_| "containers with unready status");
        let conditions = [
            pods::condition_patch(pod, "PodReadyToStartContainers", flag(!over), None, None, now),
            pods::condition_patch(pod, "Initialized", "True", None, None, now),
            pods::condition_patch(pod, "Ready", flag(self.ready), unready, message, now),
            pods::condition_patch(pod, "ContainersReady", flag(self.ready), unready, message, now),
        ];
        let state = match self.container {
            Container::Running => json!({"running": {"startedAt": time(self.started)}}),
            Container::CrashLoop => {
                json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off restarting failed container"}})
            }
            Container::Exited(code) => {
                let reason = if code == 0 { "Completed" } else { "Error" };
                json!({"terminated": {"exitCode": code, "reason": reason, "startedAt": time(self.started), "finishedAt": time(now)}})
            }
        };
        let last = match self.container {
            Container::CrashLoop => {
                let crashed = after(self.started, CRASH_PERIOD * u32::try_from(self.restarts - 1).unwrap_or(0));
                json!({"terminated": {"exitCode": 1, "reason": "Error", "finishedAt": time(crashed)}})
            }
            _ => json!({}),
        };
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        let containers: Vec<Value> = containers
            .map(|container| {
                json!({
                    "name": container.name, "image": container.image.as_deref().unwrap_or_default(), "imageID": "",
                    "containerID": format!("sandbox://{}-{}-{}", pod.uid(), container.name, self.restarts),
                    "ready": self.ready, "started": self.container == Container::Running,
                    "restartCount": self.restarts, "state": state, "lastState": last,
                })
            })
            .collect();
        let ips: Vec<Value> = self.ips.iter().map(|ip| json!({"ip": ip})).collect();
        json!({"metadata": {"uid": pod.uid()}, "status": {
            "phase": self.phase,
            "startTime": time(self.started),
            "conditions": conditions,
            "containerStatuses": containers,
            "hostIP": self.host_ip,
            "hostIPs": self.host_ip.iter().map(|ip| json!({"ip": ip})).collect::<Vec<_>>(),
            "podIP": self.ips.first(),
            "podIPs": ips,
        }})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(annotations: Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "uid": "u", "annotations": annotations},
            "spec": {"containers": [{"name": "c"}]},
        }))
        .unwrap()
    }

    #[test]
    fn addresses_come_from_the_annotation() {
        let args = r#"{"common":{"ipinfos":[{"ip":"10.0.0.200/24","vlan":0,"gateway":"10.0.0.1"},{"ip":"fd00::2/64"},{"ip":"x"}]}}"#;
        let found: Vec<_> = floating_ips(&pod(json!({CNI_ARGS: args}))).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["10.0.0.200", "fd00::2"]);
        assert!(floating_ips(&pod(json!({CNI_ARGS: "{"}))).is_empty());
        assert!(floating_ips(&pod(json!({}))).is_empty());
    }

    #[test]
    fn pods_fare_as_they_say() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let lifetime = Duration::from_secs(5);
        for (behaviour, age, phase, ready, restarts, again) in [
            ("", 100, "Running", true, 0, None),
            ("never-ready", 100, "Running", false, 0, None),
            ("crash", 0, "Running", false, 1, Some(10)),
            ("crash", 25, "Running", false, 3, Some(5)),
            ("complete", 1, "Running", true, 0, Some(4)),
            ("complete", 5, "Succeeded", false, 0, None),
            ("fail", 5, "Failed", false, 0, None),
        ] {
            let pod = pod(json!({BEHAVIOUR: behaviour}));
            let report = Report::new(Behaviour::of(&pod), Vec::new(), None, at(0), lifetime, at(age));
            let seen = (report.phase, report.ready, report.restarts, report.again.map(|again| again.as_secs()));
            assert_eq!(seen, (phase, ready, restarts, again), "{behaviour} after {age} s");
            let mut reported = pod.clone();
            reported.status = serde_json::from_value(report.patch(&pod, at(age))["status"].clone()).unwrap();
            assert!(report.is_said_by(&reported) && !report.is_said_by(&pod), "{behaviour}");
        }
    }
}
