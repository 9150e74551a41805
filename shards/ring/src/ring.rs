//! The ring itself: set-up, submission, waiting, reaping and the end.

use std::marker::PhantomData;
use std::time::Duration;

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue, opcode, squeue, types};
use nix::errno::Errno;
use ringmesh_runtime::io::{Completion, ConnId, IoError, ListenerId};

use crate::accepts::{AcceptQueue, ticket_of};
use crate::buffers::BufferRing;
use crate::clock::Clock;
use crate::config::{GATHER_NS_MAX, RingConfig, SetupError};
use crate::connects::Connects;
use crate::doorbell::Doorbell;
use crate::errno::{of_accept, of_receive, of_send, outcome};
use crate::listener::Listener;
use crate::receives::{End, Receives};
use crate::refusal::{Host, Refusal, Stage, releases_late};
use crate::sends::Sends;
use crate::user_data::{Kind, UserData};

/// Kernel threads for operations that the kernel does not do inline, which is shutdown alone.
const KERNEL_WORKERS_MAX: u32 = 2;
/// What reaping usually leaves to do at most.
const FOLLOW_UPS_USUAL: usize = 256;
/// How often, and how long, a dropped ring waits for the kernel to let go of its memory.
const DRAIN_ROUNDS_MAX: u32 = 200;
const DRAIN_ROUND: Duration = Duration::from_millis(50);

/// One shard's io_uring. See the crate's documentation for what it owns and keeps true.
pub struct Ring {
    // Dropped first: what the kernel may still name comes after it.
    pub(crate) uring: IoUring,
    pub(crate) accepts: Vec<AcceptQueue>,
    pub(crate) receives: Receives,
    pub(crate) sends: Sends,
    pub(crate) connects: Connects,
    pub(crate) buffers: BufferRing,
    pub(crate) clock: Clock,
    pub(crate) late_release: bool,
    /// Completions that were not the kernel's, or were reaped to make room.
    pub(crate) stash: Vec<Completion>,
    doorbell: Doorbell,
    /// What reaping found to be submitted before the next enter.
    pub(crate) follow_ups: Vec<FollowUp>,
    in_flight: u64,
    enter_flags: EnterFlags,
    /// Completions that a short wait is for.
    gather: u32,
    counters: Counters,
    /// The kernel knows one submitter, and the memory above is this thread's.
    _thread_bound: PhantomData<*mut ()>,
}

/// How the ring is used; every field only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// System calls made.
    pub enters: u64,
    /// Operations submitted.
    pub submissions: u64,
    /// Completions reaped, those of no interest to the shard included.
    pub completions: u64,
    /// Times that the submission queue was full before the end of a tick.
    pub queue_full: u64,
    /// Receives armed anew because the kernel releases descriptors late.
    pub renewals: u64,
}

pub(crate) enum FollowUp {
    Doorbell,
    Receive(ConnId),
    Cancel(ConnId),
    CancelConnect(ConnId),
}

impl Ring {
    /// Sets up a ring on the thread that will use it, with a doorbell of its own.
    ///
    /// # Errors
    /// A size that makes no sense, or a refusal of the system with its mend.
    pub fn new(config: &RingConfig) -> Result<Self, SetupError> {
        let doorbell = Doorbell::new().map_err(|errno| refusal(Stage::Doorbell, errno))?;
        Self::with_doorbell(config, doorbell)
    }

    /// Sets up a ring that answers to a doorbell made before, which is its alone.
    ///
    /// # Errors
    /// As [`Ring::new`].
    pub fn with_doorbell(config: &RingConfig, doorbell: Doorbell) -> Result<Self, SetupError> {
        config.check()?;
        let uring = build(config).map_err(|errno| refusal(Stage::Setup, errno))?;
        uring
            .submitter()
            .register_files_sparse(config.table)
            .map_err(|error| refusal(Stage::Table(config.table), errno_of(&error)))?;
        let buffers = BufferRing::new(&uring, config.buffers, config.buffer_bytes)
            .map_err(|errno| refusal(Stage::Buffers, errno))?;
        bound_workers(&uring);
        let mut enter_flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
        if uring.params().is_feature_no_iowait() {
            // A shard that waits for clients does not wait for a disk: without this an idle
            // shard's whole core shows as iowait.
            enter_flags |= EnterFlags::NO_IOWAIT;
        }
        let mut follow_ups = Vec::with_capacity(FOLLOW_UPS_USUAL);
        follow_ups.push(FollowUp::Doorbell);
        let late_release = config.late_release.unwrap_or_else(releases_late);
        Ok(Self {
            uring,
            accepts: Vec::new(),
            receives: Receives::new(config.table),
            sends: Sends::new(),
            connects: Connects::new(config.table),
            buffers,
            clock: Clock::new(),
            late_release,
            stash: Vec::new(),
            doorbell,
            follow_ups,
            in_flight: 0,
            enter_flags,
            gather: config.gather.max(1),
            counters: Counters::default(),
            _thread_bound: PhantomData,
        })
    }

    /// Adds a listener. They are numbered in the order in which they are added.
    pub fn listen(&mut self, listener: Listener) -> ListenerId {
        let id = u16::try_from(self.accepts.len()).expect("fewer than 65,536 listeners");
        self.accepts.push(AcceptQueue::new(listener));
        ListenerId(id)
    }

    /// The bell that wakes this ring.
    pub fn doorbell(&self) -> Doorbell {
        self.doorbell.clone()
    }

    /// The clock that [`Io::time`](ringmesh_runtime::io::Io::time) tells.
    pub fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// How the ring was used so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Completions that one [`Ring::reap`] usually gives at most: those that the queue holds.
    pub fn completions_max(&self) -> usize {
        self.uring.params().cq_entries() as usize
    }

    /// Submits everything, and lets the kernel post what is complete. Does not wait, and does not
    /// enter the kernel when there is nothing to submit and nothing to post.
    pub fn poll(&mut self) {
        self.follow_up();
        let queue = self.uring.submission();
        // Under DEFER_TASKRUN completions are posted by this thread alone, inside of an enter:
        // the kernel flags that it has some, or that some did not fit.
        if !queue.is_empty() || queue.taskrun() || queue.cq_overflow() {
            drop(queue);
            self.enter(0, None);
        }
    }

    /// Submits everything and waits until a completion is there to reap
    /// ([`RingConfig::gather`] of them, where the wait is short), or until `until_ns` on the
    /// clock's monotonic scale. May return early.
    pub fn wait(&mut self, until_ns: Option<u64>) {
        self.follow_up();
        if !self.stash.is_empty() || !self.uring.completion().is_empty() {
            return self.poll();
        }
        let Some(until_ns) = until_ns else { return self.enter(1, None) };
        match until_ns.saturating_sub(self.clock.mono_ns()) {
            0 => self.poll(),
            left_ns => {
                let gather = if left_ns <= GATHER_NS_MAX { self.gather } else { 1 };
                self.enter(gather, Some(Duration::from_nanos(left_ns)));
            }
        }
    }

    /// Appends all completions that are there.
    pub fn reap(&mut self, out: &mut Vec<Completion>) {
        out.append(&mut self.stash);
        self.collect(out);
    }

    /// Queues a submission, and makes room for it first if there is none.
    ///
    /// # Safety
    /// Memory that the entry names must stay valid until the operation's last completion was
    /// reaped, or until the ring's drop awaited it.
    pub(crate) unsafe fn push(&mut self, entry: &squeue::Entry) {
        self.reserve(1);
        // SAFETY: the entry's memory is the caller's promise. What the ring still owns when it is
        // dropped outlives the operation, see `drop`.
        unsafe { self.uring.submission().push(entry) }.expect("room was made");
        self.in_flight += 1;
        self.counters.submissions += 1;
    }

    /// Makes room for `count` submissions that have to be submitted together.
    pub(crate) fn reserve(&mut self, count: usize) {
        loop {
            let queue = self.uring.submission();
            if queue.capacity() - queue.len() >= count {
                return;
            }
            drop(queue);
            self.counters.queue_full += 1;
            self.submit_and_stash();
        }
    }

    /// Submits everything that is queued.
    pub(crate) fn flush(&mut self) {
        while !self.uring.submission().is_empty() {
            self.submit_and_stash();
        }
    }

    /// The kernel may take nothing in while completions wait for room: so they are reaped, too.
    fn submit_and_stash(&mut self) {
        self.enter(0, None);
        let mut stash = std::mem::take(&mut self.stash);
        self.collect(&mut stash);
        self.stash = stash;
    }

    /// Queues the cancellation of a receive.
    pub(crate) fn push_cancel(&mut self, conn: ConnId) {
        let target = UserData::of_conn(Kind::Receive, conn).pack();
        let entry = opcode::AsyncCancel::new(target).build();
        let entry = entry.user_data(UserData::of_conn(Kind::Cancel, conn).pack());
        // SAFETY: the entry names no memory.
        unsafe { self.push(&entry) };
    }

    /// Queues a receive, which counts as armed.
    pub(crate) fn push_receive(&mut self, conn: ConnId) {
        let entry = opcode::RecvMulti::new(types::Fixed(conn.slot), crate::buffers::GROUP).build();
        let entry = entry.user_data(UserData::of_conn(Kind::Receive, conn).pack());
        // SAFETY: the entry names the group of the buffer ring, whose memory is unmapped after
        // the ring's drop awaited every operation.
        unsafe { self.push(&entry) };
    }

    /// Submits what reaping left to do, and the next renewals.
    fn follow_up(&mut self) {
        let follow_ups = &mut self.follow_ups;
        self.receives.renew(|conn| follow_ups.push(FollowUp::Cancel(conn)));
        // Making room for one of these may reap, and so find more.
        while let Some(next) = self.follow_ups.pop() {
            match next {
                FollowUp::Doorbell => {
                    let entry = self.doorbell.poll_entry();
                    // SAFETY: the entry names no memory, and the eventfd is open as long as
                    // `self.doorbell`; the kernel holds its file from then on.
                    unsafe { self.push(&entry) };
                }
                FollowUp::Receive(conn) if self.receives.rearm(conn) => {
                    self.counters.renewals += 1;
                    self.push_receive(conn);
                }
                FollowUp::Cancel(conn) if self.receives.is_ending(conn) => self.push_cancel(conn),
                FollowUp::CancelConnect(conn) if self.connects.is_ending(conn) => {
                    self.push_connect_cancel(conn);
                }
                // The shard, or the end, was quicker.
                FollowUp::Receive(_) | FollowUp::Cancel(_) | FollowUp::CancelConnect(_) => {}
            }
        }
    }

    fn enter(&mut self, completions_min: u32, timeout: Option<Duration>) {
        self.counters.enters += 1;
        let queued = u32::try_from(self.uring.submission().len()).expect("a queue's length");
        let timespec = timeout.map(Timespec::from);
        let args = match &timespec {
            Some(timespec) => SubmitArgs::new().timespec(timespec),
            None => SubmitArgs::new(),
        };
        let flags = self.enter_flags.bits();
        // SAFETY: with EXT_ARG the argument is an io_uring_getevents_arg, which `SubmitArgs` is;
        // it and the time it names outlive the call.
        let entered =
            unsafe { self.uring.submitter().enter(queued, completions_min, flags, Some(&args)) };
        let Err(error) = entered else { return };
        match errno_of(&error) {
            // Out of time, or interrupted.
            Errno::ETIME | Errno::EINTR => {}
            // Short of memory, or of room for completions: reaped, the next enter goes on.
            Errno::EAGAIN | Errno::EBUSY => {}
            Errno::EBADR => panic!("the kernel lost completions for want of memory"),
            errno => panic!("io_uring_enter: {errno}"),
        }
    }

    fn collect(&mut self, out: &mut Vec<Completion>) {
        while let Some(cqe) = self.next_cqe() {
            if let Some(completion) = self.on_cqe(&cqe) {
                out.push(completion);
            }
        }
    }

    /// Takes the next completion, and counts the operation off if it was its last.
    fn next_cqe(&mut self) -> Option<cqueue::Entry> {
        let cqe = self.uring.completion().next()?;
        self.counters.completions += 1;
        if !cqueue::more(cqe.flags()) {
            self.in_flight -= 1;
        }
        Some(cqe)
    }

    fn on_cqe(&mut self, cqe: &cqueue::Entry) -> Option<Completion> {
        let data = UserData::unpack(cqe.user_data());
        match data.kind {
            Kind::Accept => Some(self.on_accept(data.slot, cqe.result())),
            Kind::Receive => self.on_receive(data.conn(), cqe.result(), cqe.flags()),
            Kind::Send => {
                let sent = self.sends.remove(data.slot);
                let result = outcome(cqe.result()).map(|count| count as usize).map_err(of_send);
                Some(Completion::Sent { conn: sent.conn, buf: sent.buf, result })
            }
            Kind::Shutdown => Some(Completion::ShutDown { conn: data.conn() }),
            Kind::Close => Some(Completion::Closed { conn: data.conn() }),
            Kind::Cancel => {
                self.on_cancel(data.conn(), cqe.result());
                None
            }
            Kind::Connect => Some(self.on_connect(data.conn(), cqe.result())),
            Kind::CancelConnect => {
                self.on_connect_cancel(data.conn(), cqe.result());
                None
            }
            Kind::Doorbell => {
                if !cqueue::more(cqe.flags()) {
                    self.follow_ups.push(FollowUp::Doorbell);
                }
                Some(Completion::Rung)
            }
            Kind::Ignored => None,
        }
    }

    fn on_accept(&mut self, slot: u32, result: i32) -> Completion {
        let (listener, ticket) = ticket_of(slot);
        let peer = self.accepts[usize::from(listener.0)].disarm(ticket);
        let result = outcome(result).map(|slot| (slot, peer)).map_err(of_accept);
        Completion::Accepted { listener, ticket, result }
    }

    fn on_receive(&mut self, conn: ConnId, result: i32, flags: u32) -> Option<Completion> {
        let more = cqueue::more(flags);
        let result = outcome(result).map_err(of_receive);
        let cancelled = matches!(result, Err(IoError::Cancelled));
        let end = if more { End::Reported } else { self.receives.end(conn, cancelled) };
        // The flag, not the result, says whether a buffer was consumed.
        let buffer =
            cqueue::buffer_select(flags).map(|id| self.buffers.lend(id, result.unwrap_or(0)));
        let result = match (result, buffer) {
            (Ok(1..), Some(buffer)) => Ok(Some(buffer)),
            (other, Some(unfilled)) => {
                self.buffers.recycle(unfilled);
                other.map(|_| None)
            }
            (Ok(1..), None) => unreachable!("bytes received into no buffer"),
            (other, None) => other.map(|_| None),
        };
        if end == End::Renewal {
            self.follow_ups.push(FollowUp::Receive(conn));
            return None;
        }
        Some(Completion::Received { conn, result, more })
    }

    /// A receive that is between two polls may not be found: it is then asked again.
    fn on_cancel(&mut self, conn: ConnId, result: i32) {
        let missed = matches!(outcome(result), Err(Errno::ENOENT | Errno::EALREADY));
        if missed && self.receives.is_ending(conn) {
            self.follow_ups.push(FollowUp::Cancel(conn));
        }
    }

    /// Cancels every operation and awaits its end. Whether the kernel let go of all memory.
    fn drain(&mut self) -> bool {
        for _ in 0..DRAIN_ROUNDS_MAX {
            if self.in_flight == 0 {
                return true;
            }
            let all = opcode::AsyncCancel2::new(types::CancelBuilder::any().all()).build();
            let all = all.user_data(UserData::of_slot(Kind::Ignored, 0).pack());
            // SAFETY: the entry names no memory.
            if unsafe { self.uring.submission().push(&all) }.is_ok() {
                self.in_flight += 1;
            }
            self.enter(1, Some(DRAIN_ROUND));
            // Nobody is told any more, and what the operations own is dropped with the ring.
            while self.next_cqe().is_some() {}
        }
        self.in_flight == 0
    }
}

impl Drop for Ring {
    /// Closing an io_uring cancels its operations *later*, in a thread of the kernel. So they are
    /// cancelled and awaited here, before the memory that they name is freed.
    fn drop(&mut self) {
        if !self.drain() {
            tracing::error!(in_flight = self.in_flight, "the kernel holds on: memory is leaked");
            self.accepts.iter_mut().for_each(AcceptQueue::leak);
            self.sends.leak();
            self.connects.leak();
            self.buffers.leak();
            return;
        }
        // The connections close now rather than when the kernel gets to it.
        if let Err(error) = self.uring.submitter().unregister_files() {
            tracing::debug!(%error, "the table of direct descriptors is closed later");
        }
    }
}

fn build(config: &RingConfig) -> Result<IoUring, Errno> {
    IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .setup_clamp()
        .setup_cqsize(config.cq_entries)
        .build(config.sq_entries)
        .map_err(|error| errno_of(&error))
}

/// Without a bound, a burst of shutdowns could start a kernel thread for each.
fn bound_workers(uring: &IoUring) {
    let mut workers = [KERNEL_WORKERS_MAX; 2];
    if let Err(error) = uring.submitter().register_iowq_max_workers(&mut workers) {
        tracing::debug!(%error, "the kernel's workers stay unbounded");
    }
}

fn refusal(stage: Stage, errno: Errno) -> Refusal {
    Refusal::diagnose(stage, errno, &Host::look())
}

pub(crate) fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}
