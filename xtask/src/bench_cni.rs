//! `cargo xtask bench cni`: the plugins against Debian's reference plugins, called the same way in one run.

use std::{
    fs,
    io::Write,
    os::unix::{fs::symlink, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::{cargo, require, root};

/// Where Debian's containernetworking-plugins are.
const REFERENCE: &str = "/usr/lib/cni";

/// Attachments of each kind. They take turns, so that all see the same machine.
const ROUNDS: usize = 40;

/// Builds the plugin, measures, prints one row per target. Fails if one is missed.
pub(crate) fn run() -> Result<bool> {
    ensure!(Path::new(REFERENCE).join("bridge").exists(), "install the package containernetworking-plugins");
    require("the plugin", &mut cargo(&["build", "--release", "--locked", "--package", "galaxy-cni"]))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let bench = Bench::new(&target.join("release/galaxy-cni"))?;
    let mut times = Times::default();
    for number in 0..=ROUNDS {
        bench.round(number, &mut times)?;
        if number == 0 {
            // The first makes the bridge and fills caches.
            times = Times::default();
        }
    }
    let Times { ours, theirs, kernel } = times;
    let (add, del) = (p50(&ours.0), p50(&ours.1));
    let (their_add, their_del, bare) = (p50(&theirs.0), p50(&theirs.1), p50(&kernel));
    let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
    println!("p50 of {ROUNDS}: galaxy-underlay-veth ADD {}, DEL {}", ms(add), ms(del));
    println!(
        "               bridge + host-local  ADD {}, DEL {}; deleting a bare veth {}",
        ms(their_add),
        ms(their_del),
        ms(bare)
    );
    let rows = [
        ("ADD of galaxy-underlay-veth / bridge + host-local", add, their_add, 0.35),
        ("DEL of galaxy-underlay-veth / bridge + host-local", del, their_del, 0.85),
        ("DEL of galaxy-underlay-veth / deleting a bare veth", del, bare, 1.15),
    ];
    let mut all = true;
    for (what, ours, reference, target) in rows {
        let ratio = ours.as_secs_f64() / reference.as_secs_f64();
        all &= ratio <= target;
        println!("{what:52} {ratio:5.2}  target {target:.2}  {}", if ratio <= target { "met" } else { "missed" });
    }
    Ok(all)
}

#[derive(Default)]
struct Times {
    /// ADD and DEL.
    ours: (Vec<Duration>, Vec<Duration>),
    theirs: (Vec<Duration>, Vec<Duration>),
    /// Deleting a veth whose other end is in another namespace.
    kernel: Vec<Duration>,
}

fn p50(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times[times.len() / 2]
}

/// A host in a namespace of its own, with an uplink. All is gone when it is dropped.
struct Bench {
    host: String,
    /// Three for each round, made and deleted outside of what is measured: the kernel deletes them in its own time.
    pods: Vec<[String; 3]>,
    dir: PathBuf,
    bin: PathBuf,
}

impl Drop for Bench {
    fn drop(&mut self) {
        for name in self.pods.iter().flatten().chain([&self.host]) {
            let _ = ip(&["netns", "delete", name]);
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Bench {
    fn new(program: &Path) -> Result<Bench> {
        let id = std::process::id();
        let dir = std::env::temp_dir().join(format!("galaxy-bench-cni-{id}"));
        let pods = (0..=ROUNDS).map(|round| ["a", "b", "c"].map(|kind| format!("galaxy-bench-{id}-{round}{kind}")));
        let bench = Bench { host: format!("galaxy-bench-{id}"), pods: pods.collect(), bin: dir.join("bin"), dir };
        fs::create_dir_all(&bench.bin).with_context(|| format!("cannot create {}", bench.bin.display()))?;
        symlink(program, bench.bin.join("galaxy-underlay-veth"))?;
        for name in bench.pods.iter().flatten().chain([&bench.host]) {
            ip(&["netns", "add", name]).context("namespaces need root")?;
        }
        for command in [
            "link set lo up",
            "link add eth0 type veth peer name uplink",
            "link set eth0 up",
            "link set uplink up",
            "addr add 10.0.0.11/16 dev eth0",
        ] {
            let words: Vec<&str> = ["-n", &bench.host].into_iter().chain(command.split(' ')).collect();
            ip(&words)?;
        }
        Ok(bench)
    }

    /// One attachment of each kind, each in a new namespace.
    fn round(&self, number: usize, times: &mut Times) -> Result<()> {
        let ours = json!({
            "cniVersion": "1.0.0", "name": "ours", "type": "galaxy-underlay-veth", "device": "eth0",
            "run_dir": self.dir.join("run"),
        });
        let theirs = json!({
            "cniVersion": "1.0.0", "name": "theirs", "type": "bridge", "bridge": "cni0", "isGateway": true,
            "ipam": {
                "type": "host-local", "dataDir": self.dir.join("ipam"),
                "ranges": [[{ "subnet": "10.9.0.0/16" }]], "routes": [{ "dst": "0.0.0.0/0" }],
            },
        });
        let args = format!(
            r#"IgnoreUnknown=1;ipinfos=[{{"ip":"10.0.{}.20/16","vlan":0,"gateway":"10.0.0.1"}}]"#,
            1 + number % 200
        );
        let [a, b, c] = &self.pods[number];
        let plugins = [
            (a, self.bin.join("galaxy-underlay-veth"), &ours, &mut times.ours),
            (b, Path::new(REFERENCE).join("bridge"), &theirs, &mut times.theirs),
        ];
        for (pod, program, conf, (add, del)) in plugins {
            add.push(self.call(&program, "ADD", pod, &args, conf)?);
            del.push(self.call(&program, "DEL", pod, &args, conf)?);
        }
        ip(&["-n", &self.host, "link", "add", "bare", "type", "veth", "peer", "name", "eth0", "netns", c])?;
        ip(&["-n", &self.host, "link", "set", "bare", "up"])?;
        ip(&["-n", c, "link", "set", "eth0", "up"])?;
        let begin = Instant::now();
        ip(&["-n", &self.host, "link", "delete", "bare"])?;
        times.kernel.push(begin.elapsed());
        Ok(())
    }

    /// Calls a plugin as a runtime does; the time from its start to its end.
    fn call(&self, program: &Path, command: &str, pod: &str, args: &str, conf: &Value) -> Result<Duration> {
        // This enters the host's namespace and then becomes the plugin.
        let mut call = Command::new("nsenter");
        call.arg(format!("--net={}", netns(&self.host))).arg(program);
        call.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        call.env("CNI_COMMAND", command).env("CNI_CONTAINERID", pod).env("CNI_IFNAME", "eth0").env("CNI_ARGS", args);
        call.env("CNI_NETNS", netns(pod)).env("CNI_PATH", REFERENCE);
        call.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let begin = Instant::now();
        let mut child = call.spawn().context("cannot start nsenter")?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(conf.to_string().as_bytes())?;
        }
        let output = child.wait_with_output()?;
        let time = begin.elapsed();
        if !output.status.success() {
            bail!("{} {command}: {}", program.display(), String::from_utf8_lossy(&output.stdout));
        }
        Ok(time)
    }
}

fn netns(name: &str) -> String {
    format!("/run/netns/{name}")
}

fn ip(args: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(args).output().context("cannot start ip")?;
    ensure!(output.status.success(), "ip {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
