//! libcni, the library of container runtimes, by its own tool `cnitool`. Needs Go to build it.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use crate::{
    lab::{Lab, PROGRAM, Space, UNDERLAY, VLAN, root},
    traffic::ping,
};

/// The tool, built from the pinned module unless that was done before; none without Go.
fn cnitool() -> Option<PathBuf> {
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../e2e/go/cni");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cnitool-1");
    let tool = folder.join("cnitool");
    let changed = |path: &Path| fs::metadata(path).and_then(|file| file.modified());
    let fresh = changed(&tool).and_then(|built| Ok(built > changed(&module.join("go.sum"))?)).unwrap_or(false);
    if !fresh {
        fs::create_dir_all(&folder).unwrap();
        let half = folder.join(format!("half-{}", std::process::id()));
        let build = Command::new("go")
            .args(["build", "-mod=readonly", "-o"])
            .arg(&half)
            .arg("github.com/containernetworking/cni/cnitool")
            .env("GOWORK", "off")
            .env("CGO_ENABLED", "0")
            .current_dir(&module)
            .output();
        let Ok(build) = build else {
            let line = b"\nSKIPPED 2 tests of galaxy-cni with libcni: install Go\n";
            let _ = io::stderr().write_all(line);
            return None;
        };
        assert!(build.status.success(), "cnitool: {}", String::from_utf8_lossy(&build.stderr));
        fs::rename(half, &tool).unwrap();
    }
    Some(tool)
}

/// A node with a configuration folder and the plugins, for one pod.
struct Client {
    lab: Lab,
    pod: Space,
    tool: PathBuf,
}

impl Client {
    fn new(tool: PathBuf) -> Client {
        let lab = Lab::new();
        for folder in ["net.d", "bin", "lib"] {
            fs::create_dir(lab.dir.join(folder)).unwrap();
        }
        for plugin in [UNDERLAY, VLAN] {
            symlink(PROGRAM, lab.dir.join("bin").join(plugin)).unwrap();
        }
        Client { lab, pod: Space::make(), tool }
    }

    fn configure(&self, versions: Value, plugin: Value) {
        let mut list = json!({ "name": "net", "plugins": [plugin] });
        list.as_object_mut().unwrap().extend(versions.as_object().unwrap().clone());
        fs::write(self.lab.dir.join("net.d/10-net.conflist"), list.to_string()).unwrap();
    }

    /// Exit and output. The tool's cache is below /var/lib, which is another folder for it.
    fn run(&self, verb: &str) -> (bool, String) {
        let dir = &self.lab.dir;
        let output = self.lab.hosts[0].ns.within(|| {
            Command::new("unshare")
                .args(["--mount", "sh", "-c", r#"mount --bind "$1" /var/lib && shift && exec "$@""#, "sh"])
                .arg(dir.join("lib"))
                .arg(&self.tool)
                .args([verb, "net", &self.pod.path()])
                .env("NETCONFPATH", dir.join("net.d"))
                .env("CNI_PATH", dir.join("bin"))
                .env("CNI_ARGS", r#"IgnoreUnknown=1;ipinfos=[{"ip":"10.0.0.20/24","vlan":0,"gateway":"10.0.0.1"},{"ip":"10.0.0.21/24","vlan":0,"gateway":"10.0.0.1"}]"#)
                .output()
                .unwrap()
        });
        let output = output.unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    }

    #[track_caller]
    fn done(&self, verb: &str) -> String {
        let (success, text) = self.run(verb);
        assert!(success, "{verb}: {text}");
        text
    }
}

/// Every verb in every version that libcni still reads; it asks for VERSION itself.
#[test]
fn libcni_calls_every_verb_in_every_version() {
    if !root() {
        return;
    }
    let Some(tool) = cnitool() else { return };
    for (plugin, more) in [(UNDERLAY, json!({})), (VLAN, json!({ "switch": "macvlan" }))] {
        let mut client = Client::new(tool.clone());
        let before = client.lab.hosts[0].state();
        for version in ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
            client.configure(json!({ "cniVersion": version }), client.lab.conf(0, plugin, more.clone()));
            let result: Value = serde_json::from_str(&client.done("add")).unwrap();
            assert_eq!(result["cniVersion"], version);
            assert_eq!(result["ips"][1]["address"], "10.0.0.21/24", "{result}");
            let interfaces = result["interfaces"].as_array().unwrap();
            let in_pod = interfaces.iter().filter(|interface| interface["sandbox"] == client.pod.path());
            assert_eq!(in_pod.count(), 2, "{result}");
            ping(&client.pod.ns, "10.0.0.21", "10.0.0.1");
            if version >= "0.4.0" {
                client.done("check");
                let index = client.pod.index("eth1");
                client.pod.net.delete_address(index, "10.0.0.21/24".parse().unwrap()).unwrap();
                let (success, text) = client.run("check");
                assert!(!success && text.contains("10.0.0.21"), "{text}");
            }
            if version >= "1.1.0" {
                client.done("status");
                // Without a list of what is in use the library calls DEL for all that it made, and the plugin guesses
                // nothing.
                let (success, text) = client.run("gc");
                assert!(!success && text.contains("valid-attachments"), "{text}");
                assert_eq!(client.lab.hosts[0].state(), before);
            }
            client.done("del");
            client.done("del");
            assert_eq!(client.lab.hosts[0].state(), before, "{plugin} {version}");
            assert_eq!(client.pod.net.links().unwrap().len(), 1);
        }
    }
}

/// Row 49: a version that the plugin does not speak is refused by its number, with those that it does speak; of a list,
/// libcni takes the newest one; a configuration without a name works.
#[test]
fn libcni_hears_which_versions_are_spoken() {
    if !root() {
        return;
    }
    let Some(tool) = cnitool() else { return };
    let mut client = Client::new(tool);
    let conf = client.lab.conf(0, UNDERLAY, json!({}));
    for version in ["1.2.0", "2.0.0"] {
        client.configure(json!({ "cniVersion": version }), conf.clone());
        let (success, text) = client.run("add");
        assert!(!success && text.contains(version), "{text}");
        assert_eq!(client.pod.net.links().unwrap().len(), 1);
    }
    client.configure(json!({ "cniVersions": ["0.4.0", "1.0.0", "1.1.0"] }), conf.clone());
    let result: Value = serde_json::from_str(&client.done("add")).unwrap();
    assert_eq!(result["cniVersion"], "1.1.0", "{result}");
    client.done("del");
}
