use std::sync::mpsc;
use std::time::Instant;

use ringmesh_runtime::call::{Answer, Context, Ending, StateKey};
use ringmesh_runtime::mailbox::{Bell, Capacities, mailbox};
use ringmesh_runtime::message::{Inbox, Reply};
use serde_json::value::RawValue;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

struct NoBell;

impl Bell for NoBell {
    fn ring(&self) {}
}

/// A mailbox, and calls that reply to it.
struct Home {
    inbox: Inbox,
    address: ringmesh_runtime::message::Address,
}

impl Home {
    fn new() -> Self {
        let capacities = Capacities { requests: 1, replies: 256, notes: 256, events: 1, relays: 2 };
        let (address, inbox) = mailbox(capacities, Arc::new(NoBell));
        Self { inbox, address }
    }

    fn context(&self, name: &str) -> Context {
        let params: &RawValue = serde_json::from_str("{}").expect("JSON");
        let key = Arc::new(StateKey::from_secret(b"test"));
        Context::detached("tools/call", name, params, key, self.address.clone())
    }

    fn blocking(&self, work: impl Fn(&Context) -> Answer + Send + Sync + 'static) -> Job {
        Job { work: Work::Blocking(Arc::new(work)), context: self.context("t"), what: "tool" }
    }

    fn replies(&mut self, count: usize) -> Vec<Reply> {
        let mut replies = Vec::new();
        until(|| {
            self.inbox.drain_results(256, &mut Vec::new(), &mut replies);
            replies.len() >= count
        });
        replies
    }
}

fn until(mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < PATIENCE, "it never happened");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn complete() -> Answer {
    let mut answer = Answer::default();
    answer.begin(Ending::Complete);
    answer
}

fn pools(blocking_threads: usize, queue_max: usize, lost_max: usize) -> Arc<Pools> {
    let config =
        PoolsConfig { async_threads: 1, async_max: 2, blocking_threads, queue_max, lost_max };
    Pools::new(&config).expect("threads start")
}

/// Work that lasts until the sender is dropped, deaf to cancellation.
fn deaf() -> (mpsc::Sender<()>, impl Fn(&Context) -> Answer + Send + Sync + 'static) {
    let (hold, held) = mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let work = move |_: &Context| {
        held.lock().expect("one user").recv().unwrap_err();
        complete()
    };
    (hold, work)
}

#[test]
fn blocking_jobs_run_and_full_pools_give_them_back() {
    let (pools, mut home) = (pools(1, 1, 0), Home::new());
    let (hold, work) = deaf();
    pools.submit(home.blocking(work)).map_err(|_| "refused").expect("room");
    until(|| pools.stats().blocking_running == 1);
    pools.submit(home.blocking(|_| complete())).map_err(|_| "refused").expect("room");
    let refused = pools.submit(home.blocking(|_| complete()));
    assert!(refused.is_err());
    assert_eq!((pools.stats().queued, pools.stats().refused), (1, 1));
    drop(hold);
    drop(refused);
    let endings: Vec<_> = home.replies(3).iter().map(|reply| reply.answer.ending()).collect();
    let complete = endings.iter().filter(|ending| **ending == Ending::Complete).count();
    // The refused job was dropped here; a shard disowns it before.
    assert_eq!((complete, endings.len()), (2, 3));
}

#[test]
fn a_panic_is_answered_and_its_thread_goes_on() {
    let (pools, mut home) = (pools(1, 8, 0), Home::new());
    pools.submit(home.blocking(|_| panic!("on purpose"))).map_err(|_| "refused").expect("room");
    assert_eq!(home.replies(1)[0].answer.ending(), Ending::Panicked);
    pools.submit(home.blocking(|_| complete())).map_err(|_| "refused").expect("room");
    assert_eq!(home.replies(1)[0].answer.ending(), Ending::Complete);
}

#[test]
fn a_lost_thread_is_replaced_and_the_surplus_ends() {
    let (pools, mut home) = (pools(1, 8, 1), Home::new());
    let (hold, work) = deaf();
    let job = home.blocking(work);
    let cancel = job.context.cancel().clone();
    pools.submit(job).map_err(|_| "refused").expect("room");
    until(|| pools.stats().blocking_running == 1);
    cancel.cancel();
    assert_eq!(pools.stats().blocking_lost, 1);
    // The one thread is lost: only a replacement can run this.
    pools.submit(home.blocking(|_| complete())).map_err(|_| "refused").expect("room");
    assert_eq!(home.replies(1)[0].answer.ending(), Ending::Complete);
    assert_eq!(pools.threads.live(), 2);
    drop(hold);
    assert_eq!(home.replies(1).len(), 1);
    until(|| pools.threads.live() == 1);
    assert_eq!(pools.stats().blocking_lost, 0);
    pools.submit(home.blocking(|_| complete())).map_err(|_| "refused").expect("room");
    assert_eq!(home.replies(1).len(), 1);
}

#[test]
fn threads_are_replaced_up_to_a_bound() {
    let (pools, mut home) = (pools(1, 8, 1), Home::new());
    let mut holds = Vec::new();
    for lost in 1..=2 {
        let (hold, work) = deaf();
        holds.push(hold);
        let job = home.blocking(work);
        let cancel = job.context.cancel().clone();
        pools.submit(job).map_err(|_| "refused").expect("room");
        until(|| pools.stats().blocking_running == lost);
        cancel.cancel();
    }
    pools.submit(home.blocking(|_| complete())).map_err(|_| "refused").expect("room");
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!((pools.threads.live(), pools.stats().queued), (2, 1));
    drop(holds);
    assert_eq!(home.replies(3).len(), 3);
    until(|| pools.threads.live() == 1 && pools.stats().blocking_lost == 0);
}

#[test]
fn a_stopped_pool_ends_its_threads() {
    let (pools, mut home) = (pools(3, 8, 0), Home::new());
    pools.submit(home.blocking(|_| complete())).map_err(|_| "refused").expect("room");
    pools.shutdown(PATIENCE);
    assert_eq!(home.replies(1)[0].answer.ending(), Ending::Complete);
    until(|| pools.threads.live() == 0);
}

#[cfg(feature = "tokio")]
mod tasks {
    use std::sync::atomic::AtomicBool;

    use super::*;

    impl Home {
        fn asynchronous<F>(&self, work: impl Fn(Context) -> F + Send + Sync + 'static) -> Job
        where
            F: Future<Output = Answer> + Send + 'static,
        {
            let work = Work::Async(Arc::new(move |context| Box::pin(work(context))));
            Job { work, context: self.context("t"), what: "tool" }
        }
    }

    #[test]
    fn futures_run_and_full_pools_give_them_back() {
        let (pools, mut home) = (pools(1, 1, 0), Home::new());
        let gate = Arc::new(tokio::sync::Semaphore::new(0));
        for taken in [true, true, false] {
            let gate = gate.clone();
            let job = home.asynchronous(move |_| {
                let gate = gate.clone();
                async move {
                    gate.acquire().await.expect("open").forget();
                    complete()
                }
            });
            assert_eq!(pools.submit(job).is_ok(), taken);
        }
        assert_eq!((pools.stats().async_running, pools.stats().refused), (2, 1));
        gate.add_permits(2);
        assert_eq!(home.replies(3).len(), 3);
        until(|| pools.stats().async_running == 0);
        pools.shutdown(PATIENCE);
        let late = pools.submit(home.asynchronous(|_| std::future::ready(complete())));
        drop(late);
        assert_eq!(home.replies(1)[0].answer.ending(), Ending::Silent);
    }

    #[test]
    fn a_panic_is_answered_wherever_it_happens() {
        let (pools, mut home) = (pools(1, 1, 0), Home::new());
        let early = home.asynchronous(|_| -> std::future::Ready<Answer> { panic!("on purpose") });
        pools.submit(early).map_err(|_| "refused").expect("room");
        assert_eq!(home.replies(1)[0].answer.ending(), Ending::Panicked);
        let late = home.asynchronous(|_| async {
            tokio::task::yield_now().await;
            panic!("on purpose")
        });
        pools.submit(late).map_err(|_| "refused").expect("room");
        assert_eq!(home.replies(1)[0].answer.ending(), Ending::Panicked);
    }

    #[test]
    fn a_cancelled_call_ends_though_its_tool_left_a_context_behind() {
        let (pools, mut home) = (pools(1, 1, 0), Home::new());
        let left = Arc::new(std::sync::Mutex::new(None));
        let leave = left.clone();
        let job = home.asynchronous(move |context| {
            *leave.lock().expect("one user") = Some(context);
            std::future::pending()
        });
        let cancel = job.context.cancel().clone();
        pools.submit(job).map_err(|_| "refused").expect("room");
        until(|| left.lock().expect("one user").is_some());
        cancel.cancel();
        assert_eq!(home.replies(1)[0].answer.ending(), Ending::Silent);
    }

    struct Flag(Arc<AtomicBool>);

    impl Drop for Flag {
        fn drop(&mut self) {
            assert!(ringmesh_runtime::guard::in_tool(), "a future is dropped as the tool's code");
            self.0.store(true, Ordering::Release);
            panic!("on purpose");
        }
    }

    #[test]
    fn a_cancelled_future_is_dropped_and_its_panic_caught() {
        let (pools, mut home) = (pools(1, 1, 0), Home::new());
        let (dropped, started) =
            (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (drops, starts) = (dropped.clone(), started.clone());
        let job = home.asynchronous(move |_| {
            let (flag, starts) = (Flag(drops.clone()), starts.clone());
            async move {
                let _flag = flag;
                starts.store(true, Ordering::Release);
                std::future::pending().await
            }
        });
        let cancel = job.context.cancel().clone();
        pools.submit(job).map_err(|_| "refused").expect("room");
        until(|| started.load(Ordering::Acquire));
        cancel.cancel();
        until(|| dropped.load(Ordering::Acquire));
        assert_eq!(home.replies(1)[0].answer.ending(), Ending::Silent);
        until(|| pools.stats().async_running == 0);
    }
}
