//! How much memory a plan needs, as a formula with named parts.
//!
//! What rests is told apart from what works. At rest, with every connection, stream and session
//! open, a server takes what its process has resident (`process`, `shards`, `connections` and
//! `sessions`: `perf/rest` sets them beside what the kernel counts) and what the kernel holds for
//! it. Work takes more, up to its bounds; control groups charge all of it to the server. What is
//! reserved and never touched counts nowhere. Figures for Linux on x86-64, measured where no
//! type's size says them.

use ringmesh_ring::RingConfig;
use ringmesh_runtime::{rest, wheel};

use crate::boot;

/// The program and its libraries as far as they are used, the control plane, the calling thread,
/// what checks input schemas, and their allocator. Measured: `perf/rest`.
const PROCESS_BYTES: u64 = 10_700 << 10;
/// A thread of a pool: what it touches of its stack, and of its allocator.
const POOL_THREAD_BYTES: u64 = 12 << 10;
/// A thread in the kernel: its stack there, and what describes it.
const THREAD_KERNEL_BYTES: u64 = 28 << 10;
/// A shard by itself, besides its ring, its mailbox and its wheel: stack, probe with the copies for
/// the control plane, pooled buffers.
const SHARD_BYTES: u64 = 192 << 10;
/// An idle connection in user space.
const CONNECTION_BYTES: u64 = rest::CONNECTION_BYTES as u64 + RingConfig::SLOT_BYTES;
/// An open stream besides its connection.
const STREAM_BYTES: u64 = rest::STREAM_BYTES as u64;
/// A session of the legacy era besides its connection and its event streams.
const SESSION_BYTES: u64 = rest::SESSION_BYTES as u64;
/// An idle TCP socket in the kernel (4,000) with a multishot receive armed (840), and its places
/// in the ring's tables (24).
const CONNECTION_KERNEL_BYTES: u64 = 4_864;
/// A call in flight, on the shard and in its pool, besides its parameters.
const CALL_BYTES: u64 = 512;

/// What a server needs at most, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Memory {
    /// At rest: the process itself and its pools.
    pub process: u64,
    /// At rest: all shards by themselves: rings, buffers, wheels, probes, mailboxes.
    pub shards: u64,
    /// At rest: all connections and streams in user space.
    pub connections: u64,
    /// At rest: all sessions.
    pub sessions: u64,
    /// At rest: all connections and threads in the kernel. The bytes in socket buffers come on
    /// top; `net.ipv4.tcp_mem` bounds them.
    pub kernel: u64,
    /// At work: calls and sends in flight, besides the bytes that the budgets hold.
    pub work: u64,
    /// At work: the byte budgets of all shards: requests and replies in memory.
    pub budget: u64,
}

/// What the memory of a plan depends on.
#[derive(Clone, Debug)]
pub(crate) struct Sizes {
    pub(crate) shards: u64,
    pub(crate) ring: RingConfig,
    pub(crate) connections: u64,
    pub(crate) streams: u64,
    /// Whether there are connections that carry many streams.
    pub(crate) lines: bool,
    pub(crate) sessions: u64,
    pub(crate) calls: u64,
    pub(crate) budget: u64,
    pub(crate) threads: u64,
}

impl Memory {
    /// The formula.
    pub(crate) fn of(sizes: &Sizes) -> Self {
        // Over HTTP a stream has a connection for itself: there are no more streams than those.
        let most = if sizes.lines { u64::MAX } else { sizes.connections };
        let streams = sizes.streams.min(most);
        let idle = sizes.connections * CONNECTION_BYTES + streams * STREAM_BYTES;
        let lanes = boot::lanes_bytes(sizes.calls);
        let shard = SHARD_BYTES + wheel::WHEEL_BYTES as u64 + lanes + sizes.ring.bytes();
        let work = sizes.calls * CALL_BYTES + sizes.connections * RingConfig::SEND_BYTES;
        let kernel = sizes.connections * CONNECTION_KERNEL_BYTES + THREAD_KERNEL_BYTES;
        Self {
            process: PROCESS_BYTES + sizes.threads * POOL_THREAD_BYTES,
            shards: sizes.shards * shard,
            connections: sizes.shards * idle,
            sessions: sizes.shards * sizes.sessions * SESSION_BYTES,
            kernel: sizes.shards * kernel + sizes.threads * THREAD_KERNEL_BYTES,
            work: sizes.shards * work,
            budget: sizes.shards * sizes.budget,
        }
    }

    /// What the process itself has resident when every connection, stream and session is open and nothing
    /// is going on.
    pub fn resident(&self) -> u64 {
        self.process + self.shards + self.connections + self.sessions
    }

    /// All parts together.
    pub fn total(&self) -> u64 {
        self.resident() + self.kernel + self.work + self.budget
    }
}

/// An idle connection at rest, in user space and in the kernel.
pub(crate) const IDLE_BYTES: u64 = CONNECTION_BYTES + CONNECTION_KERNEL_BYTES;
/// A connection with a stream, a session and a send in flight.
pub(crate) const FULL_BYTES: u64 =
    IDLE_BYTES + STREAM_BYTES + SESSION_BYTES + RingConfig::SEND_BYTES;
/// A shard's thread in the kernel.
pub(crate) const SHARD_KERNEL_BYTES: u64 = THREAD_KERNEL_BYTES;
/// A client's end of a connection in the kernel: a socket with a receive armed.
pub(crate) const CLIENT_BYTES: u64 = CONNECTION_KERNEL_BYTES;

/// Connections for which there is room in `bytes`, each with a stream and a session.
pub(crate) fn connections_in(bytes: u64) -> u64 {
    bytes / FULL_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes() -> Sizes {
        Sizes {
            shards: 2,
            ring: RingConfig { table: 20_000, ..RingConfig::default() },
            connections: 19_744,
            streams: 19_744,
            lines: false,
            sessions: 19_744,
            calls: 4_096,
            budget: 64 << 20,
            threads: 18,
        }
    }

    #[test]
    fn more_of_anything_never_needs_less() {
        let base = Memory::of(&sizes()).total();
        let ring = sizes().ring;
        let bigger = [
            Sizes { shards: 3, ..sizes() },
            Sizes { ring: RingConfig { buffers: 512, ..ring.clone() }, ..sizes() },
            Sizes { ring: RingConfig { buffer_bytes: 8192, ..ring }, ..sizes() },
            Sizes { connections: 19_745, ..sizes() },
            Sizes { sessions: 19_745, ..sizes() },
            Sizes { streams: 1 << 30, lines: true, ..sizes() },
            Sizes { calls: 4_097, ..sizes() },
            Sizes { budget: (64 << 20) + 1, ..sizes() },
            Sizes { threads: 19, ..sizes() },
        ];
        for sizes in bigger {
            assert!(Memory::of(&sizes).total() > base, "{sizes:?}");
        }
        let fewer_streams = Sizes { streams: 10, ..sizes() };
        assert!(Memory::of(&fewer_streams).total() < base);
        let more_streams = Sizes { streams: 1 << 30, ..sizes() };
        assert_eq!(Memory::of(&more_streams).total(), base);
    }

    #[test]
    fn the_total_is_the_sum_of_the_parts() {
        let memory = Memory::of(&sizes());
        assert_eq!(memory.budget, 2 * (64 << 20));
        assert_eq!(memory.kernel, 2 * 19_744 * 4_864 + 20 * THREAD_KERNEL_BYTES);
        assert_eq!(memory.sessions, 2 * 19_744 * SESSION_BYTES);
        let here = memory.process + memory.shards + memory.connections + memory.sessions;
        assert_eq!(memory.resident(), here);
        let rest = memory.resident() + memory.kernel;
        assert_eq!(memory.total(), rest + memory.work + memory.budget);
    }

    #[test]
    fn as_many_connections_fit_as_the_formula_says() {
        let one = Memory::of(&Sizes { shards: 1, calls: 0, threads: 0, ..sizes() });
        let room = one.connections + one.sessions + one.kernel - THREAD_KERNEL_BYTES + one.work;
        assert_eq!(connections_in(room), 19_744);
        assert_eq!(connections_in(0), 0);
        let idle = one.kernel - THREAD_KERNEL_BYTES + one.connections - 19_744 * STREAM_BYTES;
        assert_eq!(idle / IDLE_BYTES, 19_744);
    }

    #[test]
    fn a_shard_by_itself_stays_within_four_mebibytes() {
        let plan = |shards| {
            Memory::of(&Sizes { shards, connections: 0, sessions: 0, ..sizes() }).resident()
        };
        let shard = plan(2) - plan(1);
        assert!(shard <= 4 << 20);
    }
}
