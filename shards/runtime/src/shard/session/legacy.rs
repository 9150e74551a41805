//! The messages of a session: requests, notifications, responses and batches of the legacy era.

use std::collections::BTreeSet;
use std::sync::Arc;

use ringmesh_proto::http1::Status;
use ringmesh_proto::jsonrpc::{self, Asked, Id, Incoming};
use ringmesh_proto::mcp::{Cancelled, HEADER_MISMATCH, Params, ParamsError, SetLevel};
use serde_json::value::RawValue;

use crate::catalog::{List, NAME_BYTES_MAX};
use crate::limits::{BATCH_MAX, STREAM_URIS_MAX};
use crate::probe::{Bound, Method, Outcome};
use crate::shard::Shard;
use crate::shard::dispatch::{read_params, unknown_session};
use crate::shard::listen::{Listener, URI_BYTES};
use crate::shard::methods::{method_of, unknown_method};
use crate::shard::modern::is_modern;
use crate::shard::request::{Refusal, Request, Route};

/// A request that names its session.
pub(in crate::shard) struct Named<'a> {
    pub(in crate::shard) route: Route,
    pub(in crate::shard) id: Id<'a>,
    pub(in crate::shard) method: Method,
    /// The whole message.
    pub(in crate::shard) body: &'a [u8],
}

impl Shard {
    /// Handles the body of a POST.
    pub(super) fn on_post(&mut self, place: u32, route: Route, body: &[u8]) {
        if let Some(Asked { id, method: name, params }) = jsonrpc::parse_request::<Params<'_>>(body)
        {
            let method = method_of(&name);
            if method.is_plain() {
                let named = Named { route, id, method, body };
                return self.ask_legacy(place, &named, params.unwrap_or_default());
            }
        }
        if self.batches(place) && jsonrpc::is_batch(body) {
            return self.on_batch(place, route, body);
        }
        self.on_legacy_message(place, route, body);
    }

    /// Handles a request whose parameters were read with it.
    pub(in crate::shard) fn ask_legacy(
        &mut self,
        place: u32,
        named: &Named<'_>,
        mut params: Params<'_>,
    ) {
        let &Named { route, id, method, body } = named;
        let Some(session) = self.sessions.at(place) else {
            return self.refuse_message(route, Some(id), &unknown_session());
        };
        let era = session.era();
        if is_modern(&params) {
            let message = "the message is of a version without sessions, and its headers are not";
            let refusal = Refusal::new(Status::BAD_REQUEST, HEADER_MISMATCH, message);
            return self.refuse_message(route, Some(id), &refusal);
        }
        // What these say a legacy client tells in answers to requests.
        params.input_responses = None;
        params.request_state = None;
        let request = Request {
            route,
            era,
            id,
            method,
            params: &params,
            body,
            session: Some(place),
            head: None,
        };
        if let Err(refusal) = self.check_id(&request) {
            return self.refuse_request(&request, &refusal);
        }
        let handled = match method {
            Method::ResourcesSubscribe => self.on_subscribe(place, &request),
            Method::ResourcesUnsubscribe => self.on_unsubscribe(place, &request),
            Method::Discover | Method::SubscriptionsListen => Err(unknown_method()),
            _ => self.on_method(&request),
        };
        if let Err(refusal) = handled {
            self.refuse_request(&request, &refusal);
        }
    }

    /// Handles any message.
    pub(in crate::shard) fn on_legacy_message(&mut self, place: u32, route: Route, body: &[u8]) {
        match jsonrpc::parse(body) {
            Ok(Incoming::Request { id, method: name, params }) => {
                let method = method_of(&name);
                self.on_rare_request(place, &Named { route, id, method, body }, params);
            }
            Ok(Incoming::Notification { method, params }) => {
                self.on_notification(place, &method, params);
                self.reply_accepted(route);
            }
            Ok(Incoming::Response { id, answer }) => {
                self.on_response(place, id, answer);
                self.reply_accepted(route);
            }
            Err(malformed) => self.refuse_malformed(route, &malformed),
        }
    }

    pub(in crate::shard) fn on_notification(
        &mut self,
        place: u32,
        method: &str,
        params: Option<&RawValue>,
    ) {
        self.probe.count_request(Method::Notification, Outcome::Ok);
        if method == "notifications/cancelled" {
            self.on_cancelled(place, params);
        }
    }

    fn on_rare_request(&mut self, place: u32, named: &Named<'_>, params: Option<&RawValue>) {
        let Some(session) = self.sessions.at(place) else { return };
        let none = Params::default();
        let request = Request {
            route: named.route,
            era: session.era(),
            id: named.id,
            method: named.method,
            params: &none,
            body: named.body,
            session: Some(place),
            head: None,
        };
        let refusal = match named.method {
            Method::Ping => {
                self.reply_members(&request, "");
                return;
            }
            Method::SetLevel => match self.set_level(place, params) {
                Ok(()) => return self.reply_members(&request, ""),
                Err(refusal) => refusal,
            },
            Method::Initialize => Refusal::invalid_request("the session is initialized already"),
            method => match read_params(method, params) {
                Ok(params) => return self.ask_legacy(place, named, params),
                Err(refusal) => refusal,
            },
        };
        self.refuse_request(&request, &refusal);
    }

    fn set_level(&mut self, place: u32, params: Option<&RawValue>) -> Result<(), Refusal> {
        let params = params.ok_or_else(|| Refusal::invalid_params("level is missing"))?;
        let invalid = |error: ParamsError| Refusal::invalid_params(error.to_string());
        let level = SetLevel::parse(params).map_err(invalid)?.level;
        if let Some(session) = self.sessions.at_mut(place) {
            session.client.log_level = level;
        }
        Ok(())
    }

    /// A client wants no answer any more; one that is gone already means nothing.
    fn on_cancelled(&mut self, place: u32, params: Option<&RawValue>) {
        let Some(Ok(cancelled)) = params.map(Cancelled::parse) else { return };
        let Some(session) = self.sessions.at(place) else { return };
        let calls = match session.conn {
            Some(conn) => self.line_state(conn).map(|line| line.calls.clone()).unwrap_or_default(),
            None => session.calls.clone(),
        };
        if let Some(call) = self.find_call(&calls, cancelled.request_id.as_json()) {
            self.cancel_call(call);
        }
    }

    /// Cancels a call as its client asked for: no response is sent.
    pub(in crate::shard) fn cancel_call(&mut self, call: crate::call::CallId) {
        match self.abandon_call(call) {
            Some(Route::Events(events)) => self.withdraw_response(events),
            Some(Route::Line(conn)) => self.end_line_if_over(conn.slot),
            Some(Route::Http(..)) | None => {}
        }
    }

    /// Handles the messages of a batch, one after the other, and answers on one stream
    /// (2025-03-26, Streamable HTTP, Sending Messages to the Server).
    pub(in crate::shard) fn on_batch(&mut self, place: u32, route: Route, body: &[u8]) {
        let messages = match jsonrpc::parse_batch(body, BATCH_MAX) {
            Ok(messages) => messages,
            Err(malformed) => return self.refuse_malformed(route, &malformed),
        };
        let answered = |message: &&[u8]| {
            !matches!(
                jsonrpc::parse(message),
                Ok(Incoming::Notification { .. } | Incoming::Response { .. })
            )
        };
        let owed = u32::try_from(messages.iter().filter(|m| answered(m)).count())
            .expect("a batch is small");
        let route = match route {
            Route::Http(reader, exchange) if owed > 0 => {
                let events = self.open_events(place, (reader, exchange), owed);
                // A body of JSON would have to be an array, even of one response.
                self.begin_if_read(events);
                Route::Events(events)
            }
            route => route,
        };
        for message in messages {
            match (jsonrpc::parse(message), owed) {
                // The exchange itself is answered below: nothing else will.
                (Ok(Incoming::Notification { method, params }), 0) => {
                    self.on_notification(place, &method, params);
                }
                (Ok(Incoming::Response { id, answer }), 0) => self.on_response(place, id, answer),
                _ => self.on_legacy_message(place, route, message),
            }
        }
        if owed == 0 {
            self.reply_accepted(route);
        }
    }

    fn on_subscribe(&mut self, place: u32, request: &Request<'_>) -> Result<(), Refusal> {
        let uri = request.params.uri.as_ref();
        let uri = uri.ok_or_else(|| Refusal::invalid_params("uri is missing"))?.as_str();
        if !self.catalog.offers(List::Resources) {
            return Err(unknown_method());
        }
        let Some(session) = self.sessions.at(place) else { return Err(unknown_session()) };
        if !session.uris.iter().any(|known| &**known == uri) {
            if session.uris.len() >= STREAM_URIS_MAX || uri.len() > NAME_BYTES_MAX {
                return Err(Refusal::invalid_params("too many subscriptions, or too long a uri"));
            }
            let bytes = uri.len() + URI_BYTES;
            if !self.budget.keep_resting(bytes) {
                self.refuse(Bound::ByteBudget);
                return Err(Refusal::busy("the server is out of buffers"));
            }
            let uri = self.shared_uri(uri);
            if let Some(session) = self.sessions.at_mut(place) {
                session.uri_bytes += bytes;
                session.uris.push(Arc::clone(&uri));
            }
            self.by_uri.entry(uri).or_default().insert(Listener::Session(place));
            self.probe.subscriptions_total += 1;
        }
        self.reply_members(request, "");
        Ok(())
    }

    fn on_unsubscribe(&mut self, place: u32, request: &Request<'_>) -> Result<(), Refusal> {
        let uri = request.params.uri.as_ref();
        let uri = uri.ok_or_else(|| Refusal::invalid_params("uri is missing"))?.as_str();
        let Some(session) = self.sessions.at_mut(place) else { return Err(unknown_session()) };
        if let Some(at) = session.uris.iter().position(|known| &**known == uri) {
            let uri = session.uris.swap_remove(at);
            let bytes = uri.len() + URI_BYTES;
            session.uri_bytes -= bytes;
            self.budget.give_back(bytes);
            self.unlisten(place, &[uri]);
        }
        self.reply_members(request, "");
        Ok(())
    }

    /// Takes a session from the listeners of resources.
    pub(super) fn unlisten(&mut self, place: u32, uris: &[Arc<str>]) {
        let unique: BTreeSet<&Arc<str>> = uris.iter().collect();
        for uri in unique {
            self.forget_listener(uri, Listener::Session(place));
        }
    }
}
