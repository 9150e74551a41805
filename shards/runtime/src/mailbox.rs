//! The mailbox of a shard: bounded lanes, and a doorbell that is rung only when the shard sleeps.
//!
//! One mailbox lives once per shard. Its [`Inbox`] belongs to the shard; its [`Address`] is held by
//! every other shard, by the pools of tools and by the control plane.
//!
//! Invariants:
//! - Nobody waits. A full lane gives the message back as [`Busy`], and the sender tells its client;
//!   only events are dropped, and then the receiver learns that it missed some.
//! - Requests and replies have separate lanes, so that a flood of requests cannot hold up the
//!   replies that would relieve it.
//! - A note that a thread sent before its reply is seen before the reply.
//! - After each message the shard is awake, or somebody rings its bell (the module `doze`).
//!
//! Left out: how the bell rings (an eventfd in `ring`, a flag in `sim`), and what the messages
//! are. The queues are crossbeam's: lock-free, though a receiver spins for the few instructions
//! in which a sender fills a place that it has taken.

use crate::doze::Doze;
use crate::probe::Lane;
use crossbeam::queue::ArrayQueue;
use crossbeam::utils::CachePadded;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What a lane's place takes besides its message.
pub const PLACE_BYTES: usize = size_of::<usize>();

/// What wakes a sleeping shard. A ring is kept until the shard takes it, as an eventfd does.
pub trait Bell: Send + Sync {
    /// Wakes the shard, or its next wait. Never blocks.
    fn ring(&self);
}

/// The types of a mailbox's messages.
pub trait Messages: 'static {
    /// Work of the control plane and of other shards.
    type Request: Send;
    /// The final answer of a tool that ran in a pool.
    type Reply: Send;
    /// Progress and log messages of such a tool.
    type Note: Send;
    /// A change that concerns every shard, such as an updated resource.
    type Event: Send;
    /// A part of an answer that another shard gives to a connection of this one.
    type Relay: Send;
}

/// Bounds of the lanes, each at least 1. The places are allocated at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacities {
    /// Of [`Lane::Requests`].
    pub requests: usize,
    /// Of [`Lane::Replies`]: the bound of calls in flight, so that it can never be full.
    pub replies: usize,
    /// Of [`Lane::Notes`].
    pub notes: usize,
    /// Of [`Lane::Events`].
    pub events: usize,
    /// Of [`Lane::Relays`].
    pub relays: usize,
}

/// The lane was full: here is the message back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Busy<T>(pub T);

impl<T> fmt::Debug for Busy<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Busy")
    }
}

impl<T> fmt::Display for Busy<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the shard's lane is full")
    }
}

impl<T> std::error::Error for Busy<T> {}

/// Makes the mailbox of one shard, which `bell` wakes.
///
/// # Panics
/// If a capacity is 0.
pub fn mailbox<M: Messages>(capacities: Capacities, bell: Arc<dyn Bell>) -> (Address<M>, Inbox<M>) {
    let shared = Arc::new(Shared {
        requests: ArrayQueue::new(capacities.requests),
        replies: ArrayQueue::new(capacities.replies),
        notes: ArrayQueue::new(capacities.notes),
        events: ArrayQueue::new(capacities.events),
        relays: ArrayQueue::new(capacities.relays),
        missed_events: AtomicBool::new(false),
        doze: CachePadded::new(Doze::new()),
        rings: AtomicU64::new(0),
        busy: Default::default(),
        bell,
    });
    (Address { shared: shared.clone() }, Inbox { shared })
}

/// The end of everybody else: from any thread, never waiting. It stays good after the shard is
/// gone; then lanes fill and refuse.
pub struct Address<M: Messages> {
    shared: Arc<Shared<M>>,
}

impl<M: Messages> Address<M> {
    /// Asks something of the shard.
    ///
    /// # Errors
    /// [`Busy`] if the lane is full.
    pub fn send_request(&self, request: M::Request) -> Result<(), Busy<M::Request>> {
        let pushed = self.shared.requests.push(request);
        self.sent(Lane::Requests, pushed)
    }

    /// Brings the answer of a pooled tool.
    ///
    /// # Errors
    /// [`Busy`] if the lane is full: a bug, since it has a place for each call in flight.
    pub fn send_reply(&self, reply: M::Reply) -> Result<(), Busy<M::Reply>> {
        let pushed = self.shared.replies.push(reply);
        debug_assert!(pushed.is_ok(), "more replies than calls in flight");
        self.sent(Lane::Replies, pushed)
    }

    /// Brings progress or a log message of a pooled tool. Must not follow the call's reply.
    ///
    /// # Errors
    /// [`Busy`] if the lane is full.
    pub fn send_note(&self, note: M::Note) -> Result<(), Busy<M::Note>> {
        let pushed = self.shared.notes.push(note);
        self.sent(Lane::Notes, pushed)
    }

    /// Brings a part of an answer for a connection of the shard.
    ///
    /// # Errors
    /// [`Busy`] if the lane is full: the sender keeps it and tries again.
    pub fn send_relay(&self, relay: M::Relay) -> Result<(), Busy<M::Relay>> {
        let pushed = self.shared.relays.push(relay);
        self.sent(Lane::Relays, pushed)
    }

    /// Tells the shard of a change that has been made. If the lane is full the event is dropped,
    /// and the next [`Inbox::drain_events`] says that something was missed.
    pub fn send_event(&self, event: M::Event) {
        let pushed = self.shared.events.push(event);
        if pushed.is_err() {
            // Always a read-modify-write: a plain store, or none where the flag is up already,
            // would not show this sender's change to a shard that takes the flag just now.
            self.shared.missed_events.swap(true, Ordering::AcqRel);
            self.shared.count_busy(Lane::Events);
        }
        self.shared.wake();
    }

    /// Wakes the shard if it sleeps, so that it sees a change made outside the lanes. The shard
    /// looks for such changes after [`Inbox::prepare_sleep`].
    pub fn wake(&self) {
        self.shared.wake();
    }

    /// Messages that wait in a lane: a hint, old at once.
    pub fn depth(&self, lane: Lane) -> usize {
        self.shared.depth(lane)
    }

    fn sent<T>(&self, lane: Lane, pushed: Result<(), T>) -> Result<(), Busy<T>> {
        match pushed {
            Ok(()) => {
                self.shared.wake();
                Ok(())
            }
            // Whoever filled the lane has woken the shard, or is about to.
            Err(message) => {
                self.shared.count_busy(lane);
                Err(Busy(message))
            }
        }
    }
}

impl<M: Messages> Clone for Address<M> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<M: Messages> fmt::Debug for Address<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address").finish_non_exhaustive()
    }
}

/// The shard's end. The `drain_*` methods append to vectors that the shard allocated at its start.
pub struct Inbox<M: Messages> {
    shared: Arc<Shared<M>>,
}

impl<M: Messages> Inbox<M> {
    /// Takes up to `max` requests, oldest first.
    pub fn drain_requests(&mut self, max: usize, into: &mut Vec<M::Request>) {
        drain(&self.shared.requests, max, into);
    }

    /// Takes up to `max` relays, oldest first.
    pub fn drain_relays(&mut self, max: usize, into: &mut Vec<M::Relay>) {
        drain(&self.shared.relays, max, into);
    }

    /// Takes up to `replies_max` replies, oldest first, and every note that was sent before them:
    /// as many as the lane holds, at most [`Inbox::capacity`] of [`Lane::Notes`]. The caller
    /// handles the notes first; so no call is answered before its last progress.
    pub fn drain_results(
        &mut self,
        replies_max: usize,
        notes: &mut Vec<M::Note>,
        replies: &mut Vec<M::Reply>,
    ) {
        // Replies are taken first: whatever notes preceded them are in their lane by then.
        drain(&self.shared.replies, replies_max, replies);
        drain(&self.shared.notes, self.shared.notes.len(), notes);
    }

    /// Takes up to `max` events, oldest first. True: events were dropped, and the caller treats
    /// everything as changed once it has handled these.
    #[must_use]
    pub fn drain_events(&mut self, max: usize, into: &mut Vec<M::Event>) -> bool {
        drain(&self.shared.events, max, into);
        let missed = &self.shared.missed_events;
        missed.load(Ordering::Relaxed) && missed.swap(false, Ordering::AcqRel)
    }

    /// Whether all lanes are empty and no event was missed.
    pub fn is_quiet(&self) -> bool {
        let shared = &*self.shared;
        shared.requests.is_empty()
            && shared.replies.is_empty()
            && shared.notes.is_empty()
            && shared.events.is_empty()
            && shared.relays.is_empty()
            && !shared.missed_events.load(Ordering::Relaxed)
    }

    /// Announces that the shard will sleep. True: it may wait for its bell, and calls
    /// [`Inbox::awake`] when it woke. False: messages wait, and it must not.
    #[must_use]
    pub fn prepare_sleep(&self) -> bool {
        self.shared.doze.prepare_sleep(|| self.is_quiet())
    }

    /// Tells senders that they need not ring. Called after every wait.
    pub fn awake(&self) {
        self.shared.doze.awake();
    }

    /// Messages that wait in a lane.
    pub fn depth(&self, lane: Lane) -> usize {
        self.shared.depth(lane)
    }

    /// The bound of a lane.
    pub fn capacity(&self, lane: Lane) -> usize {
        match lane {
            Lane::Requests => self.shared.requests.capacity(),
            Lane::Replies => self.shared.replies.capacity(),
            Lane::Notes => self.shared.notes.capacity(),
            Lane::Events => self.shared.events.capacity(),
            Lane::Relays => self.shared.relays.capacity(),
        }
    }

    /// Messages that a lane refused since the start; of [`Lane::Events`] those that it dropped.
    pub fn busy(&self, lane: Lane) -> u64 {
        self.shared.busy[lane.index()].load(Ordering::Relaxed)
    }

    /// How often senders rang the bell since the start.
    pub fn rings(&self) -> u64 {
        self.shared.rings.load(Ordering::Relaxed)
    }
}

impl<M: Messages> fmt::Debug for Inbox<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").finish_non_exhaustive()
    }
}

struct Shared<M: Messages> {
    requests: ArrayQueue<M::Request>,
    replies: ArrayQueue<M::Reply>,
    notes: ArrayQueue<M::Note>,
    events: ArrayQueue<M::Event>,
    relays: ArrayQueue<M::Relay>,
    missed_events: AtomicBool,
    doze: CachePadded<Doze>,
    rings: AtomicU64,
    busy: [AtomicU64; Lane::COUNT],
    bell: Arc<dyn Bell>,
}

impl<M: Messages> Shared<M> {
    fn wake(&self) {
        if !self.doze.rouse() {
            return;
        }
        #[cfg(ringmesh_bugs)]
        if crate::bugs::active(crate::bugs::Bug::LostDoorbell) {
            return;
        }
        self.rings.fetch_add(1, Ordering::Relaxed);
        self.bell.ring();
    }

    fn count_busy(&self, lane: Lane) {
        self.busy[lane.index()].fetch_add(1, Ordering::Relaxed);
    }

    fn depth(&self, lane: Lane) -> usize {
        match lane {
            Lane::Requests => self.requests.len(),
            Lane::Replies => self.replies.len(),
            Lane::Notes => self.notes.len(),
            Lane::Events => self.events.len(),
            Lane::Relays => self.relays.len(),
        }
    }
}

fn drain<T>(lane: &ArrayQueue<T>, max: usize, into: &mut Vec<T>) {
    for _ in 0..max {
        let Some(message) = lane.pop() else { break };
        into.push(message);
    }
}

// Under loom the flag belongs to loom's models, which live in `doze`.
#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::mpsc::{SyncSender, sync_channel};
    use std::thread;
    use std::time::Duration;

    struct Numbers;

    /// Sender and serial number.
    type Stamp = (usize, u64);

    impl Messages for Numbers {
        type Request = Stamp;
        type Reply = Stamp;
        type Note = Stamp;
        type Event = Stamp;
        type Relay = Stamp;
    }

    /// One place, so that a ring is kept and a second one adds nothing.
    impl Bell for SyncSender<()> {
        fn ring(&self) {
            // Full: a ring is kept already. Closed: the test is over.
            self.try_send(()).ok();
        }
    }

    #[derive(Default)]
    struct Rings(AtomicU64);

    impl Bell for Rings {
        fn ring(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn small() -> (Address<Numbers>, Inbox<Numbers>, Arc<Rings>) {
        let rings = Arc::new(Rings::default());
        let capacities = Capacities { requests: 2, replies: 3, notes: 2, events: 2, relays: 2 };
        let (address, inbox) = mailbox(capacities, rings.clone());
        (address, inbox, rings)
    }

    #[test]
    fn a_full_lane_gives_the_message_back_and_others_stay_open() {
        let (address, mut inbox, _) = small();
        assert_eq!(address.send_request((0, 1)), Ok(()));
        assert_eq!(address.send_request((0, 2)), Ok(()));
        assert_eq!(address.send_request((0, 3)), Err(Busy((0, 3))));
        assert_eq!(address.send_reply((0, 4)), Ok(()));
        assert_eq!((inbox.depth(Lane::Requests), inbox.busy(Lane::Requests)), (2, 1));
        assert_eq!((address.depth(Lane::Replies), inbox.busy(Lane::Replies)), (1, 0));
        let mut requests = Vec::new();
        inbox.drain_requests(1, &mut requests);
        assert_eq!(requests, [(0, 1)]);
        assert_eq!(address.send_request((0, 3)), Ok(()));
    }

    #[test]
    #[cfg_attr(debug_assertions, should_panic(expected = "more replies than calls"))]
    fn a_reply_beyond_the_bound_of_calls_is_a_bug() {
        let (address, _inbox, _) = small();
        for i in 0..3 {
            assert_eq!(address.send_reply((0, i)), Ok(()));
        }
        assert_eq!(address.send_reply((0, 3)), Err(Busy((0, 3))));
    }

    #[test]
    fn a_missed_event_is_told_once() {
        let (address, mut inbox, _) = small();
        for i in 0..4 {
            address.send_event((0, i));
        }
        let mut events = Vec::new();
        assert!(inbox.drain_events(8, &mut events));
        assert_eq!(events, [(0, 0), (0, 1)]);
        assert_eq!(inbox.busy(Lane::Events), 2);
        assert!(!inbox.drain_events(8, &mut events));
        assert!(inbox.is_quiet());
    }

    #[test]
    fn the_bell_rings_once_for_a_sleeper_and_never_for_one_awake() {
        let (address, mut inbox, rings) = small();
        assert_eq!(address.send_note((0, 0)), Ok(()));
        assert_eq!(inbox.rings(), 0);
        assert!(!inbox.prepare_sleep(), "a note waits");
        inbox.drain_results(8, &mut Vec::new(), &mut Vec::new());
        assert!(inbox.prepare_sleep());
        assert_eq!(address.send_note((0, 1)), Ok(()));
        address.send_event((0, 2));
        inbox.awake();
        assert_eq!(address.send_request((0, 3)), Ok(()));
        assert_eq!((inbox.rings(), rings.0.load(Ordering::Relaxed)), (1, 1));
    }

    #[cfg(ringmesh_bugs)]
    #[test]
    fn the_bug_forgets_the_bell() {
        use crate::bugs::{Bug, activate};
        let (address, inbox, rings) = small();
        assert!(inbox.prepare_sleep());
        activate(Some(Bug::LostDoorbell));
        assert_eq!(address.send_note((0, 0)), Ok(()));
        activate(None);
        assert_eq!(rings.0.load(Ordering::Relaxed), 0);
    }

    const SENDERS: usize = 4;
    const CALLS: u64 = 20_000;

    /// Each call sends a request, an event, two notes and its reply, again while a lane is full.
    fn make_calls(address: &Address<Numbers>, sender: usize) {
        for call in 0..CALLS {
            while address.send_request((sender, call)).is_err() {
                thread::yield_now();
            }
            address.send_event((sender, call));
            for note in [2 * call, 2 * call + 1] {
                while address.send_note((sender, note)).is_err() {
                    thread::yield_now();
                }
            }
            // A reply must find its place: here the receiver's progress stands for the bound.
            while address.depth(Lane::Replies) >= 64 {
                thread::yield_now();
            }
            assert_eq!(address.send_reply((sender, call)), Ok(()));
        }
    }

    /// Every lane is drained in order, no note comes after its reply, no event vanishes untold,
    /// and the receiver, which sleeps whenever it may, is always woken.
    #[test]
    fn stress() {
        let (bell, doorbell) = sync_channel(1);
        let capacities =
            Capacities { requests: 8, replies: 64 + SENDERS, notes: 8, events: 8, relays: 2 };
        let (address, mut inbox) = mailbox::<Numbers>(capacities, Arc::new(bell));
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let address = address.clone();
                thread::spawn(move || make_calls(&address, sender))
            })
            .collect();

        let (mut requested, mut noted, mut replied) = ([0; SENDERS], [0; SENDERS], [0; SENDERS]);
        let (mut requests, mut notes, mut replies) = (Vec::new(), Vec::new(), Vec::new());
        let (mut events, mut events_seen, mut sleeps_tried) = (Vec::new(), 0, 0);
        while replied != [CALLS; SENDERS] || !inbox.is_quiet() {
            inbox.drain_requests(5, &mut requests);
            inbox.drain_results(3, &mut notes, &mut replies);
            if inbox.drain_events(5, &mut events) {
                assert!(inbox.busy(Lane::Events) > 0);
            }
            events_seen += events.drain(..).count() as u64;
            for (sender, call) in requests.drain(..) {
                assert_eq!(call, requested[sender]);
                requested[sender] += 1;
            }
            for (sender, note) in notes.drain(..) {
                assert_eq!(note, noted[sender]);
                noted[sender] += 1;
            }
            for (sender, call) in replies.drain(..) {
                assert_eq!(call, replied[sender]);
                assert!(noted[sender] >= 2 * (call + 1), "a reply overtook its notes");
                replied[sender] += 1;
            }
            if replied == [CALLS; SENDERS] {
                continue;
            }
            sleeps_tried += 1;
            if inbox.prepare_sleep() {
                doorbell.recv_timeout(Duration::from_secs(30)).expect("a ring was lost");
                inbox.awake();
            }
        }
        for sender in senders {
            sender.join().unwrap();
        }
        assert_eq!(requested, [CALLS; SENDERS]);
        assert_eq!(noted, [2 * CALLS; SENDERS]);
        assert_eq!(events_seen + inbox.busy(Lane::Events), SENDERS as u64 * CALLS);
        assert!(inbox.rings() <= sleeps_tried, "at most one ring each time it lay down");
    }
}
