//! Prompts: messages that users choose.

use std::fmt::Display;
#[cfg(feature = "tokio")]
use std::future::Future;

use ringmesh_proto::jsonrpc;
use ringmesh_runtime::call::{Answer, Call, Context, Ending};
use ringmesh_runtime::catalog::{self, CatalogError, Handler};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::arguments;
use super::completion::{Completers, Completion};
use super::content::{Content, Role};
use super::definition::{Defaults, Definition, Draft, Ready, described};
use super::error::Error;
use super::handler::{self, Refusal};
use super::result::write_meta;
use super::rounds::{InputRequired, Outcome};

/// A message of a prompt.
#[derive(Clone, Debug, Serialize)]
pub struct PromptMessage {
    role: Role,
    content: Content,
}

impl PromptMessage {
    /// A message of the user.
    pub fn user(content: impl Into<Content>) -> Self {
        Self { role: Role::User, content: content.into() }
    }

    /// A message of the model.
    pub fn assistant(content: impl Into<Content>) -> Self {
        Self { role: Role::Assistant, content: content.into() }
    }
}

/// The messages of a prompt.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct PromptResult {
    description: Option<String>,
    messages: Vec<PromptMessage>,
    meta: Map<String, Value>,
}

impl PromptResult {
    /// No messages yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the prompt does with these arguments.
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// Adds a message of the user.
    pub fn user(mut self, content: impl Into<Content>) -> Self {
        self.messages.push(PromptMessage::user(content));
        self
    }

    /// Adds a message of the model.
    pub fn assistant(mut self, content: impl Into<Content>) -> Self {
        self.messages.push(PromptMessage::assistant(content));
        self
    }

    /// Sets a member of the result's `_meta`.
    pub fn meta(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.meta.insert(key.into(), value.into());
        self
    }

    fn write(&self, answer: &mut Answer) {
        let out = answer.begin(Ending::Complete);
        out.extend_from_slice(b"\"messages\":");
        jsonrpc::write_json(out, &self.messages);
        if let Some(description) = &self.description {
            out.extend_from_slice(b",\"description\":");
            jsonrpc::write_string(out, description);
        }
        write_meta(answer, &self.meta);
    }
}

/// What a prompt may return: text or [`Content`] as one message of the user, messages,
/// [`PromptResult`], a `Result` (an [`Error`] is answered as such, another as an internal error
/// with its text), or [`InputRequired`] and [`Outcome`] for another round.
pub trait IntoPromptResult {
    /// The messages.
    ///
    /// # Errors
    /// What is answered in place of messages.
    fn into_prompt_result(self) -> Result<PromptResult, Error>;
}

impl IntoPromptResult for PromptResult {
    fn into_prompt_result(self) -> Result<PromptResult, Error> {
        Ok(self)
    }
}

impl IntoPromptResult for Vec<PromptMessage> {
    fn into_prompt_result(self) -> Result<PromptResult, Error> {
        Ok(PromptResult { messages: self, ..PromptResult::default() })
    }
}

impl IntoPromptResult for Content {
    fn into_prompt_result(self) -> Result<PromptResult, Error> {
        Ok(PromptResult::new().user(self))
    }
}

impl IntoPromptResult for String {
    fn into_prompt_result(self) -> Result<PromptResult, Error> {
        Ok(PromptResult::new().user(self))
    }
}

impl IntoPromptResult for &str {
    fn into_prompt_result(self) -> Result<PromptResult, Error> {
        Ok(PromptResult::new().user(self))
    }
}

impl<R: IntoPromptResult, E: Display + 'static> IntoPromptResult for Result<R, E> {
    fn into_prompt_result(self) -> Result<PromptResult, Error> {
        self.map_err(|error| Error::find(error).unwrap_or_else(Error::internal))?
            .into_prompt_result()
    }
}

impl<R: IntoPromptResult> IntoPromptResult for Outcome<R> {
    fn into_prompt_result(self) -> Result<PromptResult, Error> {
        match self {
            Self::Complete(result) => result.into_prompt_result(),
            Self::InputRequired(input) => Err(input.into()),
        }
    }
}

impl IntoPromptResult for InputRequired {
    fn into_prompt_result(self) -> Result<PromptResult, Error> {
        Err(self.into())
    }
}

/// A prompt: first its definition, then its code.
///
/// Arguments are strings: take a struct of strings, a `BTreeMap<String, String>`, or `()`. Where
/// one that is required is missing, the client is told so and the code does not run.
///
/// ```
/// use ringmesh::{Call, Prompt};
///
/// #[derive(serde::Deserialize)]
/// struct Review {
///     language: String,
/// }
///
/// let review = Prompt::new("review")
///     .description("Reviews code")
///     .required("language", "The language it is written in")
///     .inline(|review: Review, _: &Call| format!("Review this {} code.", review.language));
/// ```
#[must_use]
pub struct Prompt<S = Ready> {
    definition: Definition,
    completers: Completers,
    state: S,
}

described!(Prompt);

impl Prompt<Draft> {
    /// A prompt of this name, unique among the server's prompts.
    pub fn new(name: impl Into<String>) -> Self {
        let definition = Definition::new("name", name.into());
        Self { definition, completers: Completers::default(), state: Draft::new() }
    }

    /// Adds an argument that must be given.
    pub fn required(self, name: &str, description: &str) -> Self {
        self.argument(name, description, true)
    }

    /// Adds an argument that may be left out.
    pub fn optional(self, name: &str, description: &str) -> Self {
        self.argument(name, description, false)
    }

    fn argument(mut self, name: &str, description: &str, required: bool) -> Self {
        let argument = json!({"name": name, "description": description, "required": required});
        self.definition.push("arguments", argument);
        self
    }

    /// Proposes values of an argument while one is typed. Runs on the shard.
    pub fn complete<C: Into<Completion>>(
        mut self,
        argument: impl Into<String>,
        complete: impl Fn(&str, &Call<'_>) -> C + Send + Sync + 'static,
    ) -> Self {
        self.completers.add(argument.into(), complete);
        self
    }

    /// Gives it a function that runs on the shard; see [`super::Tool::inline`].
    pub fn inline<A, R, F>(self, run: F) -> Prompt
    where
        A: DeserializeOwned + 'static,
        R: IntoPromptResult + 'static,
        F: Fn(A, &Call<'_>) -> R + Send + Sync + 'static,
    {
        self.ready(handler::inline(read::<A>, run, write))
    }

    /// Gives it a future; see [`super::Tool::asynchronous`].
    #[cfg(feature = "tokio")]
    pub fn asynchronous<A, R, F, Fut>(self, run: F) -> Prompt
    where
        A: DeserializeOwned + 'static,
        R: IntoPromptResult + 'static,
        F: Fn(A, Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = R> + Send + 'static,
    {
        self.ready(handler::asynchronous(read::<A>, run, write))
    }

    /// Gives it a function that may block; see [`super::Tool::blocking`].
    pub fn blocking<A, R, F>(self, run: F) -> Prompt
    where
        A: DeserializeOwned + 'static,
        R: IntoPromptResult + 'static,
        F: Fn(A, &Context) -> R + Send + Sync + 'static,
    {
        self.ready(handler::blocking(read::<A>, run, write))
    }

    fn ready(self, handler: Handler) -> Prompt {
        let state = Ready::new(handler);
        Prompt { definition: self.definition, completers: self.completers, state }
    }
}

impl Prompt {
    pub(super) fn into_entry(self, defaults: &Defaults) -> Result<catalog::Prompt, CatalogError> {
        let arguments = self.definition.member("arguments").and_then(Value::as_array);
        let known = |name: &str| arguments.into_iter().flatten().any(|known| known["name"] == name);
        if let Some(name) = self.completers.names().find(|name| !known(name)) {
            return Err(CatalogError::Unknown("argument", name.to_owned()));
        }
        let handler = (self.state.0)(defaults, &self.definition)?;
        let definition = self.definition.into_value();
        catalog::Prompt::new(&definition, handler, self.completers.into_handler())
    }
}

fn read<A: DeserializeOwned + 'static>(call: &Call<'_>) -> Result<A, Refusal> {
    arguments::read(call.arguments()).map_err(|text| Refusal::Protocol(Error::invalid_params(text)))
}

fn write<R: IntoPromptResult>(result: R, call: &Call<'_>, answer: &mut Answer) {
    match result.into_prompt_result() {
        Ok(result) => result.write(answer),
        Err(error) => error.write(call, answer),
    }
}
