//! Turns what connections want into submissions, once at the end of a tick, and keeps what is in
//! flight.
//!
//! This is the only place that submits receives, sends, shutdowns and closes.

use super::Load;
use super::client::{Client, Inbound, State};
use super::sample::Fault;
use crate::io::{Buffer, ConnId, Dial, IoError, SendBuf, Shutdown};

/// Buffers of one kind that are kept for reuse.
const POOLED_MAX: usize = 256;
/// Largest buffer that is kept.
const POOLED_BYTES_MAX: usize = 16 * 1024;

/// Buffers that no connection uses now.
#[derive(Debug)]
pub(super) struct Buffers {
    outbound: Vec<Vec<u8>>,
    #[expect(clippy::vec_box, reason = "a connection holds the box, which is reused as it is")]
    inbound: Vec<Box<Inbound>>,
}

impl Buffers {
    pub(super) fn new() -> Self {
        let (outbound, inbound) = (Vec::with_capacity(POOLED_MAX), Vec::with_capacity(POOLED_MAX));
        Self { outbound, inbound }
    }

    pub(super) fn outbound(&mut self) -> Vec<u8> {
        self.outbound.pop().unwrap_or_default()
    }

    pub(super) fn recycle_outbound(&mut self, mut buffer: Vec<u8>) {
        let keep = (1..=POOLED_BYTES_MAX).contains(&buffer.capacity());
        if keep && self.outbound.len() < POOLED_MAX {
            buffer.clear();
            self.outbound.push(buffer);
        }
    }

    pub(super) fn inbound(&mut self) -> Box<Inbound> {
        self.inbound.pop().unwrap_or_default()
    }

    pub(super) fn recycle_inbound(&mut self, inbound: Option<Box<Inbound>>) {
        if let Some(mut inbound) = inbound
            && inbound.bytes.capacity() + inbound.events.capacity() <= POOLED_BYTES_MAX
            && self.inbound.len() < POOLED_MAX
        {
            inbound.clear();
            self.inbound.push(inbound);
        }
    }
}

impl Load {
    pub(super) fn settle_touched<I: Dial>(&mut self, io: &mut I) {
        let mut at = 0;
        while at < self.touched.len() {
            let slot = self.touched[at];
            at += 1;
            let client = self.at(slot);
            client.flags.touched = false;
            match client.state {
                _ if client.flags.closing => {}
                State::Closed | State::Waiting | State::Connecting => {}
                State::Aborting => self.settle_aborting(io, slot),
                State::Opening | State::Ready | State::Deleting => self.settle(io, slot),
            }
        }
        self.touched.clear();
    }

    fn settle<I: Dial>(&mut self, io: &mut I, slot: u32) {
        let client = self.at(slot);
        let id = client.id(slot);
        let flags = &mut client.flags;
        if !flags.recv_armed && !flags.deaf {
            flags.recv_armed = true;
            io.submit_recv(id);
        } else if flags.recv_armed && flags.deaf && !flags.recv_cancelling {
            flags.recv_cancelling = true;
            io.cancel_recv(id);
        }
        if !flags.sending && !client.outbound.is_empty() {
            flags.sending = true;
            client.send_offset = 0;
            let bytes = std::mem::take(&mut client.outbound);
            io.submit_send(id, SendBuf::Pooled(bytes), 0);
        }
    }

    /// Cuts what is in flight, and closes once nothing is.
    fn settle_aborting<I: Dial>(&mut self, io: &mut I, slot: u32) {
        let client = self.at(slot);
        let id = client.id(slot);
        let flags = &mut client.flags;
        if flags.sending || flags.connecting {
            if !flags.cut && !flags.shutting {
                flags.cut = true;
                flags.shutting = true;
                io.submit_shutdown(id, Shutdown::Both);
            }
        } else if flags.recv_armed {
            if !flags.recv_cancelling && !flags.cut {
                flags.recv_cancelling = true;
                io.cancel_recv(id);
            }
        } else if !flags.shutting {
            flags.closing = true;
            io.submit_close(id);
        }
    }

    pub(super) fn on_received<I: Dial>(
        &mut self,
        io: &mut I,
        conn: ConnId,
        result: Result<Option<Buffer>, IoError>,
        more: bool,
    ) {
        let known = self.client(conn).map(|client| {
            client.flags.recv_armed &= more;
            client.flags.recv_cancelling &= more;
        });
        match result {
            Ok(Some(buffer)) => {
                if known.is_some() {
                    self.feed(conn.slot, io.bytes(&buffer));
                }
                io.recycle(buffer);
            }
            Ok(None) if known.is_some() => self.on_eof(conn.slot),
            // Settling arms it again where it is still wanted.
            Err(IoError::NoBuffers | IoError::Cancelled | IoError::Again) | Ok(None) => {}
            Err(error) if known.is_some() => self.on_broken(conn.slot, error),
            Err(_) => {}
        }
        if known.is_some() {
            self.touch(conn.slot);
        }
    }

    /// The connection failed.
    fn on_broken(&mut self, slot: u32, error: IoError) {
        let Client { state, in_flight, .. } = *self.at(slot);
        match state {
            State::Aborting => {}
            // Its session is over, or the server's to end.
            State::Deleting => self.abort(slot),
            _ => {
                self.fault_of(slot, Fault::Lost, || {
                    format!("{error}, with {in_flight} requests in flight")
                });
                self.drop_client(slot);
            }
        }
    }

    pub(super) fn on_sent<I: Dial>(
        &mut self,
        io: &mut I,
        conn: ConnId,
        buf: SendBuf,
        result: Result<usize, IoError>,
    ) {
        let Some(client) = self.client(conn) else {
            debug_assert!(false, "a connection was closed with a send in flight");
            return;
        };
        let (workload, aborting) = (client.workload, client.state == State::Aborting);
        let (taken, broken) = match result {
            Ok(taken) => (taken, None),
            Err(IoError::Again | IoError::NoBuffers) => (0, None),
            Err(error) => (0, Some(error)),
        };
        let sent = client.send_offset as usize + taken;
        if sent < buf.as_slice().len() && broken.is_none() && !aborting {
            client.send_offset = u32::try_from(sent).expect("a send is below 4 GiB");
            io.submit_send(conn, buf, sent);
        } else {
            client.flags.sending = false;
            if let SendBuf::Pooled(bytes) = buf {
                self.buffers.recycle_outbound(bytes);
            }
            if let Some(error) = broken {
                self.on_broken(conn.slot, error);
            }
            self.touch(conn.slot);
        }
        self.tally.workload(workload).sent_bytes += taken as u64;
    }
}
