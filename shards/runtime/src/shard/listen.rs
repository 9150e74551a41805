//! `subscriptions/listen`: streams that wait for changes, and the changes sent to them
//! (2026-07-28, Subscriptions).

use std::collections::BTreeSet;
use std::sync::Arc;

use ringmesh_proto::jsonrpc::{self, Id};
use ringmesh_proto::mcp;

use super::connection::{Comment, Phase};
use super::dispatch::Modern;
use super::replies::{Exchange, Refusal};
use super::{FANOUT_MAX, Shard};
use crate::catalog::{List, NAME_BYTES_MAX, Versions};
use crate::io::ConnId;
use crate::limits::STREAM_URIS_MAX;
use crate::probe::{Bound, Outcome};

/// An open stream.
#[derive(Debug)]
pub(super) struct Stream {
    conn: ConnId,
    exchange: Exchange,
    /// JSON text of the id of its request, which names the subscription.
    id: Box<str>,
    tools: bool,
    prompts: bool,
    resources: bool,
    uris: Box<[Arc<str>]>,
    keep_alive_ms: u64,
    /// When the server ends it, once it stops.
    end_ms: u64,
}

/// A change on its way to those who listen.
#[derive(Debug)]
pub(super) struct Fanout {
    change: Change,
    /// Places and generations of streams.
    targets: Vec<(u32, u32)>,
    next: usize,
}

#[derive(Clone, Debug)]
enum Change {
    List(&'static str),
    Resource(Arc<str>),
}

impl Shard {
    pub(super) fn on_listen(&mut self, request: &Modern<'_>) -> Result<(), Refusal> {
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
        let stream = Stream {
            conn: self.id_of(request.slot),
            exchange: request.exchange,
            id: request.id.as_json().into(),
            tools: filter.tools == Some(true) && catalog.offers(List::Tools),
            prompts: filter.prompts == Some(true) && catalog.offers(List::Prompts),
            resources: filter.resources == Some(true) && resources,
            uris: uris.into_iter().map(|uri| self.shared_uri(uri)).collect(),
            keep_alive_ms: self.next_keep_alive_ms(),
            end_ms: u64::MAX,
        };
        self.open_stream(request, stream);
        Ok(())
    }

    /// One copy of a URI for all who listen to it.
    fn shared_uri(&self, uri: &str) -> Arc<str> {
        self.by_uri.get_key_value(uri).map_or_else(|| Arc::from(uri), |(known, _)| known.clone())
    }

    fn open_stream(&mut self, request: &Modern<'_>, stream: Stream) {
        let (slot, exchange) = (request.slot, request.exchange);
        self.begin_events(slot, exchange);
        self.event(slot, exchange, |_, out| write_acknowledged(out, &stream));
        let (uris, keep_alive_ms) = (stream.uris.clone(), stream.keep_alive_ms);
        let (place, _) = self.streams.insert(stream);
        for uri in uris {
            self.by_uri.entry(uri).or_default().push(place);
        }
        self.conns[slot as usize].phase = Phase::Streaming(place);
        self.arm_timer(slot, keep_alive_ms);
        self.probe.streams_total += 1;
        self.probe.subscriptions_total += 1;
        self.probe.count_request(request.method, Outcome::Ok);
        self.answered += 1;
    }

    /// Forgets a stream whose connection is gone.
    pub(super) fn forget_stream(&mut self, place: u32) -> Option<Stream> {
        let stream = self.streams.remove(place)?;
        for uri in &stream.uris {
            if let Some(listeners) = self.by_uri.get_mut(uri) {
                listeners.retain(|&listener| listener != place);
                if listeners.is_empty() {
                    self.by_uri.remove(uri);
                }
            }
        }
        Some(stream)
    }

    /// Tells those who asked for it that a resource changed.
    pub(super) fn fan_out_update(&mut self, uri: &Arc<str>) {
        let Some(places) = self.by_uri.get(uri) else { return };
        let targets = places
            .iter()
            .filter_map(|&place| self.streams.at(place).map(|(generation, _)| (place, generation)))
            .collect();
        let change = Change::Resource(Arc::clone(uri));
        self.fanouts.push_back(Fanout { change, targets, next: 0 });
    }

    /// Some updates were missed: every resource that somebody listens to counts as changed.
    pub(super) fn fan_out_all_updates(&mut self) {
        let uris: Vec<_> = self.by_uri.keys().cloned().collect();
        uris.iter().for_each(|uri| self.fan_out_update(uri));
    }

    /// Tells those who asked for it which lists changed since `before`.
    pub(super) fn fan_out_lists(&mut self, before: Versions) {
        let now = self.catalog.versions;
        type Asked = fn(&Stream) -> bool;
        let lists: [(bool, &'static str, Asked); 3] = [
            (now.tools != before.tools, "notifications/tools/list_changed", |s| s.tools),
            (now.prompts != before.prompts, "notifications/prompts/list_changed", |s| s.prompts),
            (now.resources != before.resources, "notifications/resources/list_changed", |s| {
                s.resources
            }),
        ];
        for (changed, method, asked) in lists {
            if !changed {
                continue;
            }
            let targets: Vec<_> = self
                .streams
                .iter()
                .filter(|(_, _, stream)| asked(stream))
                .map(|(place, generation, _)| (place, generation))
                .collect();
            self.fanouts.push_back(Fanout { change: Change::List(method), targets, next: 0 });
        }
    }

    /// Sends changes to a bounded number of streams.
    pub(super) fn advance_fanouts(&mut self) {
        let mut left = FANOUT_MAX;
        while left > 0
            && let Some(mut fanout) = self.fanouts.pop_front()
        {
            let end = fanout.targets.len().min(fanout.next + left);
            left -= end - fanout.next;
            for &(place, generation) in &fanout.targets[fanout.next..end] {
                self.notify(place, generation, &fanout.change);
            }
            fanout.next = end;
            if end < fanout.targets.len() {
                self.fanouts.push_front(fanout);
            }
        }
    }

    fn notify(&mut self, place: u32, generation: u32, change: &Change) {
        let keep_alive_ms = self.next_keep_alive_ms();
        let Some(stream) = self.streams.get_mut(place, generation) else { return };
        stream.keep_alive_ms = keep_alive_ms;
        let (slot, exchange) = (stream.conn.slot, stream.exchange);
        let id = std::mem::take(&mut stream.id);
        self.event(slot, exchange, |_, out| write_change(out, &id, change));
        if let Some(stream) = self.streams.at_mut(place) {
            stream.id = id;
        }
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
            let exchange = stream.exchange;
            self.keep_alive(slot, exchange);
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
        let exchange = stream.exchange;
        self.event(slot, exchange, |shard, out| {
            jsonrpc::write_open(out, Id::from_json(&stream.id));
            out.extend_from_slice(b",\"result\":{\"resultType\":\"complete\",\"_meta\":{");
            write_subscription_id(out, &stream.id);
            out.push(b',');
            out.extend_from_slice(shard.server_info_meta.as_bytes());
            out.extend_from_slice(b"}}}");
        });
        self.end_event_stream(slot, exchange);
    }

    /// Has a comment sent on a stream on which nothing else waits to be sent.
    pub(super) fn keep_alive(&mut self, slot: u32, exchange: Exchange) {
        let comment = if exchange.chunked() { Comment::Chunked } else { Comment::Raw };
        self.conns[slot as usize].flags.comment = Some(comment);
        self.touch(slot);
    }

    /// When an idle stream gets its next comment: jittered by a fifth, so that streams which were
    /// opened together do not stay in step.
    fn next_keep_alive_ms(&mut self) -> u64 {
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

fn write_change(out: &mut Vec<u8>, id: &str, change: &Change) {
    let method = match change {
        Change::List(method) => method,
        Change::Resource(_) => "notifications/resources/updated",
    };
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"method\":\"");
    out.extend_from_slice(method.as_bytes());
    out.extend_from_slice(b"\",\"params\":{");
    if let Change::Resource(uri) = change {
        out.extend_from_slice(b"\"uri\":");
        jsonrpc::write_string(out, uri);
        out.push(b',');
    }
    out.extend_from_slice(b"\"_meta\":{");
    write_subscription_id(out, id);
    out.extend_from_slice(b"}}}");
}
