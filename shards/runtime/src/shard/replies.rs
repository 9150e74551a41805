//! Writes answers where they go: JSON bodies, event streams, lines, refusals.

use ringmesh_proto::http1::{self, ReplyHead, Status};
use ringmesh_proto::jsonrpc::{self, INTERNAL_ERROR, INVALID_PARAMS, Id, METHOD_NOT_FOUND};
use ringmesh_proto::mcp::EventId;
use ringmesh_proto::{mcp, sse};

use super::Shard;
use super::connection::Phase;
use super::request::{Exchange, Heading, Reader, Refusal, Request, Route};
use crate::call::{Answer, Ending, Era};
use crate::io::ConnId;
use crate::probe::Outcome;

impl Shard {
    /// The reader's buffer of answers, to write into; given back by [`Self::put_out`].
    pub(super) fn take_out(&mut self, reader: Reader) -> Vec<u8> {
        let out = match reader {
            Reader::Here(conn) => std::mem::take(&mut self.conns[conn.slot as usize].outbound),
            Reader::There(far) => self.take_far(far),
        };
        if out.capacity() == 0 { self.buffers.outbound() } else { out }
    }

    pub(super) fn put_out(&mut self, reader: Reader, out: Vec<u8>) {
        match reader {
            Reader::Here(conn) => {
                self.conns[conn.slot as usize].outbound = out;
                self.touch(conn.slot);
            }
            Reader::There(far) => self.put_far(far, out),
        }
    }

    pub(super) fn closes(&self, exchange: Exchange) -> bool {
        !exchange.keep_alive || self.draining.is_some()
    }

    fn reply_head(&self, exchange: Exchange, heading: Heading) -> ReplyHead<'_> {
        let status = heading.status;
        let mut head = ReplyHead::new(status, &self.date);
        head.close = self.closes(exchange);
        head.version_minor = exchange.version_minor;
        let later = matches!(status, Status::SERVICE_UNAVAILABLE | Status::TOO_MANY_REQUESTS);
        head.retry_after_s = later.then_some(1);
        head.allow = heading.allow;
        head.session_id = heading.session;
        head
    }

    /// The exchange is over: the connection idles, or ends where it was to be closed.
    pub(super) fn finish_exchange(&mut self, reader: Reader, exchange: Exchange) {
        let closes = self.closes(exchange);
        let slot = match reader {
            Reader::Here(conn) => conn.slot,
            Reader::There(far) => return self.finish_far(far, !closes),
        };
        if closes {
            return self.end(slot);
        }
        let now_ms = self.now_ms;
        let connection = &mut self.conns[slot as usize];
        connection.phase = Phase::Idle;
        connection.since_ms = now_ms;
        if connection.timer.is_none() {
            self.arm_timer(slot, now_ms + self.limits.idle_timeout_ms);
        }
        self.touch(slot);
    }

    /// Sends the answer of a request: the JSON that `write` appends.
    pub(super) fn respond(
        &mut self,
        route: Route,
        heading: Heading,
        write: impl FnOnce(&Self, &mut Vec<u8>),
    ) {
        match route {
            Route::Http(reader, exchange) => {
                let mut out = self.take_out(reader);
                let head = self.reply_head(exchange, heading);
                let patch = http1::begin_body(&mut out, &head, "application/json");
                write(self, &mut out);
                http1::finish_body(&mut out, patch);
                self.put_out(reader, out);
                self.probe.count_http_response(heading.status.0);
                self.finish_exchange(reader, exchange);
            }
            Route::Line(conn) => self.line(conn, write),
            Route::Events(events) => self.respond_on_events(events, heading, write),
        }
    }

    /// Answers a result whose members are JSON text.
    pub(super) fn reply_members(&mut self, request: &Request<'_>, members: &str) {
        self.reply_members_with(request, Heading::new(Status::OK), |out| {
            out.extend_from_slice(members.as_bytes());
        });
    }

    /// The same, with members that `write` appends.
    pub(super) fn reply_members_with(
        &mut self,
        request: &Request<'_>,
        heading: Heading,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        self.respond(request.route, heading, |shard, out| {
            jsonrpc::write_open(out, Some(request.id));
            if request.era.is_legacy() {
                out.extend_from_slice(b",\"result\":{");
                write(out);
                return out.extend_from_slice(b"}}");
            }
            out.extend_from_slice(b",\"result\":{\"resultType\":\"complete\",");
            write(out);
            out.extend_from_slice(b",\"_meta\":{");
            out.extend_from_slice(shard.server_info_meta.as_bytes());
            out.extend_from_slice(b"}}}");
        });
        self.probe.count_request(request.method, Outcome::Ok);
        self.answered += 1;
    }

    /// Answers an error for a request that was understood.
    pub(super) fn refuse_request(&mut self, request: &Request<'_>, refusal: &Refusal) {
        let outcome = match (refusal.status, refusal.code) {
            (Status::SERVICE_UNAVAILABLE | Status::TOO_MANY_REQUESTS, _) => Outcome::Busy,
            (_, INTERNAL_ERROR) => Outcome::InternalError,
            _ => Outcome::ProtocolError,
        };
        self.probe.count_request(request.method, outcome);
        self.answered += 1;
        let status = refusal.status_in(request.era);
        self.reply_error(request.route, status, Some(request.id), refusal);
    }

    /// Answers an error for a request whose id is known, or for what is no request.
    pub(super) fn reply_refusal(&mut self, route: Route, id: Option<Id<'_>>, refusal: &Refusal) {
        self.reply_error(route, refusal.status, id, refusal);
    }

    fn reply_error(&mut self, route: Route, status: Status, id: Option<Id<'_>>, refusal: &Refusal) {
        let heading = Heading { allow: refusal.allow, ..Heading::new(status) };
        self.respond(route, heading, |_, out| {
            let data = refusal.data.as_deref();
            jsonrpc::write_error(out, id, refusal.code, &refusal.message, data);
        });
    }

    /// Answers without a body.
    pub(super) fn reply_empty(&mut self, reader: Reader, exchange: Exchange, heading: Heading) {
        let mut out = self.take_out(reader);
        http1::write_empty(&mut out, &self.reply_head(exchange, heading));
        self.put_out(reader, out);
        self.probe.count_http_response(heading.status.0);
        self.finish_exchange(reader, exchange);
    }

    /// Takes what asks for no answer.
    pub(super) fn reply_accepted(&mut self, route: Route) {
        if let Route::Http(reader, exchange) = route {
            self.reply_empty(reader, exchange, Heading::new(Status::ACCEPTED));
        }
    }

    /// Answers what a handler answered, as JSON with the status that its ending asks for.
    pub(super) fn reply_answer(
        &mut self,
        route: Route,
        era: Era,
        id: Id<'_>,
        answer: &Answer,
    ) -> Outcome {
        let (status, outcome) = status_of(answer.ending());
        let status = if era.is_legacy() { Status::OK } else { status };
        self.respond(route, Heading::new(status), |shard, out| {
            write_response(out, era, id, answer, &shard.server_info_meta);
        });
        outcome
    }

    /// Begins an event stream as the answer of the exchange.
    pub(super) fn begin_events(&mut self, reader: Reader, exchange: Exchange) {
        let mut out = self.take_out(reader);
        let head = self.reply_head(exchange, Heading::new(Status::OK));
        http1::begin_stream(&mut out, &head, exchange.chunked());
        self.begin_far_events(reader, exchange);
        self.put_out(reader, out);
        self.probe.count_http_response(200);
    }

    /// Appends one event, whose data `write` appends. Gives where the data lies while it is looked
    /// at by `then`.
    pub(super) fn event_with(
        &mut self,
        (reader, exchange): (Reader, Exchange),
        id: Option<EventId>,
        write: impl FnOnce(&Self, &mut Vec<u8>),
        then: impl FnOnce(&mut Self, &[u8]),
    ) {
        let mut out = self.take_out(reader);
        let patch = sse::begin_event(&mut out, exchange.chunked(), id);
        let from = out.len();
        write(self, &mut out);
        join_lines(&mut out[from..]);
        then(self, &out[from..]);
        sse::finish_event(&mut out, patch);
        self.put_out(reader, out);
    }

    /// Appends one event of a stream without event ids.
    pub(super) fn event(
        &mut self,
        reader: Reader,
        exchange: Exchange,
        write: impl FnOnce(&Self, &mut Vec<u8>),
    ) {
        self.event_with((reader, exchange), None, write, |_, _| {});
    }

    /// Appends the final response to an event stream, and ends it.
    pub(super) fn end_events(
        &mut self,
        reader: Reader,
        exchange: Exchange,
        id: Id<'_>,
        answer: &Answer,
    ) -> Outcome {
        self.event(reader, exchange, |shard, out| {
            write_response(out, Era::Modern, id, answer, &shard.server_info_meta);
        });
        self.end_event_stream(reader, exchange);
        status_of(answer.ending()).1
    }

    /// Ends an event stream after its last event.
    pub(super) fn end_event_stream(&mut self, reader: Reader, exchange: Exchange) {
        let mut out = self.take_out(reader);
        sse::end_stream(&mut out, exchange.chunked());
        self.put_out(reader, out);
        let keep_alive = exchange.keep_alive && exchange.chunked();
        self.finish_exchange(reader, Exchange { keep_alive, ..exchange });
        if let Reader::Here(conn) = reader {
            self.resume(conn.slot);
        }
    }

    /// Appends a line, which `write` appends, to what a byte stream is sent.
    pub(super) fn line(&mut self, conn: ConnId, write: impl FnOnce(&Self, &mut Vec<u8>)) {
        let reader = Reader::Here(conn);
        let mut out = self.take_out(reader);
        let from = out.len();
        write(self, &mut out);
        join_lines(&mut out[from..]);
        out.push(b'\n');
        self.put_out(reader, out);
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
        let conn = self.id_of(slot);
        if self.conns[slot as usize].speaks_lines() {
            self.reply_refusal(Route::Line(conn), None, refusal);
            return self.end(slot);
        }
        let exchange = Exchange { keep_alive: false, version_minor: 1 };
        self.reply_refusal(Route::Http(Reader::Here(conn), exchange), None, refusal);
    }
}

/// Writes a whole JSON-RPC response from a handler's answer.
fn write_response(out: &mut Vec<u8>, era: Era, id: Id<'_>, answer: &Answer, server_info: &str) {
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
    out.extend_from_slice(b",\"result\":{");
    let (mut comma, modern) = (false, !era.is_legacy());
    if modern {
        out.extend_from_slice(b"\"resultType\":\"");
        out.extend_from_slice(kind.as_bytes());
        out.push(b'"');
        comma = true;
    }
    if !answer.members().is_empty() {
        if comma {
            out.push(b',');
        }
        out.extend_from_slice(answer.members());
        comma = true;
    }
    if modern || !answer.meta().is_empty() {
        if comma {
            out.push(b',');
        }
        out.extend_from_slice(b"\"_meta\":{");
        if modern {
            out.extend_from_slice(server_info.as_bytes());
            if !answer.meta().is_empty() {
                out.push(b',');
            }
        }
        out.extend_from_slice(answer.meta());
        out.push(b'}');
    }
    out.extend_from_slice(b"}}");
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

/// A message is one line of an event or of a byte stream. Line breaks between the tokens of a
/// handler's own JSON mean nothing, and inside a JSON string there is none.
pub(super) fn join_lines(json: &mut [u8]) {
    for byte in json {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
}
