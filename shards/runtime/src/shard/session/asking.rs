//! What a call asks of its client (sampling, elicitation, roots): a request of the server, whose
//! answer finds its call again.
//!
//! A handler says the same in both eras: that it needs input. A modern client comes back with the
//! answers in a request of its own; a legacy one is sent requests, and the handler is called again
//! when all of them are answered. So no handler waits, and no thread is held for a user who thinks.

use std::collections::BTreeMap;

use ringmesh_proto::jsonrpc::{self, INTERNAL_ERROR, Id};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::call::{Answer, CallId, Ending, Round};
use crate::probe::{Method, Outcome};
use crate::shard::Shard;
use crate::shard::calls::Target;
use crate::shard::request::{Refusal, Request, Route};

/// Why a call fails whose client sends no more.
const UNANSWERED: &str = "asks a client that sends no more";

/// How often a call may ask before it is given up.
const ROUNDS_MAX: u32 = 16;

/// What a client is asked for one call, and has answered.
#[derive(Debug, Default)]
pub(in crate::shard) struct Asking {
    /// Ids of the requests that are not answered, and the keys of their answers.
    pending: Vec<(u64, Box<str>)>,
    answers: BTreeMap<Box<str>, Box<RawValue>>,
    state: Option<Box<str>>,
    rounds: u32,
}

impl Asking {
    /// Whether the client has yet to answer something.
    pub(in crate::shard) fn waits(&self) -> bool {
        !self.pending.is_empty()
    }
}

/// Members of a result that requires input (2026-07-28 schema, InputRequiredResult).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Questions {
    #[serde(default)]
    input_requests: BTreeMap<Box<str>, Question>,
    #[serde(default)]
    request_state: Option<Box<str>>,
}

#[derive(Deserialize)]
struct Question {
    method: Box<str>,
    #[serde(default)]
    params: Option<Box<RawValue>>,
}

impl Shard {
    /// An inline handler asks: from now on the call is in flight. What it answered is in
    /// `self.answer`.
    pub(in crate::shard) fn ask_client_first(
        &mut self,
        request: &Request<'_>,
        target: &Target<'_>,
        notes: &[Vec<u8>],
    ) -> Result<(), Refusal> {
        let call = self.take_place(request, target)?;
        self.settle_in(call);
        if let Some(route) = self.waiter(call).map(|waiter| waiter.route) {
            for json in notes {
                self.emit(route, |_, out| out.extend_from_slice(json));
            }
        }
        let answer = std::mem::take(&mut self.answer);
        self.ask_client(call, &answer);
        self.answer = answer;
        Ok(())
    }

    /// Sends a call's questions to its client.
    pub(in crate::shard) fn ask_client(&mut self, call: CallId, answer: &Answer) {
        let members = answer.members();
        let text = [b"{".as_slice(), members, b"}"].concat();
        let Ok(questions) = serde_json::from_slice::<Questions>(&text) else {
            let why = "asked for something that is no request";
            return self.give_up_call(call, why, Outcome::InternalError);
        };
        let deadline_ms = self.now_ms.saturating_add(self.limits.input_timeout_ms);
        let Some(in_flight) = self.calls.get_mut(call.slot, call.generation) else { return };
        let asking = in_flight.asking.get_or_insert_default();
        asking.rounds += 1;
        asking.state = questions.request_state;
        if asking.rounds > ROUNDS_MAX {
            let why = "asked its client too often";
            return self.give_up_call(call, why, Outcome::InternalError);
        }
        let Some(waiter) = &mut in_flight.waiter else { return };
        waiter.deadline_ms = deadline_ms;
        let (route, session) = (waiter.route, waiter.session);
        self.probe.count_request(waiter.method, Outcome::InputRequired);
        self.rearm_call(call);
        let Some(session) = session else { return };
        let heard = match route {
            Route::Line(conn) => !self.conns[conn.slot as usize].flags.eof,
            Route::Events(events) => self.is_heard(events),
            Route::Http(..) => false,
        };
        if !heard {
            return self.give_up_call(call, UNANSWERED, Outcome::Cancelled);
        }
        for (key, question) in questions.input_requests {
            let Some(place) = self.sessions.at_mut(session) else { return };
            let id = place.next_ask;
            place.next_ask += 1;
            place.asked.insert(id, call);
            if let Some(in_flight) = self.calls.get_mut(call.slot, call.generation)
                && let Some(asking) = &mut in_flight.asking
            {
                asking.pending.push((id, key));
            }
            self.emit(route, |_, out| write_question(out, id, &question));
        }
        self.go_on_if_answered(call);
    }

    /// A client's response to a request of the server.
    pub(in crate::shard) fn on_response(
        &mut self,
        session: u32,
        id: Id<'_>,
        answer: Result<&RawValue, &RawValue>,
    ) {
        let number = id.as_json().parse::<u64>().ok();
        let asked = number.and_then(|number| {
            let call = self.sessions.at_mut(session)?.asked.remove(&number)?;
            Some((number, call))
        });
        let Some((number, call)) = asked else {
            self.probe.responses_unasked += 1;
            return;
        };
        let Some(in_flight) = self.calls.get_mut(call.slot, call.generation) else { return };
        let Some(asking) = &mut in_flight.asking else { return };
        let Some(at) = asking.pending.iter().position(|(id, _)| *id == number) else { return };
        let (_, key) = asking.pending.swap_remove(at);
        match answer {
            Err(error) => self.fail_asked(call, error.get()),
            Ok(result) if self.budget.keep(result.get().len()) => {
                in_flight.bytes += result.get().len();
                asking.answers.insert(key, result.to_owned());
                self.go_on_if_answered(call);
            }
            Ok(_) => self.give_up_call(call, "found no room for an answer", Outcome::Busy),
        }
    }

    /// Calls the handler again, once nothing is left to be answered.
    fn go_on_if_answered(&mut self, call: CallId) {
        let Some(in_flight) = self.calls.get_mut(call.slot, call.generation) else { return };
        let Some(asking) = &mut in_flight.asking else { return };
        if !asking.pending.is_empty() {
            return;
        }
        // A round has its own answers; what is to last is in the state.
        let (answers, state) = (std::mem::take(&mut asking.answers), asking.state.take());
        let responses = serde_json::value::to_raw_value(&answers).unwrap_or_default();
        self.call_again(call, Round { responses, state });
    }

    /// A client refused to answer: so the call fails.
    fn fail_asked(&mut self, call: CallId, error: &str) {
        let Some(waiter) = self.waiter(call) else { return };
        let shown: String = error.chars().take(512).collect();
        let message = format!("the client answered with an error: {shown}");
        let mut answer = Answer::default();
        if waiter.method == Method::ToolsCall {
            let out = answer.begin(Ending::ToolError);
            out.extend_from_slice(b"\"content\":[{\"type\":\"text\",\"text\":");
            jsonrpc::write_string(out, &message);
            out.extend_from_slice(b"}],\"isError\":true");
        } else {
            answer.fail(INTERNAL_ERROR, &message, None);
        }
        self.answer_call(call, &answer);
    }

    /// The peer of a byte stream sends no more: what these calls ask it stays unanswered, and
    /// waiting for the time-out would keep the connection of a peer that is gone, perhaps.
    pub(in crate::shard) fn give_up_asking(&mut self, calls: &[CallId]) {
        for &call in calls {
            let asking = self.calls.get_mut(call.slot, call.generation);
            let asking = asking.and_then(|in_flight| in_flight.asking.as_ref());
            if asking.is_some_and(|asking| !asking.pending.is_empty()) {
                self.give_up_call(call, UNANSWERED, Outcome::Cancelled);
            }
        }
    }

    /// Nobody needs the answers any more.
    pub(in crate::shard) fn forget_questions(
        &mut self,
        session: Option<u32>,
        asking: Option<&Asking>,
    ) {
        let (Some(session), Some(asking)) = (session, asking) else { return };
        let Some(session) = self.sessions.at_mut(session) else { return };
        for (id, _) in &asking.pending {
            session.asked.remove(id);
        }
    }

    /// Tells a client that what it was asked needs no answer (2025-11-25, Lifecycle, Timeouts).
    pub(in crate::shard) fn withdraw_questions(
        &mut self,
        route: Route,
        session: Option<u32>,
        asking: &Asking,
    ) {
        self.forget_questions(session, Some(asking));
        for &(id, _) in &asking.pending {
            self.emit(route, |_, out| {
                out.extend_from_slice(
                    b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\
                      \"params\":{\"requestId\":",
                );
                jsonrpc::write_json(out, &id);
                out.extend_from_slice(b"}}");
            });
        }
    }
}

fn write_question(out: &mut Vec<u8>, id: u64, question: &Question) {
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    jsonrpc::write_json(out, &id);
    out.extend_from_slice(b",\"method\":");
    jsonrpc::write_string(out, &question.method);
    if let Some(params) = &question.params {
        out.extend_from_slice(b",\"params\":");
        out.extend_from_slice(params.get().as_bytes());
    }
    out.push(b'}');
}
