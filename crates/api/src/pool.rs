//! `Pool`: a size for the addresses that several workloads share. Its members stand at the top level, not in a spec.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::wire::lenient;

/// Largest size of a pool: as many addresses as a /8 has.
pub const MAX_SIZE: i64 = 1 << 24;

/// What a user says about a pool.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[kube(
    group = "galaxy.k8s.io",
    version = "v1alpha1",
    kind = "Pool",
    plural = "pools",
    singular = "pool",
    category = "galaxy",
    namespaced,
    no_spec,
    status = "PoolStatus",
    derive = "PartialEq",
    doc = "Bounds the addresses of all pods that name this pool in the annotation `tke.cloud.tencent.com/eni-ip-pool`."
)]
#[serde(rename_all = "camelCase")]
pub struct PoolSpec {
    /// Number of addresses that pods of the pool may use at once.
    #[serde(default, deserialize_with = "lenient")]
    #[schemars(range(min = 0, max = MAX_SIZE))]
    pub size: i64,
    /// Whether to reserve addresses up to the size ahead of any pod.
    #[serde(default, rename = "preAllocateIP", deserialize_with = "lenient")]
    pub pre_allocate_ip: bool,
}

/// What galaxy-ipam found.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct PoolStatus {
    /// Generation of the pool that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Addresses that the pool has: used and reserved.
    #[serde(deserialize_with = "lenient")]
    #[schemars(with = "i64")]
    pub real_size: u64,
    /// Addresses that pods have.
    #[serde(deserialize_with = "lenient")]
    #[schemars(with = "i64")]
    pub used: u64,
    /// Addresses kept for the pool without a pod.
    #[serde(deserialize_with = "lenient")]
    #[schemars(with = "i64")]
    pub reserved: u64,
    /// `Accepted`: the size counts. `PreAllocated`: as many addresses are reserved as were asked for.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 8),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"])
    )]
    pub conditions: Vec<Condition>,
}

/// Condition: the pool's size counts.
pub const ACCEPTED: &str = "Accepted";
/// Reason of [`ACCEPTED`] = False: an older pool, or one in kube-system, has the name.
pub const NAME_TAKEN: &str = "NameTaken";
/// Reason of [`ACCEPTED`] = False: the size is negative or too large.
pub const INVALID_SIZE: &str = "InvalidSize";
/// Condition: as many addresses are reserved as were asked for.
pub const PRE_ALLOCATED: &str = "PreAllocated";
/// Reason of [`PRE_ALLOCATED`] = False: there are not enough free addresses yet.
pub const NO_ENOUGH_IPS: &str = "NoEnoughIPs";

impl PoolSpec {
    /// The size, if it is one.
    ///
    /// # Errors
    /// The size is negative or above [`MAX_SIZE`].
    pub fn limit(&self) -> Result<u32, BadSize> {
        match u32::try_from(self.size) {
            Ok(size) if self.size <= MAX_SIZE => Ok(size),
            _ => Err(BadSize(self.size)),
        }
    }
}

/// A pool size out of bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("size: {0} is not between 0 and {MAX_SIZE}")]
pub struct BadSize(pub i64);
