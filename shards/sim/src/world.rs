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
use ringmesh_runtime::limits::{REFUSAL_SLOTS, SLEEP_GAP_MS};
use ringmesh_runtime::message::{Address, Request};
use ringmesh_runtime::probe::{Bound, Lane, Probe, SessionEnd, Transport};

use crate::agent::Agent;
use crate::board::Board;
use crate::check::Terms;
use crate::client::Client;
use crate::fault::{Dice, Fault};
use crate::line::LineClient;
use crate::node::{Config, Node, PostBox, REQUESTS_MAX, draw_terms};
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
    /// Clients of modern HTTP.
    pub(crate) clients: Vec<Client>,
    /// Clients of legacy sessions over HTTP.
    pub(crate) agents: Vec<Agent>,
    /// Clients of byte streams.
    pub(crate) lines: Vec<LineClient>,
    pub(crate) clients_made: usize,
    /// Clients of each kind that are there at once.
    pub(crate) crowd: [usize; 3],
    pub(crate) terms: Terms,
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
        let terms = draw_terms(&mut dice);
        let limits = &terms.limits;
        let wires = Arc::new(Wires::default());
        let published = Arc::new(Published::new(offer::catalog(&wires, 0)));
        let desk = Arc::new(Desk::default());
        let pool: Arc<dyn Pool> = desk.clone();
        let now_ns = dice.between(0, 1 << 40);
        let shards = if dice.one_in(4) { 3 } else { 2 };
        let state_key = Arc::new(StateKey::from_secret(b"simulated"));
        let mut nodes = Vec::new();
        let boxes: Vec<_> = (0..shards).map(|_| PostBox::new(limits, &mut dice)).collect();
        let addresses: Arc<[Address]> = boxes.iter().map(|post| post.address.clone()).collect();
        for (id, post) in (0..shards).zip(boxes) {
            let config =
                Config { seed, limits, published: &published, pool: &pool, addresses: &addresses };
            let trace = Trace::new(shown.then_some(usize::from(id)));
            nodes.push(config.node(post, (id, now_ns), trace, &state_key, &mut dice));
        }
        wires.attach(addresses.to_vec());
        let crowd = [2 + dice.below(16), dice.below(8), dice.below(8)];
        Self {
            board: Board::new(nodes.len()),
            nodes,
            clients: Vec::new(),
            agents: Vec::new(),
            lines: Vec::new(),
            clients_made: 0,
            crowd,
            terms,
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
        let timeout_ns = self.terms.limits.tool_timeout_ms * MS;
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
        self.invite();
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
        let limits = &self.terms.limits;
        let (streams, calls) = (u64::from(limits.streams_max), u64::from(limits.calls_max));
        self.probes.retain(|receiver| {
            let Ok(probe) = receiver.try_recv() else { return true };
            assert!(probe.subscriptions_open <= streams, "too many subscriptions");
            // A session's stream of GET counts among those, and those of calls by their calls.
            let events = probe.streams_open - probe.subscriptions_open;
            assert!(events <= streams + calls, "too many streams");
            assert!(probe.calls_in_flight <= calls, "too many calls");
            let http = probe.connections_open(Transport::Http);
            let lines = probe.connections_open(Transport::Tcp);
            let connections = u64::from(limits.connections_max);
            assert!(http + lines <= connections, "too many connections");
            let sessions = probe.sessions_open;
            assert!(sessions <= u64::from(limits.sessions_max) + lines, "too many sessions");
            let events_max = u64::from(limits.session_events_max);
            assert!(probe.session_events <= sessions * events_max, "too many events are kept");
            // One timer a connection, a call and a session; those of accepting and of relays.
            let slots = connections + u64::from(REFUSAL_SLOTS);
            assert!(probe.timers_armed <= slots + calls + sessions + 2, "too many timers");
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
        self.agents.iter_mut().for_each(Agent::heal);
        self.lines.iter_mut().for_each(LineClient::heal);
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
            (Bound::Batch, Fault::BatchBound),
            (Bound::Sessions, Fault::SessionsBound),
            (Bound::SessionsPerAddress, Fault::AddressBound),
            (Bound::EventLog, Fault::EventLogBound),
            (Bound::InputTimeout, Fault::InputTimeout),
        ] {
            let count = probes.iter().map(|probe| probe.refusals[bound.index()]).sum();
            tally.add(fault, count);
        }
        for (end, fault) in [
            (SessionEnd::Deleted, Fault::SessionDeleted),
            (SessionEnd::Expired, Fault::SessionExpired),
            (SessionEnd::Closed, Fault::SessionClosed),
        ] {
            let count = probes.iter().map(|probe| probe.sessions_ended[end.index()]).sum();
            tally.add(fault, count);
        }
        for probe in probes {
            tally.add(Fault::Forwarded, probe.forwarded);
            tally.add(Fault::Replayed, probe.events_replayed);
            tally.add(Fault::Unasked, probe.responses_unasked);
            tally.add(Fault::RelaysFull, probe.mailbox_busy[Lane::Relays.index()]);
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
