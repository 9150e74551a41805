//! What the client of a byte stream writes.

use super::{LineClient, Mischief, Speech, Waiting};
use crate::check::{self, Told};
use crate::errand::{self, Errand, Tongue};
use crate::fault::{Dice, Fault};
use crate::offer::URIS;
use crate::request::{Expect, TOOLS_TOPIC};

impl LineClient {
    pub(super) fn author_next(&mut self, dice: &mut Dice) {
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

    pub(super) fn push(&mut self, line: &str) {
        self.outbox.extend(line.bytes());
        self.outbox.push(b'\n');
        self.authored += line.len() as u64 + 1;
    }
}
