//! The command line of galaxy-ipam: its own flags, and how Go programs read theirs.

mod access;

use std::{ffi::OsString, net::IpAddr, path::PathBuf, time::Duration};

use clap::{ArgAction, CommandFactory, FromArgMatches, Parser, ValueEnum, error::ErrorKind};

pub use access::{Access, ApiAuth};
use galaxy_program::{
    legacy,
    logging::{self, LogFormat},
    parse_bool, parse_duration,
};

const SERVING: &str = "Serving";
const CLUSTER: &str = "Cluster";
const ADDRESSES: &str = "Addresses";
const LEADER: &str = "Leader election";
const LOGGING: &str = "Logging";
const OTHER: &str = "Other";

/// How a waiting pod is made to come to the scheduler again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Wake {
    /// Change a condition in the pod's status (kube-scheduler 1.32 and later).
    Condition,
    /// Change an annotation of the pod (earlier schedulers ignore the status).
    Annotation,
}

/// End of the help text, after what is said of flags in general.
const WITHOUT_EFFECT: &str = "\
Accepted without effect, so that existing manifests keep working: --profiling, --v, -v, --vmodule, --logtostderr, \
--alsologtostderr, --stderrthreshold, --log-dir, --log-file, --log-file-max-size, --log-backtrace-at, \
--log-flush-frequency, --add-dir-header, --one-output, --skip-headers, --skip-log-headers. Use --log-level and \
--log-format instead.";

/// Flags of the original without effect here, besides those of its log library.
const IGNORED: [legacy::Ignored; 1] = [("profiling", true)];

/// Everything the command line says.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(
    name = "galaxy-ipam",
    version,
    about = "Gives Kubernetes pods floating IPs: addresses of the underlay network that pods keep when they move.",
    long_about = "Gives Kubernetes pods floating IPs: addresses of the underlay network that pods keep when they move.\n\n\
        kube-scheduler asks this service as an extender which nodes can still give a pod an address; people ask its \
        HTTP API who has which. The addresses come from the ConfigMap kube-system/floatingip-config unless --config \
        says otherwise.",
    after_help = format!("{}\n{WITHOUT_EFFECT}", legacy::READ_AS_GO),
    args_override_self = true,
    disable_help_flag = true,
    disable_version_flag = true,
    max_term_width = 110
)]
pub struct Options {
    /// Address that both servers listen on. Also --bind-address.
    #[arg(long, alias = "bind-address", help_heading = SERVING, value_name = "IP", default_value = "0.0.0.0")]
    pub bind: IpAddr,

    /// Address at which other replicas reach this one. Else --bind, if that is one address and not loopback.
    #[arg(long, help_heading = SERVING, value_name = "IP", env = "POD_IP", hide_env_values = true)]
    pub advertise_address: Option<IpAddr>,

    /// Port of the scheduler extender. 0 takes any free one.
    #[arg(long, help_heading = SERVING, value_name = "PORT", default_value_t = 9040)]
    pub port: u16,

    /// Port of the HTTP API, its documentation (/swagger-ui/, /openapi.json, /apidocs.json) and /metrics. 0 takes any free one.
    #[arg(long, help_heading = SERVING, value_name = "PORT", default_value_t = 9041)]
    pub api_port: u16,

    /// Serve the API documentation as a page at /apidocs/ too.
    #[arg(long, help_heading = SERVING, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_value = "false", default_missing_value = "true", value_parser = parse_bool, value_name = "BOOL")]
    pub swagger: bool,

    /// Who may connect and what they may do.
    #[command(flatten)]
    pub access: Access,

    /// URL of the Kubernetes API server; takes precedence over the one in --kubeconfig.
    #[arg(long, help_heading = CLUSTER, value_name = "URL", default_value = "", hide_default_value = true)]
    pub master: String,

    /// Kubeconfig file. Without --master and --kubeconfig the service account of the pod it runs in is used.
    #[arg(long, help_heading = CLUSTER, value_name = "FILE", default_value = "", hide_default_value = true)]
    pub kubeconfig: String,

    /// JSON configuration file: address pools or the ConfigMap they are in, sweep interval, cloud provider.
    #[arg(long, help_heading = ADDRESSES, value_name = "FILE", default_value = "/etc/galaxy/galaxy-ipam.json")]
    pub config: PathBuf,

    /// How long a freed address is taken only if no other is free.
    #[arg(long, help_heading = ADDRESSES, value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    pub reuse_delay: Duration,

    /// How long the address of a pod that vanished from a dead node is kept back, unless the node returns or is removed.
    #[arg(long, help_heading = ADDRESSES, value_name = "DURATION", default_value = "10m", value_parser = parse_duration)]
    pub quarantine: Duration,

    /// Namespaces in which Pool objects count, separated by commas. All, if not given.
    #[arg(long, help_heading = ADDRESSES, value_name = "NAMESPACES", value_delimiter = ',', value_parser = namespace)]
    pub pool_namespaces: Vec<String>,

    /// How to make the scheduler try a waiting pod again: its status condition, or an annotation for kube-scheduler before 1.32.
    #[arg(long, help_heading = ADDRESSES, value_enum, value_name = "HOW", default_value = "condition")]
    pub wake: Wake,

    /// Decide only while holding the lease kube-system/galaxy-ipam. Needed as soon as there are two replicas.
    #[arg(long, help_heading = LEADER, action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_value = "true", default_missing_value = "true", value_parser = parse_bool, value_name = "BOOL")]
    pub leader_elect: bool,

    /// How long others wait for a silent leader before they take over.
    #[arg(long = "leader-elect-lease-duration", help_heading = LEADER, value_name = "DURATION", default_value = "15s",
        value_parser = parse_duration)]
    pub lease_duration: Duration,

    /// How long the leader tries to renew before it steps down. Less than the lease duration.
    #[arg(long = "leader-elect-renew-deadline", help_heading = LEADER, value_name = "DURATION", default_value = "10s",
        value_parser = parse_duration)]
    pub renew_deadline: Duration,

    /// Time between attempts to become or to stay leader. Less than the renew deadline.
    #[arg(long = "leader-elect-retry-period", help_heading = LEADER, value_name = "DURATION", default_value = "2s",
        value_parser = parse_duration)]
    pub retry_period: Duration,

    /// Kind of the leader's lock. Only leases are used; the original's other kinds are accepted.
    #[arg(long = "leader-elect-resource-lock", help_heading = LEADER, value_name = "KIND", default_value = "leases",
        value_parser = ["leases", "endpointsleases", "configmapsleases", "endpoints", "configmaps"], hide_possible_values = true)]
    pub resource_lock: String,

    /// How log lines look. They go to the standard error.
    #[arg(long, help_heading = LOGGING, value_enum, value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,

    /// What is logged: error, warn, info, debug, trace, or per module as in `info,galaxy_ipam=debug`.
    #[arg(long, help_heading = LOGGING, value_name = "LEVEL", default_value = "info", value_parser = logging::directives)]
    pub log_level: String,

    /// Print this help.
    #[arg(short, long, help_heading = OTHER, action = ArgAction::Help)]
    help: Option<bool>,

    /// Print the version.
    #[arg(long, help_heading = OTHER, action = ArgAction::Version)]
    version: Option<bool>,

    /// What was accepted without effect, one sentence each. To be logged as warnings.
    #[arg(skip)]
    pub notes: Vec<String>,
}

impl Options {
    /// Reads a command line, program name first.
    ///
    /// # Errors
    /// A flag or value is wrong, or help or version was asked for: [`clap::Error::exit`] prints either and ends the
    /// process with code 2 or 0.
    pub fn parse_args(args: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let (args, mut notes) = legacy::normalise(args, &IGNORED);
        let matches = Self::command().try_get_matches_from(args)?;
        let mut options = Self::from_arg_matches(&matches)?;
        if options.resource_lock != "leases" {
            notes.push(format!(
                "--leader-elect-resource-lock={} has no effect: the lock is always a lease",
                options.resource_lock
            ));
        }
        options.notes = notes;
        options.check()?;
        Ok(options)
    }

    /// What no flag shows by itself.
    fn check(&self) -> Result<(), clap::Error> {
        let error = |text: String| Err(Self::command().error(ErrorKind::ValueValidation, text));
        let (lease, renew, retry) = (self.lease_duration, self.renew_deadline, self.retry_period);
        if lease < Duration::from_secs(1) {
            return error(format!("--leader-elect-lease-duration={lease:?} must be at least 1s"));
        }
        if renew >= lease {
            return error(format!(
                "--leader-elect-renew-deadline={renew:?} must be less than --leader-elect-lease-duration={lease:?}"
            ));
        }
        if retry >= renew || retry.is_zero() {
            return error(format!(
                "--leader-elect-retry-period={retry:?} must be more than 0 and less than --leader-elect-renew-deadline={renew:?}"
            ));
        }
        if self.port == self.api_port && self.port != 0 {
            return error(format!("--port and --api-port are both {}; they need a port each", self.port));
        }
        if let Err(text) = self.access.check() {
            return error(text);
        }
        Ok(())
    }

    /// The text of `--help`, for the documentation.
    pub fn help_text() -> String {
        let help = Self::command().term_width(100).render_long_help().to_string();
        help.lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }
}

/// The name of a namespace.
fn namespace(text: &str) -> Result<String, String> {
    let edge = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let inside = bytes.iter().all(|byte| edge(byte) || *byte == b'-');
    let ends = bytes.first().is_some_and(edge) && bytes.last().is_some_and(edge);
    if inside && ends && bytes.len() <= 63 {
        Ok(text.to_owned())
    } else {
        Err("not the name of a namespace: at most 63 lower-case letters, digits and -".to_owned())
    }
}

#[cfg(test)]
mod tests;
