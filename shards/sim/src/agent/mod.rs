//! A virtual client of a legacy session over HTTP: connections to any shards, event streams that it
//! comes back for, questions that it answers or does not, and the checks of what it is told.

mod author;
mod hear;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ringmesh_proto::mcp::{EventId, Version};
use serde_json::Value;

use crate::board::Listening;
use crate::check::{self, Told};
use crate::errand::{self, Errand, Manner, Scribe};
use crate::fault::Fault;
use crate::lane::{Lane, Scene, Task, http};
use crate::offer::URIS;
use crate::request::{Expect, TOOLS_TOPIC};

/// Connections that it has at once.
const LANES_MAX: usize = 4;

/// A call in flight.
#[derive(Debug)]
pub(crate) struct Open {
    /// Tells it from others with the same id.
    pub(crate) serial: u64,
    pub(crate) pending: check::Pending,
    /// The event stream of its answer, once it is known.
    pub(crate) stream: Option<u32>,
    pub(crate) cancelled: bool,
    pub(crate) told: Told,
    pub(crate) twin: bool,
}

/// The stream of GET, as far as the client got with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Feed {
    /// It is not to be opened, or not before this many subscriptions.
    Subscribing(usize),
    /// To be opened, or read on.
    Wanted,
    /// A connection asked for it.
    Asked,
    Open,
    /// It is read no more.
    Over,
}

/// How far the session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    New,
    Open,
    /// DELETE was sent.
    Deleting,
    /// It is gone, and the client knows.
    Ended,
}

/// See the module. One session each.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) version: Version,
    pub(crate) scribe: Scribe,
    pub(crate) session: Option<String>,
    /// The shard where the session lives.
    pub(crate) home: usize,
    pub(crate) stage: Stage,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) open: Vec<Open>,
    serial: u64,
    /// A call with the id of another.
    twin: Option<Errand>,
    /// The newest event of each stream.
    pub(crate) seen: BTreeMap<u32, u32>,
    /// Streams to be read on.
    pub(crate) resume: Vec<u32>,
    /// Streams that a connection asked for which was lost: it may take them yet, and lose them.
    pub(crate) contested: BTreeSet<u32>,
    /// Notifications and responses to be sent, and the calls that they answer questions of.
    queue: VecDeque<(String, Option<u64>)>,
    /// Questions of the server that it did not withdraw.
    pub(crate) asked: BTreeSet<u64>,
    pub(crate) feed: Feed,
    pub(crate) listening: Listening,
    pub(crate) plan_left: u32,
    depth: usize,
    /// It leaves without DELETE: the session is to expire.
    abandons: bool,
    pub(crate) healed: bool,
    over: bool,
    /// When the session was surely used last, on the clock of its shard.
    pub(crate) used_ns: u64,
    pub(crate) done: bool,
    pub(crate) answered: u64,
}

impl Agent {
    pub(crate) fn new(id: usize, scene: &mut Scene<'_>) -> Self {
        let versions = &Version::ALL[..3];
        let dice = &mut *scene.dice;
        let mut topics: Vec<usize> = (0..URIS.len()).filter(|_| dice.one_in(2)).collect();
        let subscriptions = topics.len();
        topics.push(TOOLS_TOPIC);
        let mut listening = Listening::new(scene.board, 0);
        listening.ask(&topics);
        let feed = if dice.one_in(3) { Feed::Over } else { Feed::Subscribing(subscriptions) };
        Self {
            version: versions[dice.below(versions.len())],
            scribe: Scribe::new(format!("s{id}")),
            session: None,
            home: 0,
            stage: Stage::New,
            lanes: Vec::new(),
            open: Vec::new(),
            serial: 0,
            twin: None,
            seen: BTreeMap::new(),
            asked: BTreeSet::new(),
            resume: Vec::new(),
            contested: BTreeSet::new(),
            queue: VecDeque::new(),
            feed,
            listening,
            plan_left: u32::try_from(dice.below(30)).unwrap_or(0),
            depth: 1 + dice.below(5),
            abandons: dice.one_in(4),
            healed: false,
            over: false,
            used_ns: 0,
            done: false,
            answered: 0,
        }
    }

    /// One step of its script.
    pub(crate) fn act(&mut self, scene: &mut Scene<'_>) -> Result<(), String> {
        let mut lanes = std::mem::take(&mut self.lanes);
        for lane in &mut lanes {
            let items = lane.step(scene)?;
            for item in items {
                self.on_item(lane, item, scene)
                    .map_err(|what| format!("{what}; {lane:?}; {self:?}"))?;
            }
            if !lane.gone && lane.link(scene).is_over() {
                self.on_lane_end(lane, scene)
                    .map_err(|what| format!("{what}; {lane:?}; {self:?}"))?;
            }
        }
        lanes.retain(|lane| !lane.gone);
        lanes.append(&mut self.lanes);
        self.lanes = lanes;
        if self.stage == Stage::Ended && self.plan_left == 0 {
            self.finish(scene);
        }
        self.done |= self.over && self.lanes.is_empty();
        if self.done || self.over {
            return Ok(());
        }
        self.misbehave(scene)?;
        self.pursue(scene)
    }

    /// No further requests; what is open comes to its end.
    pub(crate) fn heal(&mut self) {
        self.healed = true;
        self.plan_left = 0;
    }

    /// The server is gone: nothing more is asked.
    pub(crate) fn give_up(&mut self) {
        self.over = true;
    }

    /// Closes every connection.
    pub(crate) fn finish(&mut self, scene: &mut Scene<'_>) {
        let mut lanes = std::mem::take(&mut self.lanes);
        lanes.iter_mut().for_each(|lane| lane.leave(scene));
        self.done = true;
    }

    /// Ends the session, or leaves it to expire.
    pub(crate) fn leave(&mut self, scene: &mut Scene<'_>) {
        self.feed = Feed::Over;
        if self.abandons || self.stage != Stage::Open {
            self.finish(scene);
        }
    }

    pub(crate) fn live_calls(&self) -> usize {
        self.open.iter().filter(|open| !open.cancelled).count()
    }

    /// Whether it waits for changes, and nothing else.
    pub(crate) fn is_listening(&self) -> bool {
        let rests = self.plan_left == 0 && self.live_calls() == 0 && self.queue.is_empty();
        let quiet = self.lanes.iter().all(|lane| {
            lane.task.is_none() || matches!(lane.task, Some(Task::Get { stream: 0, .. }))
        });
        !self.done && self.feed == Feed::Open && rests && quiet && self.resume.is_empty()
    }

    pub(crate) fn is_busy(&self) -> bool {
        !self.done && !self.is_listening()
    }

    /// Bytes that came on the stream of GET.
    pub(crate) fn heard(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.heard).sum()
    }

    /// Does what connections suffer.
    fn misbehave(&mut self, scene: &mut Scene<'_>) -> Result<(), String> {
        if self.healed || !scene.dice.one_in(40) || self.lanes.is_empty() {
            return Ok(());
        }
        let at = scene.dice.below(self.lanes.len());
        let mut lanes = std::mem::take(&mut self.lanes);
        let lane = &mut lanes[at];
        let waits = matches!(lane.task, Some(Task::Post { .. } | Task::Get { .. }));
        if waits && scene.dice.plans(Fault::FrontGone) {
            if lane.shard != self.home {
                scene.dice.saw(Fault::FrontGone);
            }
            if scene.dice.one_in(2) {
                lane.link(scene).break_down();
            } else {
                lane.link(scene).up_fin = true;
            }
            self.lose(lane, scene);
        } else if lane.is_idle() && scene.dice.one_in(4) {
            lane.leave(scene);
        }
        lanes.retain(|lane| !lane.gone);
        lanes.append(&mut self.lanes);
        self.lanes = lanes;
        Ok(())
    }

    /// The connection is gone: what it waited for is read on elsewhere, or lost.
    pub(crate) fn lose(&mut self, lane: &mut Lane, scene: &mut Scene<'_>) {
        lane.gone = true;
        if let Some(Task::Get { stream, .. }) = lane.task {
            self.contested.insert(stream);
        }
        match lane.task.take() {
            Some(Task::Hello) => self.finish(scene),
            Some(Task::Post { stream: Some(stream), .. }) => self.come_back(stream),
            Some(Task::Post { calls, stream: None, .. }) => {
                self.open.retain(|open| !calls.contains(&open.serial));
            }
            Some(Task::Get { stream: 0, .. }) if lane.replaced => {}
            Some(Task::Get { stream: 0, .. }) => {
                let known = self.seen.contains_key(&0);
                self.feed = if known { Feed::Wanted } else { Feed::Over };
            }
            Some(Task::Get { stream, .. }) => self.come_back(stream),
            Some(Task::Notice { call: Some(call) }) => {
                let asker = self.open.iter_mut().find(|open| open.serial == call);
                asker.into_iter().for_each(|open| open.told.withheld = true);
            }
            Some(Task::Delete) => self.stage = Stage::Deleting,
            Some(Task::Notice { call: None } | Task::Guess | Task::Bad(_)) | None => {}
        }
    }

    /// A stream is to be read on, where something is missing of it.
    pub(crate) fn come_back(&mut self, stream: u32) {
        let missing = self.open.iter().any(|open| open.stream == Some(stream) && !open.cancelled);
        if missing && self.stage == Stage::Open && !self.resume.contains(&stream) {
            self.resume.push(stream);
        }
    }

    /// Does the next thing, on a connection that is free.
    fn pursue(&mut self, scene: &mut Scene<'_>) -> Result<(), String> {
        if !scene.dice.ready() {
            return Ok(());
        }
        if self.stage == Stage::New {
            if self.lanes.is_empty() {
                let hello = self.scribe.initialize(self.version, scene.dice);
                self.note_open(hello.pending);
                let shard = scene.dice.below(scene.nodes.len());
                self.home = shard;
                let mut lane = Lane::connect(shard, scene);
                let now_ns = scene.facts(shard).now_ns;
                self.open.iter_mut().for_each(|open| open.pending.begun_ns = now_ns);
                lane.send(http("POST", "", &hello.text), Task::Hello, (now_ns, now_ns), now_ns);
                self.lanes.push(lane);
            }
            return Ok(());
        }
        let Some(at) = self.free_lane(scene) else { return Ok(()) };
        let Some((bytes, task)) = self.next_request(scene) else { return Ok(()) };
        let times = (scene.facts(self.home).now_ns, self.used_ns);
        if let Task::Post { calls, .. } = &task {
            let begun = self.open.iter_mut().filter(|open| calls.contains(&open.serial));
            begun.for_each(|open| open.pending.begun_ns = times.0);
        }
        let here_ns = scene.facts(self.lanes[at].shard).now_ns;
        self.lanes[at].send(bytes, task, times, here_ns);
        Ok(())
    }

    /// A connection that is free, made where there are few.
    fn free_lane(&mut self, scene: &mut Scene<'_>) -> Option<usize> {
        let idle = self.lanes.iter().position(Lane::is_idle);
        if idle.is_some() && !scene.dice.one_in(8) {
            return idle;
        }
        // One more for what ends the session, however many streams are read.
        let most = if self.healed { LANES_MAX + 2 } else { LANES_MAX };
        if self.lanes.len() >= most {
            return idle;
        }
        let shard = scene.dice.below(scene.nodes.len());
        let lane = Lane::connect(shard, scene);
        self.lanes.push(lane);
        Some(self.lanes.len() - 1)
    }

    /// A question of the server.
    pub(crate) fn on_question(
        &mut self,
        message: &Value,
        stream: u32,
        scene: &mut Scene<'_>,
    ) -> Result<(), String> {
        let (id, key, question) = check::question(message)?;
        let whose = self.open.iter_mut().find(|open| {
            open.stream == Some(stream)
                && matches!(&open.pending.expect, Expect::Asked { arguments, .. }
                    if arguments.contains(&key))
        });
        let open = whose.ok_or_else(|| format!("a question of nobody: {message}"))?;
        self.asked.insert(id);
        let manner = Manner::draw(scene.dice);
        check::tell(&mut open.told, manner, scene.dice);
        let reply = errand::reply(id, &key, &question, manner);
        let call = open.serial;
        for _ in 0..check::times(manner) {
            self.queue.push_back((reply.clone(), Some(call)));
        }
        Ok(())
    }
}

/// Reads an event's id.
pub(crate) fn event_id(text: &str) -> Result<EventId, String> {
    EventId::parse(text.as_bytes()).ok_or_else(|| format!("no event id: {text:?}"))
}
