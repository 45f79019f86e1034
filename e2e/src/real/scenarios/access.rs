//! Who may do what: galaxy-ipam in the cluster, people at its HTTP API, the scheduler at its extender.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use galaxy_plane::{Authority, Certified, Scheduler, Subject};
use serde_json::{Value, json};

use super::kubectl;
use crate::{
    Cluster, Lab, Setup, Workload,
    real::{clean::root, lab::here},
};

/// Rights that only failures use, and which.
const IN_TROUBLE: [(&str, &str); 1] =
    [("galaxy.k8s.io floatingips get", "a write of unknown outcome is read back, a conflict too")];

/// A right as one line: group, resource with subresource, verb.
fn right(group: &Value, resource: &str, verb: &str) -> String {
    format!("{} {resource} {verb}", group.as_str().unwrap_or_default())
}

/// Everything that the shipped manifests let galaxy-ipam do.
fn granted() -> Result<BTreeSet<String>> {
    let mut rights = BTreeSet::new();
    for file in ["rbac.yaml", "custom-workload.yaml"] {
        let text = fs::read_to_string(root().join("deploy").join(file)).with_context(|| file.to_owned())?;
        for document in serde_saphyr::from_multiple::<Value>(&text)? {
            for rule in document["rules"].as_array().into_iter().flatten() {
                let words = |member: &str| rule[member].as_array().cloned().unwrap_or_default();
                for (group, resource) in words("apiGroups")
                    .iter()
                    .flat_map(|group| words("resources").into_iter().map(move |resource| (group.clone(), resource)))
                {
                    for verb in words("verbs") {
                        rights.insert(right(
                            &group,
                            resource.as_str().unwrap_or_default(),
                            verb.as_str().unwrap_or_default(),
                        ));
                    }
                }
            }
        }
    }
    Ok(rights)
}

/// What galaxy-ipam did by the API server's audit log, and what it was refused.
fn used(log: &Path) -> Result<(BTreeSet<String>, BTreeSet<String>)> {
    let (mut used, mut refused) = (BTreeSet::new(), BTreeSet::new());
    for line in fs::read_to_string(log).context("no audit log")?.lines() {
        // The last line may be half written.
        let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
        let object = &event["objectRef"];
        let Some(resource) = object["resource"].as_str() else { continue };
        let resource = match object["subresource"].as_str() {
            Some(subresource) => format!("{resource}/{subresource}"),
            None => resource.to_owned(),
        };
        let right = right(&object["apiGroup"], &resource, event["verb"].as_str().unwrap_or_default());
        if event["responseStatus"]["code"] == 403 {
            refused.insert(right.clone());
        }
        used.insert(right);
    }
    Ok((used, refused))
}

/// A token by kubectl, as the documentation says.
async fn token(c: &Cluster, account: &str, role: Option<&str>) -> Result<String> {
    let _ = kubectl(c, &["create", "serviceaccount", account]).await;
    if let Some(role) = role {
        let (role, subject) = (format!("--clusterrole={role}"), format!("--serviceaccount=default:{account}"));
        let _ = kubectl(c, &["create", "clusterrolebinding", account, &role, &subject]).await;
    }
    Ok(kubectl(c, &["create", "token", account]).await?.trim().to_owned())
}

/// Code and message of an answer of the HTTP API.
async fn ask(c: &Cluster, token: Option<&str>, method: &str, path: &str, body: &Value) -> Result<(u16, String)> {
    let token = token.map(|token| format!("Bearer {token}"));
    let url = format!("{}{path}", c.backend().api_url());
    let content = (method == "POST").then_some("application/json");
    let body = if method == "POST" { body.to_string() } else { String::new() };
    let reply = c.http().send_as(method.parse()?, &url, content, &body, token.as_deref()).await?;
    Ok((reply.status, reply.json()["message"].as_str().unwrap_or_default().to_owned()))
}

/// The service account of `deploy/` lacks nothing that galaxy-ipam does, and has nothing that it does not.
pub async fn galaxy_ipam_uses_exactly_its_rights(lab: Lab) -> Result<()> {
    let setup = Setup::one_rack(2, 12).flag("--leader-elect=true").flag("--api-auth=kubernetes");
    let c = lab.cluster(setup).await?;
    let token = token(&c, "rights", Some("galaxy-ipam-operator")).await?;
    // Every kind of workload, then deleted while galaxy-ipam is away: it must read each to free its addresses.
    let all = [
        Workload::deployment("web").replicas(1).immutable(),
        Workload::stateful_set("sts").replicas(1).immutable(),
        Workload::replica_set("rs").replicas(1).immutable(),
        Workload::tapp("app").replicas(1).immutable(),
        Workload::pod("bare"),
    ];
    for workload in &all {
        c.apply(workload).await?;
        c.up(workload).await?;
    }
    // An address that is kept for its workload, then taken again.
    c.delete_pod("sts-0").await?;
    c.up(&all[1]).await?;
    // A pod that waits, and its condition and event.
    let mut many = Workload::deployment("many").replicas(12);
    c.apply(&many).await?;
    c.one_waits(&many, "NoAddress").await.map(drop).or_else(|_| anyhow::Ok(()))?;
    c.scale(&mut many, 1).await?;
    // The same event twice, half a minute apart: the second time it is counted.
    let good = kubectl(
        &c,
        &["-n", "kube-system", "get", "configmap", "floatingip-config", "-o", "jsonpath={.data.floatingips}"],
    )
    .await?;
    for pause in [31, 0] {
        c.configure_text(Some("[]")).await?;
        c.poll("the refusal", || async { Ok(refusals(&c).await?.then_some(())) }).await?;
        c.configure_text(Some(&good)).await?;
        tokio::time::sleep(Duration::from_secs(pause)).await;
    }
    for (method, path, body) in [
        ("GET", "/v1/ip", json!(null)),
        ("POST", "/v1/pool", json!({"name": "blue", "size": 1})),
        ("POST", "/v1/pool", json!({"name": "blue", "size": 2})),
        ("GET", "/v1/pool/blue", json!(null)),
        ("DELETE", "/v1/pool/blue", json!(null)),
    ] {
        let (code, message) = ask(&c, Some(&token), method, path, &body).await?;
        ensure!(code == 200, "{method} {path}: {code} {message}");
    }
    c.set_pool("green", 1, false).await?;
    c.backend().kill_ipam();
    for workload in &all {
        c.delete(workload).await?;
        c.no_pods(workload).await?;
    }
    c.backend().start_ipam(true).await?;

    let log = c.plane()?.logs().join("audit.log");
    let granted = granted()?;
    let (trouble, mut unused) = (IN_TROUBLE.map(|(right, _)| right.to_owned()).into(), BTreeSet::new());
    for _ in 0..60 {
        c.sweep().await?;
        let (used, refused) = used(&log)?;
        ensure!(refused.is_empty(), "the ClusterRole or Role lacks: {refused:?}");
        unused = granted.difference(&used).filter(|right| !BTreeSet::contains(&trouble, *right)).cloned().collect();
        if unused.is_empty() {
            return c.settled().await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    bail!("granted and never used: {unused:?}")
}

async fn refusals(c: &Cluster) -> Result<bool> {
    let events = c.events("ConfigMap", "floatingip-config").await?;
    Ok(events.iter().any(|(reason, _)| reason == "ConfigurationRefused"))
}

/// Tokens that kubectl makes and the shipped roles, on a real API server.
pub async fn tokens_and_roles_decide(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 4).flag("--api-auth=kubernetes")).await?;
    let nobody = token(&c, "nobody", None).await?;
    let viewer = token(&c, "viewer", Some("galaxy-ipam-viewer")).await?;
    let operator = token(&c, "operator", Some("galaxy-ipam-operator")).await?;
    // A right that was just given may be a moment away from the API server's authorizer.
    c.poll("the roles are in force", || async {
        let (seen, _) = ask(&c, Some(&viewer), "GET", "/v1/ip", &json!(null)).await?;
        let (done, _) = ask(&c, Some(&operator), "POST", "/v1/ip", &json!({"ips": []})).await?;
        Ok((seen == 200 && done == 200).then_some(()))
    })
    .await?;
    // In the middle of the signature, where every bit counts.
    let (head, tail) = operator.split_at(operator.len() - 40);
    let changed = format!("{head}{}{}", if tail.starts_with('x') { 'y' } else { 'x' }, &tail[1..]);
    for (method, path, body, viewing) in [
        ("GET", "/v1/ip", json!(null), true),
        ("POST", "/v1/ip", json!({"ips": []}), false),
        ("POST", "/v1/pool", json!({"name": "blue", "size": 1}), false),
        ("GET", "/v1/pool/blue", json!(null), true),
        ("DELETE", "/v1/pool/blue", json!(null), false),
    ] {
        for (who, token, expected) in [
            ("no token", None, 401),
            ("a made-up token", Some("made-up"), 401),
            ("a changed token", Some(&*changed), 401),
            ("nobody", Some(&*nobody), 403),
            ("the viewer", Some(&*viewer), if viewing { 200 } else { 403 }),
            ("the operator", Some(&*operator), 200),
        ] {
            let (code, message) = ask(&c, token, method, path, &body).await?;
            ensure!(code == expected, "{method} {path} with {who}: {code} {message}");
            let named = code != 403
                || message.contains("user \"system:serviceaccount:default:") && message.contains(" may not ");
            ensure!(named && (code == 200 || !message.is_empty()), "{method} {path} with {who}: {message}");
        }
    }
    // Open, as the original's.
    for path in ["/healthy", "/readyz", "/metrics", "/openapi.json"] {
        ensure!(c.get(path).await?.status == 200, "{path}");
    }
    c.settled().await
}

fn put(folder: &Path, name: &str, pair: &Certified) -> Result<()> {
    fs::write(folder.join(format!("{name}.crt")), &pair.certificate)?;
    Ok(fs::write(folder.join(format!("{name}.key")), &pair.key)?)
}

/// The arguments of the shipped Deployment about access, with the files of this folder.
fn shipped_flags(folder: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(root().join("deploy/galaxy-ipam.yaml"))?;
    let deployment = serde_saphyr::from_multiple::<Value>(&text)?.into_iter().find(|it| it["kind"] == "Deployment");
    let deployment = deployment.context("deploy/galaxy-ipam.yaml has no Deployment")?;
    let arguments =
        deployment["spec"]["template"]["spec"]["containers"][0]["args"].as_array().cloned().unwrap_or_default();
    let arguments = arguments.iter().filter_map(Value::as_str).filter(|argument| !argument.contains("port="));
    Ok(arguments.map(|argument| argument.replace("/etc/galaxy/tls", &folder.display().to_string())).collect())
}

/// galaxy-ipam with the arguments of the shipped Deployment, kube-scheduler with the shipped configurations.
pub async fn the_scheduler_calls_over_tls(lab: Lab) -> Result<()> {
    let folder = std::env::temp_dir().join(format!("galaxy-tls-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let outcome = over_tls(lab, &folder).await;
    fs::remove_dir_all(&folder)?;
    outcome
}

async fn over_tls(lab: Lab, folder: &Path) -> Result<()> {
    let authority = Authority::new("galaxy")?;
    fs::write(folder.join("ca.crt"), authority.certificate())?;
    put(folder, "tls", &authority.issue(&Subject::new("galaxy-ipam", &["galaxy-ipam.kube-system.svc"], &[]))?)?;
    put(folder, "scheduler", &authority.issue(&Subject::new("galaxy-scheduler", &[], &[]))?)?;
    let mut setup = Setup::one_rack(2, 8);
    setup.flags = shipped_flags(folder)?;
    let c = lab.cluster(setup).await?;
    let extender = c.backend().extender_url();
    for (file, scheduler) in [("kubeadm", "default-scheduler"), ("second-scheduler", "galaxy-scheduler")] {
        let text = fs::read_to_string(root().join(format!("deploy/scheduler/{file}.yaml")))?;
        let text = text.replace("https://127.0.0.1:9040", &extender.replace("http:", "https:"));
        let text = text.replace("/etc/kubernetes/galaxy", &folder.display().to_string());
        // So that the next scenario gets its own scheduler again.
        c.backend().reroute(&extender, false).await?;
        here(c.plane()?.schedule(&Scheduler::from_yaml(&text)?))?;
        let pod = Workload::pod(file).pod_spec("schedulerName", &json!(scheduler));
        c.apply(&pod).await?;
        c.up(&pod).await.with_context(|| format!("with deploy/scheduler/{file}.yaml"))?;
    }
    Ok(())
}

/// Every shipped manifest, by the API server's strict word: no unknown member, nothing it would refuse.
pub async fn the_shipped_manifests_are_valid(lab: Lab) -> Result<()> {
    let c = lab.cluster(Setup::one_rack(1, 2)).await?;
    let deploy = root().join("deploy");
    for file in ["crds", "rbac.yaml", "users.yaml", "custom-workload.yaml", "galaxy-ipam.yaml", "agent.yaml"] {
        let path = deploy.join(file).display().to_string();
        let told = kubectl(&c, &["apply", "--dry-run=server", "--validate=strict", "-f", &path]).await?;
        ensure!(!told.contains("Warning") && told.contains("(server dry run)"), "{file}: {told}");
    }
    c.settled().await
}
