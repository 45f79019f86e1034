//! Which networks a pod gets, and its interfaces' names in them.

use galaxy_api::names::NETWORKS_ANNOTATION;
use galaxy_cni::spec::is_interface_name;
use serde_json::Value;

use super::Config;

/// A network that a pod's annotation asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// Name of the network.
    pub network: String,
    /// Name of the interface, if one was asked for.
    pub interface: Option<String>,
}

/// A network with the interface's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// Name of the network.
    pub network: String,
    /// Name of the interface in the pod.
    pub interface: String,
}

/// Most networks of a pod.
const MAX_NETWORKS: usize = 32;

/// Reads the networks annotation: a JSON list of objects with `name` and `interface`, or
/// `[namespace/]name[@interface]`, separated by commas. Empty: nothing is asked for.
///
/// # Errors
/// What is wrong, naming the annotation, the item and the way out.
pub fn parse(annotation: &str) -> Result<Vec<Selection>, String> {
    let bad = |why: String| Err(format!("annotation {NETWORKS_ANNOTATION}: {why}"));
    let selections = if annotation.contains(['[', '{', '"']) { json(annotation) } else { list(annotation) };
    let selections = match selections {
        Ok(selections) if selections.len() > MAX_NETWORKS => {
            return bad(format!("{} networks, more than {MAX_NETWORKS}", selections.len()));
        }
        Ok(selections) => selections,
        Err(why) => return bad(why),
    };
    for selection in &selections {
        if !is_label(&selection.network) {
            return bad(format!(
                "{:?} is no name of a network: lower-case letters, digits and - are",
                selection.network
            ));
        }
        if let Some(interface) = selection.interface.as_deref().filter(|name| !is_interface_name(name)) {
            return bad(format!("{interface:?} cannot be the name of an interface"));
        }
    }
    Ok(selections)
}

fn json(annotation: &str) -> Result<Vec<Selection>, String> {
    let value: Value = serde_json::from_str(annotation).map_err(|error| format!("it is not JSON: {error}"))?;
    let items = value.as_array().ok_or("it is not a JSON list")?;
    let text = |index: usize, item: &Value, member: &str| match item.get(member) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Err(format!("item {index}: {member} must be a string, not {other}")),
    };
    let items = items.iter().enumerate().map(|(index, item)| {
        if !item.is_object() {
            return Err(format!("item {index}: {item} is not an object"));
        }
        let interface = Some(text(index, item, "interface")?).filter(|name| !name.is_empty());
        Ok(Selection { network: text(index, item, "name")?, interface })
    });
    items.collect()
}

fn list(annotation: &str) -> Result<Vec<Selection>, String> {
    let items = annotation.split(',').map(str::trim).filter(|item| !item.is_empty());
    let items = items.map(|item| {
        let (namespace, last) =
            item.split_once('/').map_or((None, item), |(namespace, last)| (Some(namespace.trim()), last));
        let more = last.contains('/') || namespace.is_some_and(|namespace| !is_label(namespace));
        let mut ats = last.split('@').map(str::trim);
        match (ats.next(), ats.next(), ats.next()) {
            (Some(name), interface, None) if !more => {
                Ok(Selection { network: name.to_owned(), interface: interface.map(str::to_owned) })
            }
            _ => Err(format!("{item:?} must be [namespace/]name[@interface]")),
        }
    });
    items.collect()
}

fn is_label(text: &str) -> bool {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.starts_with(edge) && text.ends_with(edge) && text.chars().all(|c| edge(c) || c == '-')
}

impl Config {
    /// The networks of a pod: those it names, else the one for floating IPs if it wants one, else the default ones. The
    /// first interface has the name that the runtime asked for.
    ///
    /// # Errors
    /// There is no network for it, or two interfaces of a name.
    pub fn choose(&self, named: &[Selection], wants_ip: bool, ifname: &str) -> Result<Vec<Chosen>, String> {
        let plain = |network: &String| Selection { network: network.clone(), interface: None };
        let selections: Vec<Selection> = match &self.floating {
            _ if !named.is_empty() => named.to_vec(),
            Some(network) if wants_ip => vec![plain(network)],
            _ => self.default.iter().map(plain).collect(),
        };
        if selections.is_empty() {
            return Err("no network for it: it names none, and DefaultNetworks is empty".to_owned());
        }
        let mut chosen: Vec<Chosen> = Vec::with_capacity(selections.len());
        for (index, selection) in selections.into_iter().enumerate() {
            let interface = match selection.interface {
                _ if index == 0 => ifname.to_owned(),
                Some(interface) => interface,
                None => format!("eth{index}"),
            };
            if let Some(other) = chosen.iter().find(|other| other.interface == interface) {
                let (a, b) = (&other.network, &selection.network);
                return Err(format!(
                    "networks {a} and {b} would both get interface {interface}; name another in annotation {NETWORKS_ANNOTATION}"
                ));
            }
            chosen.push(Chosen { network: selection.network, interface });
        }
        Ok(chosen)
    }
}
