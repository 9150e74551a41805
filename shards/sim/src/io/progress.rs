//! How operations finish between ticks.

use std::collections::VecDeque;
use std::net::SocketAddr;

use ringmesh_runtime::io::{Completion, ConnId, IoError, ListenerId, Peer, Shutdown};

use super::{Receive, SimIo, Slot};
use crate::fault::Fault;

/// The listener of byte streams; the other one is of HTTP.
const LINES: ListenerId = ListenerId(1);

/// Steps of one receive that a pass makes at most.
const STEPS_MAX: usize = 4;

/// How a step of a receive ended.
enum Step {
    /// Nothing is there.
    Waits,
    /// Bytes, end or error, and whether the receive stays armed.
    Did { more: bool },
}

impl SimIo {
    /// Lets some of what is in flight finish. Healed, everything that can finish does.
    pub(crate) fn progress(&mut self) {
        self.progress_accepts();
        let count = self.taken.len();
        if count == 0 {
            return;
        }
        let first = self.dice.below(count);
        // Closing takes places out of the list: so a copy is walked.
        let taken = self.taken.clone();
        for at in 0..count {
            let place = taken[(first + at) % count];
            if let Some(slot) = self.slots[place as usize].take() {
                self.slots[place as usize] = self.progress_slot(place, slot);
                if self.slots[place as usize].is_none() {
                    self.taken.retain(|&other| other != place);
                }
            }
        }
    }

    fn progress_accepts(&mut self) {
        for accept in std::mem::take(&mut self.disarmed) {
            let (listener, ticket) = accept;
            if !self.dice.ready() {
                self.disarmed.push(accept);
                continue;
            }
            let races = !self.backlog_of(listener).is_empty() && self.dice.one_in(2);
            let result = if races {
                self.dice.saw(Fault::AcceptRace);
                self.accept_one(listener)
            } else {
                Err(IoError::Cancelled)
            };
            self.ready.push(Completion::Accepted { listener, ticket, result });
        }
        if !self.listening && self.disarmed.is_empty() {
            let lines = std::mem::take(&mut self.line_backlog);
            for link in std::mem::take(&mut self.backlog).into_iter().chain(lines) {
                self.links[link].break_down();
            }
        }
        while !self.armed.is_empty() && self.dice.ready() {
            // The kernel wakes any of those that wait.
            let first = self.dice.below(self.armed.len());
            let mut places = (0..self.armed.len()).map(|at| (first + at) % self.armed.len());
            let waiting = places.find(|&at| !self.backlog_of(self.armed[at].0).is_empty());
            let Some((listener, ticket)) = waiting.and_then(|at| self.armed.remove(at)) else {
                return;
            };
            let result = if self.dice.strikes(Fault::AcceptAgain) {
                Err(IoError::Again)
            } else if self.dice.strikes(Fault::AcceptExhausted) {
                Err(IoError::Exhausted)
            } else {
                self.accept_one(listener)
            };
            self.ready.push(Completion::Accepted { listener, ticket, result });
        }
    }

    /// Who waits at a listener.
    fn backlog_of(&self, listener: ListenerId) -> &VecDeque<usize> {
        if listener == LINES { &self.line_backlog } else { &self.backlog }
    }

    fn accept_one(&mut self, listener: ListenerId) -> Result<(u32, Peer), IoError> {
        let backlog = if listener == LINES { &mut self.line_backlog } else { &mut self.backlog };
        let link = backlog.pop_front().expect("somebody waits");
        let place = self.slots.iter().position(Option::is_none).expect("accepts find free slots");
        if self.generations[place].is_some() {
            self.dice.saw(Fault::SlotReused);
        }
        self.slots[place] = Some(Slot {
            link,
            generation: None,
            receive: Receive::Idle,
            send: None,
            shutdown: None,
            fin: false,
            cut: false,
            ended: false,
            closing: false,
        });
        let slot = u32::try_from(place).expect("a small table");
        self.taken.push(slot);
        let port = u16::try_from(link % 60_000).expect("below 2^16");
        // Few addresses, so that each has several sessions.
        let host = u8::try_from(link % 3).expect("below 3");
        Ok((slot, Peer::Ip(SocketAddr::from(([10, 0, 0, host], port)))))
    }

    /// Gives the slot back, or nothing where it was closed.
    fn progress_slot(&mut self, place: u32, mut slot: Slot) -> Option<Slot> {
        // The shard names the connection with its first operation; before, nothing is in flight.
        let Some(generation) = slot.generation else { return Some(slot) };
        let conn = ConnId { slot: place, generation };
        if slot.closing {
            if !self.dice.ready() {
                return Some(slot);
            }
            let link = &mut self.links[slot.link];
            link.closed = true;
            link.down_fin = true;
            if !link.up.is_empty() {
                // Unread bytes make it a reset, which may overtake what was sent.
                link.down_reset = true;
                link.up.clear();
            }
            self.ready.push(Completion::Closed { conn });
            return None;
        }
        let first = self.dice.below(3);
        for at in 0..3 {
            if !self.dice.ready() {
                continue;
            }
            match (first + at) % 3 {
                0 => self.progress_receive(conn, &mut slot),
                1 => self.progress_send(conn, &mut slot),
                _ => self.progress_shutdown(conn, &mut slot),
            }
        }
        Some(slot)
    }

    fn progress_receive(&mut self, conn: ConnId, slot: &mut Slot) {
        for _ in 0..STEPS_MAX {
            if slot.receive == Receive::Idle {
                return;
            }
            match self.step_receive(conn, slot) {
                Step::Waits => return,
                Step::Did { more: true } => {}
                Step::Did { more: false } => {
                    slot.receive = Receive::Idle;
                    return;
                }
            }
            if self.dice.one_in(3) {
                return;
            }
        }
    }

    fn step_receive(&mut self, conn: ConnId, slot: &mut Slot) -> Step {
        let link = &self.links[slot.link];
        let has_bytes = !link.up.is_empty() && !slot.cut && !link.reset;
        let reset = link.reset;
        let over = slot.cut || reset || (link.up_fin && link.up.is_empty());
        let cancelling = slot.receive == Receive::Cancelling;
        let (result, more) =
            if cancelling && !((has_bytes || over) && self.dice.strikes(Fault::CancelRace)) {
                (Err(IoError::Cancelled), false)
            } else if reset && !slot.cut {
                (Err(IoError::Disconnected), false)
            } else if over {
                slot.ended = true;
                (Ok(None), false)
            } else if !has_bytes {
                return Step::Waits;
            } else if !self.buffers.has_free() {
                self.dice.saw(Fault::NoBuffers);
                (Err(IoError::NoBuffers), false)
            } else if self.dice.strikes(Fault::ReceiveAgain) {
                (Err(IoError::Again), false)
            } else if self.dice.strikes(Fault::ReceiveBroken) {
                self.links[slot.link].break_down();
                (Err(IoError::Disconnected), false)
            } else {
                return self.receive_bytes(conn, slot);
            };
        self.ready.push(Completion::Received { conn, result, more });
        Step::Did { more }
    }

    fn receive_bytes(&mut self, conn: ConnId, slot: &Slot) -> Step {
        let link = &mut self.links[slot.link];
        let mut len = link.up.len().min(self.buffers.size());
        if self.dice.strikes(Fault::PartialReceive) {
            len = 1 + self.dice.below(len);
        }
        let buffer = self.buffers.lend(link.up.drain(..len)).expect("one is free");
        let more = !self.dice.strikes(Fault::ReceiveEnded);
        self.ready.push(Completion::Received { conn, result: Ok(Some(buffer)), more });
        Step::Did { more }
    }

    fn progress_send(&mut self, conn: ConnId, slot: &mut Slot) {
        let Some((buf, offset)) = slot.send.take() else { return };
        let link = &mut self.links[slot.link];
        let left = buf.as_slice().len() - offset;
        link.blocked = false;
        let result = if slot.cut || link.reset {
            Err(IoError::Disconnected)
        } else if link.down_room() == 0 {
            self.dice.saw(Fault::SlowSend);
            link.blocked = true;
            slot.send = Some((buf, offset));
            return;
        } else if self.dice.strikes(Fault::SendAgain) {
            Err(IoError::Again)
        } else if self.dice.strikes(Fault::SendBroken) {
            link.break_down();
            Err(IoError::Disconnected)
        } else {
            let mut taken = left.min(link.down_room());
            if self.dice.strikes(Fault::ShortSend) {
                taken = 1 + self.dice.below(taken);
            }
            link.down.extend(&buf.as_slice()[offset..offset + taken]);
            Ok(taken)
        };
        self.ready.push(Completion::Sent { conn, buf, result });
    }

    fn progress_shutdown(&mut self, conn: ConnId, slot: &mut Slot) {
        let Some(how) = slot.shutdown.take() else { return };
        slot.cut |= how == Shutdown::Both;
        self.links[slot.link].down_fin = true;
        self.ready.push(Completion::ShutDown { conn });
    }
}
