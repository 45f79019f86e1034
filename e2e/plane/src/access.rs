//! How tests and people reach a plane: clients, kubeconfigs, kubectl, the components' own ports.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::{Api, Client, api::PostParams};

use crate::{Component, Plane, files};

/// How long a kubectl call may take.
const KUBECTL: Duration = Duration::from_secs(120);

/// What a kubectl call printed.
#[derive(Clone, Debug)]
pub struct Output {
    /// Whether it exited with 0.
    pub success: bool,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Plane {
    /// A client with every right.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Path of a kubeconfig with every right.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir().join("admin.kubeconfig")
    }

    /// Path of the certificate of the authority by which real nodes' kubelets know the API server.
    pub fn kubelet_clients(&self) -> PathBuf {
        self.dir().join(files::KUBELET_CLIENTS)
    }

    /// Base URL of a component's own port: plain HTTP of etcd and kwok, else HTTPS with a certificate of its own making.
    pub fn url(&self, component: Component) -> String {
        let scheme = if matches!(component, Component::Etcd | Component::Kwok) { "http" } else { "https" };
        format!("{scheme}://127.0.0.1:{}", self.ports.of(component))
    }

    /// The answer of a component to an anonymous GET of a path such as `/metrics` or `/healthz`.
    ///
    /// # Errors
    /// No answer, or an error status.
    pub async fn ask(&self, component: Component, path: &str) -> Result<String> {
        if component == Component::ApiServer {
            return Ok(self.client.request_text(http::Request::get(path).body(Vec::new())?).await?);
        }
        let mut config = kube::Config::new(self.url(component).parse()?);
        config.accept_invalid_certs = true;
        let client = Client::try_from(config)?;
        let answer = client.request_text(http::Request::get(path).body(Vec::new())?).await;
        answer.with_context(|| format!("{component} does not answer {path}"))
    }

    /// Writes a kubeconfig with a real token of a service account, valid for a day, and returns its path.
    ///
    /// # Errors
    /// There is no such service account.
    pub async fn kubeconfig_of(&self, namespace: &str, service_account: &str) -> Result<PathBuf> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client(), namespace);
        let request = TokenRequest {
            spec: Some(TokenRequestSpec { expiration_seconds: Some(86_400), ..Default::default() }),
            ..Default::default()
        };
        let answer: TokenRequest = accounts
            .create_subresource("token", service_account, &PostParams::default(), &request)
            .await
            .with_context(|| format!("no token for service account {namespace}/{service_account}"))?;
        let token = answer.status.and_then(|status| status.token).context("an answer without a token")?;
        let kubeconfig = files::kubeconfig(self.dir(), self.options.api_server(&self.ports), &token)?;
        let path = self.dir().join(format!("{namespace}-{service_account}.kubeconfig"));
        std::fs::write(&path, serde_json::to_string_pretty(&kubeconfig)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// How a client reaches the API server by a kubeconfig file.
    ///
    /// # Errors
    /// The file is no kubeconfig.
    pub async fn config_by(&self, kubeconfig: &Path) -> Result<kube::Config> {
        let text =
            std::fs::read_to_string(kubeconfig).with_context(|| format!("cannot read {}", kubeconfig.display()))?;
        files::config(serde_saphyr::from_str(&text).context("no kubeconfig")?).await
    }

    /// A client by a kubeconfig file.
    ///
    /// # Errors
    /// The file is no kubeconfig.
    pub async fn client_by(&self, kubeconfig: &Path) -> Result<Client> {
        Ok(Client::try_from(self.config_by(kubeconfig).await?)?)
    }

    /// Runs kubectl of the plane's version with every right.
    ///
    /// # Errors
    /// It cannot be started or takes more than two minutes. That it fails is in the output.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<Output> {
        let mut kubectl = tokio::process::Command::new(self.binaries.path("kubectl"));
        kubectl.arg("--kubeconfig").arg(self.kubeconfig()).args(arguments).current_dir(crate::binaries::root());
        // Keeps its cache of the API away from the user's.
        kubectl.env("HOME", self.dir()).stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(KUBECTL, kubectl.output()).await;
        let output =
            output.with_context(|| format!("kubectl {arguments:?} takes too long"))?.context("cannot start kubectl")?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Output { success: output.status.success(), stdout: text(output.stdout), stderr: text(output.stderr) })
    }

    /// Brings what `deploy/` has for galaxy-ipam, but for its pods: definitions, rights, roles of its users. Returns a kubeconfig of its
    /// service account.
    ///
    /// # Errors
    /// kubectl says so.
    pub async fn install_galaxy(&self) -> Result<PathBuf> {
        for shipped in ["crds", "rbac.yaml", "users.yaml", "custom-workload.yaml"] {
            self.apply(&crate::binaries::root().join("deploy").join(shipped)).await?;
        }
        self.kubeconfig_of("kube-system", "galaxy-ipam").await
    }

    /// Applies a manifest, or all of a folder, and waits until the CRDs among them are served.
    ///
    /// # Errors
    /// kubectl says so.
    pub async fn apply(&self, path: &Path) -> Result<()> {
        let path = path.display().to_string();
        let applied = self.kubectl(&["apply", "--server-side", "--recursive", "-f", &path]).await?;
        ensure!(applied.success, "kubectl apply -f {path}: {}", applied.stderr);
        if applied.stdout.contains("customresourcedefinition") {
            let waited =
                self.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"]).await?;
            ensure!(waited.success, "kubectl wait: {}", waited.stderr);
        }
        Ok(())
    }
}
