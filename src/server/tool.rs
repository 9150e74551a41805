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
        self.ready::<A>(handler::inline(read::<A>, run, R::write))
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
        self.ready::<A>(handler::asynchronous(read::<A>, run, R::write))
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
        self.ready::<A>(handler::blocking(read::<A>, run, R::write))
    }

    fn ready<A: JsonSchema>(mut self, handler: Handler) -> Tool {
        if self.definition.member("inputSchema").is_none() {
            self.definition.set("inputSchema", arguments_schema_of::<A>());
        }
        Tool { definition: self.definition, state: Ready::new(handler) }
    }
}

impl Tool {
    pub(super) fn into_entry(self, defaults: &Defaults) -> Result<catalog::Tool, CatalogError> {
        catalog::Tool::new(&self.definition.into_value(), (self.state.0)(defaults))
    }
}

fn read<A: DeserializeOwned + 'static>(call: &Call<'_>) -> Result<A, Refusal> {
    arguments::read(call.arguments()).map_err(Refusal::Tool)
}
