//! The threads of a run: one for each role, with a ring of its own, all set up before one begins.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;

use crossbeam::channel::{Receiver, Sender, bounded};
use nix::libc::pid_t;
use nix::unistd::gettid;
use ringmesh_ring::{Doorbell, Ring, RingConfig, drive, pin_to_cpu};
use ringmesh_runtime::load::sample::Sample;
use ringmesh_runtime::load::{Leave, Load, LoadConfig, Wish};

use super::News;
use crate::boot::{self, StartError};
use crate::load::plan::Plan;

/// Submissions between two enters of the kernel; more are submitted meanwhile.
const SQ_ENTRIES: u32 = 2_048;
/// An update reaches all listeners of a role at once.
const CQ_ENTRIES: u32 = 32_768;
/// Completions that a paced role waits for at most: half of its buffers may be filled then.
const GATHER: u32 = BUFFERS as u32 / 2;
/// Answers are short, and recycled within the tick that brought them.
const BUFFERS: u16 = 2_048;
const BUFFER_BYTES: u32 = 4_096;
/// Samples that wait for the coordinator, for each role.
const SAMPLES_WAITING_MAX: usize = 8;

/// The roles of a run that were started, and how to reach them.
pub(crate) struct Roles {
    pub(crate) samples: Receiver<Box<Sample>>,
    /// Keeps the channel open when all roles have ended.
    _sender: Sender<Box<Sample>>,
    leave: Arc<Leave>,
    doorbells: Vec<Doorbell>,
    gate: Sender<u64>,
}

/// A place, and the socket that a ring adopts there.
pub(crate) type Adopted = (u16, OwnedFd);

impl Roles {
    /// Starts a thread for each role. Each sets itself up, tells `news`, and waits to begin.
    /// `adopted` are the sockets of each role.
    ///
    /// # Errors
    /// Where no thread or no descriptor is left.
    pub(crate) fn start(
        plan: &Plan,
        adopted: Vec<Vec<Adopted>>,
        news: &Sender<News>,
    ) -> Result<Self, StartError> {
        let (sender, samples) = bounded(SAMPLES_WAITING_MAX * usize::from(plan.shards));
        let (gate, begin) = bounded(plan.shards.into());
        let leave = Arc::new(Leave::default());
        let mut doorbells = Vec::new();
        for (shard, adopted) in (0..plan.shards).zip(adopted) {
            let doorbell = Doorbell::new().map_err(|errno| {
                StartError::limit(format!(
                    "cannot make the doorbell of role {shard} ({errno}): raise the limit of open \
                     files with ulimit -n"
                ))
            })?;
            doorbells.push(doorbell.clone());
            let config = LoadConfig {
                shard,
                shards: plan.shards,
                script: plan.script.clone(),
                start_ns: 0,
                samples: sender.clone(),
                leave: leave.clone(),
                seed: seed_of(plan.seed, shard),
            };
            let cpus = plan.cpus.len().max(1);
            let cpu = plan.cpus.get(usize::from(shard) % cpus).copied();
            let crew = Crew { cpu, doorbell, ring: ring_of(plan), adopted, config };
            spawn(crew, begin.clone(), news.clone())?;
        }
        Ok(Self { samples, _sender: sender, leave, doorbells, gate })
    }

    /// Lets every role begin, at a time of the clock of rings.
    pub(crate) fn begin(&self, start_ns: u64) {
        for _ in &self.doorbells {
            // A role that is gone has told so itself.
            self.gate.send(start_ns).ok();
        }
    }

    /// Asks every role to end.
    pub(crate) fn ask(&self, wish: Wish) {
        self.leave.ask(wish);
        self.doorbells.iter().for_each(Doorbell::ring);
    }
}

/// A role's own seed (the finalizer of MurmurHash3). Seeds at a fixed distance from each other could
/// give roles the same numbers, one or more late.
fn seed_of(seed: u64, shard: u16) -> u64 {
    let mut mixed = seed ^ ((u64::from(shard) + 1) << 48);
    mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    mixed ^ (mixed >> 33)
}

/// The sizes of a role's ring.
fn ring_of(plan: &Plan) -> RingConfig {
    RingConfig {
        sq_entries: SQ_ENTRIES,
        cq_entries: CQ_ENTRIES,
        table: plan.table,
        buffers: BUFFERS,
        buffer_bytes: BUFFER_BYTES,
        gather: if plan.script.pacing_ns == 0 { 1 } else { GATHER },
        ..RingConfig::default()
    }
}

/// What one thread is given.
struct Crew {
    cpu: Option<usize>,
    doorbell: Doorbell,
    ring: RingConfig,
    adopted: Vec<Adopted>,
    config: LoadConfig,
}

fn spawn(crew: Crew, begin: Receiver<u64>, news: Sender<News>) -> Result<(), StartError> {
    let shard = crew.config.shard;
    let serve = move || {
        play(crew, &begin, &news);
        news.send(News::Done(shard)).ok();
    };
    thread::Builder::new().name(format!("role-{shard}")).spawn(serve).map(|_| ()).map_err(|error| {
        StartError::limit(format!(
            "cannot start the thread of role {shard}: {error}: raise the limit of processes \
             (ulimit -u, the container's pids limit), or use fewer roles"
        ))
    })
}

/// The life of a role; its ring, and with it every connection, is gone when this returns.
fn play(crew: Crew, begin: &Receiver<u64>, news: &Sender<News>) {
    let shard = crew.config.shard;
    let (mut ring, mut config) = match set_up(crew) {
        Ok(ready) => ready,
        Err(error) => {
            news.send(News::Up(shard, Err(error))).ok();
            return;
        }
    };
    news.send(News::Up(shard, Ok(thread_id()))).ok();
    let Ok(start_ns) = begin.recv() else { return };
    config.start_ns = start_ns;
    let now = ring.clock().now();
    let mut load = Load::new(config, now);
    drive(&mut ring, |ring, completions| load.tick(ring, completions));
}

fn thread_id() -> pid_t {
    gettid().as_raw()
}

/// On the role's own thread: the kernel ties a ring to the one that made it (SINGLE_ISSUER).
fn set_up(crew: Crew) -> Result<(Ring, LoadConfig), StartError> {
    let shard = crew.config.shard;
    if let Some(cpu) = crew.cpu {
        pin_to_cpu(cpu).map_err(|errno| {
            StartError::limit(format!(
                "cannot pin role {shard} to cpu {cpu}: {errno}: choose others with --cpus"
            ))
        })?;
    }
    let name = format!("role {shard}");
    let mut ring = Ring::with_doorbell(&crew.ring, crew.doorbell)
        .map_err(|error| boot::no_ring(&name, &error))?;
    for (place, socket) in crew.adopted {
        ring.adopt(place, socket).map_err(|errno| {
            StartError::unavailable(format!("{name}: cannot take a child's socket: {errno}"))
        })?;
    }
    Ok((ring, crew.config))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_role_of_every_seed_has_a_seed_of_its_own() {
        let seeds: BTreeSet<u64> =
            (0..50).flat_map(|seed| (0..64).map(move |shard| seed_of(seed, shard))).collect();
        assert_eq!(seeds.len(), 50 * 64);
    }
}
