//! From bytes to requests: HTTP/1.1 framing of what arrives, in place where a request arrives
//! whole, from the connection's own buffer where it does not.

use ringmesh_proto::http1::{self, Chunked, Framing, Head, HeadError, Status};
use ringmesh_proto::jsonrpc::INVALID_REQUEST;

use super::Shard;
use super::connection::{Inbound, Phase};
use super::request::Reader;
use crate::limits::{PIPELINE_BYTES_MAX, SEND_SOFT_MAX};
use crate::probe::Bound;

impl Shard {
    /// Takes bytes as they came from the socket.
    pub(super) fn feed(&mut self, slot: u32, input: &[u8]) {
        let mut rest = input;
        while !rest.is_empty() {
            let connection = &self.conns[slot as usize];
            if matches!(connection.phase, Phase::Ending | Phase::Aborting | Phase::Free) {
                return; // Drained so that our last answer is not destroyed by a reset.
            }
            // Between requests only bytes that wait their turn are kept: these go behind them. A
            // request that has begun goes on: what was collected of it must not be mixed with
            // what waits.
            let waits = connection.phase == Phase::Idle
                && (connection.inbound.is_some() || self.is_backlogged(slot));
            if waits || !connection.reads() {
                return self.hold(slot, rest);
            }
            let (lines, begun) = (connection.speaks_lines(), connection.inbound.is_some());
            rest = match (lines, begun) {
                (false, false) => self.take_whole(slot, rest),
                (false, true) => self.take_piece(slot, rest),
                (true, false) => self.take_whole_line(slot, rest),
                (true, true) => self.take_line_piece(slot, rest),
            };
        }
    }

    /// Whether answers wait in such number that further requests have to wait too.
    fn is_backlogged(&self, slot: u32) -> bool {
        let connection = &self.conns[slot as usize];
        connection.outbound.len() > SEND_SOFT_MAX
            || connection.in_flight_bytes as usize > SEND_SOFT_MAX
    }

    /// Keeps bytes for later, and stops receiving when they are many.
    fn hold(&mut self, slot: u32, bytes: &[u8]) {
        let mut inbound =
            self.conns[slot as usize].inbound.take().unwrap_or_else(|| self.buffers.inbound());
        inbound.bytes.extend_from_slice(bytes);
        let held = inbound.bytes.len();
        let connection = &mut self.conns[slot as usize];
        connection.inbound = Some(inbound);
        connection.flags.paused |= held > PIPELINE_BYTES_MAX;
    }

    /// Notes that waiting requests may go on.
    pub(super) fn resume(&mut self, slot: u32) {
        let connection = &self.conns[slot as usize];
        let waits = connection.inbound.is_some() || connection.flags.paused;
        if waits && connection.phase == Phase::Idle {
            self.resumed.push(slot);
        }
    }

    pub(super) fn resume_waiting(&mut self) {
        let mut resumed = std::mem::take(&mut self.resumed);
        for slot in resumed.drain(..) {
            let connection = &mut self.conns[slot as usize];
            if connection.phase != Phase::Idle {
                continue;
            }
            connection.flags.paused = false;
            if let Some(inbound) = connection.inbound.take() {
                // Nothing more comes, but these are there: what ends meanwhile is not the last.
                let eof = std::mem::take(&mut connection.flags.eof);
                self.feed(slot, &inbound.bytes);
                self.buffers.recycle_inbound(inbound);
                if eof {
                    self.on_eof(slot);
                }
                self.stop_line(slot);
            }
            self.touch(slot);
        }
        // Feeding may have resumed nothing new: a connection resumes by a send or a reply.
        if self.resumed.is_empty() {
            self.resumed = resumed;
        }
    }

    /// Handles a request that lies whole at the start of `input`, without copying it. Otherwise
    /// begins to collect it. Gives what follows it.
    fn take_whole<'a>(&mut self, slot: u32, input: &'a [u8]) -> &'a [u8] {
        let head_len = match http1::find_head(input, 0) {
            Ok(Some(len)) => len,
            Ok(None) => {
                self.collect(slot, input, 0);
                return &[];
            }
            Err(error) => {
                self.refuse_head(slot, error);
                return &[];
            }
        };
        let (head_bytes, rest) = input.split_at(head_len);
        let head = match Head::parse(head_bytes) {
            Ok(head) => head,
            Err(error) => {
                self.refuse_head(slot, error);
                return &[];
            }
        };
        let len = match head.framing {
            Framing::None => 0,
            Framing::Length(len) => match usize::try_from(len) {
                Ok(len) if rest.len() >= len => len,
                _ => return self.begin_body(slot, &head, head_bytes, rest),
            },
            Framing::Chunked => return self.begin_body(slot, &head, head_bytes, rest),
        };
        let (body, rest) = rest.split_at(len);
        if body.len() > self.limits.body_bytes_max {
            self.refuse_body(slot);
            return &[];
        }
        self.on_http_request(slot, &head, body);
        rest
    }

    /// The head is complete and the body is not: refuses what can be refused without it, else
    /// collects it. Gives what follows a chunked body that was complete after all.
    fn begin_body<'a>(
        &mut self,
        slot: u32,
        head: &Head<'_>,
        head_bytes: &[u8],
        input: &'a [u8],
    ) -> &'a [u8] {
        let expected = match head.framing {
            Framing::Length(len) => usize::try_from(len).unwrap_or(usize::MAX),
            Framing::Chunked | Framing::None => 0,
        };
        if expected > self.limits.body_bytes_max {
            self.refuse_body(slot);
            return &[];
        }
        if self.budget.would_exceed(expected.max(head_bytes.len())) {
            self.refuse(Bound::ByteBudget);
            self.refuse_busy(slot, "the server is out of buffers");
            return &[];
        }
        if let Some(refusal) = self.refusal_of_head(head) {
            self.refuse_unread(slot, &refusal);
            return &[];
        }
        if head.expect_continue && input.is_empty() {
            let reader = Reader::Here(self.id_of(slot));
            let mut out = self.take_out(reader);
            http1::write_continue(&mut out);
            self.put_out(reader, out);
        }
        let mut inbound = self.buffers.inbound();
        inbound.bytes.extend_from_slice(head_bytes);
        inbound.head_len = head_bytes.len();
        inbound.framing = Some(head.framing);
        if head.framing == Framing::Chunked {
            inbound.chunked = Some(Chunked::new(self.limits.body_bytes_max));
        }
        self.set_phase(slot, Phase::Body, self.limits.body_timeout_ms);
        self.conns[slot as usize].inbound = Some(inbound);
        self.take_piece(slot, input)
    }

    /// Begins to collect a request whose head is not complete.
    fn collect(&mut self, slot: u32, bytes: &[u8], scanned: usize) {
        let mut inbound = self.buffers.inbound();
        inbound.bytes.extend_from_slice(bytes);
        inbound.scanned = bytes.len().max(scanned);
        self.set_phase(slot, Phase::Head, self.limits.head_timeout_ms);
        self.conns[slot as usize].inbound = Some(inbound);
    }

    /// Adds bytes to the request that is being collected. Gives what follows it, where it is
    /// complete now.
    fn take_piece<'a>(&mut self, slot: u32, input: &'a [u8]) -> &'a [u8] {
        let Some(mut inbound) = self.conns[slot as usize].inbound.take() else { return input };
        match inbound.framing {
            None => self.take_head_piece(slot, inbound, input),
            Some(Framing::Chunked) => self.take_chunks(slot, inbound, input),
            Some(Framing::None | Framing::Length(_)) => {
                let body_len = match inbound.framing {
                    Some(Framing::Length(len)) => usize::try_from(len).unwrap_or(usize::MAX),
                    _ => 0,
                };
                let missing = (inbound.head_len + body_len).saturating_sub(inbound.bytes.len());
                let (piece, rest) = input.split_at(missing.min(input.len()));
                inbound.bytes.extend_from_slice(piece);
                self.finish_or_keep(slot, inbound, piece.len() == missing);
                rest
            }
        }
    }

    fn take_head_piece<'a>(
        &mut self,
        slot: u32,
        mut inbound: Box<Inbound>,
        input: &'a [u8],
    ) -> &'a [u8] {
        let before = inbound.bytes.len();
        // A head is bounded: bytes past the bound cannot complete it and are not copied.
        let room = (http1::HEAD_BYTES_MAX + 1).saturating_sub(before);
        let piece = &input[..input.len().min(room)];
        inbound.bytes.extend_from_slice(piece);
        match http1::find_head(&inbound.bytes, inbound.scanned) {
            Ok(None) => {
                inbound.scanned = inbound.bytes.len();
                self.conns[slot as usize].inbound = Some(inbound);
                &input[piece.len()..]
            }
            Ok(Some(head_len)) => {
                // The head's end lies in this piece, so the rest is read from the input again.
                let rest = &input[head_len - before..];
                inbound.bytes.truncate(head_len);
                self.on_collected_head(slot, inbound, rest)
            }
            Err(error) => {
                self.buffers.recycle_inbound(inbound);
                self.refuse_head(slot, error);
                &[]
            }
        }
    }

    fn on_collected_head<'a>(
        &mut self,
        slot: u32,
        inbound: Box<Inbound>,
        rest: &'a [u8],
    ) -> &'a [u8] {
        let rest = match Head::parse(&inbound.bytes) {
            Err(error) => {
                self.refuse_head(slot, error);
                &[]
            }
            Ok(head) => match head.framing {
                Framing::None | Framing::Length(0) => {
                    self.set_phase(slot, Phase::Idle, self.limits.idle_timeout_ms);
                    self.on_http_request(slot, &head, &[]);
                    rest
                }
                _ => self.begin_body(slot, &head, &inbound.bytes, rest),
            },
        };
        self.buffers.recycle_inbound(inbound);
        rest
    }

    fn take_chunks<'a>(
        &mut self,
        slot: u32,
        mut inbound: Box<Inbound>,
        input: &'a [u8],
    ) -> &'a [u8] {
        let Some(mut chunked) = inbound.chunked.take() else { return input };
        match chunked.decode(input, &mut inbound.bytes) {
            Ok(decoded) => {
                inbound.chunked = Some(chunked);
                self.finish_or_keep(slot, inbound, decoded.done);
                &input[decoded.consumed..]
            }
            Err(error) => {
                self.buffers.recycle_inbound(inbound);
                if error.status() == Status::CONTENT_TOO_LARGE {
                    self.refuse_body(slot);
                } else {
                    self.refuse(Bound::Malformed);
                    let message = "the chunked body is malformed";
                    self.refuse_http(slot, error.status(), INVALID_REQUEST, message);
                }
                &[]
            }
        }
    }

    fn finish_or_keep(&mut self, slot: u32, inbound: Box<Inbound>, complete: bool) {
        if !complete {
            self.conns[slot as usize].inbound = Some(inbound);
            return;
        }
        self.set_phase(slot, Phase::Idle, self.limits.idle_timeout_ms);
        let (head_bytes, body) = inbound.bytes.split_at(inbound.head_len);
        // It parsed before the body came.
        match Head::parse(head_bytes) {
            Ok(head) => self.on_http_request(slot, &head, body),
            Err(error) => self.refuse_head(slot, error),
        }
        self.buffers.recycle_inbound(inbound);
    }

    pub(super) fn set_phase(&mut self, slot: u32, phase: Phase, timeout_ms: u64) {
        let now_ms = self.now_ms;
        let connection = &mut self.conns[slot as usize];
        connection.phase = phase;
        connection.since_ms = now_ms;
        self.arm_timer(slot, now_ms.saturating_add(timeout_ms));
    }

    fn refuse_head(&mut self, slot: u32, error: HeadError) {
        self.probe.http_heads_refused += 1;
        self.refuse(match error {
            HeadError::TooLarge | HeadError::TooManyHeaders => Bound::HeadBytes,
            _ => Bound::Malformed,
        });
        let message = match error {
            HeadError::Malformed(why) => why,
            HeadError::TooLarge => "the head is too large",
            HeadError::TooManyHeaders => "the head has too many fields",
            HeadError::Version => "this server speaks HTTP/1.1",
            HeadError::UnsupportedTransferEncoding => "the transfer coding is not supported",
            HeadError::Expectation => "the expectation is not supported",
        };
        let peer = self.conns[slot as usize].peer;
        tracing::debug!(shard = self.id.0, %peer, message, "refused a head");
        self.refuse_http(slot, error.status(), INVALID_REQUEST, message);
    }

    fn refuse_body(&mut self, slot: u32) {
        self.refuse(Bound::BodyBytes);
        let message = "the body is too large";
        self.refuse_http(slot, Status::CONTENT_TOO_LARGE, INVALID_REQUEST, message);
    }
}
