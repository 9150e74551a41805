//! How much memory a plan needs, as a formula with named parts.
//!
//! It says what would be used if every bound were reached at once, the kernel's share included:
//! control groups charge it to the server. Figures for Linux on x86-64; measured, not exact.

use ringmesh_ring::RingConfig;

/// The program, its allocator, the control plane and the calling thread.
const PROCESS_BYTES: u64 = 16 << 20;
/// A thread of a pool: what it touches of its stack, and the kernel's part.
const POOL_THREAD_BYTES: u64 = 64 << 10;
/// A shard by itself, besides its ring: stack, probe with its histogram and the copy for the
/// control plane, timer wheel, lanes of its mailbox, scratch space.
const SHARD_BYTES: u64 = 512 << 10;
/// A place for a reply in a shard's mailbox, and what a call in flight takes.
const CALL_BYTES: u64 = 512;
/// An idle connection in user space: its slot, its timer.
const CONNECTION_BYTES: u64 = 300;
/// An open stream besides its connection: its filter and its place in the table of subscriptions.
const STREAM_BYTES: u64 = 256;
/// A session besides its connections: its id, what its client said of itself, its places in the
/// tables. What its log keeps is charged to the byte budget.
const SESSION_BYTES: u64 = 512;
/// An idle TCP socket in the kernel (4,000) with a multishot receive armed (840), and its places
/// in the ring's tables (24).
const CONNECTION_KERNEL_BYTES: u64 = 4_864;

/// What a server needs at most, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Memory {
    /// The process itself and its pools.
    pub process: u64,
    /// All shards by themselves: rings, buffers, tables, probes, mailboxes.
    pub shards: u64,
    /// All connections and streams in user space, when idle.
    pub connections: u64,
    /// All sessions of the older protocol versions, without what they keep for clients that come
    /// back.
    pub sessions: u64,
    /// All connections in the kernel, when idle. The bytes in their socket buffers come on top;
    /// `net.ipv4.tcp_mem` bounds them.
    pub kernel: u64,
    /// The byte budgets of all shards: requests and replies in memory.
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
        let shard = SHARD_BYTES + sizes.ring.bytes() + sizes.calls * CALL_BYTES;
        Self {
            process: PROCESS_BYTES + sizes.threads * POOL_THREAD_BYTES,
            shards: sizes.shards * shard,
            connections: sizes.shards * idle,
            sessions: sizes.shards * sizes.sessions * SESSION_BYTES,
            kernel: sizes.shards * sizes.connections * CONNECTION_KERNEL_BYTES,
            budget: sizes.shards * sizes.budget,
        }
    }

    /// All parts together.
    pub fn total(&self) -> u64 {
        let Self { process, shards, connections, sessions, kernel, budget } = self;
        process + shards + connections + sessions + kernel + budget
    }
}

/// Connections for which there is room in `bytes`, each with a stream and a session.
pub(crate) fn connections_in(bytes: u64) -> u64 {
    bytes / (CONNECTION_BYTES + STREAM_BYTES + SESSION_BYTES + CONNECTION_KERNEL_BYTES)
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
            Sizes { ring: RingConfig { table: 20_001, ..ring.clone() }, ..sizes() },
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
        assert_eq!(memory.kernel, 2 * 19_744 * 4_864);
        assert_eq!(memory.sessions, 2 * 19_744 * SESSION_BYTES);
        let parts = [memory.process, memory.shards, memory.connections, memory.kernel];
        let parts = [&parts[..], &[memory.sessions]].concat();
        assert_eq!(memory.total(), parts.iter().sum::<u64>() + memory.budget);
    }

    #[test]
    fn as_many_connections_fit_as_the_formula_says() {
        let one = Memory::of(&Sizes { shards: 1, ..sizes() });
        let room = one.connections + one.sessions + one.kernel;
        assert_eq!(connections_in(room), 19_744);
        assert_eq!(connections_in(0), 0);
    }
}
