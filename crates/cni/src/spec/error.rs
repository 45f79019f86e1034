//! Error objects.

use serde_json::{Value, json};

use super::Version;

/// Error codes of the specification, and those of these plugins from 100 on.
pub mod code {
    /// The version of the configuration is not supported.
    pub const INCOMPATIBLE_VERSION: u32 = 1;
    /// A member of the configuration has an unsupported value.
    pub const UNSUPPORTED_FIELD: u32 = 2;
    /// The container is unknown or gone; the runtime need not clean up.
    pub const UNKNOWN_CONTAINER: u32 = 3;
    /// An environment variable is missing or malformed.
    pub const INVALID_ENVIRONMENT: u32 = 4;
    /// Reading or writing failed.
    pub const IO: u32 = 5;
    /// The configuration is not what it should be made of.
    pub const DECODING: u32 = 6;
    /// The configuration makes no sense.
    pub const INVALID_CONFIG: u32 = 7;
    /// A passing condition; the runtime should try again.
    pub const TRY_AGAIN: u32 = 11;
    /// STATUS: ADD cannot work now.
    pub const NOT_AVAILABLE: u32 = 50;
    /// STATUS: existing containers may have limited connectivity as well.
    pub const LIMITED: u32 = 51;
    /// The kernel refused something.
    pub const NETWORK: u32 = 100;
    /// Somebody else answers for the address.
    pub const ADDRESS_CONFLICT: u32 = 101;
    /// CHECK found something else than ADD made.
    pub const CHECK_FAILED: u32 = 102;
}

/// An error as a runtime reads it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{msg}")]
pub struct Error {
    /// One of [`code`].
    pub code: u32,
    /// What happened to what, and the way out.
    pub msg: String,
}

impl Error {
    /// An error with a code of [`code`].
    pub fn new(code: u32, msg: impl Into<String>) -> Self {
        Error { code, msg: msg.into() }
    }

    /// The kernel refused something: what was to be done, and its answer.
    pub fn network(what: impl std::fmt::Display, error: &std::io::Error) -> Self {
        Self::new(code::NETWORK, format!("{what}: {error}"))
    }

    /// Reading or writing failed.
    pub fn io(what: impl std::fmt::Display, error: &std::io::Error) -> Self {
        Self::new(code::IO, format!("{what}: {error}"))
    }

    /// The configuration makes no sense.
    pub fn config(msg: impl Into<String>) -> Self {
        Self::new(code::INVALID_CONFIG, msg)
    }

    /// The error object for a configuration of this version.
    pub fn to_json(&self, version: Version) -> Value {
        json!({ "cniVersion": version.as_str(), "code": self.code, "msg": self.msg })
    }

    /// Several failures as one, with the code of the first; none if there is none.
    pub fn join(errors: Vec<Error>) -> Result<(), Error> {
        let Some(first) = errors.first() else { return Ok(()) };
        let msg = errors.iter().map(|error| error.msg.as_str()).collect::<Vec<_>>().join("; ");
        Err(Error::new(first.code, msg))
    }
}
