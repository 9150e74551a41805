//! What a shard counts, and what says from outside that it lives.
//!
//! A [`Probe`] lives once per shard: plain numbers, written by the shard alone. The control plane
//! asks for a snapshot by message and exports it. A [`Vital`] lives once per shard too: the three
//! words that the control plane must be able to read while the shard answers nothing.
//!
//! Invariant: counters only grow; gauges are named so. Nothing here can fail or allocates after
//! the start, but for the snapshot.
//!
//! Left out: names and formats of metrics (the control plane's), and sums over shards.

use crate::io::BufferOccupancy;
use crate::ticks::{Tick, Ticks};
use crossbeam::utils::CachePadded;
use hdrhistogram::Histogram;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Shortest latency told apart, µs.
pub const LATENCY_US_MIN: u64 = 1;

/// Longest latency told apart, µs: what took longer counts as this.
pub const LATENCY_US_MAX: u64 = 120_000_000;

/// Two digits (an error below 1 %) take 21 KiB; three would take 147 KiB, copied in the middle of
/// a tick whenever the control plane asks for a snapshot.
const LATENCY_DIGITS: u8 = 2;

/// An enum whose values index an array of counters and have a name in metrics.
macro_rules! labelled {
    (
        $(#[$meta:meta])*
        pub enum $name:ident { $($(#[$doc:meta])* $variant:ident = $label:literal,)+ }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// All values, in the order of their index.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// How many there are: the length of an array with a place for each.
            pub const COUNT: usize = Self::ALL.len();

            /// Place in such an array.
            pub const fn index(self) -> usize {
                self as usize
            }

            /// Name in metrics, unique within the enum.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }
        }
    };
}
pub(crate) use labelled;

labelled! {
    /// How a connection speaks to the shard.
    pub enum Transport {
        /// MCP over Streamable HTTP.
        Http = "http",
        /// Newline-delimited JSON-RPC over TCP.
        Tcp = "tcp",
        /// The same over a Unix socket.
        Unix = "unix",
        /// The same over standard input and output.
        Stdio = "stdio",
        /// JSON-RPC in WebSocket messages.
        WebSocket = "websocket",
        /// The link of another node.
        Mesh = "mesh",
    }
}

labelled! {
    /// What a JSON-RPC message asks for. Unknown names share a value, since clients choose them.
    pub enum Method {
        /// `server/discover`
        Discover = "server/discover",
        /// `tools/list`
        ToolsList = "tools/list",
        /// `tools/call`
        ToolsCall = "tools/call",
        /// `resources/list`
        ResourcesList = "resources/list",
        /// `resources/templates/list`
        ResourceTemplatesList = "resources/templates/list",
        /// `resources/read`
        ResourcesRead = "resources/read",
        /// `prompts/list`
        PromptsList = "prompts/list",
        /// `prompts/get`
        PromptsGet = "prompts/get",
        /// `completion/complete`
        CompletionComplete = "completion/complete",
        /// `subscriptions/listen`
        SubscriptionsListen = "subscriptions/listen",
        /// Any notification of a client.
        Notification = "notification",
        /// `initialize` of the legacy versions.
        Initialize = "initialize",
        /// `ping` of the legacy versions.
        Ping = "ping",
        /// `logging/setLevel` of the legacy versions.
        SetLevel = "logging/setLevel",
        /// `resources/subscribe` of the legacy versions.
        ResourcesSubscribe = "resources/subscribe",
        /// `resources/unsubscribe` of the legacy versions.
        ResourcesUnsubscribe = "resources/unsubscribe",
        /// Anything else, messages that are no request included.
        Other = "other",
    }
}

labelled! {
    /// How a request ended.
    pub enum Outcome {
        /// With a result.
        Ok = "ok",
        /// With a result that says `isError`.
        ToolError = "tool_error",
        /// With a question to the client (a multi round-trip request).
        InputRequired = "input_required",
        /// With an error that the client is to blame for.
        ProtocolError = "protocol_error",
        /// Refused because a bound was reached.
        Busy = "busy",
        /// Given up by the client.
        Cancelled = "cancelled",
        /// The tool overran its time.
        Timeout = "timeout",
        /// The tool panicked.
        Panic = "panic",
        /// With an error that we are to blame for.
        InternalError = "internal_error",
    }
}

labelled! {
    /// The first digit of an HTTP status.
    pub enum StatusClass {
        /// 100 to 199
        Informational = "1xx",
        /// 200 to 299
        Success = "2xx",
        /// 300 to 399
        Redirection = "3xx",
        /// 400 to 499
        ClientError = "4xx",
        /// 500 and above
        ServerError = "5xx",
    }
}

impl StatusClass {
    /// The class of a status.
    pub const fn of(status: u16) -> Self {
        match status {
            ..200 => Self::Informational,
            200..300 => Self::Success,
            300..400 => Self::Redirection,
            400..500 => Self::ClientError,
            500.. => Self::ServerError,
        }
    }
}

labelled! {
    /// What the shard refuses, cuts off or sheds something for.
    pub enum Bound {
        /// Open connections.
        Connections = "connections",
        /// Open event streams.
        Streams = "streams",
        /// Calls in flight.
        Calls = "calls",
        /// Bytes of a request's head.
        HeadBytes = "head_bytes",
        /// Bytes of a request's body, or of a message.
        BodyBytes = "body_bytes",
        /// The shard's byte budget.
        ByteBudget = "byte_budget",
        /// Bytes that wait for one reader.
        SendBound = "send_bound",
        /// Time for a head.
        HeadTimeout = "head_timeout",
        /// Time for a body.
        BodyTimeout = "body_timeout",
        /// Time between requests.
        IdleTimeout = "idle_timeout",
        /// Time for a reader to take what is sent.
        SendTimeout = "send_timeout",
        /// Time of a tool.
        ToolTimeout = "tool_timeout",
        /// A full lane of a mailbox or of a pool.
        Mailbox = "mailbox",
        /// Depth of JSON.
        Depth = "depth",
        /// Batches, where a version does not have them, or longer ones than are taken.
        Batch = "batch",
        /// A `Host` that is not allowed.
        Host = "host",
        /// An `Origin` that is not allowed.
        Origin = "origin",
        /// Bytes that are no HTTP, or no JSON-RPC.
        Malformed = "malformed",
        /// Sessions of the legacy era.
        Sessions = "sessions",
        /// Sessions of one client address.
        SessionsPerAddress = "sessions_per_address",
        /// Events that a session keeps for its client.
        EventLog = "event_log",
        /// Ids of requests in flight, which must differ.
        RequestIds = "request_ids",
        /// Time for a client to answer what a call asks of it.
        InputTimeout = "input_timeout",
        /// Work that comes while the server stops.
        Stopping = "stopping",
    }
}

labelled! {
    /// How a session of the legacy era ended.
    pub enum SessionEnd {
        /// Its client ended it (DELETE).
        Deleted = "deleted",
        /// Nobody used it for too long.
        Expired = "expired",
        /// Its byte stream was closed.
        Closed = "closed",
        /// The server stopped.
        Stopped = "stopped",
    }
}

impl Method {
    /// Whether its parameters are those that most methods share ([`ringmesh_proto::mcp::Params`]).
    pub const fn is_plain(self) -> bool {
        !matches!(
            self,
            Self::Other | Self::Initialize | Self::Notification | Self::Ping | Self::SetLevel
        )
    }
}

labelled! {
    /// A lane of the shard's mailbox ([`crate::mailbox`]).
    pub enum Lane {
        /// Work of the control plane and of other shards.
        Requests = "requests",
        /// Final answers of pooled tools.
        Replies = "replies",
        /// Progress and log messages of pooled tools.
        Notes = "notes",
        /// Changes that concern every shard.
        Events = "events",
        /// Answers of other shards for connections of this one.
        Relays = "relays",
    }
}

/// The counters of one shard. Each counts since its start unless it says *gauge* (as it is now) or
/// *high-water* (the most it ever was).
#[derive(Clone, Debug)]
pub struct Probe {
    /// Number of the shard.
    pub shard: u16,

    /// Connections accepted, by [`Transport`].
    pub connections_accepted: [u64; Transport::COUNT],
    /// Connections closed, by [`Transport`].
    pub connections_closed: [u64; Transport::COUNT],
    /// Accepts that failed, cancelled ones apart.
    pub accept_errors: u64,

    /// Requests by [`Method`] and [`Outcome`].
    pub requests: [[u64; Outcome::COUNT]; Method::COUNT],
    /// Latency of requests, µs, from reaping their last byte to preparing the answer's first send.
    pub latency_us: Histogram<u64>,
    /// Calls that wait for a tool in a pool. Gauge.
    pub calls_in_flight: u64,
    /// High-water of [`Probe::calls_in_flight`].
    pub calls_in_flight_max: u64,

    /// HTTP responses by [`StatusClass`].
    pub http_responses: [u64; StatusClass::COUNT],
    /// HTTP heads refused as malformed or too long.
    pub http_heads_refused: u64,
    /// Refusals by [`Bound`].
    pub refusals: [u64; Bound::COUNT],

    /// Event streams that are open. Gauge.
    pub streams_open: u64,
    /// Event streams ever opened.
    pub streams_total: u64,
    /// Subscriptions that are open. Gauge.
    pub subscriptions_open: u64,
    /// Subscriptions ever opened.
    pub subscriptions_total: u64,
    /// Notifications written to subscribers.
    pub events_delivered: u64,
    /// Times that the event lane overflowed, so that everything counted as changed.
    pub event_overflows: u64,
    /// Keep-alive comments written to idle streams.
    pub keepalives_sent: u64,

    /// Sessions of the legacy era that are open. Gauge.
    pub sessions_open: u64,
    /// Sessions ever opened.
    pub sessions_opened: u64,
    /// Sessions ended, by [`SessionEnd`].
    pub sessions_ended: [u64; SessionEnd::COUNT],
    /// Events that sessions keep. Gauge.
    pub session_events: u64,
    /// Events sent again to clients that came back for them.
    pub events_replayed: u64,
    /// Responses of clients to nothing that they were asked.
    pub responses_unasked: u64,
    /// Requests forwarded to the shards of their sessions.
    pub forwarded: u64,
    /// Exchanges on connections of other shards. Gauge.
    pub relays_open: u64,

    /// Bytes received.
    pub received_bytes: u64,
    /// Bytes taken by the kernel for sending.
    pub sent_bytes: u64,
    /// Sends submitted.
    pub sends: u64,
    /// Sends of which the kernel took a part only.
    pub short_sends: u64,
    /// Receives that ended before their connection did, and were armed again where still wanted.
    pub recv_rearms: u64,
    /// Receives that found no buffer (ENOBUFS).
    pub enobufs: u64,
    /// Receive buffers of the pool. Gauge.
    pub buffers: BufferOccupancy,
    /// High-water of the buffers used.
    pub buffers_used_max: u32,
    /// Bytes of the budget in use. Gauge.
    pub budget_used_bytes: u64,
    /// High-water of [`Probe::budget_used_bytes`].
    pub budget_used_bytes_max: u64,
    /// The byte budget. Gauge.
    pub budget_limit_bytes: u64,

    /// Completions reaped.
    pub completions: u64,
    /// Ticks of the loop.
    pub ticks: u64,
    /// Waits that ended by the doorbell.
    pub wakeups: u64,
    /// Rings by senders.
    pub rings: u64,
    /// Slowest tick, ns. High-water.
    pub tick_ns_max: u64,
    /// Slowest tick since the snapshot before, ns.
    pub tick_ns_max_recent: u64,
    /// How long ticks take, and the slowest since the snapshot before.
    pub tick_times: Ticks,
    /// Timers armed. Gauge.
    pub timers_armed: u64,

    /// Messages that wait, by [`Lane`]. Gauge.
    pub mailbox_depth: [u64; Lane::COUNT],
    /// High-water of [`Probe::mailbox_depth`].
    pub mailbox_depth_max: [u64; Lane::COUNT],
    /// Messages refused because the lane was full, by [`Lane`].
    pub mailbox_busy: [u64; Lane::COUNT],
}

impl Probe {
    /// All zero.
    pub fn new(shard: u16) -> Self {
        let latency_us = Histogram::new_with_bounds(LATENCY_US_MIN, LATENCY_US_MAX, LATENCY_DIGITS)
            .expect("the bounds are constants, and a test makes one");
        Self {
            shard,
            connections_accepted: Default::default(),
            connections_closed: Default::default(),
            accept_errors: 0,
            requests: Default::default(),
            latency_us,
            calls_in_flight: 0,
            calls_in_flight_max: 0,
            http_responses: Default::default(),
            http_heads_refused: 0,
            refusals: Default::default(),
            streams_open: 0,
            streams_total: 0,
            subscriptions_open: 0,
            subscriptions_total: 0,
            events_delivered: 0,
            event_overflows: 0,
            keepalives_sent: 0,
            sessions_open: 0,
            sessions_opened: 0,
            sessions_ended: Default::default(),
            session_events: 0,
            events_replayed: 0,
            responses_unasked: 0,
            forwarded: 0,
            relays_open: 0,
            received_bytes: 0,
            sent_bytes: 0,
            sends: 0,
            short_sends: 0,
            recv_rearms: 0,
            enobufs: 0,
            buffers: BufferOccupancy::default(),
            buffers_used_max: 0,
            budget_used_bytes: 0,
            budget_used_bytes_max: 0,
            budget_limit_bytes: 0,
            completions: 0,
            ticks: 0,
            wakeups: 0,
            rings: 0,
            tick_ns_max: 0,
            tick_ns_max_recent: 0,
            tick_times: Ticks::default(),
            timers_armed: 0,
            mailbox_depth: Default::default(),
            mailbox_depth_max: Default::default(),
            mailbox_busy: Default::default(),
        }
    }

    /// Counts the end of a request.
    pub fn count_request(&mut self, method: Method, outcome: Outcome) {
        self.requests[method.index()][outcome.index()] += 1;
    }

    /// Counts a refusal.
    pub fn count_refusal(&mut self, bound: Bound) {
        self.refusals[bound.index()] += 1;
    }

    /// Counts an HTTP response.
    pub fn count_http_response(&mut self, status: u16) {
        self.http_responses[StatusClass::of(status).index()] += 1;
    }

    /// Counts `count` requests that each took `latency_us`, held to the bounds of the histogram.
    pub fn record_latency(&mut self, latency_us: u64, count: u64) {
        self.latency_us.saturating_record_n(latency_us.max(LATENCY_US_MIN), count);
    }

    /// Counts a tick and how long it took.
    pub fn record_tick(&mut self, tick: Tick) {
        self.ticks += 1;
        self.tick_ns_max = self.tick_ns_max.max(tick.ns);
        self.tick_ns_max_recent = self.tick_ns_max_recent.max(tick.ns);
        self.tick_times.record(tick);
    }

    /// Notes how the receive buffers are doing.
    pub fn observe_buffers(&mut self, buffers: BufferOccupancy) {
        self.buffers = buffers;
        self.buffers_used_max = self.buffers_used_max.max(buffers.used);
    }

    /// Notes how much of the byte budget is in use.
    pub fn observe_budget(&mut self, used_bytes: u64, limit_bytes: u64) {
        self.budget_used_bytes = used_bytes;
        self.budget_used_bytes_max = self.budget_used_bytes_max.max(used_bytes);
        self.budget_limit_bytes = limit_bytes;
    }

    /// Notes how many calls wait for a pooled tool.
    pub fn observe_calls(&mut self, in_flight: u64) {
        self.calls_in_flight = in_flight;
        self.calls_in_flight_max = self.calls_in_flight_max.max(in_flight);
    }

    /// Notes a lane's depth, as found before it is drained, and its refusals since the start.
    pub fn observe_lane(&mut self, lane: Lane, depth: usize, busy: u64) {
        let (lane, depth) = (lane.index(), depth as u64);
        self.mailbox_depth[lane] = depth;
        self.mailbox_depth_max[lane] = self.mailbox_depth_max[lane].max(depth);
        self.mailbox_busy[lane] = busy;
    }

    /// Connections that are open now.
    pub fn connections_open(&self, transport: Transport) -> u64 {
        let i = transport.index();
        self.connections_accepted[i].saturating_sub(self.connections_closed[i])
    }

    /// A copy for the control plane, in memory that it brought; what counts since the snapshot
    /// before starts anew.
    pub fn snapshot(&mut self, mut room: Box<Self>) -> Box<Self> {
        let mut latency_us = room.latency_us;
        latency_us.set_to(&self.latency_us).expect("all histograms have the same bounds");
        *room = Self { latency_us, ..*self };
        self.tick_ns_max_recent = 0;
        self.tick_times.renew();
        room
    }
}

/// Signs of life of one shard, written by it and readable while it hangs. The words stand apart
/// from everything else in memory, so that reading them costs the shard nothing else.
#[derive(Debug, Default)]
pub struct Vital(CachePadded<Words>);

#[derive(Debug, Default)]
struct Words {
    ticks: AtomicU64,
    busy: AtomicBool,
    tool: AtomicU64,
}

/// What [`Vital::read`] found. Each word is true by itself; together they may be of two moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VitalSigns {
    /// Ticks begun since the start.
    pub ticks: u64,
    /// Whether the shard is within a tick (and not in its wait).
    pub busy: bool,
    /// Serial number of the inline tool that runs, or 0.
    pub tool: u64,
}

impl Vital {
    /// For the shard: a tick begins.
    pub fn begin_tick(&self) {
        // The shard is the only writer: no read-modify-write needed.
        let ticks = self.0.ticks.load(Ordering::Relaxed);
        self.0.ticks.store(ticks.wrapping_add(1), Ordering::Relaxed);
        self.0.busy.store(true, Ordering::Relaxed);
    }

    /// For the shard: the tick is over.
    pub fn end_tick(&self) {
        self.0.busy.store(false, Ordering::Relaxed);
    }

    /// For the shard: the inline tool with this serial number (not 0) runs from now on.
    pub fn begin_tool(&self, serial: u64) {
        debug_assert!(serial != 0, "0 says that no tool runs");
        self.0.tool.store(serial, Ordering::Relaxed);
    }

    /// For the shard: the inline tool returned or panicked.
    pub fn end_tool(&self) {
        self.0.tool.store(0, Ordering::Relaxed);
    }

    /// For the control plane: how the shard is doing.
    pub fn read(&self) -> VitalSigns {
        VitalSigns {
            ticks: self.0.ticks.load(Ordering::Relaxed),
            busy: self.0.busy.load(Ordering::Relaxed),
            tool: self.0.tool.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    macro_rules! assert_labels {
        ($($name:ident)+) => {$(
            let labels: BTreeSet<_> = $name::ALL.iter().map(|value| value.label()).collect();
            assert_eq!(labels.len(), $name::COUNT, "labels of {}", stringify!($name));
            for (i, value) in $name::ALL.iter().enumerate() {
                assert_eq!(value.index(), i);
            }
        )+};
    }

    #[test]
    fn labels_are_unique_and_indices_dense() {
        assert_labels!(Transport Method Outcome StatusClass Bound Lane);
    }

    #[test]
    fn latency_saturates_at_its_bounds() {
        let mut probe = Probe::new(0);
        probe.record_latency(0, 1);
        probe.record_latency(50, 97);
        probe.record_latency(u64::MAX, 2);
        assert_eq!(probe.latency_us.len(), 100);
        assert_eq!(probe.latency_us.value_at_quantile(0.5), 50);
        let max = probe.latency_us.max();
        assert!((LATENCY_US_MAX..LATENCY_US_MAX * 12 / 10).contains(&max), "{max}");
    }

    #[test]
    fn a_probe_is_small() {
        let probe = Probe::new(0);
        let bytes = size_of::<Probe>() + probe.latency_us.distinct_values() * size_of::<u64>();
        assert!(bytes < 32 << 10, "{bytes}");
    }

    #[test]
    fn snapshots_of_shards_add_up() {
        let mut sum = Probe::new(0);
        let mut other = Probe::new(1);
        sum.record_latency(10, 3);
        other.record_latency(u64::MAX, 4);
        sum.latency_us.add(&other.snapshot(Box::new(Probe::new(0))).latency_us).unwrap();
        assert_eq!(sum.latency_us.len(), 7);
    }

    #[test]
    fn a_snapshot_starts_the_recent_anew_and_keeps_the_rest() {
        let mut probe = Probe::new(3);
        probe.record_tick(Tick { ns: 500, ..Tick::default() });
        probe.count_request(Method::ToolsCall, Outcome::Ok);
        probe.connections_accepted[Transport::Http.index()] = 5;
        probe.connections_closed[Transport::Http.index()] = 2;
        let first = probe.snapshot(Box::new(Probe::new(0)));
        assert_eq!((first.shard, first.tick_ns_max_recent), (3, 500));
        assert_eq!(first.connections_open(Transport::Http), 3);
        assert_eq!(first.tick_times.slowest().next().map(|tick| tick.ns), Some(500));
        probe.record_tick(Tick { ns: 20, ..Tick::default() });
        let second = probe.snapshot(first);
        assert_eq!((second.ticks, second.tick_ns_max, second.tick_ns_max_recent), (2, 500, 20));
        assert_eq!(second.tick_times.slowest().map(|tick| tick.ns).collect::<Vec<_>>(), [20]);
        assert_eq!(second.requests[Method::ToolsCall.index()][Outcome::Ok.index()], 1);
    }

    #[test]
    fn high_water_stays() {
        let mut probe = Probe::new(0);
        for (used, depth) in [(3, 7), (1, 2)] {
            probe.observe_buffers(BufferOccupancy { total: 8, used });
            probe.observe_lane(Lane::Notes, depth, 1);
            probe.observe_budget(u64::from(used), 100);
            probe.observe_calls(u64::from(used));
        }
        assert_eq!((probe.buffers.used, probe.buffers_used_max), (1, 3));
        let notes = Lane::Notes.index();
        assert_eq!((probe.mailbox_depth[notes], probe.mailbox_depth_max[notes]), (2, 7));
        assert_eq!((probe.budget_used_bytes, probe.budget_used_bytes_max), (1, 3));
        assert_eq!((probe.calls_in_flight, probe.calls_in_flight_max), (1, 3));
    }

    #[test]
    fn statuses_have_classes() {
        let mut probe = Probe::new(0);
        for status in [100, 200, 202, 304, 400, 431, 500, 503] {
            probe.count_http_response(status);
        }
        assert_eq!(probe.http_responses, [1, 2, 1, 2, 2]);
    }

    #[test]
    fn vital_tells_tick_and_tool() {
        let vital = Vital::default();
        assert_eq!(vital.read(), VitalSigns::default());
        vital.begin_tick();
        vital.begin_tool(7);
        assert_eq!(vital.read(), VitalSigns { ticks: 1, busy: true, tool: 7 });
        vital.end_tool();
        vital.end_tick();
        assert_eq!(vital.read(), VitalSigns { ticks: 1, busy: false, tool: 0 });
    }
}
