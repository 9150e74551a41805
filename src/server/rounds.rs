//! Multi round-trip requests (2026-07-28, MRTR): a handler that needs the client's user, model or
//! roots answers with what it asks, and is called anew with the answers.
//!
//! Every round is a request of its own, perhaps at another server: what a handler must remember
//! between rounds it puts into the state, which is sealed for exactly this request.

use ringmesh_proto::jsonrpc::{self, INTERNAL_ERROR};
use ringmesh_proto::mcp::Capability;
use ringmesh_runtime::call::{Answer, Call, Context, Ending};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::content::{Content, Role};
use super::error::Error;
use super::schema::schema_of;

/// What a handler asks of the client before it can go on.
///
/// Return it in place of a result, or as an [`Error`]. A client that did not declare a capability
/// which one of the requests needs gets that as an error.
///
/// ```
/// use ringmesh::{Call, Elicited, Error, InputRequired, Rounds, Tool};
///
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// struct Name {
///     name: String,
/// }
///
/// let greet = Tool::new("greet").inline(|(): (), call: &Call| {
///     match call.input::<Elicited<Name>>("user_name") {
///         Some(Elicited::Accept { content }) => Ok(format!("Hello, {}!", content.name)),
///         Some(_) => Ok("Hello!".to_owned()),
///         None => Err(Error::from(
///             InputRequired::new().elicit_as::<Name>("user_name", "What is your name?"),
///         )),
///     }
/// });
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct InputRequired {
    requests: Map<String, Value>,
    needs: Vec<Capability>,
    state: Option<Vec<u8>>,
    broken: Option<String>,
}

impl InputRequired {
    /// Asks nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the user to fill in a form: `schema` is a flat JSON Schema object of primitives.
    pub fn elicit(self, key: &str, message: &str, schema: Value) -> Self {
        let params = json!({"mode": "form", "message": message, "requestedSchema": schema});
        self.ask(key, "elicitation/create", params, Capability::Elicitation)
    }

    /// Asks the user to fill in a form with the fields of `T`, a flat struct of primitives.
    pub fn elicit_as<T: JsonSchema>(self, key: &str, message: &str) -> Self {
        self.elicit(key, message, schema_of::<T>())
    }

    /// Asks the user to visit a page, for what must not pass through the client.
    pub fn elicit_url(self, key: &str, message: &str, url: &str) -> Self {
        let params = json!({"mode": "url", "message": message, "url": url});
        self.ask(key, "elicitation/create", params, Capability::ElicitationUrl)
    }

    /// Asks the client's model.
    pub fn sample(mut self, key: &str, sampling: Sampling) -> Self {
        if sampling.0.contains_key("tools") {
            self.needs.push(Capability::SamplingTools);
        }
        let params = Value::Object(sampling.0);
        self.ask(key, "sampling/createMessage", params, Capability::Sampling)
    }

    /// Asks for the client's roots.
    pub fn roots(self, key: &str) -> Self {
        self.ask(key, "roots/list", json!({}), Capability::Roots)
    }

    /// Keeps a state for the next round, at most 32 KiB of JSON. The client carries it and can
    /// neither read nor change it, but may present it more than once.
    pub fn state<T: Serialize + ?Sized>(mut self, state: &T) -> Self {
        match serde_json::to_vec(state) {
            Ok(bytes) if bytes.len() <= STATE_JSON_BYTES_MAX => self.state = Some(bytes),
            Ok(bytes) => self.broken = Some(format!("{} bytes are too many", bytes.len())),
            Err(error) => self.broken = Some(error.to_string()),
        }
        self
    }

    /// Whether it asks nothing.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    fn ask(mut self, key: &str, method: &str, params: Value, needs: Capability) -> Self {
        self.requests.insert(key.to_owned(), json!({"method": method, "params": params}));
        self.needs.push(needs);
        self
    }

    pub(super) fn write(self, call: &Call<'_>, answer: &mut Answer) {
        if let Some(&missing) = self.needs.iter().find(|&&needed| !call.has(needed)) {
            return answer.fail_capability(call.era, missing);
        }
        if let Some(why) = self.broken {
            let message = format!("'{}' has a state that cannot be kept: {why}", call.name);
            return answer.fail(INTERNAL_ERROR, &message, None);
        }
        if self.requests.is_empty() && self.state.is_none() {
            let message = format!("'{}' requires input but asks nothing", call.name);
            return answer.fail(INTERNAL_ERROR, &message, None);
        }
        let sealed = match self.state.map(|state| call.seal(&state)).transpose() {
            Ok(sealed) => sealed,
            Err(_) => return answer.fail(INTERNAL_ERROR, "the state could not be sealed", None),
        };
        let out = answer.begin(Ending::InputRequired);
        if !self.requests.is_empty() {
            out.extend_from_slice(b"\"inputRequests\":");
            jsonrpc::write_json(out, &self.requests);
        }
        if let Some(sealed) = sealed {
            if !self.requests.is_empty() {
                out.push(b',');
            }
            out.extend_from_slice(b"\"requestState\":");
            jsonrpc::write_string(out, &sealed);
        }
    }
}

/// Largest state, in bytes of JSON: sealed and in base64 it must pass as a `requestState`.
const STATE_JSON_BYTES_MAX: usize = 32 * 1024;
const _: () = assert!(STATE_JSON_BYTES_MAX * 3 / 2 < ringmesh_runtime::call::STATE_BYTES_MAX);

/// A result, or what is asked before there can be one.
#[derive(Debug)]
pub enum Outcome<R> {
    /// The result.
    Complete(R),
    /// Another round is needed.
    InputRequired(InputRequired),
}

impl<R> From<InputRequired> for Outcome<R> {
    fn from(input: InputRequired) -> Self {
        Self::InputRequired(input)
    }
}

/// A question to the client's model (2026-07-28 schema, CreateMessageRequestParams).
#[derive(Clone, Debug)]
#[must_use]
pub struct Sampling(Map<String, Value>);

impl Sampling {
    /// A question to be answered in at most `tokens_max` tokens.
    pub fn new(tokens_max: u32) -> Self {
        let mut params = Map::new();
        params.insert("messages".into(), Value::Array(Vec::new()));
        params.insert("maxTokens".into(), tokens_max.into());
        Self(params)
    }

    /// Adds a message.
    pub fn message(mut self, role: Role, content: impl Into<Content>) -> Self {
        let content = serde_json::to_value(content.into()).unwrap_or_default();
        let message = json!({"role": role, "content": content});
        if let Some(messages) = self.0.get_mut("messages").and_then(Value::as_array_mut) {
            messages.push(message);
        }
        self
    }

    /// Adds a message of the user.
    pub fn user(self, content: impl Into<Content>) -> Self {
        self.message(Role::User, content)
    }

    /// Sets a further member, such as `systemPrompt`, `temperature`, `modelPreferences` or `tools`.
    pub fn param(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.insert(key.to_owned(), value.into());
        self
    }
}

/// What the user did with a form: the input response to [`InputRequired::elicit`]. One whose
/// content does not fit `T` counts as missing, so that the handler asks again.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "action", rename_all = "lowercase")]
pub enum Elicited<T> {
    /// The user agreed. For a URL, `T` is [`serde::de::IgnoredAny`] inside an `Option`.
    Accept {
        /// The fields.
        content: T,
    },
    /// The user said no.
    Decline,
    /// The user went away.
    Cancel,
}

impl<T> Elicited<T> {
    /// What was filled in, where the user agreed.
    pub fn accepted(self) -> Option<T> {
        match self {
            Self::Accept { content } => Some(content),
            Self::Decline | Self::Cancel => None,
        }
    }
}

/// What the client's model said: the input response to [`InputRequired::sample`].
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sampled {
    /// Who speaks.
    pub role: Role,
    /// A content block, or several.
    pub content: Value,
    /// The model that answered.
    pub model: String,
    /// Why it stopped, such as `endTurn`.
    pub stop_reason: Option<String>,
}

impl Sampled {
    /// The text blocks, one after the other.
    pub fn text(&self) -> String {
        let blocks = match &self.content {
            Value::Array(blocks) => blocks.as_slice(),
            block => std::slice::from_ref(block),
        };
        blocks.iter().filter_map(|block| block.get("text")?.as_str()).collect()
    }
}

/// The client's roots: the input response to [`InputRequired::roots`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Roots {
    /// The roots.
    pub roots: Vec<Root>,
}

/// A place that the client works in.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Root {
    /// Where it is, such as `file:///home/me/project`.
    pub uri: String,
    /// What to call it.
    pub name: Option<String>,
}

/// What earlier rounds of a call brought, for handlers of every kind.
pub trait Rounds {
    /// Looks at the request.
    fn look<T>(&self, look: impl FnOnce(&Call<'_>) -> T) -> T;

    /// The client's answer under this key: [`Elicited`], [`Sampled`], [`Roots`] or a type of your
    /// own. `None` where there is none, or one of another shape: then ask (again).
    fn input<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        self.look(|call| call.input_response(key))
    }

    /// The state that an earlier round kept, `None` in the first round.
    ///
    /// # Errors
    /// An [`Error`] of invalid parameters where the state is not this server's, or not for this
    /// request, too old, or no `T`.
    fn kept<T: DeserializeOwned>(&self) -> Result<Option<T>, Error> {
        let Some(bytes) = self.look(|call| call.state())? else { return Ok(None) };
        match serde_json::from_slice(&bytes) {
            Ok(state) => Ok(Some(state)),
            Err(_) => Err(Error::invalid_params("requestState is of another version")),
        }
    }

    /// Whether the client declared a capability.
    fn declares(&self, capability: Capability) -> bool {
        self.look(|call| call.has(capability))
    }
}

impl Rounds for Call<'_> {
    fn look<T>(&self, look: impl FnOnce(&Call<'_>) -> T) -> T {
        look(self)
    }
}

impl Rounds for Context {
    fn look<T>(&self, look: impl FnOnce(&Call<'_>) -> T) -> T {
        self.with_call(look)
    }
}
