//! The cloud provider: who routes an address to a node where the network does not do it by itself.
//!
//! An address is assigned before a pod uses it and unassigned before it is free (the ledger sees to the order).

pub mod fake;
mod grpc;

use std::net::IpAddr;

use futures::future::BoxFuture;

pub use grpc::{BadAddress, CALL_DEADLINE, GrpcProvider};

/// Messages, client and server of the protocol.
pub mod rpc {
    #![allow(unreachable_pub)]
    tonic::include_proto!("rpc");
}

/// Routes addresses to nodes. Calls are idempotent and may take up to [`CALL_DEADLINE`].
pub trait CloudProvider: Send + Sync + 'static {
    /// Routes `ip` to `node`.
    fn assign<'a>(&'a self, node: &'a str, ip: IpAddr) -> BoxFuture<'a, Result<(), CloudError>>;

    /// Stops routing `ip` to `node`.
    fn unassign<'a>(&'a self, node: &'a str, ip: IpAddr) -> BoxFuture<'a, Result<(), CloudError>>;
}

/// Why a call failed. Whether the provider has done it nevertheless is open, except after a refusal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloudError {
    /// The provider answered `success: false`.
    #[error("the cloud provider refused to {call} {ip} on node {node}: {}", if msg.is_empty() { "it gave no reason" } else { msg })]
    Refused {
        /// `assign` or `unassign`.
        call: &'static str,
        /// Address.
        ip: IpAddr,
        /// Node.
        node: String,
        /// The provider's reason.
        msg: String,
    },
    /// No answer: not reachable, broken off or out of time.
    #[error("the cloud provider did not {call} {ip} on node {node}: {msg}")]
    Unanswered {
        /// `assign` or `unassign`.
        call: &'static str,
        /// Address.
        ip: IpAddr,
        /// Node.
        node: String,
        /// What happened, as gRPC says it.
        msg: String,
    },
}
