//! A virtual client: a seeded script on one connection, and the checks of what it is answered.

use std::collections::VecDeque;

use serde_json::Value;

use crate::board::{Board, Listening};
use crate::check::{self, Facts, Notice, Pending};
use crate::fault::{Dice, Fault};
use crate::link::Link;
use crate::reader::{Head, Item, Reader};
use crate::request::{Author, Close, Expect, Request};

/// How long a shard may leave a request unread that nothing keeps it from, ms.
pub(crate) const UNREAD_MS_MAX: u64 = 1_500;

/// What kind of client it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Temper {
    /// Sends requests, one or a few at a time.
    Usual,
    /// Opens a stream and stays.
    Listener,
    /// Sends many bytes behind a slow call.
    Flooder,
    /// Asks for large answers.
    Greedy,
    /// Says nothing until it is shown out.
    Idler,
}

/// What a client does in the middle of its script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mischief {
    HalfClose,
    Reset,
    Vanish,
}

/// See the module. One connection each.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) shard: usize,
    pub(crate) link: usize,
    temper: Temper,
    author: Author,
    reader: Reader,
    /// Requests that it will still make.
    plan_left: u32,
    /// Requests that it sends ahead of their answers.
    depth: usize,
    outbox: Vec<u8>,
    outbox_at: usize,
    /// Bytes of all requests made.
    authored: u64,
    /// Bytes written.
    written: u64,
    last_write_ns: u64,
    pending: VecDeque<Pending>,
    /// Responses that were complete.
    pub(crate) answered: u64,
    head: Option<Head>,
    /// The final message of the present stream of events came.
    final_came: bool,
    /// Bytes that came.
    pub(crate) heard: u64,
    listening: Listening,
    /// The last response said that the connection ends.
    closing: bool,
    /// The last response was a stream of events.
    streamed: bool,
    half_closed: bool,
    never_reads: bool,
    /// Since when the shard could send it nothing.
    blocked_since_ns: Option<u64>,
    /// It did not read for a while.
    stalled: bool,
    dribbles: bool,
    /// It writes nothing more, wherever it was.
    frozen: bool,
    mischief: Option<Mischief>,
    /// The client is done with its connection.
    pub(crate) done: bool,
    /// The newest version of the list of tools that it was told.
    pub(crate) tools_version: Option<u64>,
}

impl Client {
    /// To be made before its link is connected.
    pub(crate) fn new(
        (id, shard, link): (usize, usize, usize),
        temper: Temper,
        (board, dice): (&Board, &mut Dice),
        facts: &Facts<'_>,
    ) -> Self {
        let usual = temper == Temper::Usual;
        Self {
            shard,
            link,
            temper,
            author: Author::new(id, facts.limits.body_bytes_max),
            reader: Reader::new(),
            plan_left: match temper {
                Temper::Usual => 1 + u32::try_from(dice.below(30)).unwrap_or(0),
                Temper::Listener => 1,
                Temper::Flooder => 24,
                Temper::Greedy => 4,
                Temper::Idler => 0,
            },
            depth: if usual { 1 + dice.below(6) } else { 24 },
            outbox: Vec::new(),
            outbox_at: 0,
            authored: 0,
            written: 0,
            last_write_ns: facts.now_ns,
            pending: VecDeque::new(),
            answered: 0,
            head: None,
            final_came: false,
            heard: 0,
            listening: Listening::new(board, shard),
            closing: false,
            streamed: false,
            half_closed: false,
            blocked_since_ns: None,
            stalled: false,
            never_reads: temper != Temper::Idler && dice.strikes(Fault::NeverReads),
            dribbles: usual && dice.strikes(Fault::Dribble),
            frozen: false,
            mischief: None,
            done: false,
            tools_version: None,
        }
    }

    /// A client that asks for the list of tools once.
    pub(crate) fn asks_for_tools(mut self, dice: &mut Dice) -> Self {
        self.plan_left = 0;
        let request = self.author.tools(dice);
        self.enqueue(request, 0);
        self
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
        }
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
        if link.up_fin || self.closing {
            return Ok(());
        }
        if self.is_listening() && !dice.healed && dice.one_in(300) {
            // It heard enough, and makes room for others.
            self.leave(link);
            return Ok(());
        }
        self.author_next(dice, facts);
        if self.outbox_at < self.outbox.len() && !self.frozen && dice.ready() {
            self.frozen = self.dribbles && dice.one_in(150);
            self.write(link, dice, facts);
        }
        let finished = self.plan_left == 0 && self.pending.is_empty();
        if finished && self.outbox.is_empty() && self.temper != Temper::Idler && dice.one_in(8) {
            link.up_fin = true;
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

    /// Leaves, whatever it was doing.
    pub(crate) fn leave(&mut self, link: &mut Link) {
        self.half_closed = true;
        link.up_fin = true;
    }

    /// Whether it waits for changes, and nothing else.
    pub(crate) fn is_listening(&self) -> bool {
        self.listening.is_acknowledged() && !self.done && self.pending.len() == 1
    }

    /// Whether it waits for a stream to begin, or will make requests.
    pub(crate) fn is_busy(&self) -> bool {
        !self.done && !self.is_listening()
    }

    /// Changes that it was told.
    pub(crate) fn changes(&self) -> u64 {
        self.listening.received()
    }

    /// All is quiet: whether it was told of every change.
    pub(crate) fn check_changes(&self, board: &Board) -> Result<(), String> {
        self.listening.check(board)
    }

    fn author_next(&mut self, dice: &mut Dice, facts: &Facts<'_>) {
        let streams = self.pending.iter().any(|p| matches!(p.expect, Expect::Listen(_)));
        if self.plan_left == 0 || self.pending.len() >= self.depth || streams {
            return;
        }
        self.plan_left -= 1;
        let request = match self.temper {
            Temper::Listener => self.author.listen(dice),
            Temper::Flooder if self.authored == 0 => self.author.slow(dice),
            Temper::Flooder => self.author.echo(dice, 10_000),
            Temper::Greedy => self.author.big(dice),
            Temper::Usual | Temper::Idler => match dice.below(12) {
                0 => self.author.bad(dice),
                1 if self.plan_left == 0 => self.author.listen(dice),
                _ => self.author.good(dice),
            },
        };
        for (fault, mischief) in [
            (Fault::HalfClose, Mischief::HalfClose),
            (Fault::ClientReset, Mischief::Reset),
            (Fault::ClientGone, Mischief::Vanish),
        ] {
            if self.mischief.is_none() && dice.one_in(4) && dice.plans(fault) {
                self.mischief = Some(mischief);
            }
        }
        if request.close == Close::Always && !dice.one_in(4) {
            // Mostly a client knows that nothing can follow.
            self.plan_left = 0;
        }
        self.enqueue(request, facts.now_ns);
    }

    fn enqueue(&mut self, request: Request, now_ns: u64) {
        let Request { bytes, expect, close, id, interim } = request;
        if let Expect::Listen(topics) = &expect {
            self.listening.ask(topics);
        }
        let start = self.authored;
        self.authored += bytes.len() as u64;
        let (end, begun_ns) = (self.authored, now_ns);
        let progress = 0.0;
        self.pending.push_back(Pending {
            id,
            expect,
            close,
            interim,
            start,
            end,
            begun_ns,
            progress,
        });
        self.outbox.extend(bytes);
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
        for pending in &mut self.pending {
            if (self.written..self.written + taken as u64).contains(&pending.start) {
                pending.begun_ns = facts.now_ns;
            }
        }
        self.outbox_at += taken;
        self.written += taken as u64;
        if taken > 0 {
            self.last_write_ns = facts.now_ns;
        }
        if self.outbox_at == self.outbox.len() {
            self.outbox.clear();
            self.outbox_at = 0;
        }
    }

    /// Whether it did it now.
    fn make_mischief(&mut self, mischief: Mischief, link: &mut Link, dice: &mut Dice) -> bool {
        let waits = |p: &Pending| matches!(p.expect, Expect::Pooled { .. } | Expect::Listen(_));
        match mischief {
            Mischief::HalfClose if self.outbox.is_empty() && !self.pending.is_empty() => {
                dice.saw(Fault::HalfClose);
                link.up_fin = true;
                self.half_closed = true;
            }
            Mischief::Reset => {
                dice.saw(Fault::ClientReset);
                link.break_down();
                self.done = true;
            }
            Mischief::Vanish if self.pending.front().is_some_and(waits) => {
                dice.saw(Fault::ClientGone);
                link.up_fin = true;
                link.reset = dice.one_in(2);
                link.excused = true;
                self.done = true;
            }
            Mischief::HalfClose | Mischief::Vanish => return false,
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
        self.heard += len as u64;
        self.reader.feed(link.down.drain(..len))?;
        self.take_items((board, dice), facts)
    }

    fn take_items(
        &mut self,
        (board, dice): (&mut Board, &mut Dice),
        facts: &Facts<'_>,
    ) -> Result<(), String> {
        while let Some(item) = self.reader.next() {
            self.on_item(item, (board, dice), facts).map_err(|what| {
                match self.pending.front() {
                    Some(pending) => format!("{what}; waiting for {pending:?}"),
                    None => format!("{what}; waiting for nothing"),
                }
            })?;
        }
        Ok(())
    }

    fn on_item(
        &mut self,
        item: Item,
        (board, dice): (&mut Board, &mut Dice),
        facts: &Facts<'_>,
    ) -> Result<(), String> {
        match item {
            Item::Interim if self.pending.front().is_some_and(|p| p.interim) => Ok(()),
            Item::Interim => Err("100 Continue for nobody".into()),
            Item::Head(_) if self.closing => Err("a response behind the last one".into()),
            Item::Head(head) => {
                self.head = Some(head);
                self.final_came = false;
                Ok(())
            }
            Item::Event(None, data) => self.on_event(&check::parse(&data)?, board, facts),
            Item::Event(Some(_), _) | Item::Prime(_) | Item::Retry => {
                Err("a stream to be read on, without a session".into())
            }
            Item::End(body) => self.on_response(&body, dice, facts),
        }
    }

    fn on_event(
        &mut self,
        message: &Value,
        board: &mut Board,
        facts: &Facts<'_>,
    ) -> Result<(), String> {
        let pending = self.pending.front_mut().ok_or("an event for nobody")?;
        let head = self.head.as_ref().ok_or("an event without a head")?;
        if self.final_came {
            return Err("an event behind the final response".into());
        }
        if message.get("method").is_none() {
            self.final_came = true;
            return check::answer(pending, head, Some(message), facts);
        }
        match check::notice(pending, message)? {
            Notice::Acknowledged => self.listening.acknowledge(board),
            Notice::Change(topic) => self.listening.receive(topic, board),
            Notice::Progress(progress) if progress > pending.progress => {
                pending.progress = progress;
                Ok(())
            }
            Notice::Progress(progress) => Err(format!("progress {progress} is out of order")),
        }
    }

    fn on_response(
        &mut self,
        body: &[u8],
        dice: &mut Dice,
        facts: &Facts<'_>,
    ) -> Result<(), String> {
        let head = self.head.take().ok_or("a body without a head")?;
        self.answered += 1;
        self.closing = head.close;
        self.streamed = head.events;
        if head.events {
            return match self.pending.pop_front() {
                Some(_) if self.final_came => Ok(()),
                // What ends with its connection may be cut: that is checked at its end.
                Some(pending) if head.close => {
                    self.closing = false;
                    self.pending.push_front(pending);
                    Ok(())
                }
                _ => Err("a stream ended without the final response".into()),
            };
        }
        let refused_at_accept = head.status == 503 && head.close && body.is_empty();
        if refused_at_accept && self.answered == 1 {
            return if head.retry_after { Ok(()) } else { Err("no word when to try again".into()) };
        }
        let pending = self.pending.front().ok_or("a response for nobody")?;
        let message = if body.is_empty() { None } else { Some(check::parse(body)?) };
        check::answer(pending, &head, message.as_ref(), facts)?;
        if matches!(pending.expect, Expect::Panic) && head.status == 200 {
            dice.saw(Fault::InlinePanic);
        }
        if matches!(pending.expect, Expect::Tools)
            && let Some(message) = message
        {
            self.tools_version = newest_tool(&message);
        }
        self.pending.pop_front();
        Ok(())
    }

    /// The shard ended the connection: was it right?
    fn on_end(
        &mut self,
        link: &mut Link,
        (board, dice): (&mut Board, &mut Dice),
        facts: &Facts<'_>,
    ) -> Result<(), String> {
        let whole = self.reader.finish();
        self.take_items((board, dice), facts)?;
        self.done = true;
        let left_early = !link.up_fin;
        link.up_fin = true;
        // The heads of streams, and of large answers that are not sent yet, were written before
        // the shard knew that it would stop. Several large answers are over the bound of a send.
        let greedy = self.temper == Temper::Greedy;
        let lets_go = facts.healed && self.listening.is_acknowledged();
        let cut = (facts.draining && !lets_go && (!link.polite || self.streamed || greedy))
            || (greedy && !link.polite);
        if link.excused || self.never_reads || self.stalled || facts.tight_budget || cut {
            return Ok(());
        }
        let consumed = link.owed();
        let waits = |p: &Pending| {
            matches!(p.expect, Expect::Pooled { .. } | Expect::Listen(_) | Expect::Big(..))
        };
        if self.closing || (self.half_closed && self.pending.iter().any(waits)) {
            return Ok(());
        }
        if let Some(pending) = self.pending.front()
            && pending.start < consumed
            && !(self.half_closed && pending.end > consumed)
        {
            let Link { polite, down_reset, .. } = link;
            return Err(format!(
                "never answered (FIN {polite}, reset {down_reset}, {consumed} bytes read): \
                 {pending:?}"
            ));
        }
        if let Some(pending) = self.pending.front()
            && pending.start < self.written
            && !facts.draining
            && facts.slack_ms == 0
            && facts.waited_ms(pending.begun_ns) > UNREAD_MS_MAX
        {
            return Err(format!("shown out with a request that was not read: {pending:?}"));
        }
        if !whole {
            return Err("the connection ends within a response".into());
        }
        if link.down_reset && self.pending.is_empty() {
            return Err("a connection was reset without need".into());
        }
        let idle_ms = facts.waited_ms(self.last_write_ns);
        let too_early = left_early && !facts.draining && idle_ms < facts.limits.idle_timeout_ms;
        if too_early && self.pending.is_empty() {
            return Err(format!("shown out after {idle_ms} ms"));
        }
        Ok(())
    }
}

/// The version that a list of tools is named after.
fn newest_tool(message: &Value) -> Option<u64> {
    let tools = message["result"]["tools"].as_array()?;
    tools.iter().find_map(|tool| tool["name"].as_str()?.strip_prefix('v')?.parse().ok())
}
