//! A shard with its io, its bell and its mailbox, and what the world knows of its sleep.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ringmesh_runtime::call::StateKey;
use ringmesh_runtime::catalog::{Pool, Published};
use ringmesh_runtime::io::{Completion, Time};
use ringmesh_runtime::limits::{Allowed, Limits, REFUSAL_SLOTS, SLEEP_GAP_MS};
use ringmesh_runtime::mailbox::{Bell, Capacities, mailbox};
use ringmesh_runtime::message::{Address, Inbox};
use ringmesh_runtime::probe::{Lane, Transport, Vital};
use ringmesh_runtime::{Next, Shard, ShardConfig, ShardId};

use crate::check::Terms;
use crate::fault::Dice;
use crate::io::SimIo;
use crate::offer::EVENTS_MAX;
use crate::trace::Trace;
use crate::world::{MS, UNIX_MS};

/// Requests that a shard's lane holds at most.
pub(crate) const REQUESTS_MAX: usize = 5;

/// A doorbell: a ring is kept until the shard wakes.
#[derive(Default)]
struct Flag(AtomicBool);

impl Bell for Flag {
    fn ring(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A shard and what the world knows of it.
pub(crate) struct Node {
    shard: Shard,
    pub(crate) io: SimIo,
    pub(crate) address: Address,
    bell: Arc<Flag>,
    pub(crate) next: Next,
    /// Version of the catalog at its last tick.
    seen_version: u64,
    pub(crate) draining: bool,
    /// When its last tick expected the next at the latest.
    expected_ns: u64,
    /// When its last tick ended.
    ended_ns: u64,
    /// Time that the machine slept before the last tick.
    slept_ns: u64,
    batch: Vec<Completion>,
}

impl Node {
    /// Whether the shard will know, at this time, that the machine slept.
    pub(crate) fn tells_sleep(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.expected_ns) / MS > SLEEP_GAP_MS
    }

    /// The clock jumped: says who may be cut for it.
    pub(crate) fn excuse_sleep(&mut self, now_ns: u64) {
        if self.tells_sleep(now_ns) {
            // The shard cannot tell at what time of its wait the machine fell asleep: what was to
            // wake it, the time-out of a send perhaps, counts as waited for.
            self.io.excuse_sends();
        } else {
            self.io.links.iter_mut().for_each(|link| link.excused = true);
        }
    }

    /// Time that the machine slept, as far as the shard can tell: no deadline counts it.
    fn slept_ns(&self, now_ns: u64) -> u64 {
        let gap_ns = now_ns.saturating_sub(self.ended_ns) / MS * MS;
        self.slept_ns + if self.tells_sleep(now_ns) { gap_ns } else { 0 }
    }

    /// The time by which the shard counts its time-outs.
    pub(crate) fn clock_ns(&self, now_ns: u64) -> u64 {
        now_ns - self.slept_ns(now_ns)
    }

    /// How far its clock and that of its clients may be apart: a tick that was late anyway is
    /// taken for a part of the sleep behind it.
    pub(crate) fn slack_ms(&self) -> u64 {
        if self.slept_ns > 0 { 1_000 } else { 0 }
    }

    /// Whether a driver would tick the shard now.
    pub(crate) fn wants_tick(&self, now_ns: u64) -> bool {
        match self.next {
            Next::Again => true,
            Next::Done => false,
            Next::Wait { until_ns } => {
                let due = until_ns.is_some_and(|until_ns| until_ns <= now_ns);
                due || self.io.has_ready() || self.bell.0.load(Ordering::Relaxed)
            }
        }
    }

    /// A shard that sleeps with nothing to wake it must have nothing to do.
    pub(crate) fn check_awake(&self, version: u64) -> Result<(), String> {
        if !matches!(self.next, Next::Wait { .. }) || self.bell.0.load(Ordering::Relaxed) {
            return Ok(());
        }
        let id = self.shard.id().0;
        for &lane in Lane::ALL {
            if self.address.depth(lane) > 0 {
                return Err(format!("shard {id} sleeps on its lane of {}", lane.label()));
            }
        }
        if self.seen_version != version {
            return Err(format!("shard {id} sleeps through a new catalog"));
        }
        Ok(())
    }

    /// Ticks the shard and gives the time after it.
    pub(crate) fn tick(&mut self, now_ns: u64, version: u64) -> u64 {
        self.slept_ns = self.slept_ns(now_ns);
        self.io.now = Time { mono_ns: now_ns, unix_ms: UNIX_MS + now_ns / MS };
        let rung = self.bell.0.swap(false, Ordering::Relaxed);
        self.io.begin_tick(rung, &mut self.batch);
        self.next = self.shard.tick(&mut self.io, &mut self.batch);
        assert!(self.batch.is_empty(), "completions were left");
        self.io.end_tick();
        self.seen_version = version;
        let end_ns = self.io.now.mono_ns;
        self.ended_ns = end_ns;
        self.expected_ns = match self.next {
            Next::Wait { until_ns } => until_ns.map_or(u64::MAX, |at_ns| at_ns.max(end_ns)),
            Next::Again | Next::Done => end_ns,
        };
        end_ns
    }
}

/// Bounds so small that they are reached.
pub(crate) fn draw_terms(dice: &mut Dice) -> Terms {
    let tight_budget = dice.one_in(5);
    let roomy_logs = dice.one_in(2);
    let count =
        |dice: &mut Dice, least, most| u32::try_from(dice.between(least, most)).unwrap_or(u32::MAX);
    let limits = Limits {
        connections_max: count(dice, 4, 20),
        streams_max: count(dice, 1, 8),
        calls_max: count(dice, 1, 8),
        body_bytes_max: 12_000 + dice.below(20_000),
        send_bytes_max: 350_000 + dice.below(300_000),
        budget_bytes: if tight_budget { 20_000 + dice.below(400_000) } else { 64 << 20 },
        head_timeout_ms: dice.between(1_000, 3_000),
        body_timeout_ms: dice.between(1_000, 3_000),
        idle_timeout_ms: dice.between(3_000, 9_000),
        send_timeout_ms: dice.between(2_000, 4_000),
        tool_timeout_ms: dice.between(300, 2_000),
        keep_alive_ms: dice.between(200, 1_500),
        sessions_max: count(dice, 2, 12),
        sessions_per_address_max: count(dice, 1, 6),
        session_timeout_ms: dice.between(1_500, 8_000),
        input_timeout_ms: dice.between(500, 2_500),
        ..Limits::default()
    };
    let limits = if roomy_logs {
        Limits {
            session_events_max: 1_000_000,
            session_event_bytes_max: 1 << 30,
            session_event_age_ms: 100 * 24 * 3_600_000,
            ..limits
        }
    } else {
        Limits {
            session_events_max: count(dice, 0, 8),
            session_event_bytes_max: 200 + dice.below(3_000),
            session_event_age_ms: dice.between(50, 3_000),
            ..limits
        }
    };
    Terms { limits, tight_budget, roomy_logs }
}

/// What nodes are made of.
pub(crate) struct Config<'a> {
    pub(crate) seed: u64,
    pub(crate) limits: &'a Limits,
    pub(crate) published: &'a Arc<Published>,
    pub(crate) pool: &'a Arc<dyn Pool>,
    pub(crate) addresses: &'a Arc<[Address]>,
}

/// The mailbox of a shard that is to be made.
pub(crate) struct PostBox {
    pub(crate) address: Address,
    inbox: Inbox,
    bell: Arc<Flag>,
}

impl PostBox {
    pub(crate) fn new(limits: &Limits, dice: &mut Dice) -> Self {
        let bell = Arc::new(Flag::default());
        let capacities = Capacities {
            requests: 2 + dice.below(REQUESTS_MAX - 1),
            replies: limits.calls_max as usize,
            notes: 1 + dice.below(6),
            events: EVENTS_MAX,
            relays: 1 + dice.below(6),
        };
        let (address, inbox) = mailbox(capacities, bell.clone());
        Self { address, inbox, bell }
    }
}

impl Config<'_> {
    pub(crate) fn node(
        &self,
        post: PostBox,
        (id, now_ns): (u16, u64),
        trace: Trace,
        state_key: &Arc<StateKey>,
        dice: &mut Dice,
    ) -> Node {
        let PostBox { address, inbox, bell } = post;
        let now = Time { mono_ns: now_ns, unix_ms: UNIX_MS + now_ns / MS };
        let config = ShardConfig {
            id: ShardId(id),
            limits: self.limits.clone(),
            allowed: Arc::new(Allowed::default()),
            listeners: vec![Transport::Http, Transport::Tcp],
            path: "/mcp".into(),
            catalog: self.published.clone(),
            inbox,
            addresses: self.addresses.clone(),
            pool: self.pool.clone(),
            state_key: state_key.clone(),
            vital: Arc::new(Vital::default()),
            seed: dice.seed(),
            session_seed: std::array::from_fn(|_| u8::try_from(dice.below(256)).expect("a byte")),
        };
        let table = (self.limits.connections_max + REFUSAL_SLOTS) as usize;
        let buffers = 2 + u16::try_from(dice.below(30)).unwrap_or(0);
        let pool = (buffers, 32 << dice.below(8));
        let io_dice = Dice::new(dice.seed(), self.seed);
        let mut io = SimIo::new(io_dice, trace, now, table, pool);
        let mut shard = Shard::new(config, now);
        shard.start(&mut io);
        Node {
            shard,
            io,
            address,
            bell,
            next: Next::Again,
            seen_version: 0,
            draining: false,
            expected_ns: now_ns,
            ended_ns: now_ns,
            slept_ns: 0,
            batch: Vec::new(),
        }
    }
}
