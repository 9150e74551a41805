//! The ring of provided buffers that receives fill. Nobody reads them: a buffer goes back to the
//! kernel as soon as its length was counted.

use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

/// The only buffer group.
pub(crate) const GROUP: u16 = 0;
/// A power of two.
const COUNT: u16 = 1024;
const BUFFER_BYTES: u32 = 4096;
const PAGE_BYTES: usize = 4096;

const _: () = assert!(COUNT.is_power_of_two());

/// Never freed: it is needed until the process ends.
pub(crate) struct Buffers {
    entries: NonNull<BufRingEntry>,
    data: NonNull<u8>,
    /// Counts the buffers ever given to the kernel; the entry's index is this modulo [`COUNT`].
    tail: u16,
}

impl Buffers {
    pub(crate) fn register(ring: &IoUring) -> io::Result<Self> {
        let entries = pages(usize::from(COUNT) * size_of::<BufRingEntry>()).cast();
        let data = pages(usize::from(COUNT) * BUFFER_BYTES as usize);
        // SAFETY: `entries` is aligned to a page, holds COUNT entries and is never freed.
        unsafe {
            let address = entries.as_ptr() as u64;
            ring.submitter()
                .register_buf_ring_with_flags(address, COUNT, GROUP, 0)?;
        }
        let mut buffers = Self {
            entries,
            data,
            tail: 0,
        };
        for id in 0..COUNT {
            buffers.give(id);
        }
        buffers.publish();
        Ok(buffers)
    }

    /// Gives a buffer back that a receive has filled. The kernel sees it once it is published.
    pub(crate) fn give(&mut self, id: u16) {
        assert!(
            id < COUNT,
            "the kernel filled a buffer that it was not given"
        );
        let index = usize::from(self.tail & (COUNT - 1));
        // SAFETY: both are within their allocations, as `index` and `id` are below COUNT. The kernel
        // has consumed what the entry held, since no more than COUNT buffers are ever given. No
        // other reference to the entries exists.
        let (entry, start) = unsafe {
            let start = self.data.add(usize::from(id) * BUFFER_BYTES as usize);
            (&mut *self.entries.as_ptr().add(index), start)
        };
        entry.set_addr(start.as_ptr() as u64);
        entry.set_len(BUFFER_BYTES);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Shows the kernel what was given.
    pub(crate) fn publish(&self) {
        // SAFETY: the tail lies in the first entry, is aligned to two bytes, and both sides access
        // it atomically.
        let tail = unsafe { &*BufRingEntry::tail(self.entries.as_ptr()).cast::<AtomicU16>() };
        tail.store(self.tail, Ordering::Release);
    }
}

fn pages(bytes: usize) -> NonNull<u8> {
    let layout = Layout::from_size_align(bytes, PAGE_BYTES).expect("a small size");
    // SAFETY: the layout is not empty.
    let pointer = unsafe { alloc_zeroed(layout) };
    NonNull::new(pointer).unwrap_or_else(|| handle_alloc_error(layout))
}
