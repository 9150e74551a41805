//! Resources and templates: what clients read.

use std::fmt::Display;
#[cfg(feature = "tokio")]
use std::future::Future;
use std::str::FromStr;
use std::time::Duration;

use ringmesh_proto::jsonrpc;
use ringmesh_runtime::call::{Answer, Call, Context, Ending};
use ringmesh_runtime::catalog::{self, CatalogError, Handler, UriTemplate};

use super::completion::{Completers, Completion};
use super::content::{Annotations, Blob, ResourceContents};
use super::definition::{Defaults, Definition, Draft, Ready, described};
use super::error::Error;
use super::handler::{self, Refusal};
use super::rounds::{InputRequired, Outcome};

/// Who may share what was read (2026-07-28, Caching).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheScope {
    /// Anybody.
    Public,
    /// The client that read it alone.
    #[default]
    Private,
}

/// What a reader may return: text, [`ResourceContents`] (one or several), an `Option` whose `None`
/// means that there is no such resource, a `Result` (an [`Error`] is answered as such, another as
/// an internal error with its text), or [`InputRequired`] and [`Outcome`] for another round.
pub trait IntoReadResult {
    /// The contents of the resource at `uri`.
    ///
    /// # Errors
    /// What is answered in place of contents.
    fn into_contents(self, uri: &str) -> Result<Vec<ResourceContents>, Error>;
}

impl IntoReadResult for ResourceContents {
    fn into_contents(self, _: &str) -> Result<Vec<ResourceContents>, Error> {
        Ok(vec![self])
    }
}

impl IntoReadResult for Vec<ResourceContents> {
    fn into_contents(self, _: &str) -> Result<Vec<ResourceContents>, Error> {
        Ok(self)
    }
}

impl IntoReadResult for String {
    fn into_contents(self, uri: &str) -> Result<Vec<ResourceContents>, Error> {
        Ok(vec![ResourceContents::text(uri, self)])
    }
}

impl IntoReadResult for &str {
    fn into_contents(self, uri: &str) -> Result<Vec<ResourceContents>, Error> {
        Ok(vec![ResourceContents::text(uri, self)])
    }
}

impl IntoReadResult for Blob {
    fn into_contents(self, uri: &str) -> Result<Vec<ResourceContents>, Error> {
        Ok(vec![ResourceContents::blob(uri, self)])
    }
}

impl<R: IntoReadResult> IntoReadResult for Option<R> {
    fn into_contents(self, uri: &str) -> Result<Vec<ResourceContents>, Error> {
        self.ok_or_else(|| Error::resource_not_found(uri))?.into_contents(uri)
    }
}

impl<R: IntoReadResult, E: Display + 'static> IntoReadResult for Result<R, E> {
    fn into_contents(self, uri: &str) -> Result<Vec<ResourceContents>, Error> {
        self.map_err(|error| Error::find(error).unwrap_or_else(Error::internal))?.into_contents(uri)
    }
}

impl<R: IntoReadResult> IntoReadResult for Outcome<R> {
    fn into_contents(self, uri: &str) -> Result<Vec<ResourceContents>, Error> {
        match self {
            Self::Complete(result) => result.into_contents(uri),
            Self::InputRequired(input) => Err(input.into()),
        }
    }
}

impl IntoReadResult for InputRequired {
    fn into_contents(self, _: &str) -> Result<Vec<ResourceContents>, Error> {
        Err(self.into())
    }
}

/// A resource with a fixed URI.
///
/// ```
/// use ringmesh::{Call, Resource};
///
/// let readme = Resource::text("docs://readme", "readme", "Read me first.");
/// let clock = Resource::new("clock://now", "clock")
///     .mime_type("text/plain")
///     .inline(|call: &Call| call.unix_ms.to_string());
/// ```
#[must_use]
pub struct Resource<S = Ready> {
    definition: Definition,
    caching: Caching,
    state: S,
}

/// A family of resources, named by a URI template (RFC 6570, level 1 and `{+name}`).
///
/// ```
/// use ringmesh::{Call, Template, Variables};
///
/// let users = Template::new("users://{id}", "user")
///     .complete("id", |typed: &str, _: &Call| ringmesh::Completion::starting(typed, ["1", "2"]))
///     .inline(|variables: Variables, _: &Call| match variables.parse::<u32>("id") {
///         Ok(id) if id < 3 => Some(format!("user {id}")),
///         _ => None,
///     });
/// ```
#[must_use]
pub struct Template<S = Ready> {
    definition: Definition,
    caching: Caching,
    completers: Completers,
    state: S,
}

described!(Resource);
described!(Template);

#[derive(Clone, Copy, Debug, Default)]
struct Caching {
    ttl_ms: Option<u64>,
    scope: CacheScope,
}

impl Resource<Draft> {
    /// A resource with a URI, unique among the server's resources, and a name.
    pub fn new(uri: impl Into<String>, name: impl Into<String>) -> Self {
        let mut definition = Definition::new("uri", uri.into());
        definition.set("name", name.into());
        Self { definition, caching: Caching::default(), state: Draft::new() }
    }

    /// Its size in bytes, where it is known.
    pub fn size(mut self, bytes: u64) -> Self {
        self.definition.set("size", bytes);
        self
    }

    /// Gives it contents that never change.
    pub fn contents(self, contents: impl Into<Vec<ResourceContents>>) -> Resource {
        let contents = contents.into();
        self.inline(move |_: &Call<'_>| contents.clone())
    }

    /// Gives it a function that runs on the shard; see [`super::Tool::inline`].
    pub fn inline<R, F>(self, run: F) -> Resource
    where
        R: IntoReadResult + 'static,
        F: Fn(&Call<'_>) -> R + Send + Sync + 'static,
    {
        self.ready(|writer| {
            let run = move |(): (), call: &Call<'_>| run(call);
            handler::inline(|_| Ok(()), run, writer.into_fn())
        })
    }

    /// Gives it a future; see [`super::Tool::asynchronous`].
    #[cfg(feature = "tokio")]
    pub fn asynchronous<R, F, Fut>(self, run: F) -> Resource
    where
        R: IntoReadResult + 'static,
        F: Fn(Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = R> + Send + 'static,
    {
        self.ready(|writer| {
            let run = move |(): (), context: Context| run(context);
            handler::asynchronous(|_| Ok(()), run, writer.into_fn())
        })
    }

    /// Gives it a function that may block; see [`super::Tool::blocking`].
    pub fn blocking<R, F>(self, run: F) -> Resource
    where
        R: IntoReadResult + 'static,
        F: Fn(&Context) -> R + Send + Sync + 'static,
    {
        self.ready(|writer| {
            let run = move |(): (), context: &Context| run(context);
            handler::blocking(|_| Ok(()), run, writer.into_fn())
        })
    }

    fn ready(self, make: impl FnOnce(Writer) -> Handler + Send + 'static) -> Resource {
        let state = ready(&self.definition, self.caching, make);
        Resource { definition: self.definition, caching: self.caching, state }
    }
}

impl Resource {
    /// A resource of text that never changes, of type `text/plain`.
    pub fn text(uri: impl Into<String>, name: impl Into<String>, text: impl Into<String>) -> Self {
        let uri = uri.into();
        let contents = ResourceContents::text(uri.clone(), text);
        Resource::new(uri, name).mime_type("text/plain").contents([contents])
    }

    pub(super) fn into_entry(self, defaults: &Defaults) -> Result<catalog::Resource, CatalogError> {
        let handler = (self.state.0)(defaults, &self.definition)?;
        catalog::Resource::new(&self.definition.into_value(), handler)
    }
}

impl Template<Draft> {
    /// A template such as `db://{table}/{id}` and a name. A variable ends at the next `/`, one
    /// written `{+path}` may hold some.
    pub fn new(uri_template: impl Into<String>, name: impl Into<String>) -> Self {
        let mut definition = Definition::new("uriTemplate", uri_template.into());
        definition.set("name", name.into());
        let (caching, completers) = (Caching::default(), Completers::default());
        Self { definition, caching, completers, state: Draft::new() }
    }

    /// Proposes values of a variable while one is typed. Runs on the shard.
    pub fn complete<C: Into<Completion>>(
        mut self,
        variable: impl Into<String>,
        complete: impl Fn(&str, &Call<'_>) -> C + Send + Sync + 'static,
    ) -> Self {
        self.completers.add(variable.into(), complete);
        self
    }

    /// Gives it a function that runs on the shard; see [`super::Tool::inline`].
    pub fn inline<R, F>(self, run: F) -> Template
    where
        R: IntoReadResult + 'static,
        F: Fn(Variables, &Call<'_>) -> R + Send + Sync + 'static,
    {
        self.ready(|writer, read| handler::inline(read.into_fn(), run, writer.into_fn()))
    }

    /// Gives it a future; see [`super::Tool::asynchronous`].
    #[cfg(feature = "tokio")]
    pub fn asynchronous<R, F, Fut>(self, run: F) -> Template
    where
        R: IntoReadResult + 'static,
        F: Fn(Variables, Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = R> + Send + 'static,
    {
        self.ready(|writer, read| handler::asynchronous(read.into_fn(), run, writer.into_fn()))
    }

    /// Gives it a function that may block; see [`super::Tool::blocking`].
    pub fn blocking<R, F>(self, run: F) -> Template
    where
        R: IntoReadResult + 'static,
        F: Fn(Variables, &Context) -> R + Send + Sync + 'static,
    {
        self.ready(|writer, read| handler::blocking(read.into_fn(), run, writer.into_fn()))
    }

    fn ready(self, make: impl FnOnce(Writer, Matcher) -> Handler + Send + 'static) -> Template {
        let text = self.definition.text("uriTemplate").unwrap_or_default();
        // One that cannot be read is refused by `into_entry`, before a handler is asked for.
        let matcher = Matcher(UriTemplate::parse(text).ok());
        let state = ready(&self.definition, self.caching, |writer| make(writer, matcher));
        let (definition, caching, completers) = (self.definition, self.caching, self.completers);
        Template { definition, caching, completers, state }
    }
}

impl Template {
    pub(super) fn into_entry(self, defaults: &Defaults) -> Result<catalog::Template, CatalogError> {
        let uri = UriTemplate::parse(self.definition.text("uriTemplate").unwrap_or_default())?;
        if let Some(name) = self.completers.names().find(|name| !uri.has(name)) {
            return Err(CatalogError::Unknown("variable", name.to_owned()));
        }
        let handler = (self.state.0)(defaults, &self.definition)?;
        let definition = self.definition.into_value();
        catalog::Template::new(&definition, handler, self.completers.into_handler())
    }
}

macro_rules! readable {
    ($kind:ident) => {
        impl $kind<Draft> {
            /// Its type, such as `text/plain`.
            pub fn mime_type(mut self, mime_type: impl Into<String>) -> Self {
                self.definition.set("mimeType", mime_type.into());
                self
            }

            /// Hints on its use.
            pub fn annotations(mut self, annotations: Annotations) -> Self {
                self.definition.set_as("annotations", &annotations);
                self
            }

            /// How long clients may reuse what they read, in place of the server's default.
            pub fn ttl(mut self, ttl: Duration) -> Self {
                self.caching.ttl_ms = Some(super::millis(ttl));
                self
            }

            /// Who may share what was read. Nobody, if nothing else is said.
            pub fn cache_scope(mut self, scope: CacheScope) -> Self {
                self.caching.scope = scope;
                self
            }
        }
    };
}
readable!(Resource);
readable!(Template);

fn ready(
    definition: &Definition,
    caching: Caching,
    make: impl FnOnce(Writer) -> Handler + Send + 'static,
) -> Ready {
    let mime_type = definition.text("mimeType").map(str::to_owned);
    Ready(Box::new(move |defaults, _| {
        let ttl_ms = caching.ttl_ms.unwrap_or(defaults.read_ttl_ms);
        Ok(make(Writer { mime_type, ttl_ms, scope: caching.scope }))
    }))
}

/// Writes a `ReadResourceResult`.
#[derive(Clone)]
struct Writer {
    mime_type: Option<String>,
    ttl_ms: u64,
    scope: CacheScope,
}

impl Writer {
    fn into_fn<R: IntoReadResult>(
        self,
    ) -> impl Fn(R, &Call<'_>, &mut Answer) + Clone + Send + Sync + 'static {
        move |result, call, answer| match result.into_contents(call.name) {
            Ok(contents) if contents.is_empty() => {
                Error::resource_not_found(call.name).write(call, answer);
            }
            Ok(contents) => self.write(contents, call, answer),
            Err(error) => error.write(call, answer),
        }
    }

    fn write(&self, mut contents: Vec<ResourceContents>, call: &Call<'_>, answer: &mut Answer) {
        for part in &mut contents {
            part.or_mime_type(self.mime_type.as_deref());
        }
        let out = answer.begin(Ending::Complete);
        out.extend_from_slice(b"\"contents\":");
        jsonrpc::write_json(out, &contents);
        if call.era.is_legacy() {
            return; // Hints on caching are modern.
        }
        out.extend_from_slice(b",\"ttlMs\":");
        jsonrpc::write_json(out, &self.ttl_ms);
        out.extend_from_slice(match self.scope {
            CacheScope::Public => b",\"cacheScope\":\"public\"".as_slice(),
            CacheScope::Private => b",\"cacheScope\":\"private\"",
        });
    }
}

/// Reads the variables of a template from the URI of a call.
struct Matcher(Option<UriTemplate>);

impl Matcher {
    fn into_fn(self) -> impl Fn(&Call<'_>) -> Result<Variables, Refusal> + Send + Sync + 'static {
        move |call| {
            let found = self.0.as_ref().and_then(|template| template.variables(call.name));
            let decode = |(name, value): (&str, &str)| Some((name.to_owned(), decoded(value)?));
            let variables: Option<_> =
                found.and_then(|found| found.into_iter().map(decode).collect::<Option<Vec<_>>>());
            match variables {
                Some(values) => Ok(Variables { uri: call.name.to_owned(), values }),
                None => Err(Refusal::Protocol(Error::resource_not_found(call.name))),
            }
        }
    }
}

/// The variables of a template, as a URI gives them: percent-decoded, so they may hold any
/// character, `/` and `..` too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variables {
    uri: String,
    values: Vec<(String, String)>,
}

impl Variables {
    /// A variable's value; empty where the template has no such variable.
    pub fn text(&self, name: &str) -> &str {
        let found = self.values.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    /// A variable's value, read as a type of your own.
    ///
    /// # Errors
    /// That there is no such resource, where the value cannot be read.
    pub fn parse<T: FromStr>(&self, name: &str) -> Result<T, Error> {
        self.text(name).parse().map_err(|_| Error::resource_not_found(&self.uri))
    }

    /// All variables in the order of the template.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Percent-decodes (RFC 3986, 2.1). `None` where the bytes are no UTF-8; a `%` that starts no
/// escape stands for itself.
fn decoded(text: &str) -> Option<String> {
    let digit = |byte: Option<&u8>| byte.and_then(|&byte| char::from(byte).to_digit(16));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first == b'%'
            && let (Some(high), Some(low)) = (digit(after.first()), digit(after.get(1)))
            && let Ok(byte) = u8::try_from(high * 16 + low)
        {
            bytes.push(byte);
            rest = &after[2..];
        } else {
            bytes.push(first);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_percent_decoded() {
        let table = [
            ("a%20b", Some("a b")),
            ("%c3%A9", Some("é")),
            ("100%", Some("100%")),
            ("%2", Some("%2")),
            ("%zz", Some("%zz")),
            ("%ff", None),
        ];
        for (text, expected) in table {
            assert_eq!(decoded(text).as_deref(), expected, "{text}");
        }
    }
}
