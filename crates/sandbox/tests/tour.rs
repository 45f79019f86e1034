//! The program as a newcomer starts it.

mod markdown;

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use galaxy_cni::netlink::Netns;

fn galaxy_sandbox(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_galaxy-sandbox"));
    command.args(args).env("NO_COLOR", "1");
    command
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Whether namespaces can be made; else a line that no test harness swallows.
fn root() -> bool {
    static SKIPPED: AtomicUsize = AtomicUsize::new(0);
    if Netns::make().is_ok() {
        return true;
    }
    let count = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    let line = format!("\nSKIPPED {count} tests of the tour that need root, the last is {name}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    false
}

/// The command as it is for a user who cannot make namespaces.
fn without_root(args: &[&str]) -> Command {
    let plain = galaxy_sandbox(args);
    if Netns::make().is_err() {
        return plain;
    }
    let mut command = Command::new("setpriv");
    command.arg("--bounding-set=-sys_admin").arg(plain.get_program()).args(args).env("NO_COLOR", "1");
    command
}

/// A folder for what a program leaves behind.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Processes whose command line names a folder.
fn processes(folder: &Path) -> usize {
    let commands = fs::read_dir("/proc").unwrap().flatten().filter_map(|it| fs::read(it.path().join("cmdline")).ok());
    let name = folder.to_str().unwrap();
    commands.filter(|command| String::from_utf8_lossy(command).contains(name)).count()
}

fn keeps_every_promise(output: &Output) -> String {
    let text = text(output);
    assert!(output.status.success(), "{text}");
    let promised = text.matches("Promised: ").count();
    assert!(promised > 20, "{text}");
    assert!(text.contains(&format!("All {promised} promises were kept.")), "{text}");
    assert!(!text.contains("/swagger-ui/"), "nothing is served any more, but it says where: {text}");
    assert!(!text.contains("ERROR"), "{text}");
    text
}

#[test]
fn the_tour_keeps_every_promise_and_says_so() {
    let text = keeps_every_promise(&without_root(&["up", "--once"]).output().unwrap());
    assert!(text.contains("Left out: nodes and pods are made up"), "{text}");
    assert!(!text.contains("ANSWERS"), "{text}");
    readme_shows(&text, "text tour");
}

#[test]
fn with_root_pods_answer_and_nothing_stays_behind() {
    if !root() {
        return;
    }
    let folder = folder("tour-as-root");
    let output = galaxy_sandbox(&["up", "--once"]).env("TMPDIR", &folder).output().unwrap();
    let text = keeps_every_promise(&output);
    let answered = text.matches(" ping, HTTP ").count();
    assert!(answered > 20, "{answered} answers: {text}");
    assert!(!text.contains("nodes and pods are made up"), "{text}");
    readme_shows(&text, "text tour as root");
    assert_eq!(processes(&folder), 0);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}

#[test]
fn agents_end_with_a_sandbox_that_is_killed() {
    if !root() {
        return;
    }
    let folder = folder("killed");
    let mut command = galaxy_sandbox(&["up", "--no-tour"]);
    let mut child = Reaped(command.env("TMPDIR", &folder).stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("Up until Ctrl-C")));
    assert!(processes(&folder) >= 4);
    drop(child);
    let start = Instant::now();
    while processes(&folder) > 0 {
        assert!(start.elapsed() < Duration::from_secs(20), "{} agents are still there", processes(&folder));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What the README shows of the tour is what it prints, line for line, but for names, nodes, addresses and times that differ.
fn readme_shows(tour: &str, language: &str) {
    let differs = r"uid [0-9a-f-]+|-[a-z0-9]{5}\b|rack\d-[ab]|10\.0\.\d+\.\d+|[\d.]+ s\b";
    let differs = regex::Regex::new(differs).unwrap();
    let plain = |line: &str| differs.replace_all(&markdown::squeeze(line), "*").into_owned();
    let mut printed = tour.lines().map(plain);
    let readme = fs::read_to_string(markdown::root().join("README.md")).unwrap();
    let block = markdown::blocks(&readme).into_iter().find(|block| block.language == language).unwrap();
    for line in block.lines.iter().filter(|line| line.trim() != "…") {
        let shown = plain(line);
        assert!(printed.any(|printed| printed == shown), "the tour does not print {shown:?}:\n{tour}");
    }
}

/// A child that does not outlive its test.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn it_stays_up_until_it_is_told_to_end_and_leaves_nothing_behind() {
    let mut child = Reaped(galaxy_sandbox(&["up", "--no-tour"]).stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let kubeconfig =
        lines.find_map(|line| Some(PathBuf::from(line.trim().strip_prefix("kubeconfig")?.trim()))).unwrap();
    assert!(lines.any(|line| line.contains("Up until Ctrl-C")));
    assert!(fs::read_to_string(&kubeconfig).unwrap().contains("galaxy-sandbox"));
    let interrupted = Command::new("kill").args(["-INT", &child.0.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    let start = Instant::now();
    let status = loop {
        match child.0.try_wait().unwrap() {
            Some(status) => break status,
            None => assert!(start.elapsed() < Duration::from_secs(20), "still there"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(status.success(), "{status}");
    assert!(!kubeconfig.parent().unwrap().exists());
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let folder = folder("taken-port");
    for flag in ["--kube-port", "--api-port", "--extender-port"] {
        let output = galaxy_sandbox(&["up", "--once", flag, &port]).env("TMPDIR", &folder).output().unwrap();
        let text = text(&output);
        assert!(!output.status.success() && text.contains(&port), "{flag}: {text}");
        assert!(!text.contains("Promised"), "{flag}: {text}");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "{flag} leaves something behind");
    }
}

#[test]
fn help_is_for_people() {
    let text = text(&galaxy_sandbox(&["up", "--help"]).output().unwrap());
    for flag in ["--once", "--no-tour", "--api-port", "--extender-port", "--kube-port", "--kubeconfig"] {
        assert!(text.contains(flag), "{flag}: {text}");
    }
}
