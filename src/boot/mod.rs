//! From a plan to a running server, and from a signal to its end.
//!
//! Lives once per process, on the thread that called [`run`]. The order of the start: signals,
//! limit of files, log, panic hook, trial of io_uring, sockets, mailboxes, pools, shards, control
//! plane; then the shards serve, and the server says so. Shards set themselves up in parallel and
//! wait for each other: either all of them serve or none accepts a connection.
//!
//! Invariants: every failure of the start is one line and an exit code of sysexits.h. Once the
//! server runs, this thread only waits; nothing that it writes can block a shard.
//!
//! With `--stdio` there are no sockets, no rings and no control plane: see `stdio`.
//!
//! Left out: what shards do to stop politely (the runtime's), and telling systemd.

mod error;
mod greeting;
mod logs;
mod outfit;
mod panics;
mod running;
mod shards;
mod signals;
mod sockets;
mod status;
mod stdio;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use ringmesh_ring::Listener;
use ringmesh_runtime::message::{Address, Inbox};

pub use error::StartError;
pub(crate) use greeting::reachable;
pub(crate) use panics::install as abort_on_bugs;
pub(crate) use shards::{lanes_bytes, no_ring};

use crate::config::Plan;
use crate::control::{self, ControlConfig, ControlError, ServerState, ShardWatch};
use crate::server::Server;
use crate::tools::{Pools, PoolsConfig};
use outfit::Outfit;
use running::Running;
use shards::{Crew, Desk, ShardNews};
use sockets::Sockets;

/// What the calling thread waits for.
pub(crate) enum News {
    Shard(ShardNews),
    Signal(&'static str),
}

/// Serves until SIGTERM or SIGINT, then stops gracefully. On standard input and output
/// ([`Plan::stdio`]) it serves until the client closes its end, too; both are then the server's
/// alone, and what the process prints goes to standard error.
///
/// It is meant for the whole life of a process: it installs signal handlers, a panic hook that
/// aborts for bugs outside tools, and, where none is set, a subscriber for `tracing`. A second
/// signal ends the process at once with 128 and the signal's number.
///
/// # Errors
/// [`StartError`] where the server cannot start, or has not stopped a second after the grace
/// period. The caller then ends the process: threads may be left behind.
pub fn run(server: Server, plan: Plan) -> Result<(), StartError> {
    let (sender, news) = channel();
    let signals = sender.clone();
    // Nobody listens where the start failed.
    signals::watch(move |name| signals.send(News::Signal(name)).unwrap_or_default())
        .map_err(|error| StartError::unavailable(format!("cannot handle signals: {error}")))?;
    if !plan.stdio {
        raise_file_limit();
    }
    let logs = logs::start(&plan.log);
    abort_on_bugs();
    if plan.stdio {
        return stdio::run(&server, &plan, sender, &news, &logs);
    }
    let running = start(&server, plan, sender, &news, &logs)?;
    running.wait(&news)
}

/// As many files as the hard limit allows: rings hold their connections in tables of that size.
pub(crate) fn raise_file_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // A refusal leaves the limit as it is; what does not fit then says so itself.
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).ok();
    }
}

fn start(
    server: &Server,
    mut plan: Plan,
    sender: Sender<News>,
    news: &Receiver<News>,
    logs: &logs::Logs,
) -> Result<Running, StartError> {
    let features = ringmesh_ring::probe().map_err(StartError::unavailable)?;
    let Sockets { listeners, files, admin } = sockets::open(&mut plan)?;
    let plan = Arc::new(plan);
    let pools = pools(&plan)?;
    let desks = shards::desks(&plan)?;
    let addresses: Vec<Address> = desks.iter().map(|(desk, _)| desk.address.clone()).collect();
    let watches = desks.iter().map(|(desk, _)| watch(desk)).collect();
    let crews = crews(server, &plan, &pools, desks, listeners)?;
    let tell = move |shard| sender.send(News::Shard(shard)).unwrap_or_default();
    let gate = shards::start(crews, tell)?;
    let signalled = wait_until_up(plan.shards, news)?;
    let state = Arc::new(ServerState::new());
    let control = control::spawn(ControlConfig {
        admin,
        shards: watches,
        published: server.published(),
        pools: pools.clone(),
        plan: plan.clone(),
        state: state.clone(),
    })
    .map_err(|error| no_control(&error))?;
    let handle = server.handle();
    handle.attach_status(status::source(&state));
    gate.open();
    handle.attach(addresses.clone());
    state.set_ready();
    logs.say(&greeting::lines(&plan, &features, &server.published().load()));
    greeting::announce(&plan);
    Ok(Running { plan, pools, addresses, control, state, signalled, _files: files })
}

fn pools(plan: &Plan) -> Result<Arc<Pools>, StartError> {
    let config = PoolsConfig {
        async_threads: plan.threads.for_async,
        // Shards bound their calls: what they took finds its place.
        async_max: usize::from(plan.shards) * plan.limits.calls_max as usize,
        blocking_threads: plan.threads.for_blocking,
        ..PoolsConfig::default()
    };
    Pools::new(&config).map_err(|error| {
        StartError::limit(format!(
            "{error}: raise the limit of processes (ulimit -u, \
             the container's pids limit), or lower --async-threads and --blocking-threads"
        ))
    })
}

fn no_control(error: &ControlError) -> StartError {
    match error {
        ControlError::Memlock { .. } | ControlError::Thread(_) => StartError::limit(error),
        ControlError::Ring(_) => StartError::unavailable(error),
    }
}

fn watch(desk: &Desk) -> ShardWatch {
    ShardWatch {
        id: desk.id,
        address: desk.address.clone(),
        vital: desk.vital.clone(),
        cpu: desk.cpu,
    }
}

/// Puts together what each shard's thread is given.
fn crews(
    server: &Server,
    plan: &Plan,
    pools: &Arc<Pools>,
    desks: Vec<(Desk, Inbox)>,
    listeners: Vec<Vec<Listener>>,
) -> Result<Vec<Crew>, StartError> {
    let addresses = desks.iter().map(|(desk, _)| desk.address.clone()).collect();
    let outfit = Outfit::new(server, plan, pools, addresses)?;
    let crew = |((desk, inbox), listeners): ((Desk, Inbox), Vec<Listener>)| {
        let transports = sockets::transports(plan);
        debug_assert_eq!(transports.len(), listeners.len());
        Ok(Crew {
            cpu: desk.cpu,
            doorbell: desk.doorbell,
            ring: plan.ring(),
            shard: outfit.shard(desk.id, inbox, desk.vital, transports)?,
            listeners,
        })
    };
    desks.into_iter().zip(listeners).map(crew).collect()
}

/// Waits until every shard is set up, and tells the signal that came meanwhile.
fn wait_until_up(shards: u16, news: &Receiver<News>) -> Result<Option<&'static str>, StartError> {
    let (mut up, mut signalled) = (0, None);
    while up < shards {
        match news.recv() {
            Ok(News::Shard(ShardNews::Up(result))) => {
                result?;
                up += 1;
            }
            Ok(News::Shard(ShardNews::Done(id))) => return Err(running::ended_early(id)),
            Ok(News::Signal(name)) => signalled = Some(name),
            Err(_) => unreachable!("the thread of signals holds a sender"),
        }
    }
    Ok(signalled)
}
