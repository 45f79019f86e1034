//! The gRPC client.

use std::{
    future::Future,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::BoxFuture;
use tonic::{
    Code, Response, Status,
    transport::{Channel, Endpoint},
};

use super::{
    CloudError, CloudProvider,
    rpc::{AssignIpRequest, UnAssignIpRequest, ip_provider_service_client::IpProviderServiceClient},
};
use crate::metrics::{CloudCall, Metrics};

/// Longest time one call may take.
pub const CALL_DEADLINE: Duration = Duration::from_secs(60);

/// A cloud provider that speaks gRPC (plain TCP): one connection, made at the first call and made again when it breaks.
#[derive(Clone)]
pub struct GrpcProvider {
    client: IpProviderServiceClient<Channel>,
    metrics: Arc<Metrics>,
    deadline: Duration,
}

/// `cloudProviderGrpcAddr` is no `host:port`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cloudProviderGrpcAddr: {0:?} is not host:port")]
pub struct BadAddress(String);

impl GrpcProvider {
    /// A client of the provider at `host:port`. Nothing is dialled yet. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The address is not `host:port`.
    pub fn new(address: &str, metrics: Arc<Metrics>) -> Result<Self, BadAddress> {
        let bad = || BadAddress(address.to_owned());
        let authority: http::uri::Authority = address.parse().map_err(|_| bad())?;
        if authority.port_u16().is_none() || authority.host().is_empty() || address.contains('@') {
            return Err(bad());
        }
        let endpoint = Endpoint::from_shared(format!("http://{authority}"))
            .map_err(|_| bad())?
            .http2_keep_alive_interval(Duration::from_secs(120))
            .keep_alive_timeout(Duration::from_secs(60))
            .keep_alive_while_idle(true);
        let client = IpProviderServiceClient::new(endpoint.connect_lazy());
        Ok(GrpcProvider { client, metrics, deadline: CALL_DEADLINE })
    }

    /// The same client with another deadline per call, for tests.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Self {
        GrpcProvider { deadline, ..self }
    }

    /// Makes one call: deadline, latency, and what counts as a failure.
    async fn call<R: Reply>(
        &self,
        call: CloudCall,
        node: &str,
        ip: IpAddr,
        answer: impl Future<Output = Result<Response<R>, Status>>,
    ) -> Result<(), CloudError> {
        let started = Instant::now();
        let answer = tokio::time::timeout(self.deadline, answer).await;
        let name = call.as_str();
        let unanswered = |msg: String| CloudError::Unanswered { call: name, ip, node: node.to_owned(), msg };
        let result = match answer {
            Err(_) => Err(unanswered(format!("no answer within {:?}", self.deadline))),
            Ok(Err(status)) => Err(unanswered(describe(&status))),
            Ok(Ok(reply)) => match reply.into_inner().verdict() {
                (true, _) => Ok(()),
                (false, msg) => Err(CloudError::Refused { call: name, ip, node: node.to_owned(), msg }),
            },
        };
        self.metrics.cloud_done(call, started.elapsed(), result.is_ok());
        result
    }
}

impl CloudProvider for GrpcProvider {
    fn assign<'a>(&'a self, node: &'a str, ip: IpAddr) -> BoxFuture<'a, Result<(), CloudError>> {
        let mut client = self.client.clone();
        let request = AssignIpRequest { node_name: node.to_owned(), ip_address: ip.to_string() };
        Box::pin(async move { self.call(CloudCall::Assign, node, ip, client.assign_ip(request)).await })
    }

    fn unassign<'a>(&'a self, node: &'a str, ip: IpAddr) -> BoxFuture<'a, Result<(), CloudError>> {
        let mut client = self.client.clone();
        let request = UnAssignIpRequest { node_name: node.to_owned(), ip_address: ip.to_string() };
        Box::pin(async move { self.call(CloudCall::Unassign, node, ip, client.un_assign_ip(request)).await })
    }
}

/// Both replies have the same members.
trait Reply {
    fn verdict(self) -> (bool, String);
}

impl Reply for super::rpc::AssignIpReply {
    fn verdict(self) -> (bool, String) {
        (self.success, self.msg)
    }
}

impl Reply for super::rpc::UnAssignIpReply {
    fn verdict(self) -> (bool, String) {
        (self.success, self.msg)
    }
}

/// A status in one line: `Unavailable: connection refused`. The innermost source says what really happened.
fn describe(status: &Status) -> String {
    let code: Code = status.code();
    let mut text = format!("{code:?}");
    if !status.message().is_empty() {
        text = format!("{text}: {}", status.message());
    }
    let mut source = std::error::Error::source(status);
    let mut innermost = None;
    while let Some(error) = source {
        innermost = Some(error.to_string());
        source = error.source();
    }
    match innermost {
        Some(cause) if !text.contains(&cause) => format!("{text} ({cause})"),
        _ => text,
    }
}

#[cfg(test)]
#[path = "grpc_tests.rs"]
mod tests;
