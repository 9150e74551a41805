//! What a run measured, second by second, and what it comes to: the types that the coordinator
//! fills and that reports, assertions and the live view read.

use ringmesh_runtime::load::sample::{Fault, TargetSample, Times, WorkloadSample};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One interval, about a second long, of all roles together. It never spans two phases.
#[derive(Clone, Debug)]
pub(crate) struct Second {
    /// Its begin and end, s since the run's begin.
    pub(crate) from_s: f64,
    pub(crate) to_s: f64,
    /// Index of the script's phase.
    pub(crate) phase: usize,
    /// Seats that the script wants connected at its end.
    pub(crate) wanted: u32,
    /// By workload of the script, merged over roles.
    pub(crate) workloads: Vec<WorkloadSample>,
    /// By target of the script, merged over roles.
    pub(crate) targets: Vec<TargetSample>,
    /// How late the generator was, see `Sample::late`.
    pub(crate) late: Times,
    /// By role.
    pub(crate) shards: Vec<ShardSecond>,
    /// What exactly went wrong, a few examples.
    pub(crate) examples: Vec<(Fault, String)>,
}

/// What one role of the generator did in an interval.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ShardSecond {
    pub(crate) established: u32,
    pub(crate) sent: u64,
    pub(crate) answered: u64,
    pub(crate) faults: u64,
    /// CPU time of its thread, s.
    pub(crate) cpu_s: f64,
    /// Its longest tick, ms.
    pub(crate) tick_ms_max: f64,
}

/// Resources at a time, about each second. The first is of before the run (memory of rest is read
/// from it), the last of its end.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Resources {
    /// s since the run's begin.
    pub(crate) at_s: f64,
    /// The generator's CPU time so far, s; its resident memory, bytes.
    pub(crate) generator_cpu_s: f64,
    pub(crate) generator_rss_bytes: u64,
    /// The same of all servers that run on this machine, if any was found.
    pub(crate) server_cpu_s: Option<f64>,
    pub(crate) server_rss_bytes: Option<u64>,
    /// Busy time of all cores of the machine so far, s (/proc/stat).
    pub(crate) machine_busy_s: f64,
    /// /proc/meminfo, bytes.
    pub(crate) slab_bytes: u64,
    pub(crate) available_bytes: u64,
    /// Memory of TCP (/proc/net/sockstat, pages × page size), bytes, and its sockets in use.
    pub(crate) tcp_bytes: u64,
    pub(crate) tcp_sockets: u64,
    /// Files of the system (/proc/sys/fs/file-nr).
    pub(crate) files: u64,
}

/// What a server told of itself (`/metrics`) at a time.
#[derive(Clone, Debug)]
pub(crate) struct NodeMetrics {
    /// s since the run's begin.
    pub(crate) at_s: f64,
    /// Index of the admin address among those of the run.
    pub(crate) node: usize,
    /// Name with its labels as in the exposition format → value.
    pub(crate) values: Vec<(String, f64)>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state", content = "why")]
pub(crate) enum Ended {
    /// As the scenario says.
    Complete,
    /// By a signal: what was measured until then is told.
    Interrupted,
    /// It could not go on, and why: nobody listens any more, a folder that is full.
    Failed(String),
}

/// What a run comes to: `summary.json`. Figures of latency, rates and CPU are of the measured
/// phases (hold, burst, churn; of a run without those, of all); counts are of the whole run, and so
/// is what concerns the opening of clients, which is what a ramp is for. Answers that arrive after
/// the last phase count to it, with their latency; rates and CPU time end with the phase, so that
/// what is worked off afterwards does not pass for speed. Every figure is finite.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// Version of this format.
    pub(crate) format: u32,
    pub(crate) title: String,
    pub(crate) targets: Vec<String>,
    /// RFC 3339, UTC.
    pub(crate) started: String,
    pub(crate) ended: Ended,
    /// Length of the run and of its measured phases, s.
    pub(crate) run_s: f64,
    pub(crate) measured_s: f64,
    pub(crate) connections: Connections,
    /// Calls sent, and those answered with a good result.
    pub(crate) requests: u64,
    pub(crate) answered: u64,
    /// Calls in flight on connections that ended, whoever ended them.
    #[serde(default)]
    pub(crate) abandoned: u64,
    /// All faults, and each kind that occurred.
    pub(crate) errors: u64,
    pub(crate) faults: Map<String, Value>,
    pub(crate) rate_per_s: Rate,
    /// From the time due.
    pub(crate) latency_ms: Percentiles,
    /// From sending.
    pub(crate) service_ms: Percentiles,
    /// Of a client, until it is ready; until its first call is answered.
    pub(crate) opening_ms: Percentiles,
    pub(crate) first_call_ms: Percentiles,
    /// Of updates to listeners.
    pub(crate) delivery_ms: Percentiles,
    pub(crate) updates: u64,
    pub(crate) comments: u64,
    /// How late the generator sent.
    pub(crate) late_ms: Percentiles,
    /// Whether the generator, and not the server, limited what was measured, and why.
    pub(crate) generator_saturated: bool,
    pub(crate) generator_saturated_why: Vec<String>,
    pub(crate) generator: Generator,
    /// `null` with a reason in `server_unknown_why` where no server is on this machine.
    pub(crate) server: Option<ServerFigures>,
    pub(crate) server_unknown_why: Option<String>,
    pub(crate) phases: Vec<Part>,
    pub(crate) workloads: Vec<Part>,
    /// Examples of what went wrong.
    pub(crate) examples: Vec<String>,
    /// Results of `--assert`.
    pub(crate) assertions: Vec<Assertion>,
}

impl Summary {
    /// Calls without a good answer, over the whole run. Latency, which is of answers, does not know
    /// them: where they are many, its percentiles are better than what callers met.
    pub(crate) fn unanswered(&self) -> u64 {
        use Fault::{Malformed, NotSent, RpcError, Status, Timeout, ToolError};
        let of_calls = [Malformed, NotSent, RpcError, Status, Timeout, ToolError];
        of_calls.iter().filter_map(|fault| self.faults.get(fault.label())?.as_u64()).sum()
    }

    /// Their share of all calls, 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "counts of a run are below 2^53")]
    pub(crate) fn unanswered_share(&self) -> f64 {
        let unanswered = self.unanswered();
        unanswered as f64 / (unanswered + self.answered).max(1) as f64
    }
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Connections {
    /// Most clients that the scenario wants at once.
    pub(crate) wanted: u64,
    /// Most that were ready at once, as seen at the end of each second and of the run.
    pub(crate) established: u64,
    /// Of those that became ready, lost.
    pub(crate) lost: u64,
    /// Tried and never ready.
    pub(crate) failed: u64,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Rate {
    /// Calls due, per second of the measured phases.
    pub(crate) offered: f64,
    /// Calls answered in that time.
    pub(crate) achieved: f64,
}

/// Milliseconds; all 0 where nothing was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Percentiles {
    pub(crate) count: u64,
    pub(crate) mean: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) p9999: f64,
    pub(crate) max: f64,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Generator {
    pub(crate) shards: u32,
    /// Cores that it used in the measured phases, and cores that it had.
    pub(crate) busy_cores: f64,
    pub(crate) cores: f64,
    /// Share of a core that its busiest role used in the measured phases.
    pub(crate) busiest_share: f64,
    pub(crate) cpu_us_per_request: f64,
    /// Calls and answers of so long were gathered (`Script::pacing_ns`), ms: what is batched costs
    /// both sides less, and latency is overstated.
    #[serde(default)]
    pub(crate) pacing_ms: f64,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ServerFigures {
    pub(crate) pids: u32,
    /// CPU time of the measured phases over calls answered in them; 0 without calls.
    pub(crate) cpu_us_per_request: f64,
    /// Cores that it used in the measured phases, and cores that it may use, as far as known.
    pub(crate) busy_cores: f64,
    pub(crate) cores: Option<f64>,
    /// Growth of its resident memory from before the run to the most clients that were ready at
    /// once, over those; 0 where none was.
    pub(crate) rss_bytes_per_connection: f64,
    pub(crate) rss_bytes_max: u64,
}

/// The figures of one phase, or of one workload.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) name: String,
    /// Of a phase its kind, of a workload how it speaks.
    pub(crate) kind: String,
    pub(crate) seconds: f64,
    pub(crate) connections: Connections,
    pub(crate) requests: u64,
    pub(crate) answered: u64,
    pub(crate) errors: u64,
    pub(crate) rate_per_s: Rate,
    pub(crate) latency_ms: Percentiles,
    pub(crate) first_call_ms: Percentiles,
    pub(crate) delivery_ms: Percentiles,
    pub(crate) updates: u64,
    pub(crate) server_cpu_us_per_request: Option<f64>,
}

/// What became of an `--assert`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Assertion {
    /// As the user wrote it.
    pub(crate) text: String,
    /// 0 where it was not measured.
    pub(crate) actual: f64,
    pub(crate) passed: bool,
    /// Why there is no figure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) why: Option<String>,
}
