//! The ring of provided buffers that receives fill: mapped memory shared with the kernel.
//!
//! One lives in each ring. Invariant: a buffer belongs either to the kernel, or to the shard
//! (`lent`): only then are its bytes read here, and only then may it be given back.

use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::{self, BufRingEntry};
use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use ringmesh_runtime::io::{Buffer, BufferOccupancy};

/// The only buffer group.
pub(crate) const GROUP: u16 = 0;

pub(crate) struct BufferRing {
    entries: Mapping,
    data: Mapping,
    count: u16,
    size: u32,
    /// Counts the buffers ever given to the kernel; the entry's index is this modulo `count`.
    tail: u16,
    lent: Box<[bool]>,
    used: u32,
}

impl BufferRing {
    /// Maps `count` buffers (a power of two up to 2^15) of `size` bytes and gives them all to the
    /// kernel.
    pub(crate) fn new(uring: &IoUring, count: u16, size: u32) -> Result<Self, Errno> {
        assert!(count.is_power_of_two() && size > 0);
        let entries = Mapping::new(usize::from(count) * size_of::<BufRingEntry>())?;
        let data = Mapping::new(usize::from(count) * size as usize)?;
        // SAFETY: `entries` is page-aligned, holds `count` entries and is unmapped only when the
        // io_uring is gone (the order of `Ring`'s fields, after its drop awaited all operations).
        unsafe {
            uring.submitter().register_buf_ring_with_flags(entries.address(), count, GROUP, 0)
        }
        .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))?;
        let lent = vec![false; usize::from(count)].into_boxed_slice();
        let mut buffers = Self { entries, data, count, size, tail: 0, lent, used: 0 };
        for id in 0..count {
            buffers.give(id);
        }
        buffers.publish();
        Ok(buffers)
    }

    /// Takes note that the kernel filled `len` bytes of a buffer.
    pub(crate) fn lend(&mut self, id: u16, len: u32) -> Buffer {
        assert!(len <= self.size, "the kernel filled more than a buffer");
        let lent = &mut self.lent[usize::from(id)];
        assert!(!*lent, "the kernel filled a buffer that was not its own");
        *lent = true;
        self.used += 1;
        Buffer { id, len }
    }

    /// The filled bytes of a buffer on loan.
    pub(crate) fn bytes(&self, buffer: &Buffer) -> &[u8] {
        assert!(self.lent[usize::from(buffer.id)], "the bytes of a buffer that is not on loan");
        assert!(buffer.len <= self.size);
        // SAFETY: the range lies within the mapping, whose bytes are initialised (zero, or filled
        // by the kernel). The kernel does not write it: the buffer is on loan, and giving it back
        // needs `&mut self`, which ends this borrow.
        unsafe { std::slice::from_raw_parts(self.start(buffer.id).as_ptr(), buffer.len as usize) }
    }

    /// Gives a buffer on loan back to the kernel.
    #[expect(clippy::needless_pass_by_value, reason = "whoever gives a buffer back has it no more")]
    pub(crate) fn recycle(&mut self, buffer: Buffer) {
        let lent = &mut self.lent[usize::from(buffer.id)];
        assert!(*lent, "a buffer recycled twice");
        *lent = false;
        self.used -= 1;
        self.give(buffer.id);
        self.publish();
    }

    pub(crate) fn occupancy(&self) -> BufferOccupancy {
        BufferOccupancy { total: u32::from(self.count), used: self.used }
    }

    /// Gives up the memory: the kernel may still write it.
    pub(crate) fn leak(&mut self) {
        self.entries.leaked = true;
        self.data.leaked = true;
    }

    /// Writes the next entry, which the kernel sees once published.
    fn give(&mut self, id: u16) {
        let index = usize::from(self.tail & (self.count - 1));
        let address = self.start(id).as_ptr() as u64;
        // SAFETY: the index is below `count`, so the entry lies within the mapping, which is
        // aligned to a page. At most `count` buffers are ever given, so the kernel has consumed
        // what this entry held. Only the first 14 bytes are written: the first entry's last two
        // are the tail.
        let entry = unsafe { &mut *self.entries.base.cast::<BufRingEntry>().as_ptr().add(index) };
        entry.set_addr(address);
        entry.set_len(self.size);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    fn publish(&self) {
        // SAFETY: the pointer is that of the tail within the first entry of the mapping, aligned
        // to two bytes, and is accessed atomically by both sides.
        let tail = unsafe {
            let first = self.entries.base.cast::<BufRingEntry>().as_ptr();
            &*BufRingEntry::tail(first).cast::<AtomicU16>()
        };
        tail.store(self.tail, Ordering::Release);
    }

    fn start(&self, id: u16) -> NonNull<u8> {
        assert!(id < self.count);
        // SAFETY: `data` holds `count` buffers of `size` bytes, and `id` is below `count`.
        unsafe { self.data.base.cast::<u8>().add(usize::from(id) * self.size as usize) }
    }
}

/// Whether the kernel fills a buffer bit by bit. Tried on an empty ring of another group.
pub(crate) fn offers_incremental(uring: &IoUring) -> bool {
    const ENTRIES: u16 = 8;
    const GROUP_TRIED: u16 = GROUP + 1;
    let flags = u16::try_from(types::IOU_PBUF_RING_INC).expect("a flag of 16 bits");
    let Ok(entries) = Mapping::new(usize::from(ENTRIES) * size_of::<BufRingEntry>()) else {
        return false;
    };
    let submitter = uring.submitter();
    // SAFETY: the memory is page-aligned, holds the entries, and is unmapped after the group was
    // unregistered, or never registered.
    let registered = unsafe {
        submitter.register_buf_ring_with_flags(entries.address(), ENTRIES, GROUP_TRIED, flags)
    };
    registered.is_ok() && submitter.unregister_buf_ring(GROUP_TRIED).is_ok()
}

/// Anonymous memory, aligned to a page and zeroed.
struct Mapping {
    base: NonNull<c_void>,
    len: NonZeroUsize,
    leaked: bool,
}

impl Mapping {
    fn new(len: usize) -> Result<Self, Errno> {
        let len = NonZeroUsize::new(len).ok_or(Errno::EINVAL)?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping, placed by the kernel, replaces no other.
        let base = unsafe { mmap_anonymous(None, len, protection, MapFlags::MAP_PRIVATE) }?;
        Ok(Self { base, len, leaked: false })
    }

    fn address(&self) -> u64 {
        self.base.as_ptr() as u64
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.leaked {
            return;
        }
        // SAFETY: the mapping was made by `new` with this length, and its owner, which is being
        // dropped, has handed out no reference that outlives it.
        if let Err(errno) = unsafe { munmap(self.base, self.len.get()) } {
            tracing::error!(%errno, "munmap of a buffer ring");
        }
    }
}
