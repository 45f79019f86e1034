//! A cluster in bad weather: a small life drawn from a seed, with faults at the API server; then calm, and an account of every address.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use galaxy_api::floatingip::State;
use galaxy_ipam::cloud::fake::{FakeProvider, Mood};
use galaxy_sandbox::apiserver::{Action, EventAction, Faults, Rule, Status};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde_json::{Value, json};

use crate::{
    Cluster, Lab, Seen, Setup, Workload,
    setup::rack_pool,
    workload::{CRASHING, Kind},
};

/// Addresses of the two racks.
const ADDRESSES: [usize; 2] = [7, 5];
/// Size of the pool `blue`.
const POOL_SIZE: u32 = 3;
/// Things that happen.
const STEPS: usize = 10;

/// Lives through the weather of `seed`.
///
/// # Errors
/// An address had two owners or was lost, or a pod slept while there was one for it. The text says after what.
pub async fn weather(lab: Lab, seed: u64) -> Result<()> {
    let mut rng = StdRng::seed_from_u64(seed);
    let cloud = if rng.random_bool(0.25) { Some(FakeProvider::start().await?) } else { None };
    let setup = Setup::racks(&[(2, ADDRESSES[0]), (1, ADDRESSES[1])]).flag("--reuse-delay=5s");
    let setup = match &cloud {
        Some(cloud) => setup.cloud(&cloud.address()),
        None => setup,
    };
    let c = lab.cluster(setup).await?;
    let mut life = Life { c, cloud, rng, workloads: Vec::new(), made: 0, told: Vec::new() };
    let lived = life.live(seed).await;
    lived.with_context(|| format!("seed {seed}, after {}", life.told.join(", ")))
}

struct Life {
    c: Cluster,
    cloud: Option<FakeProvider>,
    rng: StdRng,
    workloads: Vec<Workload>,
    made: usize,
    /// What happened so far.
    told: Vec<String>,
}

impl Life {
    async fn live(&mut self, seed: u64) -> Result<()> {
        self.c.set_pool("blue", POOL_SIZE, self.rng.random_bool(0.3)).await?;
        let faults = self.c.server()?.faults().clone();
        faults.seed(seed);
        rain(&faults);
        for _ in 0..STEPS {
            self.step().await?;
            self.pause().await?;
        }
        faults.clear();
        self.calm().await?;
        self.nobody_sleeps().await?;
        self.all_are_served().await?;
        self.nothing_is_lost().await
    }

    /// Lets a part of a few seconds pass, drawn from the seed: the storm decides what happens in between.
    async fn pause(&mut self) -> Result<()> {
        let millis = [0, 0, 300, 1000, 3000].choose(&mut self.rng).copied().unwrap_or_default();
        self.c.clock()?.sleep(Duration::from_millis(millis)).await;
        Ok(())
    }

    async fn step(&mut self) -> Result<()> {
        if self.workloads.is_empty() {
            return self.create().await;
        }
        match self.rng.random_range(0..26) {
            0..=4 if self.workloads.len() < 4 => self.create().await,
            0..=7 => self.scale().await,
            8..=10 => self.roll().await,
            11 => self.delete().await,
            12..=16 => self.lose_a_pod().await,
            17 => self.restart().await,
            18..=19 => self.crash().await,
            20 => {
                self.told.push("watches close".into());
                self.c.server()?.close_watches();
                Ok(())
            }
            21 => {
                self.told.push("history is forgotten".into());
                self.forget_history()
            }
            22 => {
                self.told.push("sweep".into());
                self.c.sweep().await
            }
            23 => {
                let seconds = self.rng.random_range(1..70);
                self.told.push(format!("{seconds} s pass"));
                self.c.clock()?.advance(Duration::from_secs(seconds));
                Ok(())
            }
            24 => self.reconfigure().await,
            _ => self.cloud_weather(),
        }
    }

    async fn create(&mut self) -> Result<()> {
        let name = format!("w{}", self.made);
        self.made += 1;
        let workload = match self.rng.random_range(0..8) {
            0 => Workload::deployment(&name),
            1 => Workload::deployment(&name).immutable(),
            2 => Workload::deployment(&name).never(),
            3 => Workload::deployment(&name).pool("blue"),
            4 => Workload::stateful_set(&name).immutable(),
            5 => Workload::stateful_set(&name).never(),
            6 => Workload::tapp(&name).immutable(),
            _ => Workload::stateful_set(&name)
                .immutable()
                .ranges(&json!([["10.64.1.10~10.64.2.14"], ["10.64.1.10~10.64.2.20"]])),
        };
        let workload = workload.replicas(self.rng.random_range(1..=3));
        self.told.push(format!("{:?} {name} with {} comes", workload.kind, workload.wanted()));
        self.c.apply(&workload).await?;
        self.workloads.push(workload);
        Ok(())
    }

    fn pick(&mut self) -> usize {
        self.rng.random_range(0..self.workloads.len())
    }

    async fn scale(&mut self) -> Result<()> {
        let (n, replicas) = (self.pick(), self.rng.random_range(0..=4));
        self.told.push(format!("{} is scaled to {replicas}", self.workloads[n].name));
        self.c.scale(&mut self.workloads[n], replicas).await
    }

    async fn roll(&mut self) -> Result<()> {
        let n = self.pick();
        let image = if self.rng.random_bool(0.15) {
            CRASHING.to_owned()
        } else {
            format!("nginx:{}", self.rng.random::<u16>())
        };
        self.told.push(format!("{} is rolled to {image}", self.workloads[n].name));
        self.c.roll(&mut self.workloads[n], &image).await
    }

    async fn delete(&mut self) -> Result<()> {
        let n = self.pick();
        let workload = self.workloads.remove(n);
        self.told.push(format!("{} is deleted", workload.name));
        self.c.delete(&workload).await
    }

    async fn lose_a_pod(&mut self) -> Result<()> {
        let seen = self.c.see().await?;
        let Some(pod) = seen.pods.choose(&mut self.rng) else { return Ok(()) };
        let (how, lost) = match self.rng.random_range(0..3) {
            0 => ("deleted", self.c.delete_pod(&pod.name).await),
            1 => ("evicted", self.c.evict_pod(&pod.name).await),
            _ => ("force deleted", self.c.force_delete_pod(&pod.name).await),
        };
        self.told.push(format!("{} is {how}", pod.name));
        // It may be gone already.
        drop(lost);
        Ok(())
    }

    async fn restart(&mut self) -> Result<()> {
        self.told.push("galaxy-ipam restarts".into());
        self.c.backend().stop_ipam().await?;
        self.c.backend().start_ipam(false).await
    }

    async fn crash(&mut self) -> Result<()> {
        self.told.push("galaxy-ipam crashes".into());
        self.c.backend().kill_ipam();
        self.c.backend().start_ipam(false).await
    }

    fn forget_history(&self) -> Result<()> {
        self.c.server()?.compact();
        self.c.server()?.close_watches();
        Ok(())
    }

    async fn reconfigure(&mut self) -> Result<()> {
        let addresses = self.rng.random_range(2..=ADDRESSES[1]);
        self.told.push(format!("rack b has {addresses} addresses"));
        self.c.configure(&document(addresses)).await
    }

    fn cloud_weather(&mut self) -> Result<()> {
        let moods = [Mood::Obey, Mood::Refuse("storm".into()), Mood::Break("storm".into()), Mood::DoAndBreak];
        let [assign, unassign] = [(); 2].map(|()| moods.choose(&mut self.rng).cloned().unwrap_or_default());
        if let Some(cloud) = &self.cloud {
            self.told.push(format!("the cloud does {assign:?} and {unassign:?}"));
            cloud.on_assign(assign);
            cloud.on_unassign(unassign);
        }
        Ok(())
    }

    /// The storm is over: everything that was withheld is told anew, and what the caches doubt is proved.
    async fn calm(&mut self) -> Result<()> {
        if let Some(cloud) = &self.cloud {
            cloud.on_assign(Mood::Obey);
            cloud.on_unassign(Mood::Obey);
        }
        self.c.configure(&document(ADDRESSES[1])).await?;
        self.forget_history()?;
        self.c
            .poll("galaxy-ipam is ready", || async {
                Ok(self.c.get("/readyz").await.is_ok_and(|answer| answer.status == 200).then_some(()))
            })
            .await?;
        self.c.sweep().await?;
        self.c.clock()?.advance(Duration::from_secs(70));
        self.c.sweep().await
    }

    /// No waiting pod sleeps while an address is free for it.
    async fn nobody_sleeps(&self) -> Result<()> {
        let supply: usize = ADDRESSES.iter().sum();
        self.c.agree().await?;
        self.c
            .until("who waits has no address to wait for", |seen| {
                let free = supply - seen.addresses.len().min(supply);
                let full = bound_in_pool(seen) >= POOL_SIZE as usize;
                let mut waiting = seen.pods.iter().filter(|pod| pod.node.is_empty() && !pod.deleting);
                let of_pool = |app: &str| self.workloads.iter().any(|it| it.name == app && is_pooled(it));
                // A pod with two ranges needs two addresses on one rack; one left over may not be for it.
                let needs = |app: &str| self.workloads.iter().find(|it| it.name == app).map_or(1, needs);
                waiting.all(|pod| free == 0 || full && of_pool(&pod.app) || needs(&pod.app) > 1)
            })
            .await?;
        self.c.settled().await
    }

    /// With fewer pods than addresses everybody is served.
    async fn all_are_served(&mut self) -> Result<()> {
        for workload in &mut self.workloads {
            if workload.wanted() > 1 {
                self.c.scale(workload, 1).await?;
            }
            if workload.current_image() == CRASHING {
                self.c.roll(workload, "nginx:good").await?;
            }
        }
        // What `never` keeps for nobody would make it tight.
        self.c
            .poll("all that nobody has is released", || async {
                let entries =
                    self.c.get("/v1/ip?size=999").await?.json()["content"].as_array().cloned().unwrap_or_default();
                let reserved = |entry: &Value| entry["releasable"] == true && entry["policy"] == 2;
                let reserved: Vec<Value> = entries.into_iter().filter(reserved).collect();
                if reserved.is_empty() {
                    return Ok(Some(()));
                }
                self.c.post("/v1/ip", &json!({ "ips": reserved })).await?;
                Ok(None)
            })
            .await?;
        for workload in &self.workloads {
            self.c.up(workload).await?;
        }
        self.c.settled().await
    }

    /// When all are gone, only what `never` keeps is left.
    async fn nothing_is_lost(&self) -> Result<()> {
        for workload in &self.workloads {
            self.c.delete(workload).await?;
        }
        self.c.until("no pods are left", |seen| seen.pods.is_empty()).await?;
        self.c.sweep().await?;
        self.c
            .until("only what never keeps is left", |seen| {
                seen.addresses.values().all(|it| it.state() == Some(State::Reserved) && it.object.spec.policy == 2)
            })
            .await?;
        if let Some(cloud) = &self.cloud {
            self.c
                .poll("nothing is routed any more", || async { Ok(cloud.routes().is_empty().then_some(())) })
                .await
                .with_context(|| format!("{:?}", cloud.routes()))?;
        }
        self.everything_can_be_had().await
    }

    /// No address is lost to a book-keeper either: all that no object records can be handed out, and who waits for more is woken.
    async fn everything_can_be_had(&self) -> Result<()> {
        let supply: usize = ADDRESSES.iter().sum();
        let kept = self.c.see().await?.addresses.len();
        let mut all = Workload::deployment("all").replicas(u32::try_from(supply - kept)?);
        self.c.apply(&all).await?;
        self.c.up(&all).await?;
        ensure!(self.c.see().await?.addresses.len() == supply);
        self.c.scale(&mut all, u32::try_from(supply - kept + 2)?).await?;
        self.c.one_waits(&all, "NoAddress").await?;
        // The scheduler does not see this happen: only a wake brings the pods back.
        self.c.configure(&document(ADDRESSES[1] + 2)).await?;
        self.c.up(&all).await?;
        self.c.settled().await
    }
}

fn document(in_rack_b: usize) -> Value {
    json!([rack_pool(1, ADDRESSES[0]), rack_pool(2, in_rack_b)])
}

fn is_pooled(workload: &Workload) -> bool {
    workload.kind == Kind::Deployment && workload.has_pool()
}

fn needs(workload: &Workload) -> usize {
    if workload.has_ranges() { 2 } else { 1 }
}

fn bound_in_pool(seen: &Seen) -> usize {
    seen.in_pool("blue").iter().filter(|it| it.state() == Some(State::Bound)).count()
}

/// What goes wrong between galaxy-ipam and the API server.
fn rain(faults: &Faults) {
    let mine = |action| Rule::new(action).agent("galaxy-ipam");
    let error = || Action::error(500, "InternalError");
    let after = || Action::ErrorAfter(Status::new(504, "Timeout", "injected fault: the request timed out"));
    for verb in ["create", "update", "delete"] {
        for (action, chance) in [
            (error(), 0.05),
            (after(), 0.05),
            (Action::Drop, 0.04),
            (Action::DropAfter, 0.06),
            (Action::Delay(Duration::from_millis(30)), 0.1),
        ] {
            faults.add(mine(action).verb(verb).resource("floatingips").probability(chance));
        }
    }
    for verb in ["update", "delete"] {
        faults.add(mine(Action::conflict()).verb(verb).resource("floatingips").probability(0.05));
    }
    for (action, chance) in [(error(), 0.05), (after(), 0.08), (Action::Drop, 0.04), (Action::DropAfter, 0.1)] {
        faults.add(mine(action).resource("pods").subresource("binding").probability(chance));
    }
    for (action, chance) in [(error(), 0.1), (Action::Drop, 0.05), (Action::conflict(), 0.05)] {
        faults.add(mine(action).verb("patch").probability(chance));
    }
    for verb in ["get", "list"] {
        faults.add(mine(Action::error(503, "ServiceUnavailable")).verb(verb).probability(0.05));
        faults.add(mine(Action::Drop).verb(verb).probability(0.03));
    }
    for (action, chance) in [
        (EventAction::Duplicate, 0.05),
        (EventAction::Drop, 0.02),
        (EventAction::Delay(Duration::from_millis(40)), 0.05),
        (EventAction::Close, 0.01),
        (EventAction::Expire, 0.01),
    ] {
        faults.add(mine(Action::Event(action)).probability(chance));
    }
}

/// The seed that `E2E_SEED` names, to live through it again; else the first `count`, or as many as `E2E_SEEDS` says.
pub fn seeds(count: u64) -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    match number("E2E_SEED") {
        Some(seed) => vec![seed],
        None => (1..=number("E2E_SEEDS").unwrap_or(count)).collect(),
    }
}
