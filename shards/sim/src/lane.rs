//! A connection of a session's client: one exchange of HTTP at a time.

use std::fmt;
use std::ops::{Deref, DerefMut};

use crate::check::{Facts, Terms};
use crate::fault::Dice;
use crate::link::Link;
use crate::node::Node;
use crate::pool::Workers;
use crate::reader::{Head, Item, Reader};

/// What a client acts on: everything of the world that it can reach.
pub(crate) struct Scene<'a> {
    pub(crate) nodes: &'a mut [Node],
    pub(crate) dice: &'a mut Dice,
    pub(crate) board: &'a mut crate::board::Board,
    pub(crate) terms: &'a Terms,
    pub(crate) workers: &'a Workers,
    pub(crate) now_ns: u64,
}

impl<'a> Scene<'a> {
    /// The facts of a shard.
    pub(crate) fn facts(&self, shard: usize) -> Facts<'a> {
        let (healed, node) = (self.dice.healed, &self.nodes[shard]);
        Facts::of(node, self.now_ns, self.terms, self.workers, healed)
    }

    /// Whether any shard was told to stop.
    pub(crate) fn drains(&self) -> bool {
        self.nodes.iter().any(|node| node.draining)
    }
}

/// Bytes that a report of a failure counts and does not show.
#[derive(Default)]
pub(crate) struct Quiet(Vec<u8>);

impl fmt::Debug for Quiet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Deref for Quiet {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Quiet {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

/// What the exchange under way is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// The handshake.
    Hello,
    /// Calls by their serials, whether they come as a batch, and the event stream that answers
    /// them, once it is known.
    Post { calls: Vec<u64>, batch: bool, stream: Option<u32> },
    /// A notification or a response; whether it answers a question of a call.
    Notice { call: Option<u64> },
    /// A stream is read, from behind an event or anew.
    Get { stream: u32, fresh: bool },
    /// The session's end.
    Delete,
    /// A session that does not exist.
    Guess,
    /// What is refused with this status.
    Bad(u16),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) shard: usize,
    pub(crate) link: usize,
    reader: Reader,
    pub(crate) head: Option<Head>,
    pub(crate) task: Option<Task>,
    out: Quiet,
    out_at: usize,
    /// Bytes of all requests, and of those before the present one.
    authored: u64,
    pub(crate) start: u64,
    /// When it was begun, on the clock of the session's shard.
    pub(crate) begun_ns: u64,
    /// The same on that of the connection's.
    pub(crate) here_ns: u64,
    /// When the session was surely used last before this request.
    pub(crate) used_ns: u64,
    /// Nothing more is written or read.
    pub(crate) gone: bool,
    /// Another connection reads its stream now: what it is sent yet does not count.
    pub(crate) replaced: bool,
    /// The server said that the stream is to be read on later.
    pub(crate) retry: bool,
    /// Responses that came.
    pub(crate) answered: u64,
    /// Bytes that came.
    pub(crate) heard: u64,
}

impl Lane {
    /// Connects to a shard.
    pub(crate) fn connect(shard: usize, scene: &mut Scene<'_>) -> Self {
        let (up, down) = (64 << scene.dice.below(11), 64 << scene.dice.below(9));
        let mut link = Link::new(up, down);
        let node = &mut scene.nodes[shard];
        if node.draining {
            link.stop();
        }
        let link = node.io.connect(link);
        Self {
            shard,
            link,
            reader: Reader::new(),
            head: None,
            task: None,
            out: Quiet::default(),
            out_at: 0,
            authored: 0,
            start: 0,
            begun_ns: 0,
            here_ns: 0,
            used_ns: 0,
            gone: false,
            replaced: false,
            retry: false,
            answered: 0,
            heard: 0,
        }
    }

    pub(crate) fn link<'a>(&self, scene: &'a mut Scene<'_>) -> &'a mut Link {
        &mut scene.nodes[self.shard].io.links[self.link]
    }

    /// Whether a request can be sent.
    pub(crate) fn is_idle(&self) -> bool {
        self.task.is_none() && !self.gone
    }

    /// Begins an exchange.
    pub(crate) fn send(
        &mut self,
        bytes: Vec<u8>,
        task: Task,
        (now_ns, used_ns): (u64, u64),
        here_ns: u64,
    ) {
        debug_assert!(self.is_idle(), "one exchange at a time");
        self.start = self.authored;
        self.authored += bytes.len() as u64;
        (self.out, self.out_at) = (Quiet(bytes), 0);
        self.task = Some(task);
        (self.begun_ns, self.used_ns, self.retry) = (now_ns, used_ns, false);
        self.here_ns = here_ns;
    }

    /// Writes and reads; gives what came.
    pub(crate) fn step(&mut self, scene: &mut Scene<'_>) -> Result<Vec<Item>, String> {
        let healed = scene.dice.healed;
        let (writes, reads) = (scene.dice.ready(), scene.dice.ready());
        let part = scene.dice.below(1 << 16);
        let link = &mut scene.nodes[self.shard].io.links[self.link];
        if writes && self.out_at < self.out.len() {
            let rest = &self.out[self.out_at..];
            let len = if healed { rest.len() } else { 1 + part % rest.len() };
            self.out_at += link.write(&rest[..len]);
        }
        let mut items = Vec::new();
        if reads && !link.down.is_empty() && !link.down_reset {
            let all = link.down.len();
            let len = if healed || part.is_multiple_of(2) { all } else { 1 + part % all };
            self.heard += len as u64;
            self.reader.feed(link.down.drain(..len))?;
        }
        while let Some(item) = self.reader.next() {
            items.push(item);
        }
        Ok(items)
    }

    /// Sends no more, and waits for nothing.
    pub(crate) fn leave(&mut self, scene: &mut Scene<'_>) {
        self.link(scene).up_fin = true;
        self.gone = true;
    }

    /// Whether the shard read of the present request.
    pub(crate) fn was_read(&self, scene: &mut Scene<'_>) -> bool {
        self.start < self.link(scene).owed()
    }
}

/// A request of HTTP to the endpoint; `fields` end with a line break each.
pub(crate) fn http(method: &str, fields: &str, body: &str) -> Vec<u8> {
    let length = if body.is_empty() {
        String::new()
    } else {
        format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len())
    };
    format!(
        "{method} /mcp HTTP/1.1\r\nHost: localhost\r\n\
         Accept: application/json, text/event-stream\r\n{fields}{length}\r\n{body}"
    )
    .into_bytes()
}
