//! From an HTTP request to the era that it is of: the checks of Streamable HTTP, then modern
//! requests, handshakes of legacy clients, and the requests of their sessions.

use ringmesh_proto::http1::{self, Head, Status};
use ringmesh_proto::jsonrpc::{self, Asked, Fault, INVALID_REQUEST, Id, Incoming, Malformed};
use ringmesh_proto::mcp::{EventId, Params, ParamsError, SessionId, VERSION_2026_07_28, Version};
use serde_json::value::RawValue;

use super::Shard;
use super::methods::method_of;
use super::modern::{Read, is_modern};
use super::request::{Exchange, Heading, Reader, Refusal, Route};
use super::session::Ask;
use crate::probe::{Bound, Method, Outcome};

/// Methods of the MCP endpoint.
const ALLOW: &str = "POST, GET, DELETE";

impl Shard {
    /// Handles one complete HTTP request.
    pub(super) fn on_http_request(&mut self, slot: u32, head: &Head<'_>, body: &[u8]) {
        let reader = Reader::Here(self.id_of(slot));
        let exchange = Exchange::of(head);
        let route = Route::Http(reader, exchange);
        if let Some(refusal) = self.refusal_of_head(head) {
            // An answer to HEAD ends with the head (RFC 9110 9.3.2): a body would be read as the
            // beginning of the next one.
            if head.method == "HEAD" {
                let heading = Heading { allow: refusal.allow, ..Heading::new(refusal.status) };
                return self.reply_empty(reader, exchange, heading);
            }
            return self.reply_refusal(route, None, &refusal);
        }
        if let Some(session) = head.known.session_id
            && !names_modern(head)
        {
            return self.on_session_request(slot, head, session, body);
        }
        // Most bodies are requests that are read in one pass; the others are told apart below.
        if let Some(Asked { id, method: name, params }) = jsonrpc::parse_request(body) {
            let method = method_of(&name);
            if method.is_plain() {
                let params = Ok(params.unwrap_or_default());
                let read = Read { id, name: &name, method, params, body };
                return self.ask(route, head, read);
            }
        }
        self.on_message(route, head, body);
    }

    /// Handles a message without a session that is no plain request.
    fn on_message(&mut self, route: Route, head: &Head<'_>, body: &[u8]) {
        match jsonrpc::parse(body) {
            Ok(Incoming::Request { id, method: name, params }) => {
                let method = method_of(&name);
                let read = match read_params(method, params) {
                    Ok(read) if opens_session(head, method, &read) => {
                        if let Err(refusal) = version_of(head) {
                            return self.refuse_message(route, Some(id), &refusal);
                        }
                        return self.on_initialize(route, id, params);
                    }
                    read => read,
                };
                self.ask(route, head, Read { id, name: &name, method, params: read, body });
            }
            Ok(Incoming::Notification { .. }) if names_legacy(head) => {
                self.refuse_message(route, None, &session_missing());
            }
            Ok(Incoming::Notification { .. }) => {
                self.probe.count_request(Method::Notification, Outcome::Ok);
                self.reply_accepted(route);
            }
            Ok(Incoming::Response { .. }) => {
                let message = "a response without a session answers nothing";
                self.refuse_message(route, None, &Refusal::invalid_request(message));
            }
            Err(malformed) => self.refuse_malformed(route, &malformed),
        }
    }

    fn ask(&mut self, route: Route, head: &Head<'_>, mut read: Read<'_>) {
        if names_legacy(head) && read.params.as_ref().is_ok_and(|params| !is_modern(params)) {
            read.params = Err(session_missing());
        }
        self.ask_modern(route, Some(head), read);
    }

    /// Answers what is no message.
    pub(super) fn refuse_malformed(&mut self, route: Route, malformed: &Malformed<'_>) {
        self.refuse(match malformed.fault {
            Fault::Depth => Bound::Depth,
            Fault::Batch => Bound::Batch,
            Fault::Syntax | Fault::Shape => Bound::Malformed,
        });
        let refusal = Refusal::new(Status::BAD_REQUEST, malformed.code, malformed.message);
        self.refuse_message(route, malformed.id, &refusal);
    }

    pub(super) fn refuse_message(&mut self, route: Route, id: Option<Id<'_>>, refusal: &Refusal) {
        self.probe.count_request(Method::Other, Outcome::ProtocolError);
        self.reply_refusal(route, id, refusal);
    }

    /// What the head alone is refused for: Host and Origin first, since they guard the rest.
    pub(super) fn refusal_of_head(&mut self, head: &Head<'_>) -> Option<Refusal> {
        let refusal = |status, message| Some(Refusal::new(status, INVALID_REQUEST, message));
        if head.known.host.is_some_and(|host| !self.allowed.host(host)) {
            self.refuse(Bound::Host);
            return refusal(Status::FORBIDDEN, "this Host is not allowed");
        }
        if head.known.origin.is_some_and(|origin| !self.allowed.origin(origin)) {
            self.refuse(Bound::Origin);
            return refusal(Status::FORBIDDEN, "this Origin is not allowed");
        }
        if head.path() != self.path {
            return refusal(Status::NOT_FOUND, "there is nothing at this path");
        }
        if head.method != "POST" {
            return refusal_without_body(head);
        }
        if !(head.accepts("application/json") && head.accepts("text/event-stream")) {
            let message = "Accept must list application/json and text/event-stream";
            return refusal(Status::NOT_ACCEPTABLE, message);
        }
        if !head.known.content_type.is_some_and(http1::is_json_content_type) {
            let message = "Content-Type must be application/json";
            return refusal(Status::UNSUPPORTED_MEDIA_TYPE, message);
        }
        None
    }

    /// Handles a request that names a session, on the shard where the session lives.
    fn on_session_request(&mut self, slot: u32, head: &Head<'_>, session: &[u8], body: &[u8]) {
        let (reader, exchange) = (Reader::Here(self.id_of(slot)), Exchange::of(head));
        match read_session_request(head, session, body) {
            Ok((id, ask)) => {
                let home = self.home_of(id);
                if home == self.id {
                    self.on_session(reader, exchange, id, ask);
                } else {
                    self.forward(slot, exchange, (home, id), ask);
                }
            }
            Err(refusal) => self.refuse_message(Route::Http(reader, exchange), None, &refusal),
        }
    }
}

/// What a GET or a DELETE is refused for, which only sessions have, and any other method.
fn refusal_without_body(head: &Head<'_>) -> Option<Refusal> {
    let not_allowed = |message, allow| {
        let refusal = Refusal::new(Status::METHOD_NOT_ALLOWED, INVALID_REQUEST, message);
        Some(Refusal { allow: Some(allow), ..refusal })
    };
    if !matches!(head.method, "GET" | "DELETE") {
        return not_allowed("the MCP endpoint takes POST, GET and DELETE", ALLOW);
    }
    if names_modern(head) {
        return not_allowed("the MCP endpoint takes POST: this version has no sessions", "POST");
    }
    if head.method == "GET" && !head.accepts("text/event-stream") {
        let message = "Accept must list text/event-stream";
        return Some(Refusal::new(Status::NOT_ACCEPTABLE, INVALID_REQUEST, message));
    }
    head.known.session_id.is_none().then(session_missing)
}

/// What a request that names a session asks of it.
fn read_session_request<'a>(
    head: &Head<'_>,
    session: &[u8],
    body: &'a [u8],
) -> Result<(SessionId, Ask<'a>), Refusal> {
    // The session knows the version that was negotiated; one that names another is spared.
    version_of(head)?;
    let id = SessionId::parse(session).ok_or_else(unknown_session)?;
    let ask = match head.method {
        "GET" => {
            let malformed = || Refusal::invalid_request("Last-Event-ID is none of this server's");
            let last = head.known.last_event_id;
            Ask::Get(last.map(|text| EventId::parse(text).ok_or_else(malformed)).transpose()?)
        }
        "DELETE" => Ask::Delete,
        _ => Ask::Post(body),
    };
    Ok((id, ask))
}

/// The version that the head names, if any.
fn version_of(head: &Head<'_>) -> Result<Option<Version>, Refusal> {
    let unsupported = || Refusal::invalid_request("unsupported MCP-Protocol-Version");
    let name = head.known.protocol_version;
    name.map(|name| Version::from_name(name).ok_or_else(unsupported)).transpose()
}

/// Whether the head says that the request is modern, whatever else it says.
fn names_modern(head: &Head<'_>) -> bool {
    head.known.protocol_version == Some(VERSION_2026_07_28.as_bytes())
}

/// Whether a request is the handshake of a legacy client.
fn opens_session(head: &Head<'_>, method: Method, params: &Params<'_>) -> bool {
    method == Method::Initialize && !is_modern(params) && !names_modern(head)
}

fn names_legacy(head: &Head<'_>) -> bool {
    let version = head.known.protocol_version.and_then(Version::from_name);
    version.is_some_and(|version| !version.is_modern())
}

fn session_missing() -> Refusal {
    Refusal::invalid_request("Mcp-Session-Id is missing: initialize first")
}

pub(super) fn unknown_session() -> Refusal {
    let message = "there is no such session: initialize a new one";
    Refusal::new(Status::NOT_FOUND, INVALID_REQUEST, message)
}

/// Reads the parameters; of a method that is not ours, `_meta` alone.
pub(super) fn read_params(method: Method, raw: Option<&RawValue>) -> Result<Params<'_>, Refusal> {
    let invalid = |error: ParamsError| Refusal::invalid_params(error.to_string());
    let Some(raw) = raw else { return Ok(Params::default()) };
    if method.is_plain() { Params::parse(raw) } else { Params::parse_meta(raw) }.map_err(invalid)
}
