//! A virtual pool of tools: takes jobs from the shards, and runs them later on the same thread at
//! random virtual times, with notes before the answer and all the ways in which tools misbehave.
//!
//! Lives once per simulated process, in two halves: [`Desk`] is what shards submit to, [`Workers`]
//! is what the world moves on.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

use crossbeam::queue::SegQueue;
use ringmesh_runtime::call::{Context, NoteError};
use ringmesh_runtime::catalog::{Job, Pool, Work};
use ringmesh_runtime::guard;

use crate::fault::{Dice, Fault};

/// The shards' side of the pool.
#[derive(Default)]
pub(crate) struct Desk {
    jobs: SegQueue<Job>,
    closed: AtomicBool,
    refused: AtomicU64,
}

impl Pool for Desk {
    fn submit(&self, job: Job) -> Result<(), Job> {
        if self.closed.load(Ordering::Relaxed) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(job);
        }
        self.jobs.push(job);
        Ok(())
    }
}

struct Task {
    work: Option<Work>,
    context: Context,
    what: &'static str,
    due_ns: u64,
    notes_left: u32,
    notes_sent: u32,
    /// Has its stream closed once, for the client to come back.
    polls: bool,
}

/// The world's side of the pool.
pub(crate) struct Workers {
    desk: Arc<Desk>,
    tasks: Vec<Task>,
    /// Handles that are kept beyond the answer, and when they are used.
    late: Vec<(u64, Context)>,
    /// Keys of calls that are dropped without an answer.
    pub(crate) dropped: BTreeSet<String>,
    /// The last progress that each call sent before its answer, by its arguments.
    pub(crate) reported: BTreeMap<String, f64>,
}

impl Workers {
    pub(crate) fn new(desk: Arc<Desk>) -> Self {
        Self {
            desk,
            tasks: Vec::new(),
            late: Vec::new(),
            dropped: BTreeSet::new(),
            reported: BTreeMap::new(),
        }
    }

    /// Takes what was submitted, and moves on what is due.
    pub(crate) fn act(&mut self, now_ns: u64, tool_timeout_ns: u64, dice: &mut Dice) {
        self.desk.closed.store(dice.plans(Fault::PoolFull), Ordering::Relaxed);
        while let Some(job) = self.desk.jobs.pop() {
            let Job { work, context, what } = job;
            let polls = context.with_call(|call| call.arguments().contains("\"polls\":true"));
            let slow = context.with_call(|call| call.arguments().contains("slow"));
            let due_ns = now_ns
                + if dice.strikes(Fault::ToolStuck) {
                    2 * tool_timeout_ns
                } else if slow {
                    dice.between(tool_timeout_ns / 4, tool_timeout_ns / 2)
                } else {
                    dice.between(0, 30_000_000)
                };
            let notes_max = if dice.one_in(3) { 6 } else { 1 };
            let notes_left = u32::try_from(dice.below(notes_max)).unwrap_or(0);
            let work = Some(work);
            let notes_sent = 0;
            self.tasks.push(Task { work, context, what, due_ns, notes_left, notes_sent, polls });
        }
        let mut at = 0;
        while at < self.tasks.len() {
            if self.advance(at, now_ns, dice) {
                self.tasks.swap_remove(at);
            } else {
                at += 1;
            }
        }
        self.late.retain(|(due_ns, context)| {
            if *due_ns <= now_ns {
                // The lane may be full, and the call cancelled. It must reach nobody.
                let sent = context.progress(1e9, None, None);
                assert_ne!(sent, Err(NoteError::NotIncreasing), "progress grows");
            }
            *due_ns > now_ns
        });
    }

    /// Whether nothing runs.
    pub(crate) fn is_idle(&self) -> bool {
        self.tasks.is_empty() && self.desk.jobs.is_empty()
    }

    /// From now on everything that runs answers soon.
    pub(crate) fn heal(&mut self, now_ns: u64) {
        for task in &mut self.tasks {
            task.due_ns = task.due_ns.min(now_ns + 20_000_000);
        }
    }

    /// Jobs refused so far.
    pub(crate) fn refused(&self) -> u64 {
        self.desk.refused.load(Ordering::Relaxed)
    }

    /// Whether the task is done with.
    fn advance(&mut self, at: usize, now_ns: u64, dice: &mut Dice) -> bool {
        let task = &mut self.tasks[at];
        if task.context.is_cancelled() && dice.one_in(4) {
            return true;
        }
        // A burst of notes may fill the lane.
        while task.notes_left > 0 && dice.ready() {
            task.notes_left -= 1;
            task.notes_sent += 1;
            let progress = f64::from(task.notes_sent);
            match task.context.progress(progress, None, None) {
                Ok(()) => {
                    let heard = task.context.with_call(|call| {
                        call.wants_progress().then(|| call.arguments().to_owned())
                    });
                    self.reported.extend(heard.map(|arguments| (arguments, progress)));
                }
                Err(NoteError::Busy) => dice.saw(Fault::NotesFull),
                Err(NoteError::NotIncreasing) => panic!("progress grows"),
            }
        }
        if task.polls && dice.one_in(4) {
            task.polls = false;
            let retry = Duration::from_millis(dice.between(0, 50));
            if task.context.close_stream(retry).is_err() {
                dice.saw(Fault::NotesFull);
            }
        }
        if task.due_ns > now_ns || task.notes_left > 0 {
            return false;
        }
        let Some(work) = task.work.take() else { return true };
        if dice.strikes(Fault::ToolDropped) {
            let key = task.context.with_call(|call| call.arguments().to_owned());
            self.dropped.insert(key);
            return true;
        }
        if dice.strikes(Fault::LateNote) {
            self.late.push((now_ns + dice.between(0, 40_000_000), task.context.clone()));
        }
        run(work, task, dice);
        true
    }
}

fn run(work: Work, task: &Task, dice: &mut Dice) {
    let context = task.context.clone();
    let outcome = guard::enter(|| match work {
        Work::Blocking(code) => Some(code(&context)),
        Work::Async(code) => {
            let mut future = pin!(code(context));
            match future.as_mut().poll(&mut std::task::Context::from_waker(Waker::noop())) {
                Poll::Ready(answer) => Some(answer),
                Poll::Pending => None,
            }
        }
    });
    match outcome {
        Ok(answer) => task.context.reply(answer.expect("the futures of the sim wait for nothing")),
        Err(_) => {
            dice.saw(Fault::PooledPanic);
            Job::panicked(&task.context, task.what);
        }
    }
}
