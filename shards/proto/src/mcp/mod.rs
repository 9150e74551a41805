//! Messages of the Model Context Protocol: versions, names, codes, ids, and the parameters of the
//! modern era (2026-07-28) and of the legacy one (2025-03-26 to 2025-11-25).
//!
//! Borrowed views over one request; what a server does with them is the runtime's.

mod event_id;
mod header;
mod legacy;
mod params;
mod session_id;
mod version;

pub use event_id::EventId;
pub use header::{HeaderValueError, decode_header_value};
pub use legacy::{Cancelled, Initialize, RESOURCE_NOT_FOUND, SetLevel, Subscribe};
pub use params::{
    Argument, Capabilities, Capability, Filter, LogLevel, Meta, Params, ParamsError, Reference,
    Token,
};
pub use session_id::{PARTITIONS, SessionId};
pub use version::Version;

/// The modern, stateless version.
pub const VERSION_2026_07_28: &str = "2026-07-28";

/// HTTP headers do not match the body (2026-07-28, transports, Server Validation).
pub const HEADER_MISMATCH: i64 = -32020;
/// The client did not declare a capability that the request needs.
pub const MISSING_CLIENT_CAPABILITY: i64 = -32021;
/// The protocol version is not supported.
pub const UNSUPPORTED_VERSION: i64 = -32022;

/// `_meta` key of a request's protocol version.
pub const META_PROTOCOL_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// `_meta` key of a client's capabilities.
pub const META_CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// `_meta` key of the id of the `subscriptions/listen` request that a message belongs to.
pub const META_SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";
/// `_meta` key of the server's name and version.
pub const META_SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
