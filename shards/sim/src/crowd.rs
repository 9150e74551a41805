//! The clients of a world: they come, act and go.

use crate::agent::Agent;
use crate::check::Facts;
use crate::client::{Client, Temper};
use crate::lane::Scene;
use crate::line::LineClient;
use crate::link::Link;
use crate::world::World;

impl World {
    /// Clients come, up to the crowd.
    pub(crate) fn invite(&mut self) {
        let [clients, agents, lines] = self.crowd;
        while self.clients.len() < clients && self.dice.one_in(3) {
            let temper = match self.dice.below(16) {
                0..8 => Temper::Usual,
                8..12 => Temper::Listener,
                12 | 13 => Temper::Flooder,
                14 => Temper::Greedy,
                _ => Temper::Idler,
            };
            self.connect(temper);
        }
        if self.agents.len() < agents && self.dice.one_in(6) {
            let id = self.next_client();
            let agent = Agent::new(id, &mut self.scene().0);
            self.agents.push(agent);
        }
        if self.lines.len() < lines && self.dice.one_in(6) {
            self.connect_line();
        }
    }

    fn next_client(&mut self) -> usize {
        self.clients_made += 1;
        self.clients_made
    }

    /// A new client, on any shard but those that are gone.
    pub(crate) fn connect(&mut self, temper: Temper) {
        let shard = self.dice.below(self.nodes.len());
        self.connect_to(shard, temper);
    }

    pub(crate) fn connect_to(&mut self, shard: usize, temper: Temper) {
        let id = self.next_client();
        let node = &self.nodes[shard];
        let facts = Facts::of(node, self.now_ns, &self.terms, &self.workers, self.dice.healed);
        let link = node.io.links.len();
        let client = Client::new((id, shard, link), temper, (&self.board, &mut self.dice), &facts);
        let down_max = if temper == Temper::Greedy { 65_536 } else { 64 << self.dice.below(9) };
        let up_max = if temper == Temper::Flooder { 65_536 } else { 64 << self.dice.below(11) };
        self.attach(shard, Link::new(up_max, down_max));
        self.clients.push(client);
    }

    fn connect_line(&mut self) {
        let (id, shard) = (self.next_client(), self.dice.below(self.nodes.len()));
        let node = &self.nodes[shard];
        let facts = Facts::of(node, self.now_ns, &self.terms, &self.workers, self.dice.healed);
        let link = node.io.links.len();
        let line = LineClient::new((id, shard, link), (&self.board, &mut self.dice), &facts);
        let (up_max, down_max) = (64 << self.dice.below(11), 64 << self.dice.below(9));
        self.attach(shard, Link::of_lines(up_max, down_max));
        self.lines.push(line);
    }

    fn attach(&mut self, shard: usize, mut link: Link) {
        if self.nodes[shard].draining {
            link.stop();
        }
        self.nodes[shard].io.connect(link);
    }

    /// What a client reaches, and the clients themselves.
    fn scene(&mut self) -> (Scene<'_>, &mut Vec<Agent>) {
        let scene = Scene {
            nodes: &mut self.nodes,
            dice: &mut self.dice,
            board: &mut self.board,
            terms: &self.terms,
            workers: &self.workers,
            now_ns: self.now_ns,
        };
        (scene, &mut self.agents)
    }

    /// Every client has its turn, perhaps.
    pub(crate) fn act_clients(&mut self) -> Result<(), String> {
        let first = self.dice.below(self.clients.len().max(1));
        let count = self.clients.len();
        for at in 0..count {
            let client = &mut self.clients[(first + at) % count];
            if !self.dice.ready() {
                continue;
            }
            let node = &mut self.nodes[client.shard];
            let facts = Facts::of(node, self.now_ns, &self.terms, &self.workers, self.dice.healed);
            let link = &mut node.io.links[client.link];
            client.act(link, &mut self.dice, &mut self.board, &facts).map_err(|what| {
                format!("client of shard {}, link {}: {what}", client.shard, client.link)
            })?;
        }
        for line in &mut self.lines {
            if !self.dice.ready() {
                continue;
            }
            let node = &mut self.nodes[line.shard];
            let facts = Facts::of(node, self.now_ns, &self.terms, &self.workers, self.dice.healed);
            let link = &mut node.io.links[line.link];
            line.act(link, &mut self.dice, &mut self.board, &facts)
                .map_err(|what| format!("line of shard {}: {what}: {line:?}", line.shard))?;
        }
        let (mut scene, agents) = self.scene();
        for agent in agents {
            if scene.dice.ready() {
                agent.act(&mut scene).map_err(|what| format!("session: {what}"))?;
            }
        }
        Ok(())
    }

    /// All who are there go.
    pub(crate) fn send_away(&mut self) {
        for client in &mut self.clients {
            client.leave(&mut self.nodes[client.shard].io.links[client.link]);
        }
        for line in &mut self.lines {
            line.leave(&mut self.nodes[line.shard].io.links[line.link]);
        }
        let (mut scene, agents) = self.scene();
        agents.iter_mut().for_each(|agent| agent.leave(&mut scene));
    }

    /// Whether nobody is there.
    pub(crate) fn is_deserted(&self) -> bool {
        self.clients.is_empty() && self.agents.is_empty() && self.lines.is_empty()
    }

    /// Somebody who waits for something that is not a change.
    pub(crate) fn busy(&self) -> Option<String> {
        let client = self.clients.iter().find(|client| client.is_busy());
        let agent = self.agents.iter().find(|agent| agent.is_busy());
        let line = self.lines.iter().find(|line| line.is_busy());
        let client = client.map(|client| format!("{client:?}"));
        client
            .or_else(|| agent.map(|agent| format!("{agent:?}")))
            .or_else(|| line.map(|line| format!("{line:?}")))
    }

    pub(crate) fn is_anybody_busy(&self) -> bool {
        self.clients.iter().any(Client::is_busy)
            || self.agents.iter().any(Agent::is_busy)
            || self.lines.iter().any(LineClient::is_busy)
    }

    /// Counts and forgets those who are done.
    pub(crate) fn dismiss_clients(&mut self) {
        let checked = &mut self.checked;
        let mut dismiss = |done: bool, responses: u64, changes: u64| {
            if done {
                checked.connections += 1;
                checked.responses += responses;
                checked.changes += changes;
            }
            !done
        };
        self.clients.retain(|client| dismiss(client.done, client.answered, client.changes()));
        self.lines.retain(|line| dismiss(line.done, line.answered, line.changes()));
        self.agents.retain(|agent| dismiss(agent.done, agent.answered, agent.listening.received()));
    }
}
