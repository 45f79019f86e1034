//! Versions of the specification.

use serde_json::{Value, json};

use super::{Error, code};

/// A version of the specification that these plugins speak. Later ones are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Version {
    /// 0.1.0, also meant by a configuration that names no version.
    #[default]
    V0_1_0,
    /// 0.2.0
    V0_2_0,
    /// 0.3.0: results with interfaces and any number of addresses.
    V0_3_0,
    /// 0.3.1
    V0_3_1,
    /// 0.4.0: CHECK.
    V0_4_0,
    /// 1.0.0: addresses without a family member.
    V1_0_0,
    /// 1.1.0: GC, STATUS, MTU in results.
    V1_1_0,
}

impl Version {
    /// All, oldest first.
    pub const ALL: [Version; 7] = [
        Version::V0_1_0,
        Version::V0_2_0,
        Version::V0_3_0,
        Version::V0_3_1,
        Version::V0_4_0,
        Version::V1_0_0,
        Version::V1_1_0,
    ];

    /// As in `cniVersion`.
    pub fn as_str(self) -> &'static str {
        match self {
            Version::V0_1_0 => "0.1.0",
            Version::V0_2_0 => "0.2.0",
            Version::V0_3_0 => "0.3.0",
            Version::V0_3_1 => "0.3.1",
            Version::V0_4_0 => "0.4.0",
            Version::V1_0_0 => "1.0.0",
            Version::V1_1_0 => "1.1.0",
        }
    }

    /// Reads `cniVersion`.
    ///
    /// # Errors
    /// [`code::INCOMPATIBLE_VERSION`] for one that is not in [`Version::ALL`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|version| version.as_str() == text);
        found.ok_or_else(|| {
            let supported = Self::ALL.map(Version::as_str).join(", ");
            let msg = format!("cniVersion {text:?} is not supported; use one of {supported}");
            Error::new(code::INCOMPATIBLE_VERSION, msg)
        })
    }
}

/// The answer to VERSION; `asked` is the version in the configuration, if one is there and supported.
pub fn version_reply(asked: Option<Version>) -> Value {
    json!({
        "cniVersion": asked.unwrap_or(Version::V1_1_0).as_str(),
        "supportedVersions": Version::ALL.map(Version::as_str),
    })
}
