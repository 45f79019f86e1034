//! What goes wrong. A fault strikes in the middle of the load and is over when it returns.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use galaxy_plane::Component;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api, Client, Config,
    api::{DeleteParams, Patch, PatchParams},
};
use rand::Rng;
use serde_json::{Value, json};

use crate::{
    World,
    proxy::Weather,
    replica::{LEASE, heir},
};

/// How much longer than the lease a failover may take.
const TAKEOVER: Duration = Duration::from_secs(2);
/// How long a failover may take after SIGTERM: one second, and another for a busy machine. The report shows what it was.
const HANDOVER: Duration = Duration::from_secs(2);
/// How long a leader that slept through its lease may believe in it.
const STEP_DOWN: Duration = Duration::from_secs(1);
/// How long somebody may take to lead after a fault that leaves nobody well.
const RECOVERY: Duration = Duration::from_secs(60);

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    LeaderKilled,
    StandbyKilled,
    AllKilled,
    LeaderTerminated,
    LeaderFrozenLong,
    LeaderFrozenShort,
    ApiServerKilled,
    EtcdKilled,
    LeaderCut,
    AllCut,
    LeaderHalfOpen,
    StandbyHalfOpen,
    Delays,
    TooManyRequests,
    Unavailable,
    AnswersLost,
    WatchesExpired,
    Compacted,
    LeaseClock,
    LeaseStolen,
    LeaseOfStranger,
    LeaseDeleted,
}

/// Each kind once.
pub(crate) const ALL: [Fault; 22] = [
    Fault::LeaderKilled,
    Fault::StandbyKilled,
    Fault::AllKilled,
    Fault::LeaderTerminated,
    Fault::LeaderFrozenLong,
    Fault::LeaderFrozenShort,
    Fault::ApiServerKilled,
    Fault::EtcdKilled,
    Fault::LeaderCut,
    Fault::AllCut,
    Fault::LeaderHalfOpen,
    Fault::StandbyHalfOpen,
    Fault::Delays,
    Fault::TooManyRequests,
    Fault::Unavailable,
    Fault::AnswersLost,
    Fault::WatchesExpired,
    Fault::Compacted,
    Fault::LeaseClock,
    Fault::LeaseStolen,
    Fault::LeaseOfStranger,
    Fault::LeaseDeleted,
];

impl Fault {
    /// As `leader-killed`.
    pub(crate) fn name(self) -> String {
        let mut name = String::new();
        for letter in format!("{self:?}").chars() {
            if letter.is_uppercase() && !name.is_empty() {
                name.push('-');
            }
            name.push(letter.to_ascii_lowercase());
        }
        name
    }

    /// Lets it happen.
    ///
    /// # Errors
    /// The replicas do not behave as they should meanwhile.
    pub(crate) async fn strike(self, world: &mut World) -> Result<()> {
        let leader = world.leader().await?;
        world.stir(6).await;
        // Somewhere between filters and binds.
        let moment = world.random.random_range(0..800);
        tokio::time::sleep(Duration::from_millis(moment)).await;
        match self {
            Fault::LeaderKilled => {
                world.replicas[leader].process.kill();
                let (_, took) = heir(&world.replicas, |index| index != leader, LEASE + TAKEOVER).await?;
                world.report.note("failover of a killed leader", took);
            }
            Fault::StandbyKilled => {
                let standby = world.other(leader);
                world.replicas[standby].process.kill();
                world.stir(3).await;
            }
            Fault::AllKilled => {
                for replica in &mut world.replicas {
                    replica.process.kill();
                    replica.revive()?;
                }
                heir(&world.replicas, |_| true, RECOVERY).await?;
            }
            Fault::LeaderTerminated => world.terminate(leader).await?,
            Fault::LeaderFrozenLong => world.freeze_long(leader).await?,
            Fault::LeaderFrozenShort => {
                world.replicas[leader].freeze(true)?;
                tokio::time::sleep(LEASE / 3).await;
                world.replicas[leader].freeze(false)?;
            }
            Fault::ApiServerKilled => world.away(Component::ApiServer).await?,
            Fault::EtcdKilled => world.away(Component::Etcd).await?,
            Fault::LeaderCut => {
                world.weather(Some(leader), Weather { cut: true, ..Weather::default() });
                let (_, took) = heir(&world.replicas, |index| index != leader, LEASE + TAKEOVER).await?;
                world.report.note("failover of a leader that is cut off", took);
            }
            Fault::AllCut => world.bad_weather(None, Weather { cut: true, ..Weather::default() }).await,
            Fault::LeaderHalfOpen => {
                world.weather(Some(leader), Weather { half_open: true, ..Weather::default() });
                heir(&world.replicas, |index| index != leader, LEASE + TAKEOVER).await?;
            }
            Fault::StandbyHalfOpen => {
                let standby = world.other(leader);
                world.bad_weather(Some(standby), Weather { half_open: true, ..Weather::default() }).await;
            }
            Fault::Delays => {
                let delay = Duration::from_millis(world.random.random_range(50..1500));
                world.bad_weather(None, Weather { delay, ..Weather::default() }).await;
            }
            Fault::TooManyRequests => {
                world.bad_weather(None, Weather { storm: Some((429, 0.5)), ..Weather::default() }).await;
            }
            Fault::Unavailable => {
                world.bad_weather(None, Weather { storm: Some((503, 0.5)), ..Weather::default() }).await;
            }
            Fault::AnswersLost => world.bad_weather(None, Weather { lost: 0.3, ..Weather::default() }).await,
            Fault::WatchesExpired => world.bad_weather(None, Weather { expired: true, ..Weather::default() }).await,
            Fault::Compacted => {
                world.weather(None, Weather { cut: true, ..Weather::default() });
                world.stir(4).await;
                world.compact().await?;
            }
            Fault::LeaseClock => {
                for (renewed, acquired) in [("2199", "1971"), ("1971", "2199")] {
                    let time = |year: &str| format!("{year}-01-01T00:00:00.000000Z");
                    world.edit_lease(json!({"renewTime": time(renewed), "acquireTime": time(acquired)})).await?;
                    world.stir(2).await;
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                ensure!(world.leader().await? == leader, "times in the Lease moved leadership");
            }
            Fault::LeaseStolen => {
                let thief = world.other(leader);
                let identity = world.replicas[thief].identity.clone().unwrap_or_else(|| "nobody".to_owned());
                world.edit_lease(json!({"holderIdentity": identity})).await?;
                world.stir(4).await;
                heir(&world.replicas, |_| true, LEASE + TAKEOVER).await?;
            }
            Fault::LeaseOfStranger => {
                world.edit_lease(json!({"holderIdentity": "stranger"})).await?;
                world.stir(4).await;
                heir(&world.replicas, |_| true, LEASE + TAKEOVER).await?;
            }
            Fault::LeaseDeleted => {
                for _ in 0..3 {
                    world.delete_lease().await?;
                    world.stir(1).await;
                }
                ensure!(world.leader().await? == leader, "a deleted Lease moved leadership");
            }
        }
        Ok(())
    }
}

impl World {
    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), "kube-system")
    }

    async fn delete_lease(&self) -> Result<()> {
        match self.leases().delete("galaxy-ipam", &DeleteParams::default()).await {
            // Not made again yet.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            deleted => Ok(deleted.map(drop)?),
        }
    }

    async fn edit_lease(&self, spec: Value) -> Result<()> {
        let patch = Patch::Merge(json!({ "spec": spec }));
        self.leases().patch("galaxy-ipam", &PatchParams::default(), &patch).await.context("cannot edit the Lease")?;
        Ok(())
    }

    /// Which replica leads; its name is remembered.
    async fn leader(&mut self) -> Result<usize> {
        let (leader, _) = heir(&self.replicas, |_| true, RECOVERY).await?;
        // A Lease that was deleted a moment ago tells it another time.
        if let Some(lease) = self.leases().get_opt("galaxy-ipam").await? {
            self.replicas[leader].identity = lease.spec.and_then(|spec| spec.holder_identity);
        }
        Ok(leader)
    }

    /// Any other replica.
    fn other(&mut self, replica: usize) -> usize {
        let count = self.replicas.len();
        (replica + self.random.random_range(1..count)) % count
    }

    /// The weather at one replica, or at all.
    fn weather(&self, at: Option<usize>, weather: Weather) {
        for (index, replica) in self.replicas.iter().enumerate() {
            if at.is_none_or(|at| at == index) {
                replica.proxy.weather(weather.clone());
            }
        }
    }

    /// Bad weather for a few seconds, with load in it; then good again.
    async fn bad_weather(&mut self, at: Option<usize>, weather: Weather) {
        self.weather(at, weather);
        for _ in 0..3 {
            self.stir(2).await;
            let pause = self.random.random_range(300..2000);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        self.weather(at, Weather::default());
    }

    async fn terminate(&mut self, leader: usize) -> Result<()> {
        let (ended, (_, took)) = {
            let (before, rest) = self.replicas.split_at_mut(leader);
            let (terminated, after) = rest.split_first_mut().context("no leader")?;
            let others: Vec<_> = before.iter().chain(after.iter()).collect();
            let ended = terminated.process.stop(Duration::from_secs(15));
            let begun = Instant::now();
            let heir = async {
                loop {
                    let standings = futures::future::join_all(others.iter().map(|other| other.leads())).await;
                    if let Some(heir) = standings.iter().position(|leads| *leads) {
                        return Ok((heir, begun.elapsed()));
                    }
                    ensure!(begun.elapsed() < LEASE + TAKEOVER, "nobody took over");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            let (ended, heir) = futures::join!(ended, heir);
            (ended, heir?)
        };
        let ended = ended.context("it did not end on SIGTERM")?;
        ensure!(ended.success(), "it ended with {ended}: {}", self.replicas[leader].process.log_end());
        self.report.note("failover of a terminated leader", took);
        ensure!(took <= HANDOVER, "the failover after SIGTERM took {took:?}");
        Ok(())
    }

    /// The leader sleeps through its lease, with binds under way, and wakes.
    async fn freeze_long(&mut self, leader: usize) -> Result<()> {
        self.replicas[leader].freeze(true)?;
        let (_, took) = heir(&self.replicas, |index| index != leader, LEASE + TAKEOVER).await?;
        self.report.note("failover of a frozen leader", took);
        self.stir(4).await;
        let more = self.random.random_range(0..1500);
        tokio::time::sleep(Duration::from_millis(more)).await;
        self.replicas[leader].freeze(false)?;
        let woken = Instant::now();
        while self.replicas[leader].leads().await {
            ensure!(woken.elapsed() < STEP_DOWN, "the leader that slept still leads after {:?}", woken.elapsed());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.report.note("a frozen leader steps down in", woken.elapsed());
        Ok(())
    }

    async fn away(&mut self, component: Component) -> Result<()> {
        self.plane.kill(component);
        let away = self.random.random_range(500..7000);
        tokio::time::sleep(Duration::from_millis(away)).await;
        self.plane.restart(component).await?;
        self.plane.ready(Component::ApiServer).await?;
        heir(&self.replicas, |_| true, RECOVERY).await?;
        Ok(())
    }

    /// Makes etcd forget all history.
    async fn compact(&self) -> Result<()> {
        let etcd = Client::try_from(Config::new(self.plane.url(Component::Etcd).parse()?))?;
        let post = |path: &str, body: Value| http::Request::post(path).body(body.to_string().into_bytes());
        let answer = etcd.request_text(post("/v3/kv/range", json!({"key": "AA=="}))?).await?;
        let answer: Value = serde_json::from_str(&answer)?;
        let revision = answer["header"]["revision"].as_str().context("etcd does not say its revision")?;
        etcd.request_text(post("/v3/kv/compaction", json!({"revision": revision}))?).await.context("compaction")?;
        Ok(())
    }
}
