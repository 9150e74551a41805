//! What `ringmesh load` is about to do, resolved and checked: the script, and where it runs.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use ringmesh_runtime::load::script::Script;

use super::assertion::Check;

/// A run that may begin.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) title: String,
    /// What it is for, perhaps of several lines; may be empty.
    pub(crate) description: String,
    /// The scenario with all overrides, as TOML: what to run again for the same.
    pub(crate) scenario: String,
    pub(crate) script: Arc<Script>,
    /// Roles, each a thread with a ring of its own.
    pub(crate) shards: u16,
    /// Cores that roles are pinned to, in turn; empty: not pinned.
    pub(crate) cpus: Vec<usize>,
    /// Slots of each ring's direct table.
    pub(crate) table: u32,
    /// Seeds all randomness.
    pub(crate) seed: u64,
    /// Commands of `stdio:` targets; the n-th is `Endpoint::Adopted(n)`.
    pub(crate) children: Vec<Vec<String>>,
    /// Admin addresses to scrape, and what they are called in reports.
    pub(crate) admins: Vec<(String, SocketAddr)>,
    /// Processes that are the servers, where the user says so; empty: they are looked for.
    pub(crate) server_pids: Vec<u32>,
    /// The results folder; it does not exist yet, or is empty.
    pub(crate) out: PathBuf,
    /// Checked at the end.
    pub(crate) checks: Vec<Check>,
    /// What this machine allows and the run needs of it, a line each.
    pub(crate) limits: Vec<String>,
    /// Told before the run, a line each.
    pub(crate) warnings: Vec<String>,
    /// Print plain lines even on a terminal.
    pub(crate) plain: bool,
}
