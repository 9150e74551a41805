//! Errors that a handler answers with when it is the request that is wrong.

use std::any::Any;
use std::fmt::{self, Display};

use ringmesh_proto::jsonrpc;
use ringmesh_proto::mcp::{Capability, RESOURCE_NOT_FOUND};
use ringmesh_runtime::call::{Answer, Call, StateError};
use serde_json::{Value, json};

use super::rounds::InputRequired;

/// A JSON-RPC error in place of a result, or the need of another round.
///
/// A handler that returns `Result<_, Error>` answers with it. It also keeps its meaning inside
/// `Box<dyn std::error::Error + Send + Sync>`. Any other error of a tool becomes a result with
/// `isError`, which models can read and act upon; prefer that for what went wrong in the work.
#[derive(Debug)]
pub struct Error(Box<Kind>);

#[derive(Debug)]
enum Kind {
    Capability(Capability),
    Protocol { code: i64, message: String, data: Option<Value> },
    NoResource { uri: String },
    Input(InputRequired),
}

impl Error {
    /// The client did not declare a capability that the call needs (-32021).
    pub fn capability(capability: Capability) -> Self {
        Self(Box::new(Kind::Capability(capability)))
    }

    /// The parameters are wrong (-32602).
    pub fn invalid_params(message: impl Into<String>) -> Self {
        Self::protocol(jsonrpc::INVALID_PARAMS, message, None)
    }

    /// There is no such resource: -32602 with `data.uri`, or -32002 for clients of legacy versions.
    pub fn resource_not_found(uri: &str) -> Self {
        Self(Box::new(Kind::NoResource { uri: uri.to_owned() }))
    }

    /// The server failed (-32603).
    pub fn internal(message: impl Into<String>) -> Self {
        Self::protocol(jsonrpc::INTERNAL_ERROR, message, None)
    }

    /// An error with a code of your own: outside -32768 to -32000, which JSON-RPC and MCP reserve.
    pub fn protocol(code: i64, message: impl Into<String>, data: Option<Value>) -> Self {
        Self(Box::new(Kind::Protocol { code, message: message.into(), data }))
    }

    /// Writes it as the answer.
    pub(super) fn write(self, call: &Call<'_>, answer: &mut Answer) {
        match *self.0 {
            Kind::Capability(capability) => answer.fail_capability(call.era, capability),
            Kind::Protocol { code, message, data } => {
                let data = data.map(|data| data.to_string());
                answer.fail(code, &message, data.as_deref());
            }
            Kind::NoResource { uri } => {
                let legacy = call.era.is_legacy();
                let code = if legacy { RESOURCE_NOT_FOUND } else { jsonrpc::INVALID_PARAMS };
                let data = json!({"uri": uri}).to_string();
                answer.fail(code, "resource not found", Some(&data));
            }
            Kind::Input(input) => input.write(call, answer),
        }
    }

    /// Finds an [`Error`] in what a handler failed with.
    ///
    /// # Errors
    /// The text of any other error.
    pub(super) fn find<E: Display + 'static>(error: E) -> Result<Self, String> {
        let mut found = Some(error);
        let slot: &mut dyn Any = &mut found;
        if let Some(own) = slot.downcast_mut::<Option<Self>>() {
            return own.take().ok_or_else(String::new);
        }
        if let Some(boxed) = slot.downcast_mut::<Option<Box<dyn std::error::Error + Send + Sync>>>()
        {
            return match boxed.take().map(|boxed| boxed.downcast::<Self>()) {
                Some(Ok(own)) => Ok(*own),
                Some(Err(other)) => Err(other.to_string()),
                None => Err(String::new()),
            };
        }
        Err(found.map_or_else(String::new, |error| error.to_string()))
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Kind::Capability(capability) => {
                write!(f, "the client did not declare {}", capability.required_json())
            }
            Kind::Protocol { message, .. } => f.write_str(message),
            Kind::NoResource { uri } => write!(f, "there is no resource {uri}"),
            Kind::Input(_) => f.write_str("the client's input is required"),
        }
    }
}

impl std::error::Error for Error {}

impl From<StateError> for Error {
    fn from(error: StateError) -> Self {
        Self::invalid_params(error.to_string())
    }
}

impl From<InputRequired> for Error {
    fn from(input: InputRequired) -> Self {
        Self(Box::new(Kind::Input(input)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_found_in_a_box_and_told_from_others() {
        let own = || Error::invalid_params("mine");
        assert!(Error::find(own()).is_ok());
        let boxed: Box<dyn std::error::Error + Send + Sync> = Box::new(own());
        assert!(Error::find(boxed).is_ok());
        let other: Box<dyn std::error::Error + Send + Sync> = "other".into();
        assert_eq!(Error::find(other).err().as_deref(), Some("other"));
        assert_eq!(Error::find("text").err().as_deref(), Some("text"));
    }
}
