//! What must hold, by the API server's own word.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use galaxy_api::{FloatingIP, annotation::PodArgs, floatingip::State, names::ARGS_ANNOTATION};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::json;

use crate::load::{App, Kind, NAMESPACE};

/// How long the world may take to become as it shall be: more than the time between two sweeps.
pub(crate) const SETTLED: Duration = Duration::from_secs(100);

/// How long kwok has for what it does with a pod.
const NUDGE: Duration = Duration::from_secs(10);

/// The pods and their addresses at one moment.
struct Seen {
    pods: Vec<(Pod, Vec<String>)>,
}

async fn pods(client: &Client) -> Result<Seen> {
    let api: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let pods = api.list(&ListParams::default()).await?.items.into_iter().map(|pod| {
        let args = pod.annotations().get(ARGS_ANNOTATION).map(String::as_str).unwrap_or_default();
        let infos = PodArgs::parse(args).map(|args| args.ip_infos()).unwrap_or_default();
        let ips = infos.iter().map(|info| info.ip.addr().to_string()).collect();
        (pod, ips)
    });
    Ok(Seen { pods: pods.collect() })
}

/// No address is in the annotations of two pods; this holds at every moment.
///
/// # Errors
/// It is. That the API server cannot be asked is no error.
pub(crate) async fn no_address_twice(client: &Client) -> Result<()> {
    let Ok(Ok(seen)) = tokio::time::timeout(Duration::from_secs(5), pods(client)).await else { return Ok(()) };
    let mut owners: BTreeMap<&str, &Pod> = BTreeMap::new();
    for (pod, ips) in seen.pods.iter().filter(|(pod, _)| !finished(pod)) {
        for ip in ips {
            if let Some(other) = owners.insert(ip, pod) {
                let name = |pod: &Pod| format!("{} ({})", pod.name_any(), pod.uid().unwrap_or_default());
                bail!("{ip} has two owners: {} and {}", name(other), name(pod));
            }
        }
    }
    Ok(())
}

/// Waits until everything is as it shall be.
///
/// # Errors
/// What is not, after [`SETTLED`].
pub(crate) async fn settled(client: &Client, apps: &[App]) -> Result<Duration> {
    let begun = Instant::now();
    loop {
        let wrong = match wrongs(client, apps).await {
            Ok(wrongs) if wrongs.is_empty() => return Ok(begun.elapsed()),
            Ok(wrongs) => wrongs.join("\n    "),
            Err(error) => format!("{error:#}"),
        };
        no_address_twice(client).await?;
        if begun.elapsed() > SETTLED {
            bail!("after {SETTLED:?} it is still so:\n    {wrong}");
        }
        if begun.elapsed() > NUDGE {
            // That it does not work is told by what is wrong.
            let _ = nudge(client).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// kwok gives up on a pod when a call of its own fails, which a kubelet does not: it tries the end of a pod again, and the start.
async fn nudge(client: &Client) -> Result<()> {
    let api: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let over = jiff::Timestamp::now() - NUDGE;
    for pod in api.list(&ListParams::default()).await?.items.iter().filter(|pod| is_bound(pod)) {
        let (name, phase) = (pod.name_any(), pod.status.as_ref().and_then(|status| status.phase.as_deref()));
        if let Some(deletion) = &pod.metadata.deletion_timestamp {
            if deletion.0 < over {
                api.delete(&name, &DeleteParams::default().grace_period(0)).await?;
            }
        } else if phase.is_none_or(|phase| phase == "Pending") {
            let touch = json!({"metadata": {"annotations": {"chaos.test/nudged": over.to_string()}}});
            api.patch(&name, &PatchParams::default(), &Patch::Merge(touch)).await?;
        }
    }
    Ok(())
}

/// All that is not as it shall be in the end.
async fn wrongs(client: &Client, apps: &[App]) -> Result<Vec<String>> {
    let fips: Api<FloatingIP> = Api::all(client.clone());
    let seen = pods(client).await.context("pods")?;
    let fips = fips.list(&ListParams::default()).await.context("FloatingIPs")?.items;
    let mut wrongs = Vec::new();
    let of_pod: BTreeMap<String, &FloatingIP> = fips.iter().map(|fip| (fip.name_any(), fip)).collect();
    let by_uid: BTreeMap<String, &(Pod, Vec<String>)> =
        seen.pods.iter().map(|seen| (seen.0.uid().unwrap_or_default(), seen)).collect();

    // Every pod that can be served is, and its address is its own.
    for app in apps {
        let ours = seen.pods.iter().filter(|(pod, _)| pod.labels().get("app").is_some_and(|name| name == app.name));
        let bound = ours.clone().filter(|(pod, ips)| is_bound(pod) && ips.len() == 1 && !leaving(pod)).count();
        let (all, wanted) = (ours.count(), usize::try_from(app.replicas.unwrap_or(0)).unwrap_or(0));
        if (bound, all) != (wanted, wanted) {
            wrongs.push(format!(
                "{}: {wanted} pods are wanted, {all} are there, {bound} of them with an address",
                app.name
            ));
        }
    }
    for (pod, ips) in &seen.pods {
        for ip in ips {
            let owner = of_pod.get(ip).and_then(|fip| fip.spec.pod.as_ref()).map(|pod| pod.uid.clone());
            if owner != pod.uid() {
                wrongs.push(format!("{} uses {ip}, which belongs to {owner:?}", pod.name_any()));
            }
        }
    }

    // Nothing is leaked.
    let mut kept: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for fip in &fips {
        let (ip, spec) = (fip.name_any(), &fip.spec);
        if spec.state == Some(State::Bound) {
            let uid = spec.pod.as_ref().map(|pod| pod.uid.clone()).unwrap_or_default();
            if !by_uid.get(&uid).is_some_and(|(_, ips)| ips.contains(&ip)) {
                wrongs.push(format!("{ip} belongs to a pod that does not use it or is gone: {}", spec.key));
            }
        }
        let owner = spec.owner.as_ref().map(|owner| owner.name.as_str()).unwrap_or_default();
        if let Some(app) = apps.iter().find(|app| app.name == owner && !app.pooled) {
            kept.entry(app.name).or_default().insert(ip);
        }
    }
    for app in apps {
        let has = kept.get(app.name).map_or(0, BTreeSet::len);
        let most = app.most_addresses();
        if has > most {
            wrongs.push(format!(
                "{} has {has} addresses, {most} at most are right: {:?}",
                app.name,
                kept.get(app.name)
            ));
        }
    }
    Ok(wrongs)
}

impl App {
    /// How many addresses it may have when nothing moves.
    fn most_addresses(&self) -> usize {
        let replicas = self.replicas.unwrap_or(0);
        let most = match (self.policy, self.kind) {
            // A spare beside its replicas; none without any.
            ("immutable", Kind::Deployment) if replicas > 0 => replicas + 1,
            ("never", Kind::Deployment) => self.peak + 1,
            ("never", Kind::StatefulSet) => self.peak,
            _ => replicas,
        };
        usize::try_from(most).unwrap_or(0)
    }
}

fn finished(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
    matches!(phase, "Succeeded" | "Failed")
}

fn is_bound(pod: &Pod) -> bool {
    pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some())
}

fn leaving(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}
