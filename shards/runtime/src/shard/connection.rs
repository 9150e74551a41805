//! A connection's slot: what a shard keeps for each connection, and little of it at rest.

use ringmesh_proto::http1::{Chunked, Framing};
use ringmesh_proto::sse;

use super::request::EventsId;
use crate::call::CallId;
use crate::io::{ConnId, GENERATION_MODULUS, Peer};
use crate::probe::Transport;
use crate::shard::ShardId;
use crate::wheel::TimerId;

/// Where a connection is in its exchange of requests and answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// The slot is free.
    #[default]
    Free,
    /// Between requests.
    Idle,
    /// A head began and is not complete.
    Head,
    /// A body began and is not complete.
    Body,
    /// A pooled call runs; what arrives meanwhile waits.
    Calling(CallId),
    /// A `subscriptions/listen` stream is open: place in the table of streams.
    Streaming(u32),
    /// It reads an event stream of a session.
    Events(EventsId),
    /// Its request was forwarded to the shard of its session.
    Relayed {
        /// The shard.
        home: ShardId,
        /// How comments are framed, once the answer is an event stream.
        comment: Option<Comment>,
        /// Bytes of the request, until an answer comes.
        bytes: u32,
    },
    /// Nothing more is read; what was written is sent, then the connection ends.
    Ending,
    /// The connection is being torn down.
    Aborting,
}

/// What is in flight for a connection, and what was seen of its peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags {
    /// A multishot receive is armed.
    pub(super) recv_armed: bool,
    /// Its cancellation was asked for.
    pub(super) recv_cancelling: bool,
    /// Receiving pauses until what arrived is worked off.
    pub(super) paused: bool,
    /// A send is in flight.
    pub(super) sending: bool,
    /// A shutdown is in flight.
    pub(super) shutting: bool,
    /// The writing half was shut.
    pub(super) fin_sent: bool,
    /// Both halves were shut.
    pub(super) cut: bool,
    /// The peer will send no more.
    pub(super) eof: bool,
    /// The close was submitted.
    pub(super) closing: bool,
    /// The slot is in the list of this tick's touched slots.
    pub(super) touched: bool,
    /// Refused at accept: counts as no connection.
    pub(super) refused: bool,
    /// A byte stream began with a message.
    pub(super) greeted: bool,
    /// A keep-alive comment is due on a stream that has nothing else to send.
    pub(super) comment: Option<Comment>,
}

/// How a keep-alive comment is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comment {
    /// In a chunk.
    Chunked,
    /// Bare, on a stream that the connection's end will end.
    Raw,
}

impl Comment {
    /// The bytes, the same for every stream of the process.
    pub(super) fn bytes(self) -> &'static [u8] {
        match self {
            Self::Chunked => sse::KEEP_ALIVE,
            Self::Raw => sse::KEEP_ALIVE_RAW,
        }
    }
}

/// A request that did not arrive in one piece, or requests that wait their turn.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    /// Head, then body as far as it is there; or waiting bytes as they came.
    pub(super) bytes: Vec<u8>,
    /// Bytes searched for the end of the head.
    pub(super) scanned: usize,
    /// Length of the head, once it is complete.
    pub(super) head_len: usize,
    /// How the body ends, once the head is complete.
    pub(super) framing: Option<Framing>,
    /// Decodes a chunked body.
    pub(super) chunked: Option<Chunked>,
}

impl Inbound {
    /// Forgets the request and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.scanned = 0;
        self.head_len = 0;
        self.framing = None;
        self.chunked = None;
    }
}

/// What a byte stream has under way. A modern one at rest has nothing.
#[derive(Debug, Default)]
pub(super) struct LineState {
    /// Place of its legacy session.
    pub(super) session: Option<u32>,
    /// Calls that did not end at once.
    pub(super) calls: Vec<CallId>,
    /// Places of its subscriptions.
    pub(super) streams: Vec<u32>,
}

/// One slot of the table.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) generation: u32,
    pub(super) phase: Phase,
    pub(super) flags: Flags,
    pub(super) transport: Transport,
    /// Bytes of the send in flight that the kernel took.
    pub(super) send_offset: u32,
    /// Memory of the send in flight.
    pub(super) in_flight_bytes: u32,
    /// Bytes charged to the shard's budget.
    pub(super) charged: u32,
    pub(super) timer: Option<TimerId>,
    /// When the timer fires, in ms of the shard's clock.
    pub(super) timer_ms: u64,
    /// When the phase began, in ms of the shard's clock.
    pub(super) since_ms: u64,
    /// When a send last made progress, in ms of the shard's clock.
    pub(super) sent_ms: u64,
    pub(super) peer: Peer,
    /// Present only while a request is incomplete or waits.
    pub(super) inbound: Option<Box<Inbound>>,
    /// Answers that are not submitted yet; without memory at rest.
    pub(super) outbound: Vec<u8>,
    /// Of a byte stream that has something under way.
    pub(super) line: Option<Box<LineState>>,
}

impl Connection {
    /// A free slot.
    pub(super) fn free() -> Self {
        Self {
            generation: 0,
            phase: Phase::Free,
            flags: Flags::default(),
            transport: Transport::Http,
            send_offset: 0,
            in_flight_bytes: 0,
            charged: 0,
            timer: None,
            timer_ms: 0,
            since_ms: 0,
            sent_ms: 0,
            peer: Peer::Local,
            inbound: None,
            outbound: Vec::new(),
            line: None,
        }
    }

    /// Takes the slot for a new connection. The generation tells it from the one before.
    pub(super) fn open(&mut self, transport: Transport, peer: Peer, now_ms: u64) {
        debug_assert_eq!(self.phase, Phase::Free);
        let generation = (self.generation + 1) % GENERATION_MODULUS;
        *self = Self {
            generation,
            phase: Phase::Idle,
            transport,
            since_ms: now_ms,
            sent_ms: now_ms,
            peer,
            ..Self::free()
        };
    }

    /// The connection's name.
    pub(super) fn id(&self, slot: u32) -> ConnId {
        ConnId { slot, generation: self.generation }
    }

    /// Whether it speaks newline-delimited JSON-RPC.
    pub(super) fn speaks_lines(&self) -> bool {
        matches!(self.transport, Transport::Tcp | Transport::Unix | Transport::Stdio)
    }

    /// Whether requests may be read now.
    pub(super) fn reads(&self) -> bool {
        matches!(self.phase, Phase::Idle | Phase::Head | Phase::Body)
    }

    /// Whether the slot belongs to a connection that may still be answered.
    pub(super) fn is_open(&self) -> bool {
        !matches!(self.phase, Phase::Free | Phase::Ending | Phase::Aborting)
    }

    /// Bytes of memory that the connection holds beyond its slot.
    pub(super) fn held_bytes(&self) -> usize {
        let relayed = match self.phase {
            Phase::Relayed { bytes, .. } => bytes as usize,
            _ => 0,
        };
        self.outbound.capacity()
            + relayed
            + self.in_flight_bytes as usize
            + self.inbound.as_ref().map_or(0, |inbound| inbound.bytes.capacity())
    }
}
