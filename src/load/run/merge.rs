//! From what each role tells to what all of them did, interval by interval.
//!
//! Roles tell at whole seconds and at the ends of phases, which cut the run into intervals; each
//! [`Second`] is one of them, and they come without gaps. An interval is told once every role has
//! told as far, or after a while without those that have not: what they tell late is told with the
//! next interval of its phase.
//!
//! Counts add up. How many clients are ready is of an instant: it is the sum of what each role told
//! last.

use std::collections::VecDeque;
use std::sync::Arc;

use ringmesh_runtime::load::sample::{Fault, Sample, TargetSample, Times, WorkloadSample, times};
use ringmesh_runtime::load::script::Script;

use crate::load::record::{Second, ShardSecond};

const SECOND_NS: u64 = 1_000_000_000;
/// A role tells this much off a boundary at most, and still means it.
const NEAR_NS: u64 = 50_000_000;
/// How long an interval waits for a role that has not told.
const PATIENCE_NS: u64 = 3 * SECOND_NS;
/// Examples that an interval keeps.
const EXAMPLES_MAX: usize = 32;

/// Puts samples together. See the module.
pub(crate) struct Merge {
    script: Arc<Script>,
    roles: Vec<Role>,
    /// Intervals that are not told yet, the next first. Never empty.
    open: VecDeque<Interval>,
}

#[derive(Default)]
struct Role {
    reached_ns: u64,
    ended: bool,
    ready: Ready,
    cpu_s: f64,
}

/// Clients of a role that are ready, by workload and by target.
#[derive(Clone, Default)]
struct Ready {
    workloads: Vec<Clients>,
    targets: Vec<u32>,
}

#[derive(Clone, Copy)]
struct Clients {
    established: u32,
    opening: u32,
    /// Most at once, where the sample's end says little of it: at the end of the role.
    most: u32,
}

struct Interval {
    from_ns: u64,
    to_ns: u64,
    phase: usize,
    workloads: Vec<WorkloadSample>,
    targets: Vec<TargetSample>,
    late: Times,
    shards: Vec<ShardSecond>,
    ready: Vec<Option<Ready>>,
    examples: Vec<(Fault, String)>,
}

impl Merge {
    pub(crate) fn new(script: Arc<Script>, roles: u16) -> Self {
        let mut merge = Self {
            script,
            roles: (0..roles).map(|_| Role::default()).collect(),
            open: VecDeque::new(),
        };
        let first = merge.interval_from(0);
        merge.open.push_back(first);
        merge
    }

    /// Takes what a role tells.
    pub(crate) fn add(&mut self, sample: Sample) {
        let shard = usize::from(sample.shard);
        let role = &mut self.roles[shard];
        role.reached_ns = role.reached_ns.max(sample.until_ns);
        role.ended |= sample.last;
        let place = self.place_of(&sample);
        self.open[place].absorb(shard, sample);
    }

    /// A role has ended without a last sample: nobody waits for it.
    pub(crate) fn end(&mut self, shard: u16) {
        self.roles[usize::from(shard)].ended = true;
    }

    /// Whether every role has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.roles.iter().all(|role| role.ended)
    }

    /// The next interval that is complete, or that was waited for long enough. `cpu_s` tells the
    /// CPU time of a role so far.
    pub(crate) fn poll(&mut self, now_ns: u64, cpu_s: impl Fn(u16) -> f64) -> Option<Second> {
        let next = self.open.front()?;
        let told = |role: &Role| role.ended || role.reached_ns + NEAR_NS >= next.to_ns;
        // After the end of all roles, `finish` tells the rest.
        let complete = !self.is_over() && self.roles.iter().all(told);
        if !complete && now_ns < next.to_ns.saturating_add(PATIENCE_NS) {
            return None;
        }
        let to_ns = next.to_ns;
        if self.open.len() == 1 {
            let following = self.interval_from(to_ns);
            self.open.push_back(following);
        }
        self.close(to_ns, cpu_s)
    }

    /// The intervals that are left when all is over, the last of which ends early.
    pub(crate) fn finish(&mut self, cpu_s: impl Fn(u16) -> f64) -> Vec<Second> {
        let end_ns = self.roles.iter().map(|role| role.reached_ns).max().unwrap_or(0);
        let mut left = Vec::new();
        while let Some(next) = self.open.front() {
            if next.from_ns >= end_ns && next.is_empty() {
                break;
            }
            let to_ns = if self.open.len() > 1 { next.to_ns } else { next.to_ns.min(end_ns) };
            left.extend(self.close(to_ns.max(next.from_ns + 1), &cpu_s));
        }
        left
    }

    fn close(&mut self, to_ns: u64, cpu_s: impl Fn(u16) -> f64) -> Option<Second> {
        let mut interval = self.open.pop_front()?;
        for (shard, (role, second)) in (0..).zip(self.roles.iter_mut().zip(&mut interval.shards)) {
            let cpu_s = cpu_s(shard);
            second.cpu_s = (cpu_s - role.cpu_s).max(0.0);
            role.cpu_s = role.cpu_s.max(cpu_s);
            if let Some(ready) = interval.ready[usize::from(shard)].take() {
                role.ready = ready;
            }
            second.established = role.ready.workloads.iter().map(|of| of.established).sum();
            for (workload, clients) in interval.workloads.iter_mut().zip(&mut role.ready.workloads)
            {
                workload.established += clients.established;
                workload.established_most += clients.most;
                workload.opening += clients.opening;
                clients.most = clients.established;
            }
            for (target, &established) in interval.targets.iter_mut().zip(&role.ready.targets) {
                target.established += established;
            }
        }
        Some(Second {
            from_s: seconds(interval.from_ns),
            to_s: seconds(to_ns),
            phase: interval.phase,
            // After the end nobody is wanted: who closes then is not lost.
            wanted: match interval.from_ns < self.script.end_ns() {
                true => self.script.connections_at(to_ns.saturating_sub(1)),
                false => 0,
            },
            workloads: interval.workloads,
            targets: interval.targets,
            late: interval.late,
            shards: interval.shards,
            examples: interval.examples,
        })
    }

    /// Which open interval a sample is of: the one that ends where it does, or in which it ends.
    /// A sample that comes late is of the next interval, of its own phase where one is open.
    fn place_of(&mut self, sample: &Sample) -> usize {
        let near_ns = if sample.last { 0 } else { NEAR_NS };
        while let Some(last) = self.open.back()
            && last.to_ns + near_ns < sample.until_ns
        {
            let following = self.interval_from(last.to_ns);
            self.open.push_back(following);
        }
        let within = |interval: &Interval| sample.until_ns <= interval.to_ns + near_ns;
        let place = self.open.iter().position(within).unwrap_or(self.open.len() - 1);
        if self.open[place].phase == sample.phase {
            return place;
        }
        let same = |interval: &Interval| interval.phase == sample.phase;
        let before = self.open.iter().rposition(same);
        before.unwrap_or(place)
    }

    fn interval_from(&self, from_ns: u64) -> Interval {
        let phase = self.script.phase_at(from_ns).unwrap_or(0);
        let second_ns = (from_ns / SECOND_NS + 1) * SECOND_NS;
        let phase_ends = self.script.phases.iter().map(|phase| phase.start_ns + phase.duration_ns);
        let phase_ns = phase_ends.filter(|&end_ns| end_ns > from_ns).min();
        let to_ns = phase_ns.map_or(second_ns, |end_ns| end_ns.min(second_ns));
        let (workloads, targets) = (self.script.workloads.len(), self.script.targets.len());
        Interval {
            from_ns,
            to_ns,
            phase,
            workloads: (0..workloads).map(|_| WorkloadSample::new()).collect(),
            targets: vec![TargetSample::default(); targets],
            late: times(),
            shards: vec![ShardSecond::default(); self.roles.len()],
            ready: vec![None; self.roles.len()],
            examples: Vec::new(),
        }
    }
}

impl Interval {
    fn is_empty(&self) -> bool {
        self.ready.iter().all(Option::is_none)
    }

    fn absorb(&mut self, shard: usize, sample: Sample) {
        let second = &mut self.shards[shard];
        second.tick_ms_max = second.tick_ms_max.max(sample.tick_ns_max as f64 / 1e6);
        self.ready[shard] = Some(Ready {
            workloads: sample
                .workloads
                .iter()
                .map(|&WorkloadSample { established, established_most, opening, .. }| {
                    let most = if sample.last { established_most } else { established };
                    Clients { established, opening, most }
                })
                .collect(),
            targets: sample.targets.iter().map(|of| of.established).collect(),
        });
        for (sum, part) in self.workloads.iter_mut().zip(&sample.workloads) {
            second.sent += part.sent;
            second.answered += part.answered;
            second.faults += part.faults.iter().sum::<u64>();
            add_workload(sum, part);
        }
        for (sum, part) in self.targets.iter_mut().zip(&sample.targets) {
            sum.answered += part.answered;
            sum.faults += part.faults;
        }
        add_times(&mut self.late, &sample.late);
        let room = EXAMPLES_MAX - self.examples.len();
        self.examples.extend(sample.examples.into_iter().take(room));
    }
}

/// Counts and times, not what is of an instant.
fn add_workload(sum: &mut WorkloadSample, part: &WorkloadSample) {
    sum.opened += part.opened;
    sum.failed += part.failed;
    sum.lost += part.lost;
    sum.closed += part.closed;
    sum.due += part.due;
    sum.sent += part.sent;
    sum.answered += part.answered;
    sum.abandoned += part.abandoned;
    for (sum, part) in sum.faults.iter_mut().zip(part.faults) {
        *sum += part;
    }
    sum.received_bytes += part.received_bytes;
    sum.sent_bytes += part.sent_bytes;
    sum.updates += part.updates;
    sum.comments += part.comments;
    add_times(&mut sum.latency, &part.latency);
    add_times(&mut sum.service, &part.service);
    add_times(&mut sum.opening_time, &part.opening_time);
    add_times(&mut sum.first_call, &part.first_call);
    add_times(&mut sum.delivery, &part.delivery);
}

fn add_times(sum: &mut Times, part: &Times) {
    if !part.is_empty() {
        sum.add(part).expect("the same bounds");
    }
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use ringmesh_runtime::load::sample::record_ns;

    use super::*;
    use crate::load::run::fixtures::script;

    const MS: u64 = 1_000_000;

    /// Phases that end at 1.5 s and at 3 s.
    fn merge(roles: u16) -> Merge {
        Merge::new(Arc::new(script(&[(1_500, 0, 40), (1_500, 40, 40)])), roles)
    }

    fn sample(shard: u16, until_ms: u64, phase: usize, answered: u64) -> Sample {
        let mut sample = Sample::new(shard, phase, 1, 1);
        sample.until_ns = until_ms * MS;
        let workload = &mut sample.workloads[0];
        (workload.answered, workload.sent, workload.established) = (answered, answered, 10);
        workload.faults[Fault::Lost.index()] = 1;
        for _ in 0..answered {
            record_ns(&mut workload.latency, MS);
        }
        sample.targets[0].established = 10;
        sample.tick_ns_max = u64::from(shard + 1) * MS;
        sample
    }

    fn told(merge: &mut Merge, now_ms: u64) -> Vec<(f64, f64, usize, u64)> {
        std::iter::from_fn(|| merge.poll(now_ms * MS, |_| 0.0))
            .map(|second| brief(&second))
            .collect()
    }

    fn brief(second: &Second) -> (f64, f64, usize, u64) {
        (second.from_s, second.to_s, second.phase, second.workloads[0].answered)
    }

    #[test]
    fn an_interval_is_told_when_every_role_has_told_it() {
        let mut merge = merge(2);
        merge.add(sample(0, 1_000, 0, 3));
        assert!(told(&mut merge, 1_001).is_empty());
        // One is ahead of the other.
        merge.add(sample(0, 1_500, 0, 4));
        merge.add(sample(0, 2_000, 1, 5));
        assert!(told(&mut merge, 2_001).is_empty());
        merge.add(sample(1, 1_000, 0, 10));
        assert_eq!(told(&mut merge, 2_002), [(0.0, 1.0, 0, 13)]);
        merge.add(sample(1, 1_500, 0, 20));
        merge.add(sample(1, 2_000, 1, 30));
        assert_eq!(told(&mut merge, 2_003), [(1.0, 1.5, 0, 24), (1.5, 2.0, 1, 35)]);
    }

    #[test]
    fn counts_add_up_and_clients_are_those_of_the_last_word() {
        let mut merge = merge(2);
        merge.add(sample(0, 1_000, 0, 3));
        merge.add(sample(1, 1_000, 0, 4));
        let second = merge.poll(1_000 * MS, |shard| f64::from(shard) + 0.25).expect("complete");
        let workload = &second.workloads[0];
        assert_eq!((workload.established, workload.answered, workload.sent), (20, 7, 7));
        assert_eq!(workload.faults[Fault::Lost.index()], 2);
        assert_eq!(workload.latency.len(), 7);
        assert_eq!((second.targets[0].established, second.wanted), (20, 27));
        assert_eq!((second.shards[0].established, second.shards[1].answered), (10, 4));
        assert_eq!((second.shards[0].cpu_s, second.shards[1].cpu_s), (0.25, 1.25));
        assert_eq!((second.shards[0].tick_ms_max, second.shards[1].tick_ms_max), (1.0, 2.0));
        // A role that is silent has the clients that it had, and CPU time is told once.
        merge.add(sample(0, 1_500, 0, 1));
        let second =
            merge.poll(9_000 * MS, |shard| f64::from(shard) + 0.5).expect("long waited for");
        assert_eq!((second.workloads[0].established, second.workloads[0].answered), (20, 1));
        assert_eq!((second.shards[0].cpu_s, second.shards[1].cpu_s), (0.25, 0.25));
    }

    #[test]
    fn what_comes_late_is_told_with_the_next_interval_of_its_phase() {
        let mut merge = merge(2);
        merge.add(sample(0, 1_000, 0, 1));
        assert_eq!(told(&mut merge, 4_100), [(0.0, 1.0, 0, 1)]);
        merge.add(sample(0, 2_000, 1, 2));
        merge.add(sample(1, 1_000, 0, 10));
        merge.add(sample(1, 1_500, 0, 20));
        merge.add(sample(1, 2_000, 1, 40));
        assert_eq!(told(&mut merge, 4_200), [(1.0, 1.5, 0, 30), (1.5, 2.0, 1, 42)]);
        // Its phase is all told: it counts to the next.
        merge.add(sample(1, 1_500, 0, 5));
        merge.add(sample(0, 3_000, 1, 6));
        merge.add(sample(1, 3_000, 1, 7));
        assert_eq!(told(&mut merge, 4_300), [(2.0, 3.0, 1, 18)]);
    }

    #[test]
    fn the_end_is_told_as_far_as_it_went() {
        let mut merge = merge(2);
        merge.add(Sample { last: true, ..sample(0, 700, 0, 1) });
        assert!(!merge.is_over() && told(&mut merge, 800).is_empty());
        merge.add(Sample { last: true, ..sample(1, 800, 0, 2) });
        assert!(merge.is_over() && told(&mut merge, 900).is_empty());
        let rest: Vec<_> = merge.finish(|_| 0.0).iter().map(brief).collect();
        assert_eq!(rest, [(0.0, 0.8, 0, 3)]);
        assert!(merge.finish(|_| 0.0).is_empty());
    }

    #[test]
    fn clients_that_a_role_had_before_it_ended_are_told_once() {
        let mut merge = merge(2);
        for (shard, until_ms) in [(0, 700), (1, 1_200)] {
            let mut last = Sample { last: true, ..sample(shard, until_ms, 0, 1) };
            let calls = &mut last.workloads[0];
            (calls.established, calls.established_most) = (0, 4);
            merge.add(last);
        }
        let rest = merge.finish(|_| 0.0);
        let most = rest.iter().map(|second| second.workloads[0].established_most);
        assert_eq!(most.collect::<Vec<_>>(), [4, 4]);
        assert!(rest.iter().all(|second| second.workloads[0].established == 0));
    }

    #[test]
    fn nobody_is_wanted_after_the_end() {
        let mut merge = merge(1);
        for until_ms in [1_000, 1_500, 2_000, 3_000, 4_000] {
            merge.add(sample(0, until_ms, usize::from(until_ms > 1_500), 1));
        }
        let wanted = std::iter::from_fn(|| merge.poll(4_000 * MS, |_| 0.0)).map(|of| of.wanted);
        assert_eq!(wanted.collect::<Vec<_>>(), [27, 40, 40, 40, 0]);
    }

    #[test]
    fn answers_after_the_last_phase_count_to_it() {
        let mut merge = merge(1);
        for (until_ms, phase) in [(1_000, 0), (1_500, 0), (2_000, 1), (3_000, 1), (4_000, 1)] {
            merge.add(sample(0, until_ms, phase, 1));
        }
        assert_eq!(told(&mut merge, 4_000).last(), Some(&(3.0, 4.0, 1, 1)));
        merge.add(Sample { last: true, ..sample(0, 4_020, 1, 9) });
        let rest: Vec<_> = merge.finish(|_| 0.0).iter().map(brief).collect();
        assert_eq!(rest, [(4.0, 4.02, 1, 9)]);
    }

    #[test]
    fn a_role_that_ends_without_a_word_is_not_waited_for() {
        let mut merge = merge(2);
        merge.end(1);
        merge.add(sample(0, 1_000, 0, 3));
        assert_eq!(told(&mut merge, 1_000), [(0.0, 1.0, 0, 3)]);
    }
}
