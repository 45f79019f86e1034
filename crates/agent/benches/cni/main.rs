//! `cargo xtask bench cni`: the plugins, alone and by way of the agent, against Debian's reference plugins. All are called the same way and
//! take turns in one run, so that they see the same machine. One row per target; the exit code is 1 if one is missed.

mod node;
mod runtime;

use std::{
    path::PathBuf,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use galaxy_cni::netlink::Netns;
use node::Node;
use runtime::{Call, REFERENCE};

/// Attachments of each kind, one after another.
const ROUNDS: usize = 40;
/// Attachments at once.
const CROWD: usize = 100;

fn main() -> Result<ExitCode> {
    // Fails only if a provider was chosen before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // Cargo adds a flag of its own.
    let program = std::env::args_os().skip(1).map(PathBuf::from).find(|path| path.is_file());
    let program = program.context("name the program galaxy-cni: cargo xtask bench cni does")?;
    ensure!(PathBuf::from(REFERENCE).join("bridge").exists(), "install the package containernetworking-plugins");
    let runtime = tokio::runtime::Runtime::new()?;
    let mut node = runtime.block_on(Node::start(&program, 1 + ROUNDS + CROWD))?;
    let met = measure(&mut node)?;
    Ok(if met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[derive(Default)]
struct Times {
    add: Vec<Duration>,
    del: Vec<Duration>,
}

fn measure(node: &mut Node) -> Result<bool> {
    let [mut plugin, mut agent, mut bridge] = [(); 3].map(|()| Times::default());
    let mut kernel = Vec::new();
    for number in 0..=ROUNDS {
        if number == 1 {
            // The first makes the bridge and fills caches.
            [plugin, agent, bridge] = [(); 3].map(|()| Times::default());
            kernel.clear();
        }
        let kinds =
            [(node.plugin(number), &mut plugin), (node.bridge(number), &mut bridge), (node.agent(number), &mut agent)];
        for (call, times) in kinds {
            let pod = Netns::make()?;
            times.add.push(call.run(node.host(), "ADD", &pod)?);
            times.del.push(call.run(node.host(), "DEL", &pod)?);
            // What goes later would be in the way of the next.
            node.devices_gone()?;
        }
        kernel.push(node.delete_bare_veth()?);
    }
    let p50 = |times: &[Duration]| percentile(times, 50);
    println!("p50 of {ROUNDS}, one after another         ADD        DEL");
    for (what, times) in
        [("galaxy-underlay-veth", &plugin), ("galaxy-sdn and the agent", &agent), ("bridge + host-local", &bridge)]
    {
        println!("  {what:30} {:>9}  {:>9}", ms(p50(&times.add)), ms(p50(&times.del)));
    }
    println!("  {:30} {:>9}  {:>9}", "deleting a bare veth", "", ms(p50(&kernel)));

    let ours = crowd(node, Node::agent)?;
    let theirs = crowd(node, Node::bridge)?;
    println!("{CROWD} at once                            p50 of ADD     p99 of ADD     all DELs");
    for (what, crowd) in [("galaxy-sdn and the agent", &ours), ("bridge + host-local", &theirs)] {
        let (half, most) = (percentile(&crowd.adds, 50), percentile(&crowd.adds, 99));
        println!("  {what:30} {:>13}  {:>13}  {:>11}", ms(half), ms(most), ms(crowd.dels));
    }
    let rows = [
        ("ADD of galaxy-underlay-veth / bridge + host-local", p50(&plugin.add), p50(&bridge.add), 0.35),
        ("ADD by galaxy-sdn and the agent / bridge + host-local", p50(&agent.add), p50(&bridge.add), 0.5),
        ("DEL of galaxy-underlay-veth / bridge + host-local", p50(&plugin.del), p50(&bridge.del), 0.85),
        ("DEL of galaxy-underlay-veth / deleting a bare veth", p50(&plugin.del), p50(&kernel), 1.15),
        ("DEL by the agent / bridge + host-local", p50(&agent.del), p50(&bridge.del), 0.25),
        ("100 DELs at once by the agent / bridge + host-local", ours.dels, theirs.dels, 0.15),
    ];
    let mut all = true;
    for (what, ours, reference, target) in rows {
        let ratio = ours.as_secs_f64() / reference.as_secs_f64();
        all &= ratio <= target;
        println!("{what:55} {ratio:5.2}  target {target:.2}  {}", verdict(ratio <= target));
    }
    let answered = ours.answered.unwrap_or_default();
    all &= answered == CROWD;
    println!(
        "{:55} {answered:>5}  target {CROWD:4}  {}",
        "pods started at once that answer",
        verdict(answered == CROWD)
    );
    Ok(all)
}

struct Crowd {
    /// Times of ADD.
    adds: Vec<Duration>,
    /// Pods that answer a ping from the gateway, where that is looked at.
    answered: Option<usize>,
    /// From the first DEL until the last device is gone.
    dels: Duration,
}

/// Starts pods at once, and ends them at once.
fn crowd(node: &mut Node, kind: fn(&Node, usize) -> Call) -> Result<Crowd> {
    let pods: Result<Vec<(Call, Netns)>> =
        (0..CROWD).map(|number| Ok((kind(node, 1 + ROUNDS + number), Netns::make()?))).collect();
    let pods = pods?;
    let at_once = |node: &Node, command: &str| -> Result<Vec<Duration>> {
        thread::scope(|scope| {
            let calls = pods.iter().map(|(call, pod)| scope.spawn(move || call.run(node.host(), command, pod)));
            let calls: Vec<_> = calls.collect();
            calls.into_iter().map(|call| call.join().unwrap_or_else(|_| anyhow::bail!("a call failed badly"))).collect()
        })
    };
    let adds = at_once(node, "ADD")?;
    let ips = pods.iter().filter_map(|(call, _)| call.ip);
    let answered = ips.clone().next().is_some().then(|| ips.filter(|ip| node.answers(*ip)).count());
    let begin = Instant::now();
    at_once(node, "DEL")?;
    node.devices_gone()?;
    Ok(Crowd { adds, answered, dels: begin.elapsed() })
}

fn percentile(times: &[Duration], percent: usize) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times[(times.len() * percent / 100).min(times.len() - 1)]
}

fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "missed" }
}
