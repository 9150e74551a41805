//! A simulated process: shards with their ios, clients, a pool of tools and a control plane, all in
//! one thread, moved on step by step in an order that the seed decides.
//!
//! The clock is virtual. A shard that waits is ticked again only when it has a completion, its bell
//! was rung, or its time has come: so a lost ring shows.

use std::sync::Arc;

use crossbeam::channel::Receiver;
use ringmesh_runtime::Next;
use ringmesh_runtime::call::StateKey;
use ringmesh_runtime::catalog::{Pool, Published};
use ringmesh_runtime::limits::{Limits, REFUSAL_SLOTS, SLEEP_GAP_MS};
use ringmesh_runtime::message::{Address, Request};
use ringmesh_runtime::probe::{Bound, Probe, Transport};

use crate::board::Board;
use crate::check::Facts;
use crate::client::{Client, Temper};
use crate::fault::{Dice, Fault};
use crate::link::Link;
use crate::node::{Config, Node, PostBox, REQUESTS_MAX, draw_limits};
use crate::offer::{self, EVENTS_MAX, URIS, Wires};
use crate::pool::{Desk, Workers};
use crate::request::TOOLS_TOPIC;
use crate::trace::Trace;

/// The wall clock where virtual time begins, ms since 1970.
pub(crate) const UNIX_MS: u64 = 1_790_000_000_000;

/// A millisecond in nanoseconds.
pub(crate) const MS: u64 = 1_000_000;

/// See the module.
pub(crate) struct World {
    pub(crate) nodes: Vec<Node>,
    pub(crate) clients: Vec<Client>,
    clients_made: usize,
    /// Clients that are connected at once.
    crowd: usize,
    pub(crate) limits: Limits,
    tight_budget: bool,
    pub(crate) board: Board,
    wires: Arc<Wires>,
    published: Arc<Published>,
    pub(crate) workers: Workers,
    pub(crate) dice: Dice,
    pub(crate) now_ns: u64,
    pub(crate) ticks: u64,
    pub(crate) checked: Checked,
    probes: Vec<Receiver<Box<Probe>>>,
}

/// What clients checked, to show that there was something to check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Connections that clients made.
    pub connections: u64,
    /// Responses that were complete.
    pub responses: u64,
    /// Changes that listeners were told.
    pub changes: u64,
}

impl World {
    /// Everything of a run follows from its seed.
    pub(crate) fn new(seed: u64, shown: bool) -> Self {
        let mut dice = Dice::new(seed, seed);
        let (limits, tight_budget) = draw_limits(&mut dice);
        let wires = Arc::new(Wires::default());
        let published = Arc::new(Published::new(offer::catalog(&wires, 0)));
        let desk = Arc::new(Desk::default());
        let pool: Arc<dyn Pool> = desk.clone();
        let now_ns = dice.between(0, 1 << 40);
        let shards = if dice.one_in(4) { 3 } else { 2 };
        let state_key = Arc::new(StateKey::from_secret(b"simulated"));
        let mut nodes = Vec::new();
        let boxes: Vec<_> = (0..shards).map(|_| PostBox::new(&limits, &mut dice)).collect();
        let addresses: Arc<[Address]> = boxes.iter().map(|post| post.address.clone()).collect();
        for (id, post) in (0..shards).zip(boxes) {
            let config = Config {
                seed,
                limits: &limits,
                published: &published,
                pool: &pool,
                addresses: &addresses,
            };
            let trace = Trace::new(shown.then_some(usize::from(id)));
            nodes.push(config.node(post, (id, now_ns), trace, &state_key, &mut dice));
        }
        wires.attach(addresses.to_vec());
        let crowd = 4 + dice.below(20);
        Self {
            board: Board::new(nodes.len()),
            nodes,
            clients: Vec::new(),
            clients_made: 0,
            crowd,
            limits,
            tight_budget,
            wires,
            published,
            workers: Workers::new(desk),
            dice,
            now_ns,
            ticks: 0,
            checked: Checked::default(),
            probes: Vec::new(),
        }
    }

    /// Moves everything on by a step. Gives whether a shard was ticked.
    pub(crate) fn step(&mut self) -> Result<bool, String> {
        let timeout_ns = self.limits.tool_timeout_ms * MS;
        self.workers.act(self.now_ns, timeout_ns, &mut self.dice);
        self.act_clients()?;
        let before = self.ticks;
        let first = self.dice.below(self.nodes.len());
        for at in 0..self.nodes.len() {
            let node = (first + at) % self.nodes.len();
            let node = &mut self.nodes[node];
            let version = self.published.version();
            node.io.progress();
            node.check_awake(version)?;
            if node.wants_tick(self.now_ns) && !self.dice.strikes(Fault::LateTick) {
                self.now_ns = node.tick(self.now_ns, version);
                self.ticks += 1;
                self.note_publications();
                self.check_probes();
            }
        }
        Ok(self.ticks > before)
    }

    /// A step of everyday life: time passes, clients come, changes are published.
    pub(crate) fn live(&mut self) -> Result<(), String> {
        self.pass_time();
        while self.clients.len() < self.crowd && self.dice.one_in(3) {
            let temper = match self.dice.below(16) {
                0..8 => Temper::Usual,
                8..12 => Temper::Listener,
                12 | 13 => Temper::Flooder,
                14 => Temper::Greedy,
                _ => Temper::Idler,
            };
            self.connect(temper);
        }
        if self.dice.one_in(50) {
            self.publish_something();
        }
        if self.dice.one_in(64) {
            self.ask_for_probes();
        }
        self.step()?;
        self.dismiss_clients();
        Ok(())
    }

    fn pass_time(&mut self) {
        let gap_ns = if self.dice.one_in(300) {
            self.dice.between(50, 300) * MS
        } else if self.dice.one_in(8) {
            self.dice.between(0, 20) * MS
        } else {
            self.dice.between(0, MS)
        };
        self.now_ns += gap_ns;
        if self.dice.strikes(Fault::ClockJump) {
            self.now_ns += self.dice.between(SLEEP_GAP_MS + 1, 60_000) * MS;
            self.nodes.iter_mut().for_each(|node| node.excuse_sleep(self.now_ns));
        }
    }

    /// A new client, on any shard but those that are gone.
    pub(crate) fn connect(&mut self, temper: Temper) {
        let shard = self.dice.below(self.nodes.len());
        self.connect_to(shard, temper);
    }

    pub(crate) fn connect_to(&mut self, shard: usize, temper: Temper) {
        let id = self.clients_made;
        self.clients_made += 1;
        let node = &self.nodes[shard];
        let facts = Facts {
            now_ns: node.clock_ns(self.now_ns),
            slack_ms: node.slack_ms(),
            limits: &self.limits,
            draining: node.draining,
            healed: self.dice.healed,
            tight_budget: self.tight_budget,
            dropped: &self.workers.dropped,
            reported: &self.workers.reported,
        };
        let link = self.nodes[shard].io.links.len();
        let client = Client::new((id, shard, link), temper, (&self.board, &mut self.dice), &facts);
        let down_max = if temper == Temper::Greedy { 65_536 } else { 64 << self.dice.below(9) };
        let up_max = if temper == Temper::Flooder { 65_536 } else { 64 << self.dice.below(11) };
        let mut link = Link::new(up_max, down_max);
        if self.nodes[shard].draining {
            link.stop();
        }
        self.nodes[shard].io.connect(link);
        self.clients.push(client);
    }

    fn act_clients(&mut self) -> Result<(), String> {
        let count = self.clients.len();
        if count == 0 {
            return Ok(());
        }
        let first = self.dice.below(count);
        for at in 0..count {
            let client = &mut self.clients[(first + at) % count];
            if !self.dice.ready() {
                continue;
            }
            let node = &mut self.nodes[client.shard];
            let facts = Facts {
                now_ns: node.clock_ns(self.now_ns),
                slack_ms: node.slack_ms(),
                limits: &self.limits,
                draining: node.draining,
                healed: self.dice.healed,
                tight_budget: self.tight_budget,
                dropped: &self.workers.dropped,
                reported: &self.workers.reported,
            };
            let link = &mut node.io.links[client.link];
            client.act(link, &mut self.dice, &mut self.board, &facts).map_err(|what| {
                format!("client of shard {}, link {}: {what}", client.shard, client.link)
            })?;
        }
        Ok(())
    }

    /// What the control plane does: changes of resources and of the catalog.
    fn publish_something(&mut self) {
        let topic = self.dice.below(URIS.len() + 1);
        if topic == TOOLS_TOPIC {
            return self.publish_tools();
        }
        let times = if self.dice.one_in(4) { EVENTS_MAX + 1 } else { 1 };
        (0..times).for_each(|_| self.publish(topic));
    }

    pub(crate) fn publish(&mut self, topic: usize) {
        self.wires.publish(topic);
        self.note_publications();
    }

    pub(crate) fn publish_tools(&mut self) {
        self.board.publish(TOOLS_TOPIC, 0);
        self.published.publish(offer::catalog(&self.wires, self.board.tools_version()));
        self.nodes.iter().for_each(|node| node.address.wake());
    }

    fn note_publications(&mut self) {
        while let Some(publication) = self.wires.log.pop() {
            let overflows = publication.overflowed.count_ones();
            self.dice.tally.add(Fault::EventsFull, overflows.into());
            self.board.publish(publication.topic, publication.overflowed);
        }
    }

    /// Asks every shard for its probe, sometimes more often than its lane holds.
    fn ask_for_probes(&mut self) {
        let times = if self.dice.one_in(3) { REQUESTS_MAX + 1 } else { 1 };
        for node in &self.nodes {
            for _ in 0..times {
                let (request, receiver) = Request::probe();
                match node.address.send_request(request) {
                    Ok(()) => self.probes.push(receiver),
                    Err(_) if node.next == Next::Done => {}
                    Err(_) => self.dice.saw(Fault::RequestsFull),
                }
            }
        }
    }

    /// Bounds hold at any time.
    fn check_probes(&mut self) {
        let limits = &self.limits;
        self.probes.retain(|receiver| {
            let Ok(probe) = receiver.try_recv() else { return true };
            assert!(probe.streams_open <= limits.streams_max.into(), "too many streams");
            assert!(probe.calls_in_flight <= limits.calls_max.into(), "too many calls");
            let open = probe.connections_open(Transport::Http);
            assert!(open <= limits.connections_max.into(), "too many connections");
            let slots = u64::from(limits.connections_max + REFUSAL_SLOTS);
            // One timer a connection, and that of accepting.
            assert!(probe.timers_armed <= slots + 1, "too many timers");
            false
        });
        let probes_max = 64;
        let surplus = self.probes.len().saturating_sub(probes_max);
        self.probes.drain(..surplus);
    }

    /// No faults from now on; whoever misbehaved stops.
    pub(crate) fn heal(&mut self) {
        self.dice.healed = true;
        for node in &mut self.nodes {
            node.io.dice.healed = true;
        }
        self.workers.heal(self.now_ns);
        self.clients.iter_mut().for_each(Client::heal);
    }

    /// Asks a shard for its probe, which comes with a tick.
    pub(crate) fn probe(&mut self, node: usize) -> Result<Box<Probe>, String> {
        let (request, receiver) = Request::probe();
        let mut request = Some(request);
        for _ in 0..100 {
            if let Some(again) = request.take() {
                request = self.nodes[node].address.send_request(again).err().map(|busy| busy.0);
            }
            self.quiet_step()?;
            if let Ok(probe) = receiver.try_recv() {
                return Ok(probe);
            }
        }
        Err(format!("shard {node} sends no probe"))
    }

    /// A step without new clients; where nothing happens, time passes faster.
    pub(crate) fn quiet_step(&mut self) -> Result<(), String> {
        let ticked = self.step()?;
        let idle = !ticked && self.nodes.iter().all(|node| !node.io.has_ready());
        self.now_ns += if idle { self.dice.between(1, 30) * MS } else { self.dice.between(0, MS) };
        self.dismiss_clients();
        Ok(())
    }

    fn dismiss_clients(&mut self) {
        let checked = &mut self.checked;
        self.clients.retain(|client| {
            if client.done {
                checked.connections += 1;
                checked.responses += client.answered;
                checked.changes += client.changes();
            }
            !client.done
        });
    }

    /// Everything that was counted, once the run is over.
    pub(crate) fn tally(&mut self, probes: &[Probe]) -> crate::fault::Tally {
        let mut tally = self.dice.tally.clone();
        tally.add(Fault::PoolFull, self.workers.refused());
        self.nodes.iter().for_each(|node| tally.merge(&node.io.dice.tally));
        for (bound, fault) in [
            (Bound::Connections, Fault::ConnectionsBound),
            (Bound::Streams, Fault::StreamsBound),
            (Bound::Calls, Fault::CallsBound),
            (Bound::HeadBytes, Fault::HeadBound),
            (Bound::BodyBytes, Fault::BodyBound),
            (Bound::ByteBudget, Fault::BudgetBound),
            (Bound::SendBound, Fault::SendBound),
            (Bound::HeadTimeout, Fault::HeadTimeout),
            (Bound::BodyTimeout, Fault::BodyTimeout),
            (Bound::IdleTimeout, Fault::IdleTimeout),
            (Bound::SendTimeout, Fault::SendTimeout),
            (Bound::ToolTimeout, Fault::ToolTimeout),
            (Bound::Stopping, Fault::Stopping),
            (Bound::Malformed, Fault::Malformed),
        ] {
            let count = probes.iter().map(|probe| probe.refusals[bound.index()]).sum();
            tally.add(fault, count);
        }
        tally
    }

    /// One number for all that passed between shards and ios.
    pub(crate) fn digest(&self) -> u64 {
        let mut sum = Trace::new(None);
        self.nodes.iter().for_each(|node| sum.mix(node.io.trace.digest()));
        sum.mix(self.now_ns);
        sum.digest()
    }
}
