//! Runs many seeds, several at once, and reports what happened.

use std::cell::RefCell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam::channel::unbounded;
use ringmesh_runtime::guard;

use crate::fault::Tally;
use crate::run::Survey;
use crate::world::{Checked, World};

#[cfg(ringmesh_bugs)]
pub use ringmesh_runtime::bugs::Bug;

/// Bugs on purpose are not compiled in: none can be chosen.
#[cfg(not(ringmesh_bugs))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {}

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Seeds.
    pub seeds: Range<u64>,
    /// Ticks that each shard makes at least, for each seed, before it is led to an end.
    pub ticks: u64,
    /// Threads, at least 1.
    pub threads: usize,
    /// A bug that every run has.
    pub bug: Option<Bug>,
    /// Whether the first failure ends the campaign.
    pub stop_early: bool,
}

/// A seed whose run found something wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// What was wrong.
    pub what: String,
}

/// What a campaign found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Seeds that ran to their end or to a failure.
    pub seeds: u64,
    /// Ticks of all shards in all runs that found nothing wrong.
    pub ticks: u64,
    /// What the clients of the same runs checked.
    pub checked: Checked,
    /// Faults of the same runs.
    pub faults: Tally,
    /// By seed.
    pub failures: Vec<Failure>,
}

/// Runs a campaign. Its result does not hang on the number of threads, unless it stops early.
pub fn run(plan: &Plan) -> Report {
    let next = AtomicU64::new(plan.seeds.start);
    let stop = AtomicBool::new(false);
    let (sender, receiver) = unbounded();
    std::thread::scope(|scope| {
        for _ in 0..plan.threads {
            let sender = sender.clone();
            scope.spawn(|| {
                let sender = sender;
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= plan.seeds.end {
                        return;
                    }
                    let outcome = run_seed(seed, plan.ticks, plan.bug, false);
                    if outcome.is_err() && plan.stop_early {
                        stop.store(true, Ordering::Relaxed);
                    }
                    // The receiver lives as long as the scope.
                    drop(sender.send(outcome));
                }
            });
        }
    });
    drop(sender);
    let mut report = Report::default();
    for outcome in receiver {
        report.seeds += 1;
        match outcome {
            Ok(survey) => {
                report.ticks += survey.ticks;
                report.checked.connections += survey.checked.connections;
                report.checked.responses += survey.checked.responses;
                report.checked.changes += survey.checked.changes;
                report.faults.merge(&survey.faults);
            }
            Err(failure) => report.failures.push(failure),
        }
    }
    report.failures.sort_by_key(|failure| failure.seed);
    report
}

/// Runs one seed; with `shown` every step between shards and io goes to standard error.
///
/// # Errors
/// [`Failure`] with what was wrong: a broken contract, a wrong answer, something left behind.
pub fn run_seed(seed: u64, ticks: u64, bug: Option<Bug>, shown: bool) -> Result<Survey, Failure> {
    quieten_panics();
    activate(bug);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(seed, shown);
        let ended = catch_unwind(AssertUnwindSafe(|| world.run(ticks)));
        let ended = ended.unwrap_or_else(|_| Err(last_panic()));
        let (now_ns, ticks) = (world.now_ns, world.ticks);
        ended.map_err(|what| format!("{what} (at {now_ns} ns, after {ticks} ticks)"))
    }));
    activate(None);
    // The inner one catches a failing run, this one what breaks when its world is dropped.
    let outcome = outcome.unwrap_or_else(|_| Err(last_panic()));
    outcome.map_err(|what| Failure { seed, what })
}

#[cfg(ringmesh_bugs)]
fn activate(bug: Option<Bug>) {
    ringmesh_runtime::bugs::activate(bug);
}

#[cfg(not(ringmesh_bugs))]
fn activate(_: Option<Bug>) {}

thread_local! {
    /// What the last panic of this thread, outside of tools, said and where.
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
    static RUNS: RefCell<bool> = const { RefCell::new(false) };
}

fn last_panic() -> String {
    LAST_PANIC.with(RefCell::take)
}

/// Panics of tools are part of the play, and those of a run are reported with its seed: neither is
/// printed. Other threads keep the hook that was there.
fn quieten_panics() {
    static ONCE: Once = Once::new();
    RUNS.with(|runs| runs.replace(true));
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !RUNS.with(|runs| *runs.borrow()) {
                before(info);
            } else if !guard::in_tool() {
                let place = info.location().map_or_else(String::new, ToString::to_string);
                let payload = info.payload();
                let text = payload.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
                let what = text.unwrap_or("a panic without a message");
                LAST_PANIC.with(|last| last.replace(format!("{place}: {what}")));
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_itself() {
        let first = run_seed(7, 1_000, None, false).expect("a clean run");
        assert!(first.ticks >= 2_000);
        assert_eq!(run_seed(7, 1_000, None, false), Ok(first.clone()));
        let other = run_seed(8, 1_000, None, false).expect("a clean run");
        assert_ne!(first.digest, other.digest);
    }

    #[test]
    fn a_few_seeds_are_clean() {
        let plan = Plan { seeds: 0..8, ticks: 1_500, threads: 2, bug: None, stop_early: false };
        let report = run(&plan);
        assert_eq!(report.failures, []);
        assert_eq!(report.seeds, 8);
    }
}
