//! The whole service: clients, caches, ledger, servers; started in a process of its own or inside another.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::middleware::from_fn_with_state;
use galaxy_api::config::FileConfig;
use galaxy_api::names::{API_URL_ANNOTATION, EXTENDER_URL_ANNOTATION};
use galaxy_core::ledger::Settings;
use kube::Client;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backend::ServiceBackend;
use crate::calls::Backoff;
use crate::cli::Options;
use crate::clock::{Clock, SystemClock};
use crate::cloud::{CloudProvider, GrpcProvider};
use crate::config::{Configuration, Source};
use crate::engine::{Engine, Outlets};
use crate::events::Events;
use crate::extender::{self, Binder};
use crate::forward::{Peers, base_url, to_leader};
use crate::http;
use crate::lead::Office;
use crate::lease::{Candidate, Sightings, Timing};
use crate::metrics::{Metrics, Port};
use crate::pool_status::PoolStatusWriter;
use crate::pools::PoolObjects;
use crate::reads::Reader;
use crate::recorder::Recorder;
pub use crate::servers::stop_signal;
use crate::servers::{FINISH, listen, serve};
use crate::sweep;
use crate::tls::Tls;
use crate::watch::{self as watches, CustomKinds, FloatingIps, Following, Reload, Synced};
use crate::writer::Writer;
use crate::{access, crds};
use galaxy_program::client;

/// How long a stopping leader finishes what is under way before it lets another lead.
const DRAIN: Duration = Duration::from_millis(250);
/// How long it then waits for the lease to be given up.
const RELEASE: Duration = Duration::from_secs(1);

/// Everything the service needs from outside.
pub struct Setup {
    /// The cluster.
    pub client: Client,
    /// The command line.
    pub options: Options,
    /// The configuration file.
    pub file: FileConfig,
    /// The clock that decisions are made by.
    pub clock: Arc<dyn Clock>,
    /// Replaces the provider that the configuration file names.
    pub cloud: Option<Arc<dyn CloudProvider>>,
}

/// A running service. Dropping it stops it at once; [`Running::stop`] is the graceful way.
pub struct Running {
    /// Where the scheduler extender listens.
    pub extender: SocketAddr,
    /// Where the HTTP API listens.
    pub api: SocketAddr,
    engine: Arc<Engine>,
    reader: Arc<Reader>,
    stop: CancellationToken,
    done: JoinHandle<anyhow::Result<()>>,
}

/// Runs the service of the command line until `shutdown` resolves.
///
/// # Errors
/// It cannot start, or lost its leadership.
pub async fn run(options: Options, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    let file = read_file(&options.config)?;
    let client = client::connect(&options.master, &options.kubeconfig).await?;
    let clock = Arc::new(SystemClock::start());
    let mut running = start(Setup { client, options, file, clock, cloud: None }).await?;
    tokio::select! {
        () = shutdown => {
            tracing::info!("stopping");
            running.stop().await
        }
        ended = &mut running.done => ended.context("the service broke off")?,
    }
}

/// The configuration file; the defaults if there is none.
fn read_file(path: &Path) -> anyhow::Result<FileConfig> {
    match std::fs::read(path) {
        Ok(json) => FileConfig::parse(&json).with_context(|| format!("{}", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            tracing::info!(path = %path.display(), "no configuration file; the defaults apply");
            Ok(FileConfig::default())
        }
        Err(error) => Err(error).with_context(|| format!("{} cannot be read", path.display())),
    }
}

/// Starts the service and returns once its ports are open; caches, leadership and configuration follow in the background.
///
/// # Errors
/// A port is taken, or the pools or the cloud provider of the configuration file make no sense.
pub async fn start(setup: Setup) -> anyhow::Result<Running> {
    let Setup { client, options, file, clock, cloud } = setup;
    let metrics = Arc::new(Metrics::new());
    let cloud = match (cloud, &file.cloud_provider_addr) {
        (Some(cloud), _) => Some(cloud),
        (None, Some(address)) => Some(Arc::new(GrpcProvider::new(address, metrics.clone())?) as Arc<dyn CloudProvider>),
        (None, None) => None,
    };
    let settings = Settings {
        reuse_delay_secs: seconds(options.reuse_delay),
        quarantine_secs: seconds(options.quarantine),
        cloud: cloud.is_some(),
        ..Settings::default()
    };
    let (engine, outlets) = Engine::new(settings, clock, metrics.clone());
    let kinds = CustomKinds::new(engine.clone(), client.clone());
    let reader = Reader::new(engine.clone(), client.clone(), kinds.clone());
    let identity = format!("{}_{}", host_name(), uuid::Uuid::new_v4());
    let (events, event_writer) = Events::new(client.clone(), identity.clone());
    let configuration = Configuration::new(engine.clone(), events.clone());
    if let Some(pools) = file.pools.clone() {
        configuration.apply(pools).map_err(anyhow::Error::msg).context("floatingips of the configuration file")?;
    }
    let (finishing, stop) = (TaskTracker::new(), CancellationToken::new());
    let binder = Binder::new(engine.clone(), client.clone(), reader.clone(), finishing.clone(), stop.clone());
    let tls = Tls::load(&options.access, metrics.clone())?;
    let sightings = Sightings::default();
    let peers = Peers::new(
        identity.clone(),
        engine.tenure.clone(),
        sightings.clone(),
        finishing.clone(),
        tls.clone(),
        engine.metrics.clone(),
    );
    if !options.leader_elect {
        engine.tenure.endless();
    }
    let backend = Arc::new(ServiceBackend::new(
        engine.clone(),
        reader.clone(),
        peers.clone(),
        configuration.clone(),
        options.pool_namespaces.clone(),
    ));

    let extender_listener = listen(options.bind, options.port).await?;
    let api_listener = listen(options.bind, options.api_port).await?;
    let (extender, api) = (extender_listener.local_addr()?, api_listener.local_addr()?);
    let health = http::health_router(backend.clone());
    let forwarding = |port| from_fn_with_state((peers.clone(), port), to_leader);
    let extender_router = extender::router(engine.clone(), binder).route_layer(forwarding(Port::Extender));
    let extender_router =
        access::guard_extender(extender_router, &options.access, tls.as_ref(), &metrics).merge(health);
    access::tell(&options.access, &metrics);
    let api_settings = http::Settings {
        swagger_page: options.swagger,
        tls: tls.is_some(),
        auth: options.access.api_auth,
        ..http::Settings::default()
    };
    let api_router =
        http::router(backend.clone(), client.clone(), metrics, api_settings).route_layer(forwarding(Port::Api));
    tracing::info!(%extender, %api, version = env!("CARGO_PKG_VERSION"), "galaxy-ipam listens");

    let secure = tls.is_some();
    let mut endless = JoinSet::new();
    let over = |port| tls.clone().map(|tls| (tls, port));
    endless.spawn(serve(extender_listener, over(Port::Extender), extender_router, stop.clone()));
    endless.spawn(serve(api_listener, over(Port::Api), api_router, stop.clone()));
    if let Some(tls) = tls {
        endless.spawn(tls.follow());
    }
    endless.spawn(event_writer);
    if options.leader_elect {
        endless.spawn(sightings.clone().follow(client.clone()));
    }
    let annotations = match advertised(&options) {
        Some(address) => BTreeMap::from([
            (EXTENDER_URL_ANNOTATION.to_owned(), base_url(secure, address, extender.port())),
            (API_URL_ANNOTATION.to_owned(), base_url(secure, address, api.port())),
        ]),
        None => {
            if options.leader_elect {
                tracing::warn!("no --advertise-address: other replicas cannot forward calls to this one when it leads");
            }
            BTreeMap::new()
        }
    };
    let candidate = options.leader_elect.then(|| {
        let timing = Timing {
            lease: options.lease_duration,
            renew_deadline: options.renew_deadline,
            retry: options.retry_period,
        };
        let tenure = engine.tenure.clone();
        Candidate::new(client.clone(), identity.clone(), timing, annotations, tenure, sightings)
    });
    let service = Service {
        client,
        options,
        file,
        engine: engine.clone(),
        reader: reader.clone(),
        kinds,
        events,
        configuration,
        backend,
        cloud,
        finishing,
        endless,
        stop: stop.clone(),
    };
    let done = tokio::spawn(service.run(outlets, candidate));
    Ok(Running { extender, api, engine, reader, stop, done })
}

impl Running {
    /// The ledger and what is around it.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Returns once the service decides, within `patience` of real time.
    ///
    /// # Errors
    /// What it still lacks then.
    pub async fn ready(&self, patience: Duration) -> Result<(), String> {
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            match self.engine.read(|ledger| ledger.readiness()) {
                Ok(()) => return Ok(()),
                Err(lacking) if tokio::time::Instant::now() >= deadline => return Err(lacking.to_owned()),
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }

    /// Sweeps now, without waiting for the interval.
    pub async fn sweep(&self) {
        sweep::sweep_once(&self.engine, &self.reader).await;
    }

    /// Stops: no new requests, what is under way is finished (within 3 s), the lease is given up.
    ///
    /// # Errors
    /// The service had broken off before.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        (&mut self.done).await.context("the service broke off")?
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The parts that run in the background.
struct Service {
    client: Client,
    options: Options,
    file: FileConfig,
    engine: Arc<Engine>,
    reader: Arc<Reader>,
    kinds: Arc<CustomKinds>,
    events: Events,
    configuration: Arc<Configuration>,
    backend: Arc<ServiceBackend>,
    cloud: Option<Arc<dyn CloudProvider>>,
    /// What has to be finished at a stop.
    finishing: TaskTracker,
    /// What runs until the end.
    endless: JoinSet<()>,
    stop: CancellationToken,
}

impl Service {
    async fn run(mut self, outlets: Outlets, mut candidate: Option<Candidate>) -> anyhow::Result<()> {
        let stop = self.stop.clone();
        let result = tokio::select! {
            // The servers end by themselves then: that is no failure.
            biased;
            () = stop.cancelled() => Ok(()),
            result = self.work(outlets, &mut candidate) => result,
        };
        // From here on nobody is told to come again, and nothing new begins.
        stop.cancel();
        self.finishing.close();
        if let Some(candidate) = &mut candidate {
            if self.engine.tenure.holds() {
                let _ = tokio::time::timeout(DRAIN, self.finishing.wait()).await;
                self.engine.metrics.lease_transition("released");
            }
            // Leadership ends before the lease does.
            self.engine.tenure.end();
            self.engine.set_active(false);
            // Unreleased it expires.
            let _ = tokio::time::timeout(RELEASE, candidate.release()).await;
        }
        if tokio::time::timeout(FINISH, self.finishing.wait()).await.is_err() {
            tracing::warn!(tasks = self.finishing.len(), "not all that was under way could be finished in time");
        }
        self.engine.set_active(false);
        self.endless.shutdown().await;
        result
    }

    /// Starts everything and keeps it; returns only when it cannot go on.
    async fn work(&mut self, outlets: Outlets, candidate: &mut Option<Candidate>) -> anyhow::Result<()> {
        self.definitions().await;
        let pools = Arc::new(PoolObjects::default());
        let writer = Writer::new(self.engine.clone(), self.client.clone(), self.cloud.clone());
        self.endless.spawn(writer.run(outlets.writes, self.finishing.clone()));
        let recorder = Recorder::new(
            &self.engine,
            &self.client,
            self.options.wake,
            self.events.clone(),
            self.kinds.clone(),
            self.reader.clone(),
            pools.clone(),
        );
        let pool_status = recorder.pools();
        self.endless.spawn(pool_status.clone().run());
        self.endless.spawn(recorder.run(outlets.notices, self.finishing.clone(), self.stop.clone()));
        self.endless.spawn(sweep::tick(self.engine.clone()));
        let interval = Duration::from_secs(u64::from(self.file.resync_interval_minutes) * 60);
        self.endless.spawn(sweep::sweep(self.engine.clone(), self.reader.clone(), interval));
        if self.file.pools.is_none() {
            self.endless.spawn(watches::follow_config_map(
                self.client.clone(),
                self.configuration.clone(),
                Source::of(&self.file),
                self.engine.metrics.clone(),
            ));
        }

        if let Some(candidate) = candidate {
            // Before any list begins: nothing need be listed again if nobody leads until this replica does.
            candidate.note_vacancy().await;
        }
        let (reloads, synced) = self.watches(pools, pool_status.clone());
        // The first list of all is loaded as a whole.
        let (wish, loaded) = oneshot::channel();
        reloads.send(wish).context("the watch of FloatingIPs ended")?;
        self.caches(synced).await?;
        loaded.await.context("the watch of FloatingIPs ended")?;
        self.engine.with(|ledger, now| ledger.loaded(now));
        self.backend.set_synced();
        tracing::info!("caches are complete");

        let office = Office { engine: self.engine.clone(), reloads, pool_status };
        match candidate {
            Some(candidate) => match self.guarded(office.serve(candidate)).await?? {},
            None => {
                office.begin();
                self.guarded(std::future::pending()).await
            }
        }
    }

    /// Waits for something while nothing breaks off.
    async fn guarded<T>(&mut self, what: impl Future<Output = T>) -> anyhow::Result<T> {
        tokio::select! {
            done = what => Ok(done),
            Some(ended) = self.endless.join_next() => match ended {
                Ok(()) => bail!("a part of the service ended"),
                Err(error) => Err(error).context("a part of the service broke off"),
            },
        }
    }

    async fn definitions(&self) {
        self.backend.starting("the custom resource definitions are being made".to_owned());
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
        while let Err(error) = crds::ensure(&self.client).await {
            let error = format!("{error:#}");
            tracing::warn!(error, "custom resource definitions; trying again");
            self.backend.starting(error);
            backoff.wait().await;
        }
        self.backend.starting("the caches are being filled".to_owned());
    }

    fn watches(
        &mut self,
        pools: Arc<PoolObjects>,
        pool_status: Arc<PoolStatusWriter>,
    ) -> (mpsc::UnboundedSender<Reload>, Vec<(String, Synced)>) {
        let (client, metrics, engine) = (self.client.clone(), self.engine.metrics.clone(), self.engine.clone());
        let all = |resource| Following::all(&client, resource, &metrics);
        let tasks = &mut self.endless;
        let mut synced = vec![
            watches::spawn(tasks, all(watches::Nodes::resource()), watches::Nodes(engine.clone())),
            watches::spawn(tasks, all(watches::Deployments::resource()), watches::Deployments(engine.clone())),
            watches::spawn(tasks, all(watches::ReplicaSets::resource()), watches::ReplicaSets(engine.clone())),
            watches::spawn(tasks, all(watches::StatefulSets::resource()), watches::StatefulSets(engine.clone())),
            watches::spawn(
                tasks,
                all(watches::Pools::resource()),
                watches::Pools {
                    engine: engine.clone(),
                    objects: pools,
                    status: pool_status,
                    namespaces: self.options.pool_namespaces.clone(),
                },
            ),
            watches::spawn(tasks, all(watches::Pods::resource()), watches::Pods::new(engine.clone())),
        ];
        let (reloads, wishes) = mpsc::unbounded_channel();
        let (sender, listed) = watch::channel(false);
        let following = all(FloatingIps::resource());
        synced.push((following.resource.plural.clone(), listed));
        tasks.spawn(async move { FloatingIps::new(engine).follow(following, wishes, sender).await });
        (reloads, synced)
    }

    async fn caches(&mut self, synced: Vec<(String, Synced)>) -> anyhow::Result<()> {
        let mut missing: Vec<String> = synced.iter().map(|(name, _)| name.clone()).collect();
        for (name, mut synced) in synced {
            self.backend.starting(format!("the caches are being filled: {}", missing.join(", ")));
            self.guarded(async move { synced.wait_for(|synced| *synced).await.is_ok() }).await?;
            missing.retain(|other| *other != name);
        }
        Ok(())
    }
}

/// Where other replicas reach this one, if they can.
fn advertised(options: &Options) -> Option<IpAddr> {
    let bound = Some(options.bind).filter(|address| !address.is_unspecified() && !address.is_loopback());
    options.advertise_address.or(bound)
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "galaxy-ipam".to_owned() } else { name.to_owned() }
}
