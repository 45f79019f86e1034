//! Whether pods answer on their addresses, asked with real packets.

use std::{collections::BTreeMap, net::IpAddr};

use super::{
    compare::{NONE, Row},
    snapshot::Snapshot,
    tour::Verdict,
    world::World,
};
use crate::underlay::{Answer, greeting};

/// What came of asking; empty where pods are made up.
pub(super) struct Answers(BTreeMap<IpAddr, Answer>);

impl Answers {
    /// Asks every pod that should answer: it is ready, is to stay, and its node is real and alive.
    pub(super) async fn ask(world: &World, now: &Snapshot) -> Self {
        let Some(underlay) = world.underlay() else { return Answers(BTreeMap::new()) };
        let mut wanted = Vec::new();
        for pod in now.pods.iter().filter(|pod| pod.ready && !pod.going) {
            let node = pod.node.as_deref().filter(|node| underlay.has(node) && !now.dead.contains(*node));
            let said = node.map(|node| greeting(&pod.name, &pod.uid, node));
            wanted.extend(said.iter().flat_map(|said| pod.ips.iter().map(|ip| (*ip, said.clone()))));
        }
        Answers(underlay.ask(wanted).await)
    }

    /// All answered.
    pub(super) fn verdict(&self) -> Verdict {
        self.0.values().find_map(|answer| answer.clone().err()).map_or(Ok(()), Err)
    }

    /// The row with one more column, before the reason.
    pub(super) fn beside(&self, [pod, node, ip, why]: Row) -> [String; 5] {
        let answer = match ip.parse().ok().and_then(|ip| self.0.get(&ip)) {
            None => NONE,
            Some(Ok(())) => "ping, HTTP",
            Some(Err(_)) => "NO",
        };
        [pod, node, ip, answer.to_owned(), why]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_does_not_answer_breaks_the_promise() {
        let (good, bad): (IpAddr, IpAddr) = ("10.0.0.2".parse().unwrap(), "10.0.0.3".parse().unwrap());
        let answers = Answers(BTreeMap::from([(good, Ok(()))]));
        assert_eq!(answers.verdict(), Ok(()));
        let answers = Answers(BTreeMap::from([(good, Ok(())), (bad, Err("10.0.0.3 does not answer ping".to_owned()))]));
        assert_eq!(answers.verdict(), Err("10.0.0.3 does not answer ping".to_owned()));
        let column = |ip: &str| answers.beside(["pod", "node", ip, "why"].map(str::to_owned))[3].clone();
        assert_eq!(["10.0.0.2", "10.0.0.3", "10.0.0.4", NONE].map(column), ["ping, HTTP", "NO", NONE, NONE]);
    }
}
