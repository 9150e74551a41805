//! Where handlers run that must not run on a shard: a pool for futures, a pool for what blocks.
//!
//! One [`Pools`] lives once per process; every shard holds it as its [`Pool`]. Both pools are
//! bounded in what runs and in what waits, and a full one gives the job back. Each job ends with a
//! reply, a panic included, unless nobody waits for one. Left out: time-outs, which the shards
//! keep; they cancel.

#[cfg(feature = "tokio")]
mod tasks;
mod threads;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ringmesh_runtime::catalog::{Job, Pool, Work};

#[cfg(feature = "tokio")]
use tasks::Tasks;
use threads::Threads;

/// How often a pool that stops looks whether its work is done.
const STEP: Duration = Duration::from_millis(5);

/// Bounds of the pools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolsConfig {
    /// Threads that poll async tools, at least 1.
    pub async_threads: usize,
    /// Async tools that run or wait at once.
    pub async_max: usize,
    /// Threads for blocking tools, at least 1.
    pub blocking_threads: usize,
    /// Blocking tools that wait for a thread.
    pub queue_max: usize,
    /// Threads beyond `blocking_threads` that replace ones lost to tools that overran their time.
    pub lost_max: usize,
}

impl Default for PoolsConfig {
    fn default() -> Self {
        Self {
            async_threads: 2,
            async_max: 65_536,
            blocking_threads: 16,
            queue_max: 1_024,
            lost_max: 64,
        }
    }
}

/// The pools could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start the threads of tools: {0}")]
pub struct PoolsError(#[from] std::io::Error);

/// What the pools do now, and what they refused since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Async tools that run.
    pub async_running: u64,
    /// Blocking tools that run, lost ones included.
    pub blocking_running: u64,
    /// Threads in tools that nobody waits for any more.
    pub blocking_lost: u64,
    /// Blocking tools that wait for a thread.
    pub queued: u64,
    /// Jobs given back since the start.
    pub refused: u64,
}

/// The pools of a process.
pub struct Pools {
    #[cfg(feature = "tokio")]
    tasks: Tasks,
    threads: Threads,
    refused: AtomicU64,
}

impl std::fmt::Debug for Pools {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.stats().fmt(f)
    }
}

impl Pools {
    /// Starts the pools. Their threads inherit the affinity of the caller.
    ///
    /// # Errors
    /// [`PoolsError`] where a thread cannot be started.
    pub fn new(config: &PoolsConfig) -> Result<Arc<Self>, PoolsError> {
        Ok(Arc::new(Self {
            #[cfg(feature = "tokio")]
            tasks: Tasks::new(config)?,
            threads: Threads::new(config)?,
            refused: AtomicU64::new(0),
        }))
    }

    /// What they do now.
    pub fn stats(&self) -> PoolStats {
        #[cfg(feature = "tokio")]
        let async_running = self.tasks.running();
        #[cfg(not(feature = "tokio"))]
        let async_running = 0;
        PoolStats {
            async_running,
            blocking_running: self.threads.running(),
            blocking_lost: self.threads.lost(),
            queued: self.threads.queued(),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }

    /// Takes no more jobs, waits up to `grace` for what runs, and then leaves it behind: futures
    /// are dropped at their next await, threads end with the process.
    pub fn shutdown(&self, grace: Duration) {
        let started = std::time::Instant::now();
        #[cfg(feature = "tokio")]
        self.tasks.shutdown(grace);
        self.threads.shutdown(grace.saturating_sub(started.elapsed()));
    }
}

impl Pool for Pools {
    fn submit(&self, job: Job) -> Result<(), Job> {
        let taken = match job.work {
            #[cfg(feature = "tokio")]
            Work::Async(_) => self.tasks.submit(job),
            #[cfg(not(feature = "tokio"))]
            Work::Async(_) => Err(job),
            Work::Blocking(_) => self.threads.submit(job),
        };
        if taken.is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }
}

#[cfg(test)]
mod tests;
