//! A request on its way through the shard: by what protocol it came, and where its answer goes.

use std::borrow::Cow;

use ringmesh_proto::http1::{Head, Status};
use ringmesh_proto::jsonrpc::{INTERNAL_ERROR, INVALID_PARAMS, INVALID_REQUEST, Id};
use ringmesh_proto::mcp::{Params, SessionId};

use crate::call::Era;
use crate::io::ConnId;
use crate::message::Far;
use crate::probe::Method;

/// A request that passed the checks of its transport and its era.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) route: Route,
    pub(super) era: Era,
    pub(super) id: Id<'a>,
    pub(super) method: Method,
    pub(super) params: &'a Params<'a>,
    /// The whole message, for calls that leave the shard.
    pub(super) body: &'a [u8],
    /// Place of the session that asks, of the legacy era.
    pub(super) session: Option<u32>,
    /// The head, where headers mirror parameters.
    pub(super) head: Option<&'a Head<'a>>,
}

/// Where the answer of a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// An exchange of HTTP that has no answer yet.
    Http(Reader, Exchange),
    /// A line of a byte stream.
    Line(ConnId),
    /// An event stream of a session, which has an answer to other requests too, perhaps.
    Events(EventsId),
}

/// The connection that reads what an exchange of HTTP is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    /// One of this shard.
    Here(ConnId),
    /// One of another shard, which forwarded the request.
    There(Far),
}

/// How the answer of one exchange is framed; known from the request's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exchange {
    pub(super) keep_alive: bool,
    pub(super) version_minor: u8,
}

impl Exchange {
    pub(super) fn of(head: &Head<'_>) -> Self {
        Self { keep_alive: head.keep_alive, version_minor: head.version_minor }
    }

    pub(super) fn chunked(self) -> bool {
        self.version_minor == 1
    }
}

/// Names an event stream of a session on its shard: a place and its generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EventsId {
    pub(super) place: u32,
    pub(super) generation: u32,
}

/// Why a request gets an error instead of being handled.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: Status,
    pub(super) code: i64,
    pub(super) message: Cow<'static, str>,
    /// JSON text.
    pub(super) data: Option<String>,
    pub(super) allow: Option<&'static str>,
}

impl Refusal {
    pub(super) fn new(status: Status, code: i64, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, message: message.into(), data: None, allow: None }
    }

    pub(super) fn with_data(self, data: String) -> Self {
        Self { data: Some(data), ..self }
    }

    /// The server has no room for the request now.
    pub(super) fn busy(message: &'static str) -> Self {
        Self::new(Status::SERVICE_UNAVAILABLE, INTERNAL_ERROR, message)
    }

    pub(super) fn invalid_params(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Status::BAD_REQUEST, INVALID_PARAMS, message)
    }

    pub(super) fn invalid_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Status::BAD_REQUEST, INVALID_REQUEST, message)
    }

    /// The HTTP status that goes with it: legacy versions tell errors of a method by JSON-RPC
    /// alone.
    pub(super) fn status_in(&self, era: Era) -> Status {
        let busy = matches!(self.status, Status::SERVICE_UNAVAILABLE | Status::TOO_MANY_REQUESTS);
        if era.is_legacy() && !busy { Status::OK } else { self.status }
    }
}

/// What a response's head says besides its framing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heading {
    pub(super) status: Status,
    pub(super) allow: Option<&'static str>,
    pub(super) session: Option<SessionId>,
}

impl Heading {
    pub(super) fn new(status: Status) -> Self {
        Self { status, allow: None, session: None }
    }
}
