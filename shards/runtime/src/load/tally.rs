//! What the role counts, and how it is told: a sample each second, at the end of each phase, and at
//! the end.

use std::collections::VecDeque;

use crossbeam::channel::{Sender, TrySendError};

use super::Load;
use super::sample::{EXAMPLES_MAX, Fault, Sample, WorkloadSample};
use super::script::Script;

const SECOND_NS: u64 = 1_000_000_000;
/// Examples of one kind of fault that a sample keeps.
const EXAMPLES_ALIKE_MAX: usize = 2;
/// Longest example, characters.
const EXAMPLE_CHARS_MAX: usize = 400;
/// How soon a full channel is tried again, ns.
const RETRY_NS: u64 = 20_000_000;

/// See the module.
pub(super) struct Tally {
    /// What is being counted.
    pub(super) sample: Box<Sample>,
    /// Samples that found the channel full and may not be merged: the next is of another phase.
    held: VecDeque<Box<Sample>>,
    /// By workload: clients that are ready, and on their way.
    established: Vec<u32>,
    opening: Vec<u32>,
    /// By target.
    ready: Vec<u32>,
    /// The next whole second.
    second_ns: u64,
    /// The last sample was made.
    closed: bool,
    /// When to try again, while samples are held.
    retry_ns: u64,
}

impl Tally {
    pub(super) fn new(shard: u16, script: &Script) -> Self {
        let (workloads, targets) = (script.workloads.len(), script.targets.len());
        Self {
            sample: Box::new(Sample::new(shard, 0, workloads, targets)),
            held: VecDeque::new(),
            established: vec![0; workloads],
            opening: vec![0; workloads],
            ready: vec![0; targets],
            second_ns: SECOND_NS,
            closed: false,
            retry_ns: u64::MAX,
        }
    }

    pub(super) fn workload(&mut self, workload: u8) -> &mut WorkloadSample {
        &mut self.sample.workloads[usize::from(workload)]
    }

    /// A client began to open.
    pub(super) fn opens(&mut self, workload: u8) {
        self.opening[usize::from(workload)] += 1;
    }

    /// A client that was opening does so no more.
    pub(super) fn opens_no_more(&mut self, workload: u8) {
        self.opening[usize::from(workload)] -= 1;
    }

    /// A client is ready.
    pub(super) fn is_ready(&mut self, workload: u8, target: u8) {
        let established = &mut self.established[usize::from(workload)];
        *established += 1;
        let most = &mut self.sample.workloads[usize::from(workload)].established_most;
        *most = (*most).max(*established);
        self.ready[usize::from(target)] += 1;
    }

    /// A client that was ready is so no more.
    pub(super) fn is_ready_no_more(&mut self, workload: u8, target: u8) {
        self.established[usize::from(workload)] -= 1;
        self.ready[usize::from(target)] -= 1;
    }

    pub(super) fn observe_tick(&mut self, ns: u64) {
        self.sample.tick_ns_max = self.sample.tick_ns_max.max(ns);
    }

    pub(super) fn next_ns(&self) -> u64 {
        self.second_ns.min(self.retry_ns)
    }

    fn fault(
        &mut self,
        workload: u8,
        target: Option<u8>,
        fault: Fault,
        text: impl FnOnce() -> String,
    ) {
        self.workload(workload).faults[fault.index()] += 1;
        if let Some(target) = target {
            self.sample.targets[usize::from(target)].faults += 1;
        }
        let examples = &mut self.sample.examples;
        let alike = examples.iter().filter(|(known, _)| *known == fault).count();
        if examples.len() < EXAMPLES_MAX && alike < EXAMPLES_ALIKE_MAX {
            let mut text = text();
            if let Some((end, _)) = text.char_indices().nth(EXAMPLE_CHARS_MAX) {
                text.truncate(end);
            }
            examples.push((fault, text));
        }
    }

    /// Tells what was counted until now. A sample that is not taken grows on, unless the phase
    /// changes: then it waits.
    fn tell(&mut self, until_ns: u64, next_phase: usize, to: &Sender<Box<Sample>>) {
        for (workload, sample) in self.sample.workloads.iter_mut().enumerate() {
            sample.established = self.established[workload];
            sample.opening = self.opening[workload];
        }
        for (target, sample) in self.sample.targets.iter_mut().enumerate() {
            sample.established = self.ready[target];
        }
        self.sample.until_ns = until_ns;
        let (workloads, targets) = (self.sample.workloads.len(), self.sample.targets.len());
        let changes = next_phase != self.sample.phase || self.sample.last;
        if !self.tell_held(to) && !changes {
            return;
        }
        if !changes && to.is_full() {
            return;
        }
        let mut next = Box::new(Sample::new(self.sample.shard, next_phase, workloads, targets));
        for (sample, &established) in next.workloads.iter_mut().zip(&self.established) {
            sample.established_most = established;
        }
        self.held.push_back(std::mem::replace(&mut self.sample, next));
        self.tell_held(to);
    }

    /// Whether none is held any more.
    fn tell_held(&mut self, to: &Sender<Box<Sample>>) -> bool {
        while let Some(sample) = self.held.pop_front() {
            match to.try_send(sample) {
                Ok(()) => {}
                Err(TrySendError::Full(sample)) => {
                    self.held.push_front(sample);
                    return false;
                }
                // Nobody wants to know any more.
                Err(TrySendError::Disconnected(_)) => self.held.clear(),
            }
        }
        true
    }
}

impl Load {
    /// Counts a fault; the text, for the first few, says what exactly came.
    pub(super) fn fault(
        &mut self,
        workload: u8,
        target: Option<u8>,
        fault: Fault,
        text: impl FnOnce() -> String,
    ) {
        self.tally.fault(workload, target, fault, text);
    }

    /// The same of a connection.
    pub(super) fn fault_of(&mut self, slot: u32, fault: Fault, text: impl FnOnce() -> String) {
        let client = &self.clients[slot as usize];
        let (workload, target) = (client.workload, client.target);
        let name = &self.script.targets[usize::from(target)].name;
        self.tally.fault(workload, Some(target), fault, || format!("{name}: {}", text()));
    }

    /// Tells what is due to be told, and goes from phase to phase. Before anything of now counts.
    pub(super) fn roll(&mut self) {
        loop {
            let phase_end_ns = self.phase_end_ns();
            let second_ns = self.tally.second_ns;
            let due_ns = second_ns.min(phase_end_ns);
            if due_ns > self.now_ns {
                break;
            }
            if phase_end_ns > second_ns {
                // Of several that passed, the last: one sample tells of them all.
                let until_ns = self.now_ns.min(phase_end_ns) / SECOND_NS * SECOND_NS;
                self.tally.tell(until_ns, self.phase, &self.config.samples);
                self.tally.second_ns = until_ns + SECOND_NS;
                continue;
            }
            self.follow_script(phase_end_ns);
            let next = (self.phase + 1).min(self.script.phases.len().saturating_sub(1));
            let last = self.phase + 1 >= self.script.phases.len();
            // What follows the last phase is told with it.
            self.tally.tell(phase_end_ns, next, &self.config.samples);
            if phase_end_ns == second_ns {
                self.tally.second_ns += SECOND_NS;
            }
            if last {
                self.begin_linger(phase_end_ns);
            } else {
                self.begin_phase(next);
            }
        }
        if self.tally.retry_ns <= self.now_ns {
            self.tally.tell_held(&self.config.samples);
        }
        let held = !self.tally.held.is_empty();
        self.tally.retry_ns = if held { self.now_ns + RETRY_NS } else { u64::MAX };
    }

    /// Tells the last sample; false while the channel is full.
    pub(super) fn told_last(&mut self) -> bool {
        if !self.tally.closed {
            self.tally.closed = true;
            self.tally.sample.last = true;
            self.tally.tell(self.now_ns, self.phase, &self.config.samples);
        }
        self.tally.tell_held(&self.config.samples)
    }

    pub(super) fn retry_ns(&self) -> u64 {
        self.now_ns + RETRY_NS
    }
}
