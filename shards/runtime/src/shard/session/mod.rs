//! Sessions of the legacy era (2025-03-26 to 2025-11-25): what a client said once and the server
//! must remember.
//!
//! A session lives on one shard, the one that took its `initialize`. Over HTTP its id names a
//! partition, and the partition the shard, so that every shard knows where a request belongs; on a
//! byte stream it lives and ends with its connection.
//!
//! Invariants: a session's calls, event streams, subscriptions and logged events end with it, and
//! what they hold is given back. Sessions are bounded in number, and by the address of their
//! clients. One without requests, open streams and calls is ended after a time.

mod asking;
mod events;
mod legacy;
mod log;
mod table;

use std::collections::BTreeMap;
use std::sync::Arc;

use ringmesh_proto::http1::Status;
use ringmesh_proto::jsonrpc::Id;
use ringmesh_proto::mcp::{EventId, Initialize, LogLevel, Params, SessionId, Version};
use serde_json::value::RawValue;

pub(super) use asking::Asking;
pub(super) use events::EventStream;
pub(super) use legacy::Named;
pub(super) use table::{Block, Sessions};

use super::Shard;
use super::dispatch::unknown_session;
use super::request::{Exchange, Heading, Reader, Refusal, Request, Route};
use super::timers::Key;
use crate::call::{CallId, Client, Era};
use crate::io::{ConnId, Peer};
use crate::probe::{Bound, Method, SessionEnd};
use crate::wheel::TimerId;
use log::EventLog;

/// What a request asks of a session.
#[derive(Debug)]
pub(super) enum Ask<'a> {
    /// To handle this message, or batch.
    Post(&'a [u8]),
    /// An event stream, from behind this event.
    Get(Option<EventId>),
    /// To end.
    Delete,
}

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    /// Its name, over HTTP.
    id: Option<SessionId>,
    /// Whose bound of sessions it counts for.
    block: Option<Block>,
    /// The byte stream that it lives on.
    conn: Option<ConnId>,
    client: Client,
    /// Calls over HTTP that did not end at once.
    pub(super) calls: Vec<CallId>,
    /// Places of its event streams, that of GET first where there is one.
    streams: Vec<u32>,
    /// Number of the next event stream; 0 is that of GET.
    next_stream: u32,
    /// Id of the next request to the client.
    next_ask: u64,
    /// What the client was asked, and for which call.
    asked: BTreeMap<u64, CallId>,
    /// Resources that the client subscribed to.
    uris: Vec<Arc<str>>,
    /// Bytes of those, taken from the budget.
    uri_bytes: usize,
    log: EventLog,
    /// When it was last used, in ms of the shard's clock.
    active_ms: u64,
    timer: Option<TimerId>,
    timer_ms: u64,
}

impl Session {
    pub(super) fn era(&self) -> Era {
        Era::Legacy(self.client)
    }
}

impl Shard {
    /// Handles what is asked of a session that lives here, if it does.
    pub(super) fn on_session(
        &mut self,
        reader: Reader,
        exchange: Exchange,
        id: SessionId,
        ask: Ask<'_>,
    ) {
        let route = Route::Http(reader, exchange);
        let Some(place) = self.sessions.find(id) else {
            return self.refuse_message(route, None, &unknown_session());
        };
        self.use_session(place);
        match ask {
            Ask::Post(body) => self.on_post(place, route, body),
            Ask::Get(last) => self.on_get(place, (reader, exchange), last),
            Ask::Delete => {
                self.end_session(place, SessionEnd::Deleted);
                self.reply_empty(reader, exchange, Heading::new(Status::OK));
            }
        }
    }

    fn use_session(&mut self, place: u32) {
        let now_ms = self.now_ms;
        if let Some(session) = self.sessions.at_mut(place) {
            session.active_ms = now_ms;
        }
    }

    /// Opens a session, over HTTP or for a byte stream.
    pub(super) fn on_initialize(&mut self, route: Route, id: Id<'_>, params: Option<&RawValue>) {
        let none = Params::default();
        let request = Request {
            route,
            era: Era::Modern,
            id,
            method: Method::Initialize,
            params: &none,
            body: &[],
            session: None,
            head: None,
        };
        if let Err(refusal) = self.open_session(&request, params) {
            self.refuse_request(&request, &refusal);
        }
    }

    fn open_session(
        &mut self,
        request: &Request<'_>,
        params: Option<&RawValue>,
    ) -> Result<(), Refusal> {
        let params = params.ok_or_else(|| Refusal::invalid_params("params are missing"))?;
        let asked = Initialize::parse(params)
            .map_err(|error| Refusal::invalid_params(error.to_string()))?;
        let client = Client {
            version: Version::negotiate(asked.protocol_version.as_str()),
            capabilities: asked.capabilities,
            log_level: LogLevel::Info,
        };
        let (id, block, conn) = match request.route {
            Route::Line(conn) => (None, None, Some(conn)),
            Route::Http(Reader::Here(conn), _) => {
                let peer = self.conns[conn.slot as usize].peer;
                let block = self.admit_session(peer)?;
                let shards = u16::try_from(self.addresses.len()).expect("ids of shards are u16");
                (Some(self.sessions.mint(self.id, shards)), block, None)
            }
            Route::Http(Reader::There(_), _) | Route::Events(_) => {
                return Err(Refusal::invalid_request("initialize stands alone, without a session"));
            }
        };
        let place = self.sessions.insert(Session {
            id,
            block,
            conn,
            client,
            calls: Vec::new(),
            streams: Vec::new(),
            next_stream: 1,
            next_ask: 1,
            asked: BTreeMap::new(),
            uris: Vec::new(),
            uri_bytes: 0,
            log: EventLog::default(),
            active_ms: self.now_ms,
            timer: None,
            timer_ms: 0,
        });
        match conn {
            Some(conn) => self.line_state_or_new(conn).session = Some(place),
            None => self.arm_session(place, self.now_ms + self.limits.session_timeout_ms),
        }
        self.probe.sessions_opened += 1;
        let request = Request { era: Era::Legacy(client), ..*request };
        let catalog = Arc::clone(&self.catalog);
        let heading = Heading { session: id, ..Heading::new(Status::OK) };
        self.reply_members_with(&request, heading, |out| {
            out.extend_from_slice(b"\"protocolVersion\":\"");
            out.extend_from_slice(client.version.name().as_bytes());
            out.extend_from_slice(b"\",");
            out.extend_from_slice(catalog.initialize().as_bytes());
        });
        Ok(())
    }

    /// Whether a client may have one more session, and for which address it counts.
    fn admit_session(&mut self, peer: Peer) -> Result<Option<Block>, Refusal> {
        if self.draining.is_some() {
            self.refuse(Bound::Stopping);
            return Err(Refusal::busy("the server is stopping"));
        }
        if self.sessions.over_http() >= self.limits.sessions_max {
            self.refuse(Bound::Sessions);
            return Err(Refusal::busy("no further sessions are taken now"));
        }
        let block = Block::of(peer, self.limits.bounds_loopback_sessions);
        let taken = block.map_or(0, |block| self.sessions.of_block(block));
        if taken >= self.limits.sessions_per_address_max {
            self.refuse(Bound::SessionsPerAddress);
            let message = "too many sessions are open from this address: end some with DELETE";
            let code = ringmesh_proto::jsonrpc::INTERNAL_ERROR;
            return Err(Refusal::new(Status::TOO_MANY_REQUESTS, code, message));
        }
        Ok(block)
    }

    /// Ends a session and everything that belongs to it.
    pub(super) fn end_session(&mut self, place: u32, cause: SessionEnd) {
        let Some(session) = self.sessions.at_mut(place) else { return };
        let (calls, streams) =
            (std::mem::take(&mut session.calls), std::mem::take(&mut session.streams));
        for call in calls {
            self.abandon_call(call);
        }
        for stream in streams {
            self.end_events_at(stream);
        }
        let Some(mut session) = self.sessions.remove(place) else { return };
        self.unlisten(place, &session.uris);
        self.budget.give_back(session.uri_bytes + session.log.clear());
        if let Some(timer) = session.timer {
            self.wheel.cancel(timer);
        }
        if let Some(line) = session.conn.and_then(|conn| self.line_state(conn)) {
            line.session = None;
        }
        self.probe.sessions_ended[cause.index()] += 1;
    }

    /// Has a session looked at no later than this.
    fn arm_session(&mut self, place: u32, at_ms: u64) {
        let Some(session) = self.sessions.at_mut(place) else { return };
        match session.timer {
            Some(_) if session.timer_ms <= at_ms => return,
            Some(timer) => {
                self.wheel.rearm(timer, at_ms);
            }
            None => session.timer = Some(self.wheel.arm(at_ms, Key::Session(place).pack())),
        }
        session.timer_ms = at_ms;
    }

    /// Ends a session that nobody uses, and forgets events that nobody came back for.
    pub(super) fn on_session_timer(&mut self, place: u32) {
        let (now_ms, limits) = (self.now_ms, &self.limits);
        let (age_ms, timeout_ms) = (limits.session_event_age_ms, limits.session_timeout_ms);
        let Some(session) = self.sessions.at_mut(place) else { return };
        session.timer = None;
        self.budget.give_back(session.log.forget_before(now_ms.saturating_sub(age_ms)));
        let Some(session) = self.sessions.at(place) else { return };
        let busy = !session.calls.is_empty() || self.is_read(session);
        if busy {
            self.use_session(place);
        } else if session.active_ms + timeout_ms <= now_ms {
            tracing::debug!(shard = self.id.0, place, "a session expired");
            return self.end_session(place, SessionEnd::Expired);
        }
        let Some(session) = self.sessions.at(place) else { return };
        let idle_ms = session.active_ms + timeout_ms;
        let log_ms = session.log.oldest_ms().map_or(u64::MAX, |oldest_ms| oldest_ms + age_ms);
        if session.conn.is_none() || log_ms < u64::MAX {
            self.arm_session(place, idle_ms.min(log_ms).max(now_ms + 1));
        }
    }

    /// Whether somebody reads one of a session's event streams.
    fn is_read(&self, session: &Session) -> bool {
        session.streams.iter().any(|&stream| {
            self.event_streams.at(stream).is_some_and(|(_, stream)| stream.is_read())
        })
    }

    /// Brings the gauges up to date.
    pub(super) fn count_sessions(&mut self) {
        self.probe.sessions_open = self.sessions.len() as u64;
        self.probe.session_events = self.sessions.iter().map(|(_, _, s)| s.log.len() as u64).sum();
    }

    pub(super) fn batches(&self, place: u32) -> bool {
        self.sessions.at(place).is_some_and(|session| session.client.version.batches())
    }
}
