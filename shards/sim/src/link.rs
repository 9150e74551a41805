//! A connection between a virtual client and a shard: two bounded pipes and their ends.

use std::collections::VecDeque;

/// See the module. Kept by the io of the shard's side; the client reaches it there.
#[derive(Debug)]
pub(crate) struct Link {
    /// Bytes on their way to the shard.
    pub(crate) up: VecDeque<u8>,
    up_max: usize,
    /// The client sends no more.
    pub(crate) up_fin: bool,
    /// The client's side is broken: nothing is delivered any more, in no direction.
    pub(crate) reset: bool,
    /// Bytes on their way to the client.
    pub(crate) down: VecDeque<u8>,
    down_max: usize,
    /// A send of the shard found no room.
    pub(crate) blocked: bool,
    /// Nothing follows what is in `down`.
    pub(crate) down_fin: bool,
    /// The shard's side is closed for good, and what the client sends meets a reset.
    pub(crate) closed: bool,
    /// The shard closed over unread bytes, or broke: the client sees a reset.
    pub(crate) down_reset: bool,
    /// Bytes that the shard was handed in ticks so far.
    pub(crate) consumed: u64,
    /// The same when the shard first said that it would end the connection.
    pub(crate) consumed_at_end: Option<u64>,
    /// The same when the shard was told to stop: what follows need not be answered.
    pub(crate) consumed_at_stop: Option<u64>,
    /// The shard announced its end with a FIN rather than by cutting.
    pub(crate) polite: bool,
    /// The network or the clock gave the shard a reason to end the connection.
    pub(crate) excused: bool,
    /// It speaks newline-delimited JSON-RPC.
    pub(crate) lines: bool,
}

impl Link {
    /// Pipes that hold so many bytes, each at least 1.
    pub(crate) fn new(up_max: usize, down_max: usize) -> Self {
        Self {
            up: VecDeque::new(),
            up_max,
            up_fin: false,
            reset: false,
            down: VecDeque::new(),
            down_max,
            blocked: false,
            down_fin: false,
            closed: false,
            down_reset: false,
            consumed: 0,
            consumed_at_end: None,
            consumed_at_stop: None,
            polite: false,
            excused: false,
            lines: false,
        }
    }

    /// The same for a byte stream.
    pub(crate) fn of_lines(up_max: usize, down_max: usize) -> Self {
        Self { lines: true, ..Self::new(up_max, down_max) }
    }

    /// The client writes; gives how many bytes found room.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> usize {
        let room = self.up_max - self.up.len();
        let taken = bytes.len().min(room);
        if self.closed || self.reset {
            // What is sent to a closed socket is answered with a reset.
            self.down_reset |= taken > 0;
            return bytes.len();
        }
        self.up.extend(&bytes[..taken]);
        taken
    }

    /// Bytes that the shard may send now.
    pub(crate) fn down_room(&self) -> usize {
        self.down_max - self.down.len()
    }

    /// The network breaks the connection.
    pub(crate) fn break_down(&mut self) {
        self.excused = true;
        self.reset = true;
        self.down_reset = true;
    }

    /// Whether the client will learn nothing more from the shard.
    pub(crate) fn is_over(&self) -> bool {
        self.down_reset || (self.down_fin && self.down.is_empty())
    }

    /// The shard is told to stop.
    pub(crate) fn stop(&mut self) {
        self.consumed_at_stop = Some(self.consumed);
    }

    /// Bytes of requests that the shard owes an answer.
    pub(crate) fn owed(&self) -> u64 {
        let owed = self.consumed_at_end.unwrap_or(self.consumed);
        self.consumed_at_stop.map_or(owed, |consumed| consumed.min(owed))
    }

    /// The shard ends the connection, for the first time.
    pub(crate) fn end(&mut self, polite: bool) {
        if self.consumed_at_end.is_none() {
            self.consumed_at_end = Some(self.consumed);
            self.polite = polite;
        }
    }
}
