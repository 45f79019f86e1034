//! Filter and priority: which nodes can give the pod its addresses, and how well.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use galaxy_api::extender::{ExtenderArgs, FilterResult, HostPriority};
use galaxy_core::ledger::{Filtered, Offer};

use super::{Extender, reply};
use crate::convert;
use crate::metrics;

/// `POST /v1/filter`
pub(super) async fn filter(State(Extender { engine, .. }): State<Extender>, body: Bytes) -> Response {
    let begun = Instant::now();
    let done = |result| engine.metrics.filter_done(result, begun.elapsed());
    let mut args: ExtenderArgs<'_> = match reply::read(&body) {
        Ok(args) => args,
        Err(refusal) => {
            done(metrics::FilterResult::Error);
            return *refusal;
        }
    };
    let pod = match args.take_pod() {
        Ok(pod) => pod,
        Err(missing) => {
            done(metrics::FilterResult::Error);
            return reply::json(&FilterResult::error(missing.to_string()));
        }
    };
    if !pod.wants_floating_ip {
        done(metrics::FilterResult::Unconcerned);
        return reply::json(&FilterResult::sort(args, |_, _, _| None));
    }
    let view = convert::pod_view(&pod);
    let filtered = {
        let offers = offers(&args);
        engine.with(|ledger, now| ledger.filter(now, &view, &offers))
    };
    engine.learn(&pod);
    match filtered {
        Filtered::NotNow(why) => {
            tracing::info!(%pod, uid = pod.uid, why, "filter: cannot decide now");
            done(metrics::FilterResult::Error);
            reply::json(&FilterResult::error(why))
        }
        Filtered::Nodes { verdicts, refusals } => {
            let texts: Vec<Arc<str>> = refusals.iter().map(|refusal| refusal.text.as_str().into()).collect();
            let offered = verdicts.len();
            let result = FilterResult::sort(args, |index, _, _| {
                verdicts.get(index).copied().flatten().and_then(|refusal| texts.get(refusal).cloned())
            });
            let passed = result.passed();
            let reasons: Vec<&str> = refusals.iter().map(|refusal| refusal.detail.as_str()).collect();
            if passed == 0 {
                tracing::info!(%pod, uid = pod.uid, offered, passed, ?reasons, "filter: refused");
                done(metrics::FilterResult::Refused);
            } else {
                tracing::debug!(%pod, uid = pod.uid, offered, passed, ?reasons, "filter: passed");
                done(metrics::FilterResult::Passed);
            }
            reply::json(&result)
        }
    }
}

/// `POST /v1/priority`. A pod that wants no address gets no opinion.
pub(super) async fn priority(State(Extender { engine, .. }): State<Extender>, body: Bytes) -> Response {
    let args: ExtenderArgs<'_> = match reply::read(&body) {
        Ok(args) => args,
        Err(refusal) => return *refusal,
    };
    if !args.pod.as_ref().is_some_and(|pod| pod.wants_floating_ip) {
        return reply::json(&Vec::<HostPriority<'_>>::new());
    }
    let offers = offers(&args);
    let scores = engine.with(|ledger, _| ledger.prioritize(&offers));
    let priorities = offers.iter().zip(scores);
    let priorities = priorities.map(|(offer, score)| HostPriority { host: offer.name.into(), score: i64::from(score) });
    reply::json(&priorities.collect::<Vec<_>>())
}

/// The candidates, with their addresses where whole nodes were sent.
fn offers<'a>(args: &'a ExtenderArgs<'_>) -> Vec<Offer<'a>> {
    match (&args.node_names, &args.nodes) {
        (None, Some(nodes)) => nodes
            .iter()
            .map(|node| Offer {
                name: &node.view.name,
                ips: Some(convert::first_of_each_family(node.view.internal_ips.iter().copied())),
            })
            .collect(),
        _ => args.names().map(|name| Offer { name, ips: None }).collect(),
    }
}
