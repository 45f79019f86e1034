//! One network: a chain of plugins, often of one.

use galaxy_cni::{
    Plugin,
    spec::{NetConf, Version, is_id},
};
use serde_json::{Map, Value};

/// A network that pods can be attached to.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// Name, by which pods and the configuration refer to it.
    pub name: String,
    /// Configurations of its plugins in the order of ADD, each complete with `name` and `cniVersion`.
    pub plugins: Vec<Value>,
    /// A list of its own, whose first plugin does not see the result of the network before.
    pub list: bool,
}

impl Network {
    /// Reads a single configuration (`type`) or a list (`plugins`).
    ///
    /// # Errors
    /// What is wrong, naming member and value.
    pub fn read(value: &Value) -> Result<Self, String> {
        let Some(members) = value.as_object() else {
            return Err(format!("{} is not a JSON object", short(value)));
        };
        let text = |name: &str| match members.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
            Some(other) => Err(format!("{name} must be a string, not {}", short(other))),
        };
        let (name, kind, version) = (text("name")?, text("type")?, text("cniVersion")?);
        if !members.contains_key("plugins") {
            let kind = kind.ok_or("type is missing: which plugin is it?")?;
            let name = name.unwrap_or(kind);
            let plugin =
                complete(members, &name, version.as_deref()).map_err(|why| format!("network {name:?}: {why}"))?;
            return Ok(Network { name, plugins: vec![plugin], list: false });
        }
        let name = name.ok_or("name is missing from a list of plugins")?;
        let within = |why: String| format!("network {name:?}: {why}");
        let plugins = match &members["plugins"] {
            Value::Array(plugins) if !plugins.is_empty() => plugins,
            other => return Err(within(format!("plugins must be a list of configurations, not {}", short(other)))),
        };
        let plugins = plugins.iter().enumerate().map(|(index, plugin)| {
            let plugin = plugin.as_object().ok_or_else(|| format!("{} is not a JSON object", short(plugin)));
            plugin
                .and_then(|plugin| complete(plugin, &name, version.as_deref()))
                .map_err(|why| within(format!("plugins[{index}]: {why}")))
        });
        let plugins = plugins.collect::<Result<_, _>>()?;
        Ok(Network { name, plugins, list: true })
    }
}

/// A plugin's configuration with the name of its network, and checked as the plugin will check it.
fn complete(plugin: &Map<String, Value>, name: &str, version: Option<&str>) -> Result<Value, String> {
    let mut plugin = plugin.clone();
    // Of the original's: a cluster's credentials are nobody's business.
    plugin.remove("kubeconfig");
    let kind = match plugin.get("type") {
        Some(Value::String(kind)) if is_id(kind) => kind.clone(),
        None => return Err("type is missing: which plugin is it?".to_owned()),
        Some(other) => return Err(format!("type must be the name of a plugin, not {}", short(other))),
    };
    plugin.insert("name".to_owned(), name.into());
    // Without a version a result has one address; the plugins called here can do better.
    let default = Plugin::ALL.iter().any(|own| own.name() == kind).then(|| Version::V1_0_0.as_str());
    match version.or(default) {
        Some(version) => plugin.insert("cniVersion".to_owned(), version.into()),
        None => plugin.remove("cniVersion"),
    };
    let plugin = Value::Object(plugin);
    NetConf::parse(plugin.to_string().as_bytes()).map_err(|(_, error)| error.msg)?;
    Ok(plugin)
}

/// The start of a value, for messages.
pub(super) fn short(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 80 { text } else { text.chars().take(80).chain(['…']).collect() }
}
