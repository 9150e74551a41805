//! Scripts, plans and seconds for tests.

use std::sync::Arc;

use ringmesh_runtime::load::sample::{TargetSample, WorkloadSample, times};
use ringmesh_runtime::load::script::{
    Arrivals, CallSpec, Endpoint, Kind, Phase, PhaseKind, Script, Seat, Target, Workload,
};

use crate::load::plan::Plan;
use crate::load::record::{Second, ShardSecond};

/// A script of phases, each `(ms, connections from, to)`, with 500 calls a second.
pub(super) fn script(phases: &[(u64, u32, u32)]) -> Script {
    let mut start_ns = 0;
    let phase = |(index, &(ms, from, to)): (usize, &(u64, u32, u32))| {
        let phase = Phase {
            name: format!("phase-{index}"),
            kind: if from == to { PhaseKind::Hold } else { PhaseKind::Ramp },
            start_ns,
            duration_ns: ms * 1_000_000,
            connections_from: from,
            connections_to: to,
            steps: 0,
            rate_per_s: 500.0,
            arrivals: Arrivals::Constant,
            churn_per_s: 0.0,
            reconnect: 0,
            trigger: None,
        };
        start_ns += phase.duration_ns;
        phase
    };
    let most = phases.iter().map(|&(_, from, to)| from.max(to)).max().unwrap_or(0);
    let script = Script {
        targets: vec![Target {
            name: "http://127.0.0.1:8080/mcp".to_owned(),
            remote: Endpoint::Ip { to: ([127, 0, 0, 1], 8080).into(), sources: None },
            host: "127.0.0.1:8080".to_owned(),
            path: "/mcp".to_owned(),
        }],
        workloads: vec![Workload {
            name: "calls".to_owned(),
            kind: Kind::Http,
            call: CallSpec { tool: "echo".to_owned(), arguments: r#"{"text":"x"}"#.to_owned() },
            depth: 1,
            closed: false,
            rate_share: 1.0,
            reads: true,
        }],
        seats: (0..most).map(|source| Seat { workload: 0, target: 0, source }).collect(),
        phases: phases.iter().enumerate().map(phase).collect(),
        first_call: true,
        connecting_max: 64,
        timeout_ns: 5_000_000_000,
        linger_ns: 5_000_000_000,
        backlog_max: 1_024,
        pacing_ns: 0,
    };
    script.check();
    script
}

/// A plan of two roles for it.
pub(super) fn plan(phases: &[(u64, u32, u32)]) -> Plan {
    Plan {
        title: "A run".to_owned(),
        description: String::new(),
        scenario: String::new(),
        script: Arc::new(script(phases)),
        shards: 2,
        cpus: vec![1],
        table: 1_024,
        seed: 7,
        children: vec![],
        admins: vec![],
        server_pids: vec![],
        out: std::env::temp_dir().join(format!("ringmesh-run-{}", std::process::id())),
        checks: vec![],
        limits: vec![],
        warnings: vec![],
        plain: true,
    }
}

/// An empty second of the first phase.
pub(super) fn second(from_s: f64) -> Second {
    Second {
        from_s,
        to_s: from_s + 1.0,
        phase: 0,
        wanted: 0,
        workloads: vec![WorkloadSample::new()],
        targets: vec![TargetSample::default()],
        late: times(),
        shards: vec![ShardSecond::default()],
        examples: Vec::new(),
    }
}
