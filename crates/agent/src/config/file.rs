//! `/etc/galaxy/galaxy.json`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Network, network::short};

/// The file, checked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config {
    /// `NetworkConf` by name.
    pub networks: BTreeMap<String, Network>,
    /// `DefaultNetworks`: for pods that name none.
    pub default: Vec<String>,
    /// `ENIIPNetwork`: for pods that want a floating IP and name no network.
    pub floating: Option<String>,
}

/// Longest file in bytes.
const MAX_BYTES: usize = 4 << 20;

impl Config {
    /// Reads the file's content.
    ///
    /// # Errors
    /// What is wrong, naming member and value; nothing of it may be used then.
    pub fn parse(content: &[u8]) -> Result<Self, String> {
        if content.len() > MAX_BYTES {
            return Err(format!("it has {} bytes, more than {MAX_BYTES}", content.len()));
        }
        let file: Value = serde_json::from_slice(content).map_err(|error| format!("it is not JSON: {error}"))?;
        let members = file.as_object().ok_or_else(|| format!("it is not a JSON object but {}", short(&file)))?;
        let mut config = Config::default();
        match members.get("NetworkConf") {
            None | Some(Value::Null) => {}
            Some(Value::Array(networks)) => {
                for (index, network) in networks.iter().enumerate() {
                    let network = Network::read(network).map_err(|why| format!("NetworkConf[{index}]: {why}"))?;
                    let name = network.name.clone();
                    if config.networks.insert(name.clone(), network).is_some() {
                        return Err(format!("NetworkConf[{index}]: there are two networks {name:?}; rename one"));
                    }
                }
            }
            Some(other) => return Err(format!("NetworkConf must be a list of configurations, not {}", short(other))),
        }
        config.default = match members.get("DefaultNetworks") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(names)) => {
                names.iter().map(|name| text("DefaultNetworks", name)).collect::<Result<_, _>>()?
            }
            Some(other) => return Err(format!("DefaultNetworks must be a list of names, not {}", short(other))),
        };
        config.floating = match members.get("ENIIPNetwork") {
            None | Some(Value::Null) => None,
            Some(name) => Some(text("ENIIPNetwork", name)?).filter(|name| !name.is_empty()),
        };
        if config.default.iter().any(String::is_empty) {
            return Err("DefaultNetworks holds an empty name".to_owned());
        }
        if config == Config::default() {
            return Err("it is empty: NetworkConf, DefaultNetworks and ENIIPNetwork are all missing".to_owned());
        }
        Ok(config)
    }

    /// `run_dir` of all plugins, without repetitions; none for the default one.
    pub fn run_dirs(&self) -> Vec<Option<String>> {
        let plugins = self.networks.values().flat_map(|network| &network.plugins);
        let mut dirs: Vec<_> =
            plugins.filter_map(|plugin| plugin["run_dir"].as_str()).map(|dir| Some(dir.to_owned())).collect();
        dirs.push(None);
        dirs.sort();
        dirs.dedup();
        dirs
    }
}

fn text(member: &str, value: &Value) -> Result<String, String> {
    value
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| format!("{member} must hold the name of a network, not {}", short(value)))
}
