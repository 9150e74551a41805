//! The sizes of a ring, and why one cannot be set up.

use crate::refusal::Refusal;
use crate::{receives, sends};

/// Slots that the kernel allows in a table of direct descriptors (`IORING_MAX_FIXED_FILES`).
const TABLE_MAX: u32 = 1 << 20;
/// Entries that the kernel allows in a ring of provided buffers.
const BUFFERS_MAX: u16 = 1 << 15;
const BUFFER_BYTES_MAX: u32 = 1 << 20;

/// Longest wait that [`RingConfig::gather`] is for: 10 ms. A longer one ends with what comes first.
pub const GATHER_NS_MAX: u64 = 10_000_000;

/// The sizes of a ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingConfig {
    /// Submissions that are queued before the kernel is entered to make room.
    pub sq_entries: u32,
    /// Completions that are queued before the kernel keeps them aside. At least `sq_entries`.
    pub cq_entries: u32,
    /// Slots for connections. The kernel allows as many as RLIMIT_NOFILE says, for each ring.
    pub table: u32,
    /// Receive buffers: a power of two, at most 32768.
    pub buffers: u16,
    /// Bytes of a receive buffer, at most 1 MiB.
    pub buffer_bytes: u32,
    /// Completions that a wait of at most [`GATHER_NS_MAX`] waits for, at least 1: whoever can bear
    /// that delay is woken once for many of them.
    pub gather: u32,
    /// Whether the kernel releases a closed descriptor late (before 6.13). Unset, its release
    /// number decides; set by tests.
    pub late_release: Option<bool>,
}

impl Default for RingConfig {
    fn default() -> Self {
        Self {
            sq_entries: 512,
            cq_entries: 4096,
            table: 1024,
            buffers: 256,
            buffer_bytes: 4096,
            gather: 1,
            late_release: None,
        }
    }
}

impl RingConfig {
    /// Bytes that a ring of these sizes takes by itself in this process: queues, and buffers, each
    /// of which was filled once. What it keeps for each connection is [`RingConfig::SLOT_BYTES`].
    /// The kernel's own tables (8 to 24 bytes a slot, and about 4 KB for each socket) are not
    /// among them.
    pub fn bytes(&self) -> u64 {
        const SQE: u64 = 64 + 4;
        const CQE: u64 = 16;
        const BUFFER: u64 = 16 + 1;
        u64::from(self.sq_entries) * SQE
            + u64::from(self.cq_entries) * CQE
            + u64::from(self.buffers) * (u64::from(self.buffer_bytes) + BUFFER)
    }

    /// Bytes that a ring keeps for each connection that it has.
    pub const SLOT_BYTES: u64 = receives::SLOT_BYTES as u64;

    /// Bytes that a ring keeps for each send of the most that were in flight at once.
    pub const SEND_BYTES: u64 = sends::PLACE_BYTES as u64;

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if self.sq_entries == 0 || self.cq_entries < self.sq_entries {
            return Err(ConfigError::Queues { sq: self.sq_entries, cq: self.cq_entries });
        }
        if self.table == 0 || self.table > TABLE_MAX {
            return Err(ConfigError::Table(self.table));
        }
        if !self.buffers.is_power_of_two() || self.buffers > BUFFERS_MAX {
            return Err(ConfigError::Buffers(self.buffers));
        }
        if self.buffer_bytes == 0 || self.buffer_bytes > BUFFER_BYTES_MAX {
            return Err(ConfigError::BufferBytes(self.buffer_bytes));
        }
        Ok(())
    }
}

/// A size that no ring can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// `sq_entries` or `cq_entries`.
    #[error("a ring of {sq} submissions and {cq} completions: use 1 or more, and cq at least sq")]
    Queues {
        /// `sq_entries`.
        sq: u32,
        /// `cq_entries`.
        cq: u32,
    },
    /// `table`.
    #[error("a table of {0} connections: use 1 to {TABLE_MAX}, and more shards for more")]
    Table(u32),
    /// `buffers`.
    #[error("{0} receive buffers: use a power of two from 1 to {BUFFERS_MAX}")]
    Buffers(u16),
    /// `buffer_bytes`.
    #[error("receive buffers of {0} bytes: use 1 to {BUFFER_BYTES_MAX}")]
    BufferBytes(u32),
}

/// Why a ring cannot be set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// Its configuration makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The system refuses.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_no_ring_can_have_are_refused() {
        let good = RingConfig::default();
        assert_eq!(good.check(), Ok(()));
        let bad = [
            RingConfig { sq_entries: 0, ..good.clone() },
            RingConfig { cq_entries: 8, ..good.clone() },
            RingConfig { table: 0, ..good.clone() },
            RingConfig { table: TABLE_MAX + 1, ..good.clone() },
            RingConfig { buffers: 0, ..good.clone() },
            RingConfig { buffers: 100, ..good.clone() },
            RingConfig { buffer_bytes: 0, ..good.clone() },
        ];
        for config in bad {
            let refused = config.check().expect_err("no ring can have it").to_string();
            assert!(refused.contains("use ") && !refused.contains('\n'), "{refused}");
        }
    }

    #[test]
    fn a_shard_of_twenty_thousand_stays_within_four_mebibytes() {
        let config = RingConfig { table: 20_000, ..RingConfig::default() };
        let each = RingConfig::SLOT_BYTES + RingConfig::SEND_BYTES;
        let bytes = config.bytes() + u64::from(config.table) * each;
        assert!(bytes < 4 << 20, "{bytes}");
    }
}
