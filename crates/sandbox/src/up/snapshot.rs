//! What the API server says at one moment: pods, and who has which address.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use galaxy_api::{
    annotation::PodArgs,
    floatingip::{FloatingIP, OwnerReference, PodReference, State},
    names,
};
use galaxy_core::{IpRange, ReleasePolicy};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{Api, Client, ResourceExt, api::ListParams};

/// Pods and addresses.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    /// Every pod that wants a floating IP, by name.
    pub(super) pods: Vec<PodState>,
    /// Every FloatingIP object.
    pub(super) addresses: BTreeMap<IpAddr, Address>,
    /// Nodes that are not ready.
    pub(super) dead: BTreeSet<String>,
}

/// A pod.
#[derive(Clone, Debug, Default)]
pub(super) struct PodState {
    pub(super) name: String,
    pub(super) uid: String,
    /// Label `app`.
    pub(super) app: String,
    /// Image of the first container.
    pub(super) image: String,
    pub(super) node: Option<String>,
    pub(super) ready: bool,
    /// Being deleted.
    pub(super) going: bool,
    /// What it asked for, one list per address.
    pub(super) ranges: Vec<Vec<IpRange>>,
    /// The addresses that its annotation tells.
    pub(super) ips: Vec<IpAddr>,
    /// Why it has none: message of the condition that galaxy-ipam writes.
    pub(super) waits: Option<String>,
}

/// An address that has an object.
#[derive(Clone, Debug)]
pub(super) struct Address {
    pub(super) state: State,
    pub(super) policy: ReleasePolicy,
    pub(super) owner: Option<OwnerReference>,
    pub(super) pod: Option<PodReference>,
    pub(super) pool: Option<String>,
    pub(super) node: Option<String>,
    pub(super) spare: bool,
    pub(super) updated: Option<Timestamp>,
}

impl Snapshot {
    /// Looks.
    ///
    /// # Errors
    /// The API server does not answer.
    pub(super) async fn take(client: &Client) -> kube::Result<Self> {
        let all = ListParams::default();
        let (pods, addresses, nodes): (Api<Pod>, Api<FloatingIP>, Api<Node>) =
            (Api::default_namespaced(client.clone()), Api::all(client.clone()), Api::all(client.clone()));
        // Addresses first: a pod that appears later must not look like one without an object.
        let (pods, addresses) = (pods.list(&all).await?, addresses.list(&all).await?);
        let dead = nodes.list(&all).await?.into_iter().filter(|node| !is_ready(node)).map(|node| node.name_any());
        let mut pods: Vec<_> = pods.into_iter().filter(wants_address).map(PodState::from).collect();
        pods.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self {
            pods,
            addresses: addresses.into_iter().filter_map(|object| Some((object.ip()?, Address::from(object)))).collect(),
            dead: dead.collect(),
        })
    }

    /// The pods with this label `app` that are not being deleted.
    pub(super) fn live(&self, app: &str) -> Vec<&PodState> {
        self.pods.iter().filter(|pod| pod.app == app && !pod.going).collect()
    }

    /// The addresses of these pods.
    pub(super) fn ips(&self, app: &str) -> BTreeSet<IpAddr> {
        self.live(app).iter().flat_map(|pod| pod.ips.iter().copied()).collect()
    }

    /// The addresses that belong to the workload, with a pod or without.
    pub(super) fn owned(&self, workload: &str) -> BTreeSet<IpAddr> {
        self.of(|address| address.owner.as_ref().is_some_and(|owner| owner.name == workload))
    }

    /// The addresses of the pool, with a pod or without.
    pub(super) fn pooled(&self, pool: &str) -> BTreeSet<IpAddr> {
        self.of(|address| address.pool.as_deref() == Some(pool))
    }

    fn of(&self, wanted: impl Fn(&Address) -> bool) -> BTreeSet<IpAddr> {
        self.addresses.iter().filter(|(_, address)| wanted(address)).map(|(ip, _)| *ip).collect()
    }
}

impl From<Pod> for PodState {
    fn from(pod: Pod) -> Self {
        let args = pod
            .annotations()
            .get(names::ARGS_ANNOTATION)
            .and_then(|text| PodArgs::parse(text).ok())
            .unwrap_or_default();
        let spec = pod.spec.as_ref();
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        let is = |kind: &str, status: &str| conditions.iter().find(|it| it.type_ == kind && it.status == status);
        PodState {
            name: pod.name_any(),
            uid: pod.uid().unwrap_or_default(),
            app: pod.labels().get("app").cloned().unwrap_or_default(),
            image: spec.and_then(|spec| spec.containers.first()?.image.clone()).unwrap_or_default(),
            node: spec.and_then(|spec| spec.node_name.clone()),
            ready: is("Ready", "True").is_some(),
            going: pod.metadata.deletion_timestamp.is_some(),
            ips: args.ip_infos().iter().map(|info| info.ip.addr()).collect(),
            waits: is(names::POD_CONDITION, "False").and_then(|condition| condition.message.clone()),
            ranges: args.ranges,
        }
    }
}

impl From<FloatingIP> for Address {
    fn from(object: FloatingIP) -> Self {
        let spec = object.spec;
        Address {
            // An object made by hand has no state: it is a reservation.
            state: spec.state.unwrap_or(State::Reserved),
            policy: spec.release_policy().unwrap_or_default(),
            owner: spec.owner,
            pod: spec.pod,
            pool: spec.pool,
            node: spec.node,
            spare: spec.spare,
            updated: spec.update_time.map(|time| time.0),
        }
    }
}

fn wants_address(pod: &Pod) -> bool {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut requests = containers.filter_map(|container| container.resources.as_ref()?.requests.as_ref());
    requests.any(|requests| requests.contains_key(names::RESOURCE))
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().find(|condition| condition.type_ == "Ready").is_none_or(|condition| condition.status == "True")
}
