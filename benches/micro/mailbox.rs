//! Mailboxes: lanes filled and drained on one thread, and one message there and back between two
//! threads, which look all the time or sleep on their rings between two messages as shards do.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use criterion::{Criterion, Throughput};
use ringmesh_ring::{Doorbell, Ring, RingConfig, allowed_cpus, pin_to_cpu};
use ringmesh_runtime::call::Answer;
use ringmesh_runtime::mailbox::{Address, Capacities, Inbox, Messages, mailbox};
use ringmesh_runtime::message::{Event, Noted, Relay, Request};

/// Messages sent before they are drained.
const BATCH: usize = 64;
const CAPACITIES: Capacities =
    Capacities { requests: 1024, replies: 1024, notes: 4096, events: 1024, relays: 1024 };
/// A thread that looks all the time lets others run this often, for machines with few cores.
const LOOKS_PER_YIELD: u32 = 1 << 12;

/// The messages of a shard, but for the identity of a call, which only a shard makes.
enum Like {}

impl Messages for Like {
    type Request = Request;
    type Reply = (u64, Answer);
    type Note = (u64, Noted);
    type Event = Event;
    type Relay = Relay;
}

pub(crate) fn benches(criterion: &mut Criterion) {
    lanes(criterion);
    // Asked before a thread is kept on one of them.
    let cpus = allowed_cpus().unwrap_or_default();
    let mut group = criterion.benchmark_group("mailbox");
    for (name, asleep) in [("ping_pong/awake", false), ("ping_pong/asleep", true)] {
        group.bench_function(name, |bencher| {
            let echo = Echo::start(asleep, cpus.first().copied());
            let mut own = Own::new(echo.inbox(), cpus.get(1).copied());
            bencher.iter(|| own.round_trip(&echo.address, asleep));
        });
    }
    group.finish();
}

fn lanes(criterion: &mut Criterion) {
    let (address, mut inbox) = mailbox::<Like>(CAPACITIES, Arc::new(doorbell()));
    let mut requests = Vec::with_capacity(BATCH);
    let mut group = criterion.benchmark_group("mailbox");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("requests/64", |bencher| {
        bencher.iter(|| {
            requests.clear();
            for grace_ms in 0..BATCH as u64 {
                address.send_request(black_box(Request::Drain { grace_ms })).expect("a place");
            }
            inbox.drain_requests(BATCH, &mut requests);
            requests.len()
        });
    });
    let (mut notes, mut replies) = (Vec::new(), Vec::with_capacity(BATCH));
    group.bench_function("replies/64", |bencher| {
        bencher.iter(|| {
            replies.clear();
            for call in 0..BATCH as u64 {
                address.send_reply(black_box((call, Answer::default()))).expect("a place");
            }
            inbox.drain_results(BATCH, &mut notes, &mut replies);
            replies.len()
        });
    });
    group.finish();
    assert!(inbox.is_quiet(), "all was drained");
}

/// The thread that sends each request back.
struct Echo {
    address: Address<Like>,
    /// Where it sends to; given away once.
    back: std::cell::Cell<Option<(Inbox<Like>, Doorbell)>>,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Echo {
    fn start(asleep: bool, cpu: Option<usize>) -> Self {
        let (bell, own_bell) = (doorbell(), doorbell());
        let (address, inbox) = mailbox::<Like>(CAPACITIES, Arc::new(bell.clone()));
        let (back, own_inbox) = mailbox::<Like>(CAPACITIES, Arc::new(own_bell.clone()));
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let serve = move || {
            stay_on(cpu);
            let mut end = End::new(inbox, bell);
            while let Some(request) = end.next(asleep, &stopped) {
                back.send_request(request).expect("a place");
            }
        };
        let thread = Some(thread::spawn(serve));
        let back = std::cell::Cell::new(Some((own_inbox, own_bell)));
        Self { address, back, stop, thread }
    }

    fn inbox(&self) -> (Inbox<Like>, Doorbell) {
        self.back.take().expect("taken once")
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.address.wake();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the echo ends well");
        }
    }
}

/// The end that measures.
struct Own {
    end: End,
    never: AtomicBool,
}

impl Own {
    fn new((inbox, bell): (Inbox<Like>, Doorbell), cpu: Option<usize>) -> Self {
        stay_on(cpu);
        Self { end: End::new(inbox, bell), never: AtomicBool::new(false) }
    }

    fn round_trip(&mut self, to: &Address<Like>, asleep: bool) -> bool {
        to.send_request(Request::Drain { grace_ms: 7 }).expect("a place");
        self.end.next(asleep, &self.never).is_some()
    }
}

/// An inbox and the ring on which its thread sleeps.
struct End {
    inbox: Inbox<Like>,
    ring: Ring,
    requests: Vec<Request>,
    completions: Vec<ringmesh_runtime::io::Completion>,
}

impl End {
    fn new(inbox: Inbox<Like>, bell: Doorbell) -> Self {
        let config = RingConfig { table: 16, buffers: 2, ..RingConfig::default() };
        let mut ring = Ring::with_doorbell(&config, bell).expect("an io_uring");
        ring.poll();
        Self { inbox, ring, requests: Vec::with_capacity(1), completions: Vec::new() }
    }

    /// The next request, or `None` once it is to stop.
    fn next(&mut self, asleep: bool, stop: &AtomicBool) -> Option<Request> {
        let mut looks = 0_u32;
        loop {
            self.inbox.drain_requests(1, &mut self.requests);
            if let Some(request) = self.requests.pop() {
                return Some(request);
            }
            if stop.load(Ordering::SeqCst) {
                return None;
            }
            if asleep {
                self.sleep(stop);
                continue;
            }
            looks += 1;
            std::hint::spin_loop();
            if looks.is_multiple_of(LOOKS_PER_YIELD) {
                thread::yield_now();
            }
        }
    }

    fn sleep(&mut self, stop: &AtomicBool) {
        if self.inbox.prepare_sleep() && !stop.load(Ordering::SeqCst) {
            self.ring.wait(None);
        }
        self.inbox.awake();
        self.ring.reap(&mut self.completions);
        self.completions.clear();
    }
}

fn doorbell() -> Doorbell {
    Doorbell::new().expect("a descriptor")
}

/// Keeps the calling thread on a processor. Where there is none for each of the two, or it cannot be
/// had, the figures are those of wherever the scheduler puts them.
fn stay_on(cpu: Option<usize>) {
    if let Some(cpu) = cpu {
        pin_to_cpu(cpu).ok();
    }
}
