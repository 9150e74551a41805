//! Where the shard's thread, the reader and the writer meet.
//!
//! One lock, held for moments and never around a system call that may block.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use ringmesh_runtime::mailbox::Bell;

use super::{BUFFER_BYTES, BUFFERS};

/// A buffer with its number.
pub(super) type Room = (u16, Box<[u8]>);

/// What a read brought.
#[derive(Debug)]
pub(super) enum Arrival {
    /// So many bytes, at least 1.
    Bytes(Room, u32),
    /// The end of the input.
    End,
    /// Nothing more can be read.
    Failed(Errno),
}

/// What became of a chunk: the memory, and how many bytes were taken or why none.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) chunk: Vec<u8>,
    pub(super) result: Result<usize, Errno>,
}

#[derive(Debug)]
pub(super) struct Hub {
    state: Mutex<State>,
    shard: Condvar,
    reader: Condvar,
    writer: Condvar,
}

#[derive(Debug)]
struct State {
    rung: bool,
    /// A receive is armed.
    wanted: bool,
    free: Vec<Room>,
    arrived: VecDeque<Arrival>,
    chunk: Option<Vec<u8>>,
    written: Option<Written>,
    /// Nothing more is written.
    finished: bool,
    /// Nothing more is read, either.
    over: bool,
}

/// What the shard's thread finds.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) rung: bool,
    pub(super) written: Option<Written>,
    pub(super) arrived: VecDeque<Arrival>,
}

impl Hub {
    pub(super) fn new() -> Self {
        let room = |id| (id, vec![0; BUFFER_BYTES as usize].into_boxed_slice());
        let state = State {
            rung: false,
            wanted: false,
            free: (0..BUFFERS).map(room).collect(),
            arrived: VecDeque::with_capacity(usize::from(BUFFERS) + 1),
            chunk: None,
            written: None,
            finished: false,
            over: false,
        };
        let (shard, reader, writer) = Default::default();
        Self { state: Mutex::new(state), shard, reader, writer }
    }

    // For the shard.

    /// Waits for news, at most for so long.
    pub(super) fn wait(&self, patience: Option<Duration>) {
        let quiet = |state: &mut State| {
            let arrived = state.wanted && !state.arrived.is_empty();
            !state.rung && state.written.is_none() && !arrived
        };
        let state = self.lock();
        match patience {
            Some(patience) => {
                drop(self.shard.wait_timeout_while(state, patience, quiet));
            }
            None => drop(self.shard.wait_while(state, quiet)),
        }
    }

    /// Takes what there is; what arrived, only while it is wanted.
    pub(super) fn take_news(&self, into: &mut News) {
        let mut state = self.lock();
        into.rung = std::mem::take(&mut state.rung);
        into.written = state.written.take();
        if state.wanted {
            into.arrived.append(&mut state.arrived);
        }
    }

    /// Lets the reader read, or not.
    pub(super) fn want(&self, wanted: bool) {
        self.lock().wanted = wanted;
        self.reader.notify_one();
    }

    pub(super) fn give_back(&self, room: Room) {
        self.lock().free.push(room);
        self.reader.notify_one();
    }

    /// Buffers that hold bytes.
    pub(super) fn used(&self) -> u32 {
        let is_used = |arrival: &&Arrival| matches!(arrival, Arrival::Bytes(..));
        let used = self.lock().arrived.iter().filter(is_used).count();
        u32::try_from(used).unwrap_or(u32::MAX)
    }

    /// Hands the writer a chunk. One at a time.
    pub(super) fn send(&self, chunk: Vec<u8>) {
        let before = self.lock().chunk.replace(chunk);
        assert!(before.is_none(), "one chunk at a time");
        self.writer.notify_one();
    }

    /// Has the writer close the output once it is idle.
    pub(super) fn finish(&self) {
        self.lock().finished = true;
        self.writer.notify_one();
    }

    /// Has both threads end.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        (state.finished, state.over) = (true, true);
        self.reader.notify_one();
        self.writer.notify_one();
    }

    // For the reader.

    /// Waits until something may be read, and gives a buffer for it; `None` at the end.
    pub(super) fn next_room(&self) -> Option<Room> {
        let idle = |state: &mut State| !state.over && (!state.wanted || state.free.is_empty());
        let mut state =
            self.reader.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
        if state.over { None } else { state.free.pop() }
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.lock().wanted
    }

    pub(super) fn arrive(&self, arrival: Arrival) {
        self.lock().arrived.push_back(arrival);
        self.shard.notify_one();
    }

    // For the writer.

    /// Waits for a chunk; `None` at the end.
    pub(super) fn next_chunk(&self) -> Option<Vec<u8>> {
        let idle = |state: &mut State| !state.finished && state.chunk.is_none();
        let mut state =
            self.writer.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
        if state.finished { None } else { state.chunk.take() }
    }

    pub(super) fn wrote(&self, written: Written) {
        self.lock().written = Some(written);
        self.shard.notify_one();
    }

    /// A panic on any of the threads aborts the process: there is no poison to care for.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bell for Hub {
    fn ring(&self) {
        self.lock().rung = true;
        self.shard.notify_one();
    }
}
