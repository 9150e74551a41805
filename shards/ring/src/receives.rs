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

use ringmesh_runtime::io::ConnId;

/// Closes that add up before receives are renewed, at least.
const CLOSES_MIN: u32 = 256;
/// Renewals begun before one enter, at most.
const RENEWALS_MAX: usize = 64;
/// Slots looked at before one enter, at most.
const SCAN_MAX: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arm {
    /// No receive is armed.
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

#[derive(Clone, Copy)]
struct Slot {
    generation: u32,
    arm: Arm,
}

pub(crate) struct Receives {
    slots: Box<[Slot]>,
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
        let slots = vec![Slot { generation: 0, arm: Arm::Idle }; table as usize];
        Self { slots: slots.into_boxed_slice(), armed: 0, closes: 0, cursor: None }
    }

    /// A receive is being armed.
    pub(crate) fn arm(&mut self, conn: ConnId) {
        let slot = &mut self.slots[conn.slot as usize];
        assert!(slot.arm == Arm::Idle, "two receives armed on one connection");
        *slot = Slot { generation: conn.generation, arm: Arm::Armed };
        self.armed += 1;
    }

    /// The shard asks for the end.
    pub(crate) fn cancel(&mut self, conn: ConnId) -> Cancel {
        let slot = &mut self.slots[conn.slot as usize];
        if slot.generation != conn.generation {
            return Cancel::Nothing;
        }
        match slot.arm {
            Arm::Idle | Arm::Cancelling => Cancel::Nothing,
            Arm::Armed => {
                slot.arm = Arm::Cancelling;
                Cancel::Submit
            }
            // The renewal has submitted one already.
            Arm::Renewing => {
                slot.arm = Arm::Cancelling;
                Cancel::Nothing
            }
            Arm::Renewed => {
                slot.arm = Arm::Idle;
                self.armed -= 1;
                Cancel::Report
            }
        }
    }

    /// A receive ended, because it was cancelled or otherwise.
    pub(crate) fn end(&mut self, conn: ConnId, cancelled: bool) -> End {
        let slot = &mut self.slots[conn.slot as usize];
        assert!(slot.generation == conn.generation, "the receive of an earlier user");
        match slot.arm {
            Arm::Idle | Arm::Renewed => panic!("a receive ends once"),
            Arm::Renewing if cancelled => {
                slot.arm = Arm::Renewed;
                End::Renewal
            }
            Arm::Armed | Arm::Cancelling | Arm::Renewing => {
                slot.arm = Arm::Idle;
                self.armed -= 1;
                End::Reported
            }
        }
    }

    /// Whether a receive that was ended to be renewed is to be armed now, which it counts as then.
    pub(crate) fn rearm(&mut self, conn: ConnId) -> bool {
        let slot = &mut self.slots[conn.slot as usize];
        let wanted = slot.generation == conn.generation && slot.arm == Arm::Renewed;
        if wanted {
            slot.arm = Arm::Armed;
        }
        wanted
    }

    /// Whether a receive that a cancellation did not find is still to be ended.
    pub(crate) fn is_ending(&self, conn: ConnId) -> bool {
        let slot = self.slots[conn.slot as usize];
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
            let slot = &mut self.slots[index];
            if slot.arm == Arm::Armed {
                slot.arm = Arm::Renewing;
                renewed += 1;
                let index = u32::try_from(index).expect("a slot");
                cancel(ConnId { slot: index, generation: slot.generation });
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
