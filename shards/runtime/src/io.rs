//! The seam between a shard and the world that drives it.
//!
//! `ring` implements [`Io`] with io_uring, `sim` with a seeded fake. One value lives once per
//! shard. An `Io` only prepares submissions and reports completions; every decision (re-arm,
//! cancel, order of shutdown and close) is the shard's, so that the simulator tests it.
//!
//! Contract: each `submit_*` is answered by exactly one [`Completion`], save `submit_recv`, which
//! is multishot: it reports any number of completions with `more: true` and ends with one that has
//! `more: false`, whatever its result. `Closed` is reported before the slot's next `Accepted`.
//! Submissions take effect no later than the driver's next wait. Nothing here blocks.

use std::net::{IpAddr, SocketAddr};

/// Names a connection: a place in the table of direct descriptors and its generation, so that
/// what was meant for an earlier user of the place never reaches a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId {
    /// Place in the shard's table, chosen by [`Io`] on accept.
    pub slot: u32,
    /// Counts the users of the place, modulo 2^24; chosen by the shard on accept.
    pub generation: u32,
}

/// Generations wrap at this value: it must fit beside the slot in 64 bits of `user_data`.
pub const GENERATION_MODULUS: u32 = 1 << 24;

/// Names a listener of this shard, in the order of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerId(pub u16);

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A socket of the internet protocols.
    Ip(SocketAddr),
    /// A process of this machine, without an address: a Unix socket, or stdio.
    Local,
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Local => f.write_str("local"),
        }
    }
}

/// A received buffer, on loan from the [`Io`] until given back by [`Io::recycle`].
///
/// Neither `Clone` nor `Copy`: whoever holds it owes it.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a buffer must be recycled"]
pub struct Buffer {
    /// Identity in the pool.
    pub id: u16,
    /// Bytes filled by the kernel, at least 1.
    pub len: u32,
}

/// Bytes to send, owned by the [`Io`] while the send is in flight and given back by
/// [`Completion::Sent`].
#[derive(Debug)]
pub enum SendBuf {
    /// A buffer of the shard's pool.
    Pooled(Vec<u8>),
    /// Bytes that live forever, such as a keep-alive comment.
    Static(&'static [u8]),
}

impl SendBuf {
    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Pooled(bytes) => bytes,
            Self::Static(bytes) => bytes,
        }
    }
}

/// Which half of a connection to shut (shutdown(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Sends FIN after what was sent; receiving goes on.
    Write,
    /// Both halves: ends receives and sends in flight.
    Both,
}

/// Why an operation failed, as far as a shard treats the causes differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IoError {
    /// The provided-buffer ring was empty (ENOBUFS).
    #[error("no buffers")]
    NoBuffers,
    /// The operation was cancelled (ECANCELED).
    #[error("cancelled")]
    Cancelled,
    /// The peer is gone (ECONNRESET, EPIPE, ENOTCONN and their kin).
    #[error("disconnected")]
    Disconnected,
    /// The peer left what was sent unacknowledged for so long that the kernel gave it up
    /// (ETIMEDOUT).
    #[error("timed out")]
    TimedOut,
    /// A table is full: direct descriptors (ENFILE), or the system's files or memory
    /// (EMFILE, ENOBUFS on accept, ENOMEM).
    #[error("exhausted")]
    Exhausted,
    /// The kernel asks to try again (EINTR, EAGAIN, ECONNABORTED on accept).
    #[error("try again")]
    Again,
    /// Anything else, with its errno: counted and treated as the end of the connection.
    #[error("errno {0}")]
    Other(i32),
}

/// What [`Dial::submit_connect`] connects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remote {
    /// A TCP listener.
    Ip {
        /// The address to come from, its port picked by the kernel; `None` leaves both to it.
        from: Option<IpAddr>,
        /// The listener.
        to: SocketAddr,
    },
    /// A socket that is connected already and was handed to the driver, by its place there.
    Adopted(u16),
}

/// Why a connection could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum ConnectError {
    /// Nobody listens there (ECONNREFUSED), or whoever did went away meanwhile (ECONNRESET).
    #[error("connection refused")]
    Refused,
    /// No answer came (ETIMEDOUT).
    #[error("connecting timed out")]
    TimedOut,
    /// There is no way there (EHOSTUNREACH, ENETUNREACH, EACCES, EPERM of a firewall).
    #[error("unreachable")]
    Unreachable,
    /// The source address is not this machine's, or has no port left (EADDRNOTAVAIL, EADDRINUSE,
    /// EAGAIN).
    #[error("no source address or port is left")]
    NoPort,
    /// Descriptors, files or memory ran out (EMFILE, ENFILE, ENOBUFS, ENOMEM).
    #[error("descriptors or memory are exhausted")]
    Exhausted,
    /// Anything else, with its errno.
    #[error("errno {0}")]
    Other(i32),
}

/// A finished operation, or one step of a multishot one.
#[derive(Debug)]
pub enum Completion {
    /// A connect of [`Dial::submit_connect`] finished. The slot is taken until it is closed,
    /// whatever the result.
    Connected {
        /// The connection.
        conn: ConnId,
        /// Whether it may be used.
        result: Result<(), ConnectError>,
    },
    /// A single-shot accept finished; `ticket` may be submitted again.
    Accepted {
        /// The listener it was armed on.
        listener: ListenerId,
        /// Which of the listener's parallel accepts (`0..ACCEPTS_ARMED`).
        ticket: u16,
        /// The connection's slot in the direct table, and its peer.
        result: Result<(u32, Peer), IoError>,
    },
    /// Bytes, end of stream (`Ok(None)`), or an error of a multishot receive.
    Received {
        /// The connection.
        conn: ConnId,
        /// `Ok(Some(buffer))` must be recycled.
        result: Result<Option<Buffer>, IoError>,
        /// Whether the receive stays armed.
        more: bool,
    },
    /// A send finished, perhaps short: the buffer comes back on success and on failure.
    Sent {
        /// The connection.
        conn: ConnId,
        /// What was submitted.
        buf: SendBuf,
        /// Bytes taken by the kernel, counted from the offset given.
        result: Result<usize, IoError>,
    },
    /// A shutdown finished (its result does not matter: the connection ends either way).
    ShutDown {
        /// The connection.
        conn: ConnId,
    },
    /// The slot is free again.
    Closed {
        /// The connection that was.
        conn: ConnId,
    },
    /// Somebody rang the shard's doorbell. It stays armed.
    Rung,
}

/// Time as the shard is told it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Nanoseconds on a monotonic clock of unspecified origin.
    pub mono_ns: u64,
    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub unix_ms: u64,
}

/// What a shard asks of the world. See the module's contract.
pub trait Io {
    /// The time now. The shard asks at the start and at the end of a tick, never in between.
    fn time(&mut self) -> Time;

    /// Arms one single-shot accept of a listener.
    fn submit_accept(&mut self, listener: ListenerId, ticket: u16);

    /// Stops listening: every armed accept of every listener ends with
    /// [`IoError::Cancelled`] (or with a connection that was already there).
    fn close_listeners(&mut self);

    /// Arms a multishot receive. At most one may be armed for a connection.
    fn submit_recv(&mut self, conn: ConnId);

    /// Asks that the armed receive end; its last completion tells when it did.
    fn cancel_recv(&mut self, conn: ConnId);

    /// Sends `buf` from `offset`. At most one send of a connection is in flight.
    fn submit_send(&mut self, conn: ConnId, buf: SendBuf, offset: usize);

    /// Shuts down one half or both.
    fn submit_shutdown(&mut self, conn: ConnId, how: Shutdown);

    /// Frees the slot. No other operation of the connection may be in flight.
    fn submit_close(&mut self, conn: ConnId);

    /// The bytes of a buffer on loan.
    fn bytes<'a>(&'a self, buffer: &'a Buffer) -> &'a [u8];

    /// Gives a buffer back to the pool.
    fn recycle(&mut self, buffer: Buffer);

    /// Buffers of the pool, and how many of them are on loan to the kernel's queue or the shard.
    fn buffers(&self) -> BufferOccupancy;
}

/// What a shard that makes connections asks besides. Slots of the direct table are then its choice
/// (0 to the table's size), so it has no listeners.
pub trait Dial: Io {
    /// Opens a connection in a free slot, with TCP_NODELAY. Answered by one
    /// [`Completion::Connected`]; nothing else of the connection may be submitted before, but
    /// [`Io::submit_shutdown`] of both halves, which ends a connect that takes too long.
    fn submit_connect(&mut self, conn: ConnId, remote: Remote);
}

/// How the receive buffers of a shard are doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BufferOccupancy {
    /// Buffers in the pool.
    pub total: u32,
    /// Buffers that hold received bytes and were not recycled yet.
    pub used: u32,
}
