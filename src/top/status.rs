//! What is read of `/status`. What a server of another version does not tell counts as nothing.

use std::collections::BTreeMap;

use serde::Deserialize;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) pid: u32,
    pub(super) phase: String,
    pub(super) started_unix_ms: u64,
    pub(super) uptime_s: f64,
    pub(super) process: Process,
    pub(super) pools: Pools,
    pub(super) shards: Vec<Shard>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Process {
    pub(super) cpu_s: Option<f64>,
    pub(super) resident_bytes: Option<u64>,
    pub(super) threads: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Pools {
    pub(super) async_running: u64,
    pub(super) blocking_running: u64,
    pub(super) queued: u64,
    pub(super) refused: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Shard {
    pub(super) id: u16,
    pub(super) cpu: Option<usize>,
    pub(super) stale: bool,
    pub(super) age_ms: Option<f64>,
    pub(super) stuck_ms: f64,
    pub(super) connections: u64,
    pub(super) streams: u64,
    pub(super) sessions: u64,
    pub(super) calls_in_flight: u64,
    pub(super) requests: u64,
    pub(super) refusals: BTreeMap<String, u64>,
    pub(super) received_bytes: u64,
    pub(super) sent_bytes: u64,
    pub(super) buffers: Buffers,
    pub(super) budget: Budget,
    pub(super) mailbox_depth: BTreeMap<String, u64>,
    pub(super) ticks: u64,
    pub(super) busy_us: f64,
    /// Ticks by what they took less than, ns.
    pub(super) tick_ns_counts: BTreeMap<u64, u64>,
    pub(super) ticks_slowest: Vec<SlowTick>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Buffers {
    pub(super) enobufs: u64,
    pub(super) rearms: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Budget {
    pub(super) used_bytes: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SlowTick {
    pub(super) unix_ms: u64,
    pub(super) us: f64,
    pub(super) completions: u64,
    pub(super) answered: u64,
}
