//! The scheduler's read-only calls: filter, preempt, prioritize. Nothing here writes to the API (rule 11).

use super::Ledger;
use super::ids::Time;
use super::pods::{Hold, Stage};
use super::promises::Promises;
use super::refusal::{NO_FIP_CONFIG_NODE, NO_FIP_LEFT, UNKNOWN_NODE};
use super::space::Class;
use super::verdict::{Filtered, Reason, Refusal};
use super::view::{Offer, PodView};
use crate::policy::ReleasePolicy;

/// From this many offered nodes on, the offer may be a sample of the nodes that fit.
const SAMPLE: usize = 100;

/// What is known of an offered node before the pod is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Class(Class),
    NotConfigured,
    Unknown,
}

impl Ledger {
    fn place(&mut self, offer: &Offer<'_>) -> Place {
        let known = self.nodes.get(offer.name);
        match (&offer.ips, known) {
            (Some(ips), known) => {
                if known.is_none_or(|node| &node.view.ips != ips) {
                    return match self.space.class_of(ips) {
                        _ if ips.is_empty() => Place::Unknown,
                        Some(class) => Place::Class(class),
                        None => Place::NotConfigured,
                    };
                }
                known.and_then(|node| node.class).map_or(Place::NotConfigured, Place::Class)
            }
            (None, Some(node)) if !node.view.ips.is_empty() => node.class.map_or(Place::NotConfigured, Place::Class),
            (None, _) => Place::Unknown,
        }
    }

    /// Which of the offered nodes can still give the pod its addresses.
    pub fn filter(&mut self, now: Time, view: &PodView, offers: &[Offer<'_>]) -> Filtered {
        if let Err(why) = self.readiness() {
            return Filtered::NotNow(format!("galaxy-ipam cannot decide now: {why}"));
        }
        let uid = &view.uid;
        self.meet(now, view);
        if self.pods.get(uid).is_none() {
            return Filtered::NotNow(format!("pod {}/{} with uid {uid} is gone", view.namespace, view.name));
        }
        // Each filter starts anew: what the last one held is up for this one.
        let held = self.pods.get(uid).is_some_and(|pod| pod.hold.is_some());
        self.set_hold(uid, None);
        let places: Vec<Place> = offers.iter().map(|offer| self.place(offer)).collect();
        let mut classes: Vec<Class> = places
            .iter()
            .filter_map(|place| if let Place::Class(class) = place { Some(*class) } else { None })
            .collect();
        classes.sort_unstable();
        classes.dedup();
        if let Some(answer) = self.only_node_of_bind(view, offers) {
            return answer;
        }
        let Some(pod) = self.pods.get(uid) else { return Filtered::NotNow("the pod is gone".to_owned()) };
        let result = self.evaluate(pod, &classes, &Promises::default());
        let mut refusals = Vec::new();
        let mut index = |refusal: Refusal| match refusals.iter().position(|known: &Refusal| known.text == refusal.text)
        {
            Some(at) => at,
            None => {
                refusals.push(refusal);
                refusals.len() - 1
            }
        };
        let (served, refusal) = match result {
            Ok(offer) => {
                let elsewhere = if offer.reuse.is_some()
                    || self.has_address(uid)
                    || self.kept_by_name(pod).is_ok_and(|k| !k.is_empty())
                {
                    "the address reserved for the pod is on other subnets than this node's"
                } else {
                    "no address is left in this node's subnets"
                };
                let refusal = Refusal {
                    reason: Reason::NoAddress,
                    text: format!("{NO_FIP_LEFT} {elsewhere}"),
                    detail: elsewhere.to_owned(),
                };
                self.place_hold(now, view, &offer);
                (offer.classes, refusal)
            }
            Err(denial) => {
                if let Some(doubt) = denial.doubt {
                    self.prove(doubt);
                }
                if held {
                    self.more_supply(now);
                }
                (Vec::new(), denial.refusal)
            }
        };
        let verdicts: Vec<Option<usize>> = places
            .iter()
            .map(|place| match place {
                Place::Class(class) if served.binary_search(class).is_ok() => None,
                Place::Class(_) => Some(index(refusal.clone())),
                Place::NotConfigured => Some(index(not_configured())),
                Place::Unknown => Some(index(unknown_node())),
            })
            .collect();
        if verdicts.iter().any(Option::is_none) {
            self.accepted(uid);
            if let Some(pod) = self.pods.get_mut(uid) {
                pod.offered = true;
            }
        } else {
            let refusal = if classes.is_empty() { refusals.first().cloned().unwrap_or(refusal) } else { refusal };
            let offered = (offers.len() < SAMPLE).then_some(classes);
            self.refuse(now, uid, refusal, offered);
        }
        Filtered::Nodes { verdicts, refusals }
    }

    fn has_address(&self, uid: &super::ids::Uid) -> bool {
        !self.table.slots_of(uid).is_empty()
    }

    /// While a bind is under way only its node passes; once its Binding is merely unanswered, its node is preferred (rule 7).
    fn only_node_of_bind(&self, view: &PodView, offers: &[Offer<'_>]) -> Option<Filtered> {
        let pod = self.pods.get(&view.uid)?;
        let node = pod.view.node.as_ref().or_else(|| pod.bind.as_ref().map(|bind| &bind.node))?;
        let soft = pod.bind.as_ref().is_some_and(|bind| bind.stage == Stage::Unknown);
        let serves = |class: Class| self.evaluate(pod, &[class], &Promises::default()).is_ok();
        let node_serves = || self.nodes.get(node).and_then(|node| node.class).is_some_and(serves);
        let offered = offers.iter().any(|offer| offer.name == &**node) && (!soft || node_serves());
        if !offered {
            return (!soft).then(|| {
                Filtered::NotNow(format!(
                    "a bind of pod {}/{} is still under way to another node",
                    view.namespace, view.name
                ))
            });
        }
        let text = format!("{NO_FIP_LEFT} a bind of the pod to another node is still under way");
        let refusal = Refusal { reason: Reason::BindInFlight, detail: text.clone(), text };
        let verdicts = offers.iter().map(|offer| (offer.name != &**node).then_some(0)).collect();
        Some(Filtered::Nodes { verdicts, refusals: vec![refusal] })
    }

    fn place_hold(&mut self, now: Time, view: &PodView, offer: &super::decide::Offer) {
        if !offer.limited && offer.reuse.is_none() {
            return;
        }
        let Some(pod) = self.pods.get(&view.uid) else { return };
        let owned = self.table.slots_of(&view.uid).len() as u32;
        let sized = self.pool_size(pod).map(|(pool, _)| pool);
        let hold = Hold {
            units: if offer.limited { pod.units().saturating_sub(owned) } else { 0 },
            workload: pod.workload.filter(|_| offer.limited),
            pool: sized,
            addr: offer.reuse,
            expires: now.plus_secs(self.settings.hold_secs),
            version: view.version,
            unschedulable: view.unschedulable,
        };
        self.set_hold(&view.uid, Some(hold));
    }

    /// Which of the candidate nodes a preemption may use. Read-only; what cannot be told is left in.
    pub fn preempt(&self, _now: Time, view: &PodView, nodes: &[&str]) -> Vec<bool> {
        if self.readiness().is_err() || view.policy == ReleasePolicy::Default {
            return vec![true; nodes.len()];
        }
        let class = |name: &str| self.nodes.get(name).and_then(|node| node.class);
        let mut classes: Vec<Class> = nodes.iter().filter_map(|name| class(name)).collect();
        classes.sort_unstable();
        classes.dedup();
        let Some(pod) = self.pods.get(&view.uid) else { return vec![true; nodes.len()] };
        match self.evaluate(pod, &classes, &Promises::default()) {
            Ok(offer) => nodes.iter().map(|name| class(name).is_some_and(|c| offer.classes.contains(&c))).collect(),
            Err(_) => vec![true; nodes.len()],
        }
    }

    /// Scores of 0 to 10 by the free share of each node's subnets, so that load evens out.
    pub fn prioritize(&mut self, offers: &[Offer<'_>]) -> Vec<u8> {
        let score = |this: &Self, class: Class| match this.space.total(class) {
            0 => 0,
            total => (this.space.available(class).min(total) * 10 / total) as u8,
        };
        let places: Vec<Place> = offers.iter().map(|offer| self.place(offer)).collect();
        let scores =
            places.into_iter().map(|place| if let Place::Class(class) = place { score(self, class) } else { 0 });
        scores.collect()
    }
}

fn not_configured() -> Refusal {
    let text = format!("{NO_FIP_CONFIG_NODE} the node's address is in no nodeSubnets of the configuration");
    let detail = "no offered node is in a configured node subnet; add its subnet to nodeSubnets".to_owned();
    Refusal { reason: Reason::NodeNotConfigured, text, detail }
}

fn unknown_node() -> Refusal {
    let text = format!("{UNKNOWN_NODE} the node is not known or has no InternalIP");
    Refusal { reason: Reason::UnknownNode, detail: text.clone(), text }
}
