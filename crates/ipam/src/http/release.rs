//! `POST /v1/ip`.

use std::{net::IpAddr, time::Duration};

use axum::{extract::State, response::Response};
use futures::StreamExt;
use galaxy_api::http::{Envelope, ReleaseItem, ReleaseRequest, ReleaseResponse};
use galaxy_core::{
    Addr, FipKey,
    key::{BARE_APP, prefix_for_app_type},
    ledger::{ReleaseRequest as Ask, ReleaseStep},
};
use tokio::time::{Instant, timeout_at};

use super::{
    Api, Backend,
    backend::change,
    reply::{Body, Failure, answer},
};

/// How many releases of one request are under way at a time.
const AT_ONCE: usize = 64;
/// How often a pod may have to be proved gone; between two proofs it must have come back.
const PROOFS: usize = 3;

/// Releases addresses.
///
/// The entries are those that a list shows; `status`, `updateTime` and the like are not needed. An entry whose parts are
/// not those of the address's present owner, or whose pod still exists, is not released, and `reasons` says why. If any
/// address is malformed, nothing is released.
#[utoipa::path(
    post,
    path = "/v1/ip",
    operation_id = "ReleaseIPs",
    tag = "ip",
    request_body = ReleaseRequest,
    responses(
        (status = 200, description = "All are released", body = ReleaseResponse),
        (status = 202, description = "Some are not released: see unreleased and reasons", body = ReleaseResponse),
        (status = 400, description = "The body is malformed; nothing is released", body = Envelope),
        (status = 500, description = "This replica cannot decide now, for example because it does not lead", body = Envelope)
    )
)]
pub(super) async fn release(State(api): State<Api>, Body(request): Body<ReleaseRequest>) -> Result<Response, Failure> {
    let mut asks = Vec::with_capacity(request.ips.len());
    for (index, item) in request.ips.iter().enumerate() {
        let ip = item.address().map_err(|error| Failure::bad_request(format_args!("ips[{index}].{error}")))?;
        asks.push((ip, key(item)));
    }
    api.backend.ready().map_err(Failure::server_error)?;

    let count = asks.len();
    let (backend, patience) = (&*api.backend, api.settings.release_patience);
    let outcomes: Vec<_> = futures::stream::iter(asks)
        .map(|(ip, key)| async move { (ip, release_one(backend, ip, key, patience).await) })
        .buffered(AT_ONCE)
        .collect()
        .await;
    let failed: Vec<(IpAddr, String)> =
        outcomes.into_iter().filter_map(|(ip, outcome)| Some((ip, outcome.err()?))).collect();
    for (ip, reason) in &failed {
        tracing::info!(%ip, reason, "not released on a user's request");
    }
    let response = ReleaseResponse::new(count - failed.len(), failed);
    Ok(answer(response.envelope.code, &response))
}

/// The key that the entry's parts mean; none if it names nobody.
fn key(item: &ReleaseItem) -> Option<String> {
    if item.pool_name.is_empty() && item.app_name.is_empty() && item.pod_name.is_empty() {
        return None;
    }
    let bare = item.app_name.is_empty() && prefix_for_app_type(&item.app_type) == prefix_for_app_type(BARE_APP);
    let app = if bare && !item.pod_name.is_empty() { BARE_APP } else { &item.app_name };
    Some(FipKey::from_parts(&item.pool_name, &item.app_type, &item.namespace, app, &item.pod_name).to_string())
}

/// Releases one address. The error is the reason for the user.
async fn release_one(backend: &dyn Backend, ip: IpAddr, key: Option<String>, patience: Duration) -> Result<(), String> {
    let addr = Addr::from(ip);
    let Some(key) = key else {
        return Err(format!("{ip}: none of appName, podName and poolName is given; send the entry as a list shows it"));
    };
    let ask = Ask { addr, key };
    let deadline = Instant::now() + patience;
    let late = || format!("{ip} is still being released; list it again in a while");
    let mut settled = backend.settled();
    let mut proofs = 0;
    let mut step = backend.release(&ask);
    loop {
        step = match step {
            ReleaseStep::Done => {
                tracing::info!(%ip, key = ask.key, "released on a user's request");
                return Ok(());
            }
            ReleaseStep::Refused(reason) => return Err(reason),
            ReleaseStep::Prove(pod) if proofs < PROOFS => {
                proofs += 1;
                timeout_at(deadline, backend.prove(&pod)).await.map_err(|_| late())??;
                backend.release(&ask)
            }
            ReleaseStep::Prove(pod) => {
                return Err(format!("{ip}: pod {}/{} keeps coming back; try again", pod.namespace, pod.name));
            }
            ReleaseStep::Wait => {
                if !change(&mut settled, deadline).await {
                    return Err(late());
                }
                backend.release_poll(addr)
            }
        };
    }
}
