//! What a run comes to: the tally and the readings of resources as a [`Summary`].

use ringmesh_runtime::load::sample::Fault;
use ringmesh_runtime::load::script::{Kind, Script, Workload};
use serde_json::Map;

use super::manifest::Surroundings;
use super::tally::{Count, Tally};
use super::usage::Usage;
use super::verdict::{self, Evidence};
use super::{float, hdr, ratio, rounded, time};
use crate::load::plan::Plan;
use crate::load::record::{
    Connections, Ended, Generator, Part, Percentiles, Rate, ServerFigures, Summary,
};

/// Version of `summary.json`.
pub(crate) const FORMAT: u32 = 1;

/// Everything that a summary is made of.
pub(super) struct Sources<'a> {
    pub(super) plan: &'a Plan,
    pub(super) surroundings: &'a Surroundings,
    pub(super) tally: &'a Tally,
    pub(super) usage: &'a Usage,
    /// Cores that the generator's threads may use, and cores of the machine.
    pub(super) cores: f64,
    pub(super) machine_cores: f64,
}

/// Without assertions: they are about it.
pub(super) fn summary(sources: &Sources<'_>, ended: Ended) -> Summary {
    let Sources { plan, surroundings, tally, usage, cores, machine_cores } = *sources;
    let (script, whole) = (&*plan.script, &tally.whole);
    let (measured_s, cpu) = (tally.measured_s(), usage.measured());
    let server = server(sources);
    let shares = tally.shards.iter().map(|shard| ratio(shard.cpu_measured_s, measured_s));
    let answered_cpu = ratio(float(whole.answered_in_time), measured_s);
    let evidence = Evidence {
        script,
        tally,
        measured_s,
        cpu,
        cores,
        machine_cores,
        server: server.map(|figures| (cpu.server_cores(), usable(surroundings, figures.cores))),
    };
    let why = verdict::reasons(&evidence);
    let faults = Fault::ALL.iter().map(|fault| (fault, whole.faults[fault.index()]));
    let faults = faults.filter(|(_, count)| *count > 0);
    Summary {
        format: FORMAT,
        title: plan.title.clone(),
        targets: script.targets.iter().map(|target| target.name.clone()).collect(),
        started: time::rfc3339(surroundings.started),
        ended,
        run_s: rounded(tally.run_s),
        measured_s: rounded(measured_s),
        connections: connections(whole, wanted(script, |_| true)),
        requests: whole.sent,
        answered: whole.answered,
        abandoned: whole.abandoned,
        errors: whole.errors(),
        faults: faults
            .map(|(fault, count)| (fault.label().into(), count.into()))
            .collect::<Map<_, _>>(),
        rate_per_s: rate(whole, measured_s),
        latency_ms: hdr::percentiles(&whole.latency),
        service_ms: hdr::percentiles(&whole.service),
        opening_ms: hdr::percentiles(&whole.opening_time),
        first_call_ms: hdr::percentiles(&whole.first_call),
        delivery_ms: hdr::percentiles(&whole.delivery),
        updates: whole.updates,
        comments: whole.comments,
        late_ms: hdr::percentiles(&tally.late),
        generator_saturated: !why.is_empty(),
        generator_saturated_why: why,
        generator: Generator {
            shards: u32::from(plan.shards),
            busy_cores: rounded(cpu.generator_cores()),
            cores,
            busiest_share: rounded(shares.fold(0.0, f64::max)),
            cpu_us_per_request: rounded(1e6 * ratio(cpu.generator_cores(), answered_cpu)),
            pacing_ms: rounded(float(script.pacing_ns) / 1e6),
        },
        server,
        server_unknown_why: surroundings.server.as_ref().err().cloned(),
        phases: phases(sources),
        workloads: workloads(sources),
        examples: tally.examples.iter().map(example).collect(),
        assertions: Vec::new(),
    }
}

fn example((fault, text): &(Fault, String)) -> String {
    format!("{}: {text}", fault.label())
}

fn server(sources: &Sources<'_>) -> Option<ServerFigures> {
    let servers = sources.surroundings.server.as_ref().ok()?;
    let rss_bytes_max = sources.usage.server_rss_max_bytes.unwrap_or(0);
    let (cpu, measured_s) = (sources.usage.measured(), sources.tally.measured_s());
    let per_s = ratio(float(sources.tally.whole.answered_in_time), measured_s);
    Some(ServerFigures {
        pids: u32::try_from(servers.pids.len()).unwrap_or(u32::MAX),
        cpu_us_per_request: rounded(1e6 * ratio(cpu.server_cores(), per_s)),
        busy_cores: rounded(cpu.server_cores()),
        cores: servers.cores,
        rss_bytes_per_connection: rounded(sources.usage.server_bytes_per_client()),
        rss_bytes_max,
    })
}

/// Cores that the servers can be expected to fill: no more than they may use, and than they have
/// shards. Where that is not known, one for each process, so that a server of one thread is never
/// taken for idle.
fn usable(surroundings: &Surroundings, cores: Option<f64>) -> f64 {
    let told = surroundings.plans.iter().map(|(_, plan)| plan.as_ref()?["shards"].as_u64());
    let shards = told.sum::<Option<u64>>().filter(|shards| *shards > 0);
    let pids = surroundings.server.as_ref().map_or(1, |servers| servers.pids.len().max(1));
    let threads = float(shards.unwrap_or(pids as u64));
    cores.map_or(threads, |cores| cores.min(threads))
}

fn phases(sources: &Sources<'_>) -> Vec<Part> {
    let phases = sources.plan.script.phases.iter().zip(&sources.tally.phases).enumerate();
    let part = |(index, (phase, count)): (usize, (_, &Count))| {
        let phase: &ringmesh_runtime::load::script::Phase = phase;
        let seconds = sources.tally.phases_s[index];
        let cores = sources.usage.phase(index).server_cores();
        let per_s = ratio(float(count.answered_in_time), seconds);
        let known = sources.surroundings.server.is_ok() && count.answered_in_time > 0;
        let wanted = phase.connections_from.max(phase.connections_to);
        let mut part = part(&phase.name, phase.kind.name(), seconds, count, wanted.into());
        part.server_cpu_us_per_request = known.then(|| rounded(1e6 * ratio(cores, per_s)));
        part
    };
    phases.map(part).collect()
}

fn workloads(sources: &Sources<'_>) -> Vec<Part> {
    let (script, measured_s) = (&sources.plan.script, sources.tally.measured_s());
    let workloads = script.workloads.iter().zip(&sources.tally.workloads).enumerate();
    let part = |(index, (workload, count)): (usize, (&Workload, &Count))| {
        let wanted = wanted(script, |seat| usize::from(seat) == index);
        part(&workload.name, speech(&workload.kind), measured_s, count, wanted)
    };
    workloads.map(part).collect()
}

fn part(name: &str, kind: &str, seconds: f64, count: &Count, wanted: u64) -> Part {
    Part {
        name: name.to_owned(),
        kind: kind.to_owned(),
        seconds: rounded(seconds),
        connections: connections(count, wanted),
        requests: count.sent,
        answered: count.answered,
        errors: count.errors(),
        rate_per_s: rate(count, seconds),
        latency_ms: hdr::percentiles(&count.latency),
        first_call_ms: hdr::percentiles(&count.first_call),
        delivery_ms: hdr::percentiles(&count.delivery),
        updates: count.updates,
        server_cpu_us_per_request: None,
    }
}

fn connections(count: &Count, wanted: u64) -> Connections {
    let Count { most, lost, failed, .. } = *count;
    Connections { wanted, established: most, lost, failed }
}

fn rate(count: &Count, seconds: f64) -> Rate {
    let per_s = |calls| rounded(ratio(float(calls), seconds));
    Rate { offered: per_s(count.due_measured), achieved: per_s(count.answered_in_time) }
}

/// Most seats connected at once, of the workloads that `of` picks.
fn wanted(script: &Script, of: impl Fn(u8) -> bool) -> u64 {
    let most = script.phases.iter().map(|phase| phase.connections_from.max(phase.connections_to));
    let most = usize::try_from(most.max().unwrap_or(0)).unwrap_or(usize::MAX);
    let seats = script.seats.iter().take(most).filter(|seat| of(seat.workload));
    seats.count().try_into().unwrap_or(u64::MAX)
}

/// How a workload speaks, for people.
pub(super) fn speech(kind: &Kind) -> &'static str {
    match kind {
        Kind::Http => "http",
        Kind::HttpSession { stream: false, .. } => "http session",
        Kind::HttpSession { stream: true, .. } => "http session with stream",
        Kind::Listen { .. } => "listen",
        Kind::Lines => "lines",
        Kind::LinesSession { .. } => "lines session",
    }
}

/// Percentiles as one line.
pub(super) fn line(p: &Percentiles) -> String {
    let Percentiles { p50, p90, p99, p999, max, .. } = p;
    format!("p50 {p50:.3}  p90 {p90:.3}  p99 {p99:.3}  p99.9 {p999:.3}  max {max:.3} ms")
}
