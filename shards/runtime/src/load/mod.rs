//! The client role: many MCP clients on one core, driven by the same [`Dial`] as a shard.
//!
//! A [`Load`] lives once per core of a load generator and owns the connections of its seats, their
//! timers and what it counts; it follows a [`Script`] that all of them share, and tells a
//! [`Sample`] each second. Nothing in it is shared, locked or blocking.
//!
//! As in a shard, handlers change state only, and `settle`, at the end of a tick, submits what
//! connections want and have not. A seat keeps its slot of the direct table for the whole run, so
//! the table needs [`sockets`] places; the slot's generation tells its connections apart.
//!
//! Open loop: when a call is due is the script's, not the server's, choice. Latency counts from the
//! time at which a call was due, so a stall of either side counts in full.
//!
//! Invariants: a connection has at most one receive, one send and one shutdown in flight, and is
//! closed when nothing is; one at rest holds no buffer; a buffer on loan is given back within the
//! tick; a call that was due was sent, or is counted as not sent; one that was sent is answered, or
//! has a fault of its own, or is counted as abandoned by its connection.
//!
//! Left out: what a run is made of (scenario files, targets, limits) and what becomes of samples:
//! both are the process's. What servers ask of clients, such as `ping` of the older versions, is
//! heard and not answered.

mod answers;
mod calls;
mod client;
mod finish;
mod hear;
mod lines;
mod listen;
mod pace;
pub mod sample;
pub mod script;
mod seats;
mod session;
mod settle;
mod tally;
mod wire;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crossbeam::channel::Sender;

use crate::io::{Completion, ConnId, Dial, Time};
use crate::shard::Next;
use crate::wheel::Wheel;
use calls::Requests;
use client::{Client, Use};
use finish::Course;
use listen::Changes;
use pace::{Pace, Random};
use sample::Sample;
use script::{Kind, Script};
use session::Sessions;
use settle::Buffers;
use tally::Tally;
use wire::Wire;

pub use seats::sockets;

/// What a client's slot takes; a client with a GET stream has two.
pub const CLIENT_BYTES: usize = size_of::<Client>();

/// What one role is made of.
pub struct LoadConfig {
    /// Its number; of the script's seats it takes those whose number modulo `shards` is this.
    pub shard: u16,
    /// How many roles share the script.
    pub shards: u16,
    /// What is done.
    pub script: Arc<Script>,
    /// When the script begins, on the clock of [`Time::mono_ns`].
    pub start_ns: u64,
    /// Takes samples; one that finds it full is merged with the next.
    pub samples: Sender<Box<Sample>>,
    /// Whether to go on.
    pub leave: Arc<Leave>,
    /// Seeds arrivals; another for each role.
    pub seed: u64,
}

/// Tells all roles of a run when to end it early. Ring their doorbells after a change.
#[derive(Debug, Default)]
pub struct Leave(AtomicU8);

/// How a run is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Wish {
    /// Go on with the script.
    Stay = 0,
    /// Make no more calls, wait for those in flight, end sessions, close.
    Finish = 1,
    /// Close at once.
    Abort = 2,
}

impl Leave {
    /// Asks every role to end. A wish is never taken back.
    pub fn ask(&self, wish: Wish) {
        self.0.fetch_max(wish as u8, Ordering::Relaxed);
    }

    /// What was asked for.
    pub fn wish(&self) -> Wish {
        match self.0.load(Ordering::Relaxed) {
            0 => Wish::Stay,
            1 => Wish::Finish,
            _ => Wish::Abort,
        }
    }
}

/// Many clients. See the module's docs.
pub struct Load {
    config: LoadConfig,
    script: Arc<Script>,
    /// ns since the script's begin.
    now_ns: u64,
    /// Seats, then the GET streams of those that have one, then what changes resources.
    clients: Vec<Client>,
    /// How many of them are seats.
    seats: u32,
    /// By workload and target; of those alone that it has seats of.
    wires: Vec<Option<Box<Wire>>>,
    requests: Requests,
    sessions: Sessions,
    changes: Changes,
    wheel: Wheel,
    buffers: Buffers,
    /// Slots to settle at the end of the tick.
    touched: Vec<u32>,
    /// Slots that wait to connect, perhaps no longer.
    waiting: VecDeque<u32>,
    /// Connects in flight.
    connecting: u32,
    /// Slots that have a connection.
    taken: u32,
    /// Sessions that are being ended.
    ending: u32,
    /// Calls in flight.
    calling: u64,
    /// Calls that wait for a connection, of all workloads.
    backlog: usize,
    next_id: u32,
    /// By workload.
    paces: Vec<Pace>,
    random: Random,
    /// Index of the phase.
    phase: usize,
    /// Of its seats, how many are to be connected.
    wanted: u32,
    churn: seats::Churn,
    course: Course,
    tally: Tally,
}

impl Load {
    /// Makes the role; `now` starts its clock.
    ///
    /// # Panics
    /// Where the script breaks what its fields promise: see [`Script::check`].
    pub fn new(config: LoadConfig, now: Time) -> Self {
        let script = Arc::clone(&config.script);
        script.check();
        let (shard, shards) = (config.shard, config.shards);
        assert!(shard < shards, "roles are numbered from 0");
        let clients = seats::clients(&script, shard, shards);
        let seats = seats::share_of(script.seats.len(), shard, shards);
        let mut wires: Vec<Option<Box<Wire>>> = Vec::new();
        wires.resize_with(script.workloads.len() * script.targets.len(), || None);
        for client in clients.iter().filter(|client| client.used == Use::Seat) {
            let (workload, target) = (usize::from(client.workload), usize::from(client.target));
            wires[workload * script.targets.len() + target].get_or_insert_with(|| {
                Box::new(Wire::new(&script.workloads[workload], &script.targets[target]))
            });
        }
        let now_ns = now.mono_ns.saturating_sub(config.start_ns);
        let mut load = Self {
            now_ns,
            seats,
            wires,
            requests: Requests::new(),
            sessions: Sessions::default(),
            changes: Changes::new(&script, &clients),
            wheel: Wheel::new(now_ns / 1_000_000),
            buffers: Buffers::new(),
            touched: Vec::with_capacity(clients.len()),
            waiting: VecDeque::new(),
            connecting: 0,
            taken: 0,
            ending: 0,
            calling: 0,
            backlog: 0,
            next_id: wire::ID_MIN,
            paces: script.workloads.iter().map(|_| Pace::default()).collect(),
            random: Random::new(config.seed),
            phase: 0,
            wanted: 0,
            churn: seats::Churn::default(),
            course: Course::Running,
            tally: Tally::new(shard, &script),
            clients,
            script,
            config,
        };
        load.begin_phase(0);
        load
    }

    /// Handles what completed and whatever else is due, and submits what follows from it. The last
    /// sample is told before [`Next::Done`], with [`Sample::last`].
    pub fn tick<I: Dial>(&mut self, io: &mut I, completions: &mut Vec<Completion>) -> Next {
        let begin = io.time();
        if begin.mono_ns < self.config.start_ns && self.config.leave.wish() == Wish::Stay {
            completions.clear();
            return Next::Wait { until_ns: Some(self.config.start_ns) };
        }
        self.now_ns = self.since_start(begin);
        self.roll();
        for completion in completions.drain(..) {
            self.on_completion(io, completion);
        }
        // What is due now is due whatever the completions took.
        self.now_ns = self.since_start(io.time()).max(self.now_ns);
        self.heed_wish();
        self.fire_timers();
        self.follow_script(self.now_ns + 1);
        self.follow_course();
        self.settle_touched(io);
        self.connect_waiting(io);
        let end = io.time();
        self.tally.observe_tick(end.mono_ns.saturating_sub(begin.mono_ns));
        self.next()
    }

    fn since_start(&self, time: Time) -> u64 {
        time.mono_ns.saturating_sub(self.config.start_ns)
    }

    fn on_completion<I: Dial>(&mut self, io: &mut I, completion: Completion) {
        match completion {
            Completion::Connected { conn, result } => self.on_connected(conn, result),
            Completion::Received { conn, result, more } => {
                self.on_received(io, conn, result, more);
            }
            Completion::Sent { conn, buf, result } => self.on_sent(io, conn, buf, result),
            Completion::ShutDown { conn } => {
                if let Some(client) = self.client(conn) {
                    client.flags.shutting = false;
                    self.touch(conn.slot);
                }
            }
            Completion::Closed { conn } => self.on_closed(conn),
            Completion::Rung => {}
            Completion::Accepted { .. } => unreachable!("a role that dials does not listen"),
        }
    }

    /// The slot of a connection that is not closed.
    fn client(&mut self, conn: ConnId) -> Option<&mut Client> {
        let client = self.clients.get_mut(conn.slot as usize)?;
        (client.is_taken() && client.generation == conn.generation).then_some(client)
    }

    fn at(&mut self, slot: u32) -> &mut Client {
        &mut self.clients[slot as usize]
    }

    fn kind(&self, slot: u32) -> &Kind {
        let workload = self.clients[slot as usize].workload;
        &self.script.workloads[usize::from(workload)].kind
    }

    fn touch(&mut self, slot: u32) {
        let client = &mut self.clients[slot as usize];
        if !client.flags.touched {
            client.flags.touched = true;
            self.touched.push(slot);
        }
    }

    /// When to tick next.
    fn next(&mut self) -> Next {
        if self.is_over() {
            return self.tell_last();
        }
        if self.has_work() {
            return Next::Again;
        }
        let mut until_ns = self.tally.next_ns();
        if let Some(at_ms) = self.wheel.next_deadline_ms() {
            until_ns = until_ns.min(at_ms.saturating_mul(1_000_000));
        }
        until_ns = until_ns.min(self.course_due_ns()).min(self.script_due_ns());
        until_ns = self.paced(until_ns);
        Next::Wait { until_ns: Some(self.config.start_ns.saturating_add(until_ns)) }
    }
}
