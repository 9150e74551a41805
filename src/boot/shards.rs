//! The shards' threads: made, pinned, set up all together, and waited for.

use std::sync::Arc;
use std::thread;

use crossbeam::channel::{Receiver, bounded};
use ringmesh_ring::{Doorbell, Listener, Refusal, Ring, RingConfig, SetupError, pin_to_cpu, run};
use ringmesh_runtime::mailbox::{Capacities, mailbox};
use ringmesh_runtime::message::{Address, Inbox};
use ringmesh_runtime::probe::Vital;
use ringmesh_runtime::{Shard, ShardConfig, rest};

use super::error::StartError;
use crate::config::Plan;

/// Requests to a shard come from other shards, for sessions that live there; over it their clients
/// are told that the server is busy.
const REQUESTS_MAX: usize = 1_024;
/// Answers of such requests on their way back; over it they wait on the shard that answered.
const RELAYS_MAX: usize = 1_024;
/// Progress and log messages that wait for a shard; over it they are lost.
const NOTES_MAX: usize = 4_096;
/// Changes that wait for a shard; over it everything counts as changed.
const EVENTS_MAX: usize = 1_024;

/// What a shard's thread tells of.
pub(crate) enum ShardNews {
    /// It is set up, or cannot be.
    Up(Result<(), StartError>),
    /// It has stopped.
    Done(u16),
}

/// How others reach a shard and see that it lives.
pub(crate) struct Desk {
    pub(crate) id: u16,
    pub(crate) cpu: Option<usize>,
    pub(crate) doorbell: Doorbell,
    pub(crate) address: Address,
    pub(crate) vital: Arc<Vital>,
}

/// Makes the mailboxes of all shards, so that everybody has everybody's address before one runs.
///
/// # Errors
/// Where no descriptor is left for a doorbell.
pub(crate) fn desks(plan: &Plan) -> Result<Vec<(Desk, Inbox)>, StartError> {
    let capacities = capacities(plan);
    let desk = |id: u16| {
        let doorbell = Doorbell::new().map_err(|errno| {
            StartError::limit(format!(
                "cannot make the doorbell of shard-{id} ({errno}): raise the limit of open files \
                 with ulimit -n, or use fewer --shards"
            ))
        })?;
        let (address, inbox) = mailbox(capacities, Arc::new(doorbell.clone()));
        let cpu = match plan.cpus.len() {
            0 => None,
            cpus => Some(plan.cpus[usize::from(id) % cpus]),
        };
        Ok((Desk { id, cpu, doorbell, address, vital: Arc::default() }, inbox))
    };
    (0..plan.shards).map(desk).collect()
}

/// The bounds of a shard's mailbox.
pub(crate) fn capacities(plan: &Plan) -> Capacities {
    lanes(plan.limits.calls_max as usize)
}

/// A reply has a place for each call that may be in flight.
const fn lanes(calls_max: usize) -> Capacities {
    Capacities {
        requests: REQUESTS_MAX,
        replies: calls_max,
        notes: NOTES_MAX,
        events: EVENTS_MAX,
        relays: RELAYS_MAX,
    }
}

/// What a mailbox takes, in bytes: all places of its lanes are made at once.
pub(crate) fn lanes_bytes(calls_max: u64) -> u64 {
    let lanes = lanes(usize::try_from(calls_max).unwrap_or(usize::MAX));
    let bytes = |places: usize, each: usize| places as u64 * each as u64;
    bytes(lanes.requests, rest::REQUEST_BYTES)
        + bytes(lanes.replies, rest::REPLY_BYTES)
        + bytes(lanes.notes, rest::NOTE_BYTES)
        + bytes(lanes.events, rest::EVENT_BYTES)
        + bytes(lanes.relays, rest::RELAY_BYTES)
}

/// What one thread is given.
pub(crate) struct Crew {
    pub(crate) cpu: Option<usize>,
    pub(crate) doorbell: Doorbell,
    pub(crate) ring: RingConfig,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) shard: ShardConfig,
}

/// Opens for all shards at once; dropped unopened, it sends them home.
pub(crate) struct Gate(crossbeam::channel::Sender<()>, usize);

impl Gate {
    /// Lets every shard serve.
    pub(crate) fn open(self) {
        for _ in 0..self.1 {
            // A shard that is gone has told so itself.
            self.0.send(()).ok();
        }
    }
}

/// Starts a thread for each shard. Each sets itself up, tells, and waits at the gate.
///
/// # Errors
/// Where a thread cannot be started.
pub(crate) fn start(
    crews: Vec<Crew>,
    tell: impl Fn(ShardNews) + Clone + Send + 'static,
) -> Result<Gate, StartError> {
    let count = crews.len();
    let (opener, gate) = bounded(count);
    for crew in crews {
        let (id, gate, tell) = (crew.shard.id.0, gate.clone(), tell.clone());
        let serve = move || {
            serve(crew, &gate, &tell);
            tell(ShardNews::Done(id));
        };
        thread::Builder::new().name(format!("shard-{id}")).spawn(serve).map_err(|error| {
            StartError::limit(format!(
                "cannot start the thread shard-{id}: {error}: raise the limit of processes \
                 (ulimit -u, the container's pids limit), or use fewer --shards"
            ))
        })?;
    }
    Ok(Gate(opener, count))
}

fn serve(crew: Crew, gate: &Receiver<()>, tell: &impl Fn(ShardNews)) {
    match set_up(crew) {
        Ok((mut ring, mut shard)) => {
            tell(ShardNews::Up(Ok(())));
            if gate.recv().is_ok() {
                run(&mut shard, &mut ring);
            }
        }
        Err(error) => tell(ShardNews::Up(Err(error))),
    }
}

/// On the shard's own thread: the kernel ties a ring to the one that made it (SINGLE_ISSUER).
fn set_up(crew: Crew) -> Result<(Ring, Shard), StartError> {
    let id = crew.shard.id.0;
    if let Some(cpu) = crew.cpu {
        pin_to_cpu(cpu).map_err(|errno| {
            StartError::limit(format!(
                "cannot pin shard-{id} to cpu {cpu}: {errno}: choose others with --cpus"
            ))
        })?;
    }
    let mut ring = Ring::with_doorbell(&crew.ring, crew.doorbell)
        .map_err(|error| no_ring(&format!("shard-{id}"), &error))?;
    for listener in crew.listeners {
        ring.listen(listener);
    }
    let now = ring.clock().now();
    Ok((ring, Shard::new(crew.shard, now)))
}

/// Why a thread has no ring, with its name.
pub(crate) fn no_ring(name: &str, error: &SetupError) -> StartError {
    use Refusal::{Descriptors, Files, Memlock, Memory, Table};
    let line = format!("{name}: {error}");
    match error {
        SetupError::Config(_)
        | SetupError::Refused(
            Descriptors { .. } | Files | Memlock { .. } | Memory | Table { .. },
        ) => StartError::limit(line),
        SetupError::Refused(_) => StartError::unavailable(line),
    }
}
