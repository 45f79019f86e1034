//! The original's format: `[{"NetworkType":…,"Args":{…},"Conf":{…},"IfName":…}]` in a file named by container id.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{Attachment, Sandbox};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Network {
    network_type: String,
    #[serde(default)]
    args: Option<BTreeMap<String, String>>,
    conf: Value,
    if_name: String,
}

/// Reads the original's file. Its networks were attached, as far as anybody knows.
pub(super) fn read(container_id: &str, content: &[u8]) -> Result<Sandbox, String> {
    let networks: Vec<Network> = serde_json::from_slice(content).map_err(|error| error.to_string())?;
    let networks: Vec<Attachment> = networks
        .into_iter()
        .map(|network| {
            let args = network.args.unwrap_or_default();
            let pairs: Vec<String> = args.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
            Attachment {
                network: network.network_type,
                ifname: network.if_name,
                args: pairs.join(";"),
                plugins: vec![network.conf],
                result: None,
            }
        })
        .collect();
    let ifname = networks.first().map(|network| network.ifname.clone()).unwrap_or_default();
    Ok(Sandbox { container_id: container_id.to_owned(), ifname, complete: true, networks, ..Sandbox::default() })
}
