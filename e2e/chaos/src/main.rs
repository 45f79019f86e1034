//! Faults on a real control plane: several galaxy-ipam replicas under load, and everything that may go wrong with them.
//!
//! `cargo xtask chaos` builds and runs this. The same program is the replicas: started with the word `ipam` it is galaxy-ipam.
//!
//! | file | concern |
//! | --- | --- |
//! | `faults` | what goes wrong |
//! | `proxy` | the way to the API server |
//! | `replica` | processes, and the service before them |
//! | `load` | workloads |
//! | `oracle` | what must hold |
//! | `report` | how long failovers took |

mod faults;
mod load;
mod oracle;
mod proxy;
mod replica;
mod report;

use std::{
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Error, Result, bail, ensure};
use clap::Parser;
use galaxy_ipam::{cli::Options as IpamOptions, service};
use galaxy_plane::{Component, NEWEST, Options, Plane, Rack, Scheduler, wait_for};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client, api::PostParams};
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde_json::{Value, json};

use faults::Fault;
use load::Load;
use replica::{Replica, Service};
use report::Report;

/// The word that makes this program a replica.
pub(crate) const IPAM: &str = "ipam";

/// Faults on a real control plane.
#[derive(Parser)]
#[command(name = "cargo xtask chaos")]
struct Args {
    /// How many seeds; each brings every kind of fault once, in an order of its own.
    #[arg(long, default_value_t = 16)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Minor version of Kubernetes.
    #[arg(long, default_value = NEWEST)]
    kubernetes: String,
    /// Number of galaxy-ipam replicas.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=5))]
    replicas: u8,
    /// Only faults whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
}

/// What all faults and checks work with.
pub(crate) struct World {
    pub(crate) plane: Plane,
    pub(crate) client: Client,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) load: Load,
    pub(crate) random: StdRng,
    pub(crate) report: Report,
    _service: Service,
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let result = if args.nth(1).is_some_and(|word| word == IPAM) {
        ipam(args.collect()).await
    } else {
        run(Args::parse()).await
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Is a replica.
async fn ipam(args: Vec<std::ffi::OsString>) -> Result<()> {
    let options = IpamOptions::parse_args(std::iter::once("galaxy-ipam".into()).chain(args))?;
    galaxy_program::logging::init(options.log_format, &options.log_level, &options.notes)?;
    service::run(options, service::stop_signal()).await
}

async fn run(args: Args) -> Result<()> {
    println!("Kubernetes {}, {} replicas of galaxy-ipam", args.kubernetes, args.replicas);
    let mut world = World::start(&args).await?;
    let (begun, mut done) = (Instant::now(), 0);
    for seed in args.seed..args.seed + args.seeds {
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let mut faults: Vec<Fault> =
            faults::ALL.iter().copied().filter(|fault| fault.name().contains(&args.only)).collect();
        ensure!(!faults.is_empty(), "no fault has a name with {:?}", args.only);
        faults.shuffle(&mut random);
        world.random = random;
        for fault in faults {
            let (started, result) = (
                Instant::now(),
                tokio::select! {
                    result = world.suffer(fault) => result,
                    _ = tokio::signal::ctrl_c() => return world.plane.stop(),
                },
            );
            if let Err(error) = result {
                // What follows would be judged by what this one left behind.
                println!("FAILED seed {seed}, fault {}: {error:#}", fault.name());
                println!("{done} passed, 1 failed");
                bail!("not everything held");
            }
            done += 1;
            println!("  {done:4}  {:22} {:5.1} s", fault.name(), started.elapsed().as_secs_f64());
        }
    }
    println!("{}", world.report);
    println!("{done} faults in {:.0} s, and everything held", begun.elapsed().as_secs_f64());
    let World { plane, replicas, .. } = world;
    drop(replicas);
    plane.stop()?;
    println!("{done} passed, 0 failed");
    Ok(())
}

impl World {
    async fn start(args: &Args) -> Result<Self> {
        let racks = Rack::letters(&[3, 3])?;
        let options = Options {
            version: args.kubernetes.clone(),
            racks: racks.clone(),
            scheduler: None,
            // An API server that was away for a while must not make all nodes fail: that is another test's matter.
            eviction_after: Duration::from_secs(300),
            node_grace: Some(Duration::from_secs(60)),
            ..Options::default()
        };
        let plane = Plane::start(options).await?;
        let client = plane.client();
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "kube-system");
        maps.create(&PostParams::default(), &serde_json::from_value(topology(&racks))?).await?;
        let mut replicas = Vec::new();
        for number in 1..=args.replicas {
            replicas.push(Replica::start(&plane, number.into(), args.seed).await?);
        }
        wait_for("a leader", Duration::from_secs(60), async || {
            for replica in &replicas {
                let standing = replica.standing().await;
                ensure!(standing.starts_with("ok"), "{standing}");
            }
            Ok(())
        })
        .await?;
        let service = Service::start(replicas.iter().map(|replica| replica.port).collect()).await?;
        let mut scheduler = Scheduler::with_galaxy(&format!("http://127.0.0.1:{}", service.port), true);
        // What an extender's error costs is no more than a few seconds.
        scheduler.document()["podMaxBackoffSeconds"] = json!(3);
        plane.schedule(&scheduler).await?;
        let load = Load::start(client.clone()).await?;
        let random = StdRng::seed_from_u64(args.seed);
        let mut world = Self { plane, client, replicas, load, random, report: Report::default(), _service: service };
        world.settle().await.context("before any fault")?;
        Ok(world)
    }

    /// A fault in the middle of everything, and then the checks.
    async fn suffer(&mut self, fault: Fault) -> Result<()> {
        let broken = Arc::new(Mutex::new(None));
        let watch = {
            let (client, broken) = (self.client.clone(), broken.clone());
            tokio::spawn(async move {
                loop {
                    if let Err(error) = oracle::no_address_twice(&client).await {
                        broken.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    }
                    tokio::time::sleep(Duration::from_millis(300)).await;
                }
            })
        };
        let suffered = fault.strike(self).await;
        for replica in &mut self.replicas {
            replica.proxy.weather(proxy::Weather::default());
            replica.revive()?;
        }
        suffered?;
        let settled = self.settle().await;
        watch.abort();
        match broken.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => Err(error),
            None => settled,
        }
    }

    /// Some more load, which meets whatever is going on.
    pub(crate) async fn stir(&mut self, things: usize) {
        self.load.stir(&mut self.random, things).await;
    }

    /// Keeps kube-scheduler alive, which ends by itself when events that it missed make it doubt its cache. Returns only an error.
    async fn keep_scheduling(&self) -> Error {
        loop {
            match self.plane.revive(Component::Scheduler).await {
                Ok(false) => {}
                Ok(true) => println!("    kube-scheduler had ended; it is started again"),
                Err(error) => return error,
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    async fn settle(&mut self) -> Result<()> {
        wait_for("the API server to hear what is wanted", Duration::from_secs(60), async || self.load.insist().await)
            .await?;
        let took = tokio::select! {
            settled = oracle::settled(&self.client, &self.load.apps) => settled?,
            broken = self.keep_scheduling() => return Err(broken),
        };
        self.report.note("settled", took);
        // Every replica is well again.
        for replica in &self.replicas {
            wait_for("a replica to be well", Duration::from_secs(30), async || {
                let standing = replica.standing().await;
                ensure!(standing.starts_with("ok"), "{standing}");
                Ok(())
            })
            .await?;
        }
        Ok(())
    }
}

/// Sixty addresses for the pods of each rack.
fn topology(racks: &[Rack]) -> Value {
    let pool = |(number, rack): (usize, &Rack)| {
        json!({
            "nodeSubnets": [rack.subnet.to_string()],
            "ips": [format!("10.64.{number}.10~10.64.{number}.69")],
            "subnet": format!("10.64.{number}.0/24"),
            "gateway": format!("10.64.{number}.1"),
        })
    };
    let pools: Vec<Value> = racks.iter().enumerate().map(pool).collect();
    json!({
        "metadata": {"name": "floatingip-config"},
        "data": {"floatingips": Value::Array(pools).to_string()},
    })
}
