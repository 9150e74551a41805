//! Tools: functions that models call.

#[cfg(feature = "tokio")]
use std::future::Future;

use ringmesh_runtime::call::{Call, Context};
use ringmesh_runtime::catalog::{self, CatalogError, Handler};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::arguments;
use super::definition::{Defaults, Definition, Draft, Ready, ToolAnnotations, described};
use super::handler::{self, Refusal};
use super::input::Input;
use super::result::IntoToolResult;
use super::schema::{arguments_schema_of, output_schema_of};

/// A tool: first its definition, then its code.
///
/// The arguments are any type that serde reads and schemars describes, `()` for none. Arguments
/// that do not fit are answered with `isError` and a text that names place and reason.
///
/// ```
/// use ringmesh::{Call, Tool};
///
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// struct Add {
///     a: i64,
///     b: i64,
/// }
///
/// let add = Tool::new("add")
///     .description("Adds two integers")
///     .inline(|add: Add, _: &Call| add.a.checked_add(add.b).ok_or("the sum is too large"));
/// ```
#[must_use]
pub struct Tool<S = Ready> {
    definition: Definition,
    state: S,
}

described!(Tool);

impl Tool<Draft> {
    /// A tool of this name, unique among the server's tools: letters, digits, `_`, `-` and `.`.
    pub fn new(name: impl Into<String>) -> Self {
        Self { definition: Definition::new("name", name.into()), state: Draft::new() }
    }

    /// Hints on what it does.
    pub fn annotations(mut self, annotations: ToolAnnotations) -> Self {
        self.definition.set_as("annotations", &annotations);
        self
    }

    /// The schema of the arguments (JSON Schema 2020-12, of type object), verbatim, in place of the
    /// one that is derived from their type.
    ///
    /// Arguments are checked against it before the tool runs, and so they are against a derived
    /// one. `$schema` may name draft 4, 6, 7, 2019-09 or 2020-12. References lead to places in the
    /// schema itself; nothing is fetched. `format` is an annotation. Patterns are those of the crate
    /// `regex`, which has no look-around and no back-references. A schema that cannot be used is an
    /// error of [`super::Builder::build`] and [`super::Handle::add_tool`].
    ///
    /// A property with `x-mcp-header` is mirrored by clients into a header; the server checks it.
    pub fn input_schema(mut self, schema: Value) -> Self {
        self.definition.set("inputSchema", schema);
        self
    }

    /// Declares that the tool returns [`super::Json`] of this type.
    pub fn output<T: JsonSchema>(self) -> Self {
        self.output_schema(output_schema_of::<T>())
    }

    /// Declares the schema of `structuredContent`.
    pub fn output_schema(mut self, schema: Value) -> Self {
        self.definition.set("outputSchema", schema);
        self
    }

    /// Gives it a function that runs on the shard, between other connections' requests: work of
    /// microseconds that never blocks. The fastest kind; it cannot be interrupted.
    pub fn inline<A, R, F>(self, run: F) -> Tool
    where
        A: DeserializeOwned + JsonSchema + 'static,
        R: IntoToolResult + 'static,
        F: Fn(A, &Call<'_>) -> R + Send + Sync + 'static,
    {
        self.ready::<A>(move |input| handler::inline(read::<A>(input), run, R::write))
    }

    /// Gives it a future, which runs on the pool of async tools and is dropped at its next await
    /// when its client goes away or its time is over.
    #[cfg(feature = "tokio")]
    pub fn asynchronous<A, R, F, Fut>(self, run: F) -> Tool
    where
        A: DeserializeOwned + JsonSchema + 'static,
        R: IntoToolResult + 'static,
        F: Fn(A, Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = R> + Send + 'static,
    {
        self.ready::<A>(move |input| handler::asynchronous(read::<A>(input), run, R::write))
    }

    /// Gives it a function that may block, which runs on a thread of the pool of blocking tools.
    /// When its time is over the client is answered and the thread is abandoned: ask
    /// [`Context::is_cancelled`] now and then.
    pub fn blocking<A, R, F>(self, run: F) -> Tool
    where
        A: DeserializeOwned + JsonSchema + 'static,
        R: IntoToolResult + 'static,
        F: Fn(A, &Context) -> R + Send + Sync + 'static,
    {
        self.ready::<A>(move |input| handler::blocking(read::<A>(input), run, R::write))
    }

    fn ready<A: JsonSchema>(
        mut self,
        handler: impl FnOnce(Input) -> Handler + Send + 'static,
    ) -> Tool {
        if self.definition.member("inputSchema").is_none() {
            self.definition.set("inputSchema", arguments_schema_of::<A>());
        }
        let enter = |_: &Defaults, definition: &Definition| {
            let name = definition.text("name").unwrap_or_default();
            let schema = definition.member("inputSchema").unwrap_or(&Value::Null);
            Ok(handler(Input::compile(name, schema)?))
        };
        Tool { definition: self.definition, state: Ready(Box::new(enter)) }
    }
}

impl Tool {
    pub(super) fn into_entry(self, defaults: &Defaults) -> Result<catalog::Tool, CatalogError> {
        let handler = (self.state.0)(defaults, &self.definition)?;
        catalog::Tool::new(&self.definition.into_value(), handler)
    }
}

/// Checks arguments against the schema, and reads them.
fn read<A: DeserializeOwned + 'static>(
    input: Input,
) -> impl Fn(&Call<'_>) -> Result<A, Refusal> + Send + Sync + 'static {
    move |call| {
        let text = arguments::object(call.arguments()).map_err(Refusal::Tool)?;
        input.check(text).map_err(Refusal::Tool)?;
        arguments::read(text).map_err(Refusal::Tool)
    }
}
