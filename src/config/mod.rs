//! From text to a validated [`Plan`]: flags override the file, the file overrides defaults.
//!
//! Lives once per process, before anything else does. A flag and a key of the file share their
//! name (`Settings`), so that there is one list to learn. Whatever is wrong becomes one line
//! ([`ConfigError`]): the place, what is wrong, and what mends it.
//!
//! Invariants: a [`Plan`] can be run on the machine that it was resolved for, as far as that can be
//! known without binding or setting up anything. Defaults fit the machine and say so where they had
//! to give way; a value that somebody chose is never changed, only refused.
//!
//! Left out: reading a `ringmesh.toml` that nobody named. A file in the working directory must not
//! change a server silently: it is read where `--config` or `RINGMESH_CONFIG` says so.

mod cgroup;
mod cpus;
mod error;
mod file;
mod limits;
mod listeners;
mod machine;
mod memory;
mod plan;
mod report;
mod resolve;
mod secret;
mod settings;
#[cfg(test)]
mod tests;
mod units;

pub use error::ConfigError;
pub use machine::{Machine, MemoryLimit};
pub use memory::Memory;
pub use plan::{Buffers, Plan, Threads};
pub use secret::Secret;

pub(crate) use cgroup::{Groups, mem_total};
pub(crate) use cpus::{Cpus, List};
pub(crate) use error::one_line;
pub(crate) use file::{File, line_and_column};
pub(crate) use limits::places_of;
pub(crate) use listeners::admin_of;
pub(crate) use memory::{CLIENT_BYTES, FULL_BYTES, IDLE_BYTES, SHARD_KERNEL_BYTES};
pub(crate) use resolve::{resolve, shards_most};
pub(crate) use settings::{Address, Settings, Source};
pub(crate) use units::{Count, Size, Span};
