//! The parallel single-shot accepts of a listener, each with its own place for the peer's address.
//!
//! One queue lives in a ring for each of its listeners. A multishot accept gives no usable peer
//! address, and a direct descriptor cannot be asked for it later. Invariant: a ticket's address
//! belongs to the kernel while the ticket is armed.

use std::cell::UnsafeCell;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use io_uring::{opcode, squeue, types};
use ringmesh_runtime::io::{ListenerId, Peer};
use ringmesh_runtime::limits::ACCEPTS_ARMED;
use socket2::{SockAddr, SockAddrStorage, socklen_t};

use crate::listener::Listener;
use crate::user_data::{Kind, UserData};

pub(crate) struct AcceptQueue {
    listener: Option<Listener>,
    tickets: Box<[Ticket]>,
}

struct Ticket {
    address: UnsafeCell<SockAddrStorage>,
    len: UnsafeCell<socklen_t>,
    armed: bool,
}

impl AcceptQueue {
    pub(crate) fn new(listener: Listener) -> Self {
        let tickets = (0..ACCEPTS_ARMED)
            .map(|_| Ticket {
                address: UnsafeCell::new(SockAddrStorage::zeroed()),
                len: UnsafeCell::new(0),
                armed: false,
            })
            .collect();
        Self { listener: Some(listener), tickets }
    }

    /// The submission that arms a ticket; none once the listener is closed.
    ///
    /// The submission names the ticket's memory, which stays in place until the queue is dropped.
    pub(crate) fn arm(&mut self, id: ListenerId, ticket: u16) -> Option<squeue::Entry> {
        let listener = self.listener.as_ref()?;
        let place = &mut self.tickets[usize::from(ticket)];
        assert!(!place.armed, "a ticket armed twice: its address is the kernel's");
        place.armed = true;
        *place.len.get_mut() = place.address.get_mut().size_of();
        let entry = opcode::Accept::new(
            types::Fd(listener.socket().as_raw_fd()),
            place.address.get().cast(),
            place.len.get(),
        )
        // Close-on-exec is no property of direct descriptors: asked for, it is refused.
        .file_index(Some(types::DestinationSlot::auto_target()))
        .build();
        let slot = u32::from(id.0) << u16::BITS | u32::from(ticket);
        Some(entry.user_data(UserData::of_slot(Kind::Accept, slot).pack()))
    }

    /// Takes the ticket back from the kernel, with the peer if one was written.
    pub(crate) fn disarm(&mut self, ticket: u16) -> Peer {
        let place = &mut self.tickets[usize::from(ticket)];
        assert!(place.armed, "an accept finishes once");
        place.armed = false;
        let len = *place.len.get_mut();
        // SAFETY: the accept is finished, so the storage is no longer the kernel's. It is plain
        // data, initialised by the kernel as an address of `len` bytes: of a Unix client without a
        // name that is the family alone. Where no address was written, it is an earlier client's of
        // the same listener, or zeroed, and the accept failed.
        let address = unsafe { SockAddr::new(place.address.get().read(), len) };
        address.as_socket().map_or(Peer::Local, |address| Peer::Ip(canonical(address)))
    }

    /// The submission that cancels every armed accept.
    pub(crate) fn cancel_entry(&self) -> Option<squeue::Entry> {
        let fd = types::Fd(self.listener.as_ref()?.socket().as_raw_fd());
        let all = types::CancelBuilder::fd(fd).all();
        let entry = opcode::AsyncCancel2::new(all).build();
        Some(entry.user_data(UserData::of_slot(Kind::Ignored, 0).pack()))
    }

    /// Closes the listening socket. Armed accepts keep it until they end.
    pub(crate) fn close(&mut self) {
        self.listener = None;
    }

    /// Gives up the memory: the kernel may still write it.
    pub(crate) fn leak(&mut self) {
        Box::leak(std::mem::take(&mut self.tickets));
    }
}

/// What the slot of an accept's `user_data` says.
#[expect(clippy::cast_possible_truncation, reason = "the halves of the slot")]
pub(crate) fn ticket_of(slot: u32) -> (ListenerId, u16) {
    (ListenerId((slot >> u16::BITS) as u16), slot as u16)
}

/// An IPv4 peer of a dual-stack listener, under its IPv4 address.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip if ip == address.ip() => address,
        ip => SocketAddr::new(ip, address.port()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_addresses_become_ipv4_and_scopes_stay() {
        let mapped: SocketAddr = "[::ffff:127.0.0.1]:80".parse().unwrap();
        assert_eq!(canonical(mapped), "127.0.0.1:80".parse().unwrap());
        let scoped: SocketAddr = "[fe80::1%3]:80".parse().unwrap();
        assert_eq!(canonical(scoped), scoped);
    }

    #[test]
    fn listener_and_ticket_fit_a_slot() {
        let slot = 0x0102_0000 | 31;
        assert_eq!(ticket_of(slot), (ListenerId(0x0102), 31));
    }
}
