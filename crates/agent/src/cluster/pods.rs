//! The pod of a call: the one with that very uid, as soon as it has its addresses.

use std::time::Duration;

use galaxy_api::annotation::PodArgs;
use galaxy_cni::spec::{Error, code};
use k8s_openapi::api::core::v1 as core;
use kube::Api;
use tokio::{select, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{Cluster, Pod, watch::chain};

/// Longest wait for one answer of the API server.
const ANSWER: Duration = Duration::from_secs(3);

/// The pod that a call is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct PodRef {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Uid; empty where the runtime does not say it.
    pub uid: String,
}

impl std::fmt::Display for PodRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What is known about the pod right now.
enum Look {
    Ready(Pod),
    /// Why not yet.
    NotYet(String),
    /// Another pod has its name.
    Other(String),
}

fn look(wanted: &PodRef, pod: Option<Pod>, node: &str) -> Look {
    let Some(pod) = pod else { return Look::NotYet(format!("pod {wanted} does not exist")) };
    if !wanted.uid.is_empty() && !pod.is(&wanted.uid) {
        let (sandbox, now) = (&wanted.uid, &pod.uid);
        return Look::Other(format!("pod {wanted} has uid {now} now, but this sandbox was made for uid {sandbox}"));
    }
    if pod.node != node {
        return Look::NotYet(format!("pod {wanted} (uid {}) is bound to node {:?}, not to {node}", pod.uid, pod.node));
    }
    // What makes no sense will not get better by waiting.
    let has = PodArgs::parse(&pod.args).map_or(true, |args| !args.ip_infos().is_empty());
    if pod.wants_ip && !has {
        let uid = &pod.uid;
        let way = "is galaxy-ipam the one who bound it?";
        return Look::NotYet(format!(
            "pod {wanted} (uid {uid}) wants a floating IP and has none in its annotation; {way}"
        ));
    }
    Look::Ready(pod)
}

impl Cluster {
    /// The pod with its addresses, if it wants any.
    ///
    /// # Errors
    /// It does not come in time, or it is not the pod that the sandbox was made for. `cancel` ends the waiting.
    pub async fn pod(&self, wanted: &PodRef, patience: Duration, cancel: &CancellationToken) -> Result<Pod, Error> {
        let deadline = Instant::now() + patience;
        let mut changed = self.changed.subscribe();
        let mut asked = false;
        loop {
            changed.borrow_and_update();
            // Without a uid a cache may show the pod before.
            let cached = if wanted.uid.is_empty() { None } else { self.cached(wanted) };
            let mut reason = match look(wanted, cached, &self.node) {
                Look::Ready(pod) => return Ok(pod),
                Look::NotYet(why) | Look::Other(why) => why,
            };
            // The watch may lag behind; the API server itself does not.
            if !std::mem::replace(&mut asked, !wanted.uid.is_empty()) {
                match self.ask(wanted, deadline).await.map(|pod| look(wanted, pod, &self.node)) {
                    Ok(Look::Ready(pod)) => return Ok(pod),
                    Ok(Look::Other(why)) => return Err(Error::new(code::UNKNOWN_CONTAINER, why)),
                    Ok(Look::NotYet(why)) | Err(why) => reason = why,
                }
            }
            select! {
                // The sender lives as long as this.
                _ = changed.changed() => {}
                () = tokio::time::sleep_until(deadline) => {
                    return Err(Error::new(code::TRY_AGAIN, format!("{reason} (waited {patience:?})")));
                }
                () = cancel.cancelled() => {
                    let msg = format!("pod {wanted}: its sandbox was deleted while it waited for its addresses");
                    return Err(Error::new(code::UNKNOWN_CONTAINER, msg));
                }
            }
        }
    }

    fn cached(&self, wanted: &PodRef) -> Option<Pod> {
        self.known().pods.get(&(wanted.namespace.clone(), wanted.name.clone())).cloned()
    }

    /// The pod as the API server has it now.
    async fn ask(&self, wanted: &PodRef, deadline: Instant) -> Result<Option<Pod>, String> {
        let api: Api<core::Pod> = Api::namespaced(self.client.clone(), &wanted.namespace);
        let deadline = deadline.min(Instant::now() + ANSWER);
        match tokio::time::timeout_at(deadline, api.get_opt(&wanted.name)).await {
            Ok(Ok(pod)) => Ok(pod.as_ref().map(Pod::read)),
            Ok(Err(error)) => Err(format!("pod {wanted}: cannot ask the API server for it: {}", chain(&error))),
            Err(_) => Err(format!("pod {wanted}: the API server does not answer")),
        }
    }
}
