//! Calls of plugins, as a container runtime makes them.

use std::{
    io::Write,
    net::IpAddr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use galaxy_cni::netlink::Netns;
use serde_json::Value;

/// Where Debian's containernetworking-plugins are.
pub(crate) const REFERENCE: &str = "/usr/lib/cni";

/// What a plugin is called with.
pub(crate) struct Call {
    pub(crate) program: PathBuf,
    /// The program's first argument, its name.
    pub(crate) name: &'static str,
    pub(crate) id: String,
    pub(crate) args: String,
    pub(crate) conf: Value,
    /// The address that the pod must answer on, where it is known before.
    pub(crate) ip: Option<IpAddr>,
}

impl Call {
    /// Calls it on a host; the time from the start of the process to its end.
    pub(crate) fn run(&self, host: &Netns, command: &str, pod: &Netns) -> Result<Duration> {
        let mut call = Command::new(&self.program);
        call.arg0(self.name).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        call.env("CNI_COMMAND", command).env("CNI_CONTAINERID", &self.id).env("CNI_IFNAME", "eth0");
        call.env("CNI_ARGS", &self.args).env("CNI_NETNS", pod.path()).env("CNI_PATH", REFERENCE);
        call.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let conf = self.conf.to_string();
        let work = move || -> Result<_> {
            let begin = Instant::now();
            let mut child = call.spawn()?;
            if let Some(mut stdin) = child.stdin.take() {
                stdin.write_all(conf.as_bytes())?;
            }
            let output = child.wait_with_output()?;
            Ok((output, begin.elapsed()))
        };
        let (output, time) = host.within(work)?.with_context(|| format!("cannot start {}", self.program.display()))?;
        if !output.status.success() {
            bail!("{} {command}: {}", Path::new(self.name).display(), String::from_utf8_lossy(&output.stdout));
        }
        Ok(time)
    }
}
