//! One core's worth of server.
//!
//! [`Shard::tick`] takes what completed, lets every layer change the state of connections, calls
//! and streams, and at its end *settles* each connection that was touched: compares what it wants
//! (receive, send, shut down, close) with what is in flight, and submits the difference. So no
//! handler submits anything, and the order of operations is decided in one place (`settle`).
//!
//! Invariants: a connection has at most one receive, one send and one shutdown in flight; its slot
//! is closed when nothing is; a buffer on loan is given back within the tick; nothing in a tick
//! blocks, and its work is bounded by what was reaped, by [`FANOUT_MAX`] and by the lanes.

mod accept;
mod buffers;
mod calls;
mod connection;
mod dispatch;
mod intake;
mod lines;
mod listen;
mod methods;
mod modern;
mod relay;
mod replies;
mod request;
pub mod rest;
mod session;
mod settle;
mod slab;
mod timers;

use std::sync::Arc;

use crate::call::{Answer, StateKey};
use crate::catalog::{Catalog, Pool, Published};
use crate::guard;
use crate::io::{Completion, ConnId, Io, IoError, ListenerId, Time};
use crate::limits::{Allowed, Limits, SLEEP_GAP_MS};
use crate::message::{Address, Event, Inbox, Note, Relay, Reply, Request};
use crate::probe::{Bound, Lane, Probe, SessionEnd, Transport, Vital};
use crate::ticks::Tick;
use crate::wheel::Wheel;

use buffers::{Budget, Buffers};
use calls::InFlight;
use connection::{Connection, Phase};
use listen::{ByUri, Fanouts, Stream};
use relay::Relays;
use session::{EventStream, Sessions};
use slab::Slab;

/// Streams that one tick notifies before other work has its turn.
pub(crate) const FANOUT_MAX: usize = 1_024;
/// Messages of one lane that a tick takes.
const LANE_MAX: usize = 1_024;

/// Names a shard within its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ShardId(pub u16);

/// What a shard is made of.
pub struct ShardConfig {
    /// Its name.
    pub id: ShardId,
    /// Its bounds.
    pub limits: Limits,
    /// Hosts and origins that it answers to.
    pub allowed: Arc<Allowed>,
    /// What its listeners speak: `ListenerId(n)` is the n-th.
    pub listeners: Vec<Transport>,
    /// Path of the MCP endpoint, such as `/mcp`.
    pub path: String,
    /// What it serves.
    pub catalog: Arc<Published>,
    /// Its end of its mailbox.
    pub inbox: Inbox,
    /// The addresses of all shards of the process, by their ids; its own among them.
    pub addresses: Arc<[Address]>,
    /// Runs what is not inline.
    pub pool: Arc<dyn Pool>,
    /// Protects request states.
    pub state_key: Arc<StateKey>,
    /// Shows that it lives.
    pub vital: Arc<Vital>,
    /// Seeds jitter.
    pub seed: u64,
    /// Seeds the generator of session ids: secret, and another for each shard.
    pub session_seed: [u8; 32],
}

/// What the driver does after a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Submit, look for completions without waiting, and tick again.
    Again,
    /// Submit and wait for a completion, at most until this time.
    Wait {
        /// On the clock of [`Time::mono_ns`]; `None` waits for a completion alone.
        until_ns: Option<u64>,
    },
    /// The shard has stopped: every connection is closed.
    Done,
}

/// A shard. See the module's docs.
pub struct Shard {
    id: ShardId,
    limits: Limits,
    allowed: Arc<Allowed>,
    listeners: Vec<Transport>,
    path: String,
    published: Arc<Published>,
    catalog: Arc<Catalog>,
    catalog_version: u64,
    server_info_meta: String,
    inbox: Inbox,
    address: Address,
    addresses: Arc<[Address]>,
    pool: Arc<dyn Pool>,
    state_key: Arc<StateKey>,
    vital: Arc<Vital>,
    random: u64,

    conns: Vec<Connection>,
    /// Connections that are served, refused ones apart.
    open: u32,
    /// Slots that are taken, refused ones included.
    taken: u32,
    accepts_armed: u32,
    /// Accepts that wait for a free slot.
    accepts_paused: Vec<(ListenerId, u16)>,
    accept_retry: Option<crate::wheel::TimerId>,
    calls: Slab<InFlight>,
    streams: Slab<Stream>,
    sessions: Sessions,
    event_streams: Slab<EventStream>,
    relays: Relays,
    by_uri: ByUri,
    fanouts: Fanouts,
    wheel: Wheel,
    buffers: Buffers,
    budget: Budget,
    /// Slots to settle at the end of the tick.
    touched: Vec<u32>,
    /// Slots whose waiting requests go on in this tick.
    resumed: Vec<u32>,
    /// The answer of inline handlers, reused.
    answer: Answer,
    draining: Option<Draining>,

    now: Time,
    now_ms: u64,
    /// Time that the machine slept: the shard's clock leaves it out.
    slept_ms: u64,
    /// When the last tick expected to be woken at the latest, mono ns.
    expected_ns: u64,
    date: [u8; 29],
    date_s: u64,
    /// Inline requests answered in this tick.
    answered: u64,
    probe: Box<Probe>,
    requests: Vec<Request>,
    replies: Vec<Reply>,
    notes: Vec<Note>,
    events: Vec<Event>,
    relayed: Vec<Relay>,
}

/// A shard that stops.
#[derive(Clone, Copy, Debug)]
struct Draining {
    /// When what is left is cut, in ms of the shard's clock.
    cut_ms: u64,
    listeners_closed: bool,
}

impl Shard {
    /// Makes a shard; `now` starts its clock.
    pub fn new(config: ShardConfig, now: Time) -> Self {
        let catalog_version = config.catalog.version();
        let catalog = config.catalog.load();
        let limits = config.limits;
        let now_ms = now.mono_ns / 1_000_000;
        let notes_max = config.inbox.capacity(Lane::Notes);
        let slots = limits.connections_max as usize + crate::limits::REFUSAL_SLOTS as usize;
        let mut shard = Self {
            id: config.id,
            allowed: config.allowed,
            listeners: config.listeners,
            path: config.path,
            published: config.catalog,
            server_info_meta: server_info_meta(&catalog),
            catalog,
            catalog_version,
            inbox: config.inbox,
            address: config.addresses[usize::from(config.id.0)].clone(),
            addresses: config.addresses,
            pool: config.pool,
            state_key: config.state_key,
            vital: config.vital,
            random: config.seed | 1,
            // Reserved, not touched: memory is resident as slots are used.
            conns: Vec::with_capacity(slots),
            open: 0,
            taken: 0,
            accepts_armed: 0,
            accepts_paused: Vec::new(),
            accept_retry: None,
            calls: Slab::default(),
            streams: Slab::default(),
            sessions: Sessions::new(config.session_seed),
            event_streams: Slab::default(),
            relays: Relays::default(),
            by_uri: ByUri::new(),
            fanouts: Fanouts::default(),
            wheel: Wheel::new(now_ms),
            buffers: Buffers::new(),
            budget: Budget::new(limits.budget_bytes),
            limits,
            touched: Vec::with_capacity(slots),
            resumed: Vec::new(),
            answer: Answer::default(),
            draining: None,
            now,
            now_ms,
            slept_ms: 0,
            expected_ns: now.mono_ns,
            date: *b"Thu, 01 Jan 1970 00:00:00 GMT",
            date_s: 0,
            answered: 0,
            probe: Box::new(Probe::new(config.id.0)),
            requests: Vec::with_capacity(64),
            replies: Vec::with_capacity(LANE_MAX),
            notes: Vec::with_capacity(notes_max),
            events: Vec::with_capacity(LANE_MAX),
            relayed: Vec::with_capacity(LANE_MAX),
        };
        shard.renew_date();
        shard
    }

    /// Its name.
    pub fn id(&self) -> ShardId {
        self.id
    }

    /// Arms the accepts of every listener. Called once, before the first tick.
    pub fn start<I: Io>(&mut self, io: &mut I) {
        self.probe.observe_buffers(io.buffers());
        let listeners = u16::try_from(self.listeners.len()).expect("a plan has few listeners");
        for listener in 0..listeners {
            for ticket in 0..crate::limits::ACCEPTS_ARMED {
                self.accepts_paused.push((ListenerId(listener), ticket));
            }
        }
        self.resume_accepts(io);
    }

    /// Handles what completed and whatever else is due, and submits what follows from it.
    pub fn tick<I: Io>(&mut self, io: &mut I, completions: &mut Vec<Completion>) -> Next {
        self.inbox.awake();
        self.begin_tick(io.time());
        let reaped = completions.len() as u64;
        self.probe.completions += reaped;
        for completion in completions.drain(..) {
            self.on_completion(io, completion);
        }
        // What was on loan is given back: a probe must not show the last batch for ever.
        self.probe.observe_buffers(io.buffers());
        self.drain_mailbox();
        self.follow_catalog();
        self.fire_timers();
        self.advance_fanouts();
        self.resume_waiting();
        self.settle_touched(io);
        self.flush_relays();
        self.resume_accepts(io);
        self.close_listeners_if_draining(io);
        self.end_tick(io.time(), reaped);
        self.next()
    }

    fn begin_tick(&mut self, now: Time) {
        // A machine that slept must not find every deadline passed: its clock stood still.
        let late_ms = now.mono_ns.saturating_sub(self.expected_ns) / 1_000_000;
        if late_ms > SLEEP_GAP_MS {
            // Nobody knows when in its wait the shard was stopped. So none of it counts: else the
            // deadline that it waited for would have passed, were it stopped long before.
            self.slept_ms += now.mono_ns.saturating_sub(self.now.mono_ns) / 1_000_000;
            tracing::warn!(shard = self.id.0, late_ms, "slept through deadlines: extending them");
        }
        self.now = now;
        self.now_ms = (now.mono_ns / 1_000_000).saturating_sub(self.slept_ms);
        self.answered = 0;
        self.vital.begin_tick();
        self.renew_date();
    }

    fn end_tick(&mut self, end: Time, completions: u64) {
        let tick_ns = end.mono_ns.saturating_sub(self.now.mono_ns);
        let (unix_ms, answered) = (self.now.unix_ms, self.answered);
        self.probe.record_tick(Tick { unix_ms, ns: tick_ns, completions, answered });
        if self.answered > 0 {
            self.probe.record_latency(tick_ns / 1_000, self.answered);
        }
        self.probe.observe_budget(self.budget.used as u64, self.budget.limit as u64);
        self.now = end;
        self.vital.end_tick();
    }

    fn next(&mut self) -> Next {
        let now_ns = self.now.mono_ns;
        self.expected_ns = now_ns;
        let stops = self.draining.is_some_and(|draining| {
            // Clients on connections of other shards are answered as those of its own are.
            self.relays.len() == 0 || draining.cut_ms <= self.now_ms
        });
        if stops && self.taken == 0 && self.accepts_armed == 0 {
            self.abandon_all();
            return Next::Done;
        }
        let work_left = !self.fanouts.is_empty() || !self.resumed.is_empty();
        if work_left || !self.inbox.prepare_sleep() {
            return Next::Again;
        }
        // A catalog published before the shard said that it sleeps rang no bell.
        if self.published.version() != self.catalog_version {
            self.inbox.awake();
            return Next::Again;
        }
        let until_ns =
            self.wheel.next_deadline_ms().map(|at_ms| (at_ms + self.slept_ms) * 1_000_000);
        self.expected_ns = until_ns.map_or(u64::MAX, |until_ns| until_ns.max(now_ns));
        Next::Wait { until_ns }
    }

    fn on_completion<I: Io>(&mut self, io: &mut I, completion: Completion) {
        match completion {
            Completion::Accepted { listener, ticket, result } => {
                self.on_accepted(listener, ticket, result);
            }
            Completion::Received { conn, result, more } => {
                self.probe.observe_buffers(io.buffers());
                self.on_received(io, conn, result, more);
            }
            Completion::Sent { conn, buf, result } => self.on_sent(io, conn, buf, result),
            Completion::ShutDown { conn } => {
                if let Some(connection) = self.connection(conn) {
                    connection.flags.shutting = false;
                    self.touch(conn.slot);
                }
            }
            Completion::Closed { conn } => self.on_closed(conn),
            Completion::Rung => self.probe.wakeups += 1,
            Completion::Connected { .. } => unreachable!("a server dials nobody"),
        }
    }

    fn on_received<I: Io>(
        &mut self,
        io: &mut I,
        conn: ConnId,
        result: Result<Option<crate::io::Buffer>, IoError>,
        more: bool,
    ) {
        let known = self.connection(conn).map(|connection| {
            connection.flags.recv_armed &= more;
            connection.flags.recv_cancelling &= more;
        });
        let ended_early = !more && !matches!(result, Ok(None));
        self.probe.recv_rearms += u64::from(ended_early && known.is_some());
        match result {
            Ok(Some(buffer)) => {
                if known.is_some() {
                    self.probe.received_bytes += u64::from(buffer.len);
                    self.feed(conn.slot, io.bytes(&buffer));
                }
                #[cfg(ringmesh_bugs)]
                if crate::bugs::active(crate::bugs::Bug::BufferNotReturned)
                    && self.next_random().is_multiple_of(64)
                {
                    return;
                }
                io.recycle(buffer);
            }
            Ok(None) if known.is_some() => self.on_eof(conn.slot),
            Err(IoError::NoBuffers) => self.probe.enobufs += 1,
            // The flags say that it ended: settling arms it again where it is still wanted.
            Err(IoError::Cancelled | IoError::Again) | Ok(None) => {}
            Err(error) if known.is_some() => self.on_broken(conn.slot, error),
            Err(_) => {}
        }
        if known.is_some() {
            self.touch(conn.slot);
        }
    }

    /// The peer sends no more. A stream or a call that is open loses its reader with that: the
    /// transport's disconnect is its cancellation (2026-07-28, Streamable HTTP, Cancellation).
    pub(super) fn on_eof(&mut self, slot: u32) {
        let connection = &mut self.conns[slot as usize];
        connection.flags.eof = true;
        if connection.speaks_lines() {
            return self.on_line_eof(slot);
        }
        let connection = &mut self.conns[slot as usize];
        match connection.phase {
            // Whole requests wait until answers are read: they are answered before the end.
            Phase::Idle if connection.inbound.is_some() => {}
            Phase::Idle => self.end(slot),
            // Whoever ends sending after a request is answered, wherever its session lives. What
            // takes its time becomes a stream, which then finds no reader.
            Phase::Relayed { comment: None, .. } => {}
            Phase::Head
            | Phase::Body
            | Phase::Calling(_)
            | Phase::Streaming(_)
            | Phase::Events(_)
            | Phase::Relayed { .. } => self.abort(slot),
            Phase::Free | Phase::Ending | Phase::Aborting => {}
        }
    }

    /// The socket failed. Where the kernel gave the peer up, that was the time-out of sends, which
    /// it keeps as well: for what it took and could not deliver.
    fn on_broken(&mut self, slot: u32, error: IoError) {
        let aborting = self.conns[slot as usize].phase == Phase::Aborting;
        if error == IoError::TimedOut && !aborting {
            self.refuse(Bound::SendTimeout);
        }
        self.abort(slot);
    }

    fn drain_mailbox(&mut self) {
        for lane in Lane::ALL {
            self.probe.observe_lane(*lane, self.inbox.depth(*lane), self.inbox.busy(*lane));
        }
        self.probe.rings = self.inbox.rings();
        let mut requests = std::mem::take(&mut self.requests);
        self.inbox.drain_requests(LANE_MAX, &mut requests);
        for request in requests.drain(..) {
            match request {
                Request::Drain { grace_ms } => self.drain(grace_ms),
                Request::Probe(room, answer) => self.send_probe(room, &answer),
                Request::Forward(forward) => self.on_forward(*forward),
                Request::Gone(far) => self.on_gone(far),
            }
        }
        self.requests = requests;
        let mut relayed = std::mem::take(&mut self.relayed);
        self.inbox.drain_relays(LANE_MAX, &mut relayed);
        relayed.drain(..).for_each(|relay| self.on_relay(relay));
        self.relayed = relayed;
        let (mut notes, mut replies) =
            (std::mem::take(&mut self.notes), std::mem::take(&mut self.replies));
        self.inbox.drain_results(LANE_MAX, &mut notes, &mut replies);
        notes.drain(..).for_each(|note| self.on_note(&note));
        replies.drain(..).for_each(|reply| self.on_reply(reply));
        (self.notes, self.replies) = (notes, replies);
        let mut events = std::mem::take(&mut self.events);
        let missed = self.inbox.drain_events(LANE_MAX, &mut events);
        for Event::ResourceUpdated(uri) in events.drain(..) {
            self.fan_out_update(&uri);
        }
        self.events = events;
        if missed {
            self.probe.event_overflows += 1;
            self.fan_out_all_updates();
        }
    }

    /// Takes a new catalog into force and tells who listens what changed.
    fn follow_catalog(&mut self) {
        let version = self.published.version();
        if version == self.catalog_version {
            return;
        }
        self.catalog_version = version;
        let before = std::mem::replace(&mut self.catalog, self.published.load());
        self.server_info_meta = server_info_meta(&self.catalog);
        self.fan_out_lists(before.versions);
        // It may be the last to hold a handler that was removed, whose drop is a user's code.
        if guard::enter(|| drop(before)).is_err() {
            tracing::error!(shard = self.id.0, "a removed handler panicked as it was dropped");
        }
    }

    fn send_probe(&mut self, room: Box<Probe>, answer: &crossbeam::channel::Sender<Box<Probe>>) {
        self.probe.observe_calls(self.calls.len() as u64);
        self.probe.observe_budget(self.budget.used as u64, self.budget.limit as u64);
        let read = self.event_streams.iter().filter(|(_, _, stream)| stream.is_read()).count();
        self.probe.streams_open = (self.streams.len() + read) as u64;
        self.probe.subscriptions_open = self.streams.len() as u64;
        self.probe.relays_open = self.relays.len() as u64;
        self.count_sessions();
        self.probe.timers_armed = self.wheel.len() as u64;
        if answer.try_send(self.probe.snapshot(room)).is_err() {
            tracing::debug!(shard = self.id.0, "nobody waits for the probe");
        }
    }

    /// Starts to stop: idle connections end now, streams spread over time, calls may finish.
    fn drain(&mut self, grace_ms: u64) {
        if self.draining.is_some() {
            return;
        }
        // Time is left for what is cut to close within the grace.
        let cut_ms = self.now_ms + grace_ms - grace_ms / 8;
        self.draining = Some(Draining { cut_ms, listeners_closed: false });
        // A thousand a second is no storm; more streams take longer, most of the grace at most.
        let streams = (self.streams.len() + self.event_streams.len()) as u64;
        let spread_ms = streams.min(grace_ms * 5 / 8);
        for slot in 0..u32::try_from(self.conns.len()).unwrap_or(u32::MAX) {
            match self.conns[slot as usize].phase {
                Phase::Idle if self.conns[slot as usize].speaks_lines() => {
                    self.end_line_streams(slot);
                    self.end_line_if_over(slot);
                }
                Phase::Idle => self.end(slot),
                Phase::Events(events) => {
                    let at_ms = self.now_ms + self.random_below(spread_ms + 1);
                    self.end_events_at_ms(slot, events, at_ms);
                }
                Phase::Streaming(_) => {
                    let at_ms = self.now_ms + self.random_below(spread_ms + 1);
                    self.end_stream_at(slot, at_ms);
                }
                Phase::Free => continue,
                Phase::Head
                | Phase::Body
                | Phase::Calling(_)
                | Phase::Relayed { .. }
                | Phase::Ending
                | Phase::Aborting => {}
            }
            self.arm_timer(slot, cut_ms);
            self.touch(slot);
        }
        self.end_far_events();
        self.wake_at(cut_ms);
    }

    /// Every connection is gone: what runs on for sessions has nobody to come back.
    fn abandon_all(&mut self) {
        let places: Vec<u32> = self.sessions.iter().map(|(place, _, _)| place).collect();
        for place in places {
            self.end_session(place, SessionEnd::Stopped);
        }
    }

    fn close_listeners_if_draining<I: Io>(&mut self, io: &mut I) {
        if let Some(draining) = &mut self.draining
            && !draining.listeners_closed
        {
            draining.listeners_closed = true;
            self.accepts_paused.clear();
            io.close_listeners();
        }
    }

    /// The connection of this very generation.
    fn connection(&mut self, id: ConnId) -> Option<&mut Connection> {
        let connection = self.conns.get_mut(id.slot as usize)?;
        #[cfg(ringmesh_bugs)]
        if crate::bugs::active(crate::bugs::Bug::StaleGeneration) {
            return (connection.phase != Phase::Free).then_some(connection);
        }
        let same = connection.generation == id.generation && connection.phase != Phase::Free;
        same.then_some(connection)
    }

    /// Has the slot settled at the end of the tick.
    fn touch(&mut self, slot: u32) {
        let flags = &mut self.conns[slot as usize].flags;
        if !flags.touched {
            flags.touched = true;
            self.touched.push(slot);
        }
    }

    fn refuse(&mut self, bound: Bound) {
        self.probe.count_refusal(bound);
    }

    fn on_closed(&mut self, conn: ConnId) {
        let Some(connection) = self.connection(conn) else { return };
        let refused = connection.flags.refused;
        let timer = connection.timer.take();
        let transport = connection.transport;
        connection.phase = Phase::Free;
        debug_assert_eq!(connection.charged, 0, "a closed connection holds no bytes");
        self.taken -= 1;
        if let Some(timer) = timer {
            self.wheel.cancel(timer);
        }
        if !refused {
            self.open -= 1;
            self.probe.connections_closed[transport.index()] += 1;
        }
    }

    fn renew_date(&mut self) {
        let unix_s = self.now.unix_ms / 1_000;
        if unix_s == self.date_s {
            return;
        }
        self.date_s = unix_s;
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(unix_s);
        let mut room = &mut self.date[..];
        // An IMF-fixdate is 29 bytes for every year up to 9999; later the old date stays.
        let written = std::io::Write::write_fmt(
            &mut room,
            format_args!("{}", httpdate::HttpDate::from(time)),
        );
        debug_assert!(written.is_ok());
    }

    /// SplitMix64: for jitter, not for secrets.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn random_below(&mut self, bound: u64) -> u64 {
        self.next_random() % bound.max(1)
    }

    fn id_of(&self, slot: u32) -> ConnId {
        self.conns[slot as usize].id(slot)
    }
}

/// The member of `_meta` that every result carries.
fn server_info_meta(catalog: &Catalog) -> String {
    format!("\"{}\":{}", ringmesh_proto::mcp::META_SERVER_INFO, catalog.offer().server_info)
}
