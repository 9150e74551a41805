//! What is asked, and what becomes of it: an answer, a fault, or the end of the time for it.

use ringmesh_proto::heard::{Heard, Outcome};

use super::Load;
use super::calls::{NONE, Queue, Request, What};
use super::client::{Client, State, Use};
use super::sample::{Fault, record_ns};
use super::script::Kind;
use super::wire::ID_MIN;

/// Ids end here and begin anew.
const ID_MAX: u32 = 4_000_000_000;
/// Bytes of an answer that an example shows.
const SHOWN_BYTES_MAX: usize = 240;

/// Whether an answer is the right one; otherwise what is wrong with it.
pub(super) type Verdict = Result<(), (Fault, String)>;

/// Judges the JSON-RPC answer to a request.
pub(super) fn judge(heard: &Heard<'_>, id: u32, text: &[u8]) -> Verdict {
    let wrong = |fault| Err((fault, shown(text)));
    if !heard.is_for(id) {
        // A server that could not read the id answers with an error without it.
        return wrong(if heard.error { Fault::RpcError } else { Fault::Malformed });
    }
    match (heard.error, heard.result) {
        (true, _) => wrong(Fault::RpcError),
        (false, Outcome::Good) => Ok(()),
        (false, Outcome::ToolError) => wrong(Fault::ToolError),
        (false, Outcome::Absent) => wrong(Fault::Malformed),
    }
}

/// The beginning of what came, for an example.
pub(super) fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_BYTES_MAX)]).into_owned()
}

impl Load {
    /// Writes a request and waits for its answer.
    pub(super) fn ask(&mut self, slot: u32, what: What, due_ns: u64) {
        let id = self.next_id;
        self.next_id = if id + 1 == ID_MAX { ID_MIN } else { id + 1 };
        self.write(slot, what, id);
        let client = &mut self.clients[slot as usize];
        client.in_flight += 1;
        let Client { first, last, .. } = client;
        self.requests.push(Queue { first, last }, what, id, (due_ns, self.now_ns));
        self.arm_timer(slot);
    }

    /// Writes a request without an answer of its own.
    pub(super) fn write(&mut self, slot: u32, what: What, id: u32) {
        let client = &self.clients[slot as usize];
        let session = match client.used {
            Use::Events => self.clients[client.partner as usize].session,
            Use::Seat | Use::Trigger => client.session,
        };
        let (workload, target) = (usize::from(client.workload), usize::from(client.target));
        let wire = self.wires[workload * self.script.targets.len() + target].as_ref();
        let session = self.sessions.at(session);
        let client = &mut self.clients[slot as usize];
        if client.outbound.capacity() == 0 {
            client.outbound = self.buffers.outbound();
        }
        let template = match (what, wire) {
            (What::Trigger, _) => self.changes.template(target),
            (_, None) | (What::Connect, _) => unreachable!("a seat has its requests"),
            (What::Initialize, Some(wire)) => &wire.initialize,
            (What::Initialized, Some(wire)) => &wire.initialized,
            (What::Events, Some(wire)) => &wire.events,
            (What::Listen, Some(wire)) => &wire.listen,
            (What::First | What::Call, Some(wire)) => &wire.call,
            (What::Delete, Some(wire)) => &wire.delete,
        };
        template.write(&mut client.outbound, id, session);
        self.touch(slot);
    }

    /// The request that is answered next, where answers come in order.
    pub(super) fn awaited(&self, slot: u32) -> Option<Request> {
        self.requests.at(self.clients[slot as usize].first).copied()
    }

    /// Takes the first request that `fits`: it waits no more.
    pub(super) fn finish_request(
        &mut self,
        slot: u32,
        fits: impl FnMut(&Request) -> bool,
    ) -> Option<Request> {
        let client = &mut self.clients[slot as usize];
        let Client { first, last, .. } = client;
        let request = self.requests.take(Queue { first, last }, fits)?;
        if request.what != What::Connect {
            client.in_flight -= 1;
        }
        self.calling -= u64::from(request.what.is_call());
        Some(request)
    }

    /// A request that was taken out of its queue was answered.
    pub(super) fn conclude(&mut self, slot: u32, request: Request, verdict: Verdict) {
        match verdict {
            Ok(()) => self.on_answer(slot, request),
            Err((fault, text)) => {
                self.fault_of(slot, fault, || text);
                match request.what {
                    What::First | What::Call => self.offer(slot),
                    What::Trigger => self.send_change(slot),
                    What::Delete => self.abort(slot),
                    _ => self.drop_client(slot),
                }
            }
        }
        let client = self.at(slot);
        match client.state {
            State::Ready if client.flags.last && client.used == Use::Trigger => {
                // It is made anew for the next change, as where the end comes without a word.
                self.abort(slot);
                self.send_change(slot);
            }
            State::Opening | State::Ready if client.flags.last => {
                self.fault_of(slot, Fault::Lost, || "the server ends the connection".into());
                self.drop_client(slot);
            }
            _ => self.leave_if_idle(slot),
        }
    }

    fn on_answer(&mut self, slot: u32, request: Request) {
        let now_ns = self.now_ns;
        match request.what {
            What::First | What::Call => self.on_call_answered(slot, request),
            What::Trigger => self.send_change(slot),
            What::Delete => self.abort(slot),
            What::Initialize if matches!(self.kind(slot), Kind::HttpSession { .. }) => {
                self.ask(slot, What::Initialized, now_ns);
            }
            What::Initialize => {
                // A line that is not answered.
                self.write(slot, What::Initialized, 0);
                self.on_ready(slot);
            }
            What::Initialized => match self.at(slot).partner {
                NONE => self.on_ready(slot),
                partner => self.enqueue_more(partner),
            },
            What::Events => {
                let workload = usize::from(self.at(slot).workload);
                let reads = self.script.workloads[workload].reads;
                let client = self.at(slot);
                client.state = State::Ready;
                client.flags.deaf = !reads;
                let seat = client.partner;
                if self.at(seat).state == State::Opening {
                    self.on_ready(seat);
                }
            }
            What::Connect | What::Listen => unreachable!("not answered by a message with its id"),
        }
    }

    fn on_call_answered(&mut self, slot: u32, request: Request) {
        let client = &self.clients[slot as usize];
        let (workload, target, begun_ns) = (client.workload, client.target, client.begun_ns);
        let closed = self.script.workloads[usize::from(workload)].closed;
        let first = request.what == What::First;
        let service_ns = self.now_ns.saturating_sub(request.sent_ns);
        let latency_ns =
            if closed || first { service_ns } else { self.now_ns.saturating_sub(request.due_ns) };
        self.tally.sample.targets[usize::from(target)].answered += 1;
        let sample = self.tally.workload(workload);
        sample.answered += 1;
        record_ns(&mut sample.latency, latency_ns);
        record_ns(&mut sample.service, service_ns);
        if first {
            record_ns(&mut sample.first_call, self.now_ns.saturating_sub(begun_ns));
        }
        self.offer(slot);
    }

    /// Has the connection looked at when its first request is overdue.
    pub(super) fn arm_timer(&mut self, slot: u32) {
        let Some(deadline_ns) = self.deadline_ns(slot) else { return };
        let at_ms = deadline_ns.div_ceil(1_000_000);
        let client = &mut self.clients[slot as usize];
        match client.timer {
            // Deadlines mostly move away: a timer is looked at when it fires.
            Some(_) if u64::from(client.timer_ms) <= at_ms => return,
            Some(timer) => {
                self.wheel.rearm(timer, at_ms);
            }
            None => client.timer = Some(self.wheel.arm(at_ms, slot.into())),
        }
        client.timer_ms = u32::try_from(at_ms).unwrap_or(u32::MAX);
    }

    fn deadline_ns(&self, slot: u32) -> Option<u64> {
        let first = self.requests.at(self.clients[slot as usize].first)?;
        Some(first.sent_ns.saturating_add(self.script.timeout_ns))
    }

    pub(super) fn fire_timers(&mut self) {
        while let Some(fired) = self.wheel.poll(self.now_ns / 1_000_000) {
            let slot = u32::try_from(fired.key).expect("armed with a slot");
            self.at(slot).timer = None;
            match self.deadline_ns(slot) {
                Some(deadline_ns) if deadline_ns <= self.now_ns => self.on_overdue(slot),
                _ => self.arm_timer(slot),
            }
        }
    }

    /// An answer comes too late, if it comes: what follows on the connection could not be told
    /// apart from it.
    fn on_overdue(&mut self, slot: u32) {
        let (now_ns, timeout_ns) = (self.now_ns, self.script.timeout_ns);
        let overdue = |request: &Request| request.sent_ns.saturating_add(timeout_ns) <= now_ns;
        while let Some(request) = self.finish_request(slot, overdue) {
            let fault = match request.what {
                What::Connect => Fault::ConnectTimeout,
                _ => Fault::Timeout,
            };
            self.fault_of(slot, fault, || {
                format!("no answer to {:?} within {} ms", request.what, timeout_ns / 1_000_000)
            });
        }
        if self.at(slot).state == State::Deleting {
            return self.abort(slot);
        }
        self.drop_client(slot);
    }
}
