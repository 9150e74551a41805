//! What travels between shards, pools and the control plane, through the mailbox's lanes.

use std::sync::Arc;

use crossbeam::channel::{Receiver, Sender, bounded};

use ringmesh_proto::mcp::{EventId, SessionId};

use crate::call::{Answer, CallId};
use crate::io::ConnId;
use crate::mailbox;
use crate::probe::Probe;
use crate::shard::ShardId;

/// Asks something of a shard.
#[derive(Debug)]
pub enum Request {
    /// Stop: no new connections, finish what is in flight, end streams spread over time, be gone
    /// after `grace_ms`.
    Drain {
        /// Milliseconds until connections are cut.
        grace_ms: u64,
    },
    /// Copy the probe into this one, and send it. The channel holds one; a shard never waits for
    /// its receiver, and allocates nothing for the answer.
    Probe(Box<Probe>, Sender<Box<Probe>>),
    /// Handle a request of a session that lives on this shard and came in on another one.
    Forward(Box<Forward>),
    /// The connection of a forwarded request is gone.
    Gone(Far),
}

/// A connection of another shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Far {
    /// The shard.
    pub shard: ShardId,
    /// The connection.
    pub conn: ConnId,
}

/// A request for another shard's session. Its connection waits for [`Relay`]s.
#[derive(Debug)]
pub struct Forward {
    /// Where it came in.
    pub from: Far,
    /// The session.
    pub session: SessionId,
    /// What is asked.
    pub what: Forwarded,
    /// Whether its connection lives on.
    pub keep_alive: bool,
    /// The minor version of its HTTP.
    pub version_minor: u8,
}

/// What is asked of a session elsewhere.
#[derive(Debug)]
pub enum Forwarded {
    /// The body of a POST.
    Post(Vec<u8>),
    /// An event stream, from behind this event.
    Get(Option<EventId>),
    /// The session's end.
    Delete,
}

/// A part of the answer to a forwarded request, on its way to the connection.
#[derive(Debug)]
pub struct Relay {
    /// The connection, on the shard that gets this.
    pub conn: ConnId,
    /// Bytes to send as they are.
    pub bytes: Vec<u8>,
    /// What follows them.
    pub then: Then,
}

/// What follows the bytes of a [`Relay`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// More events; `comments` says how an idle stream is kept alive.
    Events {
        /// Whether the stream is chunked.
        chunked: bool,
    },
    /// Nothing: the exchange is over.
    Finish {
        /// Whether the connection lives on.
        keep_alive: bool,
    },
    /// Nothing, and the answer is not whole: the connection is cut.
    Cut,
}

impl Request {
    /// A request for the probe, and where the answer comes.
    pub fn probe() -> (Self, Receiver<Box<Probe>>) {
        let (answer, answered) = bounded(1);
        (Self::Probe(Box::new(Probe::new(0)), answer), answered)
    }
}

/// The final answer of a pooled call.
#[derive(Debug)]
pub struct Reply {
    /// The call.
    pub call: CallId,
    /// Its answer.
    pub answer: Answer,
}

/// A message that a pooled call sends before its answer.
#[derive(Debug)]
pub struct Note {
    /// The call.
    pub call: CallId,
    /// The message.
    pub what: Noted,
}

/// What a pooled call sends before its answer.
#[derive(Debug)]
pub enum Noted {
    /// One JSON-RPC notification as JSON text without line breaks.
    Message(Vec<u8>),
    /// Close the event stream; the client comes back for the rest.
    CloseStream {
        /// When it is to come back, in ms.
        retry_ms: u64,
    },
}

/// A change that concerns every shard. Changes of lists need none: shards compare versions of the
/// [`crate::catalog::Published`] catalog when they wake.
#[derive(Clone, Debug)]
pub enum Event {
    /// The resource with this URI changed.
    ResourceUpdated(Arc<str>),
}

/// The messages of a shard's mailbox.
#[derive(Debug)]
pub enum ShardMessages {}

impl mailbox::Messages for ShardMessages {
    type Request = Request;
    type Reply = Reply;
    type Note = Note;
    type Event = Event;
    type Relay = Relay;
}

/// A shard's address, for everybody else.
pub type Address = mailbox::Address<ShardMessages>;

/// A shard's own end of its mailbox.
pub type Inbox = mailbox::Inbox<ShardMessages>;
