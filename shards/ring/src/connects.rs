//! Outgoing connections: sockets made and put into the table of direct descriptors, connects in
//! flight, and connected sockets handed in. One table of them lives in each ring.
//!
//! Invariant: the address that a connect names stays where it is while the connect is in flight.
//! Of the calls made here none waits: socket(2), setsockopt(2), bind(2) to a port that the kernel
//! picks later, and the registration of one file. A connection holds one plain descriptor
//! meanwhile, and none afterwards.
//!
//! On kernels that release closed direct descriptors late (see the crate's docs), a connect in
//! flight holds back what is closed after it, for as long as the client role lets it take.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use io_uring::{opcode, squeue, types};
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use ringmesh_runtime::io::{Completion, ConnId, ConnectError, Dial, Remote};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::errno::{of_connect, outcome};
use crate::ring::{FollowUp, Ring, errno_of};
use crate::user_data::{Kind, UserData};

/// Connects in flight, and sockets that were adopted and are not yet used.
pub(crate) struct Connects {
    #[expect(clippy::vec_box, reason = "the kernel reads an address while the list grows")]
    entries: Vec<Box<Connecting>>,
    free: Vec<u32>,
    /// For each slot the place of its connect in flight plus one, or 0. Memory of zeros, resident
    /// as slots are used.
    places: Box<[u32]>,
    adopted: BTreeMap<u16, OwnedFd>,
}

struct Connecting {
    conn: ConnId,
    address: SockAddr,
    /// The shard gave it up.
    ending: bool,
}

impl Connects {
    pub(crate) fn new(table: u32) -> Self {
        let places = vec![0; table as usize].into_boxed_slice();
        Self { entries: Vec::new(), free: Vec::new(), places, adopted: BTreeMap::new() }
    }

    /// Keeps the address, and gives the submission that names it.
    fn insert(&mut self, conn: ConnId, to: SocketAddr) -> squeue::Entry {
        let place_of_slot = &mut self.places[conn.slot as usize];
        assert!(*place_of_slot == 0, "two connects in flight for one slot");
        let connecting = Connecting { conn, address: to.into(), ending: false };
        let place = match self.free.pop() {
            Some(place) => {
                *self.entries[place as usize] = connecting;
                place
            }
            None => {
                self.entries.push(Box::new(connecting));
                u32::try_from(self.entries.len() - 1).expect("fewer connects than slots")
            }
        };
        *place_of_slot = place + 1;
        let address = &self.entries[place as usize].address;
        opcode::Connect::new(types::Fixed(conn.slot), address.as_ptr().cast(), address.len())
            .build()
            .user_data(UserData::of_conn(Kind::Connect, conn).pack())
    }

    fn find(&mut self, conn: ConnId) -> Option<&mut Connecting> {
        let place = self.places[conn.slot as usize].checked_sub(1)?;
        let connecting = &mut self.entries[place as usize];
        (connecting.conn == conn).then_some(connecting)
    }

    /// Notes that the shard gives a connect up; whether one is in flight.
    pub(crate) fn end(&mut self, conn: ConnId) -> bool {
        self.find(conn).map(|connecting| connecting.ending = true).is_some()
    }

    /// Whether a connect that was given up is in flight still.
    pub(crate) fn is_ending(&mut self, conn: ConnId) -> bool {
        self.find(conn).is_some_and(|connecting| connecting.ending)
    }

    /// Takes a finished connect out; whether the shard gave it up.
    fn remove(&mut self, conn: ConnId) -> bool {
        let ending = self.find(conn).expect("a connect finishes once").ending;
        let place = std::mem::take(&mut self.places[conn.slot as usize]) - 1;
        self.free.push(place);
        ending
    }

    /// Gives up the memory: the kernel may still read it.
    pub(crate) fn leak(&mut self) {
        Box::leak(std::mem::take(&mut self.entries).into_boxed_slice());
    }
}

impl Dial for Ring {
    fn submit_connect(&mut self, conn: ConnId, remote: Remote) {
        let opened = match remote {
            Remote::Ip { from, to } => open(from, to).and_then(|socket| {
                self.place(conn, &socket)?;
                Ok(Some(to))
            }),
            Remote::Adopted(place) => {
                let taken = self.connects.adopted.remove(&place);
                // Its one connection is used up: like a server that is gone.
                let socket = taken.ok_or(Errno::ECONNREFUSED);
                socket.and_then(|socket| self.place(conn, &socket).map(|()| None))
            }
        };
        let result = match opened {
            Ok(Some(to)) => {
                let entry = self.connects.insert(conn, to);
                // SAFETY: the entry names an address that the table of connects keeps in place
                // until the completion, or until the ring's drop awaited it.
                unsafe { self.push(&entry) };
                return;
            }
            Ok(None) => Ok(()),
            Err(errno) => Err(of_connect(errno)),
        };
        self.stash.push(Completion::Connected { conn, result });
    }
}

impl Ring {
    /// Takes a socket that is connected already, such as one end of a socketpair(2), for the
    /// [`Remote::Adopted`] of this place. It serves one connection: another is refused.
    ///
    /// # Errors
    /// What fcntl(2) reports: the socket is made blocking, as the ring's own are, since io_uring
    /// does not wait for others.
    pub fn adopt(&mut self, place: u16, socket: OwnedFd) -> Result<(), Errno> {
        let socket = Socket::from(socket);
        socket.set_nonblocking(false).map_err(|error| errno_of(&error))?;
        self.connects.adopted.insert(place, socket.into());
        Ok(())
    }

    /// Puts a socket into a free slot of the table, which keeps it open by itself.
    fn place(&mut self, conn: ConnId, socket: &impl AsFd) -> Result<(), Errno> {
        let descriptor = [socket.as_fd().as_raw_fd()];
        let placed = self.uring.submitter().register_files_update(conn.slot, &descriptor);
        match placed.map_err(|error| errno_of(&error))? {
            0 => Err(Errno::ENFILE),
            _ => Ok(()),
        }
    }

    pub(crate) fn on_connect(&mut self, conn: ConnId, result: i32) -> Completion {
        let result = match self.connects.remove(conn) {
            // Even if it came to a connection at the last moment: the shard is done with it.
            true => Err(ConnectError::TimedOut),
            false => outcome(result).map(|_| ()).map_err(of_connect),
        };
        Completion::Connected { conn, result }
    }

    /// A connect whose wait is just over is not found: it is then asked again.
    pub(crate) fn on_connect_cancel(&mut self, conn: ConnId, result: i32) {
        let missed = matches!(outcome(result), Err(Errno::ENOENT | Errno::EALREADY));
        if missed && self.connects.is_ending(conn) {
            self.follow_ups.push(FollowUp::CancelConnect(conn));
        }
    }

    /// Queues the cancellation of a connect.
    pub(crate) fn push_connect_cancel(&mut self, conn: ConnId) {
        let target = UserData::of_conn(Kind::Connect, conn).pack();
        let entry = opcode::AsyncCancel::new(target).build();
        let entry = entry.user_data(UserData::of_conn(Kind::CancelConnect, conn).pack());
        // SAFETY: the entry names no memory.
        unsafe { self.push(&entry) };
    }
}

/// A socket that is ready to connect: close-on-exec, and blocking, since io_uring gives up at once
/// on one that is not.
fn open(from: Option<IpAddr>, to: SocketAddr) -> Result<Socket, Errno> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP));
    let socket = socket.map_err(|error| errno_of(&error))?;
    socket.set_tcp_nodelay(true).map_err(|error| errno_of(&error))?;
    if let Some(from) = from {
        late_port(&socket, to)?;
        let from = SocketAddr::new(from, 0).into();
        socket.bind(&from).map_err(|error| errno_of(&error))?;
    }
    Ok(socket)
}

/// Has the kernel pick the port on connecting, when it knows the other end: one port then serves
/// many destinations. ip(7) has it for IPv4; where IPv6 lacks it, a port is picked on binding.
fn late_port(socket: &Socket, to: SocketAddr) -> Result<(), Errno> {
    match setsockopt(socket, sockopt::IpBindAddressNoPort, &true) {
        Err(Errno::ENOPROTOOPT | Errno::EOPNOTSUPP) if to.is_ipv6() => Ok(()),
        set => set,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conn(slot: u32) -> ConnId {
        ConnId { slot, generation: 7 }
    }

    fn to() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 80))
    }

    #[test]
    fn addresses_stay_where_they_are_while_the_table_grows() {
        let mut connects = Connects::new(5_000);
        connects.insert(conn(0), to());
        let address = connects.find(conn(0)).map(|connecting| connecting.address.as_ptr());
        for slot in 1..5_000 {
            connects.insert(conn(slot), to());
        }
        let found = connects.find(conn(0)).expect("in flight");
        assert_eq!(
            (Some(found.address.as_ptr()), found.address.as_socket()),
            (address, Some(to()))
        );
    }

    #[test]
    fn a_connect_ends_once_and_its_place_is_used_again() {
        let mut connects = Connects::new(4);
        assert!(!connects.end(conn(3)), "none is in flight");
        connects.insert(conn(3), to());
        assert!(!connects.end(ConnId { slot: 3, generation: 6 }), "an earlier user's");
        assert!(!connects.is_ending(conn(3)));
        assert!(connects.end(conn(3)) && connects.is_ending(conn(3)));
        assert!(connects.remove(conn(3)) && !connects.end(conn(3)));
        connects.insert(conn(1), to());
        assert_eq!(connects.entries.len(), 1);
        assert!(!connects.remove(conn(1)));
    }

    #[test]
    #[should_panic(expected = "two connects")]
    fn a_slot_that_connects_twice_is_a_bug() {
        let mut connects = Connects::new(4);
        connects.insert(conn(2), to());
        connects.insert(conn(2), to());
    }
}
