//! Sequences of operations on sessions: shards in one thread, with sockets in memory, a pool whose
//! calls are let go one by one, and clients that do what the input says.
//!
//! An input is a byte that picks limits, then operations of four bytes: which one, on what, and two
//! details ([`World::step`]). What is read is judged by [`Ledger`] after each tick. At the end every
//! client leaves and time passes: then a shard must hold nothing any more.

mod io;
mod ledger;
mod offer;
mod reader;
mod requests;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};

use ringmesh_runtime::call::StateKey;
use ringmesh_runtime::catalog::{Pool, Published};
use ringmesh_runtime::io::{IoError, Peer, Time};
use ringmesh_runtime::limits::{Allowed, Limits, REFUSAL_SLOTS};
use ringmesh_runtime::mailbox::{Bell, Capacities, mailbox};
use ringmesh_runtime::message::{Address, Event, Inbox, Request};
use ringmesh_runtime::probe::{Transport, Vital};
use ringmesh_runtime::{Next, Shard, ShardConfig, ShardId};

use io::{FakeIo, Link};
use ledger::{Client, Ledger};
use offer::{Desk, Held, URIS, catalog};
use reader::Reader;

/// Operations of one input at most.
const OPERATIONS_MAX: usize = 300;
/// Ticks within which everything must have ended once all clients left.
const QUIET_TICKS_MAX: usize = 20_000;
/// By then a request is answered or given up, in ms: longer than all time-outs of calls.
const ANSWERED_MS: u64 = 2_400;
const UNIX_MS: u64 = 1_750_000_000_000;
const MS: u64 = 1_000_000;
/// Steps of time, in ms: some shorter than all time-outs, and some longer.
const STEPS_MS: [u64; 8] = [1, 20, 150, 400, 1_000, 3_000, 20_000, 4_000_000];
const FAULTS: [IoError; 5] = [
    IoError::Again,
    IoError::NoBuffers,
    IoError::Disconnected,
    IoError::TimedOut,
    IoError::Other(5),
];

/// Runs one input.
///
/// # Panics
/// Where a shard does what it must not.
pub fn run(input: &[u8]) {
    let Some((&flavour, operations)) = input.split_first() else { return };
    let mut world = World::new(flavour);
    let mut operations = operations.chunks_exact(4);
    for _ in 0..OPERATIONS_MAX {
        let Some(&[operation, on, detail, more]) = operations.next() else { break };
        if operation % OPERATIONS == RAW {
            let pieces = operations.by_ref().take(usize::from(detail % 16));
            world.send_raw(on, more, &pieces.flatten().copied().collect::<Vec<u8>>());
        } else {
            world.step(operation % OPERATIONS, on, detail, more);
        }
    }
    world.leave();
}

/// Kinds of operations; [`World::step`] lists them, and the last is [`World::send_raw`].
const OPERATIONS: u8 = 20;
const RAW: u8 = OPERATIONS - 1;

/// A doorbell: a ring is kept until the shard wakes.
#[derive(Default)]
struct Flag(AtomicBool);

impl Bell for Flag {
    fn ring(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Node {
    shard: Shard,
    io: FakeIo,
    bell: Arc<Flag>,
    next: Next,
}

struct World {
    nodes: Vec<Node>,
    addresses: Arc<[Address]>,
    published: Arc<Published>,
    version: u64,
    clients: Vec<Client>,
    ledger: Ledger,
    jobs: Receiver<ringmesh_runtime::catalog::Job>,
    pool_full: Arc<AtomicBool>,
    held: Vec<Held>,
    now_ns: u64,
    next_id: u64,
    draining: bool,
}

/// An item that a byte picks, counted from the newest.
fn pick<T>(items: &[T], by: u8) -> Option<usize> {
    let len = items.len();
    (len > 0).then(|| len - 1 - usize::from(by) % len)
}

fn limits(flavour: u8) -> Limits {
    Limits {
        connections_max: 8,
        streams_max: 3,
        calls_max: 4,
        body_bytes_max: 16_000,
        send_bytes_max: if flavour & 2 == 0 { 12_000 } else { 2_000 },
        budget_bytes: if flavour & 4 == 0 { 1 << 20 } else { 4_000 },
        head_timeout_ms: 400,
        body_timeout_ms: 400,
        idle_timeout_ms: 1_500,
        send_timeout_ms: 900,
        tool_timeout_ms: 500,
        keep_alive_ms: 300,
        sessions_max: 4,
        sessions_per_address_max: 3,
        bounds_loopback_sessions: flavour & 8 != 0,
        session_timeout_ms: 2_500,
        input_timeout_ms: 700,
        session_events_max: [4, 64, 0, 1][usize::from(flavour >> 4 & 3)],
        session_event_bytes_max: if flavour & 64 == 0 { 4_000 } else { 400 },
        session_event_age_ms: if flavour & 128 == 0 { 3_000 } else { 200 },
    }
}

impl World {
    fn new(flavour: u8) -> Self {
        let limits = limits(flavour);
        let shards = 2 + u16::from(flavour & 1);
        let (sender, jobs) = channel();
        let pool_full = Arc::new(AtomicBool::new(false));
        let pool: Arc<dyn Pool> = Arc::new(Desk { jobs: sender, full: Arc::clone(&pool_full) });
        let capacities = Capacities {
            requests: 3,
            replies: limits.calls_max as usize,
            notes: 2,
            events: 1,
            relays: 2,
        };
        let (mut addresses, mut boxes) = (Vec::new(), Vec::new());
        for _ in 0..shards {
            let bell = Arc::new(Flag::default());
            let (address, inbox) = mailbox(capacities, bell.clone());
            addresses.push(address);
            boxes.push((inbox, bell));
        }
        let mut world = Self {
            nodes: Vec::new(),
            addresses: addresses.into(),
            published: Arc::new(Published::new(catalog(0))),
            version: 0,
            clients: Vec::new(),
            ledger: Ledger::default(),
            jobs,
            pool_full,
            held: Vec::new(),
            now_ns: 1_000 * MS,
            next_id: 1_000,
            draining: false,
        };
        for (id, (inbox, bell)) in (0..shards).zip(boxes) {
            let node = world.node(id, (inbox, bell), &limits, &pool);
            world.nodes.push(node);
        }
        world
    }

    fn now(&self) -> Time {
        Time { mono_ns: self.now_ns, unix_ms: UNIX_MS + self.now_ns / MS }
    }

    fn node(
        &self,
        id: u16,
        (inbox, bell): (Inbox, Arc<Flag>),
        limits: &Limits,
        pool: &Arc<dyn Pool>,
    ) -> Node {
        let config = ShardConfig {
            id: ShardId(id),
            limits: limits.clone(),
            allowed: Arc::new(Allowed::default()),
            listeners: vec![Transport::Http, Transport::Tcp],
            path: "/mcp".into(),
            catalog: Arc::clone(&self.published),
            inbox,
            addresses: Arc::clone(&self.addresses),
            pool: Arc::clone(pool),
            state_key: Arc::new(StateKey::from_secret(b"fuzz")),
            vital: Arc::new(Vital::default()),
            seed: 7,
            session_seed: [u8::try_from(id).expect("few shards"); 32],
        };
        let mut io = FakeIo::new(self.now(), limits.connections_max + REFUSAL_SLOTS);
        let mut shard = Shard::new(config, self.now());
        shard.start(&mut io);
        Node { shard, io, bell, next: Next::Again }
    }

    /// Does one operation. All but the first three are about what the bytes `on` and `detail` pick.
    fn step(&mut self, operation: u8, on: u8, detail: u8, more: u8) {
        match operation {
            0..=2 => (0..=detail % 4).for_each(|_| self.tick_all()),
            3 => self.tick(usize::from(on) % self.nodes.len()),
            4 => self.advance(on),
            5 => self.connect(on, detail, more),
            6 => self.initialize(on, detail),
            7..=9 => self.ask(on, detail, more),
            10 => self.ask_batch(on, detail, more),
            11 => self.answer(on, detail, more),
            12 => self.notify(on, detail, more),
            13 => self.get(on, detail, more),
            14 => self.delete(on, more),
            15 => self.vary(on, detail, more),
            16 | 17 => self.release(on, detail),
            _ => self.control(on, detail),
        }
    }

    fn connect(&mut self, shard: u8, detail: u8, piece: u8) {
        let shard = usize::from(shard) % self.nodes.len();
        let lines = detail & 1 == 1;
        let host = Ipv4Addr::new(if detail & 2 == 0 { 192 } else { 127 }, 0, 0, detail >> 2 & 1);
        let ip = Peer::Ip(SocketAddr::new(IpAddr::V4(host), 9));
        let link = Link {
            listener: u16::from(lines),
            peer: if detail & 8 == 0 { ip } else { Peer::Local },
            up: VecDeque::new(),
            ended: None,
            down: Vec::new(),
            piece: if piece == 0 { 4_096 } else { usize::from(piece) * 8 },
            stalled: false,
            fault: None,
            fin: false,
        };
        let link = self.nodes[shard].io.connect(link);
        let (reader, exchanges) = (Reader::new(lines), VecDeque::new());
        let (wild, over) = (false, false);
        let client = Client { shard, link, lines, wild, over, reader, exchanges };
        self.clients.push(client);
    }

    fn link(&mut self, client: usize) -> &mut Link {
        let Client { shard, link, .. } = self.clients[client];
        &mut self.nodes[shard].io.links[link]
    }

    /// Changes how a client's connection behaves, or ends it.
    fn vary(&mut self, on: u8, detail: u8, more: u8) {
        let Some(at) = pick(&self.clients, on) else { return };
        let link = self.link(at);
        match detail % 6 {
            0 => link.piece = usize::from(more).max(1),
            1 => link.stalled = true,
            2 => link.stalled = false,
            3 => link.fault = Some(FAULTS[usize::from(more) % FAULTS.len()]),
            4 => link.ended = link.ended.or(Some(Ok(()))),
            _ => link.ended = Some(Err(IoError::Disconnected)),
        }
    }

    /// Has a pooled call do something.
    fn release(&mut self, on: u8, detail: u8) {
        self.held.extend(self.jobs.try_iter().map(Held::new));
        let Some(at) = pick(&self.held, on) else { return };
        let held = &self.held[at];
        match detail % 8 {
            0..=2 => self.held.remove(at).reply(),
            3 | 4 => drop(held.note()),
            5 => drop(held.close_stream()),
            6 => drop(self.held.remove(at)),
            // It answers, and is kept: what it does from now on must reach nobody.
            _ => held.reply(),
        }
    }

    /// Does what an operator would, or what goes wrong in the machine.
    fn control(&mut self, on: u8, detail: u8) {
        let shard = usize::from(on) % self.nodes.len();
        match detail % 8 {
            0 | 1 => {
                for address in &*self.addresses {
                    let uri = Arc::from(URIS[usize::from(on) % URIS.len()]);
                    address.send_event(Event::ResourceUpdated(uri));
                }
            }
            2 => {
                self.version += 1;
                self.published.publish(catalog(self.version));
                self.addresses.iter().for_each(Address::wake);
            }
            3 => {
                let full = !self.pool_full.load(Ordering::Relaxed);
                self.pool_full.store(full, Ordering::Relaxed);
            }
            4 => self.nodes[shard].io.accept_fault = Some(IoError::Exhausted),
            // Fills the lane, for nobody.
            5 | 6 => while self.addresses[shard].send_request(Request::probe().0).is_ok() {},
            _ if on < 16 => {
                self.draining = true;
                for at in 0..self.nodes.len() {
                    let drain = || Request::Drain { grace_ms: 800 };
                    let ends = |node: &Node| node.next == Next::Done;
                    while !ends(&self.nodes[at])
                        && self.addresses[at].send_request(drain()).is_err()
                    {
                        self.tick(at);
                    }
                }
            }
            _ => {}
        }
    }

    fn tick_all(&mut self) {
        (0..self.nodes.len()).for_each(|at| self.tick(at));
    }

    fn tick(&mut self, at: usize) {
        let now = self.now();
        let node = &mut self.nodes[at];
        if node.next == Next::Done {
            return;
        }
        node.io.now = now;
        node.io.progress();
        node.bell.0.store(false, Ordering::Relaxed);
        let mut batch = std::mem::take(&mut node.io.ready);
        node.next = node.shard.tick(&mut node.io, &mut batch);
        assert!(batch.is_empty(), "every completion was taken");
        for (no, client) in self.clients.iter_mut().enumerate().filter(|(_, c)| c.shard == at) {
            let link = &mut node.io.links[client.link];
            client.reader.feed(&std::mem::take(&mut link.down));
            self.ledger.read(no, client);
            assert!(!link.fin || client.reader.is_whole(), "what ends orderly is whole");
        }
    }

    /// Lets time pass: a step, or up to the next deadline.
    fn advance(&mut self, by: u8) {
        let step_ns = STEPS_MS[usize::from(by) % STEPS_MS.len()] * MS;
        let due_ns = self.due_ns().unwrap_or(0).max(self.now_ns);
        self.now_ns = if by & 0x80 == 0 { self.now_ns + step_ns } else { due_ns };
    }

    /// The next deadline of any shard.
    fn due_ns(&self) -> Option<u64> {
        let due = |node: &Node| match node.next {
            Next::Wait { until_ns } => until_ns,
            Next::Again | Next::Done => None,
        };
        self.nodes.iter().filter_map(due).min()
    }

    /// Every client reads, pools answer, and time passes: then all are answered who are still
    /// there. When they leave, nothing may be left.
    fn leave(mut self) {
        self.pool_full.store(false, Ordering::Relaxed);
        for at in 0..self.clients.len() {
            let link = self.link(at);
            link.stalled = false;
            link.piece = link.piece.max(1_000);
        }
        // One connection of HTTP is answered one request after the other.
        let queues = self.clients.iter().map(|client| client.exchanges.len() as u64);
        let turns = 1 + queues.max().unwrap_or(0);
        self.rest(self.now_ns + turns * ANSWERED_MS * MS);
        for (at, client) in self.clients.iter().enumerate() {
            let link = &self.nodes[client.shard].io.links[client.link];
            if link.ended.is_none() && !client.wild {
                self.ledger.assert_answered(at, client);
            }
        }
        for at in 0..self.clients.len() {
            let end = if at % 2 == 0 { Ok(()) } else { Err(IoError::Disconnected) };
            self.link(at).ended.get_or_insert(end);
        }
        self.rest(u64::MAX);
        for (node, address) in self.nodes.iter_mut().zip(&*self.addresses) {
            node.io.assert_quiet();
            if node.next == Next::Done {
                continue;
            }
            assert!(!self.draining, "a shard that was asked to stop stops");
            let (request, answered) = Request::probe();
            assert!(address.send_request(request).is_ok(), "lanes are empty");
            node.shard.tick(&mut node.io, &mut Vec::new());
            let probe = answered.try_recv().expect("a probe");
            assert_eq!(probe.connections_accepted, probe.connections_closed, "connections");
            assert_eq!(probe.sessions_open, 0, "sessions");
            assert_eq!(probe.session_events, 0, "events");
            assert_eq!(probe.relays_open, 0, "relays");
            assert_eq!(probe.streams_open, 0, "streams");
            assert_eq!(probe.calls_in_flight, 0, "calls");
            assert_eq!(probe.timers_armed, 0, "timers");
            assert_eq!(probe.budget_used_bytes, 0, "bytes of the budget");
        }
    }

    /// Drives the shards as their drivers would, until none waits for anything before a time.
    fn rest(&mut self, until_ns: u64) {
        for _ in 0..QUIET_TICKS_MAX {
            self.held.extend(self.jobs.try_iter().map(Held::new));
            self.held.drain(..).for_each(|held| held.reply());
            let mut ticked = false;
            for at in 0..self.nodes.len() {
                let node = &mut self.nodes[at];
                node.io.progress();
                let wants = match node.next {
                    Next::Again => true,
                    Next::Done => false,
                    Next::Wait { until_ns } => {
                        let due = until_ns.is_some_and(|until_ns| until_ns <= self.now_ns);
                        due || node.bell.0.load(Ordering::Relaxed) || !node.io.ready.is_empty()
                    }
                };
                if wants {
                    self.tick(at);
                    ticked = true;
                }
            }
            match self.due_ns() {
                _ if ticked => {}
                // A little late, as drivers are: so it takes fewer ticks.
                Some(due_ns) if due_ns <= until_ns => {
                    self.now_ns = due_ns.max(self.now_ns + 20 * MS);
                }
                Some(_) | None => return,
            }
        }
        panic!("something never ends");
    }
}
