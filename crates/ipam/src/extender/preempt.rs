//! Preempt: on which nodes would the deletion of pods help? Read-only.

use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use galaxy_api::extender::{PreemptArgs, PreemptResult};

use super::{Extender, reply};
use crate::convert;

/// `POST /v1/preempt`. Without a pod that wants an address nothing is left out.
pub(super) async fn preempt(State(Extender { engine, .. }): State<Extender>, body: Bytes) -> Response {
    let PreemptArgs { pod, mut victims } = match reply::read(&body) {
        Ok(args) => args,
        Err(refusal) => return *refusal,
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
