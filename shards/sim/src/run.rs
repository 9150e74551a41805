//! One seed from beginning to end: a life with faults, then quiet, then an orderly stop.

use ringmesh_runtime::Next;
use ringmesh_runtime::message::Request;
use ringmesh_runtime::probe::{Probe, Transport};

use crate::agent::Agent;
use crate::client::{Client, Temper};
use crate::fault::{Fault, Tally};
use crate::line::LineClient;
use crate::link::Link;
use crate::offer::URIS;
use crate::world::{Checked, World};

/// Virtual time within which a healed world becomes quiet, ns: more than every time-out together.
const QUIET_NS: u64 = 120_000_000_000;
/// The same in steps, for a world whose time does not pass.
const QUIET_STEPS: u64 = 400_000;

/// Ticks that a shard without connections may take while things settle.
const IDLE_TICKS_MAX: u64 = 4;

/// A run that found nothing wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// Ticks of all shards together.
    pub ticks: u64,
    /// What clients checked.
    pub checked: Checked,
    /// Faults that occurred.
    pub faults: Tally,
    /// Of everything that passed between the shards and their io: the same for the same seed.
    pub digest: u64,
}

impl World {
    /// Runs the whole life.
    pub(crate) fn run(&mut self, ticks_min: u64) -> Result<Survey, String> {
        // Each shard has its share.
        let ticks_min = ticks_min * self.nodes.len() as u64;
        while self.ticks < ticks_min {
            self.live()?;
        }
        self.become_quiet()?;
        self.check_listeners()?;
        self.check_nothing_left()?;
        self.check_catalog()?;
        let probes = self.stop()?;
        Ok(Survey {
            ticks: self.ticks,
            checked: self.checked,
            faults: self.tally(&probes),
            digest: self.digest(),
        })
    }

    /// Steps until `done`, at most for [`QUIET_NS`].
    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) -> Result<(), String> {
        let (deadline_ns, mut steps) = (self.now_ns + QUIET_NS, 0);
        while !done(self) {
            if self.now_ns > deadline_ns || steps > QUIET_STEPS {
                let stuck = self.busy();
                return Err(format!("not in time: {what}; {stuck:?}"));
            }
            steps += 1;
            self.quiet_step()?;
        }
        Ok(())
    }

    fn become_quiet(&mut self) -> Result<(), String> {
        self.heal();
        self.until("every client gets its answers", |world| {
            world.workers.is_idle() && !world.is_anybody_busy()
        })
    }

    /// With all quiet, each listener was told everything, and is told of further changes.
    fn check_listeners(&mut self) -> Result<(), String> {
        self.settle()?;
        self.check_changes()?;
        self.check_keep_alives()?;
        // At once they are more than the lane holds; then one by one.
        let first = self.dice.below(URIS.len());
        (0..URIS.len()).for_each(|at| self.publish((first + at) % URIS.len()));
        self.settle()?;
        self.check_changes()?;
        for topic in 0..URIS.len() {
            self.publish(topic);
            self.settle()?;
        }
        self.publish_tools();
        self.settle()?;
        self.check_changes()
    }

    /// A listener that has nothing to hear hears at least that.
    fn check_keep_alives(&mut self) -> Result<(), String> {
        let until_ns = self.now_ns + (self.terms.limits.keep_alive_ms + 500) * 1_000_000;
        let heard: Vec<_> = self.listeners().map(|client| (client.link, client.heard)).collect();
        let told: Vec<_> = self.agents.iter().map(Agent::heard).collect();
        self.until("time passes", |world| world.now_ns > until_ns)?;
        let mut deaf = self.listeners().filter(|c| heard.contains(&(c.link, c.heard)));
        if let Some(client) = deaf.next() {
            return Err(format!("no keep-alive: {client:?}"));
        }
        let mut agents = self.agents.iter().zip(told);
        let deaf = agents.find(|(agent, told)| agent.is_listening() && agent.heard() == *told);
        deaf.map_or(Ok(()), |(agent, _)| Err(format!("no keep-alive: {agent:?}")))
    }

    fn listeners(&self) -> impl Iterator<Item = &Client> {
        self.clients.iter().filter(|client| client.is_listening())
    }

    fn check_changes(&self) -> Result<(), String> {
        for client in self.listeners() {
            client.check_changes(&self.board).map_err(|what| format!("{what}: {client:?}"))?;
        }
        for line in self.lines.iter().filter(|line| line.is_listening()) {
            line.check_changes(&self.board).map_err(|what| format!("{what}: {line:?}"))?;
        }
        for agent in self.agents.iter().filter(|agent| agent.is_listening()) {
            let checked = agent.listening.check(&self.board);
            checked.map_err(|what| format!("{what}: {agent:?}"))?;
        }
        Ok(())
    }

    /// What is under way arrives.
    fn settle(&mut self) -> Result<(), String> {
        let until_ns = self.now_ns + 200_000_000;
        self.until("time passes", |world| world.now_ns > until_ns)
    }

    /// Every shard serves the catalog that was published last.
    fn check_catalog(&mut self) -> Result<(), String> {
        for shard in 0..self.nodes.len() {
            self.connect_to(shard, Temper::Idler);
            let client = self.clients.pop().ok_or("it was just connected")?;
            self.clients.push(client.asks_for_tools(&mut self.dice));
            let mut version = None;
            self.until("a list of tools", |world| {
                version = world.clients.first().and_then(|client| client.tools_version);
                version.is_some() || world.clients.is_empty()
            })?;
            let newest = self.board.tools_version();
            if version != Some(newest) {
                return Err(format!("shard {shard} lists version {version:?}, not {newest}"));
            }
            self.check_nothing_left()?;
        }
        Ok(())
    }

    /// All clients leave, and the shards keep nothing of them.
    fn check_nothing_left(&mut self) -> Result<(), String> {
        self.send_away();
        self.until("every connection is closed", |world| {
            world.is_deserted() && world.nodes.iter().all(|node| node.io.slots_taken() == 0)
        })?;
        // Who left without a word has left a session, which expires.
        let limits = &self.terms.limits;
        let expired_ns = self.now_ns + (limits.session_timeout_ms + 1_000) * 1_000_000;
        self.until("sessions expire", |world| world.now_ns > expired_ns)?;
        let before = self.ticks;
        self.settle()?;
        let ticks = self.ticks - before;
        if ticks > IDLE_TICKS_MAX * self.nodes.len() as u64 {
            return Err(format!("{ticks} ticks of shards that have nothing to do"));
        }
        for node in 0..self.nodes.len() {
            let probe = self.probe(node)?;
            let kept = [
                ("calls", probe.calls_in_flight),
                ("sessions", probe.sessions_open),
                ("events of sessions", probe.session_events),
                ("streams", probe.streams_open),
                ("exchanges of other shards", probe.relays_open),
                ("timers", probe.timers_armed),
                ("bytes", probe.budget_used_bytes),
                ("connections", probe.connections_open(Transport::Http)),
                ("byte streams", probe.connections_open(Transport::Tcp)),
                ("buffers", probe.buffers.used.into()),
            ];
            if let Some((what, count)) = kept.iter().find(|(_, count)| *count > 0) {
                return Err(format!("shard {node} keeps {count} {what} of nobody"));
            }
        }
        Ok(())
    }

    /// Clients come back, and the shards are told to stop in the middle of it.
    fn stop(&mut self) -> Result<Vec<Probe>, String> {
        let healed = self.dice.one_in(2);
        self.dice.healed = healed;
        self.nodes.iter_mut().for_each(|node| node.io.dice.healed = healed);
        // Sometimes shards have little but what others ask of them.
        let apart = self.dice.one_in(2);
        if apart {
            self.crowd = [0, 8, 0];
        }
        for _ in 0..self.dice.between(100, 400) {
            self.live()?;
        }
        let mut probes = Vec::new();
        for node in 0..self.nodes.len() {
            probes.push(*self.probe(node)?);
        }
        let grace_ms = self.dice.between(4_000, 8_000);
        let mut deaf = Vec::new();
        for node in &mut self.nodes {
            // Its lane may be full of what other shards ask of it: then it hears of it later.
            if node.address.send_request(Request::Drain { grace_ms }).is_err() {
                deaf.push(node.address.clone());
            }
            node.draining = true;
            node.io.links.iter_mut().for_each(Link::stop);
            self.dice.tally.add(Fault::Drain, 1);
        }
        // Some come just then.
        let late = if apart { 0 } else { 4 };
        (0..late).for_each(|_| self.connect(Temper::Usual));
        while !deaf.is_empty() {
            deaf.retain(|address| address.send_request(Request::Drain { grace_ms }).is_err());
            self.quiet_step()?;
        }
        let deadline_ns = self.now_ns + grace_ms * 1_000_000;
        let mut asked = Vec::new();
        while self.nodes.iter().any(|node| node.next != Next::Done) {
            if !apart && self.dice.one_in(10) {
                self.connect(Temper::Usual);
            }
            for (at, node) in self.nodes.iter().enumerate() {
                let (request, receiver) = Request::probe();
                if node.address.send_request(request).is_ok() {
                    asked.push((at, receiver));
                }
            }
            self.quiet_step()?;
            asked.retain(|(at, receiver)| match receiver.try_recv() {
                Ok(probe) => {
                    probes[*at] = *probe;
                    false
                }
                Err(_) => true,
            });
            if self.now_ns > deadline_ns {
                return Err(format!("not gone within {grace_ms} ms"));
            }
        }
        self.nodes.iter().for_each(|node| node.io.check_empty());
        self.clients.iter_mut().for_each(Client::heal);
        self.lines.iter_mut().for_each(LineClient::heal);
        self.agents.iter_mut().for_each(Agent::give_up);
        self.until("every client notices", |world| world.is_deserted())?;
        Ok(probes)
    }
}
