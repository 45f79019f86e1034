//! Preempt: on which nodes would the deletion of pods help? Read-only.

use axum::extract::State;
use axum::response::Response;
use galaxy_api::extender::{PreemptArgs, PreemptResult};
use galaxy_api::wire;

use super::request::{self, Whole};
use super::{Extender, reply};
use crate::convert;
use crate::engine::Engine;

/// `POST /v1/preempt`. Without a pod that wants an address nothing is left out.
pub(super) async fn preempt(State(Extender { engine, .. }): State<Extender>, Whole(body): Whole) -> Response {
    request::answer(body, move |body| decide(&engine, &body)).await
}

fn decide(engine: &Engine, body: &[u8]) -> Response {
    let PreemptArgs { pod, mut victims } = match wire::from_slice(body) {
        Ok(args) => args,
        Err(error) => return reply::unreadable(&error),
    };
    if let Some(pod) = pod.filter(|pod| pod.wants_floating_ip) {
        let view = convert::pod_view(&pod);
        let names: Vec<&str> = victims.keys().map(String::as_str).collect();
        let stay = engine.with(|ledger, now| ledger.preempt(now, &view, &names));
        let mut stay = stay.into_iter();
        victims.retain(|_, _| stay.next().unwrap_or(true));
    }
    reply::json(&PreemptResult { victims })
}
