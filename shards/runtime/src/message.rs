//! What travels between shards, pools and the control plane, through the mailbox's lanes.

use std::sync::Arc;

use crossbeam::channel::{Receiver, Sender, bounded};

use crate::call::{Answer, CallId};
use crate::mailbox;
use crate::probe::Probe;

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
    /// One JSON-RPC notification as JSON text without line breaks.
    pub json: Vec<u8>,
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
}

/// A shard's address, for everybody else.
pub type Address = mailbox::Address<ShardMessages>;

/// A shard's own end of its mailbox.
pub type Inbox = mailbox::Inbox<ShardMessages>;
