//! The files that the components read: tokens, kubeconfigs, keys, kwok's stages.

use std::{fs, net::SocketAddr, path::Path};

use anyhow::{Context, Result, anyhow};
use k8s_openapi::ByteString;
use kube::config::Kubeconfig;
use ring::{
    rand::SystemRandom,
    signature::{self, EcdsaKeyPair, KeyPair},
};
use serde_json::{Value, json};

use crate::{Authority, RealNodes, Subject};

/// Users with a token and a kubeconfig of their own: file name, user, groups.
fn users(real: Option<&RealNodes>) -> impl Iterator<Item = (String, String, &'static str)> {
    let components = [
        ("admin", "admin", "system:masters"),
        ("controller-manager", "system:kube-controller-manager", ""),
        ("scheduler", "system:kube-scheduler", ""),
    ];
    let nodes = real.map(|real| real.names.as_slice()).unwrap_or_default().iter();
    let nodes = nodes.map(|name| (name.clone(), format!("system:node:{name}"), "system:nodes"));
    components.into_iter().map(|(file, user, groups)| (file.to_owned(), user.to_owned(), groups)).chain(nodes)
}

/// Name of the file that says which calls are recorded.
pub(crate) const AUDIT_POLICY: &str = "audit.json";

/// Certificate of the authority by which kubelets know the API server.
pub(crate) const KUBELET_CLIENTS: &str = "kubelet-clients.crt";

const KWOK: [&str; 4] = [
    include_str!("kwok/config.yaml"),
    include_str!("kwok/metric.yaml"),
    include_str!("kwok/node.yaml"),
    include_str!("kwok/pod.yaml"),
];

/// Writes what must be there before kube-apiserver starts.
pub(crate) fn write(dir: &Path, real: Option<&RealNodes>) -> Result<()> {
    let tokens: String = users(real)
        .map(|(file, user, groups)| format!("{file}-{},{user},{file},\"{groups}\"\n", uuid::Uuid::new_v4().simple()))
        .collect();
    put(dir, "tokens.csv", &tokens)?;
    write_keys(dir)?;
    if real.is_some() {
        let authority = Authority::new("clients of kubelets")?;
        let client = authority.issue(&Subject::new("kube-apiserver", &[], &[]))?;
        put(dir, KUBELET_CLIENTS, authority.certificate())?;
        put(dir, "kubelet-client.crt", &client.certificate)?;
        put(dir, "kubelet-client.key", &client.key)?;
    }
    put(dir, "kwok.yaml", &KWOK.join("---\n"))
}

/// Writes which calls are recorded.
pub(crate) fn write_audit_policy(dir: &Path, user: &str) -> Result<()> {
    let policy = json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{"level": "Metadata", "users": [user]}, {"level": "None"}],
    });
    put(dir, AUDIT_POLICY, &policy.to_string())
}

/// Writes the kubeconfigs, once kube-apiserver has made its certificate.
pub(crate) fn write_kubeconfigs(dir: &Path, server: SocketAddr, real: Option<&RealNodes>) -> Result<()> {
    let tokens = fs::read_to_string(dir.join("tokens.csv")).context("cannot read tokens.csv")?;
    for (line, (file, ..)) in tokens.lines().zip(users(real)) {
        let token = line.split(',').next().unwrap_or_default();
        put(dir, &format!("{file}.kubeconfig"), &serde_json::to_string_pretty(&kubeconfig(dir, server, token)?)?)?;
    }
    Ok(())
}

/// A kubeconfig for whoever has the token.
pub(crate) fn kubeconfig(dir: &Path, server: SocketAddr, token: &str) -> Result<Value> {
    let certificate = fs::read(dir.join("apiserver.crt")).context("kube-apiserver has made no certificate")?;
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "plane", "cluster": {
            "server": format!("https://{server}"),
            "certificate-authority-data": ByteString(certificate),
        }}],
        "users": [{"name": "user", "user": {"token": token}}],
        "contexts": [{"name": "plane", "context": {"cluster": "plane", "user": "user"}}],
        "current-context": "plane",
    }))
}

/// How a client reaches the API server by a kubeconfig.
pub(crate) async fn config(kubeconfig: Value) -> Result<kube::Config> {
    // Fails when one is installed already, which is as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let kubeconfig: Kubeconfig = serde_json::from_value(kubeconfig)?;
    Ok(kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await?)
}

/// What stands before the point in the DER form of a public P-256 key.
pub(crate) const P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// Writes a new P-256 key to sign the tokens of service accounts with, and its public half.
fn write_keys(dir: &Path) -> Result<()> {
    let (algorithm, random) = (&signature::ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
    let secret = EcdsaKeyPair::generate_pkcs8(algorithm, &random).map_err(|_| anyhow!("no randomness for a key"))?;
    let key =
        EcdsaKeyPair::from_pkcs8(algorithm, secret.as_ref(), &random).map_err(|error| anyhow!("a bad key: {error}"))?;
    put(dir, "service-account.key", &pem("PRIVATE KEY", secret.as_ref())?)?;
    put(dir, "service-account.pub", &pem("PUBLIC KEY", &[&P256, key.public_key().as_ref()].concat())?)
}

pub(crate) fn pem(what: &str, der: &[u8]) -> Result<String> {
    // A ByteString is base64 in JSON.
    let base64 = serde_json::to_value(ByteString(der.to_vec()))?;
    let lines: Vec<_> =
        base64.as_str().unwrap_or_default().as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    Ok(format!("-----BEGIN {what}-----\n{}\n-----END {what}-----\n", lines.join("\n")))
}

fn put(dir: &Path, name: &str, content: &str) -> Result<()> {
    let path = dir.join(name);
    fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))
}
