//! What the client of a legacy session asks for.

use ringmesh_proto::mcp::{SessionId, Version};

use super::{Agent, Feed, Open, Stage};
use crate::check::{self, Told};
use crate::errand::{self, Errand, Tongue};
use crate::fault::Fault;
use crate::lane::{Lane, Scene, Task, http};
use crate::request::Expect;

impl Agent {
    pub(super) fn next_request(&mut self, scene: &mut Scene<'_>) -> Option<(Vec<u8>, Task)> {
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

    pub(super) fn note_open(&mut self, pending: check::Pending) -> u64 {
        self.serial += 1;
        let (serial, told) = (self.serial, Told::default());
        self.open.push(Open { serial, pending, stream: None, cancelled: false, told, twin: false });
        serial
    }
}

fn no_call(lane: &Lane) -> bool {
    !matches!(lane.task, Some(Task::Post { .. } | Task::Notice { .. }))
}
