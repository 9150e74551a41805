//! The protocol that a call was made by, as far as handlers and answers differ by it.

use ringmesh_proto::mcp::{Capabilities, LogLevel, Version};

/// The era of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// 2026-07-28: stateless, the request says everything itself.
    Modern,
    /// A version with an `initialize` handshake: the client said once what it can do.
    Legacy(Client),
}

/// What a legacy client said about itself, at the handshake and since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// The version that was negotiated.
    pub version: Version,
    /// What it can do.
    pub capabilities: Capabilities,
    /// Least level of the log messages that it wants (`logging/setLevel`).
    pub log_level: LogLevel,
}

impl Era {
    /// The protocol's version.
    pub fn version(self) -> Version {
        match self {
            Self::Modern => Version::V2026_07_28,
            Self::Legacy(client) => client.version,
        }
    }

    /// Whether the request is of a version with a handshake.
    pub fn is_legacy(self) -> bool {
        matches!(self, Self::Legacy(_))
    }
}
