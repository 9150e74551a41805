//! Asks the shards for their probes, and keeps the last answer of each.
//!
//! Lives once per process, on the control thread. Invariants:
//! - A shard has at most one question open, so a shard that hangs never finds its lane filled.
//! - Whoever wants a snapshot while one is being taken gets that one.
//! - A shard that does not answer in time is reported as it last was, and marked as stale.

use super::ShardWatch;
use crossbeam::channel::{Receiver, TryRecvError};
use glommio::timer::sleep;
use ringmesh_runtime::message::Request;
use ringmesh_runtime::probe::Probe;
use ringmesh_runtime::ticks::Tick;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How long the shards have to answer.
const ANSWER_MAX: Duration = Duration::from_millis(250);
/// First time between looks for answers; it doubles up to `STEP_MAX`.
const STEP_MIN: Duration = Duration::from_micros(50);
/// Longest time between looks for answers.
const STEP_MAX: Duration = Duration::from_millis(1);
/// A snapshot that is no older than this is given again.
const FRESH: Duration = Duration::from_millis(100);
/// Half of the time over which the slowest tick counts as recent.
const RECENT_HALF: Duration = Duration::from_secs(30);
/// How long a tick counts as one of the slowest.
const SLOWEST_AGE: Duration = Duration::from_secs(60);
/// Slowest ticks that are kept of a shard.
const SLOWEST_MAX: usize = 16;
/// Failed questions, `MISS_EVERY` apart, after which a shard counts as lost although it looks idle.
const MISSES_MAX: u32 = 5;
/// Time from one counted miss to the next, so that many scrapes do not count as many misses.
const MISS_EVERY: Duration = Duration::from_millis(900);

/// All shards at about one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// When the last answer was in.
    pub(super) taken: Instant,
    /// In the order of [`super::ControlConfig::shards`].
    pub(super) shards: Vec<ShardView>,
}

/// One shard as it last answered.
#[derive(Clone, Debug)]
pub(super) struct ShardView {
    /// Its number.
    pub(super) id: u16,
    /// The core that it is pinned to.
    pub(super) cpu: Option<usize>,
    /// Its counters; all zero if it has never answered.
    pub(super) probe: Rc<Probe>,
    /// It did not answer this time.
    pub(super) stale: bool,
    /// How old the answer is; `None` before the first.
    pub(super) age: Option<Duration>,
    /// Slowest tick within the last 30 to 60 s, ns.
    pub(super) tick_ns_max_recent: u64,
    /// The slowest ticks within the last minute, slowest first.
    pub(super) slowest: Vec<Tick>,
}

/// Takes snapshots.
pub(super) struct Census {
    seats: RefCell<Vec<Seat>>,
    latest: RefCell<Rc<Snapshot>>,
    taking: Cell<bool>,
}

/// What is kept of one shard.
struct Seat {
    watch: ShardWatch,
    question: Option<Receiver<Box<Probe>>>,
    probe: Rc<Probe>,
    answered: Option<Instant>,
    stale: bool,
    misses: u32,
    missed: Instant,
    recent: Recent,
    slowest: Slowest,
}

/// The maximum of the last half period and of the one before.
struct Recent {
    since: Instant,
    now_ns: u64,
    before_ns: u64,
}

impl Census {
    /// Knows nothing of the shards yet.
    pub(super) fn new(shards: Vec<ShardWatch>, now: Instant) -> Self {
        let seats: Vec<_> = shards.into_iter().map(|watch| Seat::new(watch, now)).collect();
        // Older than FRESH, so that the first caller takes a real one.
        let taken = now.checked_sub(2 * FRESH).unwrap_or(now);
        let shards = seats.iter().map(|seat| seat.view(now)).collect();
        Self {
            seats: RefCell::new(seats),
            latest: RefCell::new(Rc::new(Snapshot { taken, shards })),
            taking: Cell::new(false),
        }
    }

    /// The shards as they are now, or were at most `FRESH` ago. Takes at most about twice
    /// `ANSWER_MAX`.
    pub(super) async fn snapshot(&self) -> Rc<Snapshot> {
        loop {
            let latest = self.latest();
            if latest.taken.elapsed() <= FRESH {
                return latest;
            }
            if !self.taking.replace(true) {
                let _turn = Turn(&self.taking);
                return self.take().await;
            }
            sleep(STEP_MAX).await;
        }
    }

    /// The last snapshot, however old.
    pub(super) fn latest(&self) -> Rc<Snapshot> {
        self.latest.borrow().clone()
    }

    /// A shard that has left many questions unanswered: it lives in no tick that the watchdog
    /// could see, but does not wake either.
    pub(super) fn silent(&self) -> Option<u16> {
        let seats = self.seats.borrow();
        seats.iter().find(|seat| seat.misses >= MISSES_MAX).map(|seat| seat.watch.id)
    }

    async fn take(&self) -> Rc<Snapshot> {
        let asked = Instant::now();
        self.seats.borrow_mut().iter_mut().for_each(Seat::ask);
        let mut step = STEP_MIN;
        while self.collect() > 0 && asked.elapsed() < ANSWER_MAX {
            sleep(step).await;
            step = (step * 2).min(STEP_MAX);
        }
        let taken = Instant::now();
        let mut seats = self.seats.borrow_mut();
        let shards = seats
            .iter_mut()
            .map(|seat| {
                seat.settle(asked, taken);
                seat.view(taken)
            })
            .collect();
        let snapshot = Rc::new(Snapshot { taken, shards });
        self.latest.replace(snapshot.clone());
        snapshot
    }

    /// Takes the answers that are there, and counts those still to come.
    fn collect(&self) -> usize {
        let now = Instant::now();
        self.seats.borrow_mut().iter_mut().filter_map(|seat| seat.collect(now)).count()
    }
}

/// The slowest ticks, each with when it was told of.
#[derive(Default)]
struct Slowest(Vec<(Instant, Tick)>);

/// Ends a turn of taking a snapshot even where its future is dropped in the middle.
struct Turn<'c>(&'c Cell<bool>);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// The answer is still to come.
struct Waiting;

impl Seat {
    fn new(watch: ShardWatch, now: Instant) -> Self {
        Self {
            question: None,
            probe: Rc::new(Probe::new(watch.id)),
            answered: None,
            stale: true,
            misses: 0,
            missed: now,
            recent: Recent { since: now, now_ns: 0, before_ns: 0 },
            slowest: Slowest::default(),
            watch,
        }
    }

    fn ask(&mut self) {
        if self.question.is_none() {
            let (request, question) = Request::probe();
            // A full lane is a miss like any other.
            if self.watch.address.send_request(request).is_ok() {
                self.question = Some(question);
            }
        }
    }

    fn collect(&mut self, now: Instant) -> Option<Waiting> {
        match self.question.as_ref()?.try_recv() {
            Ok(probe) => {
                self.recent.add(now, probe.tick_ns_max_recent);
                self.slowest.add(now, probe.tick_times.slowest());
                self.probe = Rc::from(probe);
                self.answered = Some(now);
                self.misses = 0;
                self.question = None;
                None
            }
            Err(TryRecvError::Empty) => Some(Waiting),
            // The shard dropped the question: it is gone.
            Err(TryRecvError::Disconnected) => {
                self.question = None;
                None
            }
        }
    }

    /// Ends a round that began at `asked`.
    fn settle(&mut self, asked: Instant, now: Instant) {
        self.stale = self.answered.is_none_or(|answered| answered < asked);
        if self.stale && now.saturating_duration_since(self.missed) >= MISS_EVERY {
            self.misses = self.misses.saturating_add(1);
            self.missed = now;
        }
    }

    fn view(&self, now: Instant) -> ShardView {
        ShardView {
            id: self.watch.id,
            cpu: self.watch.cpu,
            probe: self.probe.clone(),
            stale: self.stale,
            age: self.answered.map(|answered| now.saturating_duration_since(answered)),
            tick_ns_max_recent: self.recent.max(),
            slowest: self.slowest.at(now),
        }
    }
}

impl Recent {
    fn add(&mut self, now: Instant, ns: u64) {
        let passed = now.saturating_duration_since(self.since);
        if passed >= RECENT_HALF {
            self.before_ns = if passed < 2 * RECENT_HALF { self.now_ns } else { 0 };
            self.now_ns = 0;
            self.since = now;
        }
        self.now_ns = self.now_ns.max(ns);
    }

    fn max(&self) -> u64 {
        self.now_ns.max(self.before_ns)
    }
}

impl Slowest {
    fn add<'t>(&mut self, now: Instant, ticks: impl Iterator<Item = &'t Tick>) {
        self.0.retain(|(told, _)| now.saturating_duration_since(*told) < SLOWEST_AGE);
        self.0.extend(ticks.map(|tick| (now, *tick)));
        self.0.sort_by_key(|(_, tick)| std::cmp::Reverse(tick.ns));
        self.0.truncate(SLOWEST_MAX);
    }

    /// Those that are not too old. A shard that answers nothing more keeps none.
    fn at(&self, now: Instant) -> Vec<Tick> {
        let young = |told: Instant| now.saturating_duration_since(told) < SLOWEST_AGE;
        self.0.iter().filter(|(told, _)| young(*told)).map(|(_, tick)| *tick).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_ticks_of_a_minute_are_kept() {
        let tick = |ns| Tick { ns, ..Tick::default() };
        let (mut slowest, begin) = (Slowest::default(), Instant::now());
        let after = |seconds| begin + Duration::from_secs(seconds);
        let kept = |slowest: &Slowest, seconds| -> Vec<u64> {
            slowest.at(after(seconds)).iter().map(|tick| tick.ns).collect()
        };
        slowest.add(begin, [tick(9), tick(3)].iter());
        slowest.add(after(30), [tick(5)].iter());
        assert_eq!(kept(&slowest, 59), [9, 5, 3]);
        assert_eq!(kept(&slowest, 60), [5]);
        let many: Vec<_> = (10..40).map(tick).collect();
        slowest.add(after(60), many.iter());
        assert_eq!(kept(&slowest, 60), (24..40).rev().collect::<Vec<_>>());
    }
}
