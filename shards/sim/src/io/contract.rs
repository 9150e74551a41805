//! The rules of [`Io`](ringmesh_runtime::io::Io) that the shard has to keep.

use ringmesh_runtime::io::{Completion, ConnId, GENERATION_MODULUS, IoError, ListenerId};

use super::SimIo;

impl SimIo {
    /// The connection exists, in this generation, and is not being closed.
    pub(super) fn check(&mut self, conn: ConnId, what: &str) {
        let place = conn.slot as usize;
        let Some(slot) = self.slots.get_mut(place).and_then(Option::as_mut) else {
            panic!("contract: {what} on the free slot of {conn:?}");
        };
        assert!(!slot.closing, "contract: {what} on {conn:?}, which is being closed");
        match slot.generation {
            Some(known) => {
                assert_eq!(known, conn.generation, "contract: {what} on an earlier {conn:?}");
            }
            None => {
                assert!(conn.generation < GENERATION_MODULUS, "contract: a large generation");
                let before = self.generations[place].replace(conn.generation);
                assert_ne!(before, Some(conn.generation), "contract: a generation used twice");
                slot.generation = Some(conn.generation);
            }
        }
    }

    /// Each ticket is armed once at most, and an accept always finds a free slot.
    pub(super) fn check_accept(&self, listener: ListenerId, ticket: u16) {
        let accept = (listener, ticket);
        let twice = self.armed.contains(&accept) || self.disarmed.contains(&accept);
        assert!(!twice, "contract: accept {accept:?} armed twice");
        let taken = self.taken.len() + self.armed.len() + self.disarmed.len();
        assert!(taken < self.slots.len(), "contract: accepts outnumber the free slots");
    }

    /// After a tick nothing is on loan, and the time was asked for as it should.
    pub(crate) fn end_tick(&self) {
        let used = self.buffers.occupancy().used;
        assert_eq!(used, 0, "contract: {used} buffers not given back within the tick");
        assert_eq!(self.times_asked, 2, "contract: the time is asked for twice in a tick");
    }

    /// A stopped shard leaves nothing behind.
    pub(crate) fn check_empty(&self) {
        assert_eq!(self.taken.len(), 0, "connections are left");
        assert_eq!(self.armed.len() + self.disarmed.len(), 0, "accepts are left");
        assert!(self.ready.is_empty(), "completions are left");
    }
}

/// What a trace says of a completion.
pub(super) fn describe(completion: &Completion) -> (&'static str, [u64; 3]) {
    let error = |error: &IoError| match error {
        IoError::NoBuffers => ("no buffers", 0),
        IoError::Cancelled => ("cancelled", 0),
        IoError::Disconnected => ("disconnected", 0),
        IoError::TimedOut => ("timed out", 0),
        IoError::Exhausted => ("exhausted", 0),
        IoError::Again => ("again", 0),
        IoError::Other(_) => ("other error", 0),
    };
    let (what, conn, (outcome, number)) = match completion {
        Completion::Accepted { ticket, result, .. } => {
            return match result {
                Ok((slot, _)) => ("accepted", [u64::from(*ticket), u64::from(*slot), 0]),
                Err(failed) => (error(failed).0, [u64::from(*ticket), 1, 0]),
            };
        }
        Completion::Rung => return ("rung", [0; 3]),
        Completion::Received { conn, result, more } => {
            let outcome = match result {
                Ok(Some(buffer)) => ("received", u64::from(buffer.len)),
                Ok(None) => ("received the end", 0),
                Err(failed) => error(failed),
            };
            ("", conn, (outcome.0, outcome.1 << 1 | u64::from(*more)))
        }
        Completion::Sent { conn, result, .. } => match result {
            Ok(taken) => ("", conn, ("sent", *taken as u64)),
            Err(failed) => ("", conn, error(failed)),
        },
        Completion::Connected { conn, result } => {
            ("connected", conn, ("", u64::from(result.is_err())))
        }
        Completion::ShutDown { conn } => ("shut down", conn, ("", 0)),
        Completion::Closed { conn } => ("closed", conn, ("", 0)),
    };
    let what = if what.is_empty() { outcome } else { what };
    (what, [conn.slot.into(), conn.generation.into(), number])
}
