//! What `/status` shows, and the summary that the process shows itself.

use super::Plane;
use super::census::{ShardView, Snapshot};
use super::process::ProcessUse;
use super::state::Phase;
use crate::tools::PoolStats;
use ringmesh_runtime::probe::{Bound, Lane, Outcome, SessionEnd, Transport};
use ringmesh_runtime::ticks::{Tick, bound_ns};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::time::Duration;

/// Counts by name; those that are zero are left out where the type says so.
type Counts = BTreeMap<&'static str, u64>;

/// The whole of `/status`.
#[derive(Serialize)]
pub(super) struct Status<'p> {
    name: &'static str,
    version: &'static str,
    commit: Option<&'static str>,
    pid: u32,
    phase: &'static str,
    started_unix_ms: u64,
    uptime_s: f64,
    process: Process,
    plan: &'p Map<String, Value>,
    totals: Totals,
    pools: Pools,
    shards: Vec<Shard>,
}

/// Sums over the shards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct Totals {
    connections: u64,
    connections_accepted: u64,
    streams: u64,
    subscriptions: u64,
    sessions: u64,
    calls_in_flight: u64,
    requests: u64,
    refusals: u64,
    received_bytes: u64,
    sent_bytes: u64,
}

/// What the kernel says; what it does not say is null.
#[derive(Serialize)]
struct Process {
    cpu_s: Option<f64>,
    resident_bytes: Option<u64>,
    threads: Option<u64>,
    open_fds: Option<usize>,
}

#[derive(Serialize)]
struct Pools {
    async_running: u64,
    blocking_running: u64,
    blocking_lost: u64,
    queued: u64,
    refused: u64,
}

#[derive(Serialize)]
struct Shard {
    id: u16,
    cpu: Option<usize>,
    /// It did not answer: the rest is from its last answer.
    stale: bool,
    age_ms: Option<f64>,
    stuck_ms: f64,
    connections: u64,
    connections_by_transport: Counts,
    connections_accepted: u64,
    streams: u64,
    streams_opened: u64,
    subscriptions: u64,
    subscriptions_opened: u64,
    events_delivered: u64,
    event_overflows: u64,
    keepalives_sent: u64,
    sessions: u64,
    sessions_opened: u64,
    /// By what ended them, those that occurred.
    sessions_ended: Counts,
    session_events: u64,
    session_events_replayed: u64,
    responses_unasked: u64,
    /// To the shards of their sessions.
    requests_forwarded: u64,
    /// Exchanges on connections of other shards.
    relays: u64,
    calls_in_flight: u64,
    requests: u64,
    /// Those that occurred.
    requests_by_outcome: Counts,
    latency_us: Latency,
    /// Those that occurred.
    refusals: Counts,
    received_bytes: u64,
    sent_bytes: u64,
    buffers: Buffers,
    budget: Budget,
    timers: u64,
    mailbox_depth: Counts,
    mailbox_busy: Counts,
    ticks: u64,
    /// Within ticks: the waits and system calls between them are not part of it.
    busy_us: f64,
    /// Ticks by what they took less than, those that occurred.
    tick_ns_counts: BTreeMap<u64, u64>,
    tick_slowest_us: f64,
    tick_slowest_recent_us: f64,
    /// Of the last minute, slowest first.
    ticks_slowest: Vec<SlowTick>,
    wakeups: u64,
}

#[derive(Serialize)]
struct SlowTick {
    /// When it began.
    unix_ms: u64,
    us: f64,
    completions: u64,
    answered: u64,
}

/// Quantiles since the start.
#[derive(Serialize)]
struct Latency {
    p50: u64,
    p99: u64,
    p999: u64,
    max: u64,
}

#[derive(Serialize)]
struct Buffers {
    total: u32,
    used: u32,
    used_max: u32,
    enobufs: u64,
    rearms: u64,
}

#[derive(Serialize)]
struct Budget {
    limit_bytes: u64,
    used_bytes: u64,
    used_bytes_max: u64,
}

impl<'p> Status<'p> {
    /// The process as `snapshot` shows it.
    pub(super) fn of(plane: &'p Plane, snapshot: &Snapshot) -> Self {
        let stuck = |shard| plane.watch.borrow().stuck(shard);
        let shards = snapshot.shards.iter().enumerate();
        Self {
            name: "ringmesh",
            version: env!("CARGO_PKG_VERSION"),
            commit: option_env!("RINGMESH_COMMIT"),
            pid: std::process::id(),
            phase: plane.state.phase().label(),
            started_unix_ms: plane.state.started_unix_ms(),
            uptime_s: rounded(plane.state.uptime().as_secs_f64()),
            process: Process::of(&ProcessUse::read()),
            plan: &plane.plan,
            totals: Totals::of(snapshot),
            pools: Pools::of(plane.pools.stats()),
            shards: shards.map(|(at, view)| Shard::of(view, stuck(at))).collect(),
        }
    }
}

impl Totals {
    fn of(snapshot: &Snapshot) -> Self {
        let mut totals = Self::default();
        for view in &snapshot.shards {
            let probe = &view.probe;
            totals.connections += connections(view).values().sum::<u64>();
            totals.connections_accepted += probe.connections_accepted.iter().sum::<u64>();
            totals.streams += probe.streams_open;
            totals.subscriptions += probe.subscriptions_open;
            totals.sessions += probe.sessions_open;
            totals.calls_in_flight += probe.calls_in_flight;
            totals.requests += requests(view).values().sum::<u64>();
            totals.refusals += probe.refusals.iter().sum::<u64>();
            totals.received_bytes += probe.received_bytes;
            totals.sent_bytes += probe.sent_bytes;
        }
        totals
    }
}

impl Process {
    fn of(seen: &ProcessUse) -> Self {
        Self {
            cpu_s: seen.cpu_s.map(rounded),
            resident_bytes: seen.resident_bytes,
            threads: seen.threads,
            open_fds: seen.open_fds,
        }
    }
}

impl Pools {
    fn of(stats: PoolStats) -> Self {
        let PoolStats { async_running, blocking_running, blocking_lost, queued, refused } = stats;
        Self { async_running, blocking_running, blocking_lost, queued, refused }
    }
}

impl Shard {
    fn of(view: &ShardView, stuck: Duration) -> Self {
        let probe = &*view.probe;
        let (by_transport, by_outcome) = (connections(view), requests(view));
        let quantile = |q| probe.latency_us.value_at_quantile(q);
        let us = |ns: u64| ns as f64 / 1e3;
        Self {
            id: view.id,
            cpu: view.cpu,
            stale: view.stale,
            age_ms: view.age.map(ms),
            stuck_ms: ms(stuck),
            connections: by_transport.values().sum(),
            connections_by_transport: by_transport,
            connections_accepted: probe.connections_accepted.iter().sum(),
            streams: probe.streams_open,
            streams_opened: probe.streams_total,
            subscriptions: probe.subscriptions_open,
            subscriptions_opened: probe.subscriptions_total,
            events_delivered: probe.events_delivered,
            event_overflows: probe.event_overflows,
            keepalives_sent: probe.keepalives_sent,
            sessions: probe.sessions_open,
            sessions_opened: probe.sessions_opened,
            sessions_ended: occurred(
                SessionEnd::ALL.iter().map(|c| (c.label(), probe.sessions_ended[c.index()])),
            ),
            session_events: probe.session_events,
            session_events_replayed: probe.events_replayed,
            responses_unasked: probe.responses_unasked,
            requests_forwarded: probe.forwarded,
            relays: probe.relays_open,
            calls_in_flight: probe.calls_in_flight,
            requests: by_outcome.values().sum(),
            requests_by_outcome: by_outcome,
            latency_us: Latency {
                p50: quantile(0.5),
                p99: quantile(0.99),
                p999: quantile(0.999),
                max: probe.latency_us.max(),
            },
            refusals: occurred(Bound::ALL.iter().map(|b| (b.label(), probe.refusals[b.index()]))),
            received_bytes: probe.received_bytes,
            sent_bytes: probe.sent_bytes,
            buffers: Buffers {
                total: probe.buffers.total,
                used: probe.buffers.used,
                used_max: probe.buffers_used_max,
                enobufs: probe.enobufs,
                rearms: probe.recv_rearms,
            },
            budget: Budget {
                limit_bytes: probe.budget_limit_bytes,
                used_bytes: probe.budget_used_bytes,
                used_bytes_max: probe.budget_used_bytes_max,
            },
            timers: probe.timers_armed,
            mailbox_depth: lanes(&probe.mailbox_depth),
            mailbox_busy: lanes(&probe.mailbox_busy),
            ticks: probe.ticks,
            busy_us: us(probe.tick_times.busy_ns),
            tick_ns_counts: tick_counts(&probe.tick_times.counts),
            tick_slowest_us: us(probe.tick_ns_max),
            tick_slowest_recent_us: us(view.tick_ns_max_recent),
            ticks_slowest: view.slowest.iter().map(SlowTick::of).collect(),
            wakeups: probe.wakeups,
        }
    }
}

impl SlowTick {
    fn of(tick: &Tick) -> Self {
        let Tick { unix_ms, ns, completions, answered } = *tick;
        Self { unix_ms, us: ns as f64 / 1e3, completions, answered }
    }
}

fn tick_counts(counts: &[u64]) -> BTreeMap<u64, u64> {
    let places = counts.iter().enumerate().filter(|(_, count)| **count > 0);
    places.map(|(place, count)| (bound_ns(place), *count)).collect()
}

/// Open connections of the transports that were ever used.
fn connections(view: &ShardView) -> Counts {
    let used = |t: &&Transport| view.probe.connections_accepted[t.index()] > 0;
    let used = Transport::ALL.iter().filter(used);
    used.map(|&t| (t.label(), view.probe.connections_open(t))).collect()
}

fn requests(view: &ShardView) -> Counts {
    let sum = |o: &Outcome| view.probe.requests.iter().map(|by| by[o.index()]).sum();
    occurred(Outcome::ALL.iter().map(|o| (o.label(), sum(o))))
}

fn lanes(values: &[u64; Lane::COUNT]) -> Counts {
    Lane::ALL.iter().map(|lane| (lane.label(), values[lane.index()])).collect()
}

fn occurred(counts: impl Iterator<Item = (&'static str, u64)>) -> Counts {
    counts.filter(|&(_, count)| count > 0).collect()
}

fn ms(duration: Duration) -> f64 {
    rounded(duration.as_secs_f64() * 1e3)
}

/// To three decimals.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// The few numbers that the process shows of itself to its clients.
#[derive(Serialize)]
pub(super) struct Summary {
    phase: &'static str,
    uptime_s: u64,
    shards: usize,
    connections: u64,
    streams: u64,
    subscriptions: u64,
    sessions: u64,
    calls_in_flight: u64,
    requests: u64,
}

impl Summary {
    /// The process as `snapshot` shows it.
    pub(super) fn of(phase: Phase, uptime: Duration, snapshot: &Snapshot) -> Self {
        let totals = Totals::of(snapshot);
        Self {
            phase: phase.label(),
            uptime_s: uptime.as_secs(),
            shards: snapshot.shards.len(),
            connections: totals.connections,
            streams: totals.streams,
            subscriptions: totals.subscriptions,
            sessions: totals.sessions,
            calls_in_flight: totals.calls_in_flight,
            requests: totals.requests,
        }
    }
}
