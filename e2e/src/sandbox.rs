//! Clusters on the embedded sandbox, with galaxy-ipam in the same process but in a runtime of its own, so that it can be killed.

use std::{
    net::IpAddr,
    sync::{
        Arc, Once,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use futures::future::BoxFuture;
use galaxy_api::names;
use galaxy_core::ledger::Time;
use galaxy_sandbox::{
    apiserver::Server,
    clock::{Clock, after},
    cluster::{self, SandboxCluster},
    controllers::{ControllersConfig, CustomWorkload},
    nodes::NodeSpec,
    scheduler::{ExtenderConfig, SchedulerConfig},
};
use jiff::Timestamp;
use kube::Client;
use serde_json::json;
use tokio::time::MissedTickBehavior;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    cluster::{Backend, Lab, Start},
    ipam::{Launch, Slot},
    setup::Setup,
};

/// How much faster than real time a cluster lives.
const SPEED: u32 = 20;
/// How often its time moves. It does not move while the machine is too busy to get here, so nothing times out for that.
const TICK: Duration = Duration::from_millis(5);
/// Longer than any scenario lives.
const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Real time that a condition may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A lab that makes sandboxes.
pub fn lab() -> Lab {
    static LOG: Once = Once::new();
    LOG.call_once(|| {
        // Set E2E_LOG=galaxy_ipam=debug to see what the service thinks.
        if let Ok(filter) = std::env::var("E2E_LOG") {
            let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer();
            let _ = subscriber.try_init();
        }
    });
    Lab::new(Sandboxes)
}

struct Sandboxes;

impl Start for Sandboxes {
    fn start(&self, setup: Setup) -> BoxFuture<'_, Result<Box<dyn Backend>>> {
        Box::pin(async move { Ok(Box::new(Sandbox::start(setup).await?) as Box<dyn Backend>) })
    }
}

/// A sandbox cluster with galaxy-ipam.
pub struct Sandbox {
    setup: Setup,
    clock: Clock,
    cluster: SandboxCluster,
    client: Client,
    ipam: Slot,
    _time: AbortOnDropHandle<()>,
}

impl Sandbox {
    async fn start(setup: Setup) -> Result<Self> {
        let clock = Clock::manual(Timestamp::now());
        let time = AbortOnDropHandle::new(tokio::spawn(pass(clock.clone())));
        let nodes = setup.nodes.iter().map(|node| {
            let address: IpAddr = node.address.parse()?;
            Ok(NodeSpec::new(&node.name, address))
        });
        let options = cluster::Options {
            clock: clock.clone(),
            nodes: nodes.collect::<Result<_>>()?,
            controllers: ControllersConfig { custom: custom_kinds(), ..ControllersConfig::default() },
            // Who is not woken sleeps on: nothing but an event brings a refused pod back.
            scheduler: SchedulerConfig { pod_max_in_unschedulable: NEVER, ..SchedulerConfig::default() },
            ..cluster::Options::default()
        };
        let cluster = SandboxCluster::start(options).await?;
        let client = cluster.client("e2e");
        let sandbox = Self { setup, clock, client, cluster, ipam: Slot::default(), _time: time };
        if let Some(pools) = &sandbox.setup.pools {
            let map = json!({"metadata": {"name": names::CONFIG_MAP}, "data": {names::CONFIG_MAP_KEY: pools}});
            let maps: kube::Api<k8s_openapi::api::core::v1::ConfigMap> =
                kube::Api::namespaced(sandbox.client.clone(), names::SYSTEM_NAMESPACE);
            maps.create(&Default::default(), &serde_json::from_value(map)?).await?;
        }
        sandbox.start_ipam(sandbox.setup.pools.is_some()).await?;
        Ok(sandbox)
    }

    async fn launch(&self, ready: bool) -> Result<()> {
        let clock = Arc::new(IpamClock { clock: self.clock.clone(), last: AtomicI64::new(0) });
        let (config, patience) = (self.cluster.api.config("galaxy-ipam"), ready.then_some(PATIENCE));
        self.ipam.start(Launch { config, setup: &self.setup, clock, ports: [0, 0], patience }).await?;
        let mut asked = ExtenderConfig::galaxy(format!("{}/v1", self.ipam.extender_url()));
        asked.node_cache_capable = self.setup.names_only;
        self.cluster.set_extender(Some(asked));
        Ok(())
    }
}

impl Backend for Sandbox {
    fn client(&self) -> Client {
        self.client.clone()
    }

    fn api_url(&self) -> String {
        self.ipam.api_url()
    }

    fn extender_url(&self) -> String {
        self.ipam.extender_url()
    }

    fn power_off<'a>(&'a self, node: &'a str) -> BoxFuture<'a, Result<()>> {
        self.cluster.nodes.power_off(node);
        Box::pin(async { Ok(()) })
    }

    fn power_on<'a>(&'a self, node: &'a str) -> BoxFuture<'a, Result<()>> {
        self.cluster.nodes.power_on(node);
        Box::pin(async { Ok(()) })
    }

    fn stop_ipam(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.ipam.stop())
    }

    fn kill_ipam(&self) {
        self.ipam.kill();
    }

    fn start_ipam(&self, ready: bool) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.launch(ready))
    }

    fn sweep(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.ipam.sweep())
    }

    fn check(&self) {
        self.ipam.check();
    }

    fn pass(&self, time: Duration) -> BoxFuture<'_, ()> {
        Box::pin(self.clock.sleep(time))
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }

    fn clock(&self) -> Option<&Clock> {
        Some(&self.clock)
    }

    fn server(&self) -> Option<&Server> {
        Some(&self.cluster.api)
    }
}

/// Custom workloads that the sandbox has controllers for: one as the documents have it, and one that is called like a kind of apps/v1.
fn custom_kinds() -> Vec<CustomWorkload> {
    vec![
        CustomWorkload::new("apps.tkestack.io", "v1", "TApp", "tapps"),
        CustomWorkload::new("apps.example.test", "v1", "StatefulSet", "statefulsets"),
    ]
}

/// Moves a clock along.
async fn pass(clock: Clock) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        clock.advance(TICK * SPEED);
    }
}

/// The sandbox's time as galaxy-ipam tells it: no two moments are the same, as on a real clock.
struct IpamClock {
    clock: Clock,
    last: AtomicI64,
}

impl galaxy_ipam::clock::Clock for IpamClock {
    fn now(&self) -> Time {
        let now = self.clock.now().as_microsecond();
        let last = self.last.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |last| Some(now.max(last + 1)));
        Time(now.max(last.unwrap_or(now) + 1))
    }

    fn sleep_until(&self, deadline: Time) -> BoxFuture<'_, ()> {
        let at = Timestamp::from_microsecond(deadline.0).unwrap_or(Timestamp::MAX);
        // The strictly growing time may run ahead of the clock a little; what wakes a little late loses nothing.
        Box::pin(self.clock.sleep_until(after(at, Duration::from_micros(1))))
    }
}
