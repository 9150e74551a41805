//! What goes wrong on purpose, how often, and the count of it.
//!
//! A [`Dice`] belongs to one actor of one run (an io, or the world around the shards): its own
//! random numbers, so that each actor's choices follow from the seed alone. Each seed draws anew
//! which faults it has and how often: some bugs need a fault that another fault would hide.

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident = $label:literal,)+) => {
        /// A kind of fault, or of strain, that a campaign must have seen.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Fault { $($(#[$doc])* $name,)+ }

        impl Fault {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// What a report calls it.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)+ }
            }
        }
    };
}

faults! {
    /// A receive takes fewer bytes than are there.
    PartialReceive = "partial receive",
    /// A receive finds no buffer and ends (ENOBUFS).
    NoBuffers = "receive without buffers",
    /// A multishot receive ends behind a buffer, for no reason.
    ReceiveEnded = "receive ended early",
    /// A receive asks to be armed again (EINTR).
    ReceiveAgain = "receive interrupted",
    /// A cancellation is overtaken by data, or by the end of the stream.
    CancelRace = "cancellation raced",
    /// The kernel takes a part of a send.
    ShortSend = "short send",
    /// A send waits for room in the socket.
    SlowSend = "send waited for its reader",
    /// A send asks to be tried again.
    SendAgain = "send interrupted",
    /// The connection breaks below a send.
    SendBroken = "send failed",
    /// The connection breaks below a receive.
    ReceiveBroken = "receive failed",
    /// A connection was gone before it was accepted.
    AcceptAgain = "accept interrupted",
    /// The system had no file or memory for an accept.
    AcceptExhausted = "accept out of resources",
    /// A closing listener's accept brings a connection instead of its cancellation.
    AcceptRace = "accept raced with closing",
    /// A slot is used by another connection than before.
    SlotReused = "slot reused",
    /// A client shuts its sending half with answers outstanding.
    HalfClose = "client half-closed",
    /// A client resets its connection in the middle of something.
    ClientReset = "client reset",
    /// A client is gone without a word while a call runs.
    ClientGone = "client vanished",
    /// A client reads nothing.
    NeverReads = "client never reads",
    /// A client writes a few bytes at a time.
    Dribble = "client dribbles",
    /// The lane of requests is full.
    RequestsFull = "lane full: requests",
    /// The lane of notes is full.
    NotesFull = "lane full: notes",
    /// The lane of events is full.
    EventsFull = "lane full: events",
    /// The pool of tools takes no job.
    PoolFull = "pool full",
    /// An inline tool panics.
    InlinePanic = "inline tool panicked",
    /// A pooled tool panics.
    PooledPanic = "pooled tool panicked",
    /// A pooled tool is dropped without an answer.
    ToolDropped = "pooled tool dropped",
    /// A pooled tool answers only after its time.
    ToolStuck = "pooled tool stuck",
    /// A note is sent after its call was answered.
    LateNote = "note after the answer",
    /// A shard is ticked late.
    LateTick = "late tick",
    /// The machine sleeps for over five seconds.
    ClockJump = "clock jumped",
    /// A shard stops in the middle of its work.
    Drain = "drained under load",
    /// A connection is refused at the bound.
    ConnectionsBound = "bound: connections",
    /// A stream is refused at the bound.
    StreamsBound = "bound: streams",
    /// A call is refused at the bound.
    CallsBound = "bound: calls",
    /// A head is over its bound.
    HeadBound = "bound: head",
    /// A body is over its bound.
    BodyBound = "bound: body",
    /// The byte budget is spent.
    BudgetBound = "bound: byte budget",
    /// Too many bytes wait for a reader.
    SendBound = "bound: bytes unsent",
    /// A head takes too long.
    HeadTimeout = "time-out: head",
    /// A body takes too long.
    BodyTimeout = "time-out: body",
    /// A connection idles too long.
    IdleTimeout = "time-out: idle",
    /// A reader makes no progress.
    SendTimeout = "time-out: send",
    /// A call takes too long.
    ToolTimeout = "time-out: tool",
    /// A connection is refused because the shard stops.
    Stopping = "refused while stopping",
    /// A message is no HTTP or no JSON-RPC.
    Malformed = "malformed message",
    /// A client shuts the sending half of a byte stream with answers outstanding.
    LineHalfClose = "line: client half-closed",
    /// A client resets a byte stream with answers outstanding.
    LineReset = "line: client reset",
    /// The first line of a byte stream is no JSON object.
    GarbageLine = "line: garbage at first",
    /// A line is over the bound of a message.
    LongLine = "line: too long",
    /// Both eras are spoken on one byte stream.
    BothEras = "line: both eras",
    /// A subscription is cancelled.
    CancelledSubscription = "line: subscription cancelled",
    /// A call in flight is cancelled.
    Cancelled = "call cancelled",
    /// A request has the id of one in flight.
    DuplicateId = "duplicate id",
    /// Messages come in a batch.
    Batch = "batch",
    /// A batch is too long, or of a version that has none.
    BatchBound = "batch refused",
    /// A client answers a question with an error.
    AnsweredWithError = "question answered with an error",
    /// A client answers a question twice.
    AnsweredTwice = "question answered twice",
    /// A client answers what it was not asked.
    Unasked = "answer to nothing",
    /// A client does not answer a question.
    InputTimeout = "time-out: answer of the client",
    /// A request comes in on another shard than its session's.
    Forwarded = "request forwarded",
    /// The session's shard takes no request of another.
    ForwardRefused = "lane full: requests of other shards",
    /// The shard of a connection takes no answer of another.
    RelaysFull = "lane full: answers of other shards",
    /// The connection is gone while the session's shard answers.
    FrontGone = "connection gone before a relayed answer",
    /// A stream is closed, to be read on later.
    StreamClosed = "stream closed for polling",
    /// A stream is read on from an event.
    Resumed = "stream resumed",
    /// Events are sent again.
    Replayed = "event replayed",
    /// A stream is read by a second connection.
    StreamReplaced = "stream taken by another connection",
    /// Events behind the one asked for are kept no more.
    FellOut = "stream lost to the log's bounds",
    /// An event is not kept, or not any more.
    EventLogBound = "bound: event log",
    /// A session is refused at the bound.
    SessionsBound = "bound: sessions",
    /// A session is refused at its address' bound.
    AddressBound = "bound: sessions of an address",
    /// A session is ended while calls are in flight.
    DeletedInFlight = "session deleted with calls in flight",
    /// A session is used after its end.
    SessionReused = "session used after its end",
    /// Somebody asks for a session that does not exist.
    SessionGuessed = "session guessed",
    /// A client ends its session.
    SessionDeleted = "session deleted",
    /// Nobody uses a session.
    SessionExpired = "session expired",
    /// A byte stream takes its session with it.
    SessionClosed = "session closed with its byte stream",
}

impl Fault {
    /// How much rarer than others it is: what ends connections, or excuses their end, must leave
    /// most of them alone.
    const fn chances(self) -> u32 {
        match self {
            Self::SendBroken | Self::ReceiveBroken | Self::AcceptExhausted => 32,
            Self::ClockJump => 512,
            _ => 1,
        }
    }
}

/// How often each fault occurred.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally([u64; Fault::ALL.len()]);

impl Default for Tally {
    fn default() -> Self {
        Self([0; Fault::ALL.len()])
    }
}

impl Tally {
    /// Adds occurrences of one fault.
    pub fn add(&mut self, fault: Fault, count: u64) {
        self.0[fault as usize] += count;
    }

    /// Adds another tally.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine += theirs;
        }
    }

    /// How often a fault occurred.
    pub fn count(&self, fault: Fault) -> u64 {
        self.0[fault as usize]
    }

    /// The faults that never occurred.
    pub fn missing(&self) -> Vec<Fault> {
        Fault::ALL.iter().copied().filter(|&fault| self.count(fault) == 0).collect()
    }
}

/// Random choices of one actor, and the faults that they bring about.
#[derive(Debug)]
pub(crate) struct Dice {
    rng: fastrand::Rng,
    /// A fault strikes once in so many chances; never where it is 0.
    odds: [u32; Fault::ALL.len()],
    /// No further fault strikes.
    pub(crate) healed: bool,
    pub(crate) tally: Tally,
}

impl Dice {
    /// `odds_seed` is the same for all actors of a run.
    pub(crate) fn new(seed: u64, odds_seed: u64) -> Self {
        let mut odds_rng = fastrand::Rng::with_seed(odds_seed);
        let mut odds = [0; Fault::ALL.len()];
        for &fault in Fault::ALL {
            if odds_rng.u8(0..4) > 0 {
                odds[fault as usize] = fault.chances() << odds_rng.u32(2..9);
            }
        }
        Self { rng: fastrand::Rng::with_seed(seed), odds, healed: false, tally: Tally::default() }
    }

    /// Whether the fault is to come about; whoever sees it do so counts it.
    pub(crate) fn plans(&mut self, fault: Fault) -> bool {
        let odds = self.odds[fault as usize];
        !self.healed && odds > 0 && self.rng.u32(0..odds) == 0
    }

    /// Whether the fault strikes now; if so it is counted.
    pub(crate) fn strikes(&mut self, fault: Fault) -> bool {
        let strikes = self.plans(fault);
        if strikes {
            self.tally.add(fault, 1);
        }
        strikes
    }

    /// Counts a fault that came about.
    pub(crate) fn saw(&mut self, fault: Fault) {
        self.tally.add(fault, 1);
    }

    /// A number below `bound`, which is at least 1.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.rng.usize(0..bound)
    }

    /// A number within the bounds, both included.
    pub(crate) fn between(&mut self, least: u64, most: u64) -> u64 {
        self.rng.u64(least..=most)
    }

    /// True once in `n` times.
    pub(crate) fn one_in(&mut self, n: u32) -> bool {
        self.rng.u32(0..n) == 0
    }

    /// True half of the time; always once all is healed.
    pub(crate) fn ready(&mut self) -> bool {
        self.healed || self.rng.bool()
    }

    /// A seed for another actor.
    pub(crate) fn seed(&mut self) -> u64 {
        self.rng.u64(..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_healed_world_has_no_faults() {
        let mut dice = Dice::new(1, 2);
        let struck = |dice: &mut Dice| {
            (0..20_000).filter(|_| Fault::ALL.iter().any(|&fault| dice.strikes(fault))).count()
        };
        assert!(struck(&mut dice) > 0);
        dice.healed = true;
        assert_eq!(struck(&mut dice), 0);
    }

    #[test]
    fn a_tally_names_what_is_missing() {
        let mut tally = Tally::default();
        assert_eq!(tally.missing(), Fault::ALL);
        Fault::ALL.iter().for_each(|&fault| tally.add(fault, 1));
        assert_eq!(tally.missing(), []);
    }
}
