//! A fake of one shard's io_uring: virtual sockets with the contract of [`Io`], its freedoms used
//! at random and its rules asserted.
//!
//! A [`SimIo`] lives once per shard. The shard submits within a tick; [`SimIo::progress`] lets
//! operations finish between ticks, some early, some late, some with faults; what finished is
//! delivered with the next tick. A broken rule panics: whoever runs the seed reports it.

mod contract;
mod progress;

use std::collections::VecDeque;

use ringmesh_runtime::io::{
    Buffer, BufferOccupancy, Completion, ConnId, Io, ListenerId, SendBuf, Shutdown, Time,
};

use crate::buffers::BufferPool;
use crate::fault::Dice;
use crate::link::Link;
use crate::trace::Trace;

/// What is in flight on a receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Receive {
    Idle,
    Armed,
    /// Armed, and asked to end.
    Cancelling,
}

/// A taken place of the table.
#[derive(Debug)]
struct Slot {
    link: usize,
    /// Chosen by the shard with its first operation.
    generation: Option<u32>,
    receive: Receive,
    /// The bytes, and from where.
    send: Option<(SendBuf, usize)>,
    shutdown: Option<Shutdown>,
    /// A shutdown of the writing half was submitted.
    fin: bool,
    /// Both halves are shut.
    cut: bool,
    /// A receive brought the end of the stream.
    ended: bool,
    closing: bool,
}

/// See the module.
pub(crate) struct SimIo {
    /// Every connection that ever was.
    pub(crate) links: Vec<Link>,
    pub(crate) dice: Dice,
    pub(crate) trace: Trace,
    /// Virtual time; the world moves it between ticks.
    pub(crate) now: Time,
    times_asked: u32,
    slots: Vec<Option<Slot>>,
    /// Taken places.
    taken: Vec<u32>,
    /// Generations that the places' users had last.
    generations: Vec<Option<u32>>,
    /// Armed accepts, oldest first.
    armed: VecDeque<(ListenerId, u16)>,
    /// Accepts that end with the listener.
    disarmed: Vec<(ListenerId, u16)>,
    listening: bool,
    /// Connections that wait to be accepted.
    backlog: VecDeque<usize>,
    /// The same of the listener of byte streams.
    line_backlog: VecDeque<usize>,
    buffers: BufferPool,
    ready: Vec<Completion>,
}

impl SimIo {
    /// An io with a table of `table` places and a pool of `buffers` buffers of `buffer_bytes`.
    pub(crate) fn new(
        dice: Dice,
        trace: Trace,
        now: Time,
        table: usize,
        (buffers, buffer_bytes): (u16, usize),
    ) -> Self {
        Self {
            links: Vec::new(),
            dice,
            trace,
            now,
            times_asked: 0,
            slots: (0..table).map(|_| None).collect(),
            taken: Vec::new(),
            generations: vec![None; table],
            armed: VecDeque::new(),
            disarmed: Vec::new(),
            listening: true,
            backlog: VecDeque::new(),
            line_backlog: VecDeque::new(),
            buffers: BufferPool::new(buffers, buffer_bytes),
            ready: Vec::new(),
        }
    }

    /// A client connects. The connection is broken at once where nobody listens.
    pub(crate) fn connect(&mut self, mut link: Link) -> usize {
        let id = self.links.len();
        if self.listening {
            let backlog = if link.lines { &mut self.line_backlog } else { &mut self.backlog };
            backlog.push_back(id);
        } else {
            link.break_down();
        }
        self.links.push(link);
        id
    }

    /// Whether completions wait for the shard.
    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Slots that are taken.
    pub(crate) fn slots_taken(&self) -> usize {
        self.taken.len()
    }

    /// Whoever is being sent to may be cut.
    pub(crate) fn excuse_sends(&mut self) {
        for slot in self.slots.iter().flatten().filter(|slot| slot.send.is_some()) {
            self.links[slot.link].excused = true;
        }
    }

    /// Begins a tick: gives everything that is complete.
    pub(crate) fn begin_tick(&mut self, rung: bool, batch: &mut Vec<Completion>) {
        self.times_asked = 0;
        batch.append(&mut self.ready);
        if rung {
            let at = self.dice.below(batch.len() + 1);
            batch.insert(at, Completion::Rung);
        }
        for completion in &*batch {
            let what = contract::describe(completion);
            self.trace.note(what.0, what.1);
            if let Completion::Received { conn, result: Ok(Some(buffer)), .. } = completion {
                self.trace.bytes(self.buffers.bytes(buffer));
                let link = self.slots[conn.slot as usize].as_ref().map(|slot| slot.link);
                let link = link.expect("no receive outlives its slot");
                self.links[link].consumed += u64::from(buffer.len);
            }
        }
    }

    fn slot(&mut self, conn: ConnId) -> &mut Slot {
        self.slots[conn.slot as usize].as_mut().expect("checked by the contract")
    }
}

impl Io for SimIo {
    fn time(&mut self) -> Time {
        // A tick takes some time.
        self.now.mono_ns += self.dice.between(0, 20_000);
        self.now.unix_ms = crate::world::UNIX_MS + self.now.mono_ns / 1_000_000;
        self.times_asked += 1;
        self.now
    }

    fn submit_accept(&mut self, listener: ListenerId, ticket: u16) {
        self.check_accept(listener, ticket);
        self.trace.note("accept", [u64::from(listener.0), u64::from(ticket), 0]);
        if self.listening {
            self.armed.push_back((listener, ticket));
        } else {
            self.disarmed.push((listener, ticket));
        }
    }

    fn close_listeners(&mut self) {
        assert!(self.listening, "contract: listeners closed twice");
        self.trace.note("close listeners", [0; 3]);
        self.listening = false;
        self.disarmed.extend(self.armed.drain(..));
    }

    fn submit_recv(&mut self, conn: ConnId) {
        self.check(conn, "receive");
        self.trace.note("receive", [conn.slot.into(), conn.generation.into(), 0]);
        let slot = self.slot(conn);
        assert_eq!(slot.receive, Receive::Idle, "contract: two receives armed on {conn:?}");
        assert!(!slot.ended, "contract: a receive behind the end of {conn:?}");
        slot.receive = Receive::Armed;
    }

    fn cancel_recv(&mut self, conn: ConnId) {
        self.check(conn, "cancel");
        self.trace.note("cancel", [conn.slot.into(), conn.generation.into(), 0]);
        let slot = self.slot(conn);
        assert_eq!(slot.receive, Receive::Armed, "contract: nothing to cancel on {conn:?}");
        slot.receive = Receive::Cancelling;
    }

    fn submit_send(&mut self, conn: ConnId, buf: SendBuf, offset: usize) {
        self.check(conn, "send");
        let len = buf.as_slice().len();
        self.trace.note("send", [conn.slot.into(), conn.generation.into(), len as u64]);
        self.trace.bytes(&buf.as_slice()[offset..]);
        assert!(offset < len, "contract: an empty send on {conn:?}");
        let slot = self.slot(conn);
        assert!(slot.send.is_none(), "contract: two sends in flight on {conn:?}");
        assert!(!slot.fin && !slot.cut, "contract: a send behind the end of {conn:?}");
        slot.send = Some((buf, offset));
    }

    fn submit_shutdown(&mut self, conn: ConnId, how: Shutdown) {
        self.check(conn, "shutdown");
        self.trace.note("shutdown", [conn.slot.into(), conn.generation.into(), how as u64]);
        let slot = self.slot(conn);
        assert!(slot.shutdown.is_none(), "contract: two shutdowns in flight on {conn:?}");
        if how == Shutdown::Write {
            assert!(slot.send.is_none(), "contract: FIN under a send in flight on {conn:?}");
            assert!(!slot.fin, "contract: a second FIN on {conn:?}");
            slot.fin = true;
        }
        slot.shutdown = Some(how);
        let link = slot.link;
        self.links[link].end(how == Shutdown::Write);
    }

    fn submit_close(&mut self, conn: ConnId) {
        self.check(conn, "close");
        self.trace.note("close", [conn.slot.into(), conn.generation.into(), 0]);
        let slot = self.slot(conn);
        let idle = slot.receive == Receive::Idle && slot.send.is_none() && slot.shutdown.is_none();
        assert!(idle, "contract: {conn:?} closed with something in flight");
        slot.closing = true;
        let link = slot.link;
        self.links[link].end(false);
    }

    fn bytes<'a>(&'a self, buffer: &'a Buffer) -> &'a [u8] {
        self.buffers.bytes(buffer)
    }

    fn recycle(&mut self, buffer: Buffer) {
        self.buffers.recycle(&buffer);
    }

    fn buffers(&self) -> BufferOccupancy {
        self.buffers.occupancy()
    }
}
