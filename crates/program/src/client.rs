//! The client of the cluster that the command line names.

use std::time::Duration;

use anyhow::Context;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(2);

/// How long a connection may be silent in the middle of a call: who is cut off without a word must not wait for ever. The API server
/// ends watches before that.
const SILENCE: Duration = Duration::from_secs(30);

/// A client for `--master` and `--kubeconfig`, else for the cluster this pod runs in.
///
/// # Errors
/// The kubeconfig cannot be read, `--master` is no URL, or there is no service account.
pub async fn connect(master: &str, kubeconfig: &str) -> anyhow::Result<Client> {
    let master = Some(master).filter(|master| !master.is_empty());
    let url =
        master.map(|master| master.parse::<http::Uri>().with_context(|| format!("--master={master}"))).transpose()?;
    let mut config = if !kubeconfig.is_empty() {
        let path = kubeconfig;
        let read = Kubeconfig::read_from(path).with_context(|| format!("--kubeconfig={path}"))?;
        let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await;
        config.with_context(|| format!("--kubeconfig={path}"))?
    } else if let Some(url) = &url {
        Config::new(url.clone())
    } else {
        Config::incluster().context("neither --master nor --kubeconfig is given, and this is no pod of a cluster")?
    };
    if let Some(url) = url {
        config.cluster_url = url;
    }
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(SILENCE);
    // What is tried again, and when, is decided by who made the call.
    config.default_retry = false;
    Client::try_from(config).context("the API server's client")
}
