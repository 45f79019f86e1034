//! The environment of a call.

use std::collections::HashMap;

use super::{Error, code};

/// What the runtime wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Command {
    Add,
    Del,
    Check,
    Gc,
    Status,
    Version,
}

impl Command {
    /// As in `CNI_COMMAND`.
    pub fn as_str(self) -> &'static str {
        match self {
            Command::Add => "ADD",
            Command::Del => "DEL",
            Command::Check => "CHECK",
            Command::Gc => "GC",
            Command::Status => "STATUS",
            Command::Version => "VERSION",
        }
    }

    /// Reads `CNI_COMMAND`.
    pub fn parse(text: &str) -> Option<Self> {
        use Command::{Add, Check, Del, Gc, Status, Version};
        [Add, Del, Check, Gc, Status, Version].into_iter().find(|command| command.as_str() == text)
    }
}

/// `CNI_ARGS`: pairs `key=value` separated by `;`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Args(Vec<(String, String)>);

impl Args {
    /// Splits at `;`, then at the first `=`; what has no `=` is left out.
    pub fn parse(text: &str) -> Self {
        let pairs = text.split(';').filter_map(|pair| pair.split_once('='));
        Args(pairs.map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())).collect())
    }

    /// The last value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

/// A call as the environment describes it. Members that the command does not need may be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `CNI_COMMAND`
    pub command: Command,
    /// `CNI_CONTAINERID`
    pub container_id: String,
    /// `CNI_NETNS`, a path; empty if the namespace is gone.
    pub netns: String,
    /// `CNI_IFNAME`
    pub ifname: String,
    /// `CNI_ARGS`
    pub args: Args,
    /// `CNI_PATH`: folders with plugins, separated by `:`.
    pub path: String,
    /// The whole environment, for plugins that this one calls.
    pub env: Vec<(String, String)>,
}

impl Request {
    /// Reads the environment.
    ///
    /// # Errors
    /// [`code::INVALID_ENVIRONMENT`], naming the variable and its value.
    pub fn from_env(env: impl IntoIterator<Item = (String, String)>) -> Result<Self, Error> {
        let env: Vec<(String, String)> = env.into_iter().collect();
        let map: HashMap<&str, &str> = env.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let get = |name: &str| map.get(name).copied().unwrap_or_default();
        let bad = |name: &str, why: &str| {
            Err(Error::new(code::INVALID_ENVIRONMENT, format!("environment variable {name}={:?} {why}", get(name))))
        };
        let Some(command) = Command::parse(get("CNI_COMMAND")) else {
            return bad("CNI_COMMAND", "is none of ADD, DEL, CHECK, GC, STATUS, VERSION");
        };
        let attachment = matches!(command, Command::Add | Command::Del | Command::Check);
        if attachment && !is_id(get("CNI_CONTAINERID")) {
            return bad("CNI_CONTAINERID", "must start with a letter or digit and hold only letters, digits, '_.-'");
        }
        if attachment && !is_interface_name(get("CNI_IFNAME")) {
            return bad("CNI_IFNAME", "must be an interface name of 1 to 15 characters without '/', ':' and blanks");
        }
        if matches!(command, Command::Add | Command::Check) && get("CNI_NETNS").is_empty() {
            return bad("CNI_NETNS", "must be the path of a network namespace");
        }
        if get("CNI_NETNS").contains('\0') {
            return bad("CNI_NETNS", "must be a path");
        }
        Ok(Request {
            command,
            container_id: get("CNI_CONTAINERID").to_owned(),
            netns: get("CNI_NETNS").to_owned(),
            ifname: get("CNI_IFNAME").to_owned(),
            args: Args::parse(get("CNI_ARGS")),
            path: get("CNI_PATH").to_owned(),
            env,
        })
    }
}

/// Container ids and network names: `[A-Za-z0-9][A-Za-z0-9_.-]*`.
pub fn is_id(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

/// What the kernel takes as the name of an interface.
pub fn is_interface_name(text: &str) -> bool {
    (1..=15).contains(&text.len())
        && !matches!(text, "." | ".." | "all" | "default")
        && text.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '/' | ':' | '%'))
}
