//! Where a user's code runs, and the shape that the runtime calls it in.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::call::{Answer, Call, Context};

/// A plain function that runs on the shard: work of microseconds, never blocking.
pub type InlineFn = dyn Fn(&Call<'_>, &mut Answer) + Send + Sync;

/// A future on the pool of async tools.
pub type AnswerFuture = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// Makes the future of a call. It runs on the pool, not on the shard.
pub type AsyncFn = dyn Fn(Context) -> AnswerFuture + Send + Sync;

/// A function that may block; runs on the pool of blocking tools.
pub type BlockingFn = dyn Fn(&Context) -> Answer + Send + Sync;

/// A user's code.
#[derive(Clone)]
pub enum Handler {
    /// Runs on the shard, at once.
    Inline(Arc<InlineFn>),
    /// Runs on the pool of async tools; cancelled by dropping the future.
    Async(Arc<AsyncFn>),
    /// Runs on the pool of blocking tools; abandoned at its time-out.
    Blocking(Arc<BlockingFn>),
}

impl std::fmt::Debug for Handler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Inline(_) => "Inline",
            Self::Async(_) => "Async",
            Self::Blocking(_) => "Blocking",
        })
    }
}

/// Work for a pool.
pub struct Job {
    /// What to run.
    pub work: Work,
    /// The request, and the way back: the pool ends with [`Context::reply`].
    pub context: Context,
    /// What the handler serves, for messages: `tool`, `resource`, `prompt` or `completion`.
    pub what: &'static str,
}

/// The code of a [`Job`].
pub enum Work {
    /// For the pool of async tools.
    Async(Arc<AsyncFn>),
    /// For the pool of blocking tools.
    Blocking(Arc<BlockingFn>),
}

impl Job {
    /// Answers for a handler that panicked, as a pool does that caught it.
    pub fn panicked(context: &Context, what: &str) {
        let mut answer = Answer::default();
        answer.panicked(what, context.name(), what == "tool");
        context.reply(answer);
    }
}

/// Runs what must not run on a shard. One per process; every shard holds a handle.
pub trait Pool: Send + Sync {
    /// Takes a job without blocking.
    ///
    /// # Errors
    /// Gives it back where the pool is full: the client is told that the server is busy.
    fn submit(&self, job: Job) -> Result<(), Job>;
}

/// Refuses every job: for servers whose handlers are all inline.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPool;

impl Pool for NoPool {
    fn submit(&self, job: Job) -> Result<(), Job> {
        Err(job)
    }
}
