//! The control plane: one thread that shows how the process is doing and watches its shards.
//!
//! Lives once per process: a glommio executor on the thread `control`, with an admin endpoint
//! (HTTP/1.1, read-only), a watchdog of the shards' ticks, and the census that asks shards for
//! their counters. Invariants:
//! - No user code runs here, so no tool can make the process look dead.
//! - It waits for no shard: questions are messages, answers are looked for, and a shard that does
//!   not answer is shown as it last was.
//! - Everything a client can make it hold is bounded (`admin::CONNECTIONS_MAX`, heads, time).
//!
//! Left out: anything that changes the process. Boot sets [`ServerState`]; this reads it.

mod admin;
mod census;
mod health;
mod metrics;
mod plan;
mod process;
mod routes;
mod state;
mod status;
mod stream;
mod watch;

#[cfg(test)]
mod tests;

use self::admin::Admin;
use self::census::Census;
use self::health::{Findings, Health};
use self::stream::Timeouts;
use self::watch::{Finding, Watch};
use crate::config::Plan;
use crate::tools::Pools;
use glommio::timer::sleep;
use glommio::{LocalExecutor, LocalExecutorBuilder, Placement, PoolPlacement};
use nix::sys::resource::{Resource, getrlimit};
use ringmesh_runtime::catalog::Published;
use ringmesh_runtime::limits::Allowed;
use ringmesh_runtime::message::Address;
use ringmesh_runtime::probe::Vital;
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) use self::state::{Phase, ServerState};

/// Buffers of the executor, bytes: its least. The default of 10 MiB would exceed a memlock limit
/// of 8 MiB.
const IO_MEMORY_BYTES: usize = 64 * 1024;
/// The executor refuses to start under this RLIMIT_MEMLOCK, whatever it needs of it.
const MEMLOCK_BYTES_MIN: u64 = 512 * 1024;
/// Entries of each of its three rings; what exceeds them waits its turn.
const RING_DEPTH: usize = 64;
/// Threads for calls that block: one accepts.
const BLOCKING_THREADS: usize = 1;
/// Time between censuses that nobody asked for: the age of [`ServerState::summary_json`].
const REFRESH_EVERY: Duration = Duration::from_secs(1);

/// A shard to watch.
pub(crate) struct ShardWatch {
    /// Its number.
    pub(crate) id: u16,
    /// Where it takes questions.
    pub(crate) address: Address,
    /// Its signs of life.
    pub(crate) vital: Arc<Vital>,
    /// The core that it is pinned to.
    pub(crate) cpu: Option<usize>,
}

/// What the control plane is told at its start.
pub(crate) struct ControlConfig {
    /// The admin listener, bound (exclusively: without SO_REUSEPORT) and listening.
    pub(crate) admin: TcpListener,
    /// Every shard.
    pub(crate) shards: Vec<ShardWatch>,
    /// For the names of tools.
    pub(crate) published: Arc<Published>,
    /// The pools of tools.
    pub(crate) pools: Arc<Pools>,
    /// The resolved plan: shown, and asked which hosts and origins are answered.
    pub(crate) plan: Arc<Plan>,
    /// The phase, set by boot.
    pub(crate) state: Arc<ServerState>,
}

/// Why the control plane does not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControlError {
    /// No thread.
    #[error("the control thread cannot start: {0}")]
    Thread(#[source] io::Error),
    /// The executor asks for more locked memory than the limit allows.
    #[error(
        "the control plane needs RLIMIT_MEMLOCK of {needed_bytes} bytes, the limit is \
         {limit_bytes}: raise it (ulimit -l, LimitMEMLOCK=, --ulimit memlock=)"
    )]
    Memlock {
        /// The limit.
        limit_bytes: u64,
        /// The least that is needed.
        needed_bytes: u64,
    },
    /// Its rings are refused.
    #[error("io_uring is refused to the control plane: {0}")]
    Ring(String),
}

/// Starts the control plane. The thread ends within a second after the state is
/// [`Phase::Stopped`].
///
/// # Errors
/// Where the thread or its executor cannot start; nothing runs then.
pub(crate) fn spawn(config: ControlConfig) -> Result<thread::JoinHandle<()>, ControlError> {
    spawn_with(config, Timeouts::default())
}

fn spawn_with(
    config: ControlConfig,
    timeouts: Timeouts,
) -> Result<thread::JoinHandle<()>, ControlError> {
    let (started, outcome) = sync_channel(1);
    let thread = thread::Builder::new()
        .name("control".into())
        .spawn(move || run(config, timeouts, &started))
        .map_err(ControlError::Thread)?;
    match outcome.recv() {
        Ok(Ok(())) => Ok(thread),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(ControlError::Thread(io::Error::other("it ended at once"))),
    }
}

fn run(config: ControlConfig, timeouts: Timeouts, started: &SyncSender<Result<(), ControlError>>) {
    let executor = match executor() {
        Ok(executor) => executor,
        Err(error) => {
            // Nobody waits any more only if the spawner panicked.
            started.send(Err(error)).ok();
            return;
        }
    };
    executor.run(control(config, timeouts, started));
}

fn executor() -> Result<LocalExecutor, ControlError> {
    // An unreadable limit shows in what the executor says.
    check_memlock(getrlimit(Resource::RLIMIT_MEMLOCK).map_or(u64::MAX, |(soft, _)| soft))?;
    LocalExecutorBuilder::new(Placement::Unbound)
        .name("control")
        .io_memory(IO_MEMORY_BYTES)
        .ring_depth(RING_DEPTH)
        .blocking_thread_pool_placement(PoolPlacement::Unbound(BLOCKING_THREADS))
        .make()
        .map_err(|error| ControlError::Ring(error.to_string()))
}

fn check_memlock(limit_bytes: u64) -> Result<(), ControlError> {
    if limit_bytes < MEMLOCK_BYTES_MIN {
        return Err(ControlError::Memlock { limit_bytes, needed_bytes: MEMLOCK_BYTES_MIN });
    }
    Ok(())
}

/// What the tasks of the control thread share.
struct Plane {
    allowed: Allowed,
    published: Arc<Published>,
    pools: Arc<Pools>,
    /// As it is shown. Members with one value are labels of `ringmesh_config_info`.
    plan: Map<String, Value>,
    state: Arc<ServerState>,
    timeouts: Timeouts,
    /// Number and signs of life, in the order of places.
    vitals: Vec<(u16, Arc<Vital>)>,
    census: Census,
    watch: RefCell<Watch>,
    admin: Admin,
    process_start_s: Option<f64>,
}

impl Plane {
    fn is_stopping(&self) -> bool {
        self.state.phase() == Phase::Stopped
    }

    fn health(&self) -> Health {
        let longest = self.watch.borrow().longest();
        Health::judge(Findings {
            phase: self.state.phase(),
            stuck: longest.map(|(shard, stuck)| (self.vitals[shard].0, stuck)),
            silent: self.census.silent(),
        })
    }

    /// Looks at every shard's signs of life.
    fn look(&self) {
        let signs = self.vitals.iter().map(|(_, vital)| vital.read());
        self.watch.borrow_mut().look(Instant::now(), signs, |finding| self.report(finding));
    }

    fn report(&self, finding: Finding) {
        match finding {
            Finding::Slow { shard, tool, stuck } => {
                let (shard, stuck_ms) = (self.vitals[shard].0, stuck.as_millis());
                let tool = self.tool_name(tool);
                tracing::warn!(shard, stuck_ms, tool, "a shard is stuck in one tick");
            }
            Finding::Recovered { shard, stuck } => {
                let (shard, stuck_ms) = (self.vitals[shard].0, stuck.as_millis());
                tracing::warn!(shard, stuck_ms, "the shard goes on");
            }
            Finding::Hung { shard, tool, stuck } => {
                // Past any buffered log: nothing is flushed after this.
                eprintln!(
                    "ringmesh: shard {} has been within one tick for {} s (tool: {}); aborting",
                    self.vitals[shard].0,
                    stuck.as_secs(),
                    self.tool_name(tool),
                );
                std::process::abort();
            }
        }
    }

    fn tool_name(&self, serial: u64) -> String {
        match serial {
            0 => "none".to_owned(),
            serial => {
                let catalog = self.published.load();
                // A list may have changed while the tool runs.
                catalog.handler_name(serial).unwrap_or("one that is no longer offered").to_owned()
            }
        }
    }
}

async fn control(
    config: ControlConfig,
    timeouts: Timeouts,
    started: &SyncSender<Result<(), ControlError>>,
) {
    let now = Instant::now();
    let vitals = config.shards.iter().map(|shard| (shard.id, shard.vital.clone())).collect();
    let listener = Arc::new(config.admin);
    let plane = Rc::new(Plane {
        allowed: config.plan.allowed.clone(),
        published: config.published,
        pools: config.pools,
        plan: plan::members(&config.plan),
        state: config.state,
        timeouts,
        vitals,
        watch: RefCell::new(Watch::new(config.shards.len(), now)),
        census: Census::new(config.shards, now),
        admin: Admin::default(),
        process_start_s: process::start_time_s(),
    });
    let accepting = glommio::spawn_local(admin::accept(plane.clone(), listener.clone()));
    glommio::spawn_local(refresh(plane.clone())).detach();
    // Nobody waits any more only if the spawner panicked.
    started.send(Ok(())).ok();
    while !plane.is_stopping() {
        plane.look();
        sleep(watch::LOOK_EVERY).await;
    }
    admin::shut(&listener);
    // Must be over before the executor is: its pool's thread panics if it has no one to tell.
    accepting.await;
    plane.admin.drain().await;
}

/// Keeps the summary fresh.
async fn refresh(plane: Rc<Plane>) {
    while !plane.is_stopping() {
        let snapshot = plane.census.snapshot().await;
        let state = &plane.state;
        let summary = status::Summary::of(state.phase(), state.uptime(), &snapshot);
        match serde_json::to_string(&summary) {
            Ok(json) => state.publish(json),
            Err(error) => tracing::error!(%error, "the summary cannot be rendered"),
        }
        sleep(REFRESH_EVERY).await;
    }
}
