//! The timer wheel of a shard: very many coarse timers, cheap to arm and to move.
//!
//! One value lives once per shard. Time is cut into ticks of [`TICK_MS`]; a timer waits in the
//! slot of its tick modulo [`SLOTS`]. Deadlines beyond one rotation share slots with nearer ones
//! and are passed over until their rotation comes.
//!
//! Invariants:
//! - A timer fires once, never before its deadline, and by the first poll that comes [`TICK_MS`]
//!   or more after it (or after it was armed, where the deadline had passed already).
//! - Every tick before the cursor was examined: what waits in a slot is at the cursor or later.
//! - A slot's sentinel holds a lower bound of the ticks in its list. The bound may grow stale when
//!   a timer is cancelled; then the slot is looked at once for nothing, which mends it. So empty
//!   rotations are skipped, however long the gap between two polls.
//! - Memory grows to the greatest number of timers armed at once and is reused from then on.
//!
//! Left out: finer ticks (network time-outs need none), and what to do after the machine slept:
//! the shard decides that by the time it tells the wheel.

use std::num::NonZeroU32;

/// Length of a tick, ms: the most that a timer is late.
pub const TICK_MS: u64 = 64;

/// Slots of the wheel. A rotation (131 s) covers the usual time-outs, so few timers share a slot
/// with those of another rotation.
pub const SLOTS: u32 = 2048;

/// What a timer takes.
pub const TIMER_BYTES: usize = size_of::<Node>();

/// What a wheel takes without timers.
pub const WHEEL_BYTES: usize = (SLOTS as usize + 1) * TIMER_BYTES;

/// Names an armed timer until it fires or is cancelled; afterwards its place is used again, so
/// whoever keeps an id forgets it then. `Option<TimerId>` is as small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerId(NonZeroU32);

/// A timer whose time has come. It is no longer armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fired {
    /// The name it had.
    pub id: TimerId,
    /// What it was armed with.
    pub key: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Wheel {
    /// Sentinels of the circular lists (one a slot, then that of the timers due), then timers.
    nodes: Vec<Node>,
    /// A bit for each slot whose list is not empty.
    occupied: [u64; WORDS],
    /// The first tick that was not examined yet.
    cursor: u64,
    /// First of the free nodes, linked by `next`, or [`NONE`].
    free: u32,
    /// Timers armed.
    len: usize,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    /// The tick in which the timer fires; of a slot's sentinel a lower bound of its list.
    tick: u64,
    key: u64,
    /// [`NONE`] marks a free node.
    prev: u32,
    next: u32,
}

const WORDS: usize = SLOTS as usize / 64;
const NONE: u32 = u32::MAX;
/// Sentinel of the timers that are due and were not handed out yet.
const DUE: u32 = SLOTS;

const _: () = assert!(SLOTS.is_multiple_of(64) && SLOTS < NONE);
const _: () = assert!(TIMER_BYTES <= 24);
const _: () = assert!(size_of::<Option<TimerId>>() == 4);

impl Wheel {
    /// An empty wheel at `now_ms`, on whatever clock the shard uses.
    pub fn new(now_ms: u64) -> Self {
        Self::with_capacity(now_ms, 0)
    }

    /// The same, with room for `timers` timers before memory grows.
    pub fn with_capacity(now_ms: u64, timers: usize) -> Self {
        let mut nodes = Vec::with_capacity(DUE as usize + 1 + timers);
        nodes.extend((0..=DUE).map(|i| Node { tick: 0, key: 0, prev: i, next: i }));
        Self { nodes, occupied: [0; WORDS], cursor: now_ms / TICK_MS, free: NONE, len: 0 }
    }

    /// Arms a timer that fires at `at_ms` or up to a tick later, and gives `key` back then.
    pub fn arm(&mut self, at_ms: u64, key: u64) -> TimerId {
        let node = Node { tick: self.tick_of(at_ms), key, prev: NONE, next: NONE };
        let index = self.free;
        let index = if index == NONE {
            let grown = u32::try_from(self.nodes.len()).ok().filter(|&i| i != NONE);
            self.nodes.push(node);
            grown.expect("fewer than 2^32 timers")
        } else {
            self.free = self.at(index).next;
            *self.at_mut(index) = node;
            index
        };
        self.len += 1;
        self.link_slot(index);
        TimerId(NonZeroU32::new(index).expect("node 0 is a sentinel"))
    }

    /// Disarms a timer. False if `id` is not armed.
    pub fn cancel(&mut self, id: TimerId) -> bool {
        let armed = self.is_armed(id);
        if armed {
            self.release(id.0.get());
        }
        armed
    }

    /// Gives an armed timer another deadline, later or sooner. False if `id` is not armed.
    pub fn rearm(&mut self, id: TimerId, at_ms: u64) -> bool {
        if !self.is_armed(id) {
            return false;
        }
        let index = id.0.get();
        let tick = self.tick_of(at_ms);
        if self.at(index).tick != tick {
            self.unlink(index);
            self.at_mut(index).tick = tick;
            self.link_slot(index);
        }
        true
    }

    /// The next timer that is due at `now_ms`, in the order of ticks; call it until it has none.
    /// What is armed for the past meanwhile waits for the next tick, so the calls come to an end.
    /// A clock that steps back does nothing.
    pub fn poll(&mut self, now_ms: u64) -> Option<Fired> {
        let now_tick = now_ms / TICK_MS;
        loop {
            let index = self.at(DUE).next;
            if index != DUE {
                let key = self.at(index).key;
                self.release(index);
                return NonZeroU32::new(index).map(|id| Fired { id: TimerId(id), key });
            }
            if now_tick < self.cursor {
                return None;
            }
            match self.next_tick() {
                Some(tick) if tick <= now_tick => self.examine(tick),
                _ => {
                    self.cursor = now_tick + 1;
                    return None;
                }
            }
        }
    }

    /// When to poll next, ms: no timer fires sooner. Where a timer was cancelled lately it may be
    /// too early, once.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        let due = self.at(DUE).next;
        let tick = if due == DUE { self.next_tick() } else { Some(self.at(due).tick) };
        tick.map(|tick| tick.saturating_mul(TICK_MS))
    }

    /// Whether `id` waits for its time.
    pub fn is_armed(&self, id: TimerId) -> bool {
        let index = id.0.get();
        index > DUE && self.nodes.get(index as usize).is_some_and(|node| node.prev != NONE)
    }

    /// Timers armed.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no timer is armed.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The tick that fires a deadline: rounded up, so that nothing is early, and not before the
    /// cursor, because a tick is examined once.
    fn tick_of(&self, at_ms: u64) -> u64 {
        at_ms.div_ceil(TICK_MS).max(self.cursor)
    }

    /// Moves what is due at `tick` to the list of timers due.
    fn examine(&mut self, tick: u64) {
        debug_assert!(tick >= self.cursor, "a tick is examined once");
        self.cursor = tick + 1;
        let slot = slot_of(tick);
        let mut earliest = u64::MAX;
        let mut index = self.at(slot).next;
        while index != slot {
            let Node { tick: timer_tick, next, .. } = *self.at(index);
            if timer_tick == tick {
                self.unlink(index);
                self.link(DUE, index);
            } else {
                earliest = earliest.min(timer_tick);
            }
            index = next;
        }
        self.at_mut(slot).tick = earliest;
    }

    /// A lower bound of the ticks in the slots; exact but for cancelled timers.
    fn next_tick(&self) -> Option<u64> {
        let start = slot_of(self.cursor) as usize;
        let mut later = None;
        for step in 0..=WORDS {
            let word = (start / 64 + step) % WORDS;
            // The rotation begins and ends within one word.
            let mask = match step {
                0 => u64::MAX << (start % 64),
                WORDS => !(u64::MAX << (start % 64)),
                _ => u64::MAX,
            };
            let mut bits = self.occupied[word] & mask;
            while bits != 0 {
                let slot = word * 64 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                let tick = self.nodes[slot].tick;
                debug_assert!(tick >= self.cursor, "a slot kept what was due");
                if tick - self.cursor < u64::from(SLOTS) {
                    return Some(tick);
                }
                later = Some(later.map_or(tick, |other: u64| other.min(tick)));
            }
        }
        later
    }

    fn link_slot(&mut self, index: u32) {
        let tick = self.at(index).tick;
        let slot = slot_of(tick);
        let (word, bit) = (slot as usize / 64, 1 << (slot % 64));
        if self.occupied[word] & bit == 0 {
            self.occupied[word] |= bit;
            self.at_mut(slot).tick = tick;
        } else if tick < self.at(slot).tick {
            self.at_mut(slot).tick = tick;
        }
        self.link(slot, index);
    }

    fn link(&mut self, list: u32, index: u32) {
        let last = self.at(list).prev;
        let node = self.at_mut(index);
        node.prev = last;
        node.next = list;
        self.at_mut(last).next = index;
        self.at_mut(list).prev = index;
    }

    fn unlink(&mut self, index: u32) {
        let Node { prev, next, .. } = *self.at(index);
        self.at_mut(prev).next = next;
        self.at_mut(next).prev = prev;
        // Only a sentinel is on both sides of a node.
        if prev == next && prev < DUE {
            self.occupied[prev as usize / 64] &= !(1 << (prev % 64));
        }
    }

    fn release(&mut self, index: u32) {
        self.unlink(index);
        let free = self.free;
        let node = self.at_mut(index);
        node.prev = NONE;
        node.next = free;
        self.free = index;
        self.len -= 1;
    }

    fn at(&self, index: u32) -> &Node {
        &self.nodes[index as usize]
    }

    fn at_mut(&mut self, index: u32) -> &mut Node {
        &mut self.nodes[index as usize]
    }
}

#[expect(clippy::cast_possible_truncation, reason = "less than SLOTS")]
fn slot_of(tick: u64) -> u32 {
    (tick % u64::from(SLOTS)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const ROTATION_MS: u64 = SLOTS as u64 * TICK_MS;
    const DAY_MS: u64 = 86_400_000;

    fn poll_all(wheel: &mut Wheel, now_ms: u64) -> Vec<u64> {
        std::iter::from_fn(|| wheel.poll(now_ms).map(|fired| fired.key)).collect()
    }

    #[test]
    fn fires_in_order_never_early() {
        let mut wheel = Wheel::new(1_000);
        wheel.arm(1_300, 2);
        wheel.arm(1_100, 1);
        wheel.arm(1_000 + 3 * ROTATION_MS, 3);
        assert_eq!(poll_all(&mut wheel, 1_099), [] as [u64; 0]);
        assert_eq!(poll_all(&mut wheel, 1_000 + ROTATION_MS), [1, 2]);
        assert_eq!(poll_all(&mut wheel, 999 + 3 * ROTATION_MS), [] as [u64; 0]);
        assert_eq!(poll_all(&mut wheel, 1_000 + 3 * ROTATION_MS + TICK_MS), [3]);
        assert!(wheel.is_empty());
    }

    #[test]
    fn a_gap_of_days_keeps_the_order_of_rotations() {
        let mut wheel = Wheel::new(7);
        // In an order that is not theirs, several to a slot.
        for i in 0..5_000 {
            let n = i * 3_001 % 5_000;
            wheel.arm(n * 40_009, n);
        }
        let fired = poll_all(&mut wheel, 100 * DAY_MS);
        assert_eq!(fired, (0..5_000).collect::<Vec<_>>());
        assert_eq!(wheel.next_deadline_ms(), None);
    }

    #[test]
    fn a_far_deadline_lets_the_shard_sleep() {
        let mut wheel = Wheel::new(0);
        wheel.arm(DAY_MS, 1);
        assert_eq!(wheel.next_deadline_ms(), Some(DAY_MS));
        let near = wheel.arm(DAY_MS % ROTATION_MS, 2);
        assert_eq!(wheel.next_deadline_ms(), Some(DAY_MS % ROTATION_MS));
        assert!(wheel.cancel(near));
        assert_eq!(poll_all(&mut wheel, 2 * ROTATION_MS), [] as [u64; 0]);
        assert_eq!(wheel.next_deadline_ms(), Some(DAY_MS));
    }

    #[test]
    fn what_is_armed_for_the_past_waits_for_the_next_tick() {
        let mut wheel = Wheel::new(10_000);
        assert_eq!(poll_all(&mut wheel, 10_000), [] as [u64; 0]);
        wheel.arm(5, 1);
        assert_eq!(wheel.poll(10_000), None);
        assert_eq!(poll_all(&mut wheel, 10_000 + TICK_MS), [1]);
    }

    #[test]
    fn a_timer_that_is_due_can_still_be_cancelled_or_moved() {
        let mut wheel = Wheel::new(0);
        let ids: Vec<_> = (0..4).map(|key| wheel.arm(100, key)).collect();
        assert_eq!(wheel.poll(200).map(|fired| fired.id), Some(ids[0]));
        assert!(!wheel.cancel(ids[0]), "it fired");
        assert!(!wheel.rearm(ids[0], 300), "it fired");
        assert!(wheel.cancel(ids[1]));
        assert!(wheel.rearm(ids[2], 500));
        assert_eq!(poll_all(&mut wheel, 200), [3]);
        assert_eq!(poll_all(&mut wheel, 600), [2]);
    }

    #[test]
    fn the_last_representable_time_is_no_special_case() {
        let mut wheel = Wheel::new(0);
        wheel.arm(u64::MAX, 1);
        assert_eq!(wheel.next_deadline_ms(), Some(u64::MAX));
        assert_eq!(poll_all(&mut wheel, u64::MAX / 2), [] as [u64; 0]);
        assert_eq!(wheel.len(), 1);
    }

    #[test]
    fn steady_state_does_not_grow() {
        let mut wheel = Wheel::with_capacity(0, 1_000);
        let capacity = wheel.nodes.capacity();
        for now_ms in (0..500_000).step_by(100) {
            while wheel.len() < 1_000 {
                wheel.arm(now_ms + wheel.len() as u64 * 17, 0);
            }
            poll_all(&mut wheel, now_ms);
        }
        assert_eq!(wheel.nodes.capacity(), capacity);
    }

    #[derive(Clone, Debug)]
    enum Op {
        Arm { delay_ms: u64 },
        Cancel { pick: usize },
        Rearm { pick: usize, delay_ms: u64 },
        Poll { gap_ms: u64, at_most: usize },
    }

    fn op() -> impl Strategy<Value = Op> {
        let delay = prop_oneof![
            3 => 0..300_u64,
            3 => 0..ROTATION_MS,
            2 => 0..10 * ROTATION_MS,
            1 => (0..20_u64).prop_map(|n| n * ROTATION_MS),
        ];
        let gap = prop_oneof![6 => 0..200_u64, 3 => 0..ROTATION_MS, 1 => 0..8 * ROTATION_MS];
        let at_most = prop_oneof![4 => Just(usize::MAX), 1 => 0..4_usize];
        prop_oneof![
            5 => delay.clone().prop_map(|delay_ms| Op::Arm { delay_ms }),
            2 => any::<usize>().prop_map(|pick| Op::Cancel { pick }),
            3 => (any::<usize>(), delay).prop_map(|(pick, delay_ms)| Op::Rearm { pick, delay_ms }),
            4 => (gap, at_most).prop_map(|(gap_ms, at_most)| Op::Poll { gap_ms, at_most }),
        ]
    }

    /// A timer as its owner thinks of it.
    #[derive(Clone, Copy)]
    struct Expected {
        id: TimerId,
        at_ms: u64,
        armed_ms: u64,
    }

    impl Expected {
        /// By when a poll must have fired it.
        fn latest_ms(&self) -> u64 {
            self.at_ms.max(self.armed_ms) + TICK_MS
        }
    }

    /// Polls as told and holds every timer that fires, and every one that does not, against the
    /// promises of the module.
    fn poll_and_check(
        wheel: &mut Wheel,
        model: &mut BTreeMap<u64, Expected>,
        now_ms: u64,
        at_most: usize,
    ) {
        let mut last_tick = 0;
        for _ in 0..at_most {
            let Some(fired) = wheel.poll(now_ms) else {
                for timer in model.values() {
                    assert!(timer.latest_ms() > now_ms, "late");
                }
                let next_ms = wheel.next_deadline_ms();
                assert!(next_ms.is_none_or(|at_ms| at_ms > now_ms), "no progress");
                break;
            };
            let timer = model.remove(&fired.key).expect("fires at most once");
            assert_eq!(timer.id, fired.id);
            assert!(!wheel.is_armed(fired.id));
            assert!(timer.at_ms <= now_ms, "early");
            if timer.at_ms > timer.armed_ms {
                let tick = timer.at_ms.div_ceil(TICK_MS);
                assert!(tick >= last_tick, "order");
                last_tick = tick;
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 512, failure_persistence: None, ..ProptestConfig::default()
        })]
        #[test]
        fn keeps_its_promises(
            start_ms in 0..10 * DAY_MS,
            ops in prop::collection::vec(op(), 1..300),
        ) {
            let mut wheel = Wheel::new(start_ms);
            let mut model = BTreeMap::<u64, Expected>::new();
            let mut now_ms = start_ms;
            let mut next_key = 0;
            for op in ops {
                match op {
                    Op::Arm { delay_ms } => {
                        // Some deadlines have passed.
                        let at_ms = (now_ms + delay_ms).saturating_sub(100);
                        let id = wheel.arm(at_ms, next_key);
                        model.insert(next_key, Expected { id, at_ms, armed_ms: now_ms });
                        next_key += 1;
                    }
                    Op::Cancel { pick } if !model.is_empty() => {
                        let (&key, timer) = model.iter().nth(pick % model.len()).unwrap();
                        prop_assert!(wheel.cancel(timer.id));
                        prop_assert!(!wheel.cancel(timer.id));
                        model.remove(&key);
                    }
                    Op::Rearm { pick, delay_ms } if !model.is_empty() => {
                        let pick = pick % model.len();
                        let timer = model.values_mut().nth(pick).unwrap();
                        timer.at_ms = now_ms + delay_ms;
                        timer.armed_ms = now_ms;
                        prop_assert!(wheel.rearm(timer.id, timer.at_ms));
                    }
                    Op::Poll { gap_ms, at_most } => {
                        now_ms += gap_ms;
                        poll_and_check(&mut wheel, &mut model, now_ms, at_most);
                    }
                    Op::Cancel { .. } | Op::Rearm { .. } => {}
                }
                prop_assert_eq!(wheel.len(), model.len());
                let bound_ms = wheel.next_deadline_ms();
                prop_assert_eq!(bound_ms.is_some(), !model.is_empty());
                for timer in model.values() {
                    prop_assert!(bound_ms.unwrap() <= timer.latest_ms(), "would oversleep");
                }
            }
            poll_and_check(&mut wheel, &mut model, now_ms + 100 * ROTATION_MS, usize::MAX);
            prop_assert!(model.is_empty());
        }
    }
}
