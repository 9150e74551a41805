//! The pool of blocking tools: threads that take jobs from one bounded queue.
//!
//! A thread whose job was cancelled while it runs is *lost*: nobody can interrupt it. A keeper
//! starts another in its place, up to a bound, and a thread that comes back to find enough others
//! ends. Replacements are started by the keeper alone, off the shards and with the affinity that
//! the pool was started with.
//!
//! Invariants: `live` counts threads, `lost` those of them in jobs that nobody waits for;
//! `live - lost` settles at the configured number, or below it where `lost` is past its bound.

use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use ringmesh_runtime::call::Context;
use ringmesh_runtime::catalog::{Job, Work};
use ringmesh_runtime::guard::{self, Panicked};

use super::{PoolsConfig, STEP};

/// How long the keeper waits before it replaces a lost thread: a tool that looks at its context
/// ends soon after it was cancelled.
const COMEBACK: Duration = Duration::from_millis(50);
/// How long the keeper waits after a thread could not be started.
const RETRY: Duration = Duration::from_secs(1);

const RUNNING: u8 = 0;
const LOST: u8 = 1;
const OVER: u8 = 2;

pub(super) struct Threads {
    jobs: Sender<Job>,
    /// Dropped at the end: threads and keeper end when it is gone.
    stop: Mutex<Option<Sender<()>>>,
    shared: Arc<Shared>,
}

struct Shared {
    queue: Receiver<Job>,
    stopped: Receiver<()>,
    /// Wakes the keeper; one ring is kept.
    bell: Sender<()>,
    serving: usize,
    lost_max: usize,
    live: Mutex<usize>,
    lost: AtomicUsize,
    running: AtomicU64,
}

impl Threads {
    pub(super) fn new(config: &PoolsConfig) -> Result<Self, std::io::Error> {
        let (jobs, queue) = bounded(config.queue_max.max(1));
        let (stop, stopped) = bounded(1);
        let (bell, rung) = bounded(1);
        let shared = Arc::new(Shared {
            queue,
            stopped,
            bell,
            serving: config.blocking_threads.max(1),
            lost_max: config.lost_max,
            live: Mutex::new(0),
            lost: AtomicUsize::new(0),
            running: AtomicU64::new(0),
        });
        for _ in 0..shared.serving {
            start_thread(&shared, &mut shared.live())?;
        }
        let keeper = shared.clone();
        let name = "ringmesh-keeper".to_owned();
        thread::Builder::new().name(name).spawn(move || keep(&keeper, &rung))?;
        Ok(Self { jobs, stop: Mutex::new(Some(stop)), shared })
    }

    pub(super) fn running(&self) -> u64 {
        self.shared.running.load(Ordering::Relaxed)
    }

    pub(super) fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed) as u64
    }

    pub(super) fn queued(&self) -> u64 {
        self.jobs.len() as u64
    }

    pub(super) fn submit(&self, job: Job) -> Result<(), Job> {
        self.jobs.try_send(job).map_err(TrySendError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn live(&self) -> usize {
        *self.shared.live()
    }

    /// Waits for jobs that somebody waits for, up to `grace`, and lets the threads go.
    pub(super) fn shutdown(&self, grace: Duration) {
        let started = Instant::now();
        let busy = || self.running() > self.lost() || self.queued() > 0;
        while busy() && started.elapsed() < grace {
            thread::sleep(STEP);
        }
        drop(self.stop.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl Shared {
    fn live(&self) -> MutexGuard<'_, usize> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a job as lost while its thread has not returned from it. Runs on a shard.
    fn lose(&self, state: &AtomicU8) {
        // Counted first: the thread may come back and uncount it between the two.
        self.lost.fetch_add(1, Ordering::AcqRel);
        let lost = state.compare_exchange(RUNNING, LOST, Ordering::AcqRel, Ordering::Acquire);
        if lost.is_err() {
            self.lost.fetch_sub(1, Ordering::AcqRel);
            return;
        }
        // Full: a ring is kept already.
        self.bell.try_send(()).ok();
    }
}

/// Replaces lost threads until the pool stops.
fn keep(shared: &Arc<Shared>, rung: &Receiver<()>) {
    loop {
        crossbeam::select! {
            recv(rung) -> _ => {}
            recv(shared.stopped) -> _ => return,
        }
        let mut pause = COMEBACK;
        while shared.stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            match replace_lost(shared) {
                Ok(()) => break,
                Err(error) => tracing::error!(%error, "cannot replace a lost thread of tools"),
            }
            pause = RETRY;
        }
    }
}

fn replace_lost(shared: &Arc<Shared>) -> Result<(), std::io::Error> {
    let mut live = shared.live();
    loop {
        let lost = shared.lost.load(Ordering::Acquire);
        if live.saturating_sub(lost) >= shared.serving || *live >= shared.serving + shared.lost_max
        {
            return Ok(());
        }
        start_thread(shared, &mut live)?;
    }
}

fn start_thread(shared: &Arc<Shared>, live: &mut usize) -> Result<(), std::io::Error> {
    let own = shared.clone();
    let name = "ringmesh-block".to_owned();
    thread::Builder::new().name(name).spawn(move || serve(&own))?;
    *live += 1;
    Ok(())
}

/// The life of a thread.
fn serve(shared: &Arc<Shared>) {
    loop {
        let job = crossbeam::select! {
            recv(shared.queue) -> job => job.ok(),
            recv(shared.stopped) -> _ => None,
        };
        let Some(job) = job else {
            *shared.live() -= 1;
            return;
        };
        let was_lost = run(shared, job);
        if was_lost {
            shared.lost.fetch_sub(1, Ordering::AcqRel);
            let mut live = shared.live();
            if live.saturating_sub(shared.lost.load(Ordering::Acquire)) > shared.serving {
                *live -= 1;
                return;
            }
        }
    }
}

/// Runs a job and replies. True: it was cancelled meanwhile, and this thread counted as lost.
fn run(shared: &Arc<Shared>, job: Job) -> bool {
    let Job { work: Work::Blocking(work), context, what } = job else { return false };
    if context.is_cancelled() {
        return false;
    }
    let state = Arc::new(AtomicU8::new(RUNNING));
    let (watched, watcher) = (state.clone(), shared.clone());
    context.cancel().on_cancel(Box::new(move || watcher.lose(&watched)));
    shared.running.fetch_add(1, Ordering::Relaxed);
    let outcome = guard::enter(|| {
        let answer = work(&context);
        // Perhaps the last handle of a removed tool: what it owns is dropped as the tool's code.
        drop(work);
        answer
    });
    shared.running.fetch_sub(1, Ordering::Relaxed);
    let was_lost = state.swap(OVER, Ordering::AcqRel) == LOST;
    match outcome {
        Ok(answer) => context.reply(answer),
        Err(panicked) => reply_panicked(&context, what, &panicked),
    }
    was_lost
}

#[cold]
fn reply_panicked(context: &Context, what: &'static str, panicked: &Panicked) {
    tracing::error!(what, name = context.name(), why = %panicked, "panicked");
    Job::panicked(context, what);
}
