//! The pod annotation [`names::ARGS_ANNOTATION`]: what a user asks for, and what bind answers.

use std::{fmt, net::IpAddr};

use galaxy_core::IpRange;
use ipnet::IpNet;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
    ser::SerializeMap,
};
use serde_json::value::{RawValue, to_raw_value};

use crate::{names::ARGS_ANNOTATION, wire::shorten};

/// Most addresses that one pod may ask for.
pub const MAX_LISTS: usize = 32;
/// Most ranges in all lists of a pod.
pub const MAX_RANGES: usize = 10_000;
/// Longest annotation in bytes; Kubernetes allows all annotations of an object together no more.
pub const MAX_BYTES: usize = 256 * 1024;

const RANGES: &str = "request_ip_range";
const COMMON: &str = "common";
const IP_INFOS: &str = "ipinfos";

/// Content of the annotation.
///
/// Members that Galaxy does not know are kept as they are, also inside `common`.
#[derive(Debug, Clone, Default)]
pub struct PodArgs {
    /// One list per address; the ranges of a list are alternatives. Empty: one address from anywhere.
    pub ranges: Vec<Vec<IpRange>>,
    /// Content of `common`.
    common: Members,
    /// Members beside `request_ip_range` and `common`.
    others: Members,
}

/// One address as CNI plugins read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpInfo {
    /// The address with the prefix length of its subnet.
    pub ip: IpNet,
    /// VLAN id; 0 for none.
    #[serde(default)]
    pub vlan: u16,
    /// Gateway of the subnet.
    pub gateway: IpAddr,
}

/// Why the annotation was refused. Every message names the annotation, the place and the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgsError {
    /// Longer than [`MAX_BYTES`].
    #[error("annotation {ARGS_ANNOTATION} has {0} bytes, more than {MAX_BYTES}")]
    TooLong(usize),
    /// Not JSON, or not an object.
    #[error("annotation {ARGS_ANNOTATION} is not a JSON object: {error}; it reads {text:?}")]
    NotAnObject {
        /// What the parser says.
        error: String,
        /// Start of the annotation.
        text: String,
    },
    /// A member has a value of the wrong kind.
    #[error("annotation {ARGS_ANNOTATION}: {place} must be {want}, not {value}")]
    WrongKind {
        /// Which member.
        place: String,
        /// What it should be.
        want: &'static str,
        /// Start of the value.
        value: String,
    },
    /// A range does not parse.
    #[error("annotation {ARGS_ANNOTATION}: {RANGES}[{list}][{index}]: {error}")]
    BadRange {
        /// Index of the list.
        list: usize,
        /// Index of the range in the list.
        index: usize,
        /// What is wrong, with the value.
        error: galaxy_core::RangeError,
    },
    /// A list without ranges can never be served.
    #[error("annotation {ARGS_ANNOTATION}: {RANGES}[{0}] is empty; name at least one range or remove the list")]
    EmptyList(usize),
    /// More than [`MAX_LISTS`] lists.
    #[error("annotation {ARGS_ANNOTATION}: {RANGES} has {0} lists, more than {MAX_LISTS}")]
    TooManyLists(usize),
    /// More than [`MAX_RANGES`] ranges.
    #[error("annotation {ARGS_ANNOTATION}: {RANGES} has {0} ranges, more than {MAX_RANGES}")]
    TooManyRanges(usize),
}

impl PodArgs {
    /// Reads the annotation; an empty one is the same as none.
    ///
    /// # Errors
    /// See [`ArgsError`].
    pub fn parse(annotation: &str) -> Result<Self, ArgsError> {
        if annotation.len() > MAX_BYTES {
            return Err(ArgsError::TooLong(annotation.len()));
        }
        if annotation.is_empty() {
            return Ok(Self::default());
        }
        let mut others: Members = serde_json::from_str(annotation).map_err(|error| ArgsError::NotAnObject {
            error: error.to_string(),
            text: shorten(annotation).into_owned(),
        })?;
        let ranges = others.take(RANGES).map(|raw| parse_lists(&raw)).transpose()?.unwrap_or_default();
        let common = others.take(COMMON).map(|raw| parse_common(&raw)).transpose()?.unwrap_or_default();
        Ok(PodArgs { ranges, common, others })
    }

    /// The addresses written by an earlier bind. Entries that make no sense are left out.
    pub fn ip_infos(&self) -> Vec<IpInfo> {
        let raw: Vec<Box<RawValue>> =
            self.common.get(IP_INFOS).and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
        raw.iter().filter_map(|info| serde_json::from_str(info.get()).ok()).collect()
    }

    /// The members of `common` that users and bind wrote, each value as its JSON text: CNI plugins get them as arguments.
    pub fn common(&self) -> impl Iterator<Item = (&str, &str)> {
        self.common.iter().map(|(name, value)| (name.as_str(), value.get()))
    }

    /// The annotation that bind writes: the request, the addresses in its order, and everything else as it was.
    pub fn with_ip_infos(&self, infos: &[IpInfo]) -> String {
        serde_json::to_string(&Output { args: self, infos }).unwrap_or_default()
    }
}

fn parse_lists(raw: &RawValue) -> Result<Vec<Vec<IpRange>>, ArgsError> {
    let wrong = |place: String, want, value: &str| ArgsError::WrongKind { place, want, value: shorten(value).into() };
    let lists: Option<Vec<&RawValue>> = serde_json::from_str(raw.get())
        .map_err(|_| wrong(RANGES.to_owned(), "a list of lists of ranges", raw.get()))?;
    let lists = lists.unwrap_or_default();
    if lists.len() > MAX_LISTS {
        return Err(ArgsError::TooManyLists(lists.len()));
    }
    let mut total = 0;
    let mut parsed = Vec::with_capacity(lists.len());
    for (list, raw) in lists.into_iter().enumerate() {
        let texts: Vec<&RawValue> = serde_json::from_str(raw.get())
            .map_err(|_| wrong(format!("{RANGES}[{list}]"), "a list of ranges", raw.get()))?;
        total += texts.len();
        if texts.is_empty() {
            return Err(ArgsError::EmptyList(list));
        }
        if total > MAX_RANGES {
            return Err(ArgsError::TooManyRanges(total));
        }
        let ranges = texts.into_iter().enumerate().map(|(index, raw)| {
            let text: String = serde_json::from_str(raw.get())
                .map_err(|_| wrong(format!("{RANGES}[{list}][{index}]"), "a string", raw.get()))?;
            text.parse().map_err(|error| ArgsError::BadRange { list, index, error })
        });
        parsed.push(ranges.collect::<Result<_, _>>()?);
    }
    Ok(parsed)
}

fn parse_common(raw: &RawValue) -> Result<Members, ArgsError> {
    let common: Option<Members> = serde_json::from_str(raw.get()).map_err(|_| ArgsError::WrongKind {
        place: COMMON.to_owned(),
        want: "a JSON object",
        value: shorten(raw.get()).into_owned(),
    })?;
    Ok(common.unwrap_or_default())
}

/// The annotation as bind writes it.
struct Output<'a> {
    args: &'a PodArgs,
    infos: &'a [IpInfo],
}

impl Serialize for Output<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if !self.args.ranges.is_empty() {
            let text = |list: &Vec<IpRange>| list.iter().map(IpRange::to_string).collect();
            map.serialize_entry(RANGES, &self.args.ranges.iter().map(text).collect::<Vec<Vec<String>>>())?;
        }
        let mut common = Members::default();
        if !self.infos.is_empty() {
            common.0.push((IP_INFOS.to_owned(), to_raw_value(self.infos).map_err(serde::ser::Error::custom)?));
        }
        common.0.extend(self.args.common.iter().filter(|(name, _)| !name.eq_ignore_ascii_case(IP_INFOS)).cloned());
        map.serialize_entry(COMMON, &common)?;
        for (name, value) in self.args.others.iter() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// The members of a JSON object in their order, each value as its text.
#[derive(Debug, Clone, Default)]
struct Members(Vec<(String, Box<RawValue>)>);

impl Members {
    fn iter(&self) -> std::slice::Iter<'_, (String, Box<RawValue>)> {
        self.0.iter()
    }

    /// The last member of a name in any letter case, as Go reads it.
    fn get(&self, name: &str) -> Option<&RawValue> {
        self.0.iter().rev().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_ref())
    }

    /// Removes all members of a name and returns the last.
    fn take(&mut self, name: &str) -> Option<Box<RawValue>> {
        self.0.extract_if(.., |(key, _)| key.eq_ignore_ascii_case(name)).last().map(|(_, value)| value)
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(MembersVisitor)
    }
}

impl Serialize for Members {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}
