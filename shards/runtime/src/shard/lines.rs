//! Byte streams: newline-delimited JSON-RPC over TCP, Unix sockets and stdio (2025-11-25,
//! Transports, stdio and Custom Transports), both eras on every connection.
//!
//! A connection's first line must be a JSON object, else it is closed without a word: so nothing that
//! a web page can make a browser send does anything here. From then on malformed lines are answered.
//! Many calls are in flight at once, and answers come in the order in which they are ready.
//!
//! A peer that sends no more is answered what it asked, and then closed: it cannot be told from one
//! that is gone, until sending fails.

use ringmesh_proto::http1::Status;
use ringmesh_proto::jsonrpc::{self, Asked, INVALID_REQUEST, Incoming};
use ringmesh_proto::lines;
use ringmesh_proto::mcp::{Cancelled, Params};
use serde_json::value::RawValue;

use super::Shard;
use super::connection::{LineState, Phase};
use super::dispatch::read_params;
use super::methods::method_of;
use super::modern::{Read, is_modern};
use super::request::{Refusal, Route};
use super::session::Named;
use crate::io::ConnId;
use crate::probe::{Bound, Method, Outcome, SessionEnd};

impl Shard {
    /// Handles a line that lies whole at the start of `input`; otherwise begins to collect it. Gives
    /// what follows it.
    pub(super) fn take_whole_line<'a>(&mut self, slot: u32, input: &'a [u8]) -> &'a [u8] {
        if let Some(end) = lines::find_end(input, 0) {
            self.on_line(slot, &input[..end]);
            return &input[end + 1..];
        }
        let mut inbound = self.buffers.inbound();
        inbound.bytes.extend_from_slice(input);
        self.set_phase(slot, Phase::Body, self.limits.body_timeout_ms);
        self.conns[slot as usize].inbound = Some(inbound);
        &[]
    }

    /// Adds bytes to the line that is being collected. Gives what follows it.
    pub(super) fn take_line_piece<'a>(&mut self, slot: u32, input: &'a [u8]) -> &'a [u8] {
        let Some(mut inbound) = self.conns[slot as usize].inbound.take() else { return input };
        let end = lines::find_end(input, 0);
        let piece = &input[..end.unwrap_or(input.len())];
        if inbound.bytes.len() + piece.len() > self.limits.body_bytes_max {
            self.buffers.recycle_inbound(inbound);
            self.refuse_line(slot);
            return &[];
        }
        inbound.bytes.extend_from_slice(piece);
        let Some(end) = end else {
            self.conns[slot as usize].inbound = Some(inbound);
            return &[];
        };
        self.finish_line(slot, inbound);
        &input[end + 1..]
    }

    fn finish_line(&mut self, slot: u32, inbound: Box<super::connection::Inbound>) {
        self.set_phase(slot, Phase::Idle, self.limits.idle_timeout_ms);
        self.on_line(slot, &inbound.bytes);
        self.buffers.recycle_inbound(inbound);
        self.stop_line(slot);
    }

    /// The server stops: a byte stream that was busy as it was told ends when it is not any more.
    pub(super) fn stop_line(&mut self, slot: u32) {
        let connection = &self.conns[slot as usize];
        let idle = connection.phase == Phase::Idle && connection.inbound.is_none();
        if self.draining.is_some() && connection.speaks_lines() && idle {
            self.end_line_streams(slot);
            self.end_line_if_over(slot);
        }
    }

    fn refuse_line(&mut self, slot: u32) {
        self.refuse(Bound::BodyBytes);
        let message = "the line is too long";
        self.refuse_unread(
            slot,
            &Refusal::new(Status::CONTENT_TOO_LARGE, INVALID_REQUEST, message),
        );
    }

    /// Handles one line.
    fn on_line(&mut self, slot: u32, line: &[u8]) {
        if line.len() > self.limits.body_bytes_max {
            return self.refuse_line(slot);
        }
        let line = lines::trim(line);
        let conn = self.id_of(slot);
        let greeted = self.conns[slot as usize].flags.greeted;
        if !greeted && !lines::is_object(line) {
            self.refuse(Bound::Malformed);
            return self.abort(slot);
        }
        self.conns[slot as usize].flags.greeted = true;
        if line.is_empty() {
            return;
        }
        let route = Route::Line(conn);
        if let Some(Asked { id, method: name, params }) = jsonrpc::parse_request::<Params<'_>>(line)
        {
            let method = method_of(&name);
            if method.is_plain() {
                let params = params.unwrap_or_default();
                let session = self.session_of(conn);
                return match session {
                    Some(session) if !is_modern(&params) => {
                        let named = Named { route, id, method, body: line };
                        self.ask_legacy(session, &named, params);
                    }
                    _ => {
                        let read = Read { id, name: &name, method, params: Ok(params), body: line };
                        self.ask_line(route, read);
                    }
                };
            }
        }
        self.on_rare_line(conn, line);
    }

    /// Handles a message that is no plain request.
    fn on_rare_line(&mut self, conn: ConnId, line: &[u8]) {
        let route = Route::Line(conn);
        let session = self.session_of(conn);
        let batches = session.is_some_and(|session| self.batches(session));
        if let Some(session) = session
            && batches
            && jsonrpc::is_batch(line)
        {
            return self.on_batch(session, route, line);
        }
        match (jsonrpc::parse(line), session) {
            (Ok(Incoming::Request { id, method: name, params }), session) => {
                let method = method_of(&name);
                let read = read_params(method, params);
                let modern = read.as_ref().is_ok_and(is_modern);
                match (session, method) {
                    (Some(session), _) if !modern => {
                        self.on_legacy_message(session, route, line);
                    }
                    (None, Method::Initialize) if !modern => self.on_initialize(route, id, params),
                    (None, Method::Ping) if !modern => {
                        self.line(conn, |_, out| {
                            jsonrpc::write_open(out, Some(id));
                            out.extend_from_slice(b",\"result\":{}}");
                        });
                        self.probe.count_request(Method::Ping, Outcome::Ok);
                    }
                    _ => {
                        let read = Read { id, name: &name, method, params: read, body: line };
                        self.ask_line(route, read);
                    }
                }
            }
            (Ok(Incoming::Notification { method, params }), None) => {
                self.probe.count_request(Method::Notification, Outcome::Ok);
                if method == "notifications/cancelled" {
                    self.on_line_cancelled(conn, params);
                }
            }
            (Ok(Incoming::Notification { method, params }), Some(session)) => {
                // Requests of both eras may be in flight here.
                if method == "notifications/cancelled" {
                    self.on_line_cancelled(conn, params);
                }
                self.on_notification(session, &method, None);
            }
            (Ok(Incoming::Response { .. }), None) => self.probe.responses_unasked += 1,
            (Ok(Incoming::Response { id, answer }), Some(session)) => {
                self.on_response(session, id, answer);
            }
            (Err(malformed), _) => self.refuse_malformed(route, &malformed),
        }
    }

    fn ask_line(&mut self, route: Route, mut read: Read<'_>) {
        if read.params.as_ref().is_ok_and(|params| !is_modern(params)) {
            let message = "initialize first, or say in _meta that the request is modern";
            read.params = Err(Refusal::invalid_request(message));
        }
        self.ask_modern(route, None, read);
    }

    /// A client wants no answer any more, or ends a subscription.
    fn on_line_cancelled(&mut self, conn: ConnId, params: Option<&RawValue>) {
        let Some(Ok(cancelled)) = params.map(Cancelled::parse) else { return };
        let id = cancelled.request_id.as_json();
        let Some(line) = self.line_state(conn) else { return };
        let (calls, streams) = (line.calls.clone(), line.streams.clone());
        if let Some(call) = self.find_call(&calls, id) {
            return self.cancel_call(call);
        }
        let found = streams.into_iter().find(|&place| self.is_stream_of(place, id));
        if let Some(place) = found {
            self.forget_stream(place);
        }
    }

    fn session_of(&self, conn: ConnId) -> Option<u32> {
        self.conns[conn.slot as usize].line.as_ref()?.session
    }

    /// What a byte stream has under way, if anything.
    pub(super) fn line_state(&mut self, conn: ConnId) -> Option<&mut LineState> {
        self.connection(conn)?.line.as_deref_mut()
    }

    /// What a byte stream has under way, of one that is open.
    pub(super) fn line_state_or_new(&mut self, conn: ConnId) -> &mut LineState {
        self.conns[conn.slot as usize].line.get_or_insert_default()
    }

    /// The peer sends no more.
    pub(super) fn on_line_eof(&mut self, slot: u32) {
        let connection = &mut self.conns[slot as usize];
        match connection.phase {
            // Whole lines wait until answers are read.
            Phase::Idle if connection.inbound.is_some() => return,
            Phase::Body => {
                // A last line may lack its end.
                if let Some(inbound) = connection.inbound.take() {
                    self.finish_line(slot, inbound);
                }
            }
            _ => {}
        }
        if self.conns[slot as usize].phase != Phase::Idle {
            return;
        }
        let conn = self.id_of(slot);
        for place in
            self.line_state(conn).map(|l| std::mem::take(&mut l.streams)).unwrap_or_default()
        {
            self.forget_stream(place);
        }
        let calls = self.line_state(conn).map(|line| line.calls.clone()).unwrap_or_default();
        self.give_up_asking(&calls);
        self.end_line_if_over(slot);
    }

    /// Ends a byte stream on which nothing is left to be answered, where no more will be asked.
    pub(super) fn end_line_if_over(&mut self, slot: u32) {
        let over = self.draining.is_some();
        let connection = &self.conns[slot as usize];
        let line = connection.line.as_ref();
        let busy = line.is_some_and(|line| !(line.calls.is_empty() && line.streams.is_empty()));
        let waits = connection.inbound.is_some();
        if (over || connection.flags.eof) && connection.phase == Phase::Idle && !busy && !waits {
            self.end(slot);
        }
    }

    /// The connection ends: what it had under way ends with it.
    pub(super) fn drop_line(&mut self, slot: u32) {
        let Some(line) = self.conns[slot as usize].line.as_deref_mut() else { return };
        let LineState { session, calls, streams } = std::mem::take(line);
        for call in calls {
            self.abandon_call(call);
        }
        for place in streams {
            self.forget_stream(place);
        }
        #[cfg(ringmesh_bugs)]
        if crate::bugs::active(crate::bugs::Bug::LeakedSession) {
            self.conns[slot as usize].line = None;
            return;
        }
        if let Some(session) = session {
            self.end_session(session, SessionEnd::Closed);
        }
        self.conns[slot as usize].line = None;
    }
}
