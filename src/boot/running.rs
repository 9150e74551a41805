//! A server that runs: waits for its end, and ends it within the grace period.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ringmesh_ring::SocketFile;
use ringmesh_runtime::message::{Address, Request};

use super::News;
use super::error::StartError;
use super::shards::ShardNews;
use crate::config::Plan;
use crate::control::ServerState;
use crate::tools::Pools;

/// What shards get beyond the grace period to close what they cut.
const AFTER_GRACE: Duration = Duration::from_secs(1);
/// What the pools and the control plane get of the grace period, once the shards are gone: a fifth
/// of it, at most this.
const LEFTOVERS_MAX: Duration = Duration::from_millis(500);
const LEFTOVERS_PART: u32 = 5;
/// Between two looks at what cannot tell by message.
const PAUSE: Duration = Duration::from_millis(5);

/// How the time that a server gets to stop is shared.
pub(crate) struct Grace {
    /// For the shards.
    pub(crate) shards: Duration,
    /// For what outlives them.
    pub(crate) leftovers: Duration,
    /// When whoever is not gone is left behind.
    pub(crate) deadline: Instant,
}

impl Grace {
    /// It begins now.
    pub(crate) fn begin(plan: &Plan) -> Self {
        let grace = Duration::from_millis(plan.grace_ms);
        let leftovers = (grace / LEFTOVERS_PART).min(LEFTOVERS_MAX);
        let deadline = Instant::now() + grace + AFTER_GRACE;
        Self { shards: grace - leftovers, leftovers, deadline }
    }
}

/// A server that runs.
pub(crate) struct Running {
    pub(crate) plan: Arc<Plan>,
    pub(crate) pools: Arc<Pools>,
    pub(crate) addresses: Vec<Address>,
    pub(crate) control: JoinHandle<()>,
    pub(crate) state: Arc<ServerState>,
    /// A signal that came before the server ran.
    pub(crate) signalled: Option<&'static str>,
    /// The files of Unix sockets go when all is over.
    pub(crate) _files: Vec<SocketFile>,
}

impl Running {
    /// Waits for a signal, then stops.
    ///
    /// # Errors
    /// Where a shard ends by itself, or is not gone a second after the grace period.
    pub(crate) fn wait(self, news: &Receiver<News>) -> Result<(), StartError> {
        let signal = match self.signalled {
            Some(name) => name,
            None => wait_for_signal(news)?,
        };
        tracing::info!(signal, grace_ms = self.plan.grace_ms, "stopping");
        self.state.set_draining();
        let Grace { shards, leftovers, deadline } = Grace::begin(&self.plan);
        drain(&self.addresses, shards, deadline);
        self.wait_for_shards(news, deadline)?;
        // Both end at the same time.
        self.state.set_stopped();
        let deadline = Instant::now() + LEFTOVERS_MAX;
        self.pools.shutdown(leftovers);
        finish(self.control, deadline);
        tracing::info!("stopped");
        Ok(())
    }

    fn wait_for_shards(&self, news: &Receiver<News>, deadline: Instant) -> Result<(), StartError> {
        let mut left: Vec<u16> = (0..self.plan.shards).collect();
        while !left.is_empty() {
            match news.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(News::Shard(ShardNews::Done(id))) => left.retain(|&shard| shard != id),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    return Err(stuck(&left));
                }
            }
        }
        Ok(())
    }
}

/// Shards that outlast their time.
pub(crate) fn stuck(shards: &[u16]) -> StartError {
    let names: Vec<String> = shards.iter().map(|id| format!("shard-{id}")).collect();
    StartError::software(format!(
        "{} did not stop within the grace period and a second: ended by force; look for an inline \
         tool that blocks",
        names.join(", "),
    ))
}

/// A shard ends when it is told to, or else for a bug.
pub(crate) fn ended_early(id: u16) -> StartError {
    StartError::software(format!("bug: shard-{id} ended by itself"))
}

fn wait_for_signal(news: &Receiver<News>) -> Result<&'static str, StartError> {
    loop {
        match news.recv() {
            Ok(News::Signal(name)) => return Ok(name),
            Ok(News::Shard(ShardNews::Done(id))) => return Err(ended_early(id)),
            Ok(News::Shard(ShardNews::Up(_))) => {}
            Err(_) => unreachable!("the thread of signals holds a sender"),
        }
    }
}

/// Has every shard stop. A lane may be full of others' requests for a moment, or for as long as its
/// shard is stuck, for which the others do not wait.
pub(crate) fn drain(shards: &[Address], grace: Duration, deadline: Instant) {
    let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
    let mut deaf: Vec<&Address> = shards.iter().collect();
    loop {
        deaf.retain(|shard| shard.send_request(Request::Drain { grace_ms }).is_err());
        if deaf.is_empty() || Instant::now() >= deadline {
            return;
        }
        thread::sleep(PAUSE);
    }
}

/// Waits for a thread, but not for ever.
fn finish(thread: JoinHandle<()>, deadline: Instant) {
    while !thread.is_finished() {
        if Instant::now() >= deadline {
            tracing::warn!("the control plane did not end in time: left behind");
            return;
        }
        thread::sleep(PAUSE);
    }
    // A panic there has aborted the process already.
    thread.join().ok();
}
