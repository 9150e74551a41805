//! The bytes of sends in flight. One table lives in each ring.
//!
//! Invariant: what the kernel reads is the heap of a `Vec` or a static slice, neither of which
//! moves or is freed while its entry is occupied, however the table itself grows.

use ringmesh_runtime::io::{ConnId, SendBuf};

/// Sends in flight that a new table has room for.
const CAPACITY_INITIAL: usize = 1024;

/// What the table takes for each send of the most that were ever in flight at once.
pub(crate) const PLACE_BYTES: usize = size_of::<Option<InFlight>>() + size_of::<u32>();
const _: () = assert!(PLACE_BYTES <= 36);

pub(crate) struct Sends {
    entries: Vec<Option<InFlight>>,
    free: Vec<u32>,
}

pub(crate) struct InFlight {
    pub(crate) conn: ConnId,
    pub(crate) buf: SendBuf,
}

impl Sends {
    pub(crate) fn new() -> Self {
        Self {
            entries: Vec::with_capacity(CAPACITY_INITIAL),
            free: Vec::with_capacity(CAPACITY_INITIAL),
        }
    }

    /// Keeps the buffer and names its place.
    pub(crate) fn insert(&mut self, conn: ConnId, buf: SendBuf) -> u32 {
        let entry = Some(InFlight { conn, buf });
        if let Some(place) = self.free.pop() {
            self.entries[place as usize] = entry;
            return place;
        }
        let place = u32::try_from(self.entries.len()).expect("fewer sends than descriptors");
        self.entries.push(entry);
        place
    }

    /// Gives the buffer of a finished send back.
    pub(crate) fn remove(&mut self, place: u32) -> InFlight {
        let entry = self.entries[place as usize].take().expect("a send finishes once");
        self.free.push(place);
        entry
    }

    /// The bytes of a send in flight.
    pub(crate) fn bytes(&self, place: u32) -> &[u8] {
        let entry = self.entries[place as usize].as_ref().expect("a send in flight");
        entry.buf.as_slice()
    }

    /// Gives up the memory: the kernel may still read it.
    pub(crate) fn leak(&mut self) {
        Box::leak(std::mem::take(&mut self.entries).into_boxed_slice());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_stay_where_they_are_while_the_table_grows() {
        let mut sends = Sends::new();
        let conn = ConnId { slot: 1, generation: 2 };
        let first = sends.insert(conn, SendBuf::Pooled(vec![7; 100]));
        let address = sends.bytes(first).as_ptr();
        let places: Vec<u32> = (0..CAPACITY_INITIAL * 4)
            .map(|_| sends.insert(conn, SendBuf::Static(b"static")))
            .collect();
        assert_eq!(sends.bytes(first).as_ptr(), address);
        for place in places {
            assert_eq!(sends.remove(place).buf.as_slice(), b"static");
        }
        let back = sends.remove(first);
        assert_eq!((back.conn, back.buf.as_slice().as_ptr()), (conn, address));
    }

    #[test]
    fn places_are_used_again() {
        let mut sends = Sends::new();
        let conn = ConnId { slot: 0, generation: 0 };
        let place = sends.insert(conn, SendBuf::Static(b"a"));
        sends.remove(place);
        assert_eq!(sends.insert(conn, SendBuf::Static(b"b")), place);
    }
}
