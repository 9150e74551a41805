//! When calls are due, and which connection makes them.
//!
//! In an open loop calls are due at the script's rate, whatever the server does; each goes out on
//! the connection that is idle for longest, so that all take turns, or waits for one in the backlog.
//! In a closed loop a call is due when another is answered.

use std::collections::VecDeque;

use super::Load;
use super::calls::What;
use super::client::{State, Use};
use super::finish::Course;
use super::sample::{Fault, record_ns};
use super::script::{Arrivals, Kind, PACING_NS_MAX};

/// The calls of one workload.
#[derive(Debug)]
pub(super) struct Pace {
    /// Mean time between two calls, ns; infinite where none is due.
    gap_ns: f64,
    /// When the next is due, ns since the script's begin. A double tells ns apart for 104 days.
    next_ns: f64,
    /// Connections that could make a call, the one that waits for longest first. What is here has
    /// its flag `queued`, and may no longer be able to.
    ready: VecDeque<u32>,
    /// When calls were due that wait for a connection.
    backlog: VecDeque<u64>,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            gap_ns: f64::INFINITY,
            next_ns: f64::INFINITY,
            ready: VecDeque::new(),
            backlog: VecDeque::new(),
        }
    }
}

/// Numbers that only need to look random (SplitMix64).
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A gap of independent arrivals, in units of the mean.
    fn exponential(&mut self) -> f64 {
        // 53 random bits, in (0, 1].
        let uniform = ((self.next() >> 11) as f64 + 1.0) / (1_u64 << 53) as f64;
        -uniform.ln()
    }
}

impl Load {
    /// Sets the rates of a phase that begins.
    pub(super) fn begin_pace(&mut self) {
        let Some(phase) = self.script.phases.get(self.phase) else { return };
        let (start_ns, arrivals) = (phase.start_ns as f64, phase.arrivals);
        for index in 0..self.paces.len() {
            let rate_per_s = self.rate_share(index) * phase.rate_per_s;
            let pace = &mut self.paces[index];
            if rate_per_s <= 0.0 {
                (pace.gap_ns, pace.next_ns) = (f64::INFINITY, f64::INFINITY);
                continue;
            }
            pace.gap_ns = 1e9 / rate_per_s;
            // Evenly over all roles, as far as each may know.
            let place = (f64::from(self.config.shard) + 0.5) / f64::from(self.config.shards);
            let first = match arrivals {
                Arrivals::Constant => place,
                Arrivals::Poisson => self.random.exponential(),
            };
            pace.next_ns = start_ns + pace.gap_ns * first;
        }
    }

    /// The role's part of the phase's rate for a workload: as it has of those clients that may be
    /// connected in it.
    fn rate_share(&self, workload: usize) -> f64 {
        let spec = &self.script.workloads[workload];
        if spec.closed || matches!(spec.kind, Kind::Listen { .. }) {
            return 0.0;
        }
        let phase = &self.script.phases[self.phase];
        let seats = phase.connections_from.max(phase.connections_to) as usize;
        let (mut own, mut all) = (0_u32, 0_u32);
        for (index, seat) in self.script.seats[..seats].iter().enumerate() {
            if usize::from(seat.workload) == workload {
                all += 1;
                let shards = usize::from(self.config.shards);
                own += u32::from(index % shards == usize::from(self.config.shard));
            }
        }
        if all == 0 { 0.0 } else { spec.rate_share * f64::from(own) / f64::from(all) }
    }

    /// When the next call is due.
    pub(super) fn pace_due_ns(&self) -> u64 {
        let next_ns = self.paces.iter().map(|pace| pace.next_ns).fold(f64::INFINITY, f64::min);
        whole(next_ns)
    }

    /// When to tick next, where something is due at `until_ns`.
    pub(super) fn paced(&self, until_ns: u64) -> u64 {
        let pacing_ns = self.script.pacing_ns;
        if pacing_ns == 0 {
            return until_ns;
        }
        let next_ns = (self.now_ns / pacing_ns + 1) * pacing_ns;
        // Answers are looked for at least as often; without any under way the first thing wakes.
        // So it does in long waits alone: in short ones the driver gathers, whatever is due.
        let under_way = self.calling > 0 || self.connecting > 0;
        let short = until_ns <= self.now_ns + 2 * PACING_NS_MAX;
        if under_way || short { next_ns } else { until_ns }
    }

    /// Makes the calls that are due before `until_ns`.
    pub(super) fn keep_pace(&mut self, until_ns: u64) {
        let Some(phase) = self.script.phases.get(self.phase) else { return };
        let arrivals = phase.arrivals;
        for index in 0..self.paces.len() {
            while whole(self.paces[index].next_ns) < until_ns {
                let gap = match arrivals {
                    Arrivals::Constant => 1.0,
                    Arrivals::Poisson => self.random.exponential(),
                };
                let pace = &mut self.paces[index];
                let due_ns = whole(pace.next_ns);
                pace.next_ns += pace.gap_ns * gap;
                let workload = u8::try_from(index).expect("at most 256 workloads");
                self.on_due(workload, due_ns);
            }
        }
    }

    fn on_due(&mut self, workload: u8, due_ns: u64) {
        self.tally.workload(workload).due += 1;
        // Where calls wait in the backlog no connection was idle, and whichever became so took one.
        if let Some(slot) = self.take_ready(workload) {
            record_ns(&mut self.tally.sample.late, self.now_ns.saturating_sub(due_ns));
            self.call(slot, What::Call, due_ns);
            self.offer(slot);
        } else if self.backlog < self.script.backlog_max {
            self.backlog += 1;
            self.paces[usize::from(workload)].backlog.push_back(due_ns);
        } else {
            self.not_sent(workload);
        }
    }

    /// The connection that waits for longest to make a call.
    fn take_ready(&mut self, workload: u8) -> Option<u32> {
        while let Some(slot) = self.paces[usize::from(workload)].ready.pop_front() {
            self.clients[slot as usize].flags.queued = false;
            if self.may_call(slot) {
                return Some(slot);
            }
        }
        None
    }

    fn not_sent(&mut self, workload: u8) {
        let backlog_max = self.script.backlog_max;
        self.fault(workload, None, Fault::NotSent, || {
            format!("no connection was idle, and {backlog_max} calls were waiting")
        });
    }

    /// No more calls are made: those that wait never will be.
    pub(super) fn end_pace(&mut self) {
        for index in 0..self.paces.len() {
            let workload = u8::try_from(index).expect("at most 256 workloads");
            while self.paces[index].backlog.pop_front().is_some() {
                self.fault(workload, None, Fault::NotSent, || {
                    "the run ended before a connection was idle".into()
                });
            }
        }
        self.backlog = 0;
    }

    /// Whether the connection can take another call.
    fn may_call(&self, slot: u32) -> bool {
        let client = &self.clients[slot as usize];
        let workload = &self.script.workloads[usize::from(client.workload)];
        client.state == State::Ready
            && client.used == Use::Seat
            && !client.flags.leaving
            && !client.flags.last
            && client.in_flight < workload.depth
            && self.course == Course::Running
            && !matches!(workload.kind, Kind::Listen { .. })
    }

    /// The connection may be able to take another call: it gets one that waits, or waits for one.
    pub(super) fn offer(&mut self, slot: u32) {
        let workload = self.clients[slot as usize].workload;
        while self.may_call(slot) {
            let now_ns = self.now_ns;
            let pace = &mut self.paces[usize::from(workload)];
            if self.script.workloads[usize::from(workload)].closed {
                self.tally.workload(workload).due += 1;
                self.call(slot, What::Call, now_ns);
            } else if let Some(due_ns) = pace.backlog.pop_front() {
                self.backlog -= 1;
                self.call(slot, What::Call, due_ns);
            } else {
                let flags = &mut self.clients[slot as usize].flags;
                if !flags.queued {
                    flags.queued = true;
                    pace.ready.push_back(slot);
                }
                return;
            }
        }
    }

    pub(super) fn call(&mut self, slot: u32, what: What, due_ns: u64) {
        self.calling += 1;
        let workload = self.clients[slot as usize].workload;
        self.tally.workload(workload).sent += 1;
        self.ask(slot, what, due_ns);
    }
}

/// Infinity is never.
#[expect(clippy::cast_possible_truncation, reason = "saturates")]
#[expect(clippy::cast_sign_loss, reason = "times are not negative")]
pub(super) fn whole(ns: f64) -> u64 {
    ns as u64
}
