//! The event streams of a session: that of GET, and one for each POST whose answer takes its time.
//!
//! A stream outlives the connection that reads it: its events are numbered and kept for a while, and
//! a GET with `Last-Event-ID` reads on (2025-11-25, Streamable HTTP, Resumability and Redelivery).
//! An event is sent on one stream, and a stream is read by one connection, the newest.
//!
//! The answer of a POST stays a plain JSON body for as long as it can: a stream begins with its first
//! event, or when a proxy would lose patience.

use ringmesh_proto::http1::Status;
use ringmesh_proto::jsonrpc::INVALID_REQUEST;
use ringmesh_proto::mcp::EventId;
use ringmesh_proto::sse;

use super::log::{EventLog, Room};
use crate::probe::Bound;
use crate::shard::Shard;
use crate::shard::connection::Phase;
use crate::shard::dispatch::unknown_session;
use crate::shard::replies::join_lines;
use crate::shard::request::{EventsId, Exchange, Heading, Reader, Refusal, Route};

/// An event stream of a session.
#[derive(Debug)]
pub(in crate::shard) struct EventStream {
    /// Place of the session.
    pub(super) session: u32,
    /// Its number in the session; 0 is that of GET.
    no: u32,
    next_seq: u32,
    /// Who reads it now.
    pub(super) reader: Option<(Reader, Exchange)>,
    /// Its head was sent.
    begun: bool,
    /// Responses that it will carry yet.
    owed: u32,
    /// When an idle one gets a comment, in ms of the shard's clock; when it is ended, once the
    /// server stops.
    keep_alive_ms: u64,
}

impl EventStream {
    /// Place of its session.
    pub(in crate::shard) fn session(&self) -> u32 {
        self.session
    }

    pub(in crate::shard) fn is_read(&self) -> bool {
        self.reader.is_some()
    }
}

impl Shard {
    pub(in crate::shard) fn event_stream(&mut self, id: EventsId) -> Option<&mut EventStream> {
        self.event_streams.get_mut(id.place, id.generation)
    }

    /// The route of an answer that is not whole yet: of a session's exchange, an event stream.
    pub(in crate::shard) fn events_route(&mut self, route: Route, session: Option<u32>) -> Route {
        match (route, session) {
            (Route::Http(reader, exchange), Some(session)) => {
                Route::Events(self.open_events(session, (reader, exchange), 1))
            }
            _ => route,
        }
    }

    /// Makes the answer of a POST a stream that carries this many responses.
    pub(super) fn open_events(
        &mut self,
        session: u32,
        at: (Reader, Exchange),
        owed: u32,
    ) -> EventsId {
        let no = self.sessions.at_mut(session).map_or(0, |session| {
            session.next_stream += 1;
            session.next_stream - 1
        });
        let id = self.add_stream(session, no, owed);
        self.attach(id, at);
        id
    }

    fn add_stream(&mut self, session: u32, no: u32, owed: u32) -> EventsId {
        let (place, generation) = self.event_streams.insert(EventStream {
            session,
            no,
            next_seq: 1,
            reader: None,
            begun: false,
            owed,
            keep_alive_ms: u64::MAX,
        });
        if let Some(session) = self.sessions.at_mut(session) {
            // That of GET is looked for most.
            let at = if no == 0 { 0 } else { session.streams.len() };
            session.streams.insert(at, place);
        }
        EventsId { place, generation }
    }

    /// Has a connection read a stream.
    fn attach(&mut self, id: EventsId, at: (Reader, Exchange)) {
        if let Some(stream) = self.event_stream(id) {
            stream.reader = Some(at);
        }
        match at.0 {
            Reader::Here(conn) => self.conns[conn.slot as usize].phase = Phase::Events(id),
            Reader::There(far) => self.note_far_stream(far, Some(id)),
        }
    }

    /// Sends the head of a stream that somebody reads, if it was not sent.
    pub(in crate::shard) fn begin_if_read(&mut self, id: EventsId) {
        let Some(stream) = self.event_stream(id) else { return };
        let Some(at) = stream.reader.filter(|_| !stream.begun) else { return };
        stream.begun = true;
        let prime = EventId { stream: stream.no, seq: stream.next_seq - 1 };
        let session = stream.session;
        self.begin_events(at.0, at.1);
        self.prime(session, at, prime);
        self.await_silence(id);
    }

    /// Tells a client that may come back from where it would read on.
    fn prime(&mut self, session: u32, (reader, exchange): (Reader, Exchange), id: EventId) {
        if self.sessions.at(session).is_some_and(|session| session.client.version.polls()) {
            let mut out = self.take_out(reader);
            sse::write_prime(&mut out, exchange.chunked(), id);
            self.put_out(reader, out);
        }
    }

    /// Whether what is sent now reaches somebody, or somebody who comes back.
    pub(super) fn is_heard(&mut self, id: EventsId) -> bool {
        self.event_stream(id).is_some_and(|stream| stream.begun || stream.is_read())
    }

    /// Notes when the stream is to be kept alive, if it stays silent.
    fn await_silence(&mut self, id: EventsId) {
        let keep_alive_ms = self.next_keep_alive_ms();
        let Some(stream) = self.event_stream(id) else { return };
        stream.keep_alive_ms = keep_alive_ms;
        if let Some((Reader::Here(conn), _)) = stream.reader {
            self.arm_timer(conn.slot, keep_alive_ms);
        }
    }

    /// Sends an event, and keeps it for a reader that comes back.
    pub(in crate::shard) fn emit_on_events(
        &mut self,
        id: EventsId,
        write: impl FnOnce(&Self, &mut Vec<u8>),
    ) {
        self.begin_if_read(id);
        let Some(stream) = self.event_stream(id).filter(|stream| stream.begun) else { return };
        let (session, reader) = (stream.session, stream.reader);
        let event = EventId { stream: stream.no, seq: stream.next_seq };
        stream.next_seq += 1;
        #[cfg(ringmesh_bugs)]
        if crate::bugs::active(crate::bugs::Bug::DuplicateEventId) && event.seq % 4 == 3 {
            stream.next_seq -= 1;
        }
        if let Some(at) = reader {
            let log = |shard: &mut Self, json: &[u8]| shard.log_event(session, event, json);
            self.event_with(at, Some(event), write, log);
            return self.await_silence(id);
        }
        let mut json = self.buffers.outbound();
        write(self, &mut json);
        join_lines(&mut json);
        self.log_event(session, event, &json);
        self.buffers.recycle_outbound(json);
    }

    fn log_event(&mut self, session: u32, event: EventId, json: &[u8]) {
        let limits = &self.limits;
        let room = Room {
            events_max: limits.session_events_max as usize,
            bytes_max: limits.session_event_bytes_max,
        };
        let forget_ms = self.now_ms.saturating_add(limits.session_event_age_ms);
        let Some(place) = self.sessions.at_mut(session) else { return };
        let cost = EventLog::cost(json);
        let (freed, fits) = place.log.make_room(cost, room);
        self.budget.give_back(freed);
        let mut kept = fits && self.budget.keep_resting(cost);
        // A gap could not be told by who reads on: where the budget has no room, older ones go.
        while !kept && let Some(freed) = place.log.forget_oldest() {
            self.budget.give_back(freed);
            kept = fits && self.budget.keep_resting(cost);
        }
        if !kept {
            return self.refuse(Bound::EventLog);
        }
        place.log.push(event, json, self.now_ms);
        self.arm_session(session, forget_ms);
    }

    /// Sends one of the responses that a stream owes; the last ends it.
    pub(in crate::shard) fn respond_on_events(
        &mut self,
        id: EventsId,
        heading: Heading,
        write: impl FnOnce(&Self, &mut Vec<u8>),
    ) {
        let Some(stream) = self.event_stream(id) else { return };
        stream.owed = stream.owed.saturating_sub(1);
        match (stream.begun, stream.owed, stream.reader) {
            (false, 0, Some((reader, exchange))) => {
                self.remove_stream(id);
                self.respond(Route::Http(reader, exchange), heading, write);
                self.resume_reader(reader);
            }
            (_, 0, _) => {
                self.emit_on_events(id, write);
                self.finish_stream(id);
            }
            _ => self.emit_on_events(id, write),
        }
    }

    /// A call was cancelled: its response never comes (2025-11-25, Cancellation).
    pub(in crate::shard) fn withdraw_response(&mut self, id: EventsId) {
        let Some(stream) = self.event_stream(id) else { return };
        stream.owed = stream.owed.saturating_sub(1);
        if stream.owed > 0 {
            return;
        }
        let (begun, session, reader) = (stream.begun, stream.session, stream.reader);
        let end = EventId { stream: stream.no, seq: stream.next_seq };
        if begun {
            // Tells whoever comes back that nothing is left.
            self.log_event(session, end, b"");
        } else if let Some((reader, exchange)) = reader {
            // Without an event id, nobody comes back.
            self.begin_events(reader, exchange);
        }
        self.finish_stream(id);
    }

    fn finish_stream(&mut self, id: EventsId) {
        let reader = self.event_stream(id).and_then(|stream| stream.reader);
        self.remove_stream(id);
        if let Some((reader, exchange)) = reader {
            self.end_event_stream(reader, exchange);
        }
    }

    fn remove_stream(&mut self, id: EventsId) {
        if self.event_stream(id).is_none() {
            return;
        }
        let Some(stream) = self.event_streams.remove(id.place) else { return };
        if let Some((Reader::There(far), _)) = stream.reader {
            self.note_far_stream(far, None);
        }
        if let Some(session) = self.sessions.at_mut(stream.session) {
            session.streams.retain(|&place| place != id.place);
        }
    }

    fn resume_reader(&mut self, reader: Reader) {
        if let Reader::Here(conn) = reader {
            self.resume(conn.slot);
        }
    }

    /// Closes a stream while its call goes on: the client comes back for the rest.
    pub(in crate::shard) fn close_for_now(&mut self, id: EventsId, retry_ms: u64) {
        let Some(stream) = self.event_stream(id) else { return };
        let session = stream.session;
        if !self.sessions.at(session).is_some_and(|session| session.client.version.polls()) {
            return;
        }
        self.begin_if_read(id);
        let Some((reader, exchange)) = self.release_reader(id) else { return };
        let mut out = self.take_out(reader);
        sse::write_retry(&mut out, exchange.chunked(), retry_ms);
        self.put_out(reader, out);
        self.end_event_stream(reader, exchange);
    }

    /// Takes its reader from a stream.
    fn release_reader(&mut self, id: EventsId) -> Option<(Reader, Exchange)> {
        let at = self.event_stream(id)?.reader.take()?;
        if let Reader::There(far) = at.0 {
            self.note_far_stream(far, None);
        }
        Some(at)
    }

    /// The connection that read a stream is gone; the stream goes on (a disconnect cancels nothing).
    pub(in crate::shard) fn drop_reader(&mut self, id: EventsId) {
        let Some(stream) = self.event_stream(id) else { return };
        stream.reader = None;
        let session = stream.session;
        self.use_session(session);
    }

    /// Ends a stream whose session ends.
    pub(super) fn end_events_at(&mut self, place: u32) {
        let Some((generation, stream)) = self.event_streams.at(place) else { return };
        let (begun, reader) = (stream.begun, stream.reader);
        self.remove_stream(EventsId { place, generation });
        match reader {
            Some((reader, exchange)) if begun => self.end_event_stream(reader, exchange),
            Some((reader, exchange)) => {
                self.reply_refusal(Route::Http(reader, exchange), None, &unknown_session());
                self.resume_reader(reader);
            }
            None => {}
        }
    }

    /// Opens the stream of GET, or reads on in the stream of the last event that a client got.
    pub(super) fn on_get(&mut self, place: u32, at: (Reader, Exchange), last: Option<EventId>) {
        let route = Route::Http(at.0, at.1);
        let refusal = if self.draining.is_some() {
            self.refuse(Bound::Stopping);
            Refusal::busy("the server is stopping")
        } else {
            let read = match last {
                Some(last) if last.stream != 0 => self.read_on(place, at, last),
                last => self.listen_to_session(place, at, last),
            };
            let Err(refusal) = read else { return };
            refusal
        };
        self.refuse_message(route, None, &refusal);
    }

    fn listen_to_session(
        &mut self,
        place: u32,
        at: (Reader, Exchange),
        last: Option<EventId>,
    ) -> Result<(), Refusal> {
        let known = self.live_stream(place, 0);
        if let Some(last) = last {
            let stream = known.and_then(|id| self.event_streams.at(id.place));
            let next_seq = stream.map_or(0, |(_, stream)| stream.next_seq);
            self.check_whole(place, last, next_seq)?;
        }
        let id = match known {
            Some(id) => id,
            None if self.event_streams.len() >= self.limits.streams_max as usize => {
                self.refuse(Bound::Streams);
                return Err(Refusal::busy("no further streams are taken now"));
            }
            None => {
                let id = self.add_stream(place, 0, 0);
                self.probe.streams_total += 1;
                id
            }
        };
        self.take_over(id, place, at, last);
        Ok(())
    }

    /// Reads on in the stream of a POST, live or finished.
    fn read_on(
        &mut self,
        place: u32,
        at: (Reader, Exchange),
        last: EventId,
    ) -> Result<(), Refusal> {
        if let Some(id) = self.live_stream(place, last.stream) {
            // A stream that has not begun gave no id away.
            let begun = self.event_stream(id).filter(|stream| stream.begun);
            let next_seq = begun.map_or(0, |stream| stream.next_seq);
            self.check_whole(place, last, next_seq)?;
            self.take_over(id, place, at, Some(last));
            return Ok(());
        }
        let session = self.sessions.at(place).ok_or_else(unknown_session)?;
        if last.stream >= session.next_stream {
            return Err(never_given());
        }
        let Some(newest) = session.log.newest(last.stream) else {
            self.refuse(Bound::EventLog);
            return Err(fell_out());
        };
        self.check_whole(place, last, newest + 1)?;
        let (reader, exchange) = at;
        let session = self.sessions.at(place).ok_or_else(unknown_session)?;
        if session.log.after(last).all(|(_, json)| json.is_empty()) {
            // Tells clients not to come again (WHATWG HTML, 9.2.3).
            self.reply_empty(reader, exchange, Heading::new(Status::NO_CONTENT));
            return Ok(());
        }
        self.begin_events(reader, exchange);
        self.replay(place, at, last);
        self.end_event_stream(reader, exchange);
        Ok(())
    }

    /// A new connection reads a stream; the one before, if any, reads no more.
    fn take_over(
        &mut self,
        id: EventsId,
        session: u32,
        at: (Reader, Exchange),
        last: Option<EventId>,
    ) {
        if let Some((reader, exchange)) = self.release_reader(id) {
            self.end_event_stream(reader, exchange);
        }
        self.attach(id, at);
        self.begin_events(at.0, at.1);
        let Some(stream) = self.event_stream(id) else { return };
        stream.begun = true;
        let prime = EventId { stream: stream.no, seq: stream.next_seq - 1 };
        match last {
            None => self.prime(session, at, prime),
            Some(last) => self.replay(session, at, last),
        }
        self.await_silence(id);
    }

    fn replay(&mut self, session: u32, at: (Reader, Exchange), last: EventId) {
        let Some(place) = self.sessions.at(session) else { return };
        let events: Vec<(EventId, Box<[u8]>)> = place
            .log
            .after(last)
            .filter(|(_, json)| !json.is_empty())
            .map(|(id, json)| (id, json.into()))
            .collect();
        self.probe.events_replayed += events.len() as u64;
        for (id, json) in events {
            self.event_with(at, Some(id), |_, out| out.extend_from_slice(&json), |_, _| {});
        }
    }

    /// Whether every event behind `last` is kept.
    fn check_whole(&mut self, place: u32, last: EventId, next_seq: u32) -> Result<(), Refusal> {
        if last.seq >= next_seq {
            return Err(never_given());
        }
        let session = self.sessions.at(place).ok_or_else(unknown_session)?;
        let first = session.log.after(last).next().map(|(id, _)| id.seq);
        if last.seq + 1 == next_seq || first == Some(last.seq + 1) {
            return Ok(());
        }
        self.refuse(Bound::EventLog);
        Err(fell_out())
    }

    /// A stream of a session that is not finished, by its number.
    fn live_stream(&self, session: u32, no: u32) -> Option<EventsId> {
        self.sessions.at(session)?.streams.iter().find_map(|&place| {
            let (generation, stream) = self.event_streams.at(place)?;
            (stream.no == no).then_some(EventsId { place, generation })
        })
    }

    /// Tells a session's client of something, where it listens or may come back.
    pub(in crate::shard) fn notify_session(
        &mut self,
        place: u32,
        write: impl FnOnce(&Self, &mut Vec<u8>),
    ) {
        let Some(session) = self.sessions.at(place) else { return };
        if let Some(conn) = session.conn {
            self.line(conn, write);
        } else if let Some(id) = self.live_stream(place, 0) {
            self.emit_on_events(id, write);
        } else {
            return;
        }
        self.probe.events_delivered += 1;
    }

    pub(in crate::shard) fn events_deadline_ms(&self, id: EventsId) -> u64 {
        self.event_streams.at(id.place).map_or(u64::MAX, |(_, stream)| stream.keep_alive_ms)
    }

    pub(in crate::shard) fn on_events_deadline(&mut self, slot: u32, id: EventsId) {
        let draining = self.draining.is_some();
        let Some(stream) = self.event_stream(id) else { return };
        let Some((_, exchange)) = stream.reader else { return };
        if draining && stream.owed == 0 {
            return self.finish_stream(id);
        }
        self.keep_alive(slot, exchange);
        self.await_silence(id);
    }

    /// The server stops: streams that owe nothing end at a time.
    pub(in crate::shard) fn end_events_at_ms(&mut self, slot: u32, id: EventsId, at_ms: u64) {
        if let Some(stream) = self.event_stream(id).filter(|stream| stream.owed == 0) {
            stream.keep_alive_ms = at_ms;
            self.arm_timer(slot, at_ms);
        }
    }

    /// The server stops: streams that are read on other shards end now.
    pub(in crate::shard) fn end_far_events(&mut self) {
        let far: Vec<EventsId> = self
            .event_streams
            .iter()
            .filter(|(_, _, stream)| {
                stream.owed == 0 && matches!(stream.reader, Some((Reader::There(_), _)))
            })
            .map(|(place, generation, _)| EventsId { place, generation })
            .collect();
        for id in far {
            self.finish_stream(id);
        }
    }
}

fn never_given() -> Refusal {
    Refusal::invalid_request("Last-Event-ID was never given in this session")
}

fn fell_out() -> Refusal {
    let message = "Last-Event-ID is too old: events behind it are kept no more";
    Refusal::new(Status::GONE, INVALID_REQUEST, message)
}
