//! galaxy-sdn and an agent that the test plays.

use std::{
    io::{Read, Write},
    os::unix::{net::UnixListener, process::CommandExt},
    path::PathBuf,
    process::{Command, Stdio},
    thread,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

/// Calls galaxy-sdn while the agent answers `status` and `body` once. Returns success, what it printed, and the
/// request that the agent got.
fn call(name: &str, command: &str, version: &str, status: u16, body: &str) -> (bool, Value, String) {
    let path = socket(name);
    let listener = UnixListener::bind(&path).unwrap();
    let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let agent = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let length = stream.read(&mut buffer).unwrap();
            request.extend(&buffer[..length]);
            let text = String::from_utf8_lossy(&request).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let wanted = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
            if body.len() >= wanted.parse().unwrap() {
                stream.write_all(answer.as_bytes()).unwrap();
                return text;
            }
        }
    });
    let (success, out) = run(&path, command, version);
    std::fs::remove_file(&path).unwrap();
    (success, out, agent.join().unwrap())
}

fn socket(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("galaxy-sdn-{}-{name}.sock", std::process::id()))
}

fn conf(path: &std::path::Path, version: &str) -> String {
    json!({ "cniVersion": version, "name": "galaxy", "type": "galaxy-sdn", "socket": path }).to_string()
}

fn run(path: &std::path::Path, command: &str, version: &str) -> (bool, Value) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_galaxy-cni"))
        .arg0("/opt/cni/bin/galaxy-sdn")
        .env_clear()
        .envs([("CNI_COMMAND", command), ("CNI_CONTAINERID", "c1"), ("CNI_NETNS", "/ns"), ("CNI_IFNAME", "eth0")])
        .envs([("CNI_PATH", "/opt/cni/bin"), ("CNI_ARGS", "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart-2")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(conf(path, version).as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.success(), serde_json::from_slice(&output.stdout).unwrap_or_default())
}

#[test]
fn the_agent_gets_environment_and_configuration() {
    let answer = json!({ "ip4": { "ip": "10.0.0.5/24", "gateway": "10.0.0.1" } }).to_string();
    let (success, result, request) = call("request", "ADD", "0.2.0", 200, &answer);
    assert!(success, "{result}");
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /cni HTTP/1."), "{head}");
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["env"]["CNI_ARGS"], "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart-2");
    assert_eq!(body["env"]["CNI_COMMAND"], "ADD");
    let config = STANDARD.decode(body["config"].as_str().unwrap()).unwrap();
    assert_eq!(String::from_utf8(config).unwrap(), conf(&socket("request"), "0.2.0"));
}

/// Row 48: whatever version the agent answers in, the runtime sees the addresses in the version that it asked for.
#[test]
fn results_are_in_the_version_that_was_asked_for() {
    let old = json!({ "cniVersion": "0.2.0", "ip4": { "ip": "10.0.0.5/24", "gateway": "10.0.0.1" } });
    let new = json!({ "cniVersion": "1.0.0", "ips": [{ "address": "10.0.0.5/24", "gateway": "10.0.0.1" }] });
    for (number, answer) in [old, new].iter().enumerate() {
        for version in ["0.1.0", "0.2.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
            let name = format!("version-{number}-{version}");
            let (success, result, _) = call(&name, "ADD", version, 200, &answer.to_string());
            assert!(success && result["cniVersion"] == version, "{result}");
            let address = if version < "0.3.0" { &result["ip4"]["ip"] } else { &result["ips"][0]["address"] };
            assert_eq!(address, "10.0.0.5/24", "{answer} as {version}");
        }
    }
}

#[test]
fn errors_of_the_agent_reach_the_runtime() {
    for (number, (status, body, code, word)) in [
        (500, "no network info", 5, "galaxy returns: no network info"),
        (400, "bad\n", 5, "galaxy returns: bad"),
        (500, r#"{"code":11,"msg":"pod has no addresses yet"}"#, 11, "pod has no addresses yet"),
        (200, "", 6, "not JSON"),
        (200, "{}", 6, "without addresses"),
        (200, r#"{"cniVersion":"9.0.0"}"#, 1, "9.0.0"),
    ]
    .into_iter()
    .enumerate()
    {
        let (success, error, _) = call(&format!("error-{number}"), "ADD", "1.0.0", status, body);
        assert!(!success && error["code"] == code, "{error}");
        assert!(error["msg"].as_str().unwrap().contains(word), "{error}");
    }
    let (success, out, _) = call("del", "DEL", "1.0.0", 200, "");
    assert!(success && out.is_null());
}

#[test]
fn an_agent_that_is_away_is_named() {
    let path = socket("nobody");
    for (command, code) in [("ADD", 11), ("DEL", 11), ("STATUS", 50)] {
        let (success, error) = run(&path, command, "1.1.0");
        assert!(!success && error["code"] == code, "{error}");
        assert!(error["msg"].as_str().unwrap().contains("nobody.sock"), "{error}");
    }
}
