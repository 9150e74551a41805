//! What a submission carries to its completion: 64 bits of kind, generation and slot.

use ringmesh_runtime::io::{ConnId, GENERATION_MODULUS};

const SLOT_BITS: u32 = 32;
const GENERATION_BITS: u32 = 24;
const KIND_BITS: u32 = 8;

const _: () = assert!(KIND_BITS + GENERATION_BITS + SLOT_BITS == u64::BITS);
const _: () = assert!(GENERATION_MODULUS == 1 << GENERATION_BITS);

/// The operation that a completion belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Slot: ticket in the low half, listener in the high half.
    Accept = 1,
    Receive = 2,
    /// Slot: place in the table of sends.
    Send = 3,
    Shutdown = 4,
    Close = 5,
    /// The cancellation of a receive.
    Cancel = 6,
    Doorbell = 7,
    /// A completion that nobody waits for.
    Ignored = 8,
    Connect = 9,
    /// The cancellation of a connect.
    CancelConnect = 10,
}

/// The unpacked form of `user_data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UserData {
    pub(crate) kind: Kind,
    pub(crate) generation: u32,
    pub(crate) slot: u32,
}

impl UserData {
    pub(crate) const fn of_slot(kind: Kind, slot: u32) -> Self {
        Self { kind, generation: 0, slot }
    }

    pub(crate) const fn of_conn(kind: Kind, conn: ConnId) -> Self {
        Self { kind, generation: conn.generation, slot: conn.slot }
    }

    pub(crate) const fn conn(self) -> ConnId {
        ConnId { slot: self.slot, generation: self.generation }
    }

    pub(crate) fn pack(self) -> u64 {
        assert!(self.generation < GENERATION_MODULUS, "a generation beyond its modulus");
        (self.kind as u64) << (GENERATION_BITS + SLOT_BITS)
            | u64::from(self.generation) << SLOT_BITS
            | u64::from(self.slot)
    }

    #[expect(clippy::cast_possible_truncation, reason = "each field is cut to its bits")]
    pub(crate) fn unpack(packed: u64) -> Self {
        let kind = match packed >> (GENERATION_BITS + SLOT_BITS) {
            1 => Kind::Accept,
            2 => Kind::Receive,
            3 => Kind::Send,
            4 => Kind::Shutdown,
            5 => Kind::Close,
            6 => Kind::Cancel,
            7 => Kind::Doorbell,
            8 => Kind::Ignored,
            9 => Kind::Connect,
            10 => Kind::CancelConnect,
            other => panic!("a completion of unknown kind {other}"),
        };
        Self {
            kind,
            generation: (packed >> SLOT_BITS) as u32 & (GENERATION_MODULUS - 1),
            slot: packed as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_is_reversible_at_the_edges() {
        let kinds = [
            Kind::Accept,
            Kind::Receive,
            Kind::Send,
            Kind::Shutdown,
            Kind::Close,
            Kind::Cancel,
            Kind::Doorbell,
            Kind::Ignored,
            Kind::Connect,
            Kind::CancelConnect,
        ];
        for kind in kinds {
            for generation in [0, 1, 0x00a5_5a00, GENERATION_MODULUS - 1] {
                for slot in [0, 1, 0x8000_0001, u32::MAX] {
                    let data = UserData { kind, generation, slot };
                    assert_eq!(UserData::unpack(data.pack()), data);
                }
            }
        }
    }

    #[test]
    fn fields_lie_where_the_layout_says() {
        let data = UserData { kind: Kind::Receive, generation: 3, slot: 5 };
        assert_eq!(data.pack(), 0x0200_0003_0000_0005);
        assert_eq!(data.conn(), ConnId { slot: 5, generation: 3 });
    }

    #[test]
    #[should_panic(expected = "beyond its modulus")]
    fn a_generation_that_does_not_fit_is_a_bug() {
        UserData { kind: Kind::Close, generation: GENERATION_MODULUS, slot: 0 }.pack();
    }

    #[test]
    #[should_panic(expected = "unknown kind")]
    fn an_unknown_kind_is_a_bug() {
        UserData::unpack(0);
    }
}
