//! A virtual client of a legacy session over HTTP: connections to any shards, event streams that it
//! comes back for, questions that it answers or does not, and the checks of what it is told.

use std::collections::{BTreeMap, VecDeque};

use ringmesh_proto::mcp::{EventId, SessionId, Version};
use serde_json::Value;

use crate::board::Listening;
use crate::check::{self, Told};
use crate::errand::{self, Errand, Manner, Scribe, Tongue};
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
    /// Notifications and responses to be sent, and the calls that they answer questions of.
    queue: VecDeque<(String, Option<u64>)>,
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
            resume: Vec::new(),
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
                lane.send(http("POST", "", &hello.text), Task::Hello, (now_ns, now_ns));
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
        self.lanes[at].send(bytes, task, times);
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

    fn next_request(&mut self, scene: &mut Scene<'_>) -> Option<(Vec<u8>, Task)> {
        if self.stage == Stage::Ended {
            self.plan_left = 0;
            scene.dice.saw(Fault::SessionReused);
            let body = self.scribe.trifle(scene.dice).text;
            return Some((http("POST", &self.fields(None), &body), Task::Guess));
        }
        if self.stage == Stage::Deleting {
            let deletes = self.lanes.iter().any(|lane| lane.task == Some(Task::Delete));
            return (!deletes).then(|| (http("DELETE", &self.fields(None), ""), Task::Delete));
        }
        if let Some((body, call)) = self.queue.pop_front() {
            return Some((http("POST", &self.fields(None), &body), Task::Notice { call }));
        }
        if let Some(twin) = self.twin.take() {
            let posted = self.post(vec![twin]);
            self.open.last_mut().into_iter().for_each(|open| open.twin = true);
            return Some(posted);
        }
        if !self.resume.is_empty() && (self.healed || scene.dice.one_in(8)) {
            let stream = self.resume.swap_remove(0);
            return Some(self.get(stream, scene));
        }
        match self.feed {
            Feed::Subscribing(0) => self.feed = Feed::Wanted,
            Feed::Subscribing(left) => {
                let none =
                    !self.open.iter().any(|open| matches!(open.pending.expect, Expect::Empty));
                let topic = self.listening.topics()[left - 1];
                return none.then(|| {
                    let errand = self.scribe.subscribe(topic, scene.dice);
                    self.post(vec![errand])
                });
            }
            Feed::Wanted if self.healed || scene.dice.one_in(4) => {
                self.feed = Feed::Asked;
                return Some(self.get(0, scene));
            }
            Feed::Open if !self.healed && scene.dice.one_in(200) => return self.replace(scene),
            Feed::Wanted | Feed::Asked | Feed::Open | Feed::Over => {}
        }
        if self.plan_left > 0 {
            return self.author(scene);
        }
        let stays = !matches!(self.feed, Feed::Over) && (self.healed || !scene.dice.one_in(100));
        if !stays && self.live_calls() == 0 && self.lanes.iter().all(no_call) {
            return self.end(scene);
        }
        None
    }

    /// Has its stream read by another connection.
    fn replace(&mut self, scene: &mut Scene<'_>) -> Option<(Vec<u8>, Task)> {
        if !self.seen.contains_key(&0) {
            return None;
        }
        scene.dice.saw(Fault::StreamReplaced);
        for lane in &mut self.lanes {
            lane.replaced |= matches!(lane.task, Some(Task::Get { stream: 0, .. }));
        }
        self.feed = Feed::Asked;
        Some(self.get(0, scene))
    }

    fn get(&mut self, stream: u32, scene: &mut Scene<'_>) -> (Vec<u8>, Task) {
        let last = self.seen.get(&stream).copied();
        if last.is_some() {
            scene.dice.saw(Fault::Resumed);
        }
        let fields = self.fields(last.map(|last| (stream, last)));
        (http("GET", &fields, ""), Task::Get { stream, fresh: last.is_none() })
    }

    fn end(&mut self, scene: &mut Scene<'_>) -> Option<(Vec<u8>, Task)> {
        self.feed = Feed::Over;
        if self.abandons {
            self.finish(scene);
            return None;
        }
        if self.open.iter().any(|open| open.cancelled) || self.live_calls() > 0 {
            scene.dice.saw(Fault::DeletedInFlight);
        }
        self.plan_left = u32::from(!self.healed && scene.dice.one_in(2));
        self.stage = Stage::Deleting;
        Some((http("DELETE", &self.fields(None), ""), Task::Delete))
    }

    /// Header fields of a request for the session.
    fn fields(&self, last: Option<(u32, u32)>) -> String {
        let mut fields = String::new();
        if let Some(session) = &self.session {
            fields.push_str(&format!("Mcp-Session-Id: {session}\r\n"));
        }
        if self.version > Version::V2025_03_26 {
            fields.push_str(&format!("MCP-Protocol-Version: {}\r\n", self.version.name()));
        }
        if let Some((stream, seq)) = last {
            fields.push_str(&format!("Last-Event-ID: {stream}-{seq}\r\n"));
        }
        fields
    }

    /// Makes a request of the session.
    fn author(&mut self, scene: &mut Scene<'_>) -> Option<(Vec<u8>, Task)> {
        if self.live_calls() >= self.depth {
            return None;
        }
        self.plan_left -= 1;
        let legacy = Tongue::Legacy;
        let dice = &mut *scene.dice;
        let errand = match dice.below(24) {
            0 | 1 => self.scribe.bad(legacy, dice),
            2 => self.scribe.trifle(dice),
            3 => {
                self.queue.push_back((errand::unasked(dice), None));
                return None;
            }
            4 => return Some(self.guess(scene)),
            5 => return Some(self.malformed(scene)),
            6 | 7 => return Some(self.batch(scene)),
            8 => {
                // The second may come while the first is in flight.
                let [first, second] = self.scribe.twins(legacy, dice);
                self.twin = Some(second);
                let posted = self.post(vec![first]);
                self.open.last_mut().into_iter().for_each(|open| open.twin = true);
                return Some(posted);
            }
            9 | 10 => {
                let live = self
                    .open
                    .iter_mut()
                    .find(|open| open.pending.departs() && !open.cancelled && !open.twin);
                let open = live?;
                open.cancelled = true;
                dice.saw(Fault::Cancelled);
                self.queue.push_back((errand::cancelled(&open.pending.id), None));
                return None;
            }
            11..15 => self.scribe.ask(dice),
            15 if self.live_calls() > 0 && dice.one_in(8) => return self.delete_early(scene),
            _ => self.scribe.good(legacy, dice),
        };
        Some(self.post(vec![errand]))
    }

    fn delete_early(&mut self, scene: &mut Scene<'_>) -> Option<(Vec<u8>, Task)> {
        self.abandons = false;
        self.end(scene)
    }

    /// A request of a session that nobody has.
    fn guess(&mut self, scene: &mut Scene<'_>) -> (Vec<u8>, Task) {
        scene.dice.saw(Fault::SessionGuessed);
        let partition = u16::try_from(scene.dice.below(4_096)).unwrap_or(0);
        let secret = u128::from(scene.dice.seed()) << 64 | u128::from(scene.dice.seed());
        let mut id = Vec::new();
        SessionId { partition, secret }.write(&mut id);
        let mut text = String::from_utf8_lossy(&id).into_owned();
        if scene.dice.one_in(4) {
            text.truncate(20);
        }
        let method = ["POST", "GET", "DELETE"][scene.dice.below(3)];
        let body = if method == "POST" { self.scribe.trifle(scene.dice).text } else { "".into() };
        (http(method, &format!("Mcp-Session-Id: {text}\r\n"), &body), Task::Guess)
    }

    /// What a session refuses.
    fn malformed(&mut self, scene: &mut Scene<'_>) -> (Vec<u8>, Task) {
        let fields = self.fields(None);
        let ones = vec!["1"; 101].join(",");
        let bytes = match scene.dice.below(5) {
            0 => http("POST", &fields, "{\"jsonrpc\":"),
            1 => http("POST", &fields, &format!("[{ones}]")),
            2 => http("GET", &format!("{fields}Last-Event-ID: 9999-1\r\n"), ""),
            3 => http("GET", &format!("{fields}Last-Event-ID: x\r\n"), ""),
            _ => {
                let body = self.scribe.trifle(scene.dice).text;
                let fields = fields.replace(self.version.name(), "1999-01-01");
                if self.version == Version::V2025_03_26 {
                    http("POST", &format!("{fields}MCP-Protocol-Version: x\r\n"), &body)
                } else {
                    http("POST", &fields, &body)
                }
            }
        };
        (bytes, Task::Bad(400))
    }

    fn batch(&mut self, scene: &mut Scene<'_>) -> (Vec<u8>, Task) {
        let count = 1 + scene.dice.below(4);
        let dice = &mut *scene.dice;
        let errands: Vec<_> = (0..count)
            .map(|_| match dice.below(3) {
                0 => self.scribe.trifle(dice),
                1 => self.scribe.ask(dice),
                _ => self.scribe.good(Tongue::Legacy, dice),
            })
            .collect();
        if self.version.batches() {
            dice.saw(Fault::Batch);
            return self.post_as(errands, true);
        }
        let texts: Vec<_> = errands.into_iter().map(|errand| errand.text).collect();
        let body = format!("[{}]", texts.join(","));
        (http("POST", &self.fields(None), &body), Task::Bad(400))
    }

    fn post(&mut self, errands: Vec<Errand>) -> (Vec<u8>, Task) {
        self.post_as(errands, false)
    }

    /// Posts a request, or several as a batch.
    fn post_as(&mut self, errands: Vec<Errand>, batch: bool) -> (Vec<u8>, Task) {
        let (mut texts, mut calls) = (Vec::new(), Vec::new());
        for Errand { text, pending } in errands {
            texts.push(text);
            calls.push(self.note_open(pending));
        }
        let texts = texts.join(",");
        let body = if batch { format!("[{texts}]") } else { texts };
        (http("POST", &self.fields(None), &body), Task::Post { calls, batch, stream: None })
    }

    fn note_open(&mut self, pending: check::Pending) -> u64 {
        self.serial += 1;
        let (serial, told) = (self.serial, Told::default());
        self.open.push(Open { serial, pending, stream: None, cancelled: false, told, twin: false });
        serial
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

fn no_call(lane: &Lane) -> bool {
    !matches!(lane.task, Some(Task::Post { .. } | Task::Notice { .. }))
}

/// Reads an event's id.
pub(crate) fn event_id(text: &str) -> Result<EventId, String> {
    EventId::parse(text.as_bytes()).ok_or_else(|| format!("no event id: {text:?}"))
}
