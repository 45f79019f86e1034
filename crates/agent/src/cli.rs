//! The command line: the agent's own flags, and those of the original.

use std::{ffi::OsString, net::IpAddr, path::PathBuf, time::Duration};

use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use galaxy_program::{
    legacy,
    logging::{self, LogFormat},
    parse_bool, parse_duration,
};

/// End of the help text, after what is said of flags in general.
const WITHOUT_EFFECT: &str = "\
Accepted without effect, so that existing manifests keep working: --network-policy, --route-eni, --pprof and the flags \
of the original's log library. Use --log-level and --log-format instead of the latter.";

/// Flags of the original without effect here, besides those of its log library.
const IGNORED: [legacy::Ignored; 3] = [("network-policy", true), ("route-eni", true), ("pprof", true)];

/// Everything the command line says.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "galaxy",
    version,
    about = "The node agent: gives pods the addresses that galaxy-ipam chose for them.",
    after_help = format!("{}\n{WITHOUT_EFFECT}", legacy::READ_AS_GO),
    args_override_self = true,
    max_term_width = 110
)]
pub struct Options {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub action: Option<Action>,

    /// URL of the Kubernetes API server; takes precedence over the one in --kubeconfig.
    #[arg(long, value_name = "URL", default_value = "", hide_default_value = true)]
    pub master: String,

    /// Kubeconfig file. Without --master and --kubeconfig the service account of the pod it runs in is used.
    #[arg(long, value_name = "FILE", default_value = "", hide_default_value = true)]
    pub kubeconfig: String,

    /// Name of this node. Else MY_NODE_NAME, else the host name.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub hostname_override: String,

    /// Networks, and which pods get which.
    #[arg(long, value_name = "FILE", default_value = "/etc/galaxy/galaxy.json")]
    pub json_config_path: PathBuf,

    /// Where networks are looked up that are not in --json-config-path.
    #[arg(long, value_name = "FOLDER", default_value = "/etc/cni/net.d/")]
    pub network_conf_dir: PathBuf,

    /// Folders with other CNI plugins, looked into after CNI_PATH.
    #[arg(long, value_name = "FOLDERS", value_delimiter = ',', default_value = "/opt/cni/galaxy/bin,/opt/cni/bin")]
    pub cni_paths: Vec<PathBuf>,

    /// Socket for galaxy-sdn.
    #[arg(long, value_name = "FILE", default_value = "/var/run/galaxy/galaxy.sock")]
    pub socket: PathBuf,

    /// What was done for each sandbox, to be undone also after restarts.
    #[arg(long, value_name = "FOLDER", default_value = "/var/lib/cni/galaxy")]
    pub state_dir: PathBuf,

    /// Longest time that ADD waits for a pod's addresses.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub wait: Duration,

    /// CNI configuration that makes the runtime call galaxy-sdn, written when the agent is ready and removed when its
    /// DaemonSet is. Empty: not touched.
    #[arg(long, value_name = "FILE", default_value = "", hide_default_value = true)]
    pub cni_conf: String,

    /// The agent's own DaemonSet, NAMESPACE/NAME: while it exists, stopping leaves --cni-conf where it is.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub daemon_set: String,

    /// Address for /metrics, /healthy and /readyz.
    #[arg(long, value_name = "IP", default_value = "0.0.0.0")]
    pub bind: IpAddr,

    /// Port for /metrics, /healthy and /readyz. 0 takes any free one.
    #[arg(long, value_name = "PORT", default_value_t = 9042)]
    pub port: u16,

    /// Socket of the container runtime, asked which sandboxes exist. Else CONTAINERD_HOST. Empty: nothing is collected.
    #[arg(long, env = "CONTAINERD_HOST", value_name = "FILE", default_value = "/run/containerd/containerd.sock")]
    pub runtime_endpoint: String,

    /// Time between looks for what belongs to no sandbox.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration, alias = "flannel-gc-interval")]
    pub gc_interval: Duration,

    /// How old something must be before it is taken for an orphan. Sandboxes are listed some time after their ADD.
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = parse_duration)]
    pub gc_age: Duration,

    /// Folders with leases of the IPAM plugin host-local, to be collected. The container id is their first line.
    #[arg(long, value_name = "FOLDERS", value_delimiter = ',', default_value = "/var/lib/cni/networks/galaxy-flannel")]
    pub flannel_allocated_ip_dir: Vec<PathBuf>,

    /// Folders with files named by container id, to be collected.
    #[arg(
        long,
        value_name = "FOLDERS",
        value_delimiter = ',',
        default_value = "/var/lib/cni/flannel,/var/lib/cni/galaxy/port"
    )]
    pub gc_dirs: Vec<PathBuf>,

    /// Value that net.bridge.bridge-nf-call-iptables is kept at.
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "true",
        default_missing_value = "true", value_parser = parse_bool, value_name = "BOOL")]
    pub bridge_nf_call_iptables: bool,

    /// Value that net.ipv4.ip_forward is kept at.
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "true",
        default_missing_value = "true", value_parser = parse_bool, value_name = "BOOL")]
    pub ip_forward: bool,

    /// Network namespace of the node, if it is not the agent's own.
    #[arg(long, value_name = "FILE", default_value = "", hide_default_value = true)]
    pub host_netns: String,

    /// How log lines look. They go to the standard error.
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,

    /// What is logged: error, warn, info, debug, trace, or per module as in `info,galaxy_agent=debug`.
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = logging::directives)]
    pub log_level: String,

    /// What was accepted without effect, one sentence each. To be logged as warnings.
    #[arg(skip)]
    pub notes: Vec<String>,
}

/// What else the program does.
#[derive(Debug, Clone, Subcommand)]
pub enum Action {
    /// Copy the CNI plugins to a node.
    Install(Install),
    /// Remove the CNI configuration and the plugins from a node.
    Uninstall(Install),
}

/// Where things are installed.
#[derive(Debug, Clone, Args)]
pub struct Install {
    /// The plugins' program.
    #[arg(long, value_name = "FILE", default_value = "/usr/bin/galaxy-cni")]
    pub program: PathBuf,

    /// Folder for the plugins.
    #[arg(long, value_name = "FOLDER", default_value = "/opt/cni/bin")]
    pub bin_dir: PathBuf,

    /// CNI configuration that uninstall removes.
    #[arg(long, value_name = "FILE", default_value = "/etc/cni/net.d/00-galaxy.conf")]
    pub cni_conf: PathBuf,
}

impl Options {
    /// Reads a command line, program name first.
    ///
    /// # Errors
    /// A flag or value is wrong, or help or version was asked for: [`clap::Error::exit`] prints either and ends the
    /// process with code 2 or 0.
    pub fn parse_args(args: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let (args, notes) = legacy::normalise(args, &IGNORED);
        let matches = Self::command().try_get_matches_from(args)?;
        let mut options = Self::from_arg_matches(&matches)?;
        options.notes = notes;
        Ok(options)
    }

    /// The name of the node, in lower case as Kubernetes has it.
    ///
    /// # Errors
    /// No flag and no variable names it, and the host has no name that is text.
    pub fn node_name(&self) -> anyhow::Result<String> {
        let given = Some(self.hostname_override.clone()).filter(|name| !name.is_empty());
        let given = given.or_else(|| std::env::var("MY_NODE_NAME").ok().filter(|name| !name.is_empty()));
        let name = match given {
            Some(name) => name,
            None => std::fs::read_to_string("/proc/sys/kernel/hostname").map_err(|error| {
                anyhow::anyhow!("the host's name cannot be read: {error}; give --hostname-override")
            })?,
        };
        Ok(name.trim().to_ascii_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Options, clap::Error> {
        Options::parse_args(["galaxy"].iter().chain(args).map(OsString::from))
    }

    #[test]
    fn command_lines_of_the_original_are_understood() {
        let args = [
            "--network_conf_dir=/net.d",
            "--cni-paths=/a,/b",
            "--flannel-gc-interval=30s",
            "--ip-forward=false",
            "-v4",
            "--logtostderr",
            "--network-policy",
            "--route-eni=true",
            "--pprof",
            "--hostname-override",
            "Node-1",
        ];
        let options = parse(&args).unwrap();
        assert_eq!(options.network_conf_dir, PathBuf::from("/net.d"));
        assert_eq!(options.cni_paths, ["/a", "/b"].map(PathBuf::from));
        assert_eq!(options.gc_interval, Duration::from_secs(30));
        assert!(!options.ip_forward && options.bridge_nf_call_iptables);
        assert_eq!(options.node_name().unwrap(), "node-1");
        assert_eq!(options.notes.len(), 5, "{:?}", options.notes);
    }

    #[test]
    fn bad_values_are_refused() {
        for args in [
            "--wait=10",
            "--wait=-1s",
            "--port=70000",
            "--ip-forward=maybe",
            "--bind=here",
            "--nonsense",
            "what",
            "--log-level=loud",
        ] {
            assert!(parse(&[args]).is_err(), "{args}");
        }
    }
}
