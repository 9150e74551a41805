//! `subscriptions/listen`: streams that wait for changes, and the changes sent to them
//! (2026-07-28, Subscriptions).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use ringmesh_proto::jsonrpc::{self, Id};
use ringmesh_proto::mcp;
use smol_str::SmolStr;

use super::connection::{Comment, Phase};
use super::methods::unknown_method;
use super::request::{Exchange, Reader, Refusal, Request, Route};
use super::{FANOUT_MAX, Shard};
use crate::catalog::{List, NAME_BYTES_MAX, Versions};
use crate::io::ConnId;
use crate::limits::STREAM_URIS_MAX;
use crate::probe::{Bound, Outcome};

/// Changes that wait to be sent before one is merged with the same that waits already. Fewer are
/// told one by one.
const PENDING_MAX: usize = 64;
/// What a subscribed URI takes besides its text: its places in the stream's filter and the table.
pub(super) const URI_BYTES: usize = 192;

/// An open stream.
#[derive(Debug)]
pub(super) struct Stream {
    conn: ConnId,
    /// How its events are framed; none on a byte stream.
    exchange: Option<Exchange>,
    /// JSON text of the id of its request, which names the subscription.
    id: SmolStr,
    tools: bool,
    prompts: bool,
    resources: bool,
    uris: Box<[Arc<str>]>,
    /// Bytes of the URIs, taken from the budget.
    bytes: usize,
    keep_alive_ms: u64,
    /// When the server ends it, once it stops.
    end_ms: u64,
}

/// Somebody who listens, by place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Listener {
    /// A modern subscription.
    Stream(u32),
    /// A legacy session.
    Session(u32),
}

/// Who listens to a URI.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    places: BTreeSet<Listener>,
    /// A change of it waits to be sent.
    pending: bool,
}

impl Listeners {
    pub(super) fn insert(&mut self, listener: Listener) {
        self.places.insert(listener);
    }
}

/// Who listens to which URI.
pub(super) type ByUri = BTreeMap<Arc<str>, Listeners>;

/// Changes on their way to those who listen. Only of the one that is being sent are the listeners
/// looked up, and under load a change is merged with the same that waits: so what waits is bounded
/// by what can change, however fast it does.
#[derive(Debug, Default)]
pub(super) struct Fanouts {
    pending: VecDeque<Change>,
    sending: Option<Change>,
    /// Those who get the change being sent, with the generations of their places.
    targets: Vec<(Listener, u32)>,
    /// How many of them have got it.
    sent: usize,
}

impl Fanouts {
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.sending.is_none()
    }

    fn is_long(&self) -> bool {
        self.pending.len() >= PENDING_MAX
    }
}

#[derive(Clone, Debug)]
enum Change {
    List(List),
    Resource(Arc<str>),
}

impl Stream {
    fn route(&self) -> Route {
        match self.exchange {
            Some(exchange) => Route::Http(Reader::Here(self.conn), exchange),
            None => Route::Line(self.conn),
        }
    }

    fn asked_for(&self, list: List) -> bool {
        match list {
            List::Tools => self.tools,
            List::Prompts => self.prompts,
            List::Resources | List::Templates => self.resources,
        }
    }
}

impl Shard {
    pub(super) fn on_listen(&mut self, request: &Request<'_>) -> Result<(), Refusal> {
        let (conn, exchange) = match request.route {
            Route::Http(Reader::Here(conn), exchange) => (conn, Some(exchange)),
            Route::Line(conn) => (conn, None),
            Route::Http(Reader::There(_), _) | Route::Events(_) => return Err(unknown_method()),
        };
        let filter = request
            .params
            .notifications
            .as_ref()
            .ok_or_else(|| Refusal::invalid_params("notifications is missing"))?;
        let wanted = filter.uris.as_deref().unwrap_or_default();
        let too_long = wanted.iter().any(|uri| uri.as_str().len() > NAME_BYTES_MAX);
        if wanted.len() > STREAM_URIS_MAX || too_long {
            return Err(Refusal::invalid_params("too many or too long resourceSubscriptions"));
        }
        if self.streams.len() >= self.limits.streams_max as usize || self.draining.is_some() {
            let stopping = self.draining.is_some();
            self.refuse(if stopping { Bound::Stopping } else { Bound::Streams });
            return Err(Refusal::busy("no further streams are taken now"));
        }
        let catalog = Arc::clone(&self.catalog);
        let resources = catalog.offers(List::Resources);
        let uris: BTreeSet<&str> =
            wanted.iter().filter(|_| resources).map(|uri| uri.as_str()).collect();
        let bytes = uris.iter().map(|uri| uri.len() + URI_BYTES).sum();
        if bytes > 0 && !self.budget.keep_resting(bytes) {
            self.refuse(Bound::ByteBudget);
            return Err(Refusal::busy("the server is out of buffers"));
        }
        let stream = Stream {
            conn,
            exchange,
            id: request.id.as_json().into(),
            tools: filter.tools == Some(true) && catalog.offers(List::Tools),
            prompts: filter.prompts == Some(true) && catalog.offers(List::Prompts),
            resources: filter.resources == Some(true) && resources,
            uris: uris.into_iter().map(|uri| self.shared_uri(uri)).collect(),
            bytes,
            keep_alive_ms: self.next_keep_alive_ms(),
            end_ms: u64::MAX,
        };
        self.open_stream(request, stream);
        Ok(())
    }

    /// One copy of a URI for all who listen to it.
    pub(super) fn shared_uri(&self, uri: &str) -> Arc<str> {
        self.by_uri.get_key_value(uri).map_or_else(|| Arc::from(uri), |(known, _)| known.clone())
    }

    fn open_stream(&mut self, request: &Request<'_>, stream: Stream) {
        let (conn, exchange) = (stream.conn, stream.exchange);
        if let Some(exchange) = exchange {
            self.begin_events(Reader::Here(conn), exchange);
        }
        self.emit(stream.route(), |_, out| write_acknowledged(out, &stream));
        let (uris, keep_alive_ms) = (stream.uris.clone(), stream.keep_alive_ms);
        let (place, _) = self.streams.insert(stream);
        for uri in uris {
            self.by_uri.entry(uri).or_default().insert(Listener::Stream(place));
        }
        if exchange.is_some() {
            self.conns[conn.slot as usize].phase = Phase::Streaming(place);
            self.arm_timer(conn.slot, keep_alive_ms);
        } else {
            self.line_state_or_new(conn).streams.push(place);
        }
        self.probe.streams_total += 1;
        self.probe.subscriptions_total += 1;
        self.probe.count_request(request.method, Outcome::Ok);
        self.answered += 1;
    }

    /// Forgets a stream whose connection is gone.
    pub(super) fn forget_stream(&mut self, place: u32) -> Option<Stream> {
        let stream = self.streams.remove(place)?;
        self.budget.give_back(stream.bytes);
        for uri in &stream.uris {
            self.forget_listener(uri, Listener::Stream(place));
        }
        if stream.exchange.is_none()
            && let Some(line) = self.line_state(stream.conn)
        {
            line.streams.retain(|&other| other != place);
        }
        Some(stream)
    }

    /// Takes somebody from those who listen to a URI.
    pub(super) fn forget_listener(&mut self, uri: &Arc<str>, listener: Listener) {
        if let Some(listeners) = self.by_uri.get_mut(uri) {
            listeners.places.remove(&listener);
            if listeners.places.is_empty() {
                self.by_uri.remove(uri);
            }
        }
    }

    /// Whether a subscription was asked for with this id.
    pub(super) fn is_stream_of(&self, place: u32, id: &str) -> bool {
        self.streams.at(place).is_some_and(|(_, stream)| stream.id == id)
    }

    /// Tells those who asked for it that a resource changed.
    pub(super) fn fan_out_update(&mut self, uri: &Arc<str>) {
        let Some(listeners) = self.by_uri.get_mut(uri) else { return };
        let waits = std::mem::replace(&mut listeners.pending, true);
        if !(waits && self.fanouts.is_long()) {
            self.fanouts.pending.push_back(Change::Resource(Arc::clone(uri)));
        }
    }

    /// Some updates were missed: every resource that somebody listens to counts as changed.
    pub(super) fn fan_out_all_updates(&mut self) {
        for (uri, listeners) in &mut self.by_uri {
            if !std::mem::replace(&mut listeners.pending, true) {
                self.fanouts.pending.push_back(Change::Resource(Arc::clone(uri)));
            }
        }
    }

    /// Tells those who asked for it which lists changed since `before`.
    pub(super) fn fan_out_lists(&mut self, before: Versions) {
        let now = self.catalog.versions;
        let lists = [
            (now.tools != before.tools, List::Tools),
            (now.prompts != before.prompts, List::Prompts),
            (now.resources != before.resources, List::Resources),
        ];
        let pending = &mut self.fanouts.pending;
        for (_, list) in lists.into_iter().filter(|(changed, _)| *changed) {
            let same = |change: &Change| matches!(change, Change::List(other) if *other == list);
            if !pending.iter().any(same) {
                pending.push_back(Change::List(list));
            }
        }
    }

    /// Sends changes to a bounded number of streams.
    pub(super) fn advance_fanouts(&mut self) {
        let mut left = FANOUT_MAX;
        while left > 0 {
            let Some(change) = self.fanouts.sending.take().or_else(|| self.next_change()) else {
                return;
            };
            let targets = std::mem::take(&mut self.fanouts.targets);
            let from = self.fanouts.sent;
            let end = targets.len().min(from + left);
            for &(listener, generation) in &targets[from..end] {
                match listener {
                    Listener::Stream(place) => self.notify(place, generation, &change),
                    Listener::Session(place)
                        if self.sessions.generation(place) == Some(generation) =>
                    {
                        self.notify_session(place, |_, out| write_change(out, None, &change));
                    }
                    Listener::Session(_) => {}
                }
            }
            left -= end - from;
            self.fanouts.sent = end;
            if end < targets.len() {
                self.fanouts.sending = Some(change);
            }
            self.fanouts.targets = targets;
        }
    }

    /// Takes the change that waited for longest, and looks up who listens.
    fn next_change(&mut self) -> Option<Change> {
        let change = self.fanouts.pending.pop_front()?;
        let targets = &mut self.fanouts.targets;
        targets.clear();
        self.fanouts.sent = 0;
        match &change {
            Change::List(list) => {
                let streams = self.streams.iter();
                let streams = streams.filter(|(_, _, stream)| stream.asked_for(*list));
                targets.extend(
                    streams.map(|(place, generation, _)| (Listener::Stream(place), generation)),
                );
                // Sessions hear of every list: to listen is all that they can ask for.
                let sessions = self.sessions.iter();
                targets.extend(
                    sessions.map(|(place, generation, _)| (Listener::Session(place), generation)),
                );
            }
            Change::Resource(uri) => {
                if let Some(listeners) = self.by_uri.get_mut(uri) {
                    listeners.pending = false;
                    let of = |&listener: &Listener| match listener {
                        Listener::Stream(place) => Some((listener, self.streams.at(place)?.0)),
                        Listener::Session(place) => {
                            Some((listener, self.sessions.generation(place)?))
                        }
                    };
                    targets.extend(listeners.places.iter().filter_map(of));
                }
            }
        }
        Some(change)
    }

    fn notify(&mut self, place: u32, generation: u32, change: &Change) {
        let keep_alive_ms = self.next_keep_alive_ms();
        let Some(stream) = self.streams.get_mut(place, generation) else { return };
        stream.keep_alive_ms = keep_alive_ms;
        let route = stream.route();
        let id = stream.id.clone();
        self.emit(route, |_, out| write_change(out, Some(&id), change));
        self.probe.events_delivered += 1;
    }

    pub(super) fn stream_deadline_ms(&self, place: u32) -> u64 {
        self.streams.at(place).map_or(u64::MAX, |(_, s)| s.keep_alive_ms.min(s.end_ms))
    }

    pub(super) fn on_stream_deadline(&mut self, slot: u32, place: u32) {
        let now_ms = self.now_ms;
        let keep_alive_ms = self.next_keep_alive_ms();
        let Some(stream) = self.streams.at_mut(place) else { return };
        if stream.end_ms <= now_ms {
            return self.end_stream(slot, place);
        }
        if stream.keep_alive_ms <= now_ms {
            stream.keep_alive_ms = keep_alive_ms;
            if let Some(exchange) = stream.exchange {
                self.keep_alive(slot, exchange);
            }
        }
    }

    /// Has the stream ended at a time, politely.
    pub(super) fn end_stream_at(&mut self, slot: u32, at_ms: u64) {
        if let Phase::Streaming(place) = self.conns[slot as usize].phase
            && let Some(stream) = self.streams.at_mut(place)
        {
            stream.end_ms = at_ms;
            self.arm_timer(slot, at_ms);
        }
    }

    /// Ends a stream with the result that says so (2026-07-28, Graceful Closure).
    fn end_stream(&mut self, slot: u32, place: u32) {
        let Some(stream) = self.forget_stream(place) else { return };
        self.emit(stream.route(), |shard, out| {
            jsonrpc::write_open(out, Id::from_json(&stream.id));
            out.extend_from_slice(b",\"result\":{\"resultType\":\"complete\",\"_meta\":{");
            write_subscription_id(out, &stream.id);
            out.push(b',');
            out.extend_from_slice(shard.server_info_meta.as_bytes());
            out.extend_from_slice(b"}}}");
        });
        match stream.exchange {
            Some(exchange) => self.end_event_stream(Reader::Here(stream.conn), exchange),
            None => self.end_line_if_over(slot),
        }
    }

    /// The server stops: ends the subscriptions of a byte stream.
    pub(super) fn end_line_streams(&mut self, slot: u32) {
        let conn = self.id_of(slot);
        let streams = self.line_state(conn).map(|line| line.streams.clone()).unwrap_or_default();
        for place in streams {
            self.end_stream(slot, place);
        }
    }

    /// Has a comment sent on a stream on which nothing else waits to be sent.
    pub(super) fn keep_alive(&mut self, slot: u32, exchange: Exchange) {
        let comment = if exchange.chunked() { Comment::Chunked } else { Comment::Raw };
        self.conns[slot as usize].flags.comment = Some(comment);
        self.touch(slot);
    }

    /// When an idle stream gets its next comment: jittered by a fifth, so that streams which were
    /// opened together do not stay in step.
    pub(super) fn next_keep_alive_ms(&mut self) -> u64 {
        let period_ms = self.limits.keep_alive_ms;
        let jitter_ms = self.random_below(period_ms / 5 + 1);
        self.now_ms.saturating_add(period_ms - jitter_ms)
    }
}

fn write_subscription_id(out: &mut Vec<u8>, id: &str) {
    out.push(b'"');
    out.extend_from_slice(mcp::META_SUBSCRIPTION_ID.as_bytes());
    out.extend_from_slice(b"\":");
    out.extend_from_slice(id.as_bytes());
}

fn write_acknowledged(out: &mut Vec<u8>, stream: &Stream) {
    out.extend_from_slice(
        b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/subscriptions/acknowledged\",\
          \"params\":{\"_meta\":{",
    );
    write_subscription_id(out, &stream.id);
    out.extend_from_slice(b"},\"notifications\":{");
    let mut comma = "";
    let asked = [
        (stream.tools, "toolsListChanged"),
        (stream.prompts, "promptsListChanged"),
        (stream.resources, "resourcesListChanged"),
    ];
    for (_, key) in asked.into_iter().filter(|(asked, _)| *asked) {
        out.extend_from_slice(format!("{comma}\"{key}\":true").as_bytes());
        comma = ",";
    }
    if !stream.uris.is_empty() {
        out.extend_from_slice(comma.as_bytes());
        out.extend_from_slice(b"\"resourceSubscriptions\":[");
        for (at, uri) in stream.uris.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            jsonrpc::write_string(out, uri);
        }
        out.push(b']');
    }
    out.extend_from_slice(b"}}}");
}

/// Legacy versions know no ids of subscriptions.
fn write_change(out: &mut Vec<u8>, id: Option<&str>, change: &Change) {
    let method = match change {
        Change::List(List::Tools) => "notifications/tools/list_changed",
        Change::List(List::Prompts) => "notifications/prompts/list_changed",
        Change::List(List::Resources | List::Templates) => "notifications/resources/list_changed",
        Change::Resource(_) => "notifications/resources/updated",
    };
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"method\":\"");
    out.extend_from_slice(method.as_bytes());
    out.push(b'"');
    let uri = match change {
        Change::Resource(uri) => Some(uri),
        Change::List(_) => None,
    };
    if uri.is_none() && id.is_none() {
        return out.push(b'}');
    }
    out.extend_from_slice(b",\"params\":{");
    if let Some(uri) = uri {
        out.extend_from_slice(b"\"uri\":");
        jsonrpc::write_string(out, uri);
    }
    if let Some(id) = id {
        if uri.is_some() {
            out.push(b',');
        }
        out.extend_from_slice(b"\"_meta\":{");
        write_subscription_id(out, id);
        out.push(b'}');
    }
    out.extend_from_slice(b"}}");
}
