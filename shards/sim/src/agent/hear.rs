//! What the client of a legacy session makes of what it is told: the checks of every response, event
//! and end of a connection.

use ringmesh_proto::jsonrpc::INVALID_REQUEST;
use serde_json::Value;

use super::{Agent, Feed, Open, Stage, event_id};
use crate::check::{self, Facts, Notice};
use crate::fault::Fault;
use crate::lane::{Lane, Scene, Task};
use crate::reader::{Head, Item};
use crate::request::Expect;

impl Agent {
    pub(crate) fn on_item(
        &mut self,
        lane: &mut Lane,
        item: Item,
        scene: &mut Scene<'_>,
    ) -> Result<(), String> {
        if lane.gone {
            return Ok(());
        }
        if lane.replaced {
            // Its events come again on the connection that took its stream.
            if let Item::End(_) = item {
                lane.leave(scene);
            }
            return Ok(());
        }
        match item {
            Item::Interim => Err("100 Continue for nobody".into()),
            Item::Head(head) => self.on_head(lane, head, scene),
            Item::Prime(id) => self.on_prime(lane, &id),
            Item::Retry if !self.version.polls() => Err("this version does not poll".into()),
            Item::Retry => {
                scene.dice.saw(Fault::StreamClosed);
                lane.retry = true;
                Ok(())
            }
            Item::Event(None, _) => Err("an event without an id".into()),
            Item::Event(Some(id), data) => {
                let stream = self.advance(lane, &id, 1)?;
                self.on_event(stream, &check::parse(&data)?, scene)
            }
            Item::End(body) => self.on_end(lane, &body, scene),
        }
    }

    fn on_head(&mut self, lane: &mut Lane, head: Head, scene: &Scene<'_>) -> Result<(), String> {
        let Some(task) = &lane.task else {
            let crowded = head.status == 503 && head.close && lane.answered == 0;
            lane.gone = crowded;
            return if crowded { Ok(()) } else { Err("a response for nobody".into()) };
        };
        let streams = matches!(task, Task::Post { .. } | Task::Get { .. });
        if head.events && !streams {
            return Err("events for what asks for none".into());
        }
        if head.events && head.status != 200 {
            return Err(format!("events with status {}", head.status));
        }
        if head.events
            && let Task::Get { stream: 0, .. } = task
        {
            self.feed = Feed::Open;
            if !self.listening.is_acknowledged() {
                self.listening.acknowledge(scene.board)?;
            }
        }
        if head.events {
            self.used_ns = self.used_ns.max(lane.begun_ns);
        }
        lane.head = Some(head);
        Ok(())
    }

    /// The event that says where a stream begins.
    fn on_prime(&mut self, lane: &mut Lane, id: &str) -> Result<(), String> {
        if !self.version.polls() {
            return Err("this version has no events without data".into());
        }
        let event = event_id(id)?;
        if let Some(Task::Get { stream: 0, fresh: true }) = lane.task
            && event.stream == 0
        {
            self.seen.insert(0, event.seq);
            return Ok(());
        }
        self.advance(lane, id, 0).map(drop)
    }

    /// Checks the number of an event, and gives its stream.
    fn advance(&mut self, lane: &mut Lane, id: &str, step: u32) -> Result<u32, String> {
        let event = event_id(id)?;
        let known = self.seen.get(&event.stream).copied();
        let (expected, wanted) = match &mut lane.task {
            Some(Task::Post { calls, stream: stream @ None, .. }) => {
                if known.is_some() || event.stream == 0 {
                    return Err(format!("event {id} is of the stream of another request"));
                }
                *stream = Some(event.stream);
                let open = self.open.iter_mut().filter(|open| calls.contains(&open.serial));
                open.for_each(|open| open.stream = Some(event.stream));
                (event.stream, step)
            }
            Some(Task::Post { stream: Some(stream), .. } | Task::Get { stream, .. }) => {
                (*stream, known.map_or(event.seq, |last| last + 1))
            }
            _ => return Err(format!("event {id} for nobody")),
        };
        if event.stream != expected || event.seq != wanted {
            return Err(format!("event id {id} instead of {expected}-{wanted}"));
        }
        self.seen.insert(event.stream, event.seq);
        Ok(event.stream)
    }

    fn on_event(
        &mut self,
        stream: u32,
        message: &Value,
        scene: &mut Scene<'_>,
    ) -> Result<(), String> {
        if let Some(withdrawn) = check::withdrawal(message, &mut self.asked) {
            return withdrawn;
        }
        match (message.get("method"), message.get("id")) {
            (Some(_), Some(_)) => self.on_question(message, stream, scene),
            (Some(_), None) if stream == 0 => {
                self.listening.receive(check::change(message)?, scene.board)
            }
            (Some(_), None) => self.on_progress(stream, message),
            (None, _) => {
                let at = self.find(message, |open| open.stream == Some(stream))?;
                self.on_answer(at, message, scene)
            }
        }
    }

    fn on_progress(&mut self, stream: u32, message: &Value) -> Result<(), String> {
        let token = message["params"]["progressToken"].to_string();
        let found = self
            .open
            .iter_mut()
            .find(|open| open.stream == Some(stream) && open.pending.id == token);
        let open = found.ok_or_else(|| format!("somebody else's: {message}"))?;
        match check::notice(&open.pending, message)? {
            Notice::Progress(progress) if progress > open.pending.progress => {
                open.pending.progress = progress;
                Ok(())
            }
            _ => Err(format!("out of order: {message}")),
        }
    }

    /// The call that a response answers.
    fn find(&self, message: &Value, whose: impl Fn(&Open) -> bool) -> Result<usize, String> {
        let id = message["id"].to_string();
        let found = self.open.iter().position(|open| whose(open) && open.pending.id == id);
        found.ok_or_else(|| format!("an answer to nothing asked here: {message}"))
    }

    fn on_answer(
        &mut self,
        at: usize,
        message: &Value,
        scene: &mut Scene<'_>,
    ) -> Result<(), String> {
        let open = self.open.remove(at);
        self.answered += 1;
        if open.twin && message["error"]["code"] == INVALID_REQUEST {
            scene.dice.saw(Fault::DuplicateId);
            return Ok(());
        }
        let facts = scene.facts(self.home);
        if check::is_busy(&open.pending, message, &facts) {
            return Ok(());
        }
        // A session that ends takes its calls with it.
        if self.stage != Stage::Open && self.stage != Stage::New {
            return Ok(());
        }
        if matches!(open.pending.expect, Expect::Panic) {
            scene.dice.saw(Fault::InlinePanic);
        }
        check::form(message, true)?;
        check::asked(&open.pending, message, open.told, &facts)
            .map_err(|what| format!("{what}; waiting for {open:?}"))?;
        if matches!(open.pending.expect, Expect::Empty)
            && let Feed::Subscribing(left) = self.feed
        {
            self.feed = Feed::Subscribing(left.saturating_sub(1));
        }
        Ok(())
    }

    /// A response is complete.
    fn on_end(
        &mut self,
        lane: &mut Lane,
        body: &[u8],
        scene: &mut Scene<'_>,
    ) -> Result<(), String> {
        let head = lane.head.take().ok_or("a body without a head")?;
        let task = lane.task.take().ok_or("a response for nobody")?;
        lane.answered += 1;
        let message = if body.is_empty() { Value::Null } else { check::parse(body)? };
        if head.close {
            lane.leave(scene);
        }
        if head.events {
            return self.on_stream_end(lane, &task, scene);
        }
        let facts = scene.facts(self.home);
        match head.status {
            503 | 429 => return self.on_busy(lane, &head, (task, &message), scene),
            408 => {
                let least_ms = facts.limits.head_timeout_ms.min(facts.limits.body_timeout_ms);
                if scene.facts(lane.shard).waited_ms(lane.here_ns) < least_ms || !head.close {
                    return Err("timed out too early".into());
                }
                lane.task = Some(task);
                self.lose(lane, scene);
                return Ok(());
            }
            404 => return self.on_gone(lane, &task, &facts),
            _ => {}
        }
        if !matches!(task, Task::Guess | Task::Bad(_)) {
            self.used_ns = self.used_ns.max(lane.begun_ns);
        }
        self.on_plain(&head, (task, &message), lane, scene)
    }

    fn on_plain(
        &mut self,
        head: &Head,
        (task, message): (Task, &Value),
        lane: &Lane,
        scene: &mut Scene<'_>,
    ) -> Result<(), String> {
        let wrong = || Err(format!("status {} for {task:?}: {message}", head.status));
        match (&task, head.status) {
            (Task::Hello, 200) => self.on_hello(head, message, lane, scene),
            (Task::Post { calls, batch: false, .. }, 200) => {
                let at = self.find(message, |open| calls.contains(&open.serial))?;
                self.on_answer(at, message, scene)
            }
            (Task::Notice { call }, 202) => {
                let now_ns = scene.facts(self.home).now_ns;
                let asker = self.open.iter_mut().find(|open| Some(open.serial) == *call);
                asker.into_iter().for_each(|open| open.told.deliver(now_ns));
                Ok(())
            }
            (Task::Bad(status), _) if *status == head.status => Ok(()),
            (Task::Delete, 200) => {
                self.end_session();
                Ok(())
            }
            (Task::Get { stream, .. }, 204) => {
                let missing =
                    self.open.iter().any(|open| open.stream == Some(*stream) && !open.cancelled);
                if missing { wrong() } else { Ok(()) }
            }
            (Task::Get { stream, fresh: false }, 410) => {
                if scene.terms.roomy_logs && !scene.terms.tight_budget {
                    return Err(format!("stream {stream} was lost within the bounds of its log"));
                }
                scene.dice.saw(Fault::FellOut);
                self.open.retain(|open| open.stream != Some(*stream));
                if *stream == 0 {
                    self.feed = Feed::Over;
                }
                Ok(())
            }
            (Task::Get { stream, fresh: false }, 400) => {
                let last = self.seen.get(stream).copied().unwrap_or(0);
                Err(format!("event {stream}-{last} was given and is not known: {message}"))
            }
            _ => wrong(),
        }
    }

    fn on_hello(
        &mut self,
        head: &Head,
        message: &Value,
        lane: &Lane,
        scene: &mut Scene<'_>,
    ) -> Result<(), String> {
        let session = head.session.clone().ok_or("no session id")?;
        let id = ringmesh_proto::mcp::SessionId::parse(session.as_bytes()).ok_or("no id")?;
        if usize::from(id.partition) % scene.nodes.len() != lane.shard {
            return Err(format!("session {session} is not of shard {}", lane.shard));
        }
        let at = self.find(message, |_| true)?;
        self.on_answer(at, message, scene)?;
        self.session = Some(session);
        self.stage = Stage::Open;
        let topics = self.listening.topics().to_vec();
        self.listening.ask_early(&topics, self.home);
        Ok(())
    }

    /// There is no room now.
    fn on_busy(
        &mut self,
        lane: &mut Lane,
        head: &Head,
        (task, message): (Task, &Value),
        scene: &mut Scene<'_>,
    ) -> Result<(), String> {
        if !head.retry_after {
            return Err("no word when to try again".into());
        }
        let said = message["error"]["message"].as_str().unwrap_or_default();
        let stops = scene.drains() && said.contains("stopping");
        let tight = scene.terms.tight_budget && said.contains("out of buffers");
        let crowded = message.is_null() && head.close && lane.answered == 1;
        let far = said.contains("the shard of the session is busy")
            && (lane.shard != self.home || task == Task::Guess);
        if far {
            scene.dice.saw(Fault::ForwardRefused);
        }
        let fits = match &task {
            Task::Hello => said.contains("sessions"),
            Task::Get { .. } => said.contains("no further streams"),
            Task::Post { calls, .. } => {
                let mut open = self.open.iter().filter(|open| calls.contains(&open.serial));
                open.any(|open| check::is_busy(&open.pending, message, &scene.facts(self.home)))
            }
            Task::Bad(_) => said.contains("no further streams"),
            Task::Notice { .. } | Task::Delete | Task::Guess => false,
        };
        if !(fits || stops || tight || crowded || far) {
            return Err(format!("refused though nothing is short: {task:?}: {message}"));
        }
        if matches!(task, Task::Notice { call: None }) {
            return Ok(());
        }
        if matches!(task, Task::Post { .. }) && self.feed != Feed::Open {
            // It may have been a subscription: then not everything is heard.
            self.feed = Feed::Over;
        }
        let stays = !lane.gone;
        lane.task = Some(task);
        self.lose(lane, scene);
        lane.gone = !stays || self.done;
        Ok(())
    }

    /// There is no such session.
    fn on_gone(&mut self, lane: &Lane, task: &Task, facts: &Facts<'_>) -> Result<(), String> {
        if *task == Task::Guess || self.stage != Stage::Open {
            if *task == Task::Delete {
                self.end_session();
            }
            return Ok(());
        }
        let unused_ms = facts.waited_ms(lane.used_ns);
        if unused_ms < facts.limits.session_timeout_ms || matches!(task, Task::Hello) {
            return Err(format!("the session was lost after {unused_ms} ms: {task:?}"));
        }
        self.end_session();
        Ok(())
    }

    fn end_session(&mut self) {
        self.stage = Stage::Ended;
        // What other connections are sent of them may be on its way.
        self.open.iter_mut().for_each(|open| open.cancelled = true);
        self.resume.clear();
        self.feed = Feed::Over;
    }

    /// An event stream ended as it should: was nothing missing?
    fn on_stream_end(
        &mut self,
        lane: &Lane,
        task: &Task,
        scene: &mut Scene<'_>,
    ) -> Result<(), String> {
        let ended = self.stage != Stage::Open;
        match task {
            Task::Get { stream: 0, .. } if ended || scene.drains() => {
                self.feed = Feed::Over;
                Ok(())
            }
            Task::Get { stream: 0, .. } if self.contested.contains(&0) => {
                self.feed = Feed::Wanted;
                Ok(())
            }
            Task::Get { stream: 0, .. } => Err("the stream of GET ended by itself".into()),
            Task::Post { stream, calls, .. } => {
                let waits = |open: &&Open| calls.contains(&open.serial) && !open.cancelled;
                let missing = self.open.iter().find(waits);
                match (missing, *stream) {
                    (Some(_), Some(stream)) if lane.retry && !ended => {
                        self.come_back(stream);
                        Ok(())
                    }
                    (Some(open), _) if !ended => {
                        Err(format!("a stream ended without the answer to {open:?}"))
                    }
                    _ => Ok(()),
                }
            }
            Task::Get { stream, .. } => {
                let waits = |open: &&Open| open.stream == Some(*stream) && !open.cancelled;
                match self.open.iter().find(waits) {
                    Some(_) if (lane.retry || self.contested.contains(stream)) && !ended => {
                        self.come_back(*stream);
                        Ok(())
                    }
                    Some(open) if !ended => {
                        Err(format!("stream {stream} ended without the answer to {open:?}"))
                    }
                    _ => Ok(()),
                }
            }
            _ => Err("events for what asks for none".into()),
        }
    }

    /// Whether the lane waits for calls that ask their client nothing.
    fn waits_for_tools(&self, lane: &Lane) -> bool {
        let Some(Task::Post { calls, .. }) = &lane.task else { return false };
        let asks = |open: &Open| matches!(open.pending.expect, Expect::Asked { .. });
        self.open.iter().any(|open| calls.contains(&open.serial) && !open.cancelled)
            && !self.open.iter().any(|open| calls.contains(&open.serial) && asks(open))
    }

    /// The shard ended a connection: was it right?
    pub(crate) fn on_lane_end(
        &mut self,
        lane: &mut Lane,
        scene: &mut Scene<'_>,
    ) -> Result<(), String> {
        let read = lane.was_read(scene);
        let facts = scene.facts(lane.shard);
        let drains = scene.drains();
        let tight = scene.terms.tight_budget;
        let link = lane.link(scene);
        let (excused, polite, left) = (link.excused, link.polite, link.up_fin);
        link.up_fin = true;
        let waited_ms = facts.waited_ms(lane.here_ns);
        let owes = lane.task.is_some() && read && !lane.replaced;
        if owes && !excused && !left && !tight && !drains {
            return Err(format!("never answered (FIN {polite}) for {waited_ms} ms"));
        }
        // Each of these calls has its time, which ends before the shard's.
        let hangs = drains && facts.slack_ms == 0 && self.waits_for_tools(lane);
        let over_ms = facts.limits.tool_timeout_ms + 1_500;
        if owes && hangs && !excused && !left && !tight && waited_ms > over_ms {
            return Err(format!("left hanging for {waited_ms} ms while the server stops"));
        }
        let idles = lane.task.is_none() && !excused && !left && !tight && !drains;
        if idles && waited_ms < facts.limits.idle_timeout_ms && lane.answered > 0 {
            return Err(format!("shown out after {waited_ms} ms"));
        }
        self.lose(lane, scene);
        Ok(())
    }
}
