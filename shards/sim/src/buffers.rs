//! The receive buffers of a virtual ring: few and small, so that they run out.

use ringmesh_runtime::io::{Buffer, BufferOccupancy};

/// Lives once per io. Each buffer has one owner at a time: the pool or the shard.
#[derive(Debug)]
pub(crate) struct BufferPool {
    bytes: Vec<Vec<u8>>,
    lent: Vec<bool>,
    free: Vec<u16>,
    size: usize,
}

impl BufferPool {
    pub(crate) fn new(count: u16, size: usize) -> Self {
        Self {
            bytes: (0..count).map(|_| Vec::with_capacity(size)).collect(),
            lent: vec![false; usize::from(count)],
            free: (0..count).rev().collect(),
            size,
        }
    }

    /// Fills a free buffer, if there is one, with up to `len` bytes.
    pub(crate) fn lend(&mut self, bytes: impl Iterator<Item = u8>) -> Option<Buffer> {
        let id = self.free.pop()?;
        let place = &mut self.bytes[usize::from(id)];
        place.clear();
        place.extend(bytes.take(self.size));
        assert!(!place.is_empty(), "a received buffer holds at least a byte");
        self.lent[usize::from(id)] = true;
        let len = u32::try_from(place.len()).expect("a small buffer");
        Some(Buffer { id, len })
    }

    pub(crate) fn size(&self) -> usize {
        self.size
    }

    pub(crate) fn has_free(&self) -> bool {
        !self.free.is_empty()
    }

    pub(crate) fn bytes(&self, buffer: &Buffer) -> &[u8] {
        assert!(self.lent[usize::from(buffer.id)], "contract: looks into a buffer it gave back");
        &self.bytes[usize::from(buffer.id)]
    }

    pub(crate) fn recycle(&mut self, buffer: &Buffer) {
        let lent = std::mem::replace(&mut self.lent[usize::from(buffer.id)], false);
        assert!(lent, "contract: buffer {} recycled twice", buffer.id);
        // What the shard still reads in it by mistake must be wrong.
        self.bytes[usize::from(buffer.id)].fill(0);
        self.free.push(buffer.id);
    }

    /// Buffers that hold bytes, delivered or not.
    pub(crate) fn occupancy(&self) -> BufferOccupancy {
        let count = |n: usize| u32::try_from(n).expect("at most 2^16 buffers");
        let total = count(self.bytes.len());
        BufferOccupancy { total, used: total - count(self.free.len()) }
    }
}
