//! What the client of a byte stream makes of what it is told, and of the end of its connection.

use ringmesh_proto::jsonrpc::{INTERNAL_ERROR, INVALID_REQUEST, PARSE_ERROR};
use ringmesh_proto::mcp::META_SUBSCRIPTION_ID;
use serde_json::Value;

use super::{LineClient, Speech, Waiting};
use crate::board::Board;
use crate::check::{self, Facts, Notice};
use crate::client::UNREAD_MS_MAX;
use crate::errand::{self, Manner, Tongue};
use crate::fault::{Dice, Fault};
use crate::link::Link;
use crate::request::Expect;

impl LineClient {
    pub(super) fn on_message(
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
        self.asked.insert(id);
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
        if let Some(withdrawn) = check::withdrawal(message, &mut self.asked) {
            return withdrawn;
        }
        let params = &message["params"];
        let subscription = params["_meta"].get(META_SUBSCRIPTION_ID).map(ToString::to_string);
        if let Some(id) = subscription.or_else(|| params.get("progressToken").map(Value::to_string))
        {
            let found = self.waiting.iter_mut().find(|waiting| waiting.pending.id == id);
            let waiting =
                found.ok_or_else(|| format!("somebody else's notification: {message}"))?;
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
        let slow = self.dawdled || partial_ms >= facts.limits.body_timeout_ms;
        let ends = (said.contains("no further connections") && self.answered == 0)
            || (said.contains("line is too long") && self.speech == Speech::Long && self.doomed)
            || (said.contains("body took too long") && slow)
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
    pub(super) fn note_delivered(&mut self, link: &Link, facts: &Facts<'_>) {
        let waiting = &mut self.waiting;
        self.replies.retain(|&(call, end)| {
            let arrived = end <= link.consumed;
            let asker = waiting.iter_mut().find(|waiting| waiting.pending.start == call);
            asker.into_iter().filter(|_| arrived).for_each(|w| w.told.deliver(facts.now_ns));
            !arrived
        });
    }

    /// Notes when the client knows that it hears of everything it asked for.
    pub(super) fn note_opened(&mut self, board: &Board) -> Result<(), String> {
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
    pub(super) fn on_end(
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
