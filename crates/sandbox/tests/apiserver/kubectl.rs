//! The real kubectl against the server, where it is installed.

use std::{
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

use galaxy_sandbox::apiserver::Server;
use serde_json::json;

use super::{custom::definition, start};

struct Kubectl {
    config: PathBuf,
    // kubectl keeps what it discovered; each server needs its own memory.
    home: PathBuf,
}

impl Drop for Kubectl {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

/// `None`, loudly, where there is no kubectl.
fn kubectl(server: &Server) -> Option<Kubectl> {
    let found = Command::new("kubectl").args(["version", "--client"]).output();
    if !found.is_ok_and(|out| out.status.success()) {
        eprintln!("SKIPPED: kubectl is not installed, its tests were not run");
        return None;
    }
    let home =
        std::env::temp_dir().join(format!("galaxy-sandbox-kubectl-{}", server.url().rsplit(':').next().unwrap()));
    std::fs::create_dir_all(&home).unwrap();
    let config = home.join("config");
    std::fs::write(&config, server.kubeconfig()).unwrap();
    Some(Kubectl { config, home })
}

impl Kubectl {
    /// Exit and output (both streams) of a command line, with `input` on its standard input.
    fn try_run(&self, line: &str, input: &str) -> (bool, String) {
        let mut child = Command::new("kubectl")
            .args(line.split_whitespace())
            .env("KUBECONFIG", &self.config)
            .env("HOME", &self.home)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let out = child.wait_with_output().unwrap();
        let text = [out.stdout, out.stderr].concat();
        (out.status.success(), String::from_utf8_lossy(&text).into_owned())
    }

    #[track_caller]
    fn run(&self, line: &str, input: &str, expected: &[&str]) -> String {
        let (ok, text) = self.try_run(line, input);
        assert!(ok, "kubectl {line}: {text}");
        for part in expected {
            assert!(text.contains(part), "kubectl {line}: no {part:?} in: {text}");
        }
        text
    }

    #[track_caller]
    fn fails(&self, line: &str, input: &str, expected: &str) {
        let (ok, text) = self.try_run(line, input);
        assert!(!ok && text.contains(expected), "kubectl {line}: no {expected:?} in: {text}");
    }
}

const WEB: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: nginx, image: 'nginx:1.7.9', env: [{name: A, value: b}]}]}
";

#[tokio::test(flavor = "multi_thread")]
async fn built_in_kinds() {
    let (server, client) = start().await;
    let Some(k) = kubectl(&server) else { return };
    let api = client.clone();
    tokio::task::spawn_blocking(move || {
        k.run("create -f -", WEB, &["deployment.apps/web created"]);
        k.fails("create -f -", WEB, "AlreadyExists");
        k.run("apply -f -", WEB, &["deployment.apps/web configured"]);
        k.run("apply -f -", WEB, &["deployment.apps/web unchanged"]);
        let without = WEB.replace(", env: [{name: A, value: b}]", ", ports: [{containerPort: 80}]");
        k.run("apply -f -", &without, &["configured"]);
        let shown = k.run("get deploy web -o yaml", "", &["containerPort: 80", "maxSurge: 25%"]);
        assert!(!shown.contains("value: b"), "apply takes away what is no longer wanted: {shown}");
        k.run("apply --server-side --force-conflicts -f -", &WEB.replace("replicas: 2", "replicas: 3"), &["serverside-applied"]);
        k.run("get deploy", "", &["NAME   READY   UP-TO-DATE   AVAILABLE   AGE", "web    0/3"]);
        k.run("get deploy -o wide", "", &["CONTAINERS", "nginx:1.7.9", "app=web"]);
        k.fails("apply -f -", &WEB.replace("replicas:", "replicaz:"), "unknown field \"spec.replicaz\"");
        k.fails("apply -f -", &WEB.replace("matchLabels: {app: web}", "matchLabels: {app: other}"), "is invalid");
        k.run("scale deployment web --replicas=4", "", &["scaled"]);
        k.fails("scale deployment web --current-replicas=9 --replicas=5", "", "Expected replicas to be 9");
        k.run("annotate deployment web a=b", "", &["annotated"]);
        k.run("label deployment web x=y", "", &["labeled"]);
        k.run("get deploy -l x=y --show-labels", "", &["web    0/4", "x=y"]);
        k.run("label deployment web x-", "", &["unlabeled"]);
        k.run("set image deployment/web nginx=nginx:2", "", &["image updated"]);
        k.run("rollout restart deployment web", "", &["restarted"]);
        k.run("rollout pause deployment web", "", &["paused"]);
        k.run("describe deployment web", "", &["Replicas:               4 desired", "nginx:2", "restartedAt", "Events:"]);
        k.run("explain deployment.spec.strategy", "", &["rollingUpdate"]);
        k.run("diff -f -", &k.run("get deploy web -o yaml", "", &[]), &[]);

        // These bodies are protobuf.
        k.run("create namespace x", "", &["namespace/x created"]);
        k.run("create configmap m --from-literal=a=b -n x", "", &["created"]);
        k.run("create secret generic s --from-literal=a=b -n x", "", &["created"]);
        k.run("create deployment d --image=nginx --replicas=0 -n x", "", &["created"]);
        k.run("get all,cm,secret -n x", "", &["deployment.apps/d   0/0", "configmap/m", "secret/s"]);
        k.run("get secret s -n x -o jsonpath={.data.a}", "", &["Yg=="]);
        k.run("delete namespace x --timeout=20s", "", &["deleted"]);
        k.fails("get namespace x", "", "NotFound");

        k.run("run p --image=nginx", "", &["pod/p created"]);
        k.run("get pods -o wide", "", &["p      0/1     Pending   0", "NOMINATED NODE"]);
        k.run("describe pod p", "", &["Status:           Pending", "QoS Class:        BestEffort"]);
        k.fails("wait --for=condition=Ready pod/p --timeout=1s", "", "timed out");
        k.run("patch pod p --subresource=status --type=merge -p {\"status\":{\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\"}]}}", "", &["patched"]);
        k.run("wait --for=condition=Ready pod/p --timeout=10s", "", &["condition met"]);
        k.run("delete pod p", "", &["deleted"]);
        k.fails("logs p", "", "not found");
        k.fails("get hpa", "", "the server doesn't have a resource type");
        k.run("auth can-i delete pods", "", &["yes"]);
        k.run("api-resources", "", &["deployments", "poddisruptionbudgets"]);
        k.run("version", "", &["v1.37.2-galaxy-sandbox"]);
        k.run("delete deployment web", "", &["deleted"]);
    })
    .await
    .unwrap();
    drop(api);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_and_events() {
    let (server, _client) = start().await;
    let Some(k) = kubectl(&server) else { return };
    tokio::task::spawn_blocking(move || {
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1", "labels": {"node-role.kubernetes.io/worker": ""}},
            "status": {"capacity": {"cpu": "4"}, "conditions": [{"type": "Ready", "status": "True"}],
                "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}], "nodeInfo": {"kubeletVersion": "v1.37.2", "osImage": "", "kernelVersion": "", "containerRuntimeVersion": "", "architecture": "", "bootID": "", "kubeProxyVersion": "", "machineID": "", "operatingSystem": "", "systemUUID": ""}}});
        k.run("apply -f -", &node.to_string(), &["created"]);
        k.run("get nodes -o wide", "", &["n1     Ready    worker", "v1.37.2", "10.0.0.1"]);
        k.run("taint node n1 k=v:NoSchedule", "", &["tainted"]);
        k.run("cordon n1", "", &["cordoned"]);
        k.run("get node", "", &["Ready,SchedulingDisabled"]);
        k.run("describe node n1", "", &["Taints:             k=v:NoSchedule", "InternalIP:  10.0.0.1"]);
        k.run("drain n1 --force --timeout=10s", "", &["drained"]);
        k.run("uncordon n1", "", &["uncordoned"]);
        let event = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "namespace": "default"}, "type": "Warning", "reason": "NoFIPLeft",
            "message": "no address left", "involvedObject": {"kind": "Node", "name": "n1", "uid": "n1"}, "lastTimestamp": "2026-01-01T00:00:00Z", "count": 1});
        k.run("create -f -", &event.to_string(), &["created"]);
        k.run("get events", "", &["Warning   NoFIPLeft   node/n1   no address left"]);
        k.run("describe node n1", "", &["NoFIPLeft", "no address left"]);
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_custom_kind() {
    let (server, _client) = start().await;
    let Some(k) = kubectl(&server) else { return };
    tokio::task::spawn_blocking(move || {
        let crd = definition().to_string();
        k.run("apply -f -", &crd, &["created"]);
        k.run("wait --for=condition=Established crd/tapps.apps.tkestack.io --timeout=10s", "", &["condition met"]);
        k.run("apply -f -", &crd, &["unchanged"]);
        let tapp = "apiVersion: apps.tkestack.io/v1\nkind: TApp\nmetadata: {name: t}\nspec: {replicas: 2}\n";
        k.run("create -f -", tapp, &["tapp.apps.tkestack.io/t created"]);
        k.run("apply -f -", &tapp.replace("s: 2", "s: 3"), &["configured"]);
        k.run("apply --server-side --force-conflicts -f -", &tapp.replace("s: 2", "s: 4"), &["serverside-applied"]);
        k.run("get ta", "", &["NAME   REPLICAS   AGE", "t      4"]);
        k.run("get ta -o wide", "", &["MODE", "slow"]);
        k.run("scale ta t --replicas=5", "", &["scaled"]);
        k.run("annotate ta t a=b", "", &["annotated"]);
        k.run("label ta t a=b", "", &["labeled"]);
        k.run("wait --for=jsonpath={.spec.replicas}=5 ta/t --timeout=10s", "", &["condition met"]);
        k.run("get ta --field-selector spec.mode=slow -l a=b", "", &["t      5"]);
        k.run("describe ta t", "", &["Replicas:  5", "API Version:  apps.tkestack.io/v1"]);
        k.run("explain ta.spec.replicas", "", &["FIELD: replicas <integer>"]);
        k.fails(
            "apply -f -",
            &tapp.replace("s: 2", "s: -1"),
            "spec.replicas in body should be greater than or equal to 0",
        );
        k.fails("apply -f -", &tapp.replace("s: 2", "s: 2, colour: red"), "unknown field \"spec.colour\"");
        k.run("delete ta t", "", &["deleted"]);
        k.run("delete crd tapps.apps.tkestack.io", "", &["deleted"]);
    })
    .await
    .unwrap();
}
