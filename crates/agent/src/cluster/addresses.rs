//! Confirmation: a pod's annotation is a claim, its FloatingIPs are the proof.

use std::{net::IpAddr, time::Duration};

use galaxy_api::{
    annotation::{IpInfo, PodArgs},
    floatingip::FloatingIP,
};
use galaxy_cni::spec::{Error, code};
use galaxy_core::addr;
use kube::Api;

use super::{Cluster, Holder, Pod, watch::chain};

/// Longest wait for one answer of the API server.
const ANSWER: Duration = Duration::from_secs(3);

impl Cluster {
    /// The addresses of a pod in the order of its annotation, each confirmed by its FloatingIP, which also says subnet,
    /// gateway and VLAN. Empty if the annotation names none.
    ///
    /// # Errors
    /// The annotation makes no sense, an address is not the pod's, or that cannot be found out.
    pub async fn addresses(&self, pod: &Pod, args: &PodArgs) -> Result<Vec<IpInfo>, Error> {
        let mut confirmed: Vec<IpInfo> = Vec::new();
        for info in args.ip_infos() {
            let ip = info.ip.addr();
            let known = self.known().addresses.get(&ip).filter(|holder| holder.confirms(&pod.uid, &self.node)).cloned();
            let holder = match known {
                Some(holder) => holder,
                None => self.confirm(pod, ip).await?,
            };
            confirmed.push(IpInfo {
                ip: holder.address.unwrap_or(info.ip),
                vlan: holder.vlan.unwrap_or(info.vlan),
                gateway: holder.gateway.unwrap_or(info.gateway),
            });
        }
        Ok(confirmed)
    }

    /// Asks the API server itself: the watch may lag, and old objects do not name their node where a watch selects by it.
    async fn confirm(&self, pod: &Pod, ip: IpAddr) -> Result<Holder, Error> {
        let who = format!("pod {}/{} (uid {}, node {})", pod.namespace, pod.name, pod.uid, self.node);
        let name = addr::object_name(ip);
        let api: Api<FloatingIP> = Api::all(self.client.clone());
        let answer = match tokio::time::timeout(ANSWER, api.get_opt(&name)).await {
            Ok(answer) => answer.map_err(|error| chain(&error)),
            Err(_) => Err("it does not answer".to_owned()),
        };
        let object = answer.map_err(|why| {
            let msg = format!(
                "address {ip} of {who} cannot be confirmed: cannot ask the API server for FloatingIP {name}: {why}"
            );
            Error::new(code::TRY_AGAIN, msg)
        })?;
        let holder = object.as_ref().and_then(Holder::read).map(|(_, holder)| holder);
        if let Some(holder) = holder.as_ref().filter(|holder| holder.confirms(&pod.uid, &self.node)) {
            return Ok(holder.clone());
        }
        self.metrics.conflict("unconfirmed");
        let truth = match holder {
            None => format!("there is no FloatingIP {name}"),
            Some(holder) if holder.uid.is_empty() => {
                format!("FloatingIP {name} is kept for {:?} and belongs to no pod", holder.pod)
            }
            Some(holder) => {
                let Holder { pod, uid, node, held, .. } = holder;
                let verb = if held { "belongs" } else { "belonged" };
                format!("FloatingIP {name} {verb} to pod {pod} (uid {uid}, node {node})")
            }
        };
        let way = "delete the pod, so that galaxy-ipam binds its successor";
        Err(Error::new(code::ADDRESS_CONFLICT, format!("address {ip} is not confirmed for {who}: {truth}; {way}")))
    }
}
