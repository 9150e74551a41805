//! A virtual client of a byte stream: newline-delimited JSON-RPC of either era, or of both, with
//! many calls in flight, and the checks of every line that it is sent.

use ringmesh_proto::jsonrpc::{INTERNAL_ERROR, INVALID_REQUEST, PARSE_ERROR};
use ringmesh_proto::mcp::{META_SUBSCRIPTION_ID, Version};
use serde_json::Value;

use crate::board::{Board, Listening};
use crate::check::{self, Facts, Notice, Told};
use crate::client::UNREAD_MS_MAX;
use crate::errand::{self, Errand, Manner, Scribe, Tongue};
use crate::fault::{Dice, Fault};
use crate::lane::Quiet;
use crate::link::Link;
use crate::offer::URIS;
use crate::request::{Expect, TOOLS_TOPIC};

/// What kind of client it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speech {
    Modern,
    Legacy,
    Both,
    /// Its first line is no JSON object.
    Garbage,
    /// One of its lines is too long.
    Long,
}

/// What a client does in the middle of its script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mischief {
    HalfClose,
    Reset,
}

/// A request that waits for its answer.
#[derive(Debug)]
struct Waiting {
    pending: check::Pending,
    tongue: Tongue,
    told: Told,
    /// It was cancelled: with the answer to this request it is clear that none comes.
    barrier: Option<String>,
    /// It has the id of another one in flight.
    twin: bool,
    /// Answers that refused it or its twin.
    refusals: u32,
}

/// See the module. One connection each.
#[derive(Debug)]
pub(crate) struct LineClient {
    pub(crate) shard: usize,
    pub(crate) link: usize,
    speech: Speech,
    version: Version,
    scribe: Scribe,
    /// Requests that it will still make.
    plan_left: u32,
    /// Requests in flight at once.
    depth: usize,
    outbox: Quiet,
    outbox_at: usize,
    authored: u64,
    written: u64,
    last_write_ns: u64,
    /// When the line that is not written to its end was begun.
    line_begun_ns: Option<u64>,
    /// Bytes of a line that has no end yet.
    partial: Quiet,
    /// Answers to questions: where the call begins, and where the answer ends, in what is written.
    replies: Vec<(u64, u64)>,
    waiting: Vec<Waiting>,
    /// Lines that are answered without an id.
    nameless: u32,
    modern_feed: Listening,
    legacy_feed: Listening,
    /// Subscriptions that were asked for and are not answered.
    subscribing: usize,
    /// The modern subscription was cancelled, and the barrier behind it was answered.
    feed_over: bool,
    opened: bool,
    /// A subscription was refused.
    void: bool,
    half_closed: bool,
    never_reads: bool,
    stalled: bool,
    blocked_since_ns: Option<u64>,
    dribbles: bool,
    frozen: bool,
    mischief: Option<Mischief>,
    /// The connection ends for what it was sent, or was refused.
    doomed: bool,
    pub(crate) done: bool,
    /// Responses that came.
    pub(crate) answered: u64,
}

impl LineClient {
    /// To be made before its link is connected.
    pub(crate) fn new(
        (id, shard, link): (usize, usize, usize),
        (board, dice): (&Board, &mut Dice),
        facts: &Facts<'_>,
    ) -> Self {
        let speech = match dice.below(16) {
            0..6 => Speech::Legacy,
            6..10 => Speech::Modern,
            10..14 => Speech::Both,
            14 => Speech::Garbage,
            _ => Speech::Long,
        };
        let versions = &Version::ALL[..3];
        Self {
            shard,
            link,
            speech,
            version: versions[dice.below(versions.len())],
            scribe: Scribe::new(format!("l{id}")),
            plan_left: 1 + u32::try_from(dice.below(40)).unwrap_or(0),
            depth: 1 + dice.below(12),
            outbox: Quiet::default(),
            outbox_at: 0,
            authored: 0,
            written: 0,
            last_write_ns: facts.now_ns,
            line_begun_ns: None,
            partial: Quiet::default(),
            replies: Vec::new(),
            waiting: Vec::new(),
            nameless: 0,
            modern_feed: Listening::new(board, shard),
            legacy_feed: Listening::new(board, shard),
            subscribing: 0,
            feed_over: false,
            opened: false,
            void: false,
            half_closed: false,
            never_reads: dice.strikes(Fault::NeverReads),
            stalled: false,
            blocked_since_ns: None,
            dribbles: dice.strikes(Fault::Dribble),
            frozen: false,
            mischief: None,
            doomed: false,
            done: false,
            answered: 0,
        }
    }

    /// One step of its script.
    pub(crate) fn act(
        &mut self,
        link: &mut Link,
        dice: &mut Dice,
        board: &mut Board,
        facts: &Facts<'_>,
    ) -> Result<(), String> {
        if self.done {
            return Ok(());
        }
        if !self.never_reads && dice.ready() {
            self.read(link, dice, board, facts)?;
            self.note_opened(board)?;
        }
        self.note_delivered(link, facts);
        check::patience(&mut self.blocked_since_ns, link, facts)?;
        let blind = self.never_reads && !(link.closed || link.down_reset);
        if link.is_over() && !blind {
            return self.on_end(link, (board, dice), facts);
        }
        if let Some(mischief) = self.mischief
            && !dice.healed
            && dice.one_in(4)
            && self.make_mischief(mischief, link, dice)
        {
            return Ok(());
        }
        if link.up_fin || (self.doomed && self.outbox.is_empty()) {
            return Ok(());
        }
        if self.is_listening() && !dice.healed && dice.one_in(300) {
            self.leave(link);
            return Ok(());
        }
        self.author_next(dice);
        if self.outbox_at < self.outbox.len() && !self.frozen && dice.ready() {
            self.frozen = self.dribbles && dice.one_in(150);
            self.write(link, dice, facts);
        }
        let finished = self.plan_left == 0 && self.waiting.is_empty() && self.nameless == 0;
        if finished && self.outbox.is_empty() && !self.is_listening() && dice.one_in(8) {
            self.leave(link);
        }
        Ok(())
    }

    /// Comes to its senses and to an end. Listeners stay.
    pub(crate) fn heal(&mut self) {
        self.stalled |= self.never_reads;
        self.never_reads = false;
        self.dribbles = false;
        self.frozen = false;
        self.mischief = None;
        self.plan_left = 0;
    }

    /// Sends no more.
    pub(crate) fn leave(&mut self, link: &mut Link) {
        self.half_closed = true;
        link.up_fin = true;
    }

    fn feeds(&self) -> [&Listening; 2] {
        [&self.modern_feed, &self.legacy_feed]
    }

    /// Whether it waits for changes, and nothing else.
    pub(crate) fn is_listening(&self) -> bool {
        let hears = self.feeds().iter().any(|feed| feed.is_acknowledged());
        let rests = self.waiting.iter().all(|w| matches!(w.pending.expect, Expect::Listen(_)));
        let told = self.nameless == 0 && self.outbox.is_empty() && self.subscribing == 0;
        !self.done && hears && rests && told && self.plan_left == 0 && !self.half_closed
    }

    pub(crate) fn is_busy(&self) -> bool {
        !self.done && !self.is_listening()
    }

    /// Changes that it was told.
    pub(crate) fn changes(&self) -> u64 {
        self.feeds().iter().map(|feed| feed.received()).sum()
    }

    /// All is quiet: whether it was told of every change.
    pub(crate) fn check_changes(&self, board: &Board) -> Result<(), String> {
        if !self.feed_over {
            self.modern_feed.check(board)?;
        }
        self.legacy_feed.check(board)
    }

    fn author_next(&mut self, dice: &mut Dice) {
        let live = self.waiting.iter().filter(|waiting| waiting.barrier.is_none()).count();
        if self.plan_left == 0 || live >= self.depth {
            return;
        }
        self.plan_left -= 1;
        for (fault, mischief) in
            [(Fault::LineHalfClose, Mischief::HalfClose), (Fault::LineReset, Mischief::Reset)]
        {
            if self.mischief.is_none() && dice.one_in(4) && dice.plans(fault) {
                self.mischief = Some(mischief);
            }
        }
        match self.speech {
            Speech::Garbage => return self.author_garbage(dice),
            Speech::Long if dice.one_in(3) || self.plan_left == 0 => {
                dice.saw(Fault::LongLine);
                let long = "x".repeat(40_000);
                self.push(&format!("{{\"jsonrpc\":\"2.0\",\"x\":\"{long}\"}}"));
                (self.plan_left, self.doomed) = (0, true);
                return;
            }
            _ => {}
        }
        let legacy = matches!(self.speech, Speech::Legacy | Speech::Both);
        if legacy && !self.opened {
            return self.open(dice);
        }
        let modern = match self.speech {
            Speech::Modern | Speech::Long => true,
            Speech::Both => dice.one_in(2),
            Speech::Legacy | Speech::Garbage => false,
        };
        if modern && self.speech == Speech::Both {
            dice.saw(Fault::BothEras);
        }
        if modern { self.author_modern(dice) } else { self.author_legacy(dice) }
    }

    fn author_garbage(&mut self, dice: &mut Dice) {
        dice.saw(Fault::GarbageLine);
        let lines = [
            "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}",
            "",
            "[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}]",
            "{\"jsonrpc\":",
            "\u{16}\u{3}\u{1}",
        ];
        self.push(lines[dice.below(lines.len())]);
        (self.plan_left, self.doomed) = (0, true);
    }

    /// Opens the session, and subscribes to what it will hear of.
    fn open(&mut self, dice: &mut Dice) {
        self.opened = true;
        let hello = self.scribe.initialize(self.version, dice);
        self.ask(hello, Tongue::Legacy);
        self.push("{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}");
        let mut topics: Vec<usize> = (0..URIS.len()).filter(|_| dice.one_in(3)).collect();
        self.subscribing = topics.len();
        for &topic in &topics {
            let subscribe = self.scribe.subscribe(topic, dice);
            self.ask(subscribe, Tongue::Legacy);
        }
        topics.push(TOOLS_TOPIC);
        self.legacy_feed.ask_early(&topics, self.shard);
    }

    fn author_modern(&mut self, dice: &mut Dice) {
        let modern = Tongue::Modern;
        let listens = self.modern_feed.topics().is_empty();
        match dice.below(16) {
            0 => {
                let errand = self.scribe.bad(modern, dice);
                self.ask(errand, modern);
            }
            1 => self.author_malformed(dice),
            2 | 3 => self.author_cancelled(modern, dice),
            4 => self.author_twins(modern, dice),
            5 if self.speech == Speech::Modern => {
                let errand = self.scribe.unopened(dice);
                self.ask(errand, modern);
            }
            6 | 7 if listens => {
                let mut topics: Vec<usize> = (0..URIS.len()).filter(|_| dice.one_in(2)).collect();
                topics.push(TOOLS_TOPIC);
                self.modern_feed.ask(&topics);
                let errand = self.scribe.listen(&topics, dice);
                self.ask(errand, modern);
            }
            8 => self.end_subscription(dice),
            _ => {
                let errand = self.scribe.good(modern, dice);
                self.ask(errand, modern);
            }
        }
    }

    fn author_legacy(&mut self, dice: &mut Dice) {
        let legacy = Tongue::Legacy;
        match dice.below(16) {
            0 => {
                let errand = self.scribe.bad(legacy, dice);
                self.ask(errand, legacy);
            }
            1 => self.author_malformed(dice),
            2 => self.author_cancelled(legacy, dice),
            3 => self.author_twins(legacy, dice),
            4 | 5 => {
                let errand = self.scribe.trifle(dice);
                self.ask(errand, legacy);
            }
            6..9 => {
                let errand = self.scribe.ask(dice);
                self.ask(errand, legacy);
            }
            9 => self.push(&errand::unasked(dice)),
            10 => self.author_batch(dice),
            _ => {
                let errand = self.scribe.good(legacy, dice);
                self.ask(errand, legacy);
            }
        }
    }

    fn author_malformed(&mut self, dice: &mut Dice) {
        if self.authored == 0 {
            return;
        }
        let lines = ["nonsense", "{\"jsonrpc\":\"2.0\",\"id\":1,", "[1,", ""];
        let line = lines[dice.below(lines.len())];
        self.nameless += u32::from(!line.is_empty());
        self.push(line);
    }

    /// A call that is cancelled behind its back, with a request that shows that it is.
    fn author_cancelled(&mut self, tongue: Tongue, dice: &mut Dice) {
        let errand = self.scribe.pooled(tongue, dice);
        let id = errand.pending.id.clone();
        self.ask(errand, tongue);
        dice.saw(Fault::Cancelled);
        self.cancel(&id, tongue, dice);
    }

    fn cancel(&mut self, id: &str, tongue: Tongue, dice: &mut Dice) -> String {
        self.push(&errand::cancelled(id));
        let barrier = self.scribe.add(tongue, dice);
        let barrier_id = barrier.pending.id.clone();
        let cancelled = self.waiting.iter_mut().find(|waiting| waiting.pending.id == id);
        if let Some(waiting) = cancelled {
            waiting.barrier = Some(barrier_id.clone());
        }
        self.ask(barrier, tongue);
        barrier_id
    }

    fn end_subscription(&mut self, dice: &mut Dice) {
        let listens = |waiting: &&Waiting| matches!(waiting.pending.expect, Expect::Listen(_));
        let Some(waiting) = self.waiting.iter().find(listens) else { return };
        if !self.modern_feed.is_acknowledged() || waiting.barrier.is_some() {
            return;
        }
        let id = waiting.pending.id.clone();
        dice.saw(Fault::CancelledSubscription);
        self.cancel(&id, Tongue::Modern, dice);
    }

    /// Two calls with one id: the second is refused for as long as the first runs.
    fn author_twins(&mut self, tongue: Tongue, dice: &mut Dice) {
        self.scribe.twins(tongue, dice).into_iter().for_each(|errand| self.ask(errand, tongue));
        let count = self.waiting.len();
        self.waiting[count - 2..].iter_mut().for_each(|waiting| waiting.twin = true);
    }

    fn author_batch(&mut self, dice: &mut Dice) {
        if !self.version.batches() || dice.one_in(8) {
            let ones = vec!["1"; 101].join(",");
            self.push(&format!("[{ones}]"));
            self.nameless += 1;
            return;
        }
        dice.saw(Fault::Batch);
        let mut texts = vec![errand::unasked(dice)];
        for _ in 0..1 + dice.below(4) {
            let Errand { text, pending } = if dice.one_in(3) {
                self.scribe.trifle(dice)
            } else {
                self.scribe.good(Tongue::Legacy, dice)
            };
            texts.push(text);
            self.wait_for(pending, Tongue::Legacy);
        }
        self.push(&format!("[{}]", texts.join(",")));
        // The answers are owed from the end of the line on.
        let (start, end) = (self.authored - 1, self.authored);
        for waiting in self.waiting.iter_mut().filter(|waiting| waiting.pending.end == 0) {
            (waiting.pending.start, waiting.pending.end) = (start, end);
        }
    }

    fn ask(&mut self, errand: Errand, tongue: Tongue) {
        let Errand { text, mut pending } = errand;
        pending.start = self.authored;
        self.push(&text);
        pending.end = self.authored;
        self.wait_for(pending, tongue);
    }

    fn wait_for(&mut self, pending: check::Pending, tongue: Tongue) {
        let (told, barrier, twin) = (Told::default(), None, false);
        self.waiting.push(Waiting { pending, tongue, told, barrier, twin, refusals: 0 });
    }

    fn push(&mut self, line: &str) {
        self.outbox.extend(line.bytes());
        self.outbox.push(b'\n');
        self.authored += line.len() as u64 + 1;
    }

    fn write(&mut self, link: &mut Link, dice: &mut Dice, facts: &Facts<'_>) {
        let rest = &self.outbox[self.outbox_at..];
        let len = if self.dribbles {
            1 + dice.below(rest.len().min(12))
        } else if dice.healed || dice.one_in(2) {
            rest.len()
        } else {
            1 + dice.below(rest.len())
        };
        let taken = link.write(&rest[..len]);
        if taken == 0 {
            return;
        }
        let sent = &rest[..taken];
        let now_ns = facts.now_ns;
        let bounds = self.written..self.written + taken as u64;
        for waiting in &mut self.waiting {
            if bounds.contains(&waiting.pending.start) {
                waiting.pending.begun_ns = now_ns;
            }
        }
        // Where the last line that has begun did so.
        match sent.iter().rposition(|&byte| byte == b'\n') {
            // It may be read later, and in pieces.
            Some(end) if end + 1 == taken && self.doomed => {}
            Some(end) if end + 1 == taken => self.line_begun_ns = None,
            Some(_) => self.line_begun_ns = Some(now_ns),
            None => self.line_begun_ns = self.line_begun_ns.or(Some(now_ns)),
        }
        if self.doomed {
            self.line_begun_ns = self.line_begun_ns.or(Some(now_ns));
        }
        self.outbox_at += taken;
        self.written += taken as u64;
        self.last_write_ns = now_ns;
        if self.outbox_at == self.outbox.len() {
            self.outbox.clear();
            self.outbox_at = 0;
        }
    }

    /// Whether it did it now.
    fn make_mischief(&mut self, mischief: Mischief, link: &mut Link, dice: &mut Dice) -> bool {
        match mischief {
            Mischief::HalfClose if self.outbox.is_empty() && !self.waiting.is_empty() => {
                dice.saw(Fault::LineHalfClose);
                self.waiting.iter_mut().for_each(|waiting| waiting.told.unable = true);
                self.leave(link);
            }
            Mischief::Reset if !self.waiting.is_empty() => {
                dice.saw(Fault::LineReset);
                link.break_down();
                self.done = true;
            }
            Mischief::HalfClose | Mischief::Reset => return false,
        }
        self.mischief = None;
        true
    }

    fn read(
        &mut self,
        link: &mut Link,
        dice: &mut Dice,
        board: &mut Board,
        facts: &Facts<'_>,
    ) -> Result<(), String> {
        if link.down.is_empty() || link.down_reset {
            return Ok(());
        }
        let all = link.down.len();
        let len = if dice.healed || dice.one_in(2) { all } else { 1 + dice.below(all) };
        self.partial.extend(link.down.drain(..len));
        while let Some(end) = self.partial.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.partial.drain(..=end).collect();
            let message = check::parse(&line)?;
            self.on_message(&message, (board, dice), facts)?;
        }
        Ok(())
    }

    fn on_message(
        &mut self,
        message: &Value,
        (board, dice): (&mut Board, &mut Dice),
        facts: &Facts<'_>,
    ) -> Result<(), String> {
        match (message.get("method"), message.get("id")) {
            (Some(_), Some(_)) => self.on_question(message, dice),
            (Some(_), None) => self.on_notification(message, board),
            (None, None | Some(Value::Null)) => self.on_nameless(message, facts),
            (None, Some(id)) => self.on_response(&id.to_string(), message, dice, facts),
        }
    }

    fn on_question(&mut self, message: &Value, dice: &mut Dice) -> Result<(), String> {
        let (id, key, question) = check::question(message)?;
        let whose = self.waiting.iter_mut().find(|waiting| {
            matches!(&waiting.pending.expect, Expect::Asked { arguments, .. }
                if arguments.contains(&key))
        });
        let waiting = whose.ok_or_else(|| format!("a question of nobody: {message}"))?;
        let manner = Manner::draw(dice);
        check::tell(&mut waiting.told, manner, dice);
        let times = check::times(manner);
        let reply = errand::reply(id, &key, &question, manner);
        let call = waiting.pending.start;
        if !self.half_closed {
            for _ in 0..times {
                self.push(&reply);
                self.replies.push((call, self.authored));
            }
        }
        Ok(())
    }

    fn on_notification(&mut self, message: &Value, board: &mut Board) -> Result<(), String> {
        let params = &message["params"];
        let subscription = params["_meta"].get(META_SUBSCRIPTION_ID).map(ToString::to_string);
        if let Some(id) = subscription.or_else(|| params.get("progressToken").map(Value::to_string))
        {
            let found = self.waiting.iter_mut().find(|waiting| waiting.pending.id == id);
            let waiting = found.ok_or_else(|| format!("for nobody: {message}"))?;
            return match check::notice(&waiting.pending, message)? {
                Notice::Acknowledged => self.modern_feed.acknowledge(board),
                Notice::Change(topic) => self.modern_feed.receive(topic, board),
                Notice::Progress(progress) if progress > waiting.pending.progress => {
                    waiting.pending.progress = progress;
                    Ok(())
                }
                Notice::Progress(progress) => Err(format!("progress {progress} is out of order")),
            };
        }
        self.legacy_feed.receive(check::change(message)?, board)
    }

    /// An error that names no request.
    fn on_nameless(&mut self, message: &Value, facts: &Facts<'_>) -> Result<(), String> {
        let said = message["error"]["message"].as_str().unwrap_or_default();
        let code = &message["error"]["code"];
        let partial_ms = self.line_begun_ns.map_or(0, |since_ns| facts.waited_ms(since_ns));
        let ends = (said.contains("no further connections") && self.answered == 0)
            || (said.contains("line is too long") && self.speech == Speech::Long && self.doomed)
            || (said.contains("body took too long") && partial_ms >= facts.limits.body_timeout_ms)
            || (said.contains("out of buffers") && facts.tight_budget);
        if ends {
            self.doomed = true;
            self.plan_left = 0;
            return Ok(());
        }
        if self.speech == Speech::Garbage {
            return Err(format!("garbage was answered: {message}"));
        }
        let refused = *code == PARSE_ERROR || *code == INVALID_REQUEST;
        self.nameless = self
            .nameless
            .checked_sub(1)
            .filter(|_| refused)
            .ok_or_else(|| format!("an error for nobody: {message}"))?;
        Ok(())
    }

    fn on_response(
        &mut self,
        id: &str,
        message: &Value,
        dice: &mut Dice,
        facts: &Facts<'_>,
    ) -> Result<(), String> {
        self.answered += 1;
        let in_flight = message["error"]["message"] == "a request with this id is in flight";
        let mut wrong = format!("an answer to nothing: {message}");
        let mut at = None;
        for (place, waiting) in self.waiting.iter().enumerate() {
            if waiting.pending.id != id {
                continue;
            }
            // Of twins, whichever the answer fits.
            let fits = if (in_flight && waiting.twin)
                || check::is_busy(&waiting.pending, message, facts)
            {
                Ok(())
            } else {
                check::asked(&waiting.pending, message, waiting.told, facts)
                    .and_then(|()| check::form(message, waiting.tongue == Tongue::Legacy))
            };
            match fits {
                Ok(()) => at = at.or(Some(place)),
                Err(what) => wrong = format!("{what}; waiting for {waiting:?}"),
            }
        }
        let at = at.ok_or(wrong)?;
        if self.waiting[at].twin && message.get("error").is_some() {
            return self.on_twin_refused(at, in_flight, dice);
        }
        let waiting = self.waiting.remove(at);
        if waiting.twin {
            // With the other one's refusal, this was the answer to both.
            let other = self.waiting.iter().find(|other| other.pending.id == id);
            if waiting.refusals + other.map_or(0, |other| other.refusals) > 0 {
                self.waiting.retain(|other| other.pending.id != id);
            }
        }
        self.on_answered(&waiting, message);
        Ok(())
    }

    /// One of two with the same id: which, only the other's answer shows.
    fn on_twin_refused(
        &mut self,
        at: usize,
        in_flight: bool,
        dice: &mut Dice,
    ) -> Result<(), String> {
        if in_flight {
            dice.saw(Fault::DuplicateId);
        }
        let id = self.waiting[at].pending.id.clone();
        let mut twins = self.waiting.iter_mut().filter(|waiting| waiting.pending.id == id);
        let first = twins.next().ok_or("it was just found")?;
        first.refusals += 1;
        let both = first.refusals == 2;
        if both || (twins.next().is_none() && first.refusals == 1) {
            self.waiting.retain(|waiting| waiting.pending.id != id);
        }
        Ok(())
    }

    fn on_answered(&mut self, answered: &Waiting, message: &Value) {
        let id = answered.pending.id.as_str();
        let feed_over = |waiting: &Waiting| matches!(waiting.pending.expect, Expect::Listen(_));
        let behind = |waiting: &Waiting| waiting.barrier.as_deref() == Some(id);
        self.feed_over |= self.waiting.iter().any(|w| behind(w) && feed_over(w));
        self.waiting.retain(|waiting| !behind(waiting));
        if matches!(answered.pending.expect, Expect::Listen(_)) {
            self.feed_over = true;
        }
        if matches!(answered.pending.expect, Expect::Empty) && self.subscribing > 0 {
            self.subscribing -= 1;
            if message["error"]["code"] == INTERNAL_ERROR {
                // Not everything was subscribed to: what comes is not held against it.
                self.void = true;
            }
        }
    }

    /// Notes which answers to questions the shard has.
    fn note_delivered(&mut self, link: &Link, facts: &Facts<'_>) {
        let waiting = &mut self.waiting;
        self.replies.retain(|&(call, end)| {
            let arrived = end <= link.consumed;
            let asker = waiting.iter_mut().find(|waiting| waiting.pending.start == call);
            asker.into_iter().filter(|_| arrived).for_each(|w| w.told.deliver(facts.now_ns));
            !arrived
        });
    }

    /// Notes when the client knows that it hears of everything it asked for.
    fn note_opened(&mut self, board: &Board) -> Result<(), String> {
        let waits = self
            .waiting
            .iter()
            .any(|waiting| matches!(waiting.pending.expect, Expect::Hello(_) | Expect::Empty));
        let asked = !self.legacy_feed.topics().is_empty() && self.subscribing == 0 && !waits;
        if asked && !self.void && !self.legacy_feed.is_acknowledged() {
            return self.legacy_feed.acknowledge(board);
        }
        Ok(())
    }

    /// The shard ended the connection: was it right?
    fn on_end(
        &mut self,
        link: &mut Link,
        (board, dice): (&mut Board, &mut Dice),
        facts: &Facts<'_>,
    ) -> Result<(), String> {
        if !link.down_reset {
            self.read(link, dice, board, facts)?;
        }
        self.done = true;
        let left_early = !link.up_fin;
        link.up_fin = true;
        let cut = facts.draining && !link.polite;
        let slow = self.never_reads || self.stalled;
        if link.excused || slow || facts.tight_budget || cut || self.doomed {
            return Ok(());
        }
        let owed = link.owed();
        let lapsed = |waiting: &&Waiting| {
            waiting.barrier.is_none() && !matches!(waiting.pending.expect, Expect::Listen(_))
        };
        let mut open = self.waiting.iter().filter(lapsed);
        if let Some(waiting) = open.clone().find(|waiting| waiting.pending.end <= owed) {
            let Link { polite, down_reset, .. } = link;
            return Err(format!(
                "never answered (FIN {polite}, reset {down_reset}, {owed} bytes read): {waiting:?}"
            ));
        }
        let unread = open.find(|waiting| waiting.pending.start < self.written);
        if let Some(waiting) = unread
            && !facts.draining
            && !self.half_closed
            && facts.waited_ms(waiting.pending.begun_ns) > UNREAD_MS_MAX
        {
            return Err(format!("shown out with a request that was not read: {waiting:?}"));
        }
        if !self.partial.is_empty() {
            return Err("the connection ends within a line".into());
        }
        let idle_ms = facts.waited_ms(self.last_write_ns);
        let silent = self.answered == 0 && idle_ms >= facts.limits.idle_timeout_ms;
        if left_early && !facts.draining && !silent && unread.is_none() {
            return Err(format!("shown out after {idle_ms} ms"));
        }
        Ok(())
    }
}
