//! Filter and priority: which nodes can give the pod its addresses, and how well.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use galaxy_api::extender::{ExtenderArgs, FilterResult, HostPriority};
use galaxy_core::ledger::{Filtered, Offer};

use super::request::{self, Whole};
use super::{Extender, reply};
use crate::convert;
use crate::engine::Engine;
use crate::metrics;

/// `POST /v1/filter`
pub(super) async fn filter(State(Extender { engine, .. }): State<Extender>, Whole(body): Whole) -> Response {
    let begun = Instant::now();
    request::answer(body, move |body| decide(&engine, &body, begun)).await
}

/// The answer to the body of a filter call that came at `begun`.
pub fn decide(engine: &Engine, body: &Bytes, begun: Instant) -> Response {
    let done = |result| engine.metrics.filter_done(result, begun.elapsed());
    let mut args = match ExtenderArgs::read(body) {
        Ok(args) => args,
        Err(error) => {
            done(metrics::FilterResult::Error);
            return reply::unreadable(&error);
        }
    };
    let pod = match args.take_pod() {
        Ok(pod) => pod,
        Err(missing) => {
            done(metrics::FilterResult::Error);
            return reply::filtered(body, &FilterResult::error(missing.to_string()));
        }
    };
    if !pod.wants_floating_ip {
        done(metrics::FilterResult::Unconcerned);
        return reply::filtered(body, &FilterResult::sort(args, |_, _, _| None));
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
            reply::filtered(body, &FilterResult::error(why))
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
            reply::filtered(body, &result)
        }
    }
}

/// `POST /v1/priority`. A pod that wants no address gets no opinion.
pub(super) async fn priority(State(Extender { engine, .. }): State<Extender>, Whole(body): Whole) -> Response {
    request::answer(body, move |body| score(&engine, &body)).await
}

fn score(engine: &Engine, body: &Bytes) -> Response {
    let args = match ExtenderArgs::read(body) {
        Ok(args) => args,
        Err(error) => return reply::unreadable(&error),
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
