//! What is armed on each slot, and the renewal of receives on kernels that need it.
//!
//! One table lives in each ring.
//!
//! Before Linux 6.13 a ring's closed direct descriptors are released in the order of "nodes": each
//! operation on any direct descriptor holds the node that was current when it was submitted, each
//! close starts a new one, and a node's descriptors are released when it and all before it are held
//! by nobody. The receive of one idle connection thus keeps every connection that closes after it.
//! So when enough closes have added up, every armed receive is cancelled and armed anew, unnoticed
//! by the shard; in each pass the number of receives renewed is at most a few times that of closes.

use ringmesh_runtime::io::{ConnId, GENERATION_MODULUS};

/// Closes that add up before receives are renewed, at least.
const CLOSES_MIN: u32 = 256;
/// Renewals begun before one enter, at most.
const RENEWALS_MAX: usize = 64;
/// Slots looked at before one enter, at most.
const SCAN_MAX: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arm {
    /// No receive is armed. The first: a slot of zeros is idle.
    Idle,
    /// One is.
    Armed,
    /// The shard asked for its end.
    Cancelling,
    /// It is being ended to be armed anew.
    Renewing,
    /// It ended and is about to be armed anew; the shard takes it for armed.
    Renewed,
}

/// What a shard's request to end a receive needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cancel {
    /// Nothing: none is armed, or its end is on the way.
    Nothing,
    /// A cancellation to be submitted.
    Submit,
    /// The report of its end: nothing is armed in the kernel just now.
    Report,
}

/// A slot's word: the generation of its last user, and above it what is armed.
#[derive(Clone, Copy)]
struct Slot {
    generation: u32,
    arm: Arm,
}

const ARM_SHIFT: u32 = GENERATION_MODULUS.trailing_zeros();
const _: () = assert!(GENERATION_MODULUS.is_power_of_two() && ARM_SHIFT <= 28);

impl Slot {
    fn pack(self) -> u32 {
        debug_assert!(self.generation < GENERATION_MODULUS);
        (self.arm as u32) << ARM_SHIFT | self.generation
    }

    fn unpack(word: u32) -> Self {
        let arm = match word >> ARM_SHIFT {
            0 => Arm::Idle,
            1 => Arm::Armed,
            2 => Arm::Cancelling,
            3 => Arm::Renewing,
            _ => Arm::Renewed,
        };
        Self { generation: word & (GENERATION_MODULUS - 1), arm }
    }
}

/// What the table takes for a slot, once it was used.
pub(crate) const SLOT_BYTES: usize = size_of::<u32>();

pub(crate) struct Receives {
    /// Words of zeros at first, which the allocator takes from the kernel as they are: memory is
    /// resident as slots are used.
    slots: Box<[u32]>,
    armed: u32,
    /// Closes since the last pass began.
    closes: u32,
    /// Where the pass of renewals goes on, if one is under way.
    cursor: Option<usize>,
}

/// What the end of a receive means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The shard is told.
    Reported,
    /// Nothing but a renewal ended it: it is to be armed again.
    Renewal,
}

impl Receives {
    pub(crate) fn new(table: u32) -> Self {
        let slots = vec![0; table as usize].into_boxed_slice();
        Self { slots, armed: 0, closes: 0, cursor: None }
    }

    fn at(&self, slot: u32) -> Slot {
        Slot::unpack(self.slots[slot as usize])
    }

    fn set(&mut self, conn: ConnId, arm: Arm) {
        let slot = Slot { generation: conn.generation, arm };
        self.slots[conn.slot as usize] = slot.pack();
    }

    /// A receive is being armed.
    pub(crate) fn arm(&mut self, conn: ConnId) {
        assert!(self.at(conn.slot).arm == Arm::Idle, "two receives armed on one connection");
        self.set(conn, Arm::Armed);
        self.armed += 1;
    }

    /// The shard asks for the end.
    pub(crate) fn cancel(&mut self, conn: ConnId) -> Cancel {
        let slot = self.at(conn.slot);
        if slot.generation != conn.generation {
            return Cancel::Nothing;
        }
        match slot.arm {
            Arm::Idle | Arm::Cancelling => Cancel::Nothing,
            Arm::Armed => {
                self.set(conn, Arm::Cancelling);
                Cancel::Submit
            }
            // The renewal has submitted one already.
            Arm::Renewing => {
                self.set(conn, Arm::Cancelling);
                Cancel::Nothing
            }
            Arm::Renewed => {
                self.set(conn, Arm::Idle);
                self.armed -= 1;
                Cancel::Report
            }
        }
    }

    /// A receive ended, because it was cancelled or otherwise.
    pub(crate) fn end(&mut self, conn: ConnId, cancelled: bool) -> End {
        let slot = self.at(conn.slot);
        assert!(slot.generation == conn.generation, "the receive of an earlier user");
        match slot.arm {
            Arm::Idle | Arm::Renewed => panic!("a receive ends once"),
            Arm::Renewing if cancelled => {
                self.set(conn, Arm::Renewed);
                End::Renewal
            }
            Arm::Armed | Arm::Cancelling | Arm::Renewing => {
                self.set(conn, Arm::Idle);
                self.armed -= 1;
                End::Reported
            }
        }
    }

    /// Whether a receive that was ended to be renewed is to be armed now, which it counts as then.
    pub(crate) fn rearm(&mut self, conn: ConnId) -> bool {
        let slot = self.at(conn.slot);
        let wanted = slot.generation == conn.generation && slot.arm == Arm::Renewed;
        if wanted {
            self.set(conn, Arm::Armed);
        }
        wanted
    }

    /// Whether a receive that a cancellation did not find is still to be ended.
    pub(crate) fn is_ending(&self, conn: ConnId) -> bool {
        let slot = self.at(conn.slot);
        slot.generation == conn.generation && matches!(slot.arm, Arm::Cancelling | Arm::Renewing)
    }

    /// A connection was closed on a kernel that releases it late.
    pub(crate) fn note_close(&mut self) {
        self.closes += 1;
        if self.cursor.is_none() && self.closes >= CLOSES_MIN.max(self.armed / 4) {
            self.closes = 0;
            self.cursor = Some(0);
        }
    }

    /// Marks the next receives to renew, and calls `cancel` for each.
    pub(crate) fn renew(&mut self, mut cancel: impl FnMut(ConnId)) {
        let Some(start) = self.cursor else { return };
        let stop = self.slots.len().min(start + SCAN_MAX);
        let mut renewed = 0;
        for index in start..stop {
            if renewed == RENEWALS_MAX {
                self.cursor = Some(index);
                return;
            }
            let Slot { generation, arm } = Slot::unpack(self.slots[index]);
            if arm == Arm::Armed {
                let conn = ConnId { slot: u32::try_from(index).expect("a slot"), generation };
                self.set(conn, Arm::Renewing);
                renewed += 1;
                cancel(conn);
            }
        }
        self.cursor = (stop < self.slots.len()).then_some(stop);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conn(slot: u32) -> ConnId {
        ConnId { slot, generation: 9 }
    }

    #[test]
    fn a_slot_fits_a_word() {
        let arms = [Arm::Idle, Arm::Armed, Arm::Cancelling, Arm::Renewing, Arm::Renewed];
        for (arm, generation) in arms.into_iter().zip([0, 1, 7, 1 << 20, GENERATION_MODULUS - 1]) {
            let slot = Slot::unpack(Slot { generation, arm }.pack());
            assert_eq!((slot.generation, slot.arm), (generation, arm));
        }
        assert_eq!(Slot { generation: 0, arm: Arm::Idle }.pack(), 0);
    }

    #[test]
    fn a_cancellation_is_submitted_once() {
        let mut receives = Receives::new(4);
        assert_eq!(receives.cancel(conn(1)), Cancel::Nothing, "nothing is armed");
        receives.arm(conn(1));
        assert_eq!(receives.cancel(ConnId { slot: 1, generation: 8 }), Cancel::Nothing);
        assert_eq!(receives.cancel(conn(1)), Cancel::Submit);
        assert_eq!(receives.cancel(conn(1)), Cancel::Nothing);
        assert!(receives.is_ending(conn(1)));
        assert_eq!(receives.end(conn(1), true), End::Reported);
        assert!(!receives.is_ending(conn(1)));
    }

    #[test]
    fn closes_that_add_up_renew_every_receive_once() {
        let mut receives = Receives::new(1000);
        for slot in 0..500 {
            receives.arm(conn(slot));
        }
        receives.renew(|_| panic!("nothing was closed"));
        for _ in 0..CLOSES_MIN {
            receives.note_close();
        }
        let mut renewed = Vec::new();
        for _ in 0..500_usize.div_ceil(RENEWALS_MAX) + 1 {
            receives.renew(|conn| renewed.push(conn));
        }
        assert_eq!(renewed, (0..500).map(conn).collect::<Vec<_>>());
        receives.renew(|_| panic!("the pass is over"));
        assert_eq!(receives.end(conn(0), true), End::Renewal);
        assert!(receives.rearm(conn(0)) && !receives.rearm(conn(0)));
        assert_eq!(receives.end(conn(0), false), End::Reported);
        // The shard's request at every point of a renewal is answered by one end.
        assert_eq!(receives.cancel(conn(1)), Cancel::Nothing, "the renewal's cancellation serves");
        assert_eq!(receives.end(conn(1), true), End::Reported);
        assert_eq!(receives.end(conn(2), true), End::Renewal);
        assert_eq!(receives.cancel(conn(2)), Cancel::Report);
        assert!(!receives.rearm(conn(2)));
        assert_eq!(receives.end(conn(3), false), End::Reported, "something else was first");
        assert!(!receives.rearm(conn(3)));
    }
}
