//! Whether the generator, and not the server, limited what was measured.
//!
//! A saturated generator sends late and reads late: its latencies are its own, and its rate is not
//! the server's limit. The bounds are where that begins to show, not where it is complete.

use ringmesh_runtime::load::script::{Kind, Script};

use super::tally::Tally;
use super::usage::Cpu;
use super::{float, hdr, ratio};

/// Share of a core, of one role's thread or of all cores together, from which work waits for the
/// generator: a thread that is so busy has a queue before it at any moment.
pub(super) const BUSY_SHARE_MAX: f64 = 0.95;
/// Lateness at p99 below which it never matters, ms, besides the script's pacing: timers of the
/// kernel and one long tick.
pub(super) const LATE_P99_MS_MAX: f64 = 1.0;
/// Lateness at p99 over latency at p99 from which latency says more of the generator.
pub(super) const LATE_SHARE_MAX: f64 = 0.25;
/// Calls answered over calls due, below which a server with idle CPU is not what is slow.
pub(super) const ACHIEVED_SHARE_MIN: f64 = 0.95;
/// Share of its cores below which a server has idle CPU.
pub(super) const SERVER_IDLE_SHARE: f64 = 0.9;
/// Share of the machine's cores from which none of them is idle.
pub(super) const MACHINE_FULL_SHARE: f64 = 0.95;
/// Share of those that others than generator and server may have before it matters.
pub(super) const OTHERS_SHARE_MAX: f64 = 0.1;

/// What a verdict is founded on.
pub(super) struct Evidence<'a> {
    pub(super) script: &'a Script,
    pub(super) tally: &'a Tally,
    pub(super) measured_s: f64,
    pub(super) cpu: Cpu,
    /// Cores of the generator, and of the machine.
    pub(super) cores: f64,
    pub(super) machine_cores: f64,
    /// Cores that the server used, and those that it could fill; `None` where it is not known.
    pub(super) server: Option<(f64, f64)>,
}

/// Why the generator is the limit, a line each; empty if it is not.
pub(super) fn reasons(evidence: &Evidence<'_>) -> Vec<String> {
    let mut reasons = Vec::new();
    let callers = || {
        let workloads = evidence.script.workloads.iter();
        workloads.filter(|workload| !matches!(workload.kind, Kind::Listen { .. }))
    };
    reasons.extend(busy(evidence));
    reasons.extend(disturbed(evidence));
    if callers().any(|workload| !workload.closed) {
        reasons.extend(late(evidence));
        reasons.extend(not_sent(evidence));
    }
    reasons
}

fn busy(evidence: &Evidence<'_>) -> Option<String> {
    let shares = evidence.tally.shards.iter().map(|shard| shard.cpu_measured_s);
    let shares = shares.map(|cpu_s| ratio(cpu_s, evidence.measured_s)).collect::<Vec<_>>();
    let busiest = shares.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
    let of_all =
        ratio(shares.iter().sum::<f64>().max(evidence.cpu.generator_cores()), evidence.cores);
    let percent = |share: f64| (share * 100.0).round();
    match busiest {
        Some((shard, share)) if share > BUSY_SHARE_MAX => {
            Some(format!("thread {shard} was busy for {} % of the time", percent(share)))
        }
        _ if of_all > BUSY_SHARE_MAX => {
            Some(format!("its cores ({}) were busy to {} %", evidence.cores, percent(of_all)))
        }
        _ => None,
    }
}

/// Whether no core of the machine was idle.
fn is_full(evidence: &Evidence<'_>) -> bool {
    evidence.cpu.machine_cores() > MACHINE_FULL_SHARE * evidence.machine_cores
}

/// Where other programs take what generator and server could have used, figures are of all of them.
/// Of a server that is not known, or is elsewhere, this cannot be told.
fn disturbed(evidence: &Evidence<'_>) -> Option<String> {
    let (server, _) = evidence.server?;
    let (cpu, cores) = (evidence.cpu, evidence.machine_cores);
    let others = cpu.machine_cores() - cpu.generator_cores() - server;
    let matters = is_full(evidence) && others > OTHERS_SHARE_MAX * cores;
    matters.then(|| {
        format!("other programs took {others:.1} of the machine's {cores} cores, and none was idle")
    })
}

fn late(evidence: &Evidence<'_>) -> Option<String> {
    let late_ms = hdr::percentiles(&evidence.tally.late).p99;
    let latency_ms = hdr::percentiles(&evidence.tally.whole.latency).p99;
    let late_max_ms = LATE_P99_MS_MAX + float(evidence.script.pacing_ns) / 1e6;
    let matters = late_ms > late_max_ms && late_ms > LATE_SHARE_MAX * latency_ms;
    matters.then(|| format!("it sent late: p99 {late_ms} ms, where latency is {latency_ms} ms"))
}

/// Where calls stay away although the server could do more. Of a server whose CPU is not known
/// only calls that were never sent tell. A server that stands still, idle as it is, is not the
/// generator's fault.
fn not_sent(evidence: &Evidence<'_>) -> Option<String> {
    let count = &evidence.tally.whole;
    let missing = count.due_measured.saturating_sub(count.answered_measured);
    if missing > 0 && evidence.tally.stalled_due.saturating_mul(2) > missing {
        return None;
    }
    let full = is_full(evidence);
    let idle = evidence.server.map(|(busy, cores)| !full && busy < SERVER_IDLE_SHARE * cores);
    let not_sent = count.not_sent_measured;
    let achieved = ratio(float(count.answered_measured), float(count.due_measured));
    match idle {
        Some(false) => None,
        Some(true) | None if not_sent > 0 => {
            let cpu = if idle.is_some() { "had idle CPU" } else { "may have had idle CPU" };
            Some(format!(
                "{not_sent} calls were not sent, since no connection was idle, and the server {cpu}"
            ))
        }
        // Calls that failed are the server's, those that are neither are still somewhere.
        Some(true) if missing > 0 && achieved < ACHIEVED_SHARE_MIN && !failed(count, missing) => {
            let percent = (achieved * 100.0).round();
            Some(format!("{percent} % of calls due were answered, and the server had idle CPU"))
        }
        _ => None,
    }
}

/// Whether faults explain most of the calls that were not answered.
fn failed(count: &super::tally::Count, missing: u64) -> bool {
    count.errors().saturating_mul(2) > missing
}
