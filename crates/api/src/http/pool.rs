//! `/v1/pool`: sizes of shared pools.

use serde::Serialize;
use utoipa::ToSchema;

use super::Envelope;
use crate::{
    names,
    pool::{BadSize, PoolSpec},
    wire::{from_members, shorten},
};

/// A pool.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolBody {
    /// Name of the pool.
    #[schema(example = "example-pool")]
    pub name: String,
    /// Number of addresses that pods of the pool may use at once.
    #[schema(example = 4)]
    pub size: i64,
    /// Whether to reserve addresses up to the size ahead of any pod.
    #[serde(rename = "preAllocateIP")]
    pub pre_allocate_ip: bool,
}

/// Body that creates or updates a pool: the pool.
pub type PoolRequest = PoolBody;

from_members!(<'de> PoolBody {
    "name" => |pool, name: String| pool.name = name;
    "size" => |pool, size: i64| pool.size = size;
    "preAllocateIP" => |pool, ahead: bool| pool.pre_allocate_ip = ahead;
});

impl PoolBody {
    /// Checks name and size.
    ///
    /// # Errors
    /// Which of them is wrong, with its value.
    pub fn validate(&self) -> Result<(), PoolSetError> {
        if self.name.is_empty() {
            return Err(PoolSetError::NoName);
        }
        if !names::is_name(&self.name) {
            return Err(PoolSetError::BadName(shorten(&self.name).into_owned()));
        }
        PoolSpec::from(self).limit()?;
        Ok(())
    }
}

impl From<&PoolBody> for PoolSpec {
    fn from(body: &PoolBody) -> Self {
        PoolSpec { size: body.size, pre_allocate_ip: body.pre_allocate_ip }
    }
}

/// Why a pool was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PoolSetError {
    /// No name.
    #[error("name: pool name is empty")]
    NoName,
    /// The name cannot be an object's.
    #[error("name: {0:?} is not a lower-case DNS name (letters, digits, - and ., at most 253 characters)")]
    BadName(String),
    /// The size is out of bounds.
    #[error(transparent)]
    Size(#[from] BadSize),
}

/// Answer with a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct PoolGetResponse {
    /// Code and message.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// The pool.
    pub pool: PoolBody,
}

impl PoolGetResponse {
    /// 200 with the pool.
    pub fn new(pool: PoolBody) -> Self {
        PoolGetResponse { envelope: Envelope::ok(), pool }
    }
}

/// Answer to creating or updating a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolSetResponse {
    /// Code and message.
    #[serde(flatten)]
    pub envelope: Envelope,
    /// How many addresses the pool has now, used and reserved. Only with `preAllocateIP`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub real_pool_size: Option<u64>,
}

impl PoolSetResponse {
    /// 200 for a pool without pre-allocation.
    pub fn ok() -> Self {
        PoolSetResponse { envelope: Envelope::ok(), real_pool_size: None }
    }

    /// 200 with pre-allocation done, or 202 where there were too few free addresses.
    pub fn pre_allocated(real_size: u64, enough: bool) -> Self {
        let envelope = if enough { Envelope::ok() } else { Envelope::accepted("No enough IPs") };
        PoolSetResponse { envelope, real_pool_size: Some(real_size) }
    }
}
