//! Calls of handlers: at once on the shard, or in a pool with an answer that comes back later.
//!
//! A call in flight has a place in the shard's table. Of a modern exchange it is the phase of its
//! connection; of a byte stream or a session it is one of several, in the list of its owner.

use std::cell::RefCell;
use std::sync::Arc;

use ringmesh_proto::jsonrpc::{self, INTERNAL_ERROR, Id, Incoming};
use ringmesh_proto::mcp::Params;
use serde_json::value::RawValue;
use smol_str::SmolStr;

use super::Shard;
use super::connection::Phase;
use super::request::{Exchange, Reader, Refusal, Request, Route};
use super::session::Asking;
use super::timers::Key;
use crate::call::{
    Answer, Call, CallId, Cancel, Context, Departure, Ending, Era, NoteError, Notes, Progress,
    Round,
};
use crate::catalog::{Handler, InlineFn, Job, Work};
use crate::guard;
use crate::message::{Note, Noted, Reply};
use crate::probe::{Bound, Method, Outcome};
use crate::wheel::TimerId;

/// What a call is of, for messages and watchers.
pub(super) struct Target<'a> {
    pub(super) what: &'static str,
    pub(super) name: &'a str,
    pub(super) serial: u64,
}

/// A call that did not end at once. Its place is kept until its pool answers, even when nobody waits
/// any more: so replies never outnumber the places of their lane.
#[derive(Debug)]
pub(super) struct InFlight {
    /// Who waits; `None` once the call was cancelled or timed out.
    pub(super) waiter: Option<Waiter>,
    cancel: Arc<Cancel>,
    /// The parameters as they came.
    pub(super) params: Arc<Box<RawValue>>,
    /// Bytes of the parameters and of a client's answers: taken from the budget.
    pub(super) bytes: usize,
    /// A pool has it, and will answer.
    pub(super) pooled: bool,
    /// What a legacy client is asked, and has answered.
    pub(super) asking: Option<Box<Asking>>,
}

#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) route: Route,
    pub(super) era: Era,
    /// Place of the session that asked, where one did.
    pub(super) session: Option<u32>,
    /// JSON text of the request's id.
    pub(super) id: SmolStr,
    pub(super) method: Method,
    pub(super) what: &'static str,
    pub(super) name: SmolStr,
    /// Whether the answer of a modern exchange became an event stream already.
    streaming: bool,
    arrived_ns: u64,
    pub(super) deadline_ms: u64,
    keep_alive_ms: u64,
    /// The call's own timer, where its connection does not keep its time.
    timer: Option<TimerId>,
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
        request: &Request<'_>,
        target: &Target<'_>,
        handler: &Handler,
    ) -> Result<(), Refusal> {
        match handler {
            Handler::Inline(code) => self.call_inline(request, target, &**code),
            Handler::Async(code) => self.depart(request, target, Work::Async(Arc::clone(code))),
            Handler::Blocking(code) => {
                self.depart(request, target, Work::Blocking(Arc::clone(code)))
            }
        }
    }

    /// Runs an inline handler. Gives what it sent before its answer, which is in `self.answer`.
    fn run_inline(
        &mut self,
        (method, era): (Method, Era),
        target: &Target<'_>,
        params: &Params<'_>,
        code: &InlineFn,
    ) -> Vec<Vec<u8>> {
        let mut answer = std::mem::take(&mut self.answer);
        answer.clear();
        let notes = Collected::default();
        let progress = Progress::default();
        let call = Call {
            method: method.label(),
            name: target.name,
            params,
            unix_ms: self.now.unix_ms,
            era,
            state_key: &self.state_key,
            notes: &notes,
            progress: &progress,
        };
        self.vital.begin_tool(target.serial);
        let outcome = guard::enter(|| code(&call, &mut answer));
        self.vital.end_tool();
        if outcome.is_err() {
            answer.panicked(target.what, target.name, method == Method::ToolsCall);
        }
        self.answer = answer;
        notes.0.into_inner()
    }

    fn call_inline(
        &mut self,
        request: &Request<'_>,
        target: &Target<'_>,
        code: &InlineFn,
    ) -> Result<(), Refusal> {
        let (method, era, id) = (request.method, request.era, request.id);
        let notes = self.run_inline((method, era), target, request.params, code);
        let asks = era.is_legacy() && self.answer.ending() == Ending::InputRequired;
        if asks {
            return self.ask_client_first(request, target, &notes);
        }
        let answer = std::mem::take(&mut self.answer);
        let outcome = match request.route {
            Route::Http(reader, exchange) if !(notes.is_empty() || era.is_legacy()) => {
                self.begin_events(reader, exchange);
                for json in &notes {
                    self.event(reader, exchange, |_, out| out.extend_from_slice(json));
                }
                self.end_events(reader, exchange, id, &answer)
            }
            route => {
                let route = if notes.is_empty() {
                    route
                } else {
                    self.events_route(route, request.session)
                };
                for json in &notes {
                    self.emit(route, |_, out| out.extend_from_slice(json));
                }
                self.reply_answer(route, era, id, &answer)
            }
        };
        self.probe.count_request(method, outcome);
        self.answered += 1;
        self.answer = answer;
        Ok(())
    }

    /// Sends a message that goes before an answer.
    pub(super) fn emit(&mut self, route: Route, write: impl FnOnce(&Self, &mut Vec<u8>)) {
        match route {
            Route::Http(reader, exchange) => self.event(reader, exchange, write),
            Route::Line(conn) => self.line(conn, write),
            Route::Events(events) => self.emit_on_events(events, write),
        }
    }

    /// Takes a place for a call that does not end at once.
    pub(super) fn take_place(
        &mut self,
        request: &Request<'_>,
        target: &Target<'_>,
    ) -> Result<CallId, Refusal> {
        if self.calls.len() >= self.limits.calls_max as usize {
            self.refuse(Bound::Calls);
            return Err(Refusal::busy("too many calls are in flight"));
        }
        // Calls of sessions and byte streams need no connection each: one alone must not take all.
        let most = (self.limits.calls_max as usize / 4).max(1);
        let owned = self.calls_of(request.route, request.session).map_or(0, |calls| calls.len());
        if owned >= most {
            self.refuse(Bound::Calls);
            return Err(Refusal::busy("too many calls of this client are in flight"));
        }
        let params = params_of(request.body);
        let bytes = params.get().len();
        if !self.budget.keep(bytes) {
            self.refuse(Bound::ByteBudget);
            return Err(Refusal::busy("the server is out of buffers"));
        }
        let waiter = Waiter {
            route: request.route,
            era: request.era,
            session: request.session,
            id: request.id.as_json().into(),
            method: request.method,
            what: target.what,
            name: target.name.into(),
            streaming: false,
            arrived_ns: self.now.mono_ns,
            deadline_ms: self.now_ms.saturating_add(self.limits.tool_timeout_ms),
            keep_alive_ms: self.now_ms.saturating_add(self.limits.keep_alive_ms),
            timer: None,
        };
        let (slot, generation) = self.calls.insert(InFlight {
            waiter: Some(waiter),
            cancel: Arc::default(),
            params: Arc::new(params.to_owned()),
            bytes,
            pooled: false,
            asking: None,
        });
        Ok(CallId { slot, generation })
    }

    /// Hands a call to its pool.
    fn depart(
        &mut self,
        request: &Request<'_>,
        target: &Target<'_>,
        work: Work,
    ) -> Result<(), Refusal> {
        let call = self.take_place(request, target)?;
        if let Err(refusal) = self.submit(call, target, None, work) {
            self.forget_call(call);
            return Err(refusal);
        }
        self.settle_in(call);
        Ok(())
    }

    /// Gives a call to its pool, with what its client answered since.
    fn submit(
        &mut self,
        call: CallId,
        target: &Target<'_>,
        round: Option<Arc<Round>>,
        work: Work,
    ) -> Result<(), Refusal> {
        let Some(in_flight) = self.calls.get_mut(call.slot, call.generation) else { return Ok(()) };
        let Some(waiter) = &in_flight.waiter else { return Ok(()) };
        in_flight.pooled = true;
        let context = Context::new(Departure {
            method: waiter.method.label(),
            name: target.name,
            params: Arc::clone(&in_flight.params),
            round,
            unix_ms: self.now.unix_ms,
            era: waiter.era,
            state_key: Arc::clone(&self.state_key),
            cancel: Arc::clone(&in_flight.cancel),
            call,
            home: self.address.clone(),
        });
        let job = Job { work, context, what: target.what };
        if let Err(job) = self.pool.submit(job) {
            job.context.disown();
            if let Some(in_flight) = self.calls.get_mut(call.slot, call.generation) {
                in_flight.pooled = false;
            }
            self.refuse(Bound::Mailbox);
            return Err(Refusal::busy("the pool of handlers is full"));
        }
        self.probe.observe_calls(self.calls.len() as u64);
        Ok(())
    }

    /// A call has its place and will take its time: its owner is told, and its time is kept.
    pub(super) fn settle_in(&mut self, call: CallId) {
        let Some(waiter) = self.waiter(call) else { return };
        let (route, session) = (waiter.route, waiter.session);
        let at_ms = waiter.deadline_ms.min(waiter.keep_alive_ms);
        if let (Route::Http(Reader::Here(conn), _), None) = (route, session) {
            self.conns[conn.slot as usize].phase = Phase::Calling(call);
            return self.arm_timer(conn.slot, at_ms);
        }
        let route = self.events_route(route, session);
        let timer = self.wheel.arm(at_ms, Key::Call(call.slot).pack());
        if let Some(waiter) = self.waiter(call) {
            waiter.route = route;
            waiter.timer = Some(timer);
        }
        match route {
            Route::Line(conn) => self.line_state_or_new(conn).calls.push(call),
            Route::Http(..) | Route::Events(_) => {
                if let Some(calls) = self.calls_of(route, session) {
                    calls.push(call);
                }
            }
        }
    }

    /// The calls of a byte stream or of a session.
    fn calls_of(&mut self, route: Route, session: Option<u32>) -> Option<&mut Vec<CallId>> {
        match (route, session) {
            (Route::Line(conn), _) => self.line_state(conn).map(|line| &mut line.calls),
            (_, Some(session)) => self.sessions.at_mut(session).map(|session| &mut session.calls),
            (_, None) => None,
        }
    }

    /// Refuses a request whose id the same byte stream or session has in flight: answers and
    /// cancellations could not be told apart.
    pub(super) fn check_id(&mut self, request: &Request<'_>) -> Result<(), Refusal> {
        let calls = match (request.route, request.session) {
            (Route::Line(conn), _) => {
                self.conns[conn.slot as usize].line.as_deref().map(|line| &line.calls)
            }
            (_, Some(session)) => self.sessions.at(session).map(|session| &session.calls),
            (_, None) => None,
        };
        let taken =
            calls.is_some_and(|calls| self.find_call(calls, request.id.as_json()).is_some());
        if taken {
            self.refuse(Bound::RequestIds);
            return Err(Refusal::invalid_request("a request with this id is in flight"));
        }
        Ok(())
    }

    /// The one of these calls that was asked with an id.
    pub(super) fn find_call(&self, calls: &[CallId], id: &str) -> Option<CallId> {
        calls.iter().copied().find(|call| {
            let waiter = self.calls.at(call.slot).and_then(|(_, call)| call.waiter.as_ref());
            waiter.is_some_and(|waiter| waiter.id == id)
        })
    }

    /// Frees the call's place, and the bytes that were held for it.
    pub(super) fn forget_call(&mut self, call: CallId) -> Option<InFlight> {
        self.calls.get_mut(call.slot, call.generation)?;
        let in_flight = self.calls.remove(call.slot)?;
        self.budget.give_back(in_flight.bytes);
        self.probe.observe_calls(self.calls.len() as u64);
        if let Some(waiter) = &in_flight.waiter {
            self.disown_call(call, waiter);
            self.forget_questions(waiter.session, in_flight.asking.as_deref());
        }
        Some(in_flight)
    }

    /// Takes the call from its owner's list, and stops its time.
    fn disown_call(&mut self, call: CallId, waiter: &Waiter) {
        if let Some(timer) = waiter.timer {
            self.wheel.cancel(timer);
        }
        if let Some(calls) = self.calls_of(waiter.route, waiter.session)
            && let Some(at) = calls.iter().position(|&other| other == call)
        {
            calls.swap_remove(at);
        }
    }

    pub(super) fn on_note(&mut self, note: &Note) {
        let Some(waiter) = self.waiter(note.call) else { return };
        match (&note.what, waiter.route) {
            (Noted::Message(json), Route::Http(..)) => {
                if let Some((reader, exchange)) = self.stream_of(note.call) {
                    self.event(reader, exchange, |_, out| out.extend_from_slice(json));
                }
            }
            (Noted::Message(json), route) => {
                self.emit(route, |_, out| out.extend_from_slice(json));
            }
            (&Noted::CloseStream { retry_ms }, Route::Events(events)) => {
                self.close_for_now(events, retry_ms);
            }
            (Noted::CloseStream { .. }, _) => {}
        }
    }

    /// Makes the answer of a modern call an event stream, where somebody still waits for it.
    fn stream_of(&mut self, call: CallId) -> Option<(Reader, Exchange)> {
        let keep_alive_ms = self.now_ms.saturating_add(self.limits.keep_alive_ms);
        let waiter = self.waiter(call)?;
        waiter.keep_alive_ms = keep_alive_ms;
        let Route::Http(reader, exchange) = waiter.route else { return None };
        let begun = std::mem::replace(&mut waiter.streaming, true);
        if !self.is_reading(reader) {
            return None;
        }
        if !begun {
            self.begin_events(reader, exchange);
        }
        Some((reader, exchange))
    }

    pub(super) fn waiter(&mut self, call: CallId) -> Option<&mut Waiter> {
        self.calls.get_mut(call.slot, call.generation)?.waiter.as_mut()
    }

    pub(super) fn on_reply(&mut self, reply: Reply) {
        let Reply { call, answer } = reply;
        let Some(in_flight) = self.calls.get_mut(call.slot, call.generation) else { return };
        in_flight.pooled = false;
        let asks = answer.ending() == Ending::InputRequired;
        if asks && in_flight.waiter.as_ref().is_some_and(|waiter| waiter.era.is_legacy()) {
            return self.ask_client(call, &answer);
        }
        self.answer_call(call, &answer);
    }

    /// Ends a call with its answer.
    pub(super) fn answer_call(&mut self, call: CallId, answer: &Answer) {
        let waiter = self.forget_call(call).and_then(|call| call.waiter);
        if let Some(waiter) = waiter {
            self.answer_waiter(&waiter, answer, None);
        }
    }

    fn answer_waiter(&mut self, waiter: &Waiter, answer: &Answer, outcome: Option<Outcome>) {
        // It was read from a request that had it as its id.
        let Some(id) = Id::from_json(&waiter.id) else { return };
        if !self.is_routed(waiter.route) {
            return;
        }
        let told = match waiter.route {
            Route::Http(reader, exchange) if waiter.streaming => {
                self.end_events(reader, exchange, id, answer)
            }
            route => self.reply_answer(route, waiter.era, id, answer),
        };
        self.probe.count_request(waiter.method, outcome.unwrap_or(told));
        let latency_us = self.now.mono_ns.saturating_sub(waiter.arrived_ns) / 1_000;
        self.probe.record_latency(latency_us, 1);
        match waiter.route {
            Route::Http(Reader::Here(conn), _) => self.resume(conn.slot),
            Route::Line(conn) => self.end_line_if_over(conn.slot),
            Route::Http(Reader::There(_), _) | Route::Events(_) => {}
        }
    }

    /// Whether an answer would reach somebody, or the log of somebody who may come back.
    fn is_routed(&mut self, route: Route) -> bool {
        match route {
            Route::Http(reader, _) => self.is_reading(reader),
            Route::Line(conn) => self.connection(conn).is_some(),
            Route::Events(events) => self.event_stream(events).is_some(),
        }
    }

    fn is_reading(&mut self, reader: Reader) -> bool {
        match reader {
            Reader::Here(conn) => self.connection(conn).is_some(),
            Reader::There(far) => self.is_far(far),
        }
    }

    /// Nobody waits for the call any more.
    pub(super) fn abandon_call(&mut self, call: CallId) -> Option<Route> {
        let in_flight = self.calls.get_mut(call.slot, call.generation)?;
        in_flight.cancel.cancel();
        let waiter = in_flight.waiter.take()?;
        self.probe.count_request(waiter.method, Outcome::Cancelled);
        self.release(call, &waiter);
        Some(waiter.route)
    }

    /// Nobody waits for a call any more: what its client was asked is withdrawn, and its place is
    /// freed unless a pool has it yet.
    fn release(&mut self, call: CallId, waiter: &Waiter) {
        self.disown_call(call, waiter);
        let Some(in_flight) = self.calls.get_mut(call.slot, call.generation) else { return };
        let (pooled, asking) = (in_flight.pooled, in_flight.asking.take());
        if let Some(asking) = asking {
            self.withdraw_questions(waiter.route, waiter.session, &asking);
        }
        if !pooled {
            self.forget_call(call);
        }
    }

    /// The server stops: gives up the calls of a connection that its time keeps no more. False where
    /// it has none.
    pub(super) fn cut_calls(&mut self, slot: u32) -> bool {
        let conn = self.id_of(slot);
        let calls: Vec<CallId> = match self.conns[slot as usize].phase {
            Phase::Calling(call) => vec![call],
            Phase::Events(events) => {
                let session = self.event_stream(events).map(|stream| stream.session());
                let calls = session.and_then(|session| self.sessions.at(session));
                calls.map(|session| session.calls.clone()).unwrap_or_default()
            }
            _ => self.line_state(conn).map(|line| line.calls.clone()).unwrap_or_default(),
        };
        let phase = self.conns[slot as usize].phase;
        let mut cut = false;
        for call in calls {
            let route = self.waiter(call).map(|waiter| waiter.route);
            let read_here = match (route, phase) {
                (Some(Route::Events(route)), Phase::Events(events)) => route == events,
                (Some(_), _) => true,
                (None, _) => false,
            };
            if read_here {
                let why = "was cut short: the server is stopping";
                self.give_up_call(call, why, Outcome::Cancelled);
                cut = true;
            }
        }
        cut
    }

    pub(super) fn call_deadline_ms(&self, call: CallId) -> u64 {
        let waiter = self.calls.at(call.slot).and_then(|(_, call)| call.waiter.as_ref());
        waiter.map_or(u64::MAX, |waiter| waiter.deadline_ms.min(waiter.keep_alive_ms))
    }

    /// Keeps the time of a call whose deadline was moved: its timer may be armed for another.
    pub(super) fn rearm_call(&mut self, call: CallId) {
        let at_ms = self.call_deadline_ms(call);
        let timer = self.waiter(call).and_then(|waiter| waiter.timer);
        if let Some(timer) = timer {
            self.wheel.rearm(timer, at_ms);
        }
    }

    /// A call's own timer fired.
    pub(super) fn on_call_timer(&mut self, slot: u32) {
        let Some((generation, _)) = self.calls.at(slot) else { return };
        let call = CallId { slot, generation };
        let Some(waiter) = self.waiter(call) else { return };
        waiter.timer = None;
        self.on_call_deadline(call);
        let Some(waiter) = self.waiter(call) else { return };
        let at_ms = waiter.deadline_ms.min(waiter.keep_alive_ms);
        let timer = self.wheel.arm(at_ms, Key::Call(slot).pack());
        if let Some(waiter) = self.waiter(call) {
            waiter.timer = Some(timer);
        }
    }

    pub(super) fn on_call_deadline(&mut self, call: CallId) {
        let now_ms = self.now_ms;
        let Some(waiter) = self.waiter(call) else { return };
        if waiter.deadline_ms > now_ms {
            // Proxies drop what is silent: a long call becomes a stream with comments.
            match waiter.route {
                Route::Http(..) => {
                    if let Some((Reader::Here(conn), exchange)) = self.stream_of(call) {
                        self.keep_alive(conn.slot, exchange);
                    }
                }
                // From then on the stream keeps itself alive.
                Route::Events(events) => {
                    waiter.keep_alive_ms = u64::MAX;
                    self.begin_if_read(events);
                }
                Route::Line(_) => waiter.keep_alive_ms = u64::MAX,
            }
            return;
        }
        let asking = self.calls.at(call.slot).and_then(|(_, call)| call.asking.as_deref());
        // When nothing is left to be answered, the handler runs again.
        let asking = asking.is_some_and(Asking::waits);
        let (bound, why) = if asking {
            (Bound::InputTimeout, "got no answer from the client in time")
        } else {
            (Bound::ToolTimeout, "took too long")
        };
        self.refuse(bound);
        self.give_up_call(call, why, Outcome::Timeout);
    }

    /// Cancels a call, and tells its client why it gets no other answer.
    pub(super) fn give_up_call(&mut self, call: CallId, why: &str, outcome: Outcome) {
        let Some(in_flight) = self.calls.get_mut(call.slot, call.generation) else { return };
        in_flight.cancel.cancel();
        let Some(waiter) = in_flight.waiter.take() else { return };
        self.release(call, &waiter);
        let mut answer = Answer::default();
        let message = format!("{} '{}' {why}", waiter.what, waiter.name);
        answer.fail(INTERNAL_ERROR, &message, None);
        self.answer_waiter(&waiter, &answer, Some(outcome));
    }

    /// Calls a handler again, with what its legacy client answered.
    pub(super) fn call_again(&mut self, call: CallId, round: Round) {
        let Some(in_flight) = self.calls.get_mut(call.slot, call.generation) else { return };
        let params = Arc::clone(&in_flight.params);
        let Some(waiter) = &mut in_flight.waiter else { return };
        waiter.deadline_ms = self.now_ms.saturating_add(self.limits.tool_timeout_ms);
        let (method, era, name) = (waiter.method, waiter.era, waiter.name.clone());
        let route = waiter.route;
        self.rearm_call(call);
        let Some((handler, what, serial)) = self.handler_of(method, &name) else {
            return self.give_up_call(call, "is no more", Outcome::InternalError);
        };
        let target = Target { what, name: &name, serial };
        let round = Arc::new(round);
        let submitted = match handler {
            Handler::Inline(code) => {
                // It was read before; what it lacks the handler says itself.
                let mut read = Params::parse(&params).unwrap_or_default();
                Round::complete(Some(&*round), &mut read);
                for json in self.run_inline((method, era), &target, &read, &*code) {
                    self.emit(route, |_, out| out.extend_from_slice(&json));
                }
                let answer = std::mem::take(&mut self.answer);
                if answer.ending() == Ending::InputRequired {
                    self.ask_client(call, &answer);
                } else {
                    self.answer_call(call, &answer);
                }
                self.answer = answer;
                Ok(())
            }
            Handler::Async(code) => self.submit(call, &target, Some(round), Work::Async(code)),
            Handler::Blocking(code) => {
                self.submit(call, &target, Some(round), Work::Blocking(code))
            }
        };
        if submitted.is_err() {
            self.give_up_call(call, "found its pool full", Outcome::Busy);
        }
    }
}
