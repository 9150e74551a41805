//! What servers say over HTTP: responses framed in place, borrowing what was received; what is
//! incomplete moves into a pooled buffer of the connection.

use ringmesh_proto::heard::Heard;
use ringmesh_proto::http1::{ChunkError, Media, ResponseFraming, ResponseHead};
use ringmesh_proto::sse;

use super::Load;
use super::answers::{Verdict, judge, shown};
use super::calls::{Request, What};
use super::client::{Inbound, Mode, State, Use};
use super::sample::Fault;
use super::session::SESSION_ID_BYTES_MAX;

/// Most bytes of one answer.
pub(super) const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A response, as far as its head says.
#[derive(Clone, Copy, Debug)]
struct Response {
    status: u16,
    media: Media,
}

impl Load {
    /// Takes what was received.
    pub(super) fn feed(&mut self, slot: u32, bytes: &[u8]) {
        let workload = self.at(slot).workload;
        self.tally.workload(workload).received_bytes += bytes.len() as u64;
        if !self.hears(slot) {
            return;
        }
        if self.speaks_lines(slot) {
            self.feed_lines(slot, bytes)
        } else {
            self.feed_http(slot, bytes)
        }
    }

    /// Whether what the server says still matters.
    pub(super) fn hears(&mut self, slot: u32) -> bool {
        let client = self.at(slot);
        let open = matches!(client.state, State::Opening | State::Ready | State::Deleting);
        open && !client.flags.deaf
    }

    fn feed_http(&mut self, slot: u32, bytes: &[u8]) {
        let mut inbound = self.at(slot).inbound.take();
        let mut rest = bytes;
        while !rest.is_empty() && self.hears(slot) {
            rest = match self.at(slot).mode {
                Mode::Head => self.feed_head(slot, &mut inbound, rest),
                mode => {
                    let inbound = inbound.get_or_insert_with(|| self.buffers.inbound());
                    match self.feed_body(slot, mode, inbound, rest) {
                        Ok(rest) => rest,
                        Err(text) => {
                            self.fault_of(slot, Fault::Malformed, || text.into());
                            self.drop_client(slot);
                            b""
                        }
                    }
                }
            };
        }
        let hears = self.hears(slot);
        let client = self.at(slot);
        let needed = inbound.as_ref().is_some_and(|inbound| match client.mode {
            Mode::Head => !inbound.bytes.is_empty(),
            Mode::Body | Mode::RawBody => true,
            Mode::Events | Mode::EventsOver => {
                !inbound.chunked.is_between_chunks() || !inbound.events.is_empty()
            }
            Mode::RawEvents => !inbound.events.is_empty(),
        });
        if needed && hears {
            client.inbound = inbound;
        } else {
            self.buffers.recycle_inbound(inbound);
        }
    }

    /// Takes bytes where a head, or the body of a length with it, is to come.
    fn feed_head<'a>(
        &mut self,
        slot: u32,
        inbound: &mut Option<Box<Inbound>>,
        rest: &'a [u8],
    ) -> &'a [u8] {
        let held = inbound.as_ref().map_or(0, |inbound| inbound.bytes.len());
        if held == 0 {
            let taken = self.take_response(slot, inbound, rest);
            if taken == 0 {
                let inbound = inbound.get_or_insert_with(|| self.buffers.inbound());
                inbound.bytes.extend_from_slice(rest);
                return b"";
            }
            return &rest[taken..];
        }
        let whole = inbound.as_mut().map(|inbound| std::mem::take(&mut inbound.bytes));
        let mut whole = whole.unwrap_or_default();
        whole.extend_from_slice(rest);
        let taken = self.take_response(slot, inbound, &whole);
        let rest = if taken == 0 {
            &b""[..]
        } else {
            // It was not complete before, so it ends in what came now.
            &rest[taken - held..]
        };
        if taken > 0 {
            whole.clear();
        }
        if let Some(inbound) = inbound {
            inbound.bytes = whole;
        }
        rest
    }

    /// Takes one head, with its body where that has a length. Returns the bytes taken: none where
    /// more are needed.
    fn take_response(
        &mut self,
        slot: u32,
        inbound: &mut Option<Box<Inbound>>,
        bytes: &[u8],
    ) -> usize {
        let head = match ResponseHead::parse(bytes) {
            Ok(Some(head)) => head,
            Ok(None) => return 0,
            Err(error) => {
                self.fault_of(slot, Fault::Malformed, || format!("{error}: {}", shown(bytes)));
                self.drop_client(slot);
                return bytes.len();
            }
        };
        // Before its body is waited for: nobody would look at the time.
        let Some(request) = self.awaited(slot) else {
            self.fault_of(slot, Fault::Malformed, || {
                format!("a response of status {} to nothing", head.status)
            });
            self.drop_client(slot);
            return bytes.len();
        };
        if head.is_interim() {
            return head.len;
        }
        let response = Response { status: head.status, media: head.media };
        let mode = match head.framing {
            ResponseFraming::Length(length) => {
                let Some(length) = usize::try_from(length).ok().filter(|&l| l <= ANSWER_BYTES_MAX)
                else {
                    self.fault_of(slot, Fault::Malformed, || "the answer is too long".into());
                    self.drop_client(slot);
                    return bytes.len();
                };
                let Some(body) = bytes.get(head.len..head.len + length) else { return 0 };
                self.note_head(slot, request.what, &head);
                self.on_response(slot, response, body);
                return head.len + length;
            }
            ResponseFraming::Chunked if is_stream(response) => Mode::Events,
            ResponseFraming::Chunked => Mode::Body,
            ResponseFraming::Close if is_stream(response) => Mode::RawEvents,
            ResponseFraming::Close => Mode::RawBody,
        };
        self.note_head(slot, request.what, &head);
        self.at(slot).mode = mode;
        match mode {
            Mode::Events | Mode::RawEvents => self.on_stream(slot),
            _ => {
                let inbound = inbound.get_or_insert_with(|| self.buffers.inbound());
                inbound.status = response.status;
                inbound.media = response.media;
            }
        }
        head.len
    }

    /// Notes what a head says of the connection and of its session.
    fn note_head(&mut self, slot: u32, what: What, head: &ResponseHead<'_>) {
        let client = &mut self.clients[slot as usize];
        client.flags.last = head.close;
        if let Some(session) = head.session
            && what == What::Initialize
            && session.len() <= SESSION_ID_BYTES_MAX
        {
            self.sessions.remove(&mut client.session);
            client.session = self.sessions.insert(session);
        }
    }

    /// A response of events began.
    fn on_stream(&mut self, slot: u32) {
        if self.at(slot).used == Use::Events
            && let Some(request) = self.finish_request(slot, |_| true)
        {
            self.at(slot).flags.last = false;
            self.conclude(slot, request, Ok(()));
        }
    }

    fn feed_body<'a>(
        &mut self,
        slot: u32,
        mode: Mode,
        inbound: &mut Inbound,
        rest: &'a [u8],
    ) -> Result<&'a [u8], &'static str> {
        let events = matches!(mode, Mode::Events | Mode::EventsOver | Mode::RawEvents);
        let out = if events { inbound.events.input() } else { &mut inbound.bytes };
        let (consumed, done) = if matches!(mode, Mode::RawBody | Mode::RawEvents) {
            out.extend_from_slice(rest);
            (rest.len(), false)
        } else {
            let decoded = inbound.chunked.decode(rest, out).map_err(|error| match error {
                ChunkError::Malformed(what) => what,
                ChunkError::TooLarge => "the answer is too long",
            })?;
            (decoded.consumed, decoded.done)
        };
        if events {
            self.hear_events(slot, &mut inbound.events);
        }
        if inbound.bytes.len().max(inbound.events.held()) > ANSWER_BYTES_MAX {
            return Err("the answer is too long");
        }
        if done && self.hears(slot) {
            inbound.chunked = super::client::decoder();
            self.on_body_end(slot, mode, inbound);
        }
        Ok(&rest[consumed..])
    }

    fn on_body_end(&mut self, slot: u32, mode: Mode, inbound: &mut Inbound) {
        let over = self.at(slot).mode == Mode::EventsOver;
        self.at(slot).mode = Mode::Head;
        inbound.events.clear();
        if matches!(mode, Mode::Body | Mode::RawBody) {
            let mut body = std::mem::take(&mut inbound.bytes);
            let response = Response { status: inbound.status, media: inbound.media };
            self.on_response(slot, response, &body);
            body.clear();
            inbound.bytes = body;
        } else if !over {
            self.fault_of(slot, Fault::Lost, || "the stream of events ended".into());
            self.drop_client(slot);
        }
    }

    fn hear_events(&mut self, slot: u32, events: &mut sse::Reader) {
        while let Some(item) = events.next_item() {
            let workload = self.at(slot).workload;
            match item {
                sse::Item::Comment => self.tally.workload(workload).comments += 1,
                sse::Item::Event([]) => {}
                sse::Item::Event(data) => self.on_event(slot, data),
            }
            if !self.hears(slot) {
                return;
            }
        }
    }

    fn on_event(&mut self, slot: u32, data: &[u8]) {
        let Ok(heard) = Heard::parse(data) else {
            self.fault_of(slot, Fault::Malformed, || shown(data));
            return self.drop_client(slot);
        };
        if heard.method.is_some() {
            return self.on_notification(slot, &heard);
        }
        if self.at(slot).mode == Mode::EventsOver {
            return;
        }
        let listens = |what| matches!(what, What::Listen);
        match self.awaited(slot) {
            Some(request) if !listens(request.what) => {
                if self.at(slot).mode == Mode::Events {
                    self.at(slot).mode = Mode::EventsOver;
                }
                self.finish_request(slot, |_| true);
                self.conclude(slot, request, judge(&heard, request.id, data));
            }
            Some(_) if heard.error => {
                self.fault_of(slot, Fault::RpcError, || shown(data));
                self.drop_client(slot);
            }
            _ => {
                self.fault_of(slot, Fault::Lost, || format!("the stream ended: {}", shown(data)));
                self.drop_client(slot);
            }
        }
    }

    /// A response is complete.
    fn on_response(&mut self, slot: u32, response: Response, body: &[u8]) {
        let Some(request) = self.finish_request(slot, |_| true) else {
            debug_assert!(false, "a head is noted where something was asked");
            return;
        };
        let verdict = verdict(request, response, body);
        self.conclude(slot, request, verdict);
    }

    /// The server sends no more.
    pub(super) fn on_eof(&mut self, slot: u32) {
        let client = self.at(slot);
        match (client.state, client.mode) {
            (State::Aborting, _) => return,
            (State::Deleting, _) => return self.abort(slot),
            (State::Ready, _) if client.used == Use::Trigger && client.in_flight == 0 => {
                // It is made anew for the next change.
                return self.abort(slot);
            }
            (_, Mode::RawBody) => {
                if let Some(mut inbound) = self.at(slot).inbound.take() {
                    self.on_body_end(slot, Mode::RawBody, &mut inbound);
                    self.buffers.recycle_inbound(Some(inbound));
                }
                return;
            }
            _ => {}
        }
        let in_flight = self.at(slot).in_flight;
        self.fault_of(slot, Fault::Lost, || {
            format!("closed by the server, with {in_flight} requests in flight")
        });
        self.drop_client(slot);
    }
}

fn is_stream(response: Response) -> bool {
    response.media == Media::Events && response.status == 200
}

/// Judges a whole response.
fn verdict(request: Request, response: Response, body: &[u8]) -> Verdict {
    let Response { status, media } = response;
    let expected = match request.what {
        What::Initialized => (200..300).contains(&status),
        // A server need not let clients end sessions, and may have ended this one.
        What::Delete => (200..300).contains(&status) || matches!(status, 404 | 405),
        _ => status == 200,
    };
    if !expected {
        return Err((Fault::Status, format!("{status} to {:?}: {}", request.what, shown(body))));
    }
    match request.what {
        What::Initialized | What::Delete => Ok(()),
        What::Events | What::Listen => {
            let wrong = Heard::parse(body).is_ok_and(|heard| heard.error);
            let fault = if wrong { Fault::RpcError } else { Fault::Malformed };
            Err((fault, format!("no stream of events: {}", shown(body))))
        }
        _ if media == Media::Events => verdict_of_events(request, body),
        _ => match Heard::parse(body) {
            Ok(heard) => judge(&heard, request.id, body),
            Err(_) => Err((Fault::Malformed, shown(body))),
        },
    }
}

/// Judges events that came with a length: seldom, so a reader of their own is no waste.
fn verdict_of_events(request: Request, body: &[u8]) -> Verdict {
    let mut reader = sse::Reader::default();
    reader.input().extend_from_slice(body);
    while let Some(item) = reader.next_item() {
        if let sse::Item::Event(data) = item
            && let Ok(heard) = Heard::parse(data)
            && heard.method.is_none()
        {
            return judge(&heard, request.id, data);
        }
    }
    Err((Fault::Malformed, format!("no answer among the events: {}", shown(body))))
}
