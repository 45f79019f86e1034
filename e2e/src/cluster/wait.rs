//! Waiting for a condition, with a deadline and an account of what was there instead.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use galaxy_api::floatingip::State;
use k8s_openapi::api::core::v1::Event;
use kube::{Api, api::ListParams};

use super::{Cluster, Seen, SeenAddress, SeenCondition, SeenPod};
use crate::workload::Workload;

/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(25);
/// How many of the newest events an account has.
const EVENTS: usize = 20;

impl Cluster {
    /// The cluster at this moment.
    ///
    /// # Errors
    /// The API server does not answer.
    pub async fn see(&self) -> Result<Seen> {
        Ok(Seen::read(&self.client).await?)
    }

    /// Looks until `find` finds something.
    ///
    /// # Errors
    /// The backend's patience is over; the text shows the cluster. Or two pods had one address at some moment.
    pub async fn wait<T>(&self, what: impl AsRef<str>, mut find: impl FnMut(&Seen) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + self.backend.patience();
        loop {
            let start = Instant::now();
            let seen = self.see().await?;
            // A large cluster takes long to look at, and has other things to do.
            let pause = LOOK.max(start.elapsed() * 2);
            self.sound()?;
            if let Some(found) = find(&seen) {
                return Ok(found);
            }
            if Instant::now() >= deadline {
                bail!("still not so: {}\n{}", what.as_ref(), self.account(&seen).await);
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Looks until `is` is true.
    ///
    /// # Errors
    /// As [`Cluster::wait`].
    pub async fn until(&self, what: impl AsRef<str>, mut is: impl FnMut(&Seen) -> bool) -> Result<()> {
        self.wait(what, |seen| is(seen).then_some(())).await
    }

    /// Asks again until `ask` answers something, for what is not in [`Seen`].
    ///
    /// # Errors
    /// As [`Cluster::wait`], or `ask` failed.
    pub async fn poll<T, F>(&self, what: impl AsRef<str>, mut ask: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<Option<T>>>,
    {
        let deadline = Instant::now() + self.backend.patience();
        loop {
            if let Some(found) = ask().await? {
                return Ok(found);
            }
            if Instant::now() >= deadline {
                bail!("still not so: {}\n{}", what.as_ref(), self.account(&self.see().await?).await);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until the workload has all its pods up, of its present version and with addresses, and no others.
    /// They come sorted by name.
    ///
    /// # Errors
    /// As [`Cluster::wait`].
    pub async fn up(&self, workload: &Workload) -> Result<Vec<SeenPod>> {
        let what = format!("{} pods of {} are up", workload.wanted(), workload.name);
        self.wait(what, |seen| is_up(seen, workload)).await
    }

    /// The addresses of a workload whose pods are all up, sorted.
    ///
    /// # Errors
    /// As [`Cluster::wait`].
    pub async fn ips(&self, workload: &Workload) -> Result<BTreeSet<String>> {
        Ok(self.up(workload).await?.into_iter().flat_map(|pod| pod.ips).collect())
    }

    /// The address of the only pod of a workload.
    ///
    /// # Errors
    /// As [`Cluster::wait`].
    pub async fn ip(&self, workload: &Workload) -> Result<String> {
        let pods = self.up(workload).await?;
        anyhow::ensure!(pods.len() == 1, "{} has {} pods", workload.name, pods.len());
        Ok(pods[0].ip().to_owned())
    }

    /// Waits until the workload has no pods.
    ///
    /// # Errors
    /// As [`Cluster::wait`].
    pub async fn no_pods(&self, workload: &Workload) -> Result<()> {
        self.until(format!("{} has no pods", workload.name), |seen| seen.of(workload).is_empty()).await
    }

    /// Waits until a pod in `default` waits for this reason, and returns its condition.
    ///
    /// # Errors
    /// As [`Cluster::wait`].
    pub async fn waits(&self, pod: &str, reason: &str) -> Result<SeenCondition> {
        self.wait(format!("pod {pod} waits for {reason}"), |seen| {
            let pod = seen.pod(pod)?;
            pod.floating.clone().filter(|_| pod.waits_for() == reason && pod.node.is_empty())
        })
        .await
    }

    /// Waits until some pod of the workload waits for this reason, and returns it.
    ///
    /// # Errors
    /// As [`Cluster::wait`].
    pub async fn one_waits(&self, workload: &Workload, reason: &str) -> Result<SeenPod> {
        self.wait(format!("a pod of {} waits for {reason}", workload.name), |seen| {
            seen.of(workload).into_iter().find(|pod| pod.waits_for() == reason && pod.node.is_empty()).cloned()
        })
        .await
    }

    /// Waits until nobody has the address and it is kept for nobody.
    ///
    /// # Errors
    /// As [`Cluster::wait`].
    pub async fn free(&self, ip: &str) -> Result<()> {
        self.until(format!("{ip} is free"), |seen| seen.is_free(ip)).await
    }

    /// Waits until the address is reserved.
    ///
    /// # Errors
    /// As [`Cluster::wait`].
    pub async fn reserved(&self, ip: &str) -> Result<()> {
        self.until(format!("{ip} is reserved"), |seen| seen.state(ip) == Some(State::Reserved)).await
    }

    /// Waits until pods and objects agree: what a bound pod has is its own, and every owner is there.
    ///
    /// # Errors
    /// As [`Cluster::wait`].
    pub async fn agree(&self) -> Result<()> {
        self.until("pods and FloatingIPs agree", |seen| disagreements(seen).is_empty()).await
    }

    /// The end of a scenario: pods and objects agree, no address ever had two pods, the ledger's books are in order.
    ///
    /// # Errors
    /// As [`Cluster::wait`].
    pub async fn settled(&self) -> Result<()> {
        self.agree().await?;
        self.backend.check();
        self.sound()
    }

    /// Whether at every moment every address had one pod at most.
    ///
    /// # Errors
    /// It had not.
    pub fn sound(&self) -> Result<()> {
        let broken = self.audit.broken();
        anyhow::ensure!(broken.is_empty(), "an address had two owners: {}", broken.join("; "));
        Ok(())
    }

    /// The most addresses that pods of the workload had at any moment.
    pub fn most_addresses(&self, workload: &Workload) -> usize {
        let kind = workload.kind.resource().kind;
        self.audit.most(&format!("{kind} {}/{}", workload.namespace, workload.name))
    }

    /// The cluster and its newest events, as text.
    pub async fn account(&self, seen: &Seen) -> String {
        let mut text = seen.to_string();
        let events = Api::<Event>::all(self.client.clone()).list(&ListParams::default()).await;
        let mut events = events.map(|list| list.items).unwrap_or_default();
        events.sort_by_key(|event| event.metadata.resource_version.as_deref().and_then(|it| it.parse::<u64>().ok()));
        text += "newest events:\n";
        for event in events.iter().rev().take(EVENTS).rev() {
            let about = &event.involved_object;
            let (kind, name) = (about.kind.as_deref().unwrap_or(""), about.name.as_deref().unwrap_or(""));
            let (reason, message) = (event.reason.as_deref().unwrap_or(""), event.message.as_deref().unwrap_or(""));
            text += &format!("  {kind} {name}: {reason}: {message}\n");
        }
        for disagreement in disagreements(seen) {
            text += &format!("{disagreement}\n");
        }
        text
    }
}

fn is_up(seen: &Seen, workload: &Workload) -> Option<Vec<SeenPod>> {
    let pods = seen.of(workload);
    let right =
        |pod: &&SeenPod| pod.is_up() && pod.image == workload.current_image() && (!pod.wants || !pod.ips.is_empty());
    let all = pods.len() == workload.wanted() && pods.iter().all(right);
    all.then(|| pods.into_iter().cloned().collect())
}

/// Where bound pods and FloatingIPs contradict each other.
pub(crate) fn disagreements(seen: &Seen) -> Vec<String> {
    let mut found = Vec::new();
    for pod in seen.pods.iter().filter(|pod| pod.wants && !pod.node.is_empty() && !pod.is_finished()) {
        if pod.ips.is_empty() {
            found.push(format!("pod {} is bound without an address", pod.name));
        }
        for ip in &pod.ips {
            match seen.addresses.get(ip) {
                None => found.push(format!("{ip} of pod {} has no object", pod.name)),
                Some(address) if address.pod_uid() != pod.uid => {
                    found.push(format!("{ip} of pod {} belongs to uid {:?}", pod.name, address.pod_uid()));
                }
                Some(address) if address.node() != pod.node => {
                    found.push(format!("{ip} of pod {} on {} is recorded on {:?}", pod.name, pod.node, address.node()));
                }
                Some(_) => {}
            }
        }
    }
    let bound =
        |address: &&SeenAddress| address.state() == Some(State::Bound) && !address.object.is_reserved_by_admin();
    for address in seen.addresses.values().filter(bound) {
        let owner = seen.pods.iter().find(|pod| pod.uid == address.pod_uid() && !pod.is_finished());
        match owner {
            None => found.push(format!("{} belongs to a pod that is gone: {}", address.ip, address.key())),
            Some(pod) if !pod.node.is_empty() && !pod.ips.contains(&address.ip) => {
                found.push(format!("{} belongs to pod {}, which does not use it", address.ip, pod.name));
            }
            Some(_) => {}
        }
    }
    found
}
