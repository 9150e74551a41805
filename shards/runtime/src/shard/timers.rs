//! What happens when time passes: each connection has one timer, armed for its next deadline.
//!
//! Deadlines mostly move away (each request renews the idle time), so a timer is left where it is
//! and looked at when it fires: then either the deadline is due, or the timer moves on to it.

use ringmesh_proto::http1::Status;
use ringmesh_proto::jsonrpc::INVALID_REQUEST;

use super::Shard;
use super::connection::Phase;
use crate::io::GENERATION_MODULUS;
use crate::limits::LINGER_MS;
use crate::probe::{Bound, Transport};

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// The next deadline of a connection: slot and generation.
    Connection(u32, u32),
    /// The next deadline of a call that its connection does not keep the time of: place.
    Call(u32),
    /// The end of a session that nobody uses: place.
    Session(u32),
    /// Accepting goes on.
    AcceptRetry,
    /// Nobody in particular: something outside of connections, calls and sessions is due.
    Wake,
}

/// Bits of a slot and of a generation; what is for is above them.
const KIND_SHIFT: u32 = 56;
const _: () = assert!(GENERATION_MODULUS <= 1 << (KIND_SHIFT - u32::BITS));

impl Key {
    pub(super) fn pack(self) -> u64 {
        let (kind, high, low) = match self {
            Self::Connection(slot, generation) => (0, generation, slot),
            Self::Call(place) => (1, 0, place),
            Self::Session(place) => (2, 0, place),
            Self::AcceptRetry => (3, 0, 0),
            Self::Wake => (4, 0, 0),
        };
        kind << KIND_SHIFT | u64::from(high) << u32::BITS | u64::from(low)
    }

    fn unpack(packed: u64) -> Self {
        let mask = u64::from(u32::MAX);
        let low = u32::try_from(packed & mask).expect("masked to 32 bits");
        let high = packed >> u32::BITS & (u64::from(GENERATION_MODULUS) - 1);
        let high = u32::try_from(high).expect("masked to a generation");
        match packed >> KIND_SHIFT {
            0 => Self::Connection(low, high),
            1 => Self::Call(low),
            2 => Self::Session(low),
            3 => Self::AcceptRetry,
            _ => Self::Wake,
        }
    }
}

impl Shard {
    /// Has the connection looked at no later than `at_ms`, nor than the cut of a shard that stops.
    pub(super) fn arm_timer(&mut self, slot: u32, at_ms: u64) {
        let at_ms = self.draining.map_or(at_ms, |draining| draining.cut_ms.min(at_ms));
        let connection = &mut self.conns[slot as usize];
        match connection.timer {
            Some(_) if connection.timer_ms <= at_ms => return,
            Some(timer) => {
                self.wheel.rearm(timer, at_ms);
            }
            None => {
                connection.timer = Some(
                    self.wheel.arm(at_ms, Key::Connection(slot, connection.generation).pack()),
                );
            }
        }
        connection.timer_ms = at_ms;
    }

    pub(super) fn fire_timers(&mut self) {
        while let Some(fired) = self.wheel.poll(self.now_ms) {
            match Key::unpack(fired.key) {
                Key::AcceptRetry => self.accept_retry = None,
                Key::Wake => self.on_relay_retry(),
                Key::Call(place) => self.on_call_timer(place),
                Key::Session(place) => self.on_session_timer(place),
                Key::Connection(slot, generation) => {
                    let connection = &mut self.conns[slot as usize];
                    debug_assert_eq!(connection.generation, generation, "closing cancels timers");
                    connection.timer = None;
                    self.on_timer(slot);
                }
            }
        }
    }

    fn on_timer(&mut self, slot: u32) {
        let deadline_ms = self.deadline_ms(slot);
        if deadline_ms > self.now_ms {
            if deadline_ms < u64::MAX {
                self.arm_timer(slot, deadline_ms);
            }
            return;
        }
        self.on_deadline(slot);
        self.touch(slot);
        let phase = self.conns[slot as usize].phase;
        if !matches!(phase, Phase::Free | Phase::Aborting) {
            // Past deadlines that ended nothing (a keep-alive was sent) have moved on.
            let next_ms = self.deadline_ms(slot).max(self.now_ms + 1);
            self.arm_timer(slot, next_ms);
        }
    }

    /// When the connection needs attention next.
    fn deadline_ms(&self, slot: u32) -> u64 {
        let connection = &self.conns[slot as usize];
        let limits = &self.limits;
        let since_ms = connection.since_ms;
        let phase_ms = match connection.phase {
            Phase::Free | Phase::Aborting => u64::MAX,
            // A byte stream at rest is somebody's session.
            Phase::Idle if connection.flags.greeted => u64::MAX,
            Phase::Idle if connection.transport == Transport::Stdio => u64::MAX,
            Phase::Idle => since_ms.saturating_add(limits.idle_timeout_ms),
            Phase::Head => since_ms.saturating_add(limits.head_timeout_ms),
            Phase::Body => since_ms.saturating_add(limits.body_timeout_ms),
            Phase::Calling(call) => self.call_deadline_ms(call),
            Phase::Streaming(stream) => self.stream_deadline_ms(stream),
            Phase::Events(events) => self.events_deadline_ms(events),
            Phase::Relayed { comment, .. } => self.relayed_deadline_ms(slot, comment),
            Phase::Ending if connection.flags.fin_sent => since_ms + LINGER_MS,
            Phase::Ending => u64::MAX,
        };
        let send_ms = if connection.flags.sending {
            connection.sent_ms.saturating_add(limits.send_timeout_ms)
        } else {
            u64::MAX
        };
        let cut_ms = self.draining.map_or(u64::MAX, |draining| draining.cut_ms);
        phase_ms.min(send_ms).min(cut_ms)
    }

    fn on_deadline(&mut self, slot: u32) {
        let connection = &self.conns[slot as usize];
        let stalled = connection.flags.sending
            && connection.sent_ms.saturating_add(self.limits.send_timeout_ms) <= self.now_ms;
        if stalled {
            self.refuse(Bound::SendTimeout);
            return self.abort(slot);
        }
        let phase = connection.phase;
        if self.draining.is_some_and(|draining| draining.cut_ms <= self.now_ms) {
            // Their answers have until the next tick of the wheel to leave.
            if self.cut_calls(slot) {
                return;
            }
            return self.abort(slot);
        }
        match phase {
            Phase::Free | Phase::Aborting => {}
            Phase::Idle => {
                self.refuse(Bound::IdleTimeout);
                self.end(slot);
            }
            Phase::Head => self.time_out(slot, Bound::HeadTimeout, "the head took too long"),
            Phase::Body => self.time_out(slot, Bound::BodyTimeout, "the body took too long"),
            Phase::Calling(call) => self.on_call_deadline(call),
            Phase::Streaming(stream) => self.on_stream_deadline(slot, stream),
            Phase::Events(events) => self.on_events_deadline(slot, events),
            Phase::Relayed { comment, .. } => self.on_relayed_deadline(slot, comment),
            Phase::Ending => self.abort(slot),
        }
    }

    fn time_out(&mut self, slot: u32, bound: Bound, message: &'static str) {
        self.refuse(bound);
        self.refuse_http(slot, Status::REQUEST_TIMEOUT, INVALID_REQUEST, message);
    }
}
