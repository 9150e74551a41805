//! Every setting once: a flag and a key of `ringmesh.toml` with one name and one meaning.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use serde::de::{Deserialize, Deserializer, Error as _};

use super::cpus::Cpus;
use super::error::ConfigError;
use super::file::File;
use super::units::{Count, Size, Span};

/// What was chosen, by flags or in a file. What is unset falls to the next: flags, file, defaults.
#[derive(Args, serde::Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct Settings {
    /// Serve MCP over HTTP here; repeatable, port 0 picks one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) http: Option<Vec<Address>>,
    /// Serve MCP as lines of JSON over TCP here; repeatable, port 0 picks one [default: nowhere]
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) tcp: Option<Vec<Address>>,
    /// Serve the same on a Unix socket that this user alone may open; repeatable
    /// [default: nowhere]
    #[arg(long, value_name = "PATH")]
    pub(crate) unix: Option<Vec<PathBuf>>,
    /// Serve metrics, health and status here, read-only [default: 127.0.0.1:9180]
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) admin: Option<Address>,
    /// The endpoint's path [default: /mcp]
    #[arg(long, value_name = "PATH")]
    pub(crate) path: Option<String>,
    /// A further value of Host to answer to, without port; * for any; repeatable
    #[arg(long, value_name = "HOST")]
    pub(crate) allow_host: Option<Vec<String>>,
    /// A further Origin to answer to, such as https://app.example; * for any; repeatable
    #[arg(long, value_name = "ORIGIN")]
    pub(crate) allow_origin: Option<Vec<String>>,

    /// Shards, each a thread with an io_uring; may exceed the cpus [default: one for each cpu]
    #[arg(long, value_name = "N")]
    pub(crate) shards: Option<Count>,
    /// Cpus that shards are pinned to, such as 0,2-3 [default: all that the process may use]
    #[arg(long, value_name = "LIST")]
    pub(crate) cpus: Option<Cpus>,
    /// Threads for async tools [default: one for each cpu, at most 4]
    #[arg(long, value_name = "N")]
    pub(crate) async_threads: Option<Count>,
    /// Threads for blocking tools [default: 16]
    #[arg(long, value_name = "N")]
    pub(crate) blocking_threads: Option<Count>,
    /// Receive buffers of a shard, a power of two [default: 256]
    #[arg(long, value_name = "N")]
    pub(crate) buffers: Option<Count>,
    /// Size of a receive buffer [default: 4KiB]
    #[arg(long, value_name = "SIZE")]
    pub(crate) buffer_bytes: Option<Size>,

    /// Connections of each shard [default: what RLIMIT_NOFILE and half the memory hold, less 256]
    #[arg(long, value_name = "N")]
    pub(crate) connections_max: Option<Count>,
    /// Open subscriptions/listen streams of each shard [default: as many as connections]
    #[arg(long, value_name = "N")]
    pub(crate) streams_max: Option<Count>,
    /// Sessions of the older protocol versions of each shard [default: as many as connections]
    #[arg(long, value_name = "N")]
    pub(crate) sessions_max: Option<Count>,
    /// Those of one client address; IPv6: of one /64 [default: a quarter, loopback without bound]
    #[arg(long, value_name = "N")]
    pub(crate) sessions_per_address_max: Option<Count>,
    /// Calls of async and blocking tools in flight of each shard [default: 4096]
    #[arg(long, value_name = "N")]
    pub(crate) calls_max: Option<Count>,
    /// Largest body of a request [default: 4MiB]
    #[arg(long, value_name = "SIZE")]
    pub(crate) body_max: Option<Size>,
    /// Bytes that may wait for one reader; over it the connection is closed [default: 8MiB]
    #[arg(long, value_name = "SIZE")]
    pub(crate) send_max: Option<Size>,
    /// Bytes of requests and replies in memory, of all shards [default: a quarter of the memory]
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory_max: Option<Size>,
    /// Events that a session keeps for clients that come back for them [default: 256]
    #[arg(long, value_name = "N")]
    pub(crate) session_events_max: Option<Count>,
    /// Bytes of those [default: 1MiB]
    #[arg(long, value_name = "SIZE")]
    pub(crate) session_event_bytes: Option<Size>,

    /// From the first byte of a request's head to its last [default: 10s]
    #[arg(long, value_name = "TIME")]
    pub(crate) head_timeout: Option<Span>,
    /// From the end of a head to the end of its body [default: 30s]
    #[arg(long, value_name = "TIME")]
    pub(crate) body_timeout: Option<Span>,
    /// Between requests of a connection; streams are exempt [default: 120s]
    #[arg(long, value_name = "TIME")]
    pub(crate) idle_timeout: Option<Span>,
    /// Without progress of a reply that a client reads [default: 30s]
    #[arg(long, value_name = "TIME")]
    pub(crate) send_timeout: Option<Span>,
    /// An async or blocking tool [default: 60s]
    #[arg(long, value_name = "TIME")]
    pub(crate) tool_timeout: Option<Span>,
    /// Between keep-alive comments on an idle stream [default: 25s]
    #[arg(long, value_name = "TIME")]
    pub(crate) keep_alive: Option<Span>,
    /// A session without requests and open streams, then it is ended [default: 30m]
    #[arg(long, value_name = "TIME")]
    pub(crate) session_timeout: Option<Span>,
    /// A client's answer to what a call asks of it [default: 10m]
    #[arg(long, value_name = "TIME")]
    pub(crate) input_timeout: Option<Span>,
    /// How long a session keeps events [default: 5m]
    #[arg(long, value_name = "TIME")]
    pub(crate) session_event_age: Option<Span>,
    /// From SIGTERM or SIGINT to the end [default: 25s]
    #[arg(long, value_name = "TIME")]
    pub(crate) grace: Option<Span>,

    /// A secret of 32 bytes or more; servers that share it accept each other's requestState
    /// [default: a random one]
    #[arg(long, value_name = "FILE")]
    pub(crate) state_key_file: Option<PathBuf>,
    /// error, warn, info, debug, trace, or a filter such as info,ringmesh=debug [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log: Option<String>,
}

/// Where settings come from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Source {
    /// From the command line.
    pub(crate) flags: Settings,
    /// From a `ringmesh.toml`.
    pub(crate) file: Option<File>,
    /// MCP is served on standard input and output alone.
    pub(crate) stdio: bool,
}

/// A value that somebody chose, and where.
#[derive(Clone, Debug)]
pub(crate) struct Chosen<T> {
    pub(crate) value: T,
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    Flag(String),
    /// `ringmesh.toml:3:10`, then the key.
    File(String, &'static str),
}

impl Source {
    /// The value of a setting, unless it is left to its default.
    pub(crate) fn chosen<T: Clone>(
        &self,
        key: &'static str,
        of: impl Fn(&Settings) -> &Option<T>,
    ) -> Option<Chosen<T>> {
        if let Some(value) = of(&self.flags) {
            return Some(Chosen { value: value.clone(), place: Place::Flag(format!("--{key}")) });
        }
        let file = self.file.as_ref()?;
        let value = of(&file.settings).clone()?;
        Some(Chosen { value, place: Place::File(file.place_of(key), key) })
    }
}

impl<T> Chosen<T> {
    /// An error about this value: 64 where a flag chose it, 78 where a file did.
    pub(crate) fn wrong(&self, shown: impl fmt::Display, mend: impl fmt::Display) -> ConfigError {
        match &self.place {
            Place::Flag(flag) => ConfigError::usage(format!("{flag} {shown}: {mend}")),
            Place::File(at, key) => ConfigError::config(format!("{at}: {key} = {shown}: {mend}")),
        }
    }

    /// An error about a limit that is too low for this value: 78, whoever chose it.
    pub(crate) fn unfit(&self, shown: impl fmt::Display, mend: impl fmt::Display) -> ConfigError {
        ConfigError::config(self.wrong(shown, mend).to_string())
    }
}

/// An address and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address(pub(crate) SocketAddr);

impl FromStr for Address {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "write ADDR:PORT, such as 127.0.0.1:8080 or [::1]:8080";
        text.parse().map(Self).map_err(|_| wrong)
    }
}

/// What has one form as text is read from strings of a file as from flags.
macro_rules! deserialize_from_text {
    ($($name:ty),+) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(|wrong| D::Error::custom(format!("`{text}`: {wrong}")))
            }
        }
    )+};
}

deserialize_from_text!(Address, Cpus, Span);
