//! The pool of async tools: one tokio runtime, one task a call.
//!
//! A task is aborted when its call is cancelled. Its future is made, polled and dropped inside the
//! guard, so that a panic in any of them is the tool's. Submitting takes the short lock of tokio's
//! injection queue and never waits for a task.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use ringmesh_runtime::call::{Answer, Context};
use ringmesh_runtime::catalog::{AnswerFuture, AsyncFn, Job, Work};
use ringmesh_runtime::guard::{self, Panicked};
use tokio::runtime::{Builder, Handle, Runtime};

use super::{PoolsConfig, STEP};

pub(super) struct Tasks {
    handle: Handle,
    runtime: Mutex<Option<Runtime>>,
    running: Arc<AtomicU64>,
    running_max: u64,
}

impl Tasks {
    pub(super) fn new(config: &PoolsConfig) -> Result<Self, std::io::Error> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(config.async_threads.max(1))
            .max_blocking_threads(config.blocking_threads.max(1))
            .thread_name("ringmesh-async")
            // Tools spawn tasks of their own here: these threads run nothing but tools.
            .on_thread_start(guard::dedicate_thread)
            .enable_all()
            .build()?;
        Ok(Self {
            handle: runtime.handle().clone(),
            runtime: Mutex::new(Some(runtime)),
            running: Arc::default(),
            running_max: config.async_max as u64,
        })
    }

    pub(super) fn running(&self) -> u64 {
        self.running.load(Ordering::Relaxed)
    }

    pub(super) fn submit(&self, job: Job) -> Result<(), Job> {
        let Work::Async(work) = &job.work else { return Err(job) };
        let Some(place) = Place::take(&self.running, self.running_max) else { return Err(job) };
        let cancel = job.context.cancel().clone();
        let task = Task {
            work: Some(work.clone()),
            future: None,
            context: job.context,
            what: job.what,
            _place: place,
        };
        let abort = self.handle.spawn(task).abort_handle();
        cancel.on_cancel(Box::new(move || abort.abort()));
        Ok(())
    }

    pub(super) fn shutdown(&self, grace: Duration) {
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(runtime) = runtime else { return };
        let started = std::time::Instant::now();
        while self.running() > 0 && started.elapsed() < grace {
            std::thread::sleep(STEP);
        }
        runtime.shutdown_timeout(grace.saturating_sub(started.elapsed()));
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        // Perhaps on a shard, where dropping the runtime as it is would wait for its threads.
        let runtime = self.runtime.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(runtime) = runtime {
            runtime.shutdown_background();
        }
    }
}

/// A place among those that may run at once.
struct Place(Arc<AtomicU64>);

impl Place {
    fn take(running: &Arc<AtomicU64>, max: u64) -> Option<Self> {
        let more = |now: u64| (now < max).then_some(now + 1);
        running.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Self(running.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One call: makes its future at the first poll, on the pool, and replies at the last.
struct Task {
    work: Option<Arc<AsyncFn>>,
    future: Option<AnswerFuture>,
    context: Context,
    what: &'static str,
    _place: Place,
}

impl Task {
    /// Runs inside the guard. What is over is dropped there too.
    fn advance(&mut self, waker: &mut TaskContext<'_>) -> Poll<Answer> {
        let (work, context) = (&self.work, &self.context);
        if self.future.is_none() {
            self.future = work.as_ref().map(|work| work(context.clone()));
        }
        let Some(future) = self.future.as_mut() else { return Poll::Pending };
        let polled = future.as_mut().poll(waker);
        if polled.is_ready() {
            self.future = None;
            self.work = None;
        }
        polled
    }
}

impl Future for Task {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, waker: &mut TaskContext<'_>) -> Poll<()> {
        match guard::enter(|| self.advance(waker)) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(answer)) => self.context.reply(answer),
            Err(Panicked(why)) => {
                tracing::error!(what = self.what, name = self.context.name(), why, "panicked");
                Job::panicked(&self.context, self.what);
            }
        }
        Poll::Ready(())
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let (future, work) = (self.future.take(), self.work.take());
        if let Err(Panicked(why)) = guard::enter(move || drop((future, work))) {
            let name = self.context.name();
            tracing::error!(what = self.what, name, why, "panicked while it was dropped");
        }
        // Where it was aborted: a tool may have left a handle of its context with a task of its
        // own, and the shard keeps the call's place until it hears of the end.
        self.context.reply(Answer::default());
    }
}
