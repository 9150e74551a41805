//! Writes answers into connections: JSON bodies, event streams, refusals.

use ringmesh_proto::http1::{self, ReplyHead, Status};
use ringmesh_proto::jsonrpc::{self, INTERNAL_ERROR, INVALID_PARAMS, Id, METHOD_NOT_FOUND};
use ringmesh_proto::{mcp, sse};

use super::Shard;
use super::connection::Phase;
use crate::call::{Answer, Ending};
use crate::probe::Outcome;

/// Why a request gets an error instead of being handled.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: Status,
    pub(super) code: i64,
    pub(super) message: std::borrow::Cow<'static, str>,
    /// JSON text.
    pub(super) data: Option<String>,
    pub(super) allow: Option<&'static str>,
}

impl Refusal {
    pub(super) fn new(
        status: Status,
        code: i64,
        message: impl Into<std::borrow::Cow<'static, str>>,
    ) -> Self {
        Self { status, code, message: message.into(), data: None, allow: None }
    }

    pub(super) fn with_data(self, data: String) -> Self {
        Self { data: Some(data), ..self }
    }

    /// The server has no room for the request now.
    pub(super) fn busy(message: &'static str) -> Self {
        Self::new(Status::SERVICE_UNAVAILABLE, INTERNAL_ERROR, message)
    }

    pub(super) fn invalid_params(message: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        Self::new(Status::BAD_REQUEST, INVALID_PARAMS, message)
    }
}

/// How the answer of one exchange is framed; known from the request's head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exchange {
    pub(super) keep_alive: bool,
    pub(super) version_minor: u8,
}

impl Exchange {
    pub(super) fn chunked(self) -> bool {
        self.version_minor == 1
    }
}

impl Shard {
    /// The connection's buffer of answers, to write into; given back by [`Self::put_out`].
    pub(super) fn take_out(&mut self, slot: u32) -> Vec<u8> {
        let out = std::mem::take(&mut self.conns[slot as usize].outbound);
        if out.capacity() == 0 { self.buffers.outbound() } else { out }
    }

    pub(super) fn put_out(&mut self, slot: u32, out: Vec<u8>) {
        self.conns[slot as usize].outbound = out;
        self.touch(slot);
    }

    fn closes(&self, exchange: Exchange) -> bool {
        !exchange.keep_alive || self.draining.is_some()
    }

    fn reply_head(&self, exchange: Exchange, status: Status) -> ReplyHead<'_> {
        let mut head = ReplyHead::new(status, &self.date);
        head.close = self.closes(exchange);
        head.version_minor = exchange.version_minor;
        head.retry_after_s = (status == Status::SERVICE_UNAVAILABLE).then_some(1);
        head
    }

    /// The exchange is over: the connection idles, or ends where it was to be closed.
    pub(super) fn finish_exchange(&mut self, slot: u32, exchange: Exchange) {
        if self.closes(exchange) {
            self.end(slot);
        } else {
            let now_ms = self.now_ms;
            let connection = &mut self.conns[slot as usize];
            connection.phase = Phase::Idle;
            connection.since_ms = now_ms;
            self.touch(slot);
        }
    }

    /// Answers with a JSON body that `write` appends.
    fn reply_json(
        &mut self,
        slot: u32,
        exchange: Exchange,
        status: Status,
        write: impl FnOnce(&Self, &mut Vec<u8>),
    ) {
        let mut out = self.take_out(slot);
        let patch =
            http1::begin_body(&mut out, &self.reply_head(exchange, status), "application/json");
        write(self, &mut out);
        http1::finish_body(&mut out, patch);
        self.put_out(slot, out);
        self.probe.count_http_response(status.0);
        self.finish_exchange(slot, exchange);
    }

    /// Answers a result whose members are JSON text.
    pub(super) fn reply_result(
        &mut self,
        slot: u32,
        exchange: Exchange,
        id: Id<'_>,
        members: &str,
    ) {
        let mut out = self.take_out(slot);
        let head = self.reply_head(exchange, Status::OK);
        let patch = http1::begin_body(&mut out, &head, "application/json");
        jsonrpc::write_open(&mut out, Some(id));
        out.extend_from_slice(b",\"result\":{\"resultType\":\"complete\",");
        out.extend_from_slice(members.as_bytes());
        out.extend_from_slice(b",\"_meta\":{");
        out.extend_from_slice(self.server_info_meta.as_bytes());
        out.extend_from_slice(b"}}}");
        http1::finish_body(&mut out, patch);
        self.put_out(slot, out);
        self.probe.count_http_response(200);
        self.finish_exchange(slot, exchange);
    }

    /// Answers an error for a request whose id is known, or for what is no request.
    pub(super) fn reply_refusal(
        &mut self,
        slot: u32,
        exchange: Exchange,
        id: Option<Id<'_>>,
        refusal: &Refusal,
    ) {
        let mut out = self.take_out(slot);
        let mut head = self.reply_head(exchange, refusal.status);
        head.allow = refusal.allow;
        let patch = http1::begin_body(&mut out, &head, "application/json");
        let data = refusal.data.as_deref();
        jsonrpc::write_error(&mut out, id, refusal.code, &refusal.message, data);
        http1::finish_body(&mut out, patch);
        self.put_out(slot, out);
        self.probe.count_http_response(refusal.status.0);
        self.finish_exchange(slot, exchange);
    }

    /// Refuses a HEAD: its answer ends with the head (RFC 9110 9.3.2), and a body would be read as
    /// the beginning of the next answer.
    pub(super) fn reply_bodiless(&mut self, slot: u32, exchange: Exchange, refusal: &Refusal) {
        let mut out = self.take_out(slot);
        let mut head = self.reply_head(exchange, refusal.status);
        head.allow = refusal.allow;
        http1::write_empty(&mut out, &head);
        self.put_out(slot, out);
        self.probe.count_http_response(refusal.status.0);
        self.finish_exchange(slot, exchange);
    }

    /// Answers a notification.
    pub(super) fn reply_accepted(&mut self, slot: u32, exchange: Exchange) {
        let mut out = self.take_out(slot);
        http1::write_empty(&mut out, &self.reply_head(exchange, Status::ACCEPTED));
        self.put_out(slot, out);
        self.probe.count_http_response(202);
        self.finish_exchange(slot, exchange);
    }

    /// Answers what a handler answered, as JSON with the status that its ending asks for.
    pub(super) fn reply_answer(
        &mut self,
        slot: u32,
        exchange: Exchange,
        id: Id<'_>,
        answer: &Answer,
    ) -> Outcome {
        let (status, outcome) = status_of(answer.ending());
        self.reply_json(slot, exchange, status, |shard, out| {
            write_response(out, id, answer, &shard.server_info_meta);
        });
        outcome
    }

    /// Begins an event stream as the answer of the exchange.
    pub(super) fn begin_events(&mut self, slot: u32, exchange: Exchange) {
        let mut out = self.take_out(slot);
        let head = self.reply_head(exchange, Status::OK);
        http1::begin_stream(&mut out, &head, exchange.chunked());
        self.put_out(slot, out);
        self.probe.count_http_response(200);
    }

    /// Appends one event, whose data `write` appends.
    pub(super) fn event(
        &mut self,
        slot: u32,
        exchange: Exchange,
        write: impl FnOnce(&Self, &mut Vec<u8>),
    ) {
        let mut out = self.take_out(slot);
        let patch = sse::begin_event(&mut out, exchange.chunked(), None);
        let from = out.len();
        write(self, &mut out);
        join_lines(&mut out[from..]);
        sse::finish_event(&mut out, patch);
        self.put_out(slot, out);
    }

    /// Appends the final response to an event stream, and ends it.
    pub(super) fn end_events(
        &mut self,
        slot: u32,
        exchange: Exchange,
        id: Id<'_>,
        answer: &Answer,
    ) -> Outcome {
        self.event(slot, exchange, |shard, out| {
            write_response(out, id, answer, &shard.server_info_meta);
        });
        self.end_event_stream(slot, exchange);
        status_of(answer.ending()).1
    }

    /// Ends an event stream after its last event.
    pub(super) fn end_event_stream(&mut self, slot: u32, exchange: Exchange) {
        let mut out = self.take_out(slot);
        sse::end_stream(&mut out, exchange.chunked());
        self.put_out(slot, out);
        let keep_alive = exchange.keep_alive && exchange.chunked();
        self.finish_exchange(slot, Exchange { keep_alive, ..exchange });
        self.resume(slot);
    }

    /// Refuses what cannot be read further, and ends the connection.
    pub(super) fn refuse_http(
        &mut self,
        slot: u32,
        status: Status,
        code: i64,
        message: &'static str,
    ) {
        self.refuse_unread(slot, &Refusal::new(status, code, message));
    }

    pub(super) fn refuse_busy(&mut self, slot: u32, message: &'static str) {
        self.refuse_unread(slot, &Refusal::busy(message));
    }

    /// Refuses a request whose body was not read: the connection cannot go on behind it.
    pub(super) fn refuse_unread(&mut self, slot: u32, refusal: &Refusal) {
        let exchange = Exchange { keep_alive: false, version_minor: 1 };
        self.reply_refusal(slot, exchange, None, refusal);
    }
}

/// Writes a whole JSON-RPC response from a handler's answer.
fn write_response(out: &mut Vec<u8>, id: Id<'_>, answer: &Answer, server_info: &str) {
    let kind = match answer.ending() {
        Ending::Complete | Ending::ToolError => "complete",
        Ending::Panicked if answer.members().starts_with(b"\"content\"") => "complete",
        Ending::InputRequired => "input_required",
        Ending::Failed(_) | Ending::Panicked => {
            jsonrpc::write_open(out, Some(id));
            out.extend_from_slice(b",\"error\":{");
            out.extend_from_slice(answer.members());
            return out.extend_from_slice(b"}}");
        }
        Ending::Silent => {
            let message = "the handler gave no answer";
            return jsonrpc::write_error(out, Some(id), INTERNAL_ERROR, message, None);
        }
    };
    jsonrpc::write_open(out, Some(id));
    out.extend_from_slice(b",\"result\":{\"resultType\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\",");
    out.extend_from_slice(answer.members());
    if !answer.members().is_empty() {
        out.push(b',');
    }
    out.extend_from_slice(b"\"_meta\":{");
    out.extend_from_slice(server_info.as_bytes());
    if !answer.meta().is_empty() {
        out.push(b',');
        out.extend_from_slice(answer.meta());
    }
    out.extend_from_slice(b"}}}");
}

/// The HTTP status that a JSON answer has (2026-07-28, Streamable HTTP, leaves some codes open),
/// and how it counts.
fn status_of(ending: Ending) -> (Status, Outcome) {
    match ending {
        Ending::Complete => (Status::OK, Outcome::Ok),
        Ending::ToolError => (Status::OK, Outcome::ToolError),
        Ending::InputRequired => (Status::OK, Outcome::InputRequired),
        Ending::Panicked => (Status::OK, Outcome::Panic),
        // A 5xx would have proxies replace the body that explains it.
        Ending::Silent | Ending::Failed(INTERNAL_ERROR) => (Status::OK, Outcome::InternalError),
        Ending::Failed(METHOD_NOT_FOUND) => (Status::NOT_FOUND, Outcome::ProtocolError),
        Ending::Failed(
            INVALID_PARAMS
            | jsonrpc::INVALID_REQUEST
            | jsonrpc::PARSE_ERROR
            | mcp::HEADER_MISMATCH
            | mcp::MISSING_CLIENT_CAPABILITY
            | mcp::UNSUPPORTED_VERSION,
        ) => (Status::BAD_REQUEST, Outcome::ProtocolError),
        Ending::Failed(_) => (Status::OK, Outcome::ProtocolError),
    }
}

/// An event's data is one line. Line breaks between the tokens of a handler's own JSON mean
/// nothing, and inside a JSON string there is none.
fn join_lines(json: &mut [u8]) {
    for byte in json {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
}
