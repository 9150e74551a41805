//! What a server offers, entry by entry: each a definition as clients see it, and its code.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use super::handler::Handler;
use super::template::{TemplateError, UriTemplate};

/// Longest name of a tool or prompt, and longest URI, in bytes.
pub const NAME_BYTES_MAX: usize = 4096;

/// Numbers the handlers of a process, so that a watcher can name the one that runs.
static SERIALS: AtomicU64 = AtomicU64::new(1);

/// A mistake in what a server offers; its author is to blame.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// A definition is no JSON object with the members it needs.
    #[error("the definition of {0} is invalid: {1}")]
    Definition(String, &'static str),
    /// Two entries of one kind share a name.
    #[error("{0} '{1}' is there already")]
    Duplicate(&'static str, String),
    /// No entry has this name.
    #[error("there is no {0} '{1}'")]
    Unknown(&'static str, String),
    /// An `x-mcp-header` breaks the specification's rules.
    #[error("tool '{0}': x-mcp-header '{1}' {2}")]
    ParamHeader(String, String, &'static str),
    /// An input schema cannot be used: tool, place (a JSON pointer) and reason.
    #[error("tool '{0}': inputSchema{1}: {2}")]
    Schema(String, String, String),
    /// A URI template cannot be matched.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

/// An argument that a client mirrors into the header `Mcp-Param-<name>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamHeader {
    /// The part of the header's name after `Mcp-Param-`.
    pub name: String,
    /// The chain of properties that leads to the value in the arguments.
    pub path: Vec<String>,
}

/// A tool.
#[derive(Clone, Debug)]
pub struct Tool {
    /// Name, unique among tools.
    pub name: String,
    /// JSON text of the definition, as `tools/list` gives it.
    pub definition: String,
    /// Arguments that are mirrored into headers.
    pub param_headers: Vec<ParamHeader>,
    /// The code.
    pub handler: Handler,
    /// Number of the handler in this process.
    pub serial: u64,
}

/// A resource with a fixed URI.
#[derive(Clone, Debug)]
pub struct Resource {
    /// URI, unique among resources.
    pub uri: String,
    /// JSON text of the definition, as `resources/list` gives it.
    pub definition: String,
    /// The code that reads it.
    pub handler: Handler,
    /// Number of the handler in this process.
    pub serial: u64,
}

/// A family of resources.
#[derive(Clone, Debug)]
pub struct Template {
    /// Which URIs belong to it.
    pub uri: UriTemplate,
    /// JSON text of the definition, as `resources/templates/list` gives it.
    pub definition: String,
    /// The code that reads one.
    pub handler: Handler,
    /// The code that completes a variable.
    pub completer: Option<Handler>,
    /// Number of the handler in this process.
    pub serial: u64,
}

/// A prompt.
#[derive(Clone, Debug)]
pub struct Prompt {
    /// Name, unique among prompts.
    pub name: String,
    /// JSON text of the definition, as `prompts/list` gives it.
    pub definition: String,
    /// Arguments that must be given.
    pub required: Vec<String>,
    /// All arguments.
    pub arguments: Vec<String>,
    /// The code that makes its messages.
    pub handler: Handler,
    /// The code that completes an argument.
    pub completer: Option<Handler>,
    /// Number of the handler in this process.
    pub serial: u64,
}

fn serial() -> u64 {
    SERIALS.fetch_add(1, Ordering::Relaxed)
}

fn member<'v>(definition: &'v Value, key: &'static str) -> Result<&'v str, CatalogError> {
    let text = definition.get(key).and_then(Value::as_str).unwrap_or_default();
    if text.is_empty() || text.len() > NAME_BYTES_MAX {
        let shown = definition.to_string().chars().take(80).collect();
        return Err(CatalogError::Definition(shown, key));
    }
    Ok(text)
}

impl Tool {
    /// Takes a definition with `name` and `inputSchema` (2026-07-28 schema, Tool).
    ///
    /// # Errors
    /// [`CatalogError`] where a member is missing or an `x-mcp-header` breaks the rules.
    pub fn new(definition: &Value, handler: Handler) -> Result<Self, CatalogError> {
        let name = member(definition, "name")?.to_owned();
        let schema = definition.get("inputSchema").unwrap_or(&Value::Null);
        if schema.get("type").and_then(Value::as_str) != Some("object") {
            return Err(CatalogError::Definition(name, "inputSchema must have type object"));
        }
        let param_headers = param_headers(&name, schema)?;
        let definition = definition.to_string();
        Ok(Self { name, definition, param_headers, handler, serial: serial() })
    }
}

impl Resource {
    /// Takes a definition with `uri` and `name` (2026-07-28 schema, Resource).
    ///
    /// # Errors
    /// [`CatalogError::Definition`] where a member is missing.
    pub fn new(definition: &Value, handler: Handler) -> Result<Self, CatalogError> {
        member(definition, "name")?;
        let uri = member(definition, "uri")?.to_owned();
        Ok(Self { uri, definition: definition.to_string(), handler, serial: serial() })
    }
}

impl Template {
    /// Takes a definition with `uriTemplate` and `name` (2026-07-28 schema, ResourceTemplate).
    ///
    /// # Errors
    /// [`CatalogError`] where a member is missing or the template cannot be matched.
    pub fn new(
        definition: &Value,
        handler: Handler,
        completer: Option<Handler>,
    ) -> Result<Self, CatalogError> {
        member(definition, "name")?;
        let uri = UriTemplate::parse(member(definition, "uriTemplate")?)?;
        let definition = definition.to_string();
        Ok(Self { uri, definition, handler, completer, serial: serial() })
    }
}

impl Prompt {
    /// Takes a definition with `name` and perhaps `arguments` (2026-07-28 schema, Prompt).
    ///
    /// # Errors
    /// [`CatalogError::Definition`] where a member is missing.
    pub fn new(
        definition: &Value,
        handler: Handler,
        completer: Option<Handler>,
    ) -> Result<Self, CatalogError> {
        let name = member(definition, "name")?.to_owned();
        let (mut required, mut arguments) = (Vec::new(), Vec::new());
        for argument in definition.get("arguments").and_then(Value::as_array).into_iter().flatten()
        {
            let argument_name = member(argument, "name")?.to_owned();
            if argument.get("required").and_then(Value::as_bool) == Some(true) {
                required.push(argument_name.clone());
            }
            arguments.push(argument_name);
        }
        let definition = definition.to_string();
        let serial = serial();
        Ok(Self { name, definition, required, arguments, handler, completer, serial })
    }
}

/// Collects `x-mcp-header` annotations (2026-07-28, Streamable HTTP, Schema Extension).
fn param_headers(tool: &str, schema: &Value) -> Result<Vec<ParamHeader>, CatalogError> {
    let mut found = Vec::new();
    let mut path = Vec::new();
    collect(tool, schema, &mut path, true, &mut found)?;
    for (at, header) in found.iter().enumerate() {
        let twice = found[..at].iter().any(|other| other.name.eq_ignore_ascii_case(&header.name));
        if twice {
            let error = "is given to two parameters";
            return Err(CatalogError::ParamHeader(tool.into(), header.name.clone(), error));
        }
    }
    Ok(found)
}

/// Walks a schema; `reachable` while only `properties` keys led here.
fn collect(
    tool: &str,
    schema: &Value,
    path: &mut Vec<String>,
    reachable: bool,
    found: &mut Vec<ParamHeader>,
) -> Result<(), CatalogError> {
    if let Some(items) = schema.as_array() {
        return items.iter().try_for_each(|item| collect(tool, item, path, false, found));
    }
    let Some(object) = schema.as_object() else { return Ok(()) };
    if let Some(annotation) = object.get("x-mcp-header") {
        let name = annotation.as_str().unwrap_or_default();
        let error = |why| CatalogError::ParamHeader(tool.into(), annotation.to_string(), why);
        let tchar = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if name.is_empty() || !name.bytes().all(tchar) {
            return Err(error("is no HTTP token (RFC 9110, 5.6.2)"));
        }
        if !reachable || path.is_empty() {
            return Err(error("must be on a property reached through 'properties' alone"));
        }
        let kind = object.get("type").and_then(Value::as_str).unwrap_or_default();
        if !["string", "integer", "boolean"].contains(&kind) {
            return Err(error("must be on a string, an integer or a boolean"));
        }
        found.push(ParamHeader { name: name.to_owned(), path: path.clone() });
    }
    for (key, value) in object {
        match (key.as_str(), value.as_object()) {
            ("properties", Some(properties)) => {
                for (property, inner) in properties {
                    path.push(property.clone());
                    collect(tool, inner, path, reachable, found)?;
                    path.pop();
                }
            }
            // Data, not schemas: an annotation inside means nothing.
            ("const" | "enum" | "default" | "examples", _) => {}
            _ => collect(tool, value, path, false, found)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn tool(schema: Value) -> Result<Tool, CatalogError> {
        let definition = serde_json::json!({"name": "t", "inputSchema": schema});
        Tool::new(&definition, Handler::Inline(Arc::new(|_, _| {})))
    }

    #[test]
    fn finds_headers_of_nested_properties() {
        let found = tool(serde_json::json!({"type": "object", "properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "deep": {"type": "object", "properties": {
                "n": {"type": "integer", "x-mcp-header": "N"}}}}}))
        .expect("valid tool");
        let mut paths: Vec<_> = found.param_headers.iter().map(|h| h.path.join(".")).collect();
        paths.sort();
        assert_eq!(paths, ["deep.n", "region"]);
    }

    #[test]
    fn refuses_headers_in_the_wrong_place() {
        let bad = [
            serde_json::json!({"a": {"type": "string", "x-mcp-header": ""}}),
            serde_json::json!({"a": {"type": "string", "x-mcp-header": "a b"}}),
            serde_json::json!({"a": {"type": "number", "x-mcp-header": "A"}}),
            serde_json::json!({"a": {"type": "string", "x-mcp-header": "A"},
                "b": {"type": "string", "x-mcp-header": "a"}}),
            serde_json::json!({"a": {"type": "array",
                "items": {"type": "string", "x-mcp-header": "A"}}}),
            serde_json::json!({"a": {"anyOf": [{"type": "string", "x-mcp-header": "A"}]}}),
        ];
        for properties in bad {
            let schema = serde_json::json!({"type": "object", "properties": properties});
            assert!(matches!(tool(schema), Err(CatalogError::ParamHeader(..))), "{properties}");
        }
        assert!(tool(serde_json::json!({"type": "string"})).is_err());
    }
}
