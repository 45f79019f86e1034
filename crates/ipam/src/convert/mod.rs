//! Between what crosses the wire and what the ledger knows. Functions here decide nothing and fail on nothing: what makes no
//! sense is left out or, for an address, becomes an object that is never touched.

pub(crate) mod floating_ip;
mod node;
pub(crate) mod oddity;
mod pod;
mod pool;
pub(crate) mod workload;

pub(crate) use node::{first_of_each_family, node_view};
pub(crate) use pod::{args_text, pod_view};
pub(crate) use pool::pool_view;

use galaxy_core::ledger::{Time, Uid};
use kube::core::ObjectMeta;

use crate::clock::from_timestamp;

/// metadata.uid.
pub(crate) fn uid(meta: &ObjectMeta) -> Uid {
    Uid::from(meta.uid.as_deref().unwrap_or_default())
}

/// metadata.resourceVersion as a number, which API servers promise it is.
pub(crate) fn version(meta: &ObjectMeta) -> u64 {
    meta.resource_version.as_deref().map_or(0, parse_version)
}

fn parse_version(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}

fn created(meta: &ObjectMeta) -> Time {
    meta.creation_timestamp.as_ref().map_or(Time(0), |time| from_timestamp(time.0))
}
