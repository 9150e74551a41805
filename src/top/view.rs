//! What is shown: an answer, and how it differs from the one before.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::poll::Answer;
use super::status::{Shard, Status};

/// Slowest ticks that are shown.
const SLOWEST_SHOWN: usize = 5;
/// Between two answers that are closer together nothing is worth a rate, s.
const SECONDS_MIN: f64 = 0.01;

#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub(super) admin: String,
    pub(super) version: String,
    pub(super) pid: u32,
    pub(super) phase: String,
    pub(super) uptime_s: f64,
    /// Processors' worth of time that the process takes.
    pub(super) cpus: Option<f64>,
    pub(super) resident_bytes: Option<u64>,
    pub(super) threads: Option<u64>,
    pub(super) pool_running: u64,
    pub(super) pool_queued: u64,
    pub(super) pool_refused: u64,
    pub(super) total: Row,
    pub(super) shards: Vec<Row>,
    pub(super) slowest: Vec<Slow>,
    /// Why there is nothing newer.
    pub(super) gone: Option<String>,
}

/// A shard, or all of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Row {
    /// Number of the shard; none for all.
    pub(super) id: Option<u16>,
    pub(super) cpu: Option<usize>,
    /// It does not answer, or is stuck: for how long, ms.
    pub(super) silent_ms: Option<f64>,
    pub(super) connections: u64,
    pub(super) streams: u64,
    pub(super) sessions: u64,
    pub(super) calls: u64,
    /// For a second; none before there are two answers.
    pub(super) requests: Option<f64>,
    pub(super) received: Option<f64>,
    pub(super) sent: Option<f64>,
    pub(super) ticks: Option<f64>,
    /// Share of the time within ticks, 0 to 1; of all shards: the mean.
    pub(super) busy: Option<f64>,
    /// Of the ticks between both answers, else since the start.
    pub(super) tick_ns_p99: Option<u64>,
    pub(super) tick_ns_max: Option<u64>,
    pub(super) enobufs: Grown,
    pub(super) rearms: Grown,
    pub(super) refusals: Grown,
    pub(super) mailbox: u64,
    pub(super) memory_bytes: u64,
}

/// A count since the start, and by how much it grew between both answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Grown {
    pub(super) total: u64,
    pub(super) by: u64,
}

/// One of the slowest ticks.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Slow {
    pub(super) shard: u16,
    pub(super) seconds_ago: u64,
    pub(super) us: f64,
    pub(super) completions: u64,
    pub(super) answered: u64,
}

impl View {
    /// The server as `now` shows it, with rates since `before` where that is the same process.
    pub(super) fn of(admin: SocketAddr, before: Option<&Answer>, now: &Answer) -> Self {
        // In a container the next process may well have the number of the last.
        let process = |answer: &Answer| (answer.status.pid, answer.status.started_unix_ms);
        let before = before.filter(|before| process(before) == process(now));
        let seconds = before.map_or(0.0, |b| now.at.saturating_duration_since(b.at).as_secs_f64());
        let before = before.filter(|_| seconds >= SECONDS_MIN).map(|b| &b.status);
        let status = &now.status;
        let deltas: Vec<_> = status
            .shards
            .iter()
            .map(|shard| Delta { shard, before: before.and_then(|b| find(b, shard.id)), seconds })
            .collect();
        let cpu_s = |status: &Status| status.process.cpu_s;
        let cpus = before.and_then(|b| Some((cpu_s(status)? - cpu_s(b)?) / seconds));
        Self {
            admin: admin.to_string(),
            version: status.version.clone(),
            pid: status.pid,
            phase: status.phase.clone(),
            uptime_s: status.uptime_s,
            cpus: cpus.map(|cpus| cpus.max(0.0)),
            resident_bytes: status.process.resident_bytes,
            threads: status.process.threads,
            pool_running: status.pools.async_running + status.pools.blocking_running,
            pool_queued: status.pools.queued,
            pool_refused: status.pools.refused,
            total: total(&deltas),
            shards: deltas.iter().map(Delta::row).collect(),
            slowest: slowest(status),
            gone: None,
        }
    }
}

fn find(status: &Status, id: u16) -> Option<&Shard> {
    status.shards.iter().find(|shard| shard.id == id)
}

/// A shard, and how it was before.
struct Delta<'s> {
    shard: &'s Shard,
    before: Option<&'s Shard>,
    seconds: f64,
}

impl Delta<'_> {
    fn row(&self) -> Row {
        let shard = self.shard;
        let ticks = self.ticks_by_time();
        let silent = if shard.stale { shard.age_ms } else { None };
        Row {
            id: Some(shard.id),
            cpu: shard.cpu,
            silent_ms: silent.or((shard.stuck_ms >= 1_000.0).then_some(shard.stuck_ms)),
            connections: shard.connections,
            streams: shard.streams,
            sessions: shard.sessions,
            calls: shard.calls_in_flight,
            requests: self.rate(|s| s.requests),
            received: self.rate(|s| s.received_bytes),
            sent: self.rate(|s| s.sent_bytes),
            ticks: self.rate(|s| s.ticks),
            busy: self.before.map(|before| {
                ((shard.busy_us - before.busy_us) / 1e6 / self.seconds).clamp(0.0, 1.0)
            }),
            tick_ns_p99: quantile(&ticks, 0.99),
            tick_ns_max: ticks.keys().next_back().copied(),
            enobufs: self.grown(|s| s.buffers.enobufs),
            rearms: self.grown(|s| s.buffers.rearms),
            refusals: self.grown(|s| s.refusals.values().sum()),
            mailbox: waiting(shard),
            memory_bytes: shard.budget.used_bytes,
        }
    }

    fn rate(&self, of: impl Fn(&Shard) -> u64) -> Option<f64> {
        self.before.map(|before| of(self.shard).saturating_sub(of(before)) as f64 / self.seconds)
    }

    fn grown(&self, of: impl Fn(&Shard) -> u64) -> Grown {
        let total = of(self.shard);
        Grown { total, by: self.before.map_or(0, |before| total.saturating_sub(of(before))) }
    }

    fn ticks_by_time(&self) -> BTreeMap<u64, u64> {
        let mut ticks = self.shard.tick_ns_counts.clone();
        if let Some(before) = self.before {
            for (bound, count) in &before.tick_ns_counts {
                ticks.entry(*bound).and_modify(|now| *now = now.saturating_sub(*count));
            }
        }
        ticks.retain(|_, count| *count > 0);
        ticks
    }
}

/// Messages that wait, but for the question that this answers.
fn waiting(shard: &Shard) -> u64 {
    let question = u64::from(shard.mailbox_depth.get("requests").is_some_and(|&depth| depth > 0));
    shard.mailbox_depth.values().sum::<u64>() - question
}

/// What `share` of the ticks took less than.
fn quantile(ticks: &BTreeMap<u64, u64>, share: f64) -> Option<u64> {
    let rank = ticks.values().sum::<u64>() as f64 * share;
    let mut seen = 0;
    ticks
        .iter()
        .find(|(_, count)| {
            seen += **count;
            seen as f64 >= rank
        })
        .map(|(bound, _)| *bound)
}

fn total(deltas: &[Delta<'_>]) -> Row {
    let rows: Vec<_> = deltas.iter().map(Delta::row).collect();
    let sum = |of: fn(&Row) -> u64| rows.iter().map(of).sum();
    let add = |of: fn(&Row) -> Option<f64>| rows.iter().map(of).sum::<Option<f64>>();
    let grown = |of: fn(&Row) -> Grown| Grown {
        total: rows.iter().map(|row| of(row).total).sum(),
        by: rows.iter().map(|row| of(row).by).sum(),
    };
    let mut ticks = BTreeMap::new();
    for (bound, count) in deltas.iter().flat_map(Delta::ticks_by_time) {
        *ticks.entry(bound).or_default() += count;
    }
    let some = !rows.is_empty();
    Row {
        connections: sum(|row| row.connections),
        streams: sum(|row| row.streams),
        sessions: sum(|row| row.sessions),
        calls: sum(|row| row.calls),
        requests: add(|row| row.requests).filter(|_| some),
        received: add(|row| row.received).filter(|_| some),
        sent: add(|row| row.sent).filter(|_| some),
        ticks: add(|row| row.ticks).filter(|_| some),
        busy: add(|row| row.busy).filter(|_| some).map(|busy| busy / rows.len() as f64),
        tick_ns_p99: quantile(&ticks, 0.99),
        tick_ns_max: ticks.keys().next_back().copied(),
        enobufs: grown(|row| row.enobufs),
        rearms: grown(|row| row.rearms),
        refusals: grown(|row| row.refusals),
        mailbox: sum(|row| row.mailbox),
        memory_bytes: sum(|row| row.memory_bytes),
        ..Row::default()
    }
}

fn slowest(status: &Status) -> Vec<Slow> {
    // By the server's clock, as its ticks are.
    let now_s = status.started_unix_ms as f64 / 1e3 + status.uptime_s;
    let ticks = status.shards.iter().flat_map(|shard| {
        shard.ticks_slowest.iter().map(|tick| Slow {
            shard: shard.id,
            seconds_ago: whole(now_s - tick.unix_ms as f64 / 1e3),
            us: tick.us,
            completions: tick.completions,
            answered: tick.answered,
        })
    });
    let mut ticks: Vec<_> = ticks.collect();
    ticks.sort_by(|a, b| b.us.total_cmp(&a.us));
    ticks.truncate(SLOWEST_SHOWN);
    ticks
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of a minute")]
fn whole(seconds: f64) -> u64 {
    seconds.max(0.0) as u64
}
