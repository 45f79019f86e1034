//! A test double of a cloud provider: a server that speaks the real protocol over a real connection, remembers what is
//! routed where, and refuses, breaks off or stalls calls when told to.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::watch, task::AbortHandle};
use tonic::{Request, Response, Status, async_trait};

use super::rpc::{
    AssignIpReply, AssignIpRequest, UnAssignIpReply, UnAssignIpRequest,
    ip_provider_service_server::{IpProviderService, IpProviderServiceServer},
};

/// One call that reached the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Assign instead of unassign.
    pub assign: bool,
    /// Node.
    pub node: String,
    /// Address as it came.
    pub ip: String,
}

/// What the provider does with a call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Mood {
    /// Does it.
    #[default]
    Obey,
    /// Answers `success: false` with this reason.
    Refuse(String),
    /// Answers with a gRPC error and does nothing.
    Break(String),
    /// Does it and loses the answer.
    DoAndBreak,
    /// Waits until the mood changes.
    Stall,
}

#[derive(Debug, Default)]
struct Journal {
    calls: Vec<Call>,
    routes: BTreeMap<IpAddr, String>,
}

#[derive(Debug)]
struct Shared {
    journal: Mutex<Journal>,
    assign: watch::Sender<Mood>,
    unassign: watch::Sender<Mood>,
    arrivals: watch::Sender<usize>,
}

/// The server. Dropping it closes the listener and breaks its connections.
#[derive(Debug)]
pub struct FakeProvider {
    address: SocketAddr,
    shared: Arc<Shared>,
    accept: AbortHandle,
}

impl FakeProvider {
    /// Starts a provider on a free port of the loopback address.
    ///
    /// # Errors
    /// The port cannot be opened.
    pub async fn start() -> std::io::Result<Self> {
        Self::restart("127.0.0.1:0").await
    }

    /// Starts a provider at `host:port`, such as the address of one that was dropped.
    ///
    /// # Errors
    /// The port cannot be opened.
    pub async fn restart(address: &str) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            journal: Mutex::default(),
            assign: watch::Sender::default(),
            unassign: watch::Sender::default(),
            arrivals: watch::Sender::default(),
        });
        let service = IpProviderServiceServer::new(Service(shared.clone()));
        let accept = tokio::spawn(async move {
            // Aborting this task drops the set and with it every connection.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let service = TowerToHyperService::new(service.clone());
                connections.spawn(async move {
                    let server = auto::Builder::new(TokioExecutor::new()).http2_only();
                    // A broken connection is the client's to notice.
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Ok(FakeProvider { address, shared, accept: accept.abort_handle() })
    }

    /// `host:port` of the provider.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// What happens to assign calls from now on, those that stall included.
    pub fn on_assign(&self, mood: Mood) {
        self.shared.assign.send_replace(mood);
    }

    /// What happens to unassign calls from now on, those that stall included.
    pub fn on_unassign(&self, mood: Mood) {
        self.shared.unassign.send_replace(mood);
    }

    /// All calls so far, in order of arrival.
    pub fn calls(&self) -> Vec<Call> {
        self.journal().calls.clone()
    }

    /// Which node every assigned address is routed to.
    pub fn routes(&self) -> BTreeMap<IpAddr, String> {
        self.journal().routes.clone()
    }

    /// Waits until `count` calls have arrived, done or not.
    pub async fn arrived(&self, count: usize) {
        // The sender lives as long as `self`: this cannot fail.
        let _ = self.shared.arrivals.subscribe().wait_for(|arrived| *arrived >= count).await;
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.shared.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for FakeProvider {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

#[derive(Clone)]
struct Service(Arc<Shared>);

impl Service {
    /// Records the call and treats it as the mood says: done or refused with a reason.
    async fn handle(&self, assign: bool, node: String, ip: String) -> Result<Option<String>, Status> {
        let parsed: Result<IpAddr, _> = ip.parse();
        let mut moods = if assign { self.0.assign.subscribe() } else { self.0.unassign.subscribe() };
        {
            let mut journal = self.0.journal.lock().unwrap_or_else(PoisonError::into_inner);
            journal.calls.push(Call { assign, node: node.clone(), ip: ip.clone() });
        }
        self.0.arrivals.send_modify(|count| *count += 1);
        let mood = match moods.wait_for(|mood| *mood != Mood::Stall).await {
            Ok(mood) => mood.clone(),
            Err(_) => Mood::Break("the provider went away".to_owned()),
        };
        let Ok(ip) = parsed else {
            return Ok(Some(format!("{ip:?} is no address")));
        };
        match mood {
            Mood::Refuse(reason) => return Ok(Some(reason)),
            Mood::Break(reason) => return Err(Status::unavailable(reason)),
            Mood::Obey | Mood::DoAndBreak | Mood::Stall => {}
        }
        let mut journal = self.0.journal.lock().unwrap_or_else(PoisonError::into_inner);
        if assign {
            journal.routes.insert(ip, node);
        } else if journal.routes.get(&ip) == Some(&node) {
            journal.routes.remove(&ip);
        }
        if mood == Mood::DoAndBreak { Err(Status::unavailable("the answer was lost")) } else { Ok(None) }
    }
}

#[async_trait]
impl IpProviderService for Service {
    async fn assign_ip(&self, request: Request<AssignIpRequest>) -> Result<Response<AssignIpReply>, Status> {
        let AssignIpRequest { node_name, ip_address } = request.into_inner();
        let refusal = self.handle(true, node_name, ip_address).await?;
        Ok(Response::new(AssignIpReply { success: refusal.is_none(), msg: refusal.unwrap_or_default() }))
    }

    async fn un_assign_ip(&self, request: Request<UnAssignIpRequest>) -> Result<Response<UnAssignIpReply>, Status> {
        let UnAssignIpRequest { node_name, ip_address } = request.into_inner();
        let refusal = self.handle(false, node_name, ip_address).await?;
        Ok(Response::new(UnAssignIpReply { success: refusal.is_none(), msg: refusal.unwrap_or_default() }))
    }
}
