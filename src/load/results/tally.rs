//! Adds up what the seconds of a run measured: of the whole run, of each phase, of each workload.

use std::sync::Arc;

use ringmesh_runtime::load::sample::{Fault, WorkloadSample};
use ringmesh_runtime::load::script::{PhaseKind, Script};

use super::hdr::{self, Long};
use crate::load::record::{Second, ShardSecond};

/// Examples of faults that a run keeps: enough to see what kinds there are.
const EXAMPLES_MAX: usize = 24;
/// Examples of one kind among them.
const EXAMPLES_OF_A_KIND_MAX: usize = 3;
/// A second in which not even one call of so many is answered is one in which the server stands.
const STALLED_ANSWERED_MIN: u64 = 20;

/// What was counted of a run, a phase or a workload. See `Summary` for which histograms are of the
/// measured phases alone.
#[derive(Debug)]
pub(super) struct Count {
    /// Clients ready at the end of a second, the most of all; and the most at once that is known.
    pub(super) established: u64,
    pub(super) most: u64,
    pub(super) opening: u64,
    pub(super) opened: u64,
    pub(super) failed: u64,
    pub(super) lost: u64,
    pub(super) closed: u64,
    pub(super) due: u64,
    pub(super) sent: u64,
    pub(super) answered: u64,
    pub(super) abandoned: u64,
    pub(super) updates: u64,
    pub(super) comments: u64,
    pub(super) faults: [u64; Fault::COUNT],
    /// Of the measured phases.
    pub(super) due_measured: u64,
    pub(super) answered_measured: u64,
    /// Of those, answered before the last phase ended: rates and CPU time are of that time.
    pub(super) answered_in_time: u64,
    pub(super) not_sent_measured: u64,
    pub(super) latency: Long,
    pub(super) service: Long,
    pub(super) delivery: Long,
    /// Of the whole run.
    pub(super) opening_time: Long,
    pub(super) first_call: Long,
}

impl Count {
    pub(super) fn new() -> Self {
        Self {
            established: 0,
            most: 0,
            opening: 0,
            opened: 0,
            failed: 0,
            lost: 0,
            closed: 0,
            due: 0,
            sent: 0,
            answered: 0,
            abandoned: 0,
            updates: 0,
            comments: 0,
            faults: [0; Fault::COUNT],
            due_measured: 0,
            answered_measured: 0,
            answered_in_time: 0,
            not_sent_measured: 0,
            latency: hdr::long(),
            service: hdr::long(),
            delivery: hdr::long(),
            opening_time: hdr::long(),
            first_call: hdr::long(),
        }
    }

    /// All workloads of a second together; what is of an instant is a sum.
    pub(super) fn of(second: &Second) -> Self {
        let mut all = Self::new();
        let (mut established, mut most, mut opening) = (0, 0, 0);
        for sample in &second.workloads {
            all.add(sample, Told::Measured);
            established += u64::from(sample.established);
            most += u64::from(sample.established_most.max(sample.established));
            opening += u64::from(sample.opening);
        }
        (all.established, all.most, all.opening) = (established, most, opening);
        all
    }

    /// One workload of a second.
    pub(super) fn of_workload(sample: &WorkloadSample) -> Self {
        let mut one = Self::new();
        one.add(sample, Told::Measured);
        one
    }

    pub(super) fn errors(&self) -> u64 {
        self.faults.iter().sum()
    }

    fn add(&mut self, sample: &WorkloadSample, told: Told) {
        self.established = self.established.max(sample.established.into());
        self.most = self.most.max(sample.established_most.max(sample.established).into());
        self.opening = self.opening.max(sample.opening.into());
        self.opened += sample.opened;
        self.failed += sample.failed;
        self.lost += sample.lost;
        self.closed += sample.closed;
        self.due += sample.due;
        self.sent += sample.sent;
        self.answered += sample.answered;
        self.abandoned += sample.abandoned;
        self.updates += sample.updates;
        self.comments += sample.comments;
        self.faults.iter_mut().zip(sample.faults).for_each(|(sum, faults)| *sum += faults);
        hdr::merge(&mut self.opening_time, &sample.opening_time);
        hdr::merge(&mut self.first_call, &sample.first_call);
        if told != Told::Unmeasured {
            self.due_measured += sample.due;
            self.answered_measured += sample.answered;
            self.answered_in_time += if told == Told::Measured { sample.answered } else { 0 };
            self.not_sent_measured += sample.faults[Fault::NotSent.index()];
            hdr::merge(&mut self.latency, &sample.latency);
            hdr::merge(&mut self.service, &sample.service);
            hdr::merge(&mut self.delivery, &sample.delivery);
        }
    }

    fn add_count(&mut self, other: &Self, told: Told) {
        self.established = self.established.max(other.established);
        self.most = self.most.max(other.most);
        self.opening = self.opening.max(other.opening);
        self.opened += other.opened;
        self.failed += other.failed;
        self.lost += other.lost;
        self.closed += other.closed;
        self.due += other.due;
        self.sent += other.sent;
        self.answered += other.answered;
        self.abandoned += other.abandoned;
        self.updates += other.updates;
        self.comments += other.comments;
        self.faults.iter_mut().zip(other.faults).for_each(|(sum, faults)| *sum += faults);
        self.opening_time.add(&other.opening_time).expect("it grows");
        self.first_call.add(&other.first_call).expect("it grows");
        if told != Told::Unmeasured {
            self.due_measured += other.due;
            self.answered_measured += other.answered;
            self.answered_in_time += if told == Told::Measured { other.answered } else { 0 };
            self.not_sent_measured += other.faults[Fault::NotSent.index()];
            self.latency.add(&other.latency).expect("it grows");
            self.service.add(&other.service).expect("it grows");
            self.delivery.add(&other.delivery).expect("it grows");
        }
    }
}

/// What a second counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// Counts of the whole run alone.
    Unmeasured,
    /// Everything.
    Measured,
    /// What came after the end of the last phase: it counts, its time does not.
    AfterTheEnd,
}

/// What one role of the generator did in a run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ShardTotal {
    pub(super) established_max: u32,
    pub(super) sent: u64,
    pub(super) answered: u64,
    pub(super) faults: u64,
    /// CPU time in the measured phases, s.
    pub(super) cpu_measured_s: f64,
    pub(super) tick_ms_max: f64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Tally {
    script: Arc<Script>,
    pub(super) whole: Count,
    pub(super) phases: Vec<Count>,
    /// Time that passed in each phase, s.
    pub(super) phases_s: Vec<f64>,
    pub(super) workloads: Vec<Count>,
    /// How late the generator sent in the measured phases.
    pub(super) late: Long,
    pub(super) shards: Vec<ShardTotal>,
    /// Calls that became due in measured seconds in which next to nobody was answered.
    pub(super) stalled_due: u64,
    /// The end of the last second, s.
    pub(super) run_s: f64,
    pub(super) examples: Vec<(Fault, String)>,
}

impl Tally {
    pub(super) fn new(script: Arc<Script>, shards: usize) -> Self {
        let counts = |n| (0..n).map(|_| Count::new()).collect::<Vec<_>>();
        Self {
            whole: Count::new(),
            phases: counts(script.phases.len()),
            phases_s: vec![0.0; script.phases.len()],
            workloads: counts(script.workloads.len()),
            late: hdr::long(),
            shards: vec![ShardTotal::default(); shards],
            stalled_due: 0,
            run_s: 0.0,
            examples: Vec::new(),
            script,
        }
    }

    /// `all` is [`Count::of`] the same second. What names a phase, workload or role that the plan
    /// does not know is not counted there.
    pub(super) fn add(&mut self, second: &Second, all: &Count) {
        let measured = is_measured(&self.script, second.phase);
        let inside_s = within(&self.script, second.phase, second.from_s, second.to_s);
        let in_phase = if inside_s > 0.0 { Told::Measured } else { Told::AfterTheEnd };
        let told = if measured { in_phase } else { Told::Unmeasured };
        self.run_s = self.run_s.max(second.to_s);
        self.whole.add_count(all, told);
        for (count, sample) in self.workloads.iter_mut().zip(&second.workloads) {
            count.add(sample, told);
        }
        if let Some(phase) = self.phases.get_mut(second.phase) {
            phase.add_count(all, in_phase);
            self.phases_s[second.phase] += inside_s;
        }
        for (total, shard) in self.shards.iter_mut().zip(&second.shards) {
            total.add(shard, told == Told::Measured);
        }
        if measured {
            hdr::merge(&mut self.late, &second.late);
            let stalled = all.answered.saturating_mul(STALLED_ANSWERED_MIN) < all.due;
            self.stalled_due += if stalled { all.due } else { 0 };
        }
        for (fault, text) in &second.examples {
            let of_kind = self.examples.iter().filter(|(known, _)| known == fault).count();
            let known = self.examples.iter().any(|example| example == &(*fault, text.clone()));
            if !known && of_kind < EXAMPLES_OF_A_KIND_MAX && self.examples.len() < EXAMPLES_MAX {
                self.examples.push((*fault, text.clone()));
            }
        }
    }

    /// Time that passed in the measured phases, s.
    pub(super) fn measured_s(&self) -> f64 {
        let all = self.phases_s.iter().enumerate();
        all.filter(|(phase, _)| is_measured(&self.script, *phase)).map(|(_, s)| s).sum()
    }
}

impl ShardTotal {
    fn add(&mut self, second: &ShardSecond, measured: bool) {
        self.established_max = self.established_max.max(second.established);
        self.sent += second.sent;
        self.answered += second.answered;
        self.faults += second.faults;
        self.cpu_measured_s += if measured { second.cpu_s } else { 0.0 };
        self.tick_ms_max = self.tick_ms_max.max(second.tick_ms_max);
    }
}

/// Whether figures of rates, latency and CPU are taken of this phase.
pub(super) fn is_measured(script: &Script, phase: usize) -> bool {
    let measures = |kind| matches!(kind, PhaseKind::Hold | PhaseKind::Burst | PhaseKind::Churn);
    let any = script.phases.iter().any(|phase| measures(phase.kind));
    script.phases.get(phase).is_some_and(|phase| !any || measures(phase.kind))
}

/// Begin and end of a phase, s since the run's begin.
pub(super) fn bounds_s(script: &Script, phase: usize) -> (f64, f64) {
    let Some(phase) = script.phases.get(phase) else { return (0.0, 0.0) };
    let end_ns = phase.start_ns + phase.duration_ns;
    (super::float(phase.start_ns) / 1e9, super::float(end_ns) / 1e9)
}

/// How much of a time lies in a phase, s.
pub(super) fn within(script: &Script, phase: usize, from_s: f64, to_s: f64) -> f64 {
    let (begin_s, end_s) = bounds_s(script, phase);
    (to_s.min(end_s) - from_s.max(begin_s)).max(0.0)
}
