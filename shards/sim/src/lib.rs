//! The simulation of ringmesh: production shards, at least two, in one thread, under a schedule
//! that follows from a seed, with virtual time and everything around them faked.
//!
//! - `io` fakes a shard's io_uring: virtual sockets with partial reads, missing buffers, short and
//!   failing sends, races of cancellation; and it asserts the contract of
//!   [`ringmesh_runtime::io::Io`].
//! - `client` scripts virtual clients of modern HTTP, good and bad, and checks every byte that they
//!   are sent. `agent` does so for a legacy session over HTTP: connections to any shards, streams
//!   that it comes back for, questions that it answers or does not. `line` does so for a byte stream
//!   that speaks either era, or both.
//! - `errand` writes messages for the latter two, and `check` holds answers against them.
//! - `pool` fakes the pools of tools, `offer` is the catalog, `board` knows what listeners must be
//!   told.
//! - `node` is a shard with what the world knows of its sleep.
//! - `world` puts them together and moves them on; `run` leads a seed from a life with faults
//!   through quiet to an orderly stop.
//! - [`campaign`] runs many seeds and counts faults: one that never occurred is a failure, since
//!   then the simulation did not test what it claims.
//!
//! Everything of a run lives on one thread. Left out: the kernel (the tests of `ring` have it) and
//! memory that is touched by several threads (the mailbox is tried under loom and under stress).
#![forbid(unsafe_code)]

mod agent;
mod board;
mod buffers;
pub mod campaign;
mod check;
mod client;
mod crowd;
mod errand;
mod fault;
mod io;
mod lane;
mod line;
mod link;
mod node;
mod offer;
mod pool;
mod reader;
mod request;
mod run;
mod trace;
mod world;

pub use fault::{Fault, Tally};
pub use run::Survey;
pub use world::Checked;
