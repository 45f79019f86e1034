//! galaxy-ipam as a process beside a plane.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::{Plane, Process, Signal, free_ports, wait_for};

/// How galaxy-ipam is started.
#[derive(Clone, Debug)]
pub struct IpamOptions {
    /// The program.
    pub program: PathBuf,
    /// Name of the process, for its log and configuration file.
    pub name: String,
    /// The kubeconfig it gets; none for one with every right.
    pub kubeconfig: Option<PathBuf>,
    /// The `schedule_plugin` member of its configuration file.
    pub plugin: Value,
    /// More flags.
    pub flags: Vec<String>,
}

impl IpamOptions {
    /// This program with its defaults: every right, the topology from the ConfigMap `floatingip-config`.
    pub fn new(program: &Path) -> Self {
        Self {
            program: program.to_owned(),
            name: "galaxy-ipam".to_owned(),
            kubeconfig: None,
            plugin: json!({}),
            flags: Vec::new(),
        }
    }
}

/// A galaxy-ipam that was started beside a plane, on ports of its own. Killed when dropped.
#[derive(Debug)]
pub struct Ipam {
    process: Process,
    extender_url: String,
    api_url: String,
}

impl Plane {
    /// Starts galaxy-ipam; it need not be ready yet when this returns.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_ipam(&self, options: &IpamOptions) -> Result<Ipam> {
        let [port, api_port] = free_ports()?;
        let config = self.dir().join(format!("{}.json", options.name));
        fs::write(&config, json!({"schedule_plugin": options.plugin}).to_string())
            .with_context(|| format!("cannot write {}", config.display()))?;
        let kubeconfig = options.kubeconfig.clone().unwrap_or_else(|| self.kubeconfig());
        let mut arguments = vec![
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--config={}", config.display()),
            "--bind=127.0.0.1".to_owned(),
            format!("--port={port}"),
            format!("--api-port={api_port}"),
        ];
        arguments.extend(options.flags.iter().cloned());
        let process = self.spawn(&options.name, &options.program, arguments, &[])?;
        Ok(Ipam {
            process,
            extender_url: format!("http://127.0.0.1:{port}"),
            api_url: format!("http://127.0.0.1:{api_port}"),
        })
    }
}

impl Ipam {
    /// Base URL of the extender, without a slash at the end.
    pub fn extender_url(&self) -> &str {
        &self.extender_url
    }

    /// Base URL of the HTTP API, without a slash at the end.
    pub fn api_url(&self) -> &str {
        &self.api_url
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Waits until it serves.
    ///
    /// # Errors
    /// It has ended, or does not become ready in time.
    pub async fn ready(&mut self, limit: Duration) -> Result<()> {
        let client = kube::Client::try_from(kube::Config::new(self.api_url.parse()?))?;
        wait_for("galaxy-ipam to become ready", limit, async || {
            // The end of the process is an answer: there is nothing more to wait for.
            if let Err(error) = self.process.running() {
                return Ok(Err(error));
            }
            Ok(Ok(client.request_text(http::Request::get("/readyz").body(Vec::new())?).await?))
        })
        .await??;
        Ok(())
    }

    /// Asks it to end, as a rolling update does, and waits for that.
    ///
    /// # Errors
    /// It does not end in time, or not with status 0.
    pub async fn stop(&mut self, limit: Duration) -> Result<()> {
        let status = self
            .process
            .stop(limit)
            .await
            .with_context(|| format!("galaxy-ipam did not end within {limit:?} of SIGTERM"))?;
        ensure!(status.success(), "galaxy-ipam ended with {status}: {}", self.process.log_end());
        Ok(())
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// It has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }
}
