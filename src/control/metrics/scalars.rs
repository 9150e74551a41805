//! The series that each shard has exactly one of.

use super::super::census::ShardView;
use prometheus::proto::MetricType;

use MetricType::{COUNTER, GAUGE};

/// Name without prefix, help, type and value.
pub(super) type Scalar = (&'static str, &'static str, MetricType, fn(&ShardView) -> f64);

/// All of them.
pub(super) const SCALARS: &[Scalar] = &[
    (
        "shard_stale",
        "1 if the shard did not answer and its series are from its last answer.",
        GAUGE,
        |s| f64::from(u8::from(s.stale)),
    ),
    ("accept_errors_total", "Accepts that failed.", COUNTER, |s| s.probe.accept_errors as f64),
    ("calls_in_flight", "Calls that wait for a tool in a pool.", GAUGE, |s| {
        s.probe.calls_in_flight as f64
    }),
    (
        "calls_in_flight_max",
        "Most calls that waited for tools at once since the start.",
        GAUGE,
        |s| s.probe.calls_in_flight_max as f64,
    ),
    ("http_heads_refused_total", "HTTP heads refused as malformed or too long.", COUNTER, |s| {
        s.probe.http_heads_refused as f64
    }),
    ("streams", "Open event streams.", GAUGE, |s| s.probe.streams_open as f64),
    ("streams_opened_total", "Event streams ever opened.", COUNTER, |s| {
        s.probe.streams_total as f64
    }),
    ("subscriptions", "Open subscriptions.", GAUGE, |s| s.probe.subscriptions_open as f64),
    ("subscriptions_opened_total", "Subscriptions ever opened.", COUNTER, |s| {
        s.probe.subscriptions_total as f64
    }),
    ("events_delivered_total", "Notifications written to subscribers.", COUNTER, |s| {
        s.probe.events_delivered as f64
    }),
    (
        "event_overflows_total",
        "Times that the event lane overflowed, so that everything counted as changed.",
        COUNTER,
        |s| s.probe.event_overflows as f64,
    ),
    ("keepalives_sent_total", "Keep-alive comments written to idle streams.", COUNTER, |s| {
        s.probe.keepalives_sent as f64
    }),
    ("sessions", "Open sessions of the legacy era.", GAUGE, |s| s.probe.sessions_open as f64),
    ("sessions_opened_total", "Sessions of the legacy era ever opened.", COUNTER, |s| {
        s.probe.sessions_opened as f64
    }),
    ("session_events", "Events that sessions keep for clients that come back.", GAUGE, |s| {
        s.probe.session_events as f64
    }),
    (
        "session_events_replayed_total",
        "Events sent again to clients that came back for them.",
        COUNTER,
        |s| s.probe.events_replayed as f64,
    ),
    (
        "responses_unasked_total",
        "Responses of clients to nothing that they were asked.",
        COUNTER,
        |s| s.probe.responses_unasked as f64,
    ),
    (
        "requests_forwarded_total",
        "Requests forwarded to the shards of their sessions.",
        COUNTER,
        |s| s.probe.forwarded as f64,
    ),
    ("relays", "Exchanges on connections of other shards.", GAUGE, |s| s.probe.relays_open as f64),
    ("received_bytes_total", "Bytes received from clients.", COUNTER, |s| {
        s.probe.received_bytes as f64
    }),
    ("sent_bytes_total", "Bytes taken by the kernel for clients.", COUNTER, |s| {
        s.probe.sent_bytes as f64
    }),
    ("sends_total", "Sends submitted.", COUNTER, |s| s.probe.sends as f64),
    ("short_sends_total", "Sends of which the kernel took a part only.", COUNTER, |s| {
        s.probe.short_sends as f64
    }),
    (
        "recv_rearms_total",
        "Receives that ended before their connection did, and were armed again.",
        COUNTER,
        |s| s.probe.recv_rearms as f64,
    ),
    ("enobufs_total", "Receives that found no buffer.", COUNTER, |s| s.probe.enobufs as f64),
    ("buffers", "Receive buffers of the shard.", GAUGE, |s| f64::from(s.probe.buffers.total)),
    ("buffers_used", "Receive buffers in use.", GAUGE, |s| f64::from(s.probe.buffers.used)),
    ("buffers_used_max", "Most receive buffers in use at once since the start.", GAUGE, |s| {
        f64::from(s.probe.buffers_used_max)
    }),
    ("budget_bytes", "Bound of the bytes in the buffers of the shard's connections.", GAUGE, |s| {
        s.probe.budget_limit_bytes as f64
    }),
    ("budget_used_bytes", "Bytes in the buffers of the shard's connections.", GAUGE, |s| {
        s.probe.budget_used_bytes as f64
    }),
    ("budget_used_max_bytes", "Most bytes in those buffers at once since the start.", GAUGE, |s| {
        s.probe.budget_used_bytes_max as f64
    }),
    ("completions_total", "Completions reaped from the ring.", COUNTER, |s| {
        s.probe.completions as f64
    }),
    ("ticks_total", "Ticks of the shard's loop.", COUNTER, |s| s.probe.ticks as f64),
    (
        "tick_busy_seconds_total",
        "Time within ticks of the shard's loop, its waits and system calls apart.",
        COUNTER,
        |s| seconds(s.probe.tick_times.busy_ns),
    ),
    ("tick_slowest_seconds", "Slowest tick since the start.", GAUGE, |s| {
        seconds(s.probe.tick_ns_max)
    }),
    ("tick_slowest_recent_seconds", "Slowest tick of the last 30 to 60 seconds.", GAUGE, |s| {
        seconds(s.tick_ns_max_recent)
    }),
    ("wakeups_total", "Waits of the shard that ended by its doorbell.", COUNTER, |s| {
        s.probe.wakeups as f64
    }),
    ("doorbell_rings_total", "Rings of the shard's doorbell by others.", COUNTER, |s| {
        s.probe.rings as f64
    }),
    ("timers", "Timers armed.", GAUGE, |s| s.probe.timers_armed as f64),
];

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
