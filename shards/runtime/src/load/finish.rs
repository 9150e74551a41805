//! The end of a run: calls in flight are waited for, sessions ended, connections closed.

use super::client::{Client, State, Use};
use super::sample::Fault;
use super::{Load, Wish};
use crate::shard::Next;

/// Slots that one tick closes.
const CLOSE_MAX: u32 = 1_024;
/// How often it is looked whether all listeners heard of every change, ns.
const LOOK_EVERY_NS: u64 = 20_000_000;

/// How far the role is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Course {
    /// It does what the script says.
    Running,
    /// It makes no more calls and waits for those in flight, at most until this time.
    Lingering {
        /// ns since the script's begin.
        until_ns: u64,
        /// When to look again.
        look_ns: u64,
    },
    /// Clients from this slot on are still to be closed.
    Closing {
        /// The slot.
        from: u32,
        /// Whether sessions are ended.
        gently: bool,
    },
}

impl Course {
    pub(super) fn is_closing(self) -> bool {
        matches!(self, Self::Closing { .. })
    }

    /// Whether nobody connects anew.
    pub(super) fn is_over(self) -> bool {
        self != Self::Running
    }
}

impl Load {
    pub(super) fn heed_wish(&mut self) {
        match (self.config.leave.wish(), self.course) {
            (Wish::Stay, _) => {}
            (Wish::Finish, Course::Running) => self.begin_linger(self.now_ns),
            (Wish::Finish, _) => {}
            (Wish::Abort, Course::Closing { gently: false, .. }) => {}
            (Wish::Abort, _) => {
                self.end_pace();
                self.course = Course::Closing { from: 0, gently: false };
            }
        }
    }

    /// Makes no more calls.
    pub(super) fn begin_linger(&mut self, at_ns: u64) {
        let until_ns = at_ns.saturating_add(self.script.linger_ns);
        self.course = Course::Lingering { until_ns, look_ns: 0 };
        self.end_pace();
        self.end_changes();
        // No client begins to connect any more. What half of a client waits for may, and what is to
        // make a change that is due.
        for _ in 0..self.waiting.len() {
            let Some(slot) = self.waiting.pop_front() else { break };
            let Client { state, used, .. } = *self.at(slot);
            match (used, state) {
                (Use::Events | Use::Trigger, _) => self.waiting.push_back(slot),
                (Use::Seat, State::Waiting) => self.forget_waiting(slot),
                (Use::Seat, _) => {}
            }
        }
    }

    /// Goes on with the end.
    pub(super) fn follow_course(&mut self) {
        if let Course::Lingering { until_ns, look_ns } = self.course {
            let mut over = until_ns <= self.now_ns;
            if !over && self.calling == 0 && look_ns <= self.now_ns {
                over = self.changes_are_made() && self.all_heard();
                let look_ns = self.now_ns + LOOK_EVERY_NS;
                self.course = Course::Lingering { until_ns, look_ns };
            }
            if over {
                self.course = Course::Closing { from: 0, gently: true };
            }
        }
        if let Course::Closing { from, gently } = self.course {
            let slots = u32::try_from(self.clients.len()).expect("a table is bounded");
            // Requests that end sessions are spread as connects are.
            let to = from.saturating_add(CLOSE_MAX).min(slots);
            let mut slot = from;
            while slot < to && (!gently || self.ending < self.script.connecting_max) {
                self.close(slot, gently);
                slot += 1;
            }
            self.course = Course::Closing { from: slot, gently };
        }
    }

    fn close(&mut self, slot: u32, gently: bool) {
        let Client { state, used, workload, .. } = *self.at(slot);
        self.at(slot).flags.again = false;
        match (state, used) {
            (State::Closed | State::Aborting, _) => {}
            (State::Deleting, _) if gently => {}
            (State::Waiting | State::Deleting, _) => self.abort(slot),
            (_, Use::Trigger) => self.abort(slot),
            // It goes with its seat.
            (_, Use::Events) => {}
            (State::Connecting | State::Opening, Use::Seat) => {
                self.tally.workload(workload).closed += 1;
                self.abort_seat(slot);
            }
            (State::Ready, Use::Seat) => {
                if gently {
                    self.count_missing(slot);
                    self.give_up_calls(slot);
                    self.retire(slot);
                } else {
                    self.tally.workload(workload).closed += 1;
                    self.abort_seat(slot);
                }
            }
        }
    }

    /// Calls that were not answered by the end.
    fn give_up_calls(&mut self, slot: u32) {
        let linger_ms = self.script.linger_ns / 1_000_000;
        let mut some = false;
        while self.finish_request(slot, |request| request.what.is_call()).is_some() {
            some = true;
            self.fault_of(slot, Fault::Timeout, || {
                format!("no answer within {linger_ms} ms of the run's end")
            });
        }
        if some {
            // What follows on the connection could not be told apart from a late answer.
            let client = &mut self.clients[slot as usize];
            self.sessions.remove(&mut client.session);
        }
    }

    /// Whether every connection is closed.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.course, Course::Closing { from, .. } if from as usize == self.clients.len())
            && self.taken == 0
    }

    /// Whether the next tick has work that nothing else would start.
    pub(super) fn has_work(&self) -> bool {
        match self.course {
            Course::Closing { from, gently } => {
                (from as usize) < self.clients.len()
                    && (!gently || self.ending < self.script.connecting_max)
            }
            Course::Running | Course::Lingering { .. } => false,
        }
    }

    /// When [`Self::follow_course`] is to be called next.
    pub(super) fn course_due_ns(&self) -> u64 {
        match self.course {
            Course::Lingering { until_ns, look_ns } if self.calling == 0 => until_ns.min(look_ns),
            Course::Lingering { until_ns, .. } => until_ns,
            Course::Running | Course::Closing { .. } => u64::MAX,
        }
    }

    pub(super) fn tell_last(&mut self) -> Next {
        if self.told_last() {
            return Next::Done;
        }
        let until_ns = self.config.start_ns.saturating_add(self.retry_ns());
        Next::Wait { until_ns: Some(until_ns) }
    }
}
