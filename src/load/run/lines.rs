//! What a run says while it goes on, as text: its announcement, a line for a second.

use std::fmt::Write as _;
use std::path::Path;

use ringmesh_runtime::load::sample::{Times, WorkloadSample, times};
use ringmesh_runtime::load::script::Script;

use crate::config::one_line;
use crate::load::plan::Plan;
use crate::load::record::Second;

/// Targets that the announcement names; of more it gives the number.
const TARGETS_NAMED_MAX: usize = 4;

/// What will run, a line each, warnings last.
pub(crate) fn announcement(plan: &Plan, servers: &[String]) -> Vec<String> {
    let script = &plan.script;
    let mut lines = vec![
        one_line(plan.title.clone()),
        format!("against {}", targets(script)),
        format!(
            "up to {} connections, {} in {} of {}",
            connections_max(script),
            phases(script),
            count(script.phases.len(), "phase"),
            duration(script.end_ns() as f64 / 1e9),
        ),
        format!("{}, {}", roles(plan), watched(servers)),
        format!("results in {}", shown(&plan.out)),
    ];
    lines.extend(plan.warnings.iter().map(|warning| format!("warning: {warning}")));
    lines
}

fn targets(script: &Script) -> String {
    let names: Vec<&str> = script.targets.iter().map(|target| target.name.as_str()).collect();
    match names.len() {
        0..=TARGETS_NAMED_MAX => names.join(", "),
        more => format!(
            "{} and {} more",
            names[..TARGETS_NAMED_MAX].join(", "),
            more - TARGETS_NAMED_MAX
        ),
    }
}

fn connections_max(script: &Script) -> u32 {
    let most = script.phases.iter().map(|phase| phase.connections_from.max(phase.connections_to));
    most.max().unwrap_or(0)
}

fn phases(script: &Script) -> String {
    let rate = script.phases.iter().map(|phase| phase.rate_per_s).fold(0.0, f64::max);
    let closed = script.workloads.iter().any(|workload| workload.closed);
    match (rate > 0.0, closed) {
        (true, false) => format!("up to {} calls/s", figure(rate)),
        (true, true) => format!("up to {} calls/s and closed loops", figure(rate)),
        (false, true) => "closed loops".to_owned(),
        (false, false) => "no calls but the first".to_owned(),
    }
}

fn roles(plan: &Plan) -> String {
    let roles = count(plan.shards.into(), "role");
    let mut cpus = plan.cpus.clone();
    cpus.sort_unstable();
    cpus.dedup();
    match cpus.as_slice() {
        [] => roles,
        [cpu] => format!("{roles} on cpu {cpu}"),
        cpus => {
            let cpus: Vec<String> = cpus.iter().map(ToString::to_string).collect();
            format!("{roles} on cpus {}", cpus.join(", "))
        }
    }
}

fn watched(servers: &[String]) -> String {
    match servers {
        [] => "no server's process is watched".to_owned(),
        [server] => format!("server: {server}"),
        servers => format!("servers: {}", servers.join(", ")),
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// A second in one line, of at most 100 columns where figures are of usual size.
pub(crate) fn second(script: &Script, second: &Second) -> String {
    let phase = script.phases.get(second.phase).map_or("", |phase| phase.name.as_str());
    let mut line = format!("{:>6.1}s {phase:<8} {}", second.to_s, figures(second));
    line.truncate(line.trim_end().len());
    line
}

/// The figures of a second.
pub(crate) fn figures(second: &Second) -> String {
    let length_s = (second.to_s - second.from_s).max(0.001);
    let sum = |of: fn(&WorkloadSample) -> u64| second.workloads.iter().map(of).sum::<u64>();
    let per_s = |count: u64| figure(count as f64 / length_s);
    let established = sum(|of| of.established.into());
    let mut line = format!("{established}/{} connections", second.wanted);
    let (due, answered, updates) = (sum(|of| of.due), sum(|of| of.answered), sum(|of| of.updates));
    if due > 0 || answered > 0 {
        put(&mut line, format_args!(" · {}/{} calls/s", per_s(answered), per_s(due)));
    }
    if updates > 0 {
        put(&mut line, format_args!(" · {} updates/s", per_s(updates)));
    }
    if let Some((name, shown)) = times_of(second) {
        let (p50, p99) = (shown.value_at_quantile(0.5), shown.value_at_quantile(0.99));
        put(&mut line, format_args!(" · {name}p50 {} p99 {}", time(p50), time(p99)));
    }
    let faults = sum(|of| of.faults.iter().sum());
    if faults > 0 {
        put(&mut line, format_args!(" · {faults} errors"));
    }
    line
}

/// The times that say most of a second: of calls, or else of updates, or else of opening.
fn times_of(second: &Second) -> Option<(&'static str, Times)> {
    let merged = |of: fn(&WorkloadSample) -> &Times| {
        let mut all = times();
        for workload in &second.workloads {
            all.add(of(workload)).expect("the same bounds");
        }
        (!all.is_empty()).then_some(all)
    };
    let named = |name, all: Option<Times>| all.map(|all| (name, all));
    named("", merged(|of| &of.latency))
        .or_else(|| named("delivery ", merged(|of| &of.delivery)))
        .or_else(|| named("opening ", merged(|of| &of.opening_time)))
}

/// What is said once a child, an admin listener or the user makes a difference.
pub(crate) fn note(text: &str) -> String {
    format!("note: {}", one_line(text.to_owned()))
}

/// Three digits, as people read rates: 9.51, 85.3, 4990, 12.3k, 1.20M.
pub(crate) fn figure(value: f64) -> String {
    match value {
        _ if value < 10.0 && value.fract() != 0.0 => format!("{value:.2}"),
        _ if value < 100.0 && value.fract() != 0.0 => format!("{value:.1}"),
        _ if value < 10_000.0 => format!("{value:.0}"),
        _ if value < 1e6 => format!("{:.1}k", value / 1e3),
        _ => format!("{:.2}M", value / 1e6),
    }
}

/// µs as people read them.
fn time(us: u64) -> String {
    match us {
        0..1_000 => format!("{us}µs"),
        1_000..10_000 => format!("{:.2}ms", us as f64 / 1e3),
        10_000..1_000_000 => format!("{:.0}ms", us as f64 / 1e3),
        _ => format!("{:.1}s", us as f64 / 1e6),
    }
}

/// Seconds as people read them.
fn duration(seconds: f64) -> String {
    match seconds {
        _ if seconds < 120.0 => format!("{} s", (seconds * 10.0).round() / 10.0),
        _ if seconds < 7_200.0 => format!("{:.0} min", seconds / 60.0),
        _ => format!("{:.1} h", seconds / 3_600.0),
    }
}

fn count(number: usize, of: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {of}{plural}")
}

fn put(line: &mut String, text: std::fmt::Arguments<'_>) {
    line.write_fmt(text).expect("a string takes all");
}

#[cfg(test)]
mod tests {
    use ringmesh_runtime::load::sample::{Fault, record_ns};

    use super::*;
    use crate::load::run::fixtures;

    #[test]
    fn numbers_read_well() {
        for (value, text) in [
            (0.0, "0"),
            (0.5, "0.50"),
            (9.5, "9.50"),
            (85.34, "85.3"),
            (999.6, "1000"),
            (4_990.0, "4990"),
            (12_340.0, "12.3k"),
            (1_200_000.0, "1.20M"),
        ] {
            assert_eq!(figure(value), text);
        }
        for (us, text) in
            [(7, "7µs"), (999, "999µs"), (1_250, "1.25ms"), (28_300, "28ms"), (2_400_000, "2.4s")]
        {
            assert_eq!(time(us), text);
        }
        for (s, text) in [(5.0, "5 s"), (7.25, "7.3 s"), (330.0, "6 min"), (9_000.0, "2.5 h")] {
            assert_eq!(duration(s), text);
        }
        assert_eq!((count(1, "role"), count(2, "role")), ("1 role".into(), "2 roles".into()));
    }

    #[test]
    fn a_second_is_a_line() {
        let script = fixtures::script(&[(1_000, 0, 100), (5_000, 100, 100)]);
        let mut told = fixtures::second(11.0);
        (told.phase, told.wanted) = (1, 100);
        let quiet = "  12.0s phase-1  0/100 connections";
        assert_eq!(second(&script, &told), quiet);
        let workload = &mut told.workloads[0];
        workload.established = 98;
        record_ns(&mut workload.opening_time, 2_500_000);
        let opening = "  12.0s phase-1  98/100 connections · opening p50 2.50ms p99 2.50ms";
        assert_eq!(second(&script, &told), opening);
        let workload = &mut told.workloads[0];
        (workload.due, workload.answered) = (5_000, 4_990);
        workload.faults[Fault::Timeout.index()] = 10;
        for ns in [400_000, 400_000, 900_000] {
            record_ns(&mut workload.latency, ns);
        }
        let calls = "  12.0s phase-1  98/100 connections · 4990/5000 calls/s · p50 400µs p99 900µs \
                     · 10 errors";
        assert_eq!(second(&script, &told), calls);
    }

    #[test]
    fn an_announcement_says_what_will_run() {
        let mut plan = fixtures::plan(&[(1_000, 0, 100), (299_000, 100, 100)]);
        plan.warnings = vec!["conntrack counts these".to_owned()];
        let lines = announcement(&plan, &["ringmesh (4711)".to_owned()]);
        assert_eq!(
            lines,
            [
                "A run".to_owned(),
                "against http://127.0.0.1:8080/mcp".to_owned(),
                "up to 100 connections, up to 500 calls/s in 2 phases of 5 min".to_owned(),
                "2 roles on cpu 1, server: ringmesh (4711)".to_owned(),
                format!("results in {}", plan.out.display()),
                "warning: conntrack counts these".to_owned(),
            ]
        );
    }
}
