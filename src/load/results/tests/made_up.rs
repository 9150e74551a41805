//! Plans, seconds and readings for tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use ringmesh_runtime::load::sample::{TargetSample, WorkloadSample, times};
use ringmesh_runtime::load::script::{
    Arrivals, CallSpec, Endpoint, Kind, Phase, PhaseKind, Script, Seat, Target, Workload,
};

use crate::load::plan::Plan;
use crate::load::record::{Resources, Second, ShardSecond};
use crate::load::results::{Folder, Servers, Surroundings, tally};

const SECOND_NS: u64 = 1_000_000_000;

/// A phase of so many seconds; when it begins is for `plan`.
pub(super) fn phase(kind: PhaseKind, seconds: u64) -> Phase {
    Phase {
        name: kind.name().to_owned(),
        kind,
        start_ns: 0,
        duration_ns: seconds * SECOND_NS,
        connections_from: if kind == PhaseKind::Ramp { 0 } else { 10 },
        connections_to: if kind == PhaseKind::Drain { 0 } else { 10 },
        steps: 0,
        rate_per_s: 100.0,
        arrivals: Arrivals::Poisson,
        churn_per_s: 0.0,
        reconnect: 0,
        trigger: None,
    }
}

pub(super) fn workload(name: &str, kind: Kind) -> Workload {
    Workload {
        name: name.to_owned(),
        kind,
        call: CallSpec { tool: "echo".to_owned(), arguments: "{}".to_owned() },
        depth: 1,
        closed: false,
        rate_share: 1.0,
        reads: true,
    }
}

/// Two roles on one core, ten seats, a folder of its own that does not exist.
pub(super) fn plan(phases: &[Phase], workloads: Vec<Workload>) -> Plan {
    static PLANS: AtomicU32 = AtomicU32::new(0);
    let number = PLANS.fetch_add(1, Ordering::Relaxed);
    let out = format!("ringmesh-results-{}-{number}", std::process::id());
    let mut phases = phases.to_vec();
    let mut start_ns = 0;
    for (index, phase) in phases.iter_mut().enumerate() {
        phase.name = format!("{}-{index}", phase.kind.name());
        phase.start_ns = start_ns;
        start_ns += phase.duration_ns;
    }
    let most = phases.iter().map(|phase| phase.connections_from.max(phase.connections_to)).max();
    let seat = |source: u32| {
        let workload = usize::try_from(source).unwrap() % workloads.len();
        Seat { workload: workload.try_into().unwrap(), target: 0, source }
    };
    let target = Target {
        name: "http://127.0.0.1:8080/mcp".to_owned(),
        remote: Endpoint::Ip { to: "127.0.0.1:8080".parse().unwrap(), sources: None },
        host: "127.0.0.1:8080".to_owned(),
        path: "/mcp".to_owned(),
    };
    let script = Script {
        targets: vec![target],
        seats: (0..most.unwrap_or(0)).map(seat).collect(),
        workloads,
        phases,
        first_call: true,
        connecting_max: 64,
        timeout_ns: 10 * SECOND_NS,
        linger_ns: 10 * SECOND_NS,
        backlog_max: 1_024,
        pacing_ns: 0,
    };
    Plan {
        title: "A run that is made up".to_owned(),
        description: String::new(),
        scenario: "title = \"A run that is made up\"\n".to_owned(),
        script: Arc::new(script),
        shards: 2,
        cpus: vec![1],
        table: 16_384,
        seed: 7,
        children: vec![],
        admins: vec![],
        server_pids: vec![],
        out: std::env::temp_dir().join(out),
        checks: vec![],
        limits: vec![],
        warnings: vec![],
        plain: true,
    }
}

/// A run that began at nine, on a machine whose server has a core.
pub(super) fn surroundings() -> Surroundings {
    Surroundings {
        started: UNIX_EPOCH + Duration::from_secs(1_785_229_200),
        server: Ok(Servers { pids: vec![4_242], cores: Some(1.0) }),
        plans: vec![],
        argv: vec!["ringmesh".to_owned(), "load".to_owned()],
    }
}

pub(super) fn folder(plan: &Plan) -> Folder {
    Folder::create(plan, surroundings()).unwrap()
}

/// The second that begins at a time: nothing happens in it.
pub(super) fn second(plan: &Plan, at_s: u32) -> Second {
    let script = &*plan.script;
    let at_ns = u64::from(at_s) * SECOND_NS;
    let ended = |index: &usize| tally::bounds_s(script, *index).1 > f64::from(at_s);
    let last = script.phases.len().saturating_sub(1);
    Second {
        from_s: f64::from(at_s),
        to_s: f64::from(at_s) + 1.0,
        phase: (0..script.phases.len()).find(ended).unwrap_or(last),
        wanted: script.connections_at(at_ns + SECOND_NS - 1),
        workloads: script.workloads.iter().map(|_| WorkloadSample::new()).collect(),
        targets: vec![TargetSample::default(); script.targets.len()],
        late: times(),
        shards: vec![ShardSecond::default(); plan.shards.into()],
        examples: vec![],
    }
}

/// So many readings, from 0 s on: each second half a core of the generator, a quarter of the
/// server.
pub(super) fn readings(count: u32) -> Vec<Resources> {
    let reading = |at_s: u32| Resources {
        at_s: at_s.into(),
        generator_cpu_s: f64::from(at_s) * 0.5,
        generator_rss_bytes: 50 << 20,
        server_cpu_s: Some(f64::from(at_s) * 0.25),
        server_rss_bytes: Some(80 << 20),
        machine_busy_s: f64::from(at_s) * 0.8,
        slab_bytes: 400 << 20,
        available_bytes: 20 << 30,
        tcp_bytes: 1 << 20,
        tcp_sockets: 20,
        files: 3_000,
    };
    (0..count).map(reading).collect()
}
