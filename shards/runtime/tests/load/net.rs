//! A network in memory with two ends: what drives a server's shard, and what drives a client role.
//! Both hold whoever they drive to the contracts of [`Io`] and [`Dial`].

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use ringmesh_runtime::io::{
    Buffer, BufferOccupancy, Completion, ConnId, ConnectError, Dial, Io, IoError, ListenerId, Peer,
    Remote, SendBuf, Shutdown, Time,
};

pub(crate) const CLIENT: usize = 0;
pub(crate) const SERVER: usize = 1;

thread_local! {
    /// Whether what is allocated now is the code's that is tested.
    pub(crate) static TESTED: Cell<bool> = const { Cell::new(false) };
}

/// Runs code of the test that the tested code calls.
fn apart<T>(code: impl FnOnce() -> T) -> T {
    let before = TESTED.replace(false);
    let result = code();
    TESTED.set(before);
    result
}

/// One connection.
#[derive(Default)]
pub(crate) struct Link {
    /// Sent to an end and not received by it yet.
    pub(crate) bytes: [VecDeque<u8>; 2],
    /// An end sends no more.
    pub(crate) fin: [bool; 2],
    /// The connection was reset.
    pub(crate) reset: bool,
    /// Everything that the client sent.
    pub(crate) log: Vec<u8>,
    /// Where the client connected to.
    pub(crate) remote: Option<Remote>,
}

#[derive(Default)]
pub(crate) struct Net {
    pub(crate) now_ns: u64,
    pub(crate) links: Vec<Link>,
    /// Made and not accepted yet.
    pub(crate) backlog: VecDeque<usize>,
    /// How the next connects end.
    pub(crate) refusals: VecDeque<ConnectError>,
    /// Connects are not answered.
    pub(crate) silent: bool,
    /// Bytes that a receive or a send takes at most; 0: all.
    pub(crate) piece: usize,
    /// Most connections at once.
    pub(crate) open_max: usize,
    /// How long a client takes from one look at the clock to the next.
    pub(crate) look_ns: u64,
    /// From which place on closes of clients take until when.
    pub(crate) late_closes: Option<(u32, u64)>,
}

impl Net {
    fn piece(&self, len: usize) -> usize {
        if self.piece == 0 { len } else { len.min(self.piece) }
    }

    fn closes(&self, side: usize, place: u32) -> bool {
        let late = |(from, until_ns)| side == CLIENT && from <= place && self.now_ns < until_ns;
        !self.late_closes.is_some_and(late)
    }
}

struct Slot {
    link: Option<usize>,
    generation: u32,
    connecting: Option<Remote>,
    receiving: bool,
    cancelling: bool,
    sending: Option<(SendBuf, usize)>,
    shutdown: Option<Shutdown>,
    cut: bool,
    closing: bool,
    closed: bool,
}

/// One end. See the module.
pub(crate) struct End {
    pub(crate) net: Rc<RefCell<Net>>,
    side: usize,
    table: u32,
    slots: BTreeMap<u32, Slot>,
    generations: BTreeMap<u32, u32>,
    accepts: Vec<(ListenerId, u16)>,
    /// Which listener connections come to.
    pub(crate) listener: u16,
    loans: BTreeMap<u16, Vec<u8>>,
    next_loan: u16,
    pub(crate) ready: Vec<Completion>,
}

impl End {
    pub(crate) fn new(net: &Rc<RefCell<Net>>, side: usize, table: u32) -> Self {
        Self {
            net: Rc::clone(net),
            side,
            table,
            slots: BTreeMap::new(),
            generations: BTreeMap::new(),
            accepts: Vec::new(),
            listener: 0,
            loans: BTreeMap::new(),
            next_loan: 0,
            ready: Vec::new(),
        }
    }

    pub(crate) fn assert_quiet(&self) {
        assert!(self.loans.is_empty(), "every buffer came back");
        assert!(self.slots.is_empty(), "every connection is closed");
    }

    /// Receives that are armed.
    pub(crate) fn receiving(&self) -> usize {
        self.slots.values().filter(|slot| slot.receiving).count()
    }

    /// Lets operations finish: at most one of each kind for a connection.
    pub(crate) fn progress(&mut self) {
        let net = Rc::clone(&self.net);
        let mut net = net.borrow_mut();
        self.accept(&mut net);
        let (side, other) = (self.side, 1 - self.side);
        for (&place, slot) in &mut self.slots {
            let conn = ConnId { slot: place, generation: slot.generation };
            if let Some(remote) = slot.connecting {
                let result = match net.refusals.pop_front() {
                    Some(error) => Err(error),
                    None if slot.cut => Err(ConnectError::TimedOut),
                    None if net.silent => continue,
                    None => {
                        let link = Link { remote: Some(remote), ..Link::default() };
                        net.links.push(link);
                        slot.link = Some(net.links.len() - 1);
                        let link = net.links.len() - 1;
                        net.backlog.push_back(link);
                        Ok(())
                    }
                };
                slot.connecting = None;
                self.ready.push(Completion::Connected { conn, result });
                continue;
            }
            if slot.receiving {
                let piece = net.piece;
                let link = slot.link.map(|link| &mut net.links[link]);
                if let Some((result, more)) = receive(slot, link, (side, piece)) {
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
            }
            if let Some((buf, offset)) = slot.sending.take() {
                let bytes = &buf.as_slice()[offset..];
                let len = net.piece(bytes.len());
                let link = &mut net.links[slot.link.expect("connected")];
                let result = if slot.cut || link.reset || link.fin[side] {
                    Err(IoError::Disconnected)
                } else {
                    link.bytes[other].extend(&bytes[..len]);
                    if side == CLIENT {
                        link.log.extend_from_slice(&bytes[..len]);
                    }
                    Ok(len)
                };
                self.ready.push(Completion::Sent { conn, buf, result });
            }
            if let Some(how) = slot.shutdown.take() {
                if let (Some(link), Shutdown::Write) = (slot.link, how) {
                    net.links[link].fin[side] = true;
                }
                self.ready.push(Completion::ShutDown { conn });
            }
            if slot.closing && net.closes(side, place) {
                slot.closed = true;
                if let Some(link) = slot.link {
                    net.links[link].fin[side] = true;
                }
                self.ready.push(Completion::Closed { conn });
            }
        }
        self.slots.retain(|_, slot| !slot.closed);
        net.open_max = net.open_max.max(self.slots.len());
    }

    fn accept(&mut self, net: &mut Net) {
        if self.side != SERVER {
            return;
        }
        while let Some(&link) = net.backlog.front() {
            let wanted = ListenerId(self.listener);
            let Some(at) = self.accepts.iter().position(|(listener, _)| *listener == wanted) else {
                return;
            };
            net.backlog.pop_front();
            let (listener, ticket) = self.accepts.swap_remove(at);
            let free = (0..self.table).find(|place| !self.slots.contains_key(place));
            let place = free.expect("accepts leave a place free");
            let mut slot = Slot::new(u32::MAX);
            slot.link = Some(link);
            self.slots.insert(place, slot);
            let result = Ok((place, Peer::Local));
            self.ready.push(Completion::Accepted { listener, ticket, result });
        }
    }

    fn slot(&mut self, conn: ConnId) -> &mut Slot {
        let slot = self.slots.get_mut(&conn.slot).expect("contract: the slot is taken");
        assert!(!slot.closing, "contract: nothing follows a close");
        if slot.generation == u32::MAX {
            slot.generation = conn.generation;
        }
        assert_eq!(slot.generation, conn.generation, "contract: an earlier connection");
        slot
    }
}

impl Slot {
    fn new(generation: u32) -> Self {
        Self {
            link: None,
            generation,
            connecting: None,
            receiving: false,
            cancelling: false,
            sending: None,
            shutdown: None,
            cut: false,
            closing: false,
            closed: false,
        }
    }
}

type Received = (Result<Option<Vec<u8>>, IoError>, bool);

fn receive(
    slot: &mut Slot,
    link: Option<&mut Link>,
    (side, piece): (usize, usize),
) -> Option<Received> {
    if std::mem::take(&mut slot.cancelling) {
        return Some((Err(IoError::Cancelled), false));
    }
    if slot.cut {
        return Some((Ok(None), false));
    }
    let link = link?;
    if link.reset {
        return Some((Err(IoError::Disconnected), false));
    }
    let bytes = &mut link.bytes[side];
    if !bytes.is_empty() {
        let len = if piece == 0 { bytes.len() } else { bytes.len().min(piece) };
        return Some((Ok(Some(bytes.drain(..len).collect())), true));
    }
    link.fin[1 - side].then_some((Ok(None), false))
}

impl Io for End {
    fn time(&mut self) -> Time {
        let mut net = self.net.borrow_mut();
        if self.side == CLIENT {
            net.now_ns += net.look_ns;
        }
        let now_ns = net.now_ns;
        Time { mono_ns: now_ns, unix_ms: 1_790_000_000_000 + now_ns / 1_000_000 }
    }

    fn submit_accept(&mut self, listener: ListenerId, ticket: u16) {
        self.accepts.push((listener, ticket));
    }

    fn close_listeners(&mut self) {
        for (listener, ticket) in self.accepts.drain(..) {
            let result = Err(IoError::Cancelled);
            self.ready.push(Completion::Accepted { listener, ticket, result });
        }
    }

    fn submit_recv(&mut self, conn: ConnId) {
        let slot = self.slot(conn);
        assert!(!slot.receiving, "contract: one receive at a time");
        assert!(slot.connecting.is_none(), "contract: nothing before it is connected");
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
        assert!(slot.connecting.is_none(), "contract: nothing before it is connected");
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
        assert!(!busy && slot.connecting.is_none(), "contract: nothing is in flight at a close");
        slot.closing = true;
    }

    fn bytes<'a>(&'a self, buffer: &'a Buffer) -> &'a [u8] {
        &self.loans[&buffer.id]
    }

    fn recycle(&mut self, buffer: Buffer) {
        apart(|| {
            assert!(self.loans.remove(&buffer.id).is_some(), "contract: it comes back once");
        });
    }

    fn buffers(&self) -> BufferOccupancy {
        BufferOccupancy { total: 64, used: 0 }
    }
}

impl Dial for End {
    fn submit_connect(&mut self, conn: ConnId, remote: Remote) {
        apart(|| {
            assert!(conn.slot < self.table, "contract: a slot of the table");
            let before = self.generations.insert(conn.slot, conn.generation);
            assert_ne!(before, Some(conn.generation), "contract: a generation of its own");
            let mut slot = Slot::new(conn.generation);
            slot.connecting = Some(remote);
            assert!(self.slots.insert(conn.slot, slot).is_none(), "contract: a free slot");
        });
    }
}
