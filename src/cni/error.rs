//! What can go wrong in the CNI plugin, and the error document that a runtime reads from stdout.

use std::io;

use serde_json::{Value, json};

/// Codes of the specification; from 100 on they are the plugin's own.
const INCOMPATIBLE: u32 = 1;
const ENVIRONMENT: u32 = 4;
const IO: u32 = 5;
const DECODE: u32 = 6;
const CONFIG: u32 = 7;
const LATER: u32 = 11;
const UNAVAILABLE: u32 = 50;
/// The same, and pods that run have less of the network than they were given.
const LIMITED: u32 = 51;
const NETWORK: u32 = 100;
const IPAM: u32 = 101;
const RULES: u32 = 102;
const DIFFERENT: u32 = 103;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum CniError {
    #[error("CNI version {0} is not supported")]
    Version(String),
    #[error("{variable}: {problem}")]
    Environment { variable: &'static str, problem: String },
    #[error("the network configuration cannot be read: {0}")]
    Decode(String),
    #[error("network configuration: {0}")]
    Config(String),
    #[error("cannot {what}: {error}")]
    Io { what: String, error: io::Error },
    #[error("another call of this plugin has held {path} for too long")]
    Busy { path: String },
    #[error("not finished within {seconds} s")]
    TooSlow { seconds: u64 },
    #[error("{0}; to be tried again")]
    Later(String),
    #[error("not usable here: {0}")]
    Unavailable(String),
    #[error("pods cannot reach outside: {0}")]
    NoWay(String),
    #[error("cannot {what}: {error}")]
    Network { what: String, error: io::Error },
    #[error("{0}")]
    Attachment(String),
    #[error("address management: {0}")]
    Ipam(String),
    /// The delegate's own error, handed on as it is.
    #[error("address management: {msg}")]
    Delegate { code: u32, msg: String, details: String },
    #[error("{0}")]
    Rules(String),
    #[error("not as it was set up: {0}")]
    Different(String),
    #[error("a bug in the plugin: a thread of it ended early")]
    Broken,
}

impl CniError {
    /// For `map_err` on file operations.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Io { what: what.into(), error }
    }

    /// For `map_err` on what the kernel's network was asked to do.
    pub fn network(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Network { what: what.into(), error }
    }

    /// The code of the specification.
    pub fn code(&self) -> u32 {
        match self {
            Self::Version(_) => INCOMPATIBLE,
            Self::Environment { .. } => ENVIRONMENT,
            Self::Decode(_) => DECODE,
            Self::Config(_) => CONFIG,
            Self::Io { .. } => IO,
            Self::Busy { .. } | Self::TooSlow { .. } | Self::Later(_) => LATER,
            Self::Unavailable(_) => UNAVAILABLE,
            Self::NoWay(_) => LIMITED,
            Self::Network { .. } | Self::Attachment(_) | Self::Broken => NETWORK,
            Self::Ipam(_) => IPAM,
            Self::Delegate { code, .. } => *code,
            Self::Rules(_) => RULES,
            Self::Different(_) => DIFFERENT,
        }
    }

    /// The error document.
    pub fn document(&self, version: &str) -> Value {
        let details = match self {
            Self::Delegate { details, .. } => details.as_str(),
            Self::Version(_) => "sandbar-cni answers VERSION with those that are",
            _ => "",
        };
        json!({ "cniVersion": version, "code": self.code(), "msg": self.to_string(), "details": details })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_specification() {
        let error = CniError::Environment { variable: "CNI_IFNAME", problem: "is missing".into() };
        let document = error.document("1.0.0");
        assert_eq!(document["code"], 4);
        assert_eq!(document["msg"], "CNI_IFNAME: is missing");
        assert_eq!(document["cniVersion"], "1.0.0");
    }

    #[test]
    fn a_delegates_error_is_handed_on() {
        let error = CniError::Delegate { code: 7, msg: "full".into(), details: "range 0".into() };
        let document = error.document("0.4.0");
        assert_eq!((document["code"].as_u64(), document["details"].as_str()), (Some(7), Some("range 0")));
    }
}
