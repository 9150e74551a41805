//! The flag by which a receiver says that it sleeps, so that senders ring its doorbell only then.
//!
//! One value lives in each mailbox, written by its receiver and by every sender. It is the whole
//! sleep-and-ring protocol, apart from the queues, so that loom can try all its interleavings.
//!
//! Invariant: a message pushed before [`Doze::rouse`] is either seen by the check within
//! [`Doze::prepare_sleep`], or some sender is told to ring after the receiver said that it sleeps.
//! Each side writes its own word, passes a sequentially consistent fence, and then reads the
//! other's: two such fences have an order, so at least one side sees what the other wrote.
//!
//! Left out: how one sleeps and rings. A ring must be kept until the sleeper takes it (as an
//! eventfd does), because it may come before the receiver reaches its wait, or after it woke for
//! another reason.

use self::sync::{AtomicBool, Ordering, fence};

/// Whether the receiver sleeps, or is about to.
#[derive(Debug)]
pub(crate) struct Doze {
    asleep: AtomicBool,
}

impl Doze {
    /// A receiver that is awake.
    pub(crate) fn new() -> Self {
        Self { asleep: AtomicBool::new(false) }
    }

    /// For the receiver: announces its sleep, then looks once more whether all `is_quiet`.
    /// True: it may wait for the bell (and calls [`Doze::awake`] afterwards). False: something
    /// came in, and the receiver counts as awake again.
    #[must_use]
    pub(crate) fn prepare_sleep(&self, is_quiet: impl FnOnce() -> bool) -> bool {
        // A swap comes after every swap of a sender before it, for whoever looks; about a store
        // that is true as well, but takes a longer argument, which loom does not follow.
        self.asleep.swap(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let quiet = is_quiet();
        if !quiet {
            self.awake();
        }
        quiet
    }

    /// For the receiver: it woke, whoever woke it. Until it sleeps again nobody needs to ring.
    pub(crate) fn awake(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// For a sender, after its push: whether it must ring now. Of several senders that find the
    /// receiver asleep one is told so.
    #[must_use]
    pub(crate) fn rouse(&self) -> bool {
        fence(Ordering::SeqCst);
        // The plain load keeps the cache line shared while the receiver is awake.
        self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed)
    }
}

/// Loom is a dependency of tests alone: the plain library under `--cfg loom` keeps std's atomics.
#[cfg(all(test, loom))]
mod sync {
    pub(super) use loom::sync::atomic::{AtomicBool, Ordering, fence};
}

#[cfg(not(all(test, loom)))]
mod sync {
    pub(super) use std::sync::atomic::{AtomicBool, Ordering, fence};
}

/// `RUSTFLAGS="--cfg loom" cargo test -p ringmesh-runtime --release --target-dir target/loom doze`
///
/// Without either fence, or without the second look, these end in a deadlock that loom reports.
#[cfg(all(test, loom))]
mod loom_tests {
    use super::Doze;
    use loom::sync::atomic::{AtomicUsize, Ordering};
    use loom::sync::{Arc, Condvar, Mutex};
    use loom::thread;

    /// A stand-in for a lane: it counts. A lock would lend the protocol an order that the real
    /// queue does not promise.
    #[derive(Default)]
    struct Lane {
        pushed: AtomicUsize,
    }

    impl Lane {
        fn push(&self) {
            self.pushed.fetch_add(1, Ordering::Release);
        }

        fn pushed(&self) -> usize {
            self.pushed.load(Ordering::Acquire)
        }
    }

    /// A stand-in for an eventfd: a ring is kept until it is taken.
    struct Bell {
        rung: Mutex<bool>,
        changed: Condvar,
    }

    impl Bell {
        fn ring(&self) {
            *self.rung.lock().expect("no poison") = true;
            self.changed.notify_one();
        }

        fn wait(&self) {
            let mut rung = self.rung.lock().expect("no poison");
            while !*rung {
                rung = self.changed.wait(rung).expect("no poison");
            }
            *rung = false;
        }
    }

    struct Mailbox {
        doze: Doze,
        lane: Lane,
        bell: Bell,
    }

    impl Mailbox {
        fn new() -> Arc<Self> {
            Arc::new(Self {
                doze: Doze::new(),
                lane: Lane::default(),
                bell: Bell { rung: Mutex::new(false), changed: Condvar::new() },
            })
        }

        fn send(&self) {
            self.lane.push();
            if self.doze.rouse() {
                self.bell.ring();
            }
        }

        /// Takes `count` messages, asleep whenever it may be.
        fn receive(&self, count: usize) {
            let mut taken = 0;
            while taken < count {
                let pushed = self.lane.pushed();
                if pushed > taken {
                    taken = pushed;
                } else if self.doze.prepare_sleep(|| self.lane.pushed() == taken) {
                    self.bell.wait();
                    self.doze.awake();
                }
            }
        }
    }

    /// One sender rings, or the receiver does not sleep.
    #[test]
    fn one_sender_of_two_messages_never_leaves_the_receiver_asleep() {
        loom::model(|| {
            let mailbox = Mailbox::new();
            let sender = {
                let mailbox = mailbox.clone();
                thread::spawn(move || {
                    mailbox.send();
                    mailbox.send();
                })
            };
            mailbox.receive(2);
            sender.join().expect("no panic");
        });
    }

    /// A sender that finds the flag already taken relies on the ring of the one who took it.
    #[test]
    fn two_senders_never_leave_the_receiver_asleep() {
        let mut model = loom::model::Builder::new();
        // All interleavings with up to three forced switches; without a bound it takes minutes.
        model.preemption_bound = Some(3);
        model.check(|| {
            let mailbox = Mailbox::new();
            let senders: Vec<_> = (0..2)
                .map(|_| {
                    let mailbox = mailbox.clone();
                    thread::spawn(move || mailbox.send())
                })
                .collect();
            mailbox.receive(2);
            for sender in senders {
                sender.join().expect("no panic");
            }
        });
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::Doze;

    #[test]
    fn only_the_first_sender_rings_and_only_a_sleeper() {
        let doze = Doze::new();
        assert!(!doze.rouse(), "nobody sleeps");
        assert!(doze.prepare_sleep(|| true));
        assert!(doze.rouse());
        assert!(!doze.rouse(), "somebody rings already");
        doze.awake();
        assert!(!doze.prepare_sleep(|| false), "something came in");
        assert!(!doze.rouse(), "so it stays awake");
    }
}
