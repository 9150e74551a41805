//! The plan: everything that a server was told to be, checked against its machine.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ringmesh_ring::RingConfig;
use ringmesh_runtime::limits::{Allowed, Limits, REFUSAL_SLOTS};

use super::error::ConfigError;
use super::file::File;
use super::machine::Machine;
use super::memory::Memory;
use super::resolve::resolve;
use super::secret::Secret;
use super::settings::Source;

/// What a server will be. Made by [`crate::cli::main`] from flags and file, or by
/// [`Plan::detect`]; its `Display` is what `ringmesh --check` prints.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Plan {
    /// MCP is served to one client on standard input and output, by one shard without io_uring.
    /// Then nothing listens, whatever `http`, `tcp`, `unix` and `admin` say.
    pub stdio: bool,
    /// Where MCP is served over HTTP, in the order of the listeners. Port 0 picks a port.
    pub http: Vec<SocketAddr>,
    /// Where it is served as lines of JSON over TCP.
    pub tcp: Vec<SocketAddr>,
    /// The Unix sockets on which it is served as lines of JSON.
    pub unix: Vec<PathBuf>,
    /// Where metrics, health and status are served.
    pub admin: SocketAddr,
    /// The path of the MCP endpoint.
    pub path: String,
    /// Hosts and origins that are answered besides those of loopback.
    pub allowed: Allowed,
    /// How many shards there are.
    pub shards: u16,
    /// The cpus that shards are pinned to, in turn; empty: shards are not pinned.
    pub cpus: Vec<usize>,
    /// Threads of the pools of tools.
    pub threads: Threads,
    /// Receive buffers of each shard.
    pub buffers: Buffers,
    /// Bounds and time-outs of each shard.
    pub limits: Limits,
    /// From the signal to the end, in milliseconds.
    pub grace_ms: u64,
    /// The secret from which the key of `requestState` is derived; none: a random one.
    pub state_secret: Option<Secret>,
    /// Filter of the log, as tracing-subscriber's `EnvFilter` reads it.
    pub log: String,
    /// The file that settings were read from.
    pub file: Option<PathBuf>,
    /// What the server will need if every bound is reached.
    pub memory: Memory,
    /// Where a default had to fit the machine, one line each.
    pub notes: Vec<String>,
    /// What will work but is probably not meant, one line each.
    pub warnings: Vec<String>,
}

/// Threads of the pools of tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threads {
    /// For tools that are futures.
    pub for_async: usize,
    /// For tools that block.
    pub for_blocking: usize,
}

/// Receive buffers of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffers {
    /// How many, a power of two.
    pub count: u16,
    /// Bytes of each.
    pub bytes: u32,
}

impl Plan {
    /// The defaults, fitted to this machine.
    ///
    /// # Errors
    /// Where a limit of the machine is too low for any server.
    pub fn detect() -> Result<Self, ConfigError> {
        resolve(&Source::default(), &Machine::read())
    }

    /// What a `ringmesh.toml` says, defaults for the rest, fitted to this machine.
    ///
    /// # Errors
    /// Where the file or a limit of the machine is wrong, with the place and the mend.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let source = Source { file: Some(File::read(path)?), ..Source::default() };
        resolve(&source, &Machine::read())
    }

    /// The sizes of each shard's ring.
    pub(crate) fn ring(&self) -> RingConfig {
        ring_config(&self.limits, self.buffers)
    }
}

/// The sizes of the ring of a shard with these bounds.
pub(crate) fn ring_config(limits: &Limits, buffers: Buffers) -> RingConfig {
    RingConfig {
        table: limits.connections_max.saturating_add(REFUSAL_SLOTS),
        buffers: buffers.count,
        buffer_bytes: buffers.bytes,
        ..RingConfig::default()
    }
}
