//! Accepting connections within the bound, and refusing politely past it.

use super::Shard;
use super::connection::{Connection, Phase};
use super::timers::Key;
use crate::io::{Io, IoError, ListenerId, Peer};
use crate::limits::REFUSAL_SLOTS;
use crate::probe::{Bound, Transport};

/// How long accepting pauses after the system ran out of something, in ms.
const ACCEPT_RETRY_MS: u64 = 200;

/// The whole answer to a connection past the bound. It is sent before any request was read.
const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n\
    Connection: close\r\nContent-Length: 0\r\n\r\n";

/// The same on a byte stream.
const LINE_REFUSAL: &[u8] = b"{\"jsonrpc\":\"2.0\",\"error\":{\"code\":-32603,\
    \"message\":\"the server takes no further connections now\"}}\n";

impl Shard {
    pub(super) fn on_accepted(
        &mut self,
        listener: ListenerId,
        ticket: u16,
        result: Result<(u32, Peer), IoError>,
    ) {
        self.accepts_armed -= 1;
        self.accepts_paused.push((listener, ticket));
        match result {
            Ok((slot, peer)) => {
                let transport = self.listeners[usize::from(listener.0)];
                self.open_connection(slot, transport, peer);
            }
            Err(IoError::Cancelled | IoError::Again) => {}
            Err(error) => {
                self.probe.accept_errors += 1;
                tracing::debug!(shard = self.id.0, %error, "accept failed");
                if self.accept_retry.is_none() {
                    let at_ms = self.now_ms + ACCEPT_RETRY_MS;
                    self.accept_retry = Some(self.wheel.arm(at_ms, Key::AcceptRetry.pack()));
                }
            }
        }
    }

    fn open_connection(&mut self, slot: u32, transport: Transport, peer: Peer) {
        while self.conns.len() <= slot as usize {
            self.conns.push(Connection::free());
        }
        self.conns[slot as usize].open(transport, peer, self.now_ms);
        self.taken += 1;
        let bound = if self.draining.is_some() {
            Some(Bound::Stopping)
        } else if self.open >= self.limits.connections_max {
            Some(Bound::Connections)
        } else {
            None
        };
        if let Some(bound) = bound {
            self.refuse(bound);
            let mut outbound = self.buffers.outbound();
            let connection = &mut self.conns[slot as usize];
            if connection.speaks_lines() {
                outbound.extend_from_slice(LINE_REFUSAL);
            } else {
                outbound.extend_from_slice(REFUSAL);
                self.probe.count_http_response(503);
            }
            connection.flags.refused = true;
            connection.outbound = outbound;
            self.end(slot);
        } else {
            self.open += 1;
            self.probe.connections_accepted[transport.index()] += 1;
            // A connection that says nothing is idle from its first moment.
            self.arm_timer(slot, self.now_ms + self.limits.idle_timeout_ms);
        }
        self.touch(slot);
    }

    /// Arms accepts as far as the table has slots for what they bring: past it the backlog waits.
    pub(super) fn resume_accepts<I: Io>(&mut self, io: &mut I) {
        if self.draining.is_some() || self.accept_retry.is_some() {
            return;
        }
        let slots = self.limits.connections_max + REFUSAL_SLOTS;
        while self.taken + self.accepts_armed < slots
            && let Some((listener, ticket)) = self.accepts_paused.pop()
        {
            io.submit_accept(listener, ticket);
            self.accepts_armed += 1;
        }
    }

    /// Sends what is written and closes then; nothing more is read as a request.
    pub(super) fn end(&mut self, slot: u32) {
        self.drop_line(slot);
        let connection = &mut self.conns[slot as usize];
        if connection.is_open() {
            connection.phase = Phase::Ending;
            connection.since_ms = self.now_ms;
            if let Some(inbound) = connection.inbound.take() {
                self.buffers.recycle_inbound(inbound);
            }
            self.arm_timer(slot, self.now_ms + self.limits.send_timeout_ms);
        }
        self.touch(slot);
    }

    /// Tears the connection down: what is in flight is cut, and what waits is dropped.
    pub(super) fn abort(&mut self, slot: u32) {
        let connection = &mut self.conns[slot as usize];
        match connection.phase {
            Phase::Free | Phase::Aborting => return,
            Phase::Calling(call) => drop(self.abandon_call(call)),
            Phase::Streaming(stream) => drop(self.forget_stream(stream)),
            Phase::Events(events) => self.drop_reader(events),
            Phase::Relayed { home, .. } => self.tell_gone(slot, home),
            Phase::Idle | Phase::Head | Phase::Body | Phase::Ending => {}
        }
        self.drop_line(slot);
        let connection = &mut self.conns[slot as usize];
        connection.phase = Phase::Aborting;
        if let Some(inbound) = connection.inbound.take() {
            self.buffers.recycle_inbound(inbound);
        }
        let outbound = std::mem::take(&mut connection.outbound);
        self.buffers.recycle_outbound(outbound);
        self.touch(slot);
    }
}
