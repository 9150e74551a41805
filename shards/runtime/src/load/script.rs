//! What a run does, resolved: every number is absolute, every name is an index.
//!
//! One value lives in a load generator, shared by its roles and never changed. Who makes it keeps
//! the invariants that the fields state; [`Script::check`] asserts them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ringmesh_proto::mcp::Version;

/// Longest run, seconds: a week.
pub const RUN_S_MAX: u64 = 7 * 24 * 3600;

/// Longest [`Script::pacing_ns`]: 10 ms.
pub const PACING_NS_MAX: u64 = 10_000_000;

/// A run. Times are nanoseconds since its begin.
#[derive(Clone, Debug)]
pub struct Script {
    /// Servers, at least one, at most 256.
    pub targets: Vec<Target>,
    /// Kinds of clients, at least one, at most 256.
    pub workloads: Vec<Workload>,
    /// One client each, in the order in which they connect: seat `i` belongs to role
    /// `i % shards`. A prefix of them is connected at any time, but for churn.
    pub seats: Vec<Seat>,
    /// What happens when: one after the other, without gaps, the first at 0.
    pub phases: Vec<Phase>,
    /// Each client makes one call as soon as it may, counted as its first.
    pub first_call: bool,
    /// Connects in flight at once in one role, at least 1.
    pub connecting_max: u32,
    /// How long a connect, and an answer (that to a `subscriptions/listen` is its acknowledgement),
    /// may take, in all.
    pub timeout_ns: u64,
    /// After the last phase: how long to wait for calls in flight, at most.
    pub linger_ns: u64,
    /// Calls that wait for an idle connection in one role, at most; more are not sent, which is a
    /// fault of its own.
    pub backlog_max: usize,
    /// Calls and answers of so long are gathered, at whole multiples since the begin, at most
    /// [`PACING_NS_MAX`]; 0: each is handled when it comes. What a thread is woken for costs both
    /// sides more than the call itself. Latency counts from the time due to the time at which the
    /// answer is seen all the same, so that it is overstated, by up to twice as much, never
    /// understated.
    pub pacing_ns: u64,
}

/// A server.
#[derive(Clone, Debug)]
pub struct Target {
    /// As the user wrote it.
    pub name: String,
    /// Where to.
    pub remote: Endpoint,
    /// `Host` of HTTP requests.
    pub host: String,
    /// Path of HTTP requests, such as `/mcp`.
    pub path: String,
}

/// Where a target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A TCP listener, reached from one of these addresses.
    Ip {
        /// The listener.
        to: SocketAddr,
        /// Where from.
        sources: Option<Sources>,
    },
    /// Sockets that the driver adopted: the only seat of this target uses the one of this place.
    Adopted(u16),
}

/// Source addresses: with one alone, the kernel's search for a free port takes most of the time
/// long before the ports run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sources {
    /// The first address.
    pub first: IpAddr,
    /// How many follow each other, at least 1.
    pub count: u32,
    /// Connections to one target from each in turn, at least 1.
    pub each: u32,
}

impl Sources {
    /// The address for the `n`-th connection. Starts over after the last.
    pub fn address(&self, n: u32) -> IpAddr {
        let offset = n / self.each.max(1) % self.count.max(1);
        match self.first {
            IpAddr::V4(first) => {
                IpAddr::V4(Ipv4Addr::from_bits(first.to_bits().wrapping_add(offset)))
            }
            IpAddr::V6(first) => IpAddr::V6((first.to_bits().wrapping_add(offset.into())).into()),
        }
    }
}

/// A client's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Index of its [`Workload`].
    pub workload: u8,
    /// Index of its [`Target`].
    pub target: u8,
    /// For [`Sources::address`]: its number among the seats of its target.
    pub source: u32,
}

/// What a kind of clients does.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Unique.
    pub name: String,
    /// How it speaks.
    pub kind: Kind,
    /// What it calls; of listeners nothing.
    pub call: CallSpec,
    /// Calls in flight on one connection, at least 1. Over HTTP more than 1 is pipelining.
    pub depth: u16,
    /// Whether a call is due as soon as another is answered, whatever the phase's rate.
    pub closed: bool,
    /// Its part of the phase's rate; those of all open workloads that call add up to 1 (or to 0,
    /// where there are none).
    pub rate_share: f64,
    /// Whether a stream is read after its acknowledgement: one that is not stands for a stuck
    /// reader.
    pub reads: bool,
}

/// How a client speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `tools/call` of 2026-07-28 over HTTP keep-alive.
    Http,
    /// A session of an older version over HTTP: `initialize`, `notifications/initialized`, a GET
    /// stream on a second connection where `stream` says so, calls, DELETE.
    HttpSession {
        /// Asked for in `initialize`.
        version: Version,
        /// Whether it reads the GET stream.
        stream: bool,
    },
    /// `subscriptions/listen` of 2026-07-28 over HTTP, held open.
    Listen {
        /// Resources whose updates it asks for, at most 16; the trigger changes them in turn.
        uris: Vec<String>,
    },
    /// Lines of 2026-07-28 (TCP, or the pipes of a child).
    Lines,
    /// Lines with the handshake of an older version.
    LinesSession {
        /// Asked for in `initialize`.
        version: Version,
    },
}

impl Kind {
    /// Sockets that a client of this kind holds.
    pub fn sockets(&self) -> u32 {
        match self {
            Self::HttpSession { stream: true, .. } => 2,
            _ => 1,
        }
    }
}

/// A `tools/call`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallSpec {
    /// The tool.
    pub tool: String,
    /// JSON object of its arguments.
    pub arguments: String,
}

/// A part of the run.
#[derive(Clone, Debug)]
pub struct Phase {
    /// Unique.
    pub name: String,
    /// What it is for, in reports.
    pub kind: PhaseKind,
    /// Begin.
    pub start_ns: u64,
    /// Length, at least 1.
    pub duration_ns: u64,
    /// Seats connected at its begin (the end of the phase before), at most all.
    pub connections_from: u32,
    /// Seats connected at its end.
    pub connections_to: u32,
    /// In how many equal steps, each at the begin of its part; 0: linear.
    pub steps: u32,
    /// Calls due each second, in all roles together, 0 or more.
    pub rate_per_s: f64,
    /// How they are spread.
    pub arrivals: Arrivals,
    /// Seats closed, the longest connected first, and connected anew each second, in all.
    pub churn_per_s: f64,
    /// Seats that are cut and connected anew at its begin, all at once.
    pub reconnect: u32,
    /// How often each target's resource is changed, for listeners; the first time after as much.
    pub trigger: Option<Trigger>,
}

/// What the user calls a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PhaseKind {
    /// Connections are made.
    Ramp,
    /// What is measured.
    Hold,
    /// More calls than usual for a while.
    Burst,
    /// Connections come and go.
    Churn,
    /// Connections are closed.
    Drain,
}

impl PhaseKind {
    /// As scenarios write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ramp => "ramp",
            Self::Hold => "hold",
            Self::Burst => "burst",
            Self::Churn => "churn",
            Self::Drain => "drain",
        }
    }
}

/// How calls of an open loop are spread over time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arrivals {
    /// Evenly.
    Constant,
    /// As independent clients would: exponential gaps.
    #[default]
    Poisson,
}

/// Changes of resources that listeners wait for. The `n`-th change of a run (from 0) changes the
/// `n % uris`-th URI of the listeners, by calling the tool with its index as the argument `index`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// Between two changes.
    pub every_ns: u64,
    /// The tool.
    pub tool: String,
}

impl Script {
    /// When the last phase ends.
    pub fn end_ns(&self) -> u64 {
        self.phases.last().map_or(0, |phase| phase.start_ns + phase.duration_ns)
    }

    /// Seats that are to be connected at a time of the run, churn apart.
    pub fn connections_at(&self, at_ns: u64) -> u32 {
        let Some(phase) = self.phase_at(at_ns).map(|index| &self.phases[index]) else { return 0 };
        let into_ns = (at_ns - phase.start_ns).min(phase.duration_ns - 1);
        let (from, to) = (i128::from(phase.connections_from), i128::from(phase.connections_to));
        let (part, parts) = match phase.steps {
            0 => (i128::from(into_ns + 1), i128::from(phase.duration_ns)),
            steps => {
                let steps = i128::from(steps);
                let step = i128::from(into_ns) * steps / i128::from(phase.duration_ns);
                ((step + 1).min(steps), steps)
            }
        };
        // Rounded up, so that the first connects at the begin, and all have before the end.
        let gone = ((from - to) * part).div_euclid(parts);
        u32::try_from(from - gone).expect("between two counts of seats")
    }

    /// The phase of a time; the last one after the end; `None` of a script without phases.
    pub fn phase_at(&self, at_ns: u64) -> Option<usize> {
        let after = self.phases.partition_point(|phase| phase.start_ns <= at_ns);
        after.checked_sub(1)
    }

    /// Asserts what its fields promise.
    ///
    /// # Panics
    /// Where one is broken: whoever made the script has a bug.
    pub fn check(&self) {
        assert!(!self.targets.is_empty() && self.targets.len() <= 256, "1 to 256 targets");
        assert!(!self.workloads.is_empty() && self.workloads.len() <= 256, "1 to 256 workloads");
        assert!(self.connecting_max > 0, "somebody connects");
        assert!(self.pacing_ns <= PACING_NS_MAX, "pacing up to 10 ms");
        let mut end_ns = 0;
        for phase in &self.phases {
            assert!(phase.start_ns == end_ns && phase.duration_ns > 0, "phases follow each other");
            assert!(phase.rate_per_s >= 0.0 && phase.churn_per_s >= 0.0, "rates are not negative");
            let seats = phase.connections_from.max(phase.connections_to) as usize;
            assert!(seats <= self.seats.len(), "every connection has a seat");
            end_ns += phase.duration_ns;
        }
        assert!(end_ns <= RUN_S_MAX * 1_000_000_000, "a run has an end");
        for seat in &self.seats {
            assert!(usize::from(seat.workload) < self.workloads.len(), "a workload");
            assert!(usize::from(seat.target) < self.targets.len(), "a target");
        }
        assert!(self.workloads.iter().all(|workload| workload.depth > 0), "depth from 1");
    }
}

#[cfg(test)]
impl Phase {
    /// A linear ramp of 1 ns without calls, for tests to fill in.
    pub(super) fn idle(start_ns: u64, connections: (u32, u32)) -> Self {
        Self {
            name: String::new(),
            kind: PhaseKind::Ramp,
            start_ns,
            duration_ns: 1,
            connections_from: connections.0,
            connections_to: connections.1,
            steps: 0,
            rate_per_s: 0.0,
            arrivals: Arrivals::Constant,
            churn_per_s: 0.0,
            reconnect: 0,
            trigger: None,
        }
    }
}

#[cfg(test)]
impl Script {
    /// Phases alone, for tests of when things are due.
    pub(super) fn of_phases(phases: Vec<Phase>) -> Self {
        Self {
            targets: vec![],
            workloads: vec![],
            seats: vec![],
            phases,
            first_call: false,
            connecting_max: 1,
            timeout_ns: 1,
            linger_ns: 0,
            backlog_max: 0,
            pacing_ns: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_follow_the_phases() {
        let phases = [(0, (0, 10), 0), (100, (10, 30), 2), (200, (30, 0), 0)];
        let phases = phases.map(|(start_ns, connections, steps)| Phase {
            duration_ns: 100,
            steps,
            ..Phase::idle(start_ns, connections)
        });
        let script = Script::of_phases(phases.into());
        let wanted =
            [(0, 1), (9, 1), (10, 2), (89, 9), (90, 10), (99, 10), (100, 20), (149, 20), (150, 30)];
        for (at_ns, connections) in wanted {
            assert_eq!(script.connections_at(at_ns), connections, "at {at_ns}");
        }
        let falls = [200, 250, 298, 299, 300].map(|at_ns| script.connections_at(at_ns));
        assert_eq!(falls, [30, 15, 1, 0, 0]);
        assert_eq!((script.connections_at(9_999), script.end_ns()), (0, 300));
    }

    #[test]
    fn sources_follow_each_other_and_start_over() {
        let sources = Sources { first: IpAddr::from([127, 0, 1, 255]), count: 2, each: 500 };
        assert_eq!(sources.address(499), IpAddr::from([127, 0, 1, 255]));
        assert_eq!(sources.address(500), IpAddr::from([127, 0, 2, 0]));
        assert_eq!(sources.address(1_000), IpAddr::from([127, 0, 1, 255]));
    }
}
