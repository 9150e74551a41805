//! The sockets of one shard, in memory. They do what the input said they would, and hold the shard to
//! the contract of [`Io`].

use std::collections::{BTreeMap, VecDeque};

use ringmesh_runtime::io::{
    Buffer, BufferOccupancy, Completion, ConnId, Io, IoError, ListenerId, Peer, SendBuf, Shutdown,
    Time,
};

/// A client's end of a connection.
pub(super) struct Link {
    pub(super) listener: u16,
    pub(super) peer: Peer,
    /// Sent by the client and not received yet.
    pub(super) up: VecDeque<u8>,
    /// Nothing follows: the end of the stream, or an error.
    pub(super) ended: Option<Result<(), IoError>>,
    /// Received by the client and not read yet.
    pub(super) down: Vec<u8>,
    /// Bytes that one receive or send takes at most.
    pub(super) piece: usize,
    /// The client takes nothing.
    pub(super) stalled: bool,
    /// How the next receive or send fails.
    pub(super) fault: Option<IoError>,
    /// The shard shut its half after its last byte.
    pub(super) fin: bool,
}

/// A taken place of the table.
struct Slot {
    link: usize,
    /// Chosen by the shard, with its first submission.
    generation: Option<u32>,
    receiving: bool,
    cancelling: bool,
    sending: Option<(SendBuf, usize)>,
    shutdown: Option<Shutdown>,
    cut: bool,
    closing: bool,
}

/// See the module.
pub(super) struct FakeIo {
    pub(super) now: Time,
    /// Every connection that ever was.
    pub(super) links: Vec<Link>,
    /// How the next accept fails.
    pub(super) accept_fault: Option<IoError>,
    pub(super) ready: Vec<Completion>,
    slots: BTreeMap<u32, Slot>,
    table: u32,
    generations: BTreeMap<u32, u32>,
    accepts: Vec<(ListenerId, u16)>,
    /// Links that wait to be accepted.
    backlog: Vec<usize>,
    listening: bool,
    loans: BTreeMap<u16, Vec<u8>>,
    next_loan: u16,
}

impl FakeIo {
    pub(super) fn new(now: Time, table: u32) -> Self {
        Self {
            now,
            links: Vec::new(),
            accept_fault: None,
            ready: Vec::new(),
            slots: BTreeMap::new(),
            table,
            generations: BTreeMap::new(),
            accepts: Vec::new(),
            backlog: Vec::new(),
            listening: true,
            loans: BTreeMap::new(),
            next_loan: 0,
        }
    }

    pub(super) fn connect(&mut self, link: Link) -> usize {
        self.links.push(link);
        let no = self.links.len() - 1;
        self.backlog.push(no);
        self.refuse_backlog();
        no
    }

    /// Nothing is open, armed or on loan.
    pub(super) fn assert_quiet(&self) {
        assert!(self.loans.is_empty(), "every buffer came back");
        assert!(self.slots.is_empty(), "every connection is closed");
    }

    /// Lets operations finish: at most one of each kind for a connection.
    pub(super) fn progress(&mut self) {
        self.accept();
        self.slots.retain(|&place, slot| {
            let Some(generation) = slot.generation else { return true };
            let conn = ConnId { slot: place, generation };
            let link = &mut self.links[slot.link];
            if slot.receiving
                && let Some((result, more)) = receive(slot, link)
            {
                slot.receiving = more;
                let result = result.map(|bytes| {
                    let bytes = bytes?;
                    let len = u32::try_from(bytes.len()).expect("a piece");
                    self.next_loan = self.next_loan.wrapping_add(1);
                    self.loans.insert(self.next_loan, bytes);
                    Some(Buffer { id: self.next_loan, len })
                });
                self.ready.push(Completion::Received { conn, result, more });
            }
            if let Some((buf, offset)) = slot.sending.take() {
                match send(slot, link, &buf.as_slice()[offset..]) {
                    Some(result) => self.ready.push(Completion::Sent { conn, buf, result }),
                    None => slot.sending = Some((buf, offset)),
                }
            }
            if let Some(how) = slot.shutdown.take() {
                link.fin |= how == Shutdown::Write;
                self.ready.push(Completion::ShutDown { conn });
            }
            if slot.closing {
                link.ended.get_or_insert(Ok(()));
                self.ready.push(Completion::Closed { conn });
            }
            !slot.closing
        });
    }

    fn accept(&mut self) {
        let mut waiting = std::mem::take(&mut self.backlog);
        waiting.retain(|&link| {
            let wanted = ListenerId(self.links[link].listener);
            let Some(at) = self.accepts.iter().position(|(listener, _)| *listener == wanted) else {
                return true;
            };
            let (listener, ticket) = self.accepts.swap_remove(at);
            let fault = self.accept_fault.take();
            let result = match fault {
                Some(error) => Err(error),
                None => {
                    let free = (0..self.table).find(|place| !self.slots.contains_key(place));
                    let place = free.expect("contract: accepts leave a place free");
                    let slot = Slot {
                        link,
                        generation: None,
                        receiving: false,
                        cancelling: false,
                        sending: None,
                        shutdown: None,
                        cut: false,
                        closing: false,
                    };
                    self.slots.insert(place, slot);
                    Ok((place, self.links[link].peer))
                }
            };
            self.ready.push(Completion::Accepted { listener, ticket, result });
            fault.is_some()
        });
        self.backlog = waiting;
    }

    /// The slot of a connection that may be used.
    fn slot(&mut self, conn: ConnId) -> &mut Slot {
        let slot = self.slots.get_mut(&conn.slot).expect("contract: the slot is taken");
        assert!(!slot.closing, "contract: nothing follows a close");
        if slot.generation.is_none() {
            let before = self.generations.insert(conn.slot, conn.generation);
            assert_ne!(before, Some(conn.generation), "contract: a generation of its own");
        }
        let generation = *slot.generation.get_or_insert(conn.generation);
        assert_eq!(generation, conn.generation, "contract: an earlier connection");
        slot
    }
}

type Received = (Result<Option<Vec<u8>>, IoError>, bool);

/// What an armed receive reports now, and whether it stays armed.
fn receive(slot: &mut Slot, link: &mut Link) -> Option<Received> {
    if std::mem::take(&mut slot.cancelling) {
        return Some((Err(IoError::Cancelled), false));
    }
    if slot.cut {
        return Some((Ok(None), false));
    }
    if let Some(fault) = link.fault.take() {
        return Some((Err(fault), false));
    }
    if !link.up.is_empty() {
        let len = link.piece.min(link.up.len());
        return Some((Ok(Some(link.up.drain(..len).collect())), true));
    }
    link.ended.map(|ended| (ended.map(|()| None), false))
}

/// What a send comes to now.
fn send(slot: &Slot, link: &mut Link, bytes: &[u8]) -> Option<Result<usize, IoError>> {
    if slot.cut {
        return Some(Err(IoError::Disconnected));
    }
    if let Some(Err(error)) = link.ended {
        return Some(Err(error));
    }
    if let Some(fault) = link.fault.take() {
        return Some(Err(fault));
    }
    if link.stalled {
        return None;
    }
    let len = link.piece.min(bytes.len());
    link.down.extend_from_slice(&bytes[..len]);
    Some(Ok(len))
}

impl Io for FakeIo {
    fn time(&mut self) -> Time {
        self.now
    }

    fn submit_accept(&mut self, listener: ListenerId, ticket: u16) {
        let accept = (listener, ticket);
        assert!(!self.accepts.contains(&accept), "contract: a ticket is armed once");
        self.accepts.push(accept);
        if !self.listening {
            self.close_accepts();
        }
    }

    fn close_listeners(&mut self) {
        assert!(self.listening, "contract: listeners are closed once");
        self.listening = false;
        self.refuse_backlog();
        self.close_accepts();
    }

    fn submit_recv(&mut self, conn: ConnId) {
        let slot = self.slot(conn);
        assert!(!slot.receiving, "contract: one receive at a time");
        slot.receiving = true;
    }

    fn cancel_recv(&mut self, conn: ConnId) {
        let slot = self.slot(conn);
        assert!(slot.receiving && !slot.cancelling, "contract: there is what to cancel");
        slot.cancelling = true;
    }

    fn submit_send(&mut self, conn: ConnId, buf: SendBuf, offset: usize) {
        assert!(offset < buf.as_slice().len(), "contract: there is what to send");
        let slot = self.slot(conn);
        assert!(slot.sending.is_none(), "contract: one send at a time");
        slot.sending = Some((buf, offset));
    }

    fn submit_shutdown(&mut self, conn: ConnId, how: Shutdown) {
        let slot = self.slot(conn);
        assert!(slot.shutdown.is_none(), "contract: one shutdown at a time");
        slot.cut |= how == Shutdown::Both;
        slot.shutdown = Some(how);
    }

    fn submit_close(&mut self, conn: ConnId) {
        let slot = self.slot(conn);
        let busy = slot.receiving || slot.sending.is_some() || slot.shutdown.is_some();
        assert!(!busy, "contract: nothing is in flight at a close");
        slot.closing = true;
    }

    fn bytes<'a>(&'a self, buffer: &'a Buffer) -> &'a [u8] {
        &self.loans[&buffer.id]
    }

    fn recycle(&mut self, buffer: Buffer) {
        assert!(self.loans.remove(&buffer.id).is_some(), "contract: a buffer comes back once");
    }

    fn buffers(&self) -> BufferOccupancy {
        let used = u32::try_from(self.loans.len()).expect("few buffers");
        BufferOccupancy { total: 64, used }
    }
}

impl FakeIo {
    /// Nobody will accept who waits once the listeners are closed.
    fn refuse_backlog(&mut self) {
        if !self.listening {
            for link in self.backlog.drain(..) {
                self.links[link].ended = Some(Err(IoError::Disconnected));
            }
        }
    }

    fn close_accepts(&mut self) {
        for (listener, ticket) in self.accepts.drain(..) {
            let result = Err(IoError::Cancelled);
            self.ready.push(Completion::Accepted { listener, ticket, result });
        }
    }
}
