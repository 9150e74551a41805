//! Calls of handlers: at once on the shard, or in a pool with an answer that comes back later.

use std::cell::RefCell;
use std::sync::Arc;

use super::Shard;
use super::connection::Phase;
use super::dispatch::Modern;
use super::replies::{Exchange, Refusal};
use crate::call::{Answer, Call, CallId, Cancel, Context, Departure, NoteError, Notes, Progress};
use crate::catalog::{Handler, InlineFn, Job, Work};
use crate::guard;
use crate::io::ConnId;
use crate::message::{Note, Reply};
use crate::probe::{Bound, Method, Outcome};
use ringmesh_proto::jsonrpc::{self, INTERNAL_ERROR, Id, Incoming};
use serde_json::value::RawValue;

/// What a call is of, for messages and watchers.
pub(super) struct Target<'a> {
    pub(super) what: &'static str,
    pub(super) name: &'a str,
    pub(super) serial: u64,
}

/// A call that runs in a pool. Its place is kept until the pool answers, even when nobody waits
/// any more: so replies never outnumber the places of their lane.
#[derive(Debug)]
pub(super) struct InFlight {
    /// Who waits; `None` once the call was cancelled or timed out.
    waiter: Option<Waiter>,
    cancel: Arc<Cancel>,
    /// Bytes of the parameters, which the pool holds: taken from the budget.
    bytes: usize,
}

#[derive(Debug)]
struct Waiter {
    conn: ConnId,
    exchange: Exchange,
    /// JSON text of the request's id.
    id: Box<str>,
    method: Method,
    what: &'static str,
    name: Box<str>,
    /// Whether the answer became an event stream already.
    streaming: bool,
    arrived_ns: u64,
    deadline_ms: u64,
    keep_alive_ms: u64,
}

/// Collects what an inline handler sends before its answer.
#[derive(Default)]
struct Collected(RefCell<Vec<Vec<u8>>>);

impl Notes for Collected {
    fn note(&self, json: Vec<u8>) -> Result<(), NoteError> {
        self.0.borrow_mut().push(json);
        Ok(())
    }
}

/// The parameters of a request as they came.
fn params_of(body: &[u8]) -> &RawValue {
    match jsonrpc::parse(body) {
        Ok(Incoming::Request { params: Some(params), .. }) => params,
        _ => RawValue::NULL,
    }
}

impl Shard {
    /// Calls a handler where it runs.
    pub(super) fn call(
        &mut self,
        request: &Modern<'_>,
        target: &Target<'_>,
        handler: &Handler,
    ) -> Result<(), Refusal> {
        match handler {
            Handler::Inline(code) => {
                self.call_inline(request, target, &**code);
                Ok(())
            }
            Handler::Async(code) => self.depart(request, target, Work::Async(Arc::clone(code))),
            Handler::Blocking(code) => {
                self.depart(request, target, Work::Blocking(Arc::clone(code)))
            }
        }
    }

    fn call_inline(&mut self, request: &Modern<'_>, target: &Target<'_>, code: &InlineFn) {
        let mut answer = std::mem::take(&mut self.answer);
        answer.clear();
        let notes = Collected::default();
        let progress = Progress::default();
        let call = Call {
            method: request.method.label(),
            name: target.name,
            params: request.params,
            unix_ms: self.now.unix_ms,
            state_key: &self.state_key,
            notes: &notes,
            progress: &progress,
        };
        self.vital.begin_tool(target.serial);
        let outcome = guard::enter(|| code(&call, &mut answer));
        self.vital.end_tool();
        if outcome.is_err() {
            answer.panicked(target.what, target.name, request.method == Method::ToolsCall);
        }
        let (slot, exchange, id) = (request.slot, request.exchange, request.id);
        let notes = notes.0.into_inner();
        let outcome = if notes.is_empty() {
            self.reply_answer(slot, exchange, id, &answer)
        } else {
            self.begin_events(slot, exchange);
            for json in &notes {
                self.event(slot, exchange, |_, out| out.extend_from_slice(json));
            }
            self.end_events(slot, exchange, id, &answer)
        };
        self.probe.count_request(request.method, outcome);
        self.answered += 1;
        self.answer = answer;
    }

    /// Hands a call to its pool.
    fn depart(
        &mut self,
        request: &Modern<'_>,
        target: &Target<'_>,
        work: Work,
    ) -> Result<(), Refusal> {
        if self.calls.len() >= self.limits.calls_max as usize {
            self.refuse(Bound::Calls);
            return Err(Refusal::busy("too many calls are in flight"));
        }
        let params = params_of(request.body);
        let bytes = params.get().len();
        if !self.budget.keep(bytes) {
            self.refuse(Bound::ByteBudget);
            return Err(Refusal::busy("the server is out of buffers"));
        }
        let conn = self.id_of(request.slot);
        let cancel = Arc::new(Cancel::default());
        let deadline_ms = self.now_ms.saturating_add(self.limits.tool_timeout_ms);
        let keep_alive_ms = self.now_ms.saturating_add(self.limits.keep_alive_ms);
        let waiter = Waiter {
            conn,
            exchange: request.exchange,
            id: request.id.as_json().into(),
            method: request.method,
            what: target.what,
            name: target.name.into(),
            streaming: false,
            arrived_ns: self.now.mono_ns,
            deadline_ms,
            keep_alive_ms,
        };
        let in_flight = InFlight { waiter: Some(waiter), cancel: Arc::clone(&cancel), bytes };
        let (slot, generation) = self.calls.insert(in_flight);
        let call = CallId { slot, generation };
        let context = Context::new(Departure {
            method: request.method.label(),
            name: target.name,
            params,
            unix_ms: self.now.unix_ms,
            state_key: Arc::clone(&self.state_key),
            cancel,
            call,
            home: self.address.clone(),
        });
        let job = Job { work, context, what: target.what };
        if let Err(job) = self.pool.submit(job) {
            job.context.disown();
            self.forget_call(slot);
            self.refuse(Bound::Mailbox);
            return Err(Refusal::busy("the pool of handlers is full"));
        }
        self.probe.observe_calls(self.calls.len() as u64);
        self.conns[request.slot as usize].phase = Phase::Calling(call);
        self.arm_timer(request.slot, deadline_ms.min(keep_alive_ms));
        Ok(())
    }

    /// Frees the call's place, and the bytes that the pool held for it.
    fn forget_call(&mut self, slot: u32) -> Option<InFlight> {
        let call = self.calls.remove(slot)?;
        self.budget.give_back(call.bytes);
        Some(call)
    }

    pub(super) fn on_note(&mut self, note: &Note) {
        let Some((slot, exchange)) = self.stream_of(note.call) else { return };
        self.event(slot, exchange, |_, out| out.extend_from_slice(&note.json));
    }

    /// Makes the answer of a call an event stream, where somebody still waits for it.
    fn stream_of(&mut self, call: CallId) -> Option<(u32, Exchange)> {
        let keep_alive_ms = self.now_ms.saturating_add(self.limits.keep_alive_ms);
        let waiter = self.waiter(call)?;
        waiter.keep_alive_ms = keep_alive_ms;
        let (conn, exchange) = (waiter.conn, waiter.exchange);
        let begun = std::mem::replace(&mut waiter.streaming, true);
        self.connection(conn)?;
        if !begun {
            self.begin_events(conn.slot, exchange);
        }
        Some((conn.slot, exchange))
    }

    fn waiter(&mut self, call: CallId) -> Option<&mut Waiter> {
        self.calls.get_mut(call.slot, call.generation)?.waiter.as_mut()
    }

    pub(super) fn on_reply(&mut self, reply: Reply) {
        let CallId { slot, generation } = reply.call;
        if self.calls.get_mut(slot, generation).is_none() {
            return;
        }
        let waiter = self.forget_call(slot).and_then(|call| call.waiter);
        self.probe.observe_calls(self.calls.len() as u64);
        if let Some(waiter) = waiter {
            self.answer_waiter(&waiter, &reply.answer);
        }
    }

    fn answer_waiter(&mut self, waiter: &Waiter, answer: &Answer) {
        if self.connection(waiter.conn).is_none() {
            return;
        }
        // It was read from a request that had it as its id.
        let Some(id) = Id::from_json(&waiter.id) else { return };
        let (slot, exchange) = (waiter.conn.slot, waiter.exchange);
        let outcome = if waiter.streaming {
            self.end_events(slot, exchange, id, answer)
        } else {
            self.reply_answer(slot, exchange, id, answer)
        };
        self.finish_call(waiter, outcome);
    }

    fn finish_call(&mut self, waiter: &Waiter, outcome: Outcome) {
        self.probe.count_request(waiter.method, outcome);
        let latency_us = self.now.mono_ns.saturating_sub(waiter.arrived_ns) / 1_000;
        self.probe.record_latency(latency_us, 1);
        self.resume(waiter.conn.slot);
    }

    /// Nobody waits for the call any more: its connection is gone.
    pub(super) fn abandon_call(&mut self, call: CallId) {
        let Some(in_flight) = self.calls.get_mut(call.slot, call.generation) else { return };
        in_flight.cancel.cancel();
        if let Some(waiter) = in_flight.waiter.take() {
            self.probe.count_request(waiter.method, Outcome::Cancelled);
        }
    }

    pub(super) fn call_deadline_ms(&self, call: CallId) -> u64 {
        let waiter = self.calls.at(call.slot).and_then(|(_, call)| call.waiter.as_ref());
        waiter.map_or(u64::MAX, |waiter| waiter.deadline_ms.min(waiter.keep_alive_ms))
    }

    pub(super) fn on_call_deadline(&mut self, slot: u32, call: CallId) {
        let now_ms = self.now_ms;
        let Some(waiter) = self.waiter(call) else { return };
        if waiter.deadline_ms > now_ms {
            // Proxies drop what is silent: a long call becomes a stream with comments.
            if let Some((slot, exchange)) = self.stream_of(call) {
                self.keep_alive(slot, exchange);
            }
            return;
        }
        self.refuse(Bound::ToolTimeout);
        self.give_up_call(slot, call, "took too long", Outcome::Timeout);
    }

    /// Cancels a call, and tells its client why it gets no other answer.
    pub(super) fn give_up_call(&mut self, slot: u32, call: CallId, why: &str, outcome: Outcome) {
        let Some(in_flight) = self.calls.get_mut(call.slot, call.generation) else { return };
        in_flight.cancel.cancel();
        let Some(waiter) = in_flight.waiter.take() else { return };
        let mut answer = Answer::default();
        let message = format!("{} '{}' {why}", waiter.what, waiter.name);
        answer.fail(INTERNAL_ERROR, &message, None);
        debug_assert_eq!(slot, waiter.conn.slot);
        let Some(id) = Id::from_json(&waiter.id) else { return };
        if waiter.streaming {
            self.end_events(slot, waiter.exchange, id, &answer);
        } else {
            self.reply_answer(slot, waiter.exchange, id, &answer);
        }
        self.finish_call(&waiter, outcome);
    }
}
