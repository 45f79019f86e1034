//! The program as a newcomer starts it.

mod markdown;

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

fn galaxy_sandbox(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_galaxy-sandbox"));
    command.args(args).env("NO_COLOR", "1");
    command
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn the_tour_keeps_every_promise_and_says_so() {
    let output = galaxy_sandbox(&["up", "--once"]).output().unwrap();
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    let promised = text.matches("Promised: ").count();
    assert!(promised > 20, "{text}");
    assert!(text.contains(&format!("All {promised} promises were kept.")), "{text}");
    assert!(!text.contains("/swagger-ui/"), "nothing is served any more, but it says where: {text}");
    readme_shows(&text);
}

/// What the README shows of the tour is what it prints, line for line, but for names, nodes, addresses and times that differ.
fn readme_shows(tour: &str) {
    let differs = regex::Regex::new(r"-[a-z0-9]{5}\b|rack\d-[ab]|10\.0\.\d+\.\d+|[\d.]+ s\b").unwrap();
    let plain = |line: &str| differs.replace_all(&markdown::squeeze(line), "*").into_owned();
    let mut printed = tour.lines().map(plain);
    let readme = fs::read_to_string(markdown::root().join("README.md")).unwrap();
    let block = markdown::blocks(&readme).into_iter().find(|block| block.language == "text tour").unwrap();
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
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("taken-port");
    fs::create_dir_all(&folder).unwrap();
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
