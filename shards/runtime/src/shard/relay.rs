//! Requests for sessions that live on another shard, and the way back of their answers.
//!
//! The shard that took the connection (*front*) forwards a request whole; the session's shard
//! (*home*) handles it as its own and sends finished bytes back, which the front passes on. So the
//! front knows nothing of sessions, and the home nothing of sockets. What the home has written for a
//! connection leaves once a tick, and waits where the front's lane is full.

use std::collections::BTreeMap;

use ringmesh_proto::mcp::SessionId;

use super::Shard;
use super::connection::{Comment, Phase};
use super::request::{EventsId, Exchange, Reader, Refusal, Route};
use super::session::Ask;
use super::timers::Key;
use crate::mailbox::Busy;
use crate::message::{Far, Forward, Forwarded, Relay, Request, Then};
use crate::probe::Bound;
use crate::shard::ShardId;
use crate::wheel::TimerId;

/// How long what a full lane refused waits before it is tried again, in ms.
const RETRY_MS: u64 = 1;

/// Exchanges on connections of other shards, and what other shards must be told.
#[derive(Debug, Default)]
pub(super) struct Relays {
    open: BTreeMap<Far, Exchanged>,
    /// Those that have something to send.
    due: Vec<Far>,
    /// Connections that are gone, for the shards that answer them.
    gone: Vec<(ShardId, Far)>,
    retry: Option<TimerId>,
}

/// An exchange on a connection of another shard.
#[derive(Debug)]
struct Exchanged {
    outbound: Vec<u8>,
    /// What follows it.
    then: Then,
    due: bool,
    /// The event stream that is read there.
    stream: Option<EventsId>,
    /// Bytes charged to the shard's budget, while they wait for room in the lane.
    charged: u32,
}

impl Exchanged {
    fn new() -> Self {
        // Until an answer is whole, more of it follows.
        let then = Then::Events { chunked: true };
        Self { outbound: Vec::new(), then, due: false, stream: None, charged: 0 }
    }
}

impl Relays {
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }
}

impl Shard {
    /// The shard on which a session lives.
    pub(super) fn home_of(&self, session: SessionId) -> ShardId {
        let shards = u16::try_from(self.addresses.len()).expect("ids of shards are u16");
        ShardId(session.partition % shards)
    }

    /// Sends a request to the shard of its session.
    pub(super) fn forward(
        &mut self,
        slot: u32,
        exchange: Exchange,
        (home, session): (ShardId, SessionId),
        ask: Ask<'_>,
    ) {
        let conn = self.id_of(slot);
        if self.draining.is_some() {
            // The session's shard stops as well, and may be gone.
            self.refuse(Bound::Stopping);
            let refusal = Refusal::busy("the server is stopping");
            return self.refuse_message(Route::Http(Reader::Here(conn), exchange), None, &refusal);
        }
        let (what, bytes) = match ask {
            Ask::Post(body) => (Forwarded::Post(body.to_vec()), body.len()),
            Ask::Get(last) => (Forwarded::Get(last), 0),
            Ask::Delete => (Forwarded::Delete, 0),
        };
        let Exchange { keep_alive, version_minor } = exchange;
        let from = Far { shard: self.id, conn };
        let forward = Forward { from, session, what, keep_alive, version_minor };
        let sent =
            self.addresses[usize::from(home.0)].send_request(Request::Forward(Box::new(forward)));
        if sent.is_err() {
            self.refuse(Bound::Mailbox);
            let refusal = Refusal::busy("the shard of the session is busy");
            let route = Route::Http(Reader::Here(conn), exchange);
            return self.refuse_message(route, None, &refusal);
        }
        self.probe.forwarded += 1;
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let connection = &mut self.conns[slot as usize];
        connection.phase = Phase::Relayed { home, comment: None, bytes };
        self.touch(slot);
    }

    /// Handles a request that another shard forwarded.
    pub(super) fn on_forward(&mut self, forward: Forward) {
        let Forward { from, session, what, keep_alive, version_minor } = forward;
        self.relays.open.insert(from, Exchanged::new());
        let exchange = Exchange { keep_alive, version_minor };
        let ask = match &what {
            Forwarded::Post(body) => Ask::Post(body),
            Forwarded::Get(last) => Ask::Get(*last),
            Forwarded::Delete => Ask::Delete,
        };
        self.on_session(Reader::There(from), exchange, session, ask);
    }

    /// A connection of another shard is gone.
    pub(super) fn on_gone(&mut self, far: Far) {
        let Some(mut exchanged) = self.relays.open.remove(&far) else { return };
        self.budget.charge(&mut exchanged.charged, 0);
        if let Some(stream) = exchanged.stream {
            self.drop_reader(stream);
        }
    }

    pub(super) fn is_far(&self, far: Far) -> bool {
        self.relays.open.contains_key(&far)
    }

    pub(super) fn take_far(&mut self, far: Far) -> Vec<u8> {
        self.relays.open.get_mut(&far).map(|e| std::mem::take(&mut e.outbound)).unwrap_or_default()
    }

    pub(super) fn put_far(&mut self, far: Far, out: Vec<u8>) {
        match self.relays.open.get_mut(&far) {
            Some(exchanged) if exchanged.then == Then::Cut => self.buffers.recycle_outbound(out),
            Some(exchanged) if out.len() > self.limits.send_bytes_max => {
                exchanged.then = Then::Cut;
                self.buffers.recycle_outbound(out);
                self.refuse(Bound::SendBound);
                self.due_far(far);
            }
            Some(exchanged) => {
                exchanged.outbound = out;
                self.due_far(far);
            }
            None => self.buffers.recycle_outbound(out),
        }
    }

    pub(super) fn begin_far_events(&mut self, reader: Reader, exchange: Exchange) {
        if let Reader::There(far) = reader
            && let Some(exchanged) = self.relays.open.get_mut(&far)
        {
            exchanged.then = Then::Events { chunked: exchange.chunked() };
        }
    }

    pub(super) fn finish_far(&mut self, far: Far, keep_alive: bool) {
        if let Some(exchanged) = self.relays.open.get_mut(&far) {
            if exchanged.then != Then::Cut {
                exchanged.then = Then::Finish { keep_alive };
            }
            exchanged.stream = None;
            self.due_far(far);
        }
    }

    /// Notes which event stream a connection of another shard reads.
    pub(super) fn note_far_stream(&mut self, far: Far, stream: Option<EventsId>) {
        if let Some(exchanged) = self.relays.open.get_mut(&far) {
            exchanged.stream = stream;
        }
    }

    fn due_far(&mut self, far: Far) {
        if let Some(exchanged) = self.relays.open.get_mut(&far)
            && !std::mem::replace(&mut exchanged.due, true)
        {
            self.relays.due.push(far);
        }
    }

    /// Sends what was written for connections of other shards, and tells them which are gone here.
    pub(super) fn flush_relays(&mut self) {
        if self.relays.due.is_empty() && self.relays.gone.is_empty() {
            return;
        }
        let mut gone = std::mem::take(&mut self.relays.gone);
        // One shard that is stuck keeps nothing from the others.
        gone.retain(|&(home, far)| {
            self.addresses[usize::from(home.0)].send_request(Request::Gone(far)).is_err()
        });
        let mut waits = !gone.is_empty();
        self.relays.gone = gone;
        let mut due = std::mem::take(&mut self.relays.due);
        due.retain(|&far| !self.flush_relay(far));
        waits |= !due.is_empty();
        self.relays.due = due;
        if waits && self.relays.retry.is_none() {
            self.relays.retry = Some(self.wheel.arm(self.now_ms + RETRY_MS, Key::Wake.pack()));
        }
    }

    /// The time to try again has come.
    pub(super) fn on_relay_retry(&mut self) {
        self.relays.retry = None;
    }

    /// Has the shard look up no later than this, whatever else it waits for.
    pub(super) fn wake_at(&mut self, at_ms: u64) {
        self.wheel.arm(at_ms, Key::Wake.pack());
    }

    /// Sends what was written for a connection. False: it has to wait.
    fn flush_relay(&mut self, far: Far) -> bool {
        let Some(exchanged) = self.relays.open.get_mut(&far) else { return true };
        let then = exchanged.then;
        let bytes = std::mem::take(&mut exchanged.outbound);
        let relay = Relay { conn: far.conn, bytes, then };
        let sent = self.addresses[usize::from(far.shard.0)].send_relay(relay);
        exchanged.due = sent.is_err();
        if let Err(Busy(relay)) = sent {
            exchanged.outbound = relay.bytes;
        }
        let waiting = exchanged.outbound.capacity();
        self.budget.charge(&mut exchanged.charged, waiting);
        if exchanged.due {
            return false;
        }
        match then {
            Then::Events { .. } => {}
            // A stream that was cut goes on without a reader.
            Then::Finish { .. } | Then::Cut => self.on_gone(far),
        }
        true
    }

    /// Passes on what the shard of a session answered.
    pub(super) fn on_relay(&mut self, relay: Relay) {
        let Relay { conn, bytes, then } = relay;
        let slot = conn.slot;
        let now_ms = self.now_ms;
        let keep_alive_ms = self.limits.keep_alive_ms;
        let Some(connection) = self.connection(conn) else { return };
        let Phase::Relayed { home, .. } = connection.phase else { return };
        if connection.outbound.is_empty() && connection.outbound.capacity() == 0 {
            connection.outbound = bytes;
        } else {
            connection.outbound.extend_from_slice(&bytes);
        }
        connection.since_ms = now_ms;
        match then {
            // Who sends no more is taken to be gone, as on the shard of the session.
            Then::Events { .. } if connection.flags.eof => self.abort(slot),
            Then::Events { chunked } => {
                let comment = Some(if chunked { Comment::Chunked } else { Comment::Raw });
                connection.phase = Phase::Relayed { home, comment, bytes: 0 };
                self.arm_timer(slot, now_ms + keep_alive_ms);
            }
            Then::Finish { keep_alive } => {
                let exchange = Exchange { keep_alive, version_minor: 1 };
                self.finish_exchange(Reader::Here(conn), exchange);
                self.resume(slot);
                let connection = &self.conns[slot as usize];
                if connection.flags.eof && connection.phase == Phase::Idle {
                    self.on_eof(slot);
                }
            }
            Then::Cut => self.abort_relayed(slot),
        }
        self.touch(slot);
    }

    fn abort_relayed(&mut self, slot: u32) {
        self.conns[slot as usize].phase = Phase::Idle;
        self.abort(slot);
    }

    /// A connection whose request was forwarded is gone: the shard that answers it is told.
    pub(super) fn tell_gone(&mut self, slot: u32, home: ShardId) {
        let far = Far { shard: self.id, conn: self.id_of(slot) };
        self.relays.gone.push((home, far));
    }

    /// When an idle relayed stream gets a comment, in ms of the shard's clock.
    pub(super) fn relayed_deadline_ms(&self, slot: u32, comment: Option<Comment>) -> u64 {
        let since_ms = self.conns[slot as usize].since_ms;
        let period_ms = self.limits.keep_alive_ms;
        // Streams that were opened together do not stay in step.
        let jitter_ms = u64::from(slot.wrapping_mul(0x9e37_79b9)) % (period_ms / 5 + 1);
        comment.map_or(u64::MAX, |_| since_ms.saturating_add(period_ms - jitter_ms))
    }

    pub(super) fn on_relayed_deadline(&mut self, slot: u32, comment: Option<Comment>) {
        let now_ms = self.now_ms;
        let connection = &mut self.conns[slot as usize];
        connection.since_ms = now_ms;
        connection.flags.comment = comment;
        self.touch(slot);
    }
}
