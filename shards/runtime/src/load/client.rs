//! A client's slot: what a role keeps for each connection, and little of it at rest.

use ringmesh_proto::http1::{Chunked, Media};
use ringmesh_proto::sse;

use super::calls::NONE;
use crate::io::{ConnId, GENERATION_MODULUS};
use crate::wheel::TimerId;

/// Where a connection is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    /// There is none.
    #[default]
    Closed,
    /// It is in the queue of those that connect.
    Waiting,
    /// The connect is in flight.
    Connecting,
    /// Connected; its session or stream is not open yet.
    Opening,
    /// What it is for may go on.
    Ready,
    /// Its session is being deleted.
    Deleting,
    /// It is being torn down.
    Aborting,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Use {
    /// A seat's, over which it calls or listens.
    #[default]
    Seat,
    /// The GET stream of a seat's session.
    Events,
    /// Changes resources for listeners.
    Trigger,
}

/// What the next bytes of a connection of HTTP are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    /// A head.
    #[default]
    Head,
    /// A body in chunks.
    Body,
    /// A body until the connection's end.
    RawBody,
    /// Events in chunks.
    Events,
    /// Events in chunks behind the answer: nothing of them matters.
    EventsOver,
    /// Events until the connection's end.
    RawEvents,
}

/// What is in flight for a connection, and what is known of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags {
    /// A multishot receive is armed.
    pub(super) recv_armed: bool,
    /// Its cancellation was asked for.
    pub(super) recv_cancelling: bool,
    /// Nothing more is read.
    pub(super) deaf: bool,
    /// A connect is in flight.
    pub(super) connecting: bool,
    /// A send is in flight.
    pub(super) sending: bool,
    /// A shutdown is in flight.
    pub(super) shutting: bool,
    /// Both halves were shut.
    pub(super) cut: bool,
    /// The close was submitted.
    pub(super) closing: bool,
    /// The slot is in the list of this tick's touched slots.
    pub(super) touched: bool,
    /// The slot is in the queue of those that are ready to call, perhaps no longer rightly.
    pub(super) queued: bool,
    /// It makes no more calls and is closed once those in flight are answered.
    pub(super) leaving: bool,
    /// Once closed it connects again.
    pub(super) again: bool,
    /// The server says that it ends the connection after this response.
    pub(super) last: bool,
    /// When it connects again it was to at `begun_ns`, not once it is closed.
    pub(super) dated: bool,
    /// Its stream was open before the first change.
    pub(super) punctual: bool,
    /// The number of the next update is known.
    pub(super) anchored: bool,
}

/// A response that did not arrive in one piece.
#[derive(Debug)]
pub(super) struct Inbound {
    /// Bytes as they came, or the content of chunks.
    pub(super) bytes: Vec<u8>,
    /// Of the response whose body is being read.
    pub(super) status: u16,
    pub(super) media: Media,
    /// Decodes a chunked body.
    pub(super) chunked: Chunked,
    /// Reads events.
    pub(super) events: sse::Reader,
}

impl Default for Inbound {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            status: 0,
            media: Media::Other,
            chunked: decoder(),
            events: sse::Reader::default(),
        }
    }
}

impl Inbound {
    /// Forgets the response and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.chunked = decoder();
        self.events.clear();
    }
}

/// Streams have no end: what is held is bounded, not what passes.
pub(super) fn decoder() -> Chunked {
    Chunked::new(usize::MAX)
}

/// One slot of the table.
#[derive(Debug)]
pub(super) struct Client {
    /// When it was to connect, ns since the script's begin.
    pub(super) begun_ns: u64,
    /// Present only while a response is incomplete.
    pub(super) inbound: Option<Box<Inbound>>,
    /// Requests that are not submitted yet; without memory at rest.
    pub(super) outbound: Vec<u8>,
    pub(super) generation: u32,
    /// The other connection of a session: its GET stream, or whose that is; or [`NONE`].
    pub(super) partner: u32,
    /// Place of its session's id, or [`NONE`].
    pub(super) session: u32,
    /// First and last of its calls in flight, or [`NONE`].
    pub(super) first: u32,
    pub(super) last: u32,
    pub(super) timer: Option<TimerId>,
    /// When the timer fires, ms since the script's begin.
    pub(super) timer_ms: u32,
    /// Bytes of the send in flight that the kernel took.
    pub(super) send_offset: u32,
    /// Number of the next update.
    pub(super) update: u32,
    /// Requests in flight.
    pub(super) in_flight: u16,
    pub(super) state: State,
    pub(super) mode: Mode,
    pub(super) used: Use,
    pub(super) workload: u8,
    pub(super) target: u8,
    pub(super) flags: Flags,
}

/// A million of them in one process take little beside the kernel's memory for their sockets.
const _: () = assert!(size_of::<Client>() <= 112);

impl Client {
    /// A slot without a connection.
    pub(super) fn new(used: Use, workload: u8, target: u8) -> Self {
        Self {
            begun_ns: 0,
            inbound: None,
            outbound: Vec::new(),
            generation: 0,
            partner: NONE,
            session: NONE,
            first: NONE,
            last: NONE,
            timer: None,
            timer_ms: 0,
            send_offset: 0,
            update: 0,
            in_flight: 0,
            state: State::Closed,
            mode: Mode::Head,
            used,
            workload,
            target,
            flags: Flags::default(),
        }
    }

    /// Begins a connection. The generation tells it from the one before.
    pub(super) fn connect(&mut self) -> u32 {
        debug_assert_eq!(self.state, State::Waiting);
        debug_assert!(self.inbound.is_none() && self.outbound.is_empty() && self.first == NONE);
        self.generation = (self.generation + 1) % GENERATION_MODULUS;
        self.state = State::Connecting;
        self.mode = Mode::Head;
        self.update = 0;
        let Flags { touched, queued, .. } = self.flags;
        self.flags = Flags { touched, queued, connecting: true, ..Flags::default() };
        self.generation
    }

    /// The connection's name.
    pub(super) fn id(&self, slot: u32) -> ConnId {
        ConnId { slot, generation: self.generation }
    }

    /// Whether there is a connection, or was a moment ago.
    pub(super) fn is_taken(&self) -> bool {
        !matches!(self.state, State::Closed | State::Waiting)
    }
}
