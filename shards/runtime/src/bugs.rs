//! Bugs put in on purpose: the simulation must find each of them, which proves that its oracles
//! bite. Compiled only under `--cfg ringmesh_bugs`; never part of a server.
//!
//! The current bug is a property of the thread, because a simulated node runs on one thread while
//! other tests run beside it.

use std::cell::Cell;

/// What can be made to go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A sender that finds the receiver asleep forgets to ring.
    LostDoorbell,
    /// What was meant for an earlier user of a slot reaches the present one.
    StaleGeneration,
    /// A received buffer does not go back to its pool.
    BufferNotReturned,
    /// An event of a session gets the id of the one before.
    DuplicateEventId,
    /// The session of a byte stream stays when its connection is reset.
    LeakedSession,
    /// What a call took of the byte budget is not given back.
    BudgetKept,
}

thread_local! {
    static CURRENT: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Chooses the bug of this thread, or none.
pub fn activate(bug: Option<Bug>) {
    CURRENT.set(bug);
}

/// Whether `bug` is this thread's current one.
pub fn active(bug: Bug) -> bool {
    CURRENT.get() == Some(bug)
}
