//! How other threads wake a shard that waits: an eventfd on which its ring has a poll armed.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use io_uring::{opcode, squeue, types};
use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use ringmesh_runtime::mailbox::Bell;

use crate::user_data::{Kind, UserData};

/// Wakes the ring it was made for; clones ring the same bell. A ring is kept until it is taken:
/// rung before the ring waits, it ends the wait at once. Rings may merge into one.
#[derive(Clone, Debug)]
pub struct Doorbell {
    eventfd: Arc<EventFd>,
}

impl Doorbell {
    /// A doorbell, which takes one descriptor.
    ///
    /// # Errors
    /// What eventfd(2) reports: EMFILE, ENFILE, ENOMEM.
    pub fn new() -> Result<Self, Errno> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Self { eventfd: Arc::new(EventFd::from_flags(flags)?) })
    }

    /// Rings. Costs a system call: ring only who sleeps.
    pub fn ring(&self) {
        match self.eventfd.write(1) {
            Ok(_) => {}
            // The counter is full, hence not zero: it has been rung.
            Err(Errno::EAGAIN) => {}
            Err(errno) => panic!("eventfd write: {errno}"),
        }
    }

    /// The poll that reports rings. Every write wakes an edge-triggered multishot poll, so nothing
    /// needs to read the counter; armed anew it fires once for the past.
    pub(crate) fn poll_entry(&self) -> squeue::Entry {
        let events = u32::try_from(libc::POLLIN).expect("a small constant");
        opcode::PollAdd::new(types::Fd(self.as_raw_fd()), events)
            .multi(true)
            .build()
            .user_data(UserData::of_slot(Kind::Doorbell, 0).pack())
    }

    fn as_raw_fd(&self) -> RawFd {
        self.eventfd.as_raw_fd()
    }
}

impl Bell for Doorbell {
    fn ring(&self) {
        Self::ring(self);
    }
}
