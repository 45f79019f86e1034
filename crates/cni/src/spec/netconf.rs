//! The members of a network configuration that every plugin reads.

use serde::Deserialize;
use serde_json::Value;

use super::{AddResult, Dns, Error, Version, code, is_id};

const VALID_ATTACHMENTS: &str = "cni.dev/valid-attachments";

/// Longest configuration in bytes.
const MAX_BYTES: usize = 4 << 20;

/// A container and interface that is still in use.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Attachment {
    /// Container id.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// Interface name that the runtime asked for.
    pub ifname: String,
}

/// A network configuration with plugin-specific members still to be read from [`NetConf::value`].
#[derive(Debug, Clone)]
pub struct NetConf {
    /// Version of the configuration and of the result.
    pub version: Version,
    /// Name of the network; the type if it has none.
    pub name: String,
    /// Type of the IPAM plugin to delegate to.
    pub ipam: Option<String>,
    /// Name service of the configuration.
    pub dns: Dns,
    /// Result of ADD, as CHECK and DEL get it.
    pub prev_result: Option<AddResult>,
    /// GC: what is in use; none if the runtime did not say.
    pub valid: Option<Vec<Attachment>>,
    /// The whole configuration.
    pub value: Value,
}

#[derive(Deserialize)]
struct Raw {
    name: Option<String>,
    r#type: Option<String>,
    ipam: Option<Ipam>,
    dns: Option<Dns>,
    #[serde(rename = "prevResult")]
    prev_result: Option<Value>,
    #[serde(rename = "cni.dev/valid-attachments")]
    valid: Option<Vec<Attachment>>,
}

#[derive(Deserialize)]
struct Ipam {
    r#type: Option<String>,
}

impl NetConf {
    /// Reads a configuration from what came in on standard input.
    ///
    /// # Errors
    /// Decoding, version and configuration errors of the specification, naming member and value. They come with the
    /// version to answer in.
    pub fn parse(input: &[u8]) -> Result<Self, (Version, Error)> {
        let first = |error| (Version::default(), error);
        let value = parse_object(input).map_err(first)?;
        let version = match value.get("cniVersion") {
            None | Some(Value::Null) => Version::default(),
            Some(Value::String(text)) if text.is_empty() => Version::default(),
            Some(Value::String(text)) => Version::parse(text).map_err(first)?,
            Some(other) => {
                return Err(first(Error::new(code::DECODING, format!("cniVersion must be a string, not {other}"))));
            }
        };
        Self::read(version, value).map_err(|error| (version, error))
    }

    fn read(version: Version, value: Value) -> Result<Self, Error> {
        let raw: Raw = decode(&value)?;
        let name = raw.name.filter(|name| !name.is_empty()).or(raw.r#type).unwrap_or_default();
        if !is_id(&name) {
            let msg = format!("name {name:?} must start with a letter or digit and hold only letters, digits, '_.-'");
            return Err(Error::config(msg));
        }
        let ipam = raw.ipam.and_then(|ipam| ipam.r#type).filter(|kind| !kind.is_empty());
        if let Some(kind) = ipam.as_deref().filter(|kind| !is_id(kind)) {
            return Err(Error::config(format!("ipam.type {kind:?} must be the name of a plugin, not a path")));
        }
        let prev_result = raw.prev_result.map(|value| AddResult::from_json(&value, version)).transpose();
        let prev_result = prev_result.map_err(|error| Error::new(error.code, format!("prevResult: {error}")))?;
        // Go writes an empty list as null.
        let valid = raw.valid.or_else(|| value.get(VALID_ATTACHMENTS).map(|_| Vec::new()));
        Ok(NetConf { version, name, ipam, dns: raw.dns.unwrap_or_default(), prev_result, valid, value })
    }
}

/// Reads the version that a VERSION call asks for; anything unreadable is none.
pub(crate) fn asked_version(input: &[u8]) -> Option<Version> {
    let value = parse_object(input).ok()?;
    Version::parse(value.get("cniVersion")?.as_str()?).ok()
}

fn parse_object(input: &[u8]) -> Result<Value, Error> {
    let fail = |why: String| {
        Error::new(code::DECODING, format!("the network configuration on standard input is not a JSON object: {why}"))
    };
    if input.len() > MAX_BYTES {
        return Err(fail(format!("it has {} bytes, more than {MAX_BYTES}", input.len())));
    }
    let value: Value = serde_json::from_slice(input).map_err(|error| fail(error.to_string()))?;
    if value.is_object() { Ok(value) } else { Err(fail(format!("it reads {}", shorten(&value.to_string())))) }
}

/// Decodes members of the configuration; an error names the member.
pub(crate) fn decode<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T, Error> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        Error::new(code::DECODING, format!("network configuration: {path}: {}", error.into_inner()))
    })
}

/// The start of a text, for messages.
pub(crate) fn shorten(text: &str) -> String {
    const MOST: usize = 80;
    if text.chars().count() <= MOST { text.to_owned() } else { text.chars().take(MOST).chain(['…']).collect() }
}
