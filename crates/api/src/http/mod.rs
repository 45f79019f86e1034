//! Bodies of the HTTP API on port 9041.

mod ip;
mod pool;

pub use ip::{
    BadAddress, IpEntry, IpList, ListQuery, ReleaseItem, ReleaseRequest, ReleaseResponse, Sort, SortField, ZERO_TIME,
};
pub use pool::{PoolBody, PoolGetResponse, PoolRequest, PoolSetError, PoolSetResponse};

use serde::Serialize;
use utoipa::ToSchema;

/// Envelope of answers. The HTTP status equals `code`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Envelope {
    /// HTTP status.
    #[schema(example = 200)]
    pub code: u16,
    /// What went wrong; empty for success.
    #[schema(example = "")]
    pub message: String,
}

impl Envelope {
    /// 200.
    pub fn ok() -> Self {
        Envelope { code: 200, message: String::new() }
    }

    /// 202: accepted, but not all of it was done.
    pub fn accepted(message: impl Into<String>) -> Self {
        Envelope { code: 202, message: message.into() }
    }

    /// 400, with the original's prefix.
    pub fn bad_request(error: impl std::fmt::Display) -> Self {
        Envelope { code: 400, message: format!("bad request: {error}") }
    }

    /// 404, with the original's prefix.
    pub fn not_found(error: impl std::fmt::Display) -> Self {
        Envelope { code: 404, message: format!("not found: {error}") }
    }

    /// 500, with the original's prefix.
    pub fn server_error(error: impl std::fmt::Display) -> Self {
        Envelope { code: 500, message: format!("server error: {error}") }
    }
}
