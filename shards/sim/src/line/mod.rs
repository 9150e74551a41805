//! A virtual client of a byte stream: newline-delimited JSON-RPC of either era, or of both, with
//! many calls in flight, and the checks of every line that it is sent.

mod author;
mod hear;

use std::collections::BTreeSet;

use ringmesh_proto::mcp::Version;

use crate::board::{Board, Listening};
use crate::check::{self, Facts, Told};
use crate::errand::{Scribe, Tongue};
use crate::fault::{Dice, Fault};
use crate::lane::Quiet;
use crate::link::Link;
use crate::request::Expect;

/// How much longer a shard may see a line take than its client, ms: it reads it later.
const DAWDLE_MS: u64 = 700;

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
    /// Questions of the server that it did not withdraw.
    asked: BTreeSet<u64>,
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
    /// A line took about as long as the shard has patience.
    dawdled: bool,
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
            asked: BTreeSet::new(),
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
            dawdled: false,
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
        let since_ns = self.line_begun_ns;
        let took_ms = since_ns.map_or(0, |since_ns| facts.waited_ms(since_ns));
        self.dawdled |= took_ms + DAWDLE_MS >= facts.limits.body_timeout_ms;
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
}
