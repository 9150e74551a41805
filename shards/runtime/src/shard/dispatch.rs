//! From an HTTP request to a handler or a list: the checks of Streamable HTTP and of the modern
//! era (2026-07-28) in their order, then the method.

use std::sync::Arc;

use ringmesh_proto::http1::{self, Head, Status};
use ringmesh_proto::jsonrpc::{
    self, Asked, Fault, INTERNAL_ERROR, INVALID_PARAMS, INVALID_REQUEST, Id, Incoming,
    METHOD_NOT_FOUND,
};
use ringmesh_proto::mcp::{
    self, HEADER_MISMATCH, LogLevel, Meta, Params, UNSUPPORTED_VERSION, VERSION_2026_07_28,
};
use serde_json::value::RawValue;

use super::Shard;
use super::calls::Target;
use super::replies::{Exchange, Refusal};
use crate::catalog::{List, ParamHeader};
use crate::probe::{Bound, Method, Outcome};

/// A request of the modern era that passed its checks.
pub(super) struct Modern<'a> {
    pub(super) slot: u32,
    pub(super) exchange: Exchange,
    pub(super) id: Id<'a>,
    pub(super) method: Method,
    pub(super) params: &'a Params<'a>,
    /// The whole message, for calls that leave the shard.
    pub(super) body: &'a [u8],
}

impl Shard {
    /// Handles one complete HTTP request.
    pub(super) fn on_http_request(&mut self, slot: u32, head: &Head<'_>, body: &[u8]) {
        let exchange = Exchange { keep_alive: head.keep_alive, version_minor: head.version_minor };
        if let Some(refusal) = self.refusal_of_head(head) {
            if head.method == "HEAD" {
                return self.reply_bodiless(slot, exchange, &refusal);
            }
            return self.reply_refusal(slot, exchange, None, &refusal);
        }
        // Most bodies are requests that are read in one pass; the others are told apart below.
        if let Some(Asked { id, method: name, params }) = jsonrpc::parse_request(body) {
            let method = method_of(&name);
            if !matches!(method, Method::Other | Method::Initialize | Method::Notification) {
                let params = Ok(params.unwrap_or_default());
                return self.on_request(slot, exchange, head, body, (id, &name, method, params));
            }
        }
        match jsonrpc::parse(body) {
            Ok(Incoming::Request { id, method: name, params }) => {
                let method = method_of(&name);
                let params = read_params(&name, method, params);
                self.on_request(slot, exchange, head, body, (id, &name, method, params));
            }
            Ok(Incoming::Notification { .. }) => {
                self.probe.count_request(Method::Notification, Outcome::Ok);
                self.reply_accepted(slot, exchange);
            }
            Ok(Incoming::Response { .. }) => {
                let message = "this server asks nothing: a response has no request";
                let refusal = Refusal::new(Status::BAD_REQUEST, INVALID_REQUEST, message);
                self.probe.count_request(Method::Other, Outcome::ProtocolError);
                self.reply_refusal(slot, exchange, None, &refusal);
            }
            Err(malformed) => {
                self.refuse(match malformed.fault {
                    Fault::Depth => Bound::Depth,
                    Fault::Batch => Bound::Batch,
                    Fault::Syntax | Fault::Shape => Bound::Malformed,
                });
                self.probe.count_request(Method::Other, Outcome::ProtocolError);
                let refusal = Refusal::new(Status::BAD_REQUEST, malformed.code, malformed.message);
                self.reply_refusal(slot, exchange, malformed.id, &refusal);
            }
        }
    }

    /// What the head alone is refused for: Host and Origin first, since they guard the rest.
    pub(super) fn refusal_of_head(&mut self, head: &Head<'_>) -> Option<Refusal> {
        let refusal = |status, message| Some(Refusal::new(status, INVALID_REQUEST, message));
        if head.known.host.is_some_and(|host| !self.allowed.host(host)) {
            self.refuse(Bound::Host);
            return refusal(Status::FORBIDDEN, "this Host is not allowed");
        }
        if head.known.origin.is_some_and(|origin| !self.allowed.origin(origin)) {
            self.refuse(Bound::Origin);
            return refusal(Status::FORBIDDEN, "this Origin is not allowed");
        }
        if head.path() != self.path {
            return refusal(Status::NOT_FOUND, "there is nothing at this path");
        }
        if head.method != "POST" {
            let message = "the MCP endpoint takes POST";
            let refusal = Refusal::new(Status::METHOD_NOT_ALLOWED, INVALID_REQUEST, message);
            return Some(Refusal { allow: Some("POST"), ..refusal });
        }
        if !(head.accepts("application/json") && head.accepts("text/event-stream")) {
            let message = "Accept must list application/json and text/event-stream";
            return refusal(Status::NOT_ACCEPTABLE, message);
        }
        if !head.known.content_type.is_some_and(http1::is_json_content_type) {
            let message = "Content-Type must be application/json";
            return refusal(Status::UNSUPPORTED_MEDIA_TYPE, message);
        }
        None
    }

    fn on_request(
        &mut self,
        slot: u32,
        exchange: Exchange,
        head: &Head<'_>,
        body: &[u8],
        (id, name, method, params): (Id<'_>, &str, Method, Result<Params<'_>, Refusal>),
    ) {
        let checked =
            params.and_then(|params| check_modern(head, name, method, &params).map(|()| params));
        let refusal = match checked {
            Ok(params) => {
                let request = Modern { slot, exchange, id, method, params: &params, body };
                match self.on_modern(head, &request) {
                    Ok(()) => return,
                    Err(refusal) => refusal,
                }
            }
            Err(refusal) => refusal,
        };
        let outcome = match (refusal.status, refusal.code) {
            (Status::SERVICE_UNAVAILABLE, _) => Outcome::Busy,
            (_, INTERNAL_ERROR) => Outcome::InternalError,
            _ => Outcome::ProtocolError,
        };
        self.probe.count_request(method, outcome);
        self.answered += 1;
        self.reply_refusal(slot, exchange, Some(id), &refusal);
    }

    fn on_modern(&mut self, head: &Head<'_>, request: &Modern<'_>) -> Result<(), Refusal> {
        match request.method {
            Method::Discover => {
                let catalog = Arc::clone(&self.catalog);
                self.reply_members(request, catalog.discover());
                Ok(())
            }
            Method::ToolsList => self.on_list(request, List::Tools),
            Method::ResourcesList => self.on_list(request, List::Resources),
            Method::ResourceTemplatesList => self.on_list(request, List::Templates),
            Method::PromptsList => self.on_list(request, List::Prompts),
            Method::ToolsCall => self.on_tool(head, request),
            Method::PromptsGet => self.on_prompt(request),
            Method::ResourcesRead => self.on_read(request),
            Method::CompletionComplete => self.on_complete(request),
            Method::SubscriptionsListen => self.on_listen(request),
            Method::Notification | Method::Initialize | Method::Other => Err(unknown_method()),
        }
    }

    fn reply_members(&mut self, request: &Modern<'_>, members: &str) {
        self.reply_result(request.slot, request.exchange, request.id, members);
        self.probe.count_request(request.method, Outcome::Ok);
        self.answered += 1;
    }

    fn on_list(&mut self, request: &Modern<'_>, list: List) -> Result<(), Refusal> {
        let catalog = Arc::clone(&self.catalog);
        if !catalog.offers(list) {
            return Err(unknown_method());
        }
        let cursor = request.params.cursor.as_ref().map(|cursor| cursor.as_str());
        let members = catalog
            .page(list, cursor)
            .ok_or_else(|| Refusal::invalid_params("the cursor is not one of this list"))?;
        self.reply_members(request, members);
        Ok(())
    }

    fn on_tool(&mut self, head: &Head<'_>, request: &Modern<'_>) -> Result<(), Refusal> {
        let name = required(request.params.name.as_ref(), "name")?;
        let Some(tool) = self.catalog.tool(name).cloned() else {
            return Err(Refusal::invalid_params(format!("unknown tool: {name}")));
        };
        check_arguments(request.params)?;
        if !tool.param_headers.is_empty() {
            check_param_headers(head, &tool.param_headers, request.params)?;
        }
        let target = Target { what: "tool", name, serial: tool.serial };
        self.call(request, &target, &tool.handler)
    }

    fn on_prompt(&mut self, request: &Modern<'_>) -> Result<(), Refusal> {
        let name = required(request.params.name.as_ref(), "name")?;
        let Some(prompt) = self.catalog.prompt(name).cloned() else {
            return Err(Refusal::invalid_params(format!("unknown prompt: {name}")));
        };
        check_arguments(request.params)?;
        if !prompt.required.is_empty() {
            let given: serde_json::Value = serde_json::from_str(arguments(request.params))
                .map_err(|error| Refusal::invalid_params(error.to_string()))?;
            let missing = prompt.required.iter().find(|argument| given.get(argument).is_none());
            if let Some(argument) = missing {
                return Err(Refusal::invalid_params(format!("missing argument: {argument}")));
            }
        }
        let target = Target { what: "prompt", name, serial: prompt.serial };
        self.call(request, &target, &prompt.handler)
    }

    fn on_read(&mut self, request: &Modern<'_>) -> Result<(), Refusal> {
        let uri = required(request.params.uri.as_ref(), "uri")?;
        let (handler, serial) = if let Some(resource) = self.catalog.resource(uri) {
            (resource.handler.clone(), resource.serial)
        } else if let Some(template) = self.catalog.template(uri) {
            (template.handler.clone(), template.serial)
        } else {
            let data = format!("{{\"uri\":{}}}", serde_json::Value::from(uri));
            return Err(Refusal::invalid_params("resource not found").with_data(data));
        };
        let target = Target { what: "resource", name: uri, serial };
        self.call(request, &target, &handler)
    }

    fn on_complete(&mut self, request: &Modern<'_>) -> Result<(), Refusal> {
        if !self.catalog.completes() {
            return Err(unknown_method());
        }
        let params = request.params;
        let reference =
            params.reference.as_ref().ok_or_else(|| Refusal::invalid_params("ref is missing"))?;
        let argument = params
            .argument
            .as_ref()
            .ok_or_else(|| Refusal::invalid_params("argument is missing"))?;
        let argument = argument.name.as_str();
        let unknown = |what: &str| Refusal::invalid_params(format!("unknown {what}"));
        let (completer, name, serial) = match reference.kind.as_str() {
            "ref/prompt" => {
                let name = required(reference.name.as_ref(), "ref.name")?;
                let prompt = self.catalog.prompt(name).ok_or_else(|| unknown("prompt"))?;
                if !prompt.arguments.iter().any(|known| known == argument) {
                    return Err(unknown("argument"));
                }
                (prompt.completer.clone(), name, prompt.serial)
            }
            "ref/resource" => {
                let uri = required(reference.uri.as_ref(), "ref.uri")?;
                let template =
                    self.catalog.template_by_text(uri).ok_or_else(|| unknown("template"))?;
                if !template.uri.has(argument) {
                    return Err(unknown("argument"));
                }
                (template.completer.clone(), uri, template.serial)
            }
            _ => return Err(unknown("ref.type")),
        };
        let Some(completer) = completer else {
            let nothing = "\"completion\":{\"values\":[],\"total\":0,\"hasMore\":false}";
            self.reply_members(request, nothing);
            return Ok(());
        };
        let target = Target { what: "completion", name, serial };
        self.call(request, &target, &completer)
    }
}

fn method_of(name: &str) -> Method {
    Method::ALL.iter().copied().find(|method| method.label() == name).unwrap_or(Method::Other)
}

fn unknown_method() -> Refusal {
    Refusal::new(Status::NOT_FOUND, METHOD_NOT_FOUND, "method not found")
}

/// Reads the parameters; of a method that is not ours, `_meta` alone.
fn read_params<'a>(
    name: &str,
    method: Method,
    raw: Option<&'a RawValue>,
) -> Result<Params<'a>, Refusal> {
    let invalid = |error: mcp::ParamsError| Refusal::invalid_params(error.to_string());
    let Some(raw) = raw else {
        return if name == "initialize" { Err(legacy(None)) } else { Ok(Params::default()) };
    };
    match method {
        Method::Other | Method::Initialize | Method::Notification => {
            let params = Params::parse_meta(raw).map_err(invalid)?;
            let modern = params.meta.as_ref().is_some_and(|meta| meta.protocol_version.is_some());
            if method == Method::Initialize && !modern {
                Err(legacy(Some(raw)))
            } else {
                Ok(params)
            }
        }
        _ => Params::parse(raw).map_err(invalid),
    }
}

/// Answers a handshake of the legacy era: what this server speaks instead.
fn legacy(raw: Option<&RawValue>) -> Refusal {
    let requested = raw
        .and_then(|raw| serde_json::from_str::<serde_json::Value>(raw.get()).ok())
        .and_then(|params| params.get("protocolVersion").cloned())
        .unwrap_or_else(|| serde_json::Value::from(""));
    unsupported(&requested)
}

fn unsupported(requested: &serde_json::Value) -> Refusal {
    let data = format!("{{\"supported\":[\"{VERSION_2026_07_28}\"],\"requested\":{requested}}}");
    let message = "unsupported protocol version";
    Refusal::new(Status::BAD_REQUEST, UNSUPPORTED_VERSION, message).with_data(data)
}

/// The checks of a modern request, in the order that the conformance suite and the SDKs keep:
/// presence of `_meta`, headers against the body, the version, and what `_meta` says.
fn check_modern(
    head: &Head<'_>,
    name: &str,
    method: Method,
    params: &Params<'_>,
) -> Result<(), Refusal> {
    let missing = |what: &str| Refusal::invalid_params(format!("_meta lacks {what}"));
    let no_meta = Meta::default();
    let meta = params.meta.as_ref().unwrap_or(&no_meta);
    let version =
        meta.protocol_version.as_ref().ok_or_else(|| missing(mcp::META_PROTOCOL_VERSION))?;
    if meta.capabilities.is_none() {
        return Err(missing(mcp::META_CLIENT_CAPABILITIES));
    }
    let version = version.as_str();
    check_header(head.known.protocol_version, "MCP-Protocol-Version", version)?;
    check_header(head.known.mcp_method, "Mcp-Method", name)?;
    let named = match method {
        Method::ToolsCall | Method::PromptsGet => params.name.as_ref(),
        Method::ResourcesRead => params.uri.as_ref(),
        _ => None,
    };
    if let Some(named) = named {
        check_encoded_header(head.known.mcp_name, "Mcp-Name", named.as_str())?;
    }
    if version != VERSION_2026_07_28 {
        return Err(unsupported(&serde_json::Value::from(version)));
    }
    let level = meta.log_level.as_ref().map(|level| level.as_str());
    if level.is_some_and(|level| LogLevel::from_name(level).is_none()) {
        return Err(Refusal::invalid_params("unknown log level"));
    }
    let answers = params.input_responses.map(RawValue::get);
    if answers.is_some_and(|json| !json.starts_with('{')) {
        return Err(Refusal::invalid_params("inputResponses must be an object"));
    }
    Ok(())
}

fn mismatch(message: String) -> Refusal {
    Refusal::new(Status::BAD_REQUEST, HEADER_MISMATCH, message)
}

fn check_header(value: Option<&[u8]>, header: &str, expected: &str) -> Result<(), Refusal> {
    match value {
        Some(value) if value == expected.as_bytes() => Ok(()),
        Some(_) => Err(mismatch(format!("header {header} does not match the body"))),
        None => Err(mismatch(format!("header {header} is missing"))),
    }
}

fn check_encoded_header(value: Option<&[u8]>, header: &str, expected: &str) -> Result<(), Refusal> {
    let Some(value) = value else {
        return Err(mismatch(format!("header {header} is missing")));
    };
    match mcp::decode_header_value(value) {
        Ok(decoded) if decoded == expected => Ok(()),
        Ok(_) => Err(mismatch(format!("header {header} does not match the body"))),
        Err(error) => Err(mismatch(format!("header {header}: {error}"))),
    }
}

/// Compares mirrored arguments with their headers (2026-07-28, Streamable HTTP, Server Behavior
/// for Custom Headers).
fn check_param_headers(
    head: &Head<'_>,
    headers: &[ParamHeader],
    params: &Params<'_>,
) -> Result<(), Refusal> {
    let given: serde_json::Value = serde_json::from_str(arguments(params))
        .map_err(|error| Refusal::invalid_params(error.to_string()))?;
    for header in headers {
        let full = format!("Mcp-Param-{}", header.name);
        let sent = head.header(&full);
        let value = header.path.iter().try_fold(&given, |value, key| value.get(key));
        match (value.filter(|value| !value.is_null()), sent) {
            (None, None) => {}
            (None, Some(_)) => {
                return Err(mismatch(format!("header {full} has no argument in the body")));
            }
            (Some(serde_json::Value::Number(number)), Some(sent)) => {
                let text = mcp::decode_header_value(sent)
                    .map_err(|error| mismatch(format!("header {full}: {error}")))?;
                if !is_same_number(&text, number) {
                    return Err(mismatch(format!("header {full} does not match the body")));
                }
            }
            (Some(serde_json::Value::String(text)), sent) => {
                check_encoded_header(sent, &full, text)?;
            }
            (Some(value), sent) => check_encoded_header(sent, &full, &value.to_string())?,
        }
    }
    Ok(())
}

/// Whether a header's text is a number's value: `42.0` is 42. Where both are integers they are
/// compared as such, since floating point takes large neighbours for one.
fn is_same_number(text: &str, number: &serde_json::Number) -> bool {
    match (text.parse::<i128>(), number.as_i128()) {
        (Ok(sent), Some(given)) => sent == given,
        _ => text.parse::<f64>().ok() == number.as_f64(),
    }
}

fn required<'a>(value: Option<&'a jsonrpc::Text<'a>>, what: &str) -> Result<&'a str, Refusal> {
    value.map(jsonrpc::Text::as_str).ok_or_else(|| {
        Refusal::new(Status::BAD_REQUEST, INVALID_PARAMS, format!("{what} is missing"))
    })
}

fn arguments<'a>(params: &Params<'a>) -> &'a str {
    params.arguments.map_or("{}", RawValue::get)
}

/// Arguments are an object or absent.
fn check_arguments(params: &Params<'_>) -> Result<(), Refusal> {
    if arguments(params).starts_with('{') {
        return Ok(());
    }
    Err(Refusal::invalid_params("arguments must be an object"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_by_value() {
        let table = [
            ("42", "42", true),
            ("42.0", "42", true),
            ("-7", "-7", true),
            ("42", "43", false),
            ("9007199254740993", "9007199254740992", false),
            ("18446744073709551615", "18446744073709551615", true),
            ("NaN", "1", false),
            ("", "0", false),
        ];
        for (sent, given, same) in table {
            let number = serde_json::from_str(given).expect("a number");
            assert_eq!(is_same_number(sent, &number), same, "{sent} {given}");
        }
    }
}
