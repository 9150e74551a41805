//! The shard of ringmesh: everything one core does, told the time and driven by an [`io::Io`].
//!
//! `ring` drives it with io_uring, `sim` with a seeded fake. A [`Shard`] lives once per core and
//! owns its connections, calls, subscriptions and timers; nothing in it is shared, locked or
//! blocking. See `shards/README.md` for the way of the bytes and the invariants.
#![forbid(unsafe_code)]

#[cfg(ringmesh_bugs)]
pub mod bugs;
pub mod call;
pub mod catalog;
mod doze;
pub mod guard;
pub mod io;
pub mod limits;
pub mod load;
pub mod mailbox;
pub mod message;
pub mod probe;
mod shard;
pub mod ticks;
pub mod wheel;

pub use shard::{Next, Shard, ShardConfig, ShardId, rest};
