//! Standard input and output as the one connection of a shard, without io_uring.
//!
//! Lives once per process, where `--stdio` asks for it. [`StdioIo`] is the shard's
//! [`Io`](ringmesh_runtime::io::Io): it accepts a single connection and moves its bytes with two
//! threads, since both descriptors may be anything (pipes, files, sockets, terminals), may be
//! shared with other processes, and must be left blocking for those. [`drive`] is the shard's loop.
//!
//! Invariants:
//! - Memory is bounded: [`BUFFERS`] buffers for what was read, one chunk for what is written.
//! - Nothing is read while the shard receives nothing, or while it has all buffers on loan.
//! - Only the shard's bytes reach standard output: what else the process prints goes to standard
//!   error, and what else it reads is empty ([`Streams::take`]).
//! - The shard's thread waits in [`StdioIo::wait`] alone, never for a read or a write.
//!
//! Left out: starting and stopping the process (`boot`), and framing, which is the shard's.

mod drive;
mod hub;
mod io;
mod reader;
mod streams;
#[cfg(test)]
mod tests;
mod writer;

pub(crate) use drive::{Ended, drive};
pub(crate) use io::StdioIo;
pub(crate) use streams::Streams;

use ringmesh_ring::RingConfig;

/// Buffers for what was read.
const BUFFERS: u16 = 4;
/// Bytes of each: what a pipe holds.
const BUFFER_BYTES: u32 = 64 << 10;
/// Bytes that the writer is handed at once.
const CHUNK_BYTES: usize = 64 << 10;

/// What this takes of memory, as a ring without queues.
pub(crate) fn sizes() -> RingConfig {
    RingConfig {
        sq_entries: 0,
        cq_entries: 0,
        table: 0,
        buffers: BUFFERS,
        buffer_bytes: BUFFER_BYTES,
        ..RingConfig::default()
    }
}
