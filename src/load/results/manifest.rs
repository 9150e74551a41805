//! `manifest.json`: the machine, its limits and settings, the program and both plans; what has to
//! be the same for a run to be repeated.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use nix::sys::resource::{Resource, getrlimit};
use serde_json::{Map, Value, json};

use super::summary::speech;
use super::text::cut;
use super::{rounded, tally, time};
use crate::load::plan::Plan;
use ringmesh_runtime::load::script::{Endpoint, Script, Workload};

/// What the coordinator found out before a run began.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    /// The time of day of the run's begin.
    pub(crate) started: SystemTime,
    /// The servers on this machine, or why none is known, one line.
    pub(crate) server: Result<Servers, String>,
    /// Each admin address' name and the server's `plan` from its `/status`, where it told one.
    pub(crate) plans: Vec<(String, Option<Value>)>,
    /// What it was called with.
    pub(crate) argv: Vec<String>,
}

/// Servers that run on this machine.
#[derive(Clone, Debug)]
pub(crate) struct Servers {
    pub(crate) pids: Vec<u32>,
    /// Cores that they may use (`sched_getaffinity(2)`), if known.
    pub(crate) cores: Option<f64>,
}

/// Longest text that is taken over from a file of the kernel, bytes.
const TEXT_MAX: usize = 4_096;

const SYSCTLS: [&str; 16] = [
    "fs/file-max",
    "fs/nr_open",
    "kernel/io_uring_disabled",
    "net/core/netdev_max_backlog",
    "net/core/rmem_max",
    "net/core/somaxconn",
    "net/core/wmem_max",
    "net/ipv4/ip_local_port_range",
    "net/ipv4/tcp_max_syn_backlog",
    "net/ipv4/tcp_mem",
    "net/ipv4/tcp_rmem",
    "net/ipv4/tcp_tw_reuse",
    "net/ipv4/tcp_wmem",
    "net/netfilter/nf_conntrack_count",
    "net/netfilter/nf_conntrack_max",
    "vm/max_map_count",
];

/// Everything; what this machine does not tell is `null` or left out.
pub(super) fn manifest(plan: &Plan, surroundings: &Surroundings) -> Value {
    let plans = surroundings.plans.iter();
    let plans = plans.map(|(node, plan)| json!({ "node": node, "plan": plan }));
    json!({
        "format": 1,
        "started": time::rfc3339(surroundings.started),
        "program": {
            "name": "ringmesh",
            "version": env!("CARGO_PKG_VERSION"),
            "commit": option_env!("RINGMESH_COMMIT").filter(|commit| !commit.is_empty()),
            "build": if cfg!(debug_assertions) { "debug" } else { "release" },
        },
        "argv": surroundings.argv,
        "machine": machine(),
        "limits": {
            "nofile": limit(Resource::RLIMIT_NOFILE),
            "memlock_bytes": limit(Resource::RLIMIT_MEMLOCK),
            "nproc": limit(Resource::RLIMIT_NPROC),
        },
        "sysctls": SYSCTLS.iter().filter_map(|name| sysctl(name)).collect::<Map<_, _>>(),
        "mitigations": mitigations(),
        "clock": "CLOCK_MONOTONIC for latency, CLOCK_REALTIME for timestamps",
        "server": match &surroundings.server {
            Ok(servers) => json!({ "pids": servers.pids, "cores": servers.cores }),
            Err(why) => json!({ "unknown_why": why }),
        },
        "generator_plan": generator(plan),
        "server_plans": plans.collect::<Vec<_>>(),
    })
}

fn machine() -> Value {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let of_cpu = |key: &str| {
        let mut lines = cpuinfo.lines().filter(|line| line.starts_with(key));
        let value = lines.next().and_then(|line| line.split_once(':'));
        value.map(|(_, value)| value.trim().to_owned())
    };
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total_kb = meminfo.lines().find_map(|line| {
        line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    });
    json!({
        "system": text("/proc/sys/kernel/ostype"),
        "kernel": text("/proc/sys/kernel/osrelease"),
        "kernel_build": text("/proc/sys/kernel/version"),
        "hostname": text("/proc/sys/kernel/hostname"),
        "cpu_model": of_cpu("model name").or_else(|| of_cpu("Model")),
        "cpu_mhz": of_cpu("cpu MHz"),
        "cores": machine_cores(),
        "governor": text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "clocksource": text("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "memory_bytes": total_kb.map(|kb| kb * 1_024),
    })
}

/// Cores of the machine that are online, whatever this process may use.
pub(super) fn machine_cores() -> usize {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let is_core = |line: &&str| {
        line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    stat.lines().filter(is_core).count().max(1)
}

/// Cores that the generator's roles may use at most.
pub(super) fn generator_cores(plan: &Plan) -> usize {
    let mut pinned = plan.cpus.iter().take(plan.shards.into()).collect::<Vec<_>>();
    pinned.sort_unstable();
    pinned.dedup();
    let free = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let cores = if pinned.is_empty() { free } else { pinned.len() };
    cores.min(plan.shards.max(1).into())
}

fn limit(of: Resource) -> Value {
    let shown =
        |value| if value == nix::libc::RLIM_INFINITY { json!("unlimited") } else { json!(value) };
    match getrlimit(of) {
        Ok((soft, hard)) => json!({ "soft": shown(soft), "hard": shown(hard) }),
        Err(_) => Value::Null,
    }
}

fn sysctl(name: &str) -> Option<(String, Value)> {
    let value = text(Path::new("/proc/sys").join(name))?;
    Some((name.replace('/', "."), value.split_whitespace().collect::<Vec<_>>().join(" ").into()))
}

fn mitigations() -> Map<String, Value> {
    let folder = fs::read_dir("/sys/devices/system/cpu/vulnerabilities");
    let mut found = Vec::new();
    for entry in folder.into_iter().flatten().flatten() {
        if let Some(value) = text(entry.path()) {
            found.push((entry.file_name().to_string_lossy().into_owned(), value));
        }
    }
    found.sort();
    found.into_iter().map(|(name, value)| (name, value.into())).collect()
}

/// A short file of the kernel.
fn text(path: impl AsRef<Path>) -> Option<String> {
    Some(cut(fs::read_to_string(path).ok()?.trim(), TEXT_MAX).to_owned())
}

fn generator(plan: &Plan) -> Value {
    let script = &*plan.script;
    let sources = script.targets.iter().map(|target| match target.remote {
        Endpoint::Ip { to, sources } => {
            let from = sources.map(|sources| {
                json!({ "first": sources.first, "count": sources.count, "each": sources.each })
            });
            json!({ "name": target.name, "address": to, "path": target.path, "sources": from })
        }
        Endpoint::Adopted(child) => {
            json!({ "name": target.name, "command": plan.children.get(usize::from(child)) })
        }
    });
    json!({
        "title": plan.title,
        "shards": plan.shards,
        "cpus": plan.cpus,
        "table": plan.table,
        "seed": plan.seed,
        "seats": script.seats.len(),
        "first_call": script.first_call,
        "connecting_max": script.connecting_max,
        "timeout_s": rounded(super::float(script.timeout_ns) / 1e9),
        "linger_s": rounded(super::float(script.linger_ns) / 1e9),
        "backlog_max": script.backlog_max,
        "pacing_ms": rounded(super::float(script.pacing_ns) / 1e6),
        "warnings": plan.warnings,
        "targets": sources.collect::<Vec<_>>(),
        "workloads": script.workloads.iter().map(workload).collect::<Vec<_>>(),
        "phases": (0..script.phases.len()).map(|index| phase(script, index)).collect::<Vec<_>>(),
    })
}

fn workload(workload: &Workload) -> Value {
    json!({
        "name": workload.name,
        "kind": speech(&workload.kind),
        "tool": workload.call.tool,
        "arguments_bytes": workload.call.arguments.len(),
        "depth": workload.depth,
        "closed": workload.closed,
        "rate_share": rounded(workload.rate_share),
        "reads": workload.reads,
    })
}

fn phase(script: &Script, index: usize) -> Value {
    let (phase, (from_s, to_s)) = (&script.phases[index], tally::bounds_s(script, index));
    json!({
        "name": phase.name,
        "kind": phase.kind.name(),
        "from_s": rounded(from_s),
        "to_s": rounded(to_s),
        "measured": tally::is_measured(script, index),
        "connections": [phase.connections_from, phase.connections_to],
        "steps": phase.steps,
        "rate_per_s": rounded(phase.rate_per_s),
        "arrivals": format!("{:?}", phase.arrivals).to_lowercase(),
        "churn_per_s": rounded(phase.churn_per_s),
        "reconnect": phase.reconnect,
        "trigger_every_s": phase.trigger.as_ref().map(|t| rounded(super::float(t.every_ns) / 1e9)),
    })
}
