//! Reuse of buffers, and the byte budget of a shard.

use super::connection::Inbound;

/// Buffers that are kept for reuse; more are given back to the allocator.
const POOLED_MAX: usize = 64;
/// Holds an ordinary answer, so that the first ones of a shard allocate nothing either.
const OUTBOUND_BYTES_USUAL: usize = 512;
/// Largest buffer that is kept: one large answer must not hold its memory for ever.
const POOLED_BYTES_MAX: usize = 16 * 1024;

/// Buffers of one shard that no connection uses now. A connection at rest holds none.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    outbound: Vec<Vec<u8>>,
    #[expect(clippy::vec_box, reason = "a connection holds the box, which is reused as it is")]
    inbound: Vec<Box<Inbound>>,
}

impl Buffers {
    pub(super) fn new() -> Self {
        let mut outbound = Vec::with_capacity(POOLED_MAX);
        outbound.resize_with(POOLED_MAX, || Vec::with_capacity(OUTBOUND_BYTES_USUAL));
        Self { outbound, inbound: Vec::with_capacity(POOLED_MAX) }
    }

    /// An empty buffer for answers.
    pub(super) fn outbound(&mut self) -> Vec<u8> {
        self.outbound.pop().unwrap_or_default()
    }

    /// Takes back a buffer of answers.
    pub(super) fn recycle_outbound(&mut self, mut buffer: Vec<u8>) {
        let keep = (1..=POOLED_BYTES_MAX).contains(&buffer.capacity());
        if keep && self.outbound.len() < POOLED_MAX {
            buffer.clear();
            self.outbound.push(buffer);
        }
    }

    /// An empty buffer for a request that comes in pieces.
    pub(super) fn inbound(&mut self) -> Box<Inbound> {
        self.inbound.pop().unwrap_or_default()
    }

    /// Takes back a buffer of a request.
    pub(super) fn recycle_inbound(&mut self, mut inbound: Box<Inbound>) {
        if inbound.bytes.capacity() <= POOLED_BYTES_MAX && self.inbound.len() < POOLED_MAX {
            inbound.clear();
            self.inbound.push(inbound);
        }
    }
}

/// Bytes that all connections of a shard hold together, against their bound.
#[derive(Debug)]
pub(super) struct Budget {
    pub(super) used: usize,
    pub(super) limit: usize,
    /// The part of `used` that shedding readers does not free: parameters of pooled calls, URIs of
    /// streams.
    kept: usize,
}

impl Budget {
    pub(super) fn new(limit: usize) -> Self {
        Self { used: 0, limit, kept: 0 }
    }

    /// Takes bytes that stay until [`Self::give_back`]. False where all of those would pass half
    /// of the bound, which leaves the other half for requests and answers; one alone may.
    #[must_use]
    pub(super) fn keep(&mut self, bytes: usize) -> bool {
        if self.kept > 0 && self.kept.saturating_add(bytes) > self.limit / 2 {
            return false;
        }
        self.kept += bytes;
        self.used += bytes;
        true
    }

    /// Takes bytes that stay for as long as a client likes: subscriptions, and events for those who
    /// come back. A quarter of the bound at most, so that calls have room whatever clients leave.
    #[must_use]
    pub(super) fn keep_resting(&mut self, bytes: usize) -> bool {
        self.kept.saturating_add(bytes) <= self.limit / 4 && self.keep(bytes)
    }

    /// Gives back what [`Self::keep`] or [`Self::keep_resting`] took.
    pub(super) fn give_back(&mut self, bytes: usize) {
        #[cfg(ringmesh_bugs)]
        if crate::bugs::active(crate::bugs::Bug::BudgetKept) {
            return;
        }
        self.kept -= bytes;
        self.used -= bytes;
    }

    /// Whether this many bytes more would pass the bound.
    pub(super) fn would_exceed(&self, bytes: usize) -> bool {
        self.used.saturating_add(bytes) > self.limit
    }

    /// Replaces what a connection was charged.
    pub(super) fn charge(&mut self, before: &mut u32, now: usize) {
        let now_u32 = u32::try_from(now).unwrap_or(u32::MAX);
        self.used = self.used - *before as usize + now_u32 as usize;
        *before = now_u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_takes_half_of_the_budget_at_most() {
        let mut budget = Budget::new(100);
        assert!(budget.keep(70), "one alone may take more");
        assert!(!budget.keep(1));
        budget.give_back(70);
        assert!(!budget.keep_resting(26) && budget.keep_resting(25) && !budget.keep_resting(1));
        budget.give_back(25);
        assert!(budget.keep(30) && budget.keep(20) && !budget.keep(1));
        let mut charged = 0;
        budget.charge(&mut charged, 40);
        assert!(!budget.would_exceed(10) && budget.would_exceed(11));
        budget.give_back(30);
        budget.charge(&mut charged, 0);
        assert_eq!((budget.used, budget.kept), (20, 20));
    }
}
