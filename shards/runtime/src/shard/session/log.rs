//! The events that a session keeps for a client that comes back for them (2025-11-25, Streamable
//! HTTP, Resumability and Redelivery).
//!
//! Bounded by number, bytes and age: the oldest go first, whatever their stream. What a log holds is
//! charged to the shard's budget by its caller, who is told how many bytes came free.

use std::collections::VecDeque;

use ringmesh_proto::mcp::EventId;

/// What an event takes besides its text.
const EVENT_BYTES: usize = 48;

/// The events of one session, oldest first.
#[derive(Debug, Default)]
pub(super) struct EventLog {
    events: VecDeque<Logged>,
    bytes: usize,
}

#[derive(Debug)]
struct Logged {
    id: EventId,
    at_ms: u64,
    json: Box<[u8]>,
}

/// Bounds of a log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) events_max: usize,
    pub(super) bytes_max: usize,
}

impl EventLog {
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// Bytes that an event would be charged.
    pub(super) fn cost(json: &[u8]) -> usize {
        json.len() + EVENT_BYTES
    }

    /// Makes room for an event. Gives the bytes that came free, and whether there is room now.
    pub(super) fn make_room(&mut self, cost: usize, room: Room) -> (usize, bool) {
        let mut freed = 0;
        while self.events.len() >= room.events_max.max(1) || self.bytes + cost > room.bytes_max {
            let Some(bytes) = self.forget_oldest() else { break };
            freed += bytes;
        }
        (freed, room.events_max > 0 && self.bytes + cost <= room.bytes_max)
    }

    /// Keeps an event, for which the caller charges [`Self::cost`].
    pub(super) fn push(&mut self, id: EventId, json: &[u8], now_ms: u64) {
        self.bytes += Self::cost(json);
        self.events.push_back(Logged { id, at_ms: now_ms, json: json.into() });
    }

    /// Forgets what is older. Gives the bytes that came free.
    pub(super) fn forget_before(&mut self, ms: u64) -> usize {
        let mut freed = 0;
        while self.events.front().is_some_and(|event| event.at_ms < ms) {
            freed += self.forget_oldest().unwrap_or(0);
        }
        freed
    }

    /// Forgets everything. Gives the bytes that came free.
    pub(super) fn clear(&mut self) -> usize {
        self.events = VecDeque::new();
        std::mem::take(&mut self.bytes)
    }

    /// Forgets one event. Gives the bytes that came free.
    pub(super) fn forget_oldest(&mut self) -> Option<usize> {
        let event = self.events.pop_front()?;
        let bytes = Self::cost(&event.json);
        self.bytes -= bytes;
        if self.events.is_empty() {
            // A session at rest holds no memory for a log.
            self.events = VecDeque::new();
        }
        Some(bytes)
    }

    pub(super) fn oldest_ms(&self) -> Option<u64> {
        self.events.front().map(|event| event.at_ms)
    }

    /// The events of a stream behind `last`, in their order, with their numbers.
    pub(super) fn after(&self, last: EventId) -> impl Iterator<Item = (EventId, &[u8])> {
        self.events
            .iter()
            .filter(move |event| event.id.stream == last.stream && event.id.seq > last.seq)
            .map(|event| (event.id, &*event.json))
    }

    /// The newest event that is kept of a stream.
    pub(super) fn newest(&self, stream: u32) -> Option<u32> {
        self.events.iter().rev().find(|event| event.id.stream == stream).map(|event| event.id.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(stream: u32, seq: u32) -> EventId {
        EventId { stream, seq }
    }

    #[test]
    fn the_oldest_go_first_and_bytes_are_accounted_for() {
        let room = Room { events_max: 3, bytes_max: 1_000 };
        let (mut log, mut charged) = (EventLog::default(), 0);
        for seq in 1..=5 {
            let cost = EventLog::cost(b"{}");
            let (freed, fits) = log.make_room(cost, room);
            assert!(fits);
            charged = charged - freed + cost;
            log.push(id(1, seq), b"{}", u64::from(seq));
        }
        assert_eq!(log.after(id(1, 0)).map(|(id, _)| id.seq).collect::<Vec<_>>(), [3, 4, 5]);
        assert_eq!(log.newest(1), Some(5));
        assert_eq!(log.newest(2), None);
        charged -= log.forget_before(5);
        assert_eq!((log.len(), log.oldest_ms()), (1, Some(5)));
        charged -= log.clear();
        assert_eq!(charged, 0);
    }

    #[test]
    fn what_is_too_large_is_not_kept_and_costs_the_others() {
        let room = Room { events_max: 3, bytes_max: 100 };
        let mut log = EventLog::default();
        assert!(log.make_room(EventLog::cost(b"{}"), room).1);
        log.push(id(0, 1), b"{}", 1);
        let (freed, fits) = log.make_room(101, room);
        assert_eq!((freed, fits), (EventLog::cost(b"{}"), false));
        assert!(!log.make_room(1, Room { events_max: 0, ..room }).1);
    }
}
