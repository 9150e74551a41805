//! One call of a tool, prompt, resource or completion: what its handler is given, and the answer.
//!
//! [`Call`] borrows a request and is what every handler looks at. [`Context`] owns a request for
//! handlers that run in a pool, off the shard. Both exist once per call.

mod answer;
mod context;
mod era;
mod state;

use std::sync::atomic::{AtomicU64, Ordering};

use ringmesh_proto::jsonrpc;
use ringmesh_proto::mcp::{Capabilities, Capability, LogLevel, Meta, Params};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

pub use answer::{Answer, Ending};
pub use context::{CallId, Cancel, Context};
pub(crate) use context::{Departure, Round};
pub use era::{Client, Era};
pub use state::{RequestDigest, STATE_BYTES_MAX, STATE_TTL_MS, StateError, StateKey};

/// Why a progress or log message was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// The shard's lane for messages is full: slow down.
    #[error("the server is busy")]
    Busy,
    /// Progress must grow with each message.
    #[error("progress did not increase")]
    NotIncreasing,
}

/// Takes the messages that a handler sends before its answer.
pub trait Notes {
    /// Takes one JSON-RPC notification as JSON text without line breaks.
    ///
    /// # Errors
    /// [`NoteError::Busy`] where it cannot be taken now.
    fn note(&self, json: Vec<u8>) -> Result<(), NoteError>;
}

/// The last progress reported, so that it only grows.
#[derive(Debug)]
pub struct Progress(AtomicU64);

impl Default for Progress {
    fn default() -> Self {
        Self(AtomicU64::new(f64::NEG_INFINITY.to_bits()))
    }
}

impl Progress {
    fn advance(&self, progress: f64) -> Result<(), NoteError> {
        // JSON has no infinity.
        if progress.is_finite() && progress > f64::from_bits(self.0.load(Ordering::Relaxed)) {
            self.0.store(progress.to_bits(), Ordering::Relaxed);
            return Ok(());
        }
        Err(NoteError::NotIncreasing)
    }
}

/// A request as its handler sees it.
pub struct Call<'a> {
    /// The method, such as `tools/call`.
    pub method: &'a str,
    /// Name of the tool or prompt, or URI of the resource.
    pub name: &'a str,
    /// The parameters, read.
    pub params: &'a Params<'a>,
    /// Milliseconds since 1970 when the request arrived.
    pub unix_ms: u64,
    /// The protocol that it was asked by.
    pub era: Era,
    pub(crate) state_key: &'a StateKey,
    pub(crate) notes: &'a dyn Notes,
    pub(crate) progress: &'a Progress,
}

impl<'a> Call<'a> {
    /// A call that no shard made, for tests of handlers.
    #[doc(hidden)]
    pub fn detached(
        (method, name): (&'a str, &'a str),
        params: &'a Params<'a>,
        unix_ms: u64,
        state_key: &'a StateKey,
        notes: &'a dyn Notes,
        progress: &'a Progress,
    ) -> Self {
        let era = Era::Modern;
        Self { method, name, params, unix_ms, era, state_key, notes, progress }
    }

    /// The request's metadata; empty where there was none.
    pub fn meta(&self) -> Option<&Meta<'a>> {
        self.params.meta.as_ref()
    }

    /// JSON text of the arguments; `{}` where there were none.
    pub fn arguments(&self) -> &'a str {
        self.params.arguments.map_or("{}", RawValue::get)
    }

    /// Whether the client declared a capability.
    pub fn has(&self, capability: Capability) -> bool {
        let declared: Option<Capabilities> = match self.era {
            Era::Modern => self.meta().and_then(|meta| meta.capabilities),
            Era::Legacy(client) => Some(client.capabilities),
        };
        declared.is_some_and(|capabilities| capabilities.has(capability))
    }

    /// Whether the client asked for progress.
    pub fn wants_progress(&self) -> bool {
        self.meta().is_some_and(|meta| meta.progress_token.is_some())
    }

    /// Reports progress, where the client asked for it; else does nothing.
    ///
    /// # Errors
    /// [`NoteError`] where it was not sent.
    pub fn progress(
        &self,
        progress: f64,
        total: Option<f64>,
        message: Option<&str>,
    ) -> Result<(), NoteError> {
        let Some(token) = self.meta().and_then(|meta| meta.progress_token) else { return Ok(()) };
        self.progress.advance(progress)?;
        let mut json = Vec::with_capacity(160);
        json.extend_from_slice(
            b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":",
        );
        json.extend_from_slice(token.0.as_json().as_bytes());
        json.extend_from_slice(b",\"progress\":");
        jsonrpc::write_json(&mut json, &progress);
        if let Some(total) = total.filter(|total| total.is_finite()) {
            json.extend_from_slice(b",\"total\":");
            jsonrpc::write_json(&mut json, &total);
        }
        if let Some(message) = message {
            json.extend_from_slice(b",\"message\":");
            jsonrpc::write_string(&mut json, message);
        }
        json.extend_from_slice(b"}}");
        self.notes.note(json)
    }

    /// Whether the client wants log messages of this level.
    pub fn wants_log(&self, level: LogLevel) -> bool {
        let least = match self.era {
            Era::Modern => {
                let wanted = self.meta().and_then(|meta| meta.log_level.as_ref());
                wanted.and_then(|name| LogLevel::from_name(name.as_str()))
            }
            Era::Legacy(client) => Some(client.log_level),
        };
        least.is_some_and(|least| level >= least)
    }

    /// Sends a log message, where the client wants its level; else does nothing.
    ///
    /// # Errors
    /// [`NoteError::Busy`] where it was not sent.
    pub fn log<T: serde::Serialize + ?Sized>(
        &self,
        level: LogLevel,
        logger: Option<&str>,
        data: &T,
    ) -> Result<(), NoteError> {
        if !self.wants_log(level) {
            return Ok(());
        }
        let mut json = Vec::with_capacity(160);
        json.extend_from_slice(
            b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"",
        );
        json.extend_from_slice(level.name().as_bytes());
        json.push(b'"');
        if let Some(logger) = logger {
            json.extend_from_slice(b",\"logger\":");
            jsonrpc::write_string(&mut json, logger);
        }
        json.extend_from_slice(b",\"data\":");
        jsonrpc::write_json(&mut json, data);
        json.extend_from_slice(b"}}");
        self.notes.note(json)
    }

    /// The client's answer to an input request of an earlier round, where it sent one of the
    /// right shape under this key.
    pub fn input_response<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        let responses = self.params.input_responses?;
        let mut map: std::collections::BTreeMap<String, serde_json::Value> =
            serde_json::from_str(responses.get()).ok()?;
        serde_json::from_value(map.remove(key)?).ok()
    }

    /// The state that this server gave with an earlier round, opened and checked.
    ///
    /// # Errors
    /// [`StateError`] where the client sent one that is not ours, not for this request or too old.
    pub fn state(&self) -> Result<Option<Vec<u8>>, StateError> {
        let Some(text) = self.params.request_state.as_ref() else { return Ok(None) };
        self.state_key.open(self.digest(), self.unix_ms, text.as_str()).map(Some)
    }

    /// Seals a state for this request's next round.
    ///
    /// # Errors
    /// [`StateError`] where the system has no random bytes.
    pub fn seal(&self, state: &[u8]) -> Result<String, StateError> {
        self.state_key.seal(self.digest(), self.unix_ms, state)
    }

    fn digest(&self) -> RequestDigest {
        RequestDigest::new(self.method, self.name, self.params.arguments)
    }
}

impl Context {
    /// A call that no shard made, for tests of pools and handlers; its reply goes to `home`.
    #[doc(hidden)]
    pub fn detached(
        method: &'static str,
        name: &str,
        params: &RawValue,
        state_key: std::sync::Arc<StateKey>,
        home: crate::message::Address,
    ) -> Self {
        Self::new(Departure {
            method,
            name,
            params: std::sync::Arc::new(params.to_owned()),
            round: None,
            unix_ms: 0,
            era: Era::Modern,
            state_key,
            cancel: std::sync::Arc::default(),
            call: CallId { slot: 0, generation: 0 },
            home,
        })
    }
}
