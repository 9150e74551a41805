//! A call that left its shard for a pool: its own copy of the request, and the way back.

use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, OnceLock};

use ringmesh_proto::jsonrpc::Text;
use ringmesh_proto::mcp::{LogLevel, Params};
use serde_json::value::RawValue;

use super::{Answer, Call, Era, NoteError, Notes, Progress, StateKey};
use crate::message::{Address, Note, Noted, Reply};

/// Names a call in flight on its shard: a place and its generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId {
    /// Place in the shard's table of calls.
    pub slot: u32,
    /// Counts the users of the place.
    pub generation: u32,
}

/// Tells a pool that nobody waits for a call any more.
#[derive(Default)]
pub struct Cancel {
    cancelled: AtomicBool,
    abort: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl std::fmt::Debug for Cancel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Cancel").field(&self.cancelled).finish()
    }
}

impl Cancel {
    /// Whether the call was cancelled: by its client, by its time-out, or by a stopping server.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// Says what ends the work; runs at once where the call is cancelled already. The first
    /// registration counts.
    pub fn on_cancel(&self, abort: Box<dyn Fn() + Send + Sync>) {
        let registered = self.abort.get_or_init(|| abort);
        // Each side writes its own word before it reads the other's: one of them sees both.
        fence(Ordering::SeqCst);
        if self.is_cancelled() {
            registered();
        }
    }

    /// Cancels the call.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
        if let Some(abort) = self.abort.get() {
            abort();
        }
    }
}

/// A request that runs in a pool. Cheap to clone.
#[derive(Clone)]
pub struct Context(Arc<Inner>);

struct Inner {
    method: &'static str,
    name: Box<str>,
    params: Arc<Box<RawValue>>,
    round: Option<Arc<Round>>,
    unix_ms: u64,
    era: Era,
    state_key: Arc<StateKey>,
    progress: Progress,
    cancel: Arc<Cancel>,
    call: CallId,
    home: Address,
    /// Whether the shard got an answer, or wants none.
    settled: AtomicBool,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The shard keeps the call's place until it hears of it: a handler that was dropped, or
        // that forgot to answer, must not cost the place.
        if !self.settled.load(Ordering::Acquire) {
            self.send(Answer::default());
        }
    }
}

impl Inner {
    fn send(&self, answer: Answer) {
        if self.home.send_reply(Reply { call: self.call, answer }).is_err() {
            // The lane has a place for each call in flight, so its shard is gone.
            tracing::debug!(name = %self.name, "nobody takes the reply");
        }
    }
}

impl Notes for Inner {
    fn note(&self, json: Vec<u8>) -> Result<(), NoteError> {
        if self.cancel.is_cancelled() {
            return Ok(());
        }
        let note = Note { call: self.call, what: Noted::Message(json) };
        self.home.send_note(note).map_err(|_| NoteError::Busy)
    }
}

/// What a legacy client answered when a call asked it for something. A modern client sends the same
/// with its next request.
#[derive(Debug)]
pub(crate) struct Round {
    /// JSON text of an object: the answers by their keys.
    pub(crate) responses: Box<RawValue>,
    /// The state that the handler gave with its questions.
    pub(crate) state: Option<Box<str>>,
}

impl Round {
    /// Has parameters say what a modern client would have sent.
    pub(crate) fn complete<'a>(round: Option<&'a Self>, params: &mut Params<'a>) {
        params.input_responses = round.map(|round| &*round.responses);
        let state = round.and_then(|round| round.state.as_deref());
        params.request_state = state.map(|state| Text(state.into()));
    }
}

/// What a shard knows of a call that it hands to a pool.
pub(crate) struct Departure<'a> {
    pub(crate) method: &'static str,
    pub(crate) name: &'a str,
    pub(crate) params: Arc<Box<RawValue>>,
    pub(crate) round: Option<Arc<Round>>,
    pub(crate) unix_ms: u64,
    pub(crate) era: Era,
    pub(crate) state_key: Arc<StateKey>,
    pub(crate) cancel: Arc<Cancel>,
    pub(crate) call: CallId,
    pub(crate) home: Address,
}

impl Context {
    pub(crate) fn new(departure: Departure<'_>) -> Self {
        Self(Arc::new(Inner {
            method: departure.method,
            name: departure.name.into(),
            params: departure.params,
            round: departure.round,
            unix_ms: departure.unix_ms,
            era: departure.era,
            state_key: departure.state_key,
            progress: Progress::default(),
            cancel: departure.cancel,
            call: departure.call,
            home: departure.home,
            settled: AtomicBool::new(false),
        }))
    }

    /// Name of the tool or prompt, or URI of the resource.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether nobody waits for the answer any more. A future is dropped at its next await when
    /// that happens; a blocking handler asks here now and then.
    pub fn is_cancelled(&self) -> bool {
        self.0.cancel.is_cancelled()
    }

    /// The way to end this call's work.
    pub fn cancel(&self) -> &Arc<Cancel> {
        &self.0.cancel
    }

    /// Looks at the request. The parameters are read anew each time.
    pub fn with_call<T>(&self, look: impl FnOnce(&Call<'_>) -> T) -> T {
        let inner = &*self.0;
        // The shard read these very bytes before it sent them here.
        let mut params = Params::parse(&inner.params).unwrap_or_default();
        if inner.era.is_legacy() {
            Round::complete(inner.round.as_deref(), &mut params);
        }
        look(&Call {
            method: inner.method,
            name: &inner.name,
            params: &params,
            unix_ms: inner.unix_ms,
            era: inner.era,
            state_key: &inner.state_key,
            notes: inner,
            progress: &inner.progress,
        })
    }

    /// Reports progress; see [`Call::progress`].
    ///
    /// # Errors
    /// [`NoteError`] where it was not sent.
    pub fn progress(
        &self,
        progress: f64,
        total: Option<f64>,
        message: Option<&str>,
    ) -> Result<(), NoteError> {
        self.with_call(|call| call.progress(progress, total, message))
    }

    /// Sends a log message; see [`Call::log`].
    ///
    /// # Errors
    /// [`NoteError::Busy`] where it was not sent.
    pub fn log<T: serde::Serialize + ?Sized>(
        &self,
        level: LogLevel,
        logger: Option<&str>,
        data: &T,
    ) -> Result<(), NoteError> {
        self.with_call(|call| call.log(level, logger, data))
    }

    /// The protocol that the call was made by.
    pub fn era(&self) -> Era {
        self.0.era
    }

    /// Closes the call's event stream and lets the client come back for the rest after `retry`
    /// (2025-11-25, Streamable HTTP, Sending Messages to the Server), so that a long call holds no
    /// connection. What is sent meanwhile waits in the session's log of events, whose bounds count.
    /// Clients of other versions and transports keep what they have: there it does nothing.
    ///
    /// # Errors
    /// [`NoteError::Busy`] where the shard could not be told.
    pub fn close_stream(&self, retry: std::time::Duration) -> Result<(), NoteError> {
        let retry_ms = u64::try_from(retry.as_millis()).unwrap_or(u64::MAX);
        let note = Note { call: self.0.call, what: Noted::CloseStream { retry_ms } };
        self.0.home.send_note(note).map_err(|_| NoteError::Busy)
    }

    /// Sends the final answer home. The first one counts; where the last handle is dropped
    /// without any, the call is answered as an internal error.
    pub fn reply(&self, answer: Answer) {
        if !self.0.settled.swap(true, Ordering::AcqRel) {
            self.0.send(answer);
        }
    }

    /// The shard itself answers: no reply is wanted.
    pub(crate) fn disown(&self) {
        self.0.settled.store(true, Ordering::Release);
    }
}
