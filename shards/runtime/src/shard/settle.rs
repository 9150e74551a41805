//! Turns what connections want into submissions, once at the end of a tick.
//!
//! This is the only place that submits receives, sends, shutdowns and closes, so the rules of
//! their order stand here alone: one send at a time; FIN after the last byte; close when nothing
//! is in flight.

use super::Shard;
use super::connection::{Connection, Phase};
use crate::io::{ConnId, Io, IoError, SendBuf, Shutdown};
use crate::limits::LINGER_MS;
use crate::probe::Bound;

impl Shard {
    pub(super) fn settle_touched<I: Io>(&mut self, io: &mut I) {
        loop {
            let mut at = 0;
            while at < self.touched.len() {
                let slot = self.touched[at];
                at += 1;
                self.conns[slot as usize].flags.touched = false;
                self.settle(io, slot);
            }
            self.touched.clear();
            // Judged when everything is charged: what one connection gave up may be enough.
            if !self.budget.would_exceed(0) || !self.shed_slowest() {
                return;
            }
        }
    }

    fn settle<I: Io>(&mut self, io: &mut I, slot: u32) {
        let connection = &self.conns[slot as usize];
        if connection.flags.closing || connection.phase == Phase::Free {
            return;
        }
        let over = connection.outbound.len() > self.limits.send_bytes_max;
        if over && connection.phase != Phase::Aborting {
            self.refuse(Bound::SendBound);
            self.abort(slot);
        }
        if self.conns[slot as usize].phase == Phase::Aborting {
            self.settle_aborting(io, slot);
        } else {
            self.settle_send(io, slot);
            self.settle_ending(io, slot);
            self.settle_recv(io, slot);
        }
        self.charge(slot);
    }

    fn settle_send<I: Io>(&mut self, io: &mut I, slot: u32) {
        let connection = &mut self.conns[slot as usize];
        if connection.flags.sending {
            return;
        }
        let comment = connection.flags.comment.take();
        let buf = match comment {
            // A comment is worth nothing beside an event.
            _ if !connection.outbound.is_empty() => {
                let bytes = std::mem::take(&mut connection.outbound);
                // Still charged: they are held for as long as the reader is slow.
                connection.in_flight_bytes = u32::try_from(bytes.capacity()).unwrap_or(u32::MAX);
                SendBuf::Pooled(bytes)
            }
            Some(comment) => {
                self.probe.keepalives_sent += 1;
                SendBuf::Static(comment.bytes())
            }
            None => return,
        };
        connection.flags.sending = true;
        connection.send_offset = 0;
        connection.sent_ms = self.now_ms;
        let id = connection.id(slot);
        io.submit_send(id, buf, 0);
        self.probe.sends += 1;
        self.arm_timer(slot, self.now_ms + self.limits.send_timeout_ms);
    }

    fn settle_ending<I: Io>(&mut self, io: &mut I, slot: u32) {
        let now_ms = self.now_ms;
        let connection = &mut self.conns[slot as usize];
        let sent = !connection.flags.sending && connection.outbound.is_empty();
        if connection.phase != Phase::Ending || !sent {
            return;
        }
        if connection.flags.eof {
            // Both sides are done: nothing is left to linger for.
            connection.phase = Phase::Aborting;
            self.settle_aborting(io, slot);
        } else if !connection.flags.fin_sent {
            connection.flags.fin_sent = true;
            connection.flags.shutting = true;
            connection.since_ms = now_ms;
            let id = connection.id(slot);
            io.submit_shutdown(id, Shutdown::Write);
            self.arm_timer(slot, now_ms + LINGER_MS);
        }
    }

    fn settle_recv<I: Io>(&mut self, io: &mut I, slot: u32) {
        let connection = &mut self.conns[slot as usize];
        let id = connection.id(slot);
        if connection.phase == Phase::Aborting {
            return;
        }
        let flags = &mut connection.flags;
        let wanted = !flags.eof && !flags.paused;
        if wanted && !flags.recv_armed {
            flags.recv_armed = true;
            io.submit_recv(id);
        } else if !wanted && flags.recv_armed && !flags.recv_cancelling {
            flags.recv_cancelling = true;
            io.cancel_recv(id);
        }
    }

    /// Cuts what is in flight, and closes once nothing is.
    fn settle_aborting<I: Io>(&mut self, io: &mut I, slot: u32) {
        let connection = &mut self.conns[slot as usize];
        let id = connection.id(slot);
        let flags = &mut connection.flags;
        if flags.sending {
            if !flags.cut && !flags.shutting {
                flags.cut = true;
                flags.shutting = true;
                io.submit_shutdown(id, Shutdown::Both);
            }
        } else if flags.recv_armed {
            // Cheaper than a shutdown, for which the kernel employs a thread.
            if !flags.recv_cancelling && !flags.cut {
                flags.recv_cancelling = true;
                io.cancel_recv(id);
            }
        } else if !flags.shutting {
            flags.closing = true;
            io.submit_close(id);
        }
    }

    pub(super) fn on_sent<I: Io>(
        &mut self,
        io: &mut I,
        conn: ConnId,
        buf: SendBuf,
        result: Result<usize, IoError>,
    ) {
        let now_ms = self.now_ms;
        let Some(connection) = self.connection(conn) else {
            debug_assert!(false, "a connection was closed with a send in flight");
            return;
        };
        let aborting = connection.phase == Phase::Aborting;
        let offset = connection.send_offset as usize;
        let total = buf.as_slice().len();
        let (taken, broken) = match result {
            Ok(taken) => (taken, None),
            Err(IoError::Again | IoError::NoBuffers) => (0, None),
            Err(error) => (0, Some(error)),
        };
        let sent = offset + taken;
        self.probe.sent_bytes += taken as u64;
        if sent < total && broken.is_none() && !aborting {
            // The reader is slow: the rest follows, and only progress renews its time.
            let connection = &mut self.conns[conn.slot as usize];
            connection.send_offset = u32::try_from(sent).expect("a send is below 4 GiB");
            if taken > 0 {
                connection.sent_ms = now_ms;
            }
            io.submit_send(conn, buf, sent);
            self.probe.short_sends += 1;
            return;
        }
        if let SendBuf::Pooled(bytes) = buf {
            self.buffers.recycle_outbound(bytes);
        }
        let connection = &mut self.conns[conn.slot as usize];
        connection.flags.sending = false;
        connection.in_flight_bytes = 0;
        connection.sent_ms = now_ms;
        match broken {
            Some(error) => self.on_broken(conn.slot, error),
            None => self.resume(conn.slot),
        }
        self.touch(conn.slot);
    }

    /// Charges what the connection holds now. One that is torn down gives it back any moment.
    fn charge(&mut self, slot: u32) {
        let connection = &mut self.conns[slot as usize];
        let aborting = connection.phase == Phase::Aborting;
        let held = if aborting { 0 } else { connection.held_bytes() };
        self.budget.charge(&mut connection.charged, held);
    }

    /// Ends the connection that holds most bytes for longest without progress: who holds little,
    /// or is slow for a moment, is not to blame. False where none holds any.
    fn shed_slowest(&mut self) -> bool {
        let now_ms = self.now_ms;
        let weight = |connection: &Connection| {
            let sending = connection.flags.sending;
            let since_ms = if sending { connection.sent_ms } else { connection.since_ms };
            u64::from(connection.charged) * (now_ms.saturating_sub(since_ms) + 1)
        };
        let slowest = (0_u32..)
            .zip(&self.conns)
            .filter(|(_, connection)| connection.charged > 0)
            .max_by_key(|(_, connection)| weight(connection));
        let Some((slot, connection)) = slowest else { return false };
        let Connection { peer, phase, charged: bytes, .. } = *connection;
        tracing::debug!(shard = self.id.0, %peer, bytes, "shed for the byte budget");
        self.refuse(Bound::ByteBudget);
        if matches!(phase, Phase::Head | Phase::Body) {
            self.refuse_busy(slot, "the server is out of buffers");
        } else {
            self.abort(slot);
        }
        true
    }
}
