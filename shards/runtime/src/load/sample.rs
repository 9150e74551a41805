//! What a role measured since its last sample: counts and histograms, to be merged by the process.
//!
//! A role has one at a time, gives it away about each second and takes a new one.

use hdrhistogram::Histogram;

use crate::probe::labelled;

/// Longest time that a histogram tells apart, µs; longer ones count as this.
pub const TIME_US_MAX: u64 = 120_000_000;
/// Significant decimal digits of the histograms.
pub const DIGITS: u8 = 3;

labelled! {
    /// What went wrong with a connection or a call. Each counts once.
    pub enum Fault {
        /// Nobody listens.
        ConnectRefused = "connect_refused",
        /// No connection within the time-out.
        ConnectTimeout = "connect_timeout",
        /// No source port, no descriptor, no memory: this machine's, not the server's fault.
        ConnectExhausted = "connect_exhausted",
        /// Another failure to connect.
        ConnectFailed = "connect_failed",
        /// The server ended a connection, or the kernel did, that was to stay; its calls in flight
        /// are [`WorkloadSample::abandoned`].
        Lost = "lost",
        /// No answer within the time-out.
        Timeout = "timeout",
        /// A status of HTTP that is not the expected one.
        Status = "status",
        /// An answer that is no HTTP, no JSON-RPC, too long, or answers nothing that was asked.
        Malformed = "malformed",
        /// A JSON-RPC error.
        RpcError = "rpc_error",
        /// A result with `isError`.
        ToolError = "tool_error",
        /// A call that was due and for which no connection was idle: the backlog was full, or the
        /// run ended.
        NotSent = "not_sent",
        /// An update that came twice, or out of turn.
        Disorder = "disorder",
        /// An update that a stream should have had by the end of the run, and had not.
        Missed = "missed",
    }
}

/// A histogram of times in µs.
pub type Times = Histogram<u32>;

/// An empty one.
pub fn times() -> Times {
    Histogram::new_with_bounds(1, TIME_US_MAX, DIGITS).expect("constant bounds")
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Whose it is.
    pub shard: u16,
    /// The time up to which it tells, ns since the script's begin.
    pub until_ns: u64,
    /// Index of the phase of which it tells: a sample never spans two.
    pub phase: usize,
    /// Whether it is the role's last.
    pub last: bool,
    /// For each workload of the script.
    pub workloads: Vec<WorkloadSample>,
    /// For each target of the script.
    pub targets: Vec<TargetSample>,
    /// How late calls were sent: from the time due until the tick that sends them, for those that
    /// found a connection at once. What the generator itself adds to latency, together with the
    /// time that the tick took.
    pub late: Times,
    /// The longest tick of the role, ns.
    pub tick_ns_max: u64,
    /// For a first few faults, what exactly came: `(fault, text)`, at most [`EXAMPLES_MAX`].
    pub examples: Vec<(Fault, String)>,
}

/// Examples of faults that a sample keeps.
pub const EXAMPLES_MAX: usize = 8;

/// What clients of one workload did.
#[derive(Clone, Debug)]
pub struct WorkloadSample {
    /// Clients that are ready at the sample's end: connected, their session or stream open.
    pub established: u32,
    /// Most clients that were ready at once since the sample before.
    pub established_most: u32,
    /// Clients that are on their way there.
    pub opening: u32,
    /// Clients that became ready.
    pub opened: u64,
    /// Clients that did not: each counted by a fault as well.
    pub failed: u64,
    /// Clients that were ready and were lost.
    pub lost: u64,
    /// Clients closed as the script says.
    pub closed: u64,
    /// Calls that became due.
    pub due: u64,
    /// Calls sent.
    pub sent: u64,
    /// Calls answered with a good result.
    pub answered: u64,
    /// Calls in flight on a connection that ended, whoever ended it. Those that were sent and are
    /// neither these nor answered have a fault of their own.
    pub abandoned: u64,
    /// Faults by [`Fault::index`].
    pub faults: [u64; Fault::COUNT],
    /// Bytes received.
    pub received_bytes: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Updates that streams received.
    pub updates: u64,
    /// Comments (keep-alives) that streams received.
    pub comments: u64,
    /// From the time due to the answer, for good answers; in a closed loop from sending.
    pub latency: Times,
    /// From sending to the answer, for good answers.
    pub service: Times,
    /// From the time a client was to connect until it is ready.
    pub opening_time: Times,
    /// From the time a client was to connect until its first call is answered.
    pub first_call: Times,
    /// From the time a resource was to be changed until a stream has the update.
    pub delivery: Times,
}

/// What one server did.
#[derive(Clone, Debug, Default)]
pub struct TargetSample {
    /// Clients that are ready.
    pub established: u32,
    /// Calls answered with a good result.
    pub answered: u64,
    /// Faults of all kinds.
    pub faults: u64,
}

impl Sample {
    /// An empty one for so many workloads and targets.
    pub fn new(shard: u16, phase: usize, workloads: usize, targets: usize) -> Self {
        Self {
            shard,
            until_ns: 0,
            phase,
            last: false,
            workloads: (0..workloads).map(|_| WorkloadSample::new()).collect(),
            targets: vec![TargetSample::default(); targets],
            late: times(),
            tick_ns_max: 0,
            examples: Vec::new(),
        }
    }
}

impl WorkloadSample {
    /// An empty one.
    pub fn new() -> Self {
        Self {
            established: 0,
            established_most: 0,
            opening: 0,
            opened: 0,
            failed: 0,
            lost: 0,
            closed: 0,
            due: 0,
            sent: 0,
            answered: 0,
            abandoned: 0,
            faults: [0; Fault::COUNT],
            received_bytes: 0,
            sent_bytes: 0,
            updates: 0,
            comments: 0,
            latency: times(),
            service: times(),
            opening_time: times(),
            first_call: times(),
            delivery: times(),
        }
    }
}

impl Default for WorkloadSample {
    fn default() -> Self {
        Self::new()
    }
}

/// Counts a time of `ns`, at least 1 µs, at most [`TIME_US_MAX`].
pub fn record_ns(times: &mut Times, ns: u64) {
    times.saturating_record((ns / 1_000).clamp(1, TIME_US_MAX));
}
