//! Requests of the modern era (2026-07-28): the checks of `_meta` and of the headers that mirror the
//! body, and what this era alone has.

use std::sync::Arc;

use ringmesh_proto::http1::{Head, Status};
use ringmesh_proto::jsonrpc::Id;
use ringmesh_proto::mcp::{
    self, HEADER_MISMATCH, LogLevel, Meta, Params, UNSUPPORTED_VERSION, VERSION_2026_07_28,
};
use serde_json::value::RawValue;

use super::Shard;
use super::methods::arguments;
use super::request::{Refusal, Request, Route};
use crate::call::Era;
use crate::catalog::ParamHeader;
use crate::probe::Method;

/// A request as it was read.
pub(super) struct Read<'a> {
    pub(super) id: Id<'a>,
    pub(super) name: &'a str,
    pub(super) method: Method,
    pub(super) params: Result<Params<'a>, Refusal>,
    /// The whole message.
    pub(super) body: &'a [u8],
}

impl Shard {
    /// Handles a request that says it is modern, or says nothing. A byte stream has no head.
    pub(super) fn ask_modern(&mut self, route: Route, head: Option<&Head<'_>>, read: Read<'_>) {
        let Read { id, name, method, params, body } = read;
        let checked =
            params.and_then(|params| check_modern(head, name, method, &params).map(|()| params));
        let none = Params::default();
        let (params, refused) = match checked {
            Ok(params) => (params, None),
            Err(refusal) => (none, Some(refusal)),
        };
        let request = Request {
            route,
            era: Era::Modern,
            id,
            method,
            params: &params,
            body,
            session: None,
            head,
        };
        let refusal = match refused {
            Some(refusal) => refusal,
            None => match self.check_id(&request).and_then(|()| self.on_modern(&request)) {
                Ok(()) => return,
                Err(refusal) => refusal,
            },
        };
        self.refuse_request(&request, &refusal);
    }

    fn on_modern(&mut self, request: &Request<'_>) -> Result<(), Refusal> {
        match request.method {
            Method::Discover => {
                let catalog = Arc::clone(&self.catalog);
                self.reply_members(request, catalog.discover());
                Ok(())
            }
            Method::SubscriptionsListen => self.on_listen(request),
            _ => self.on_method(request),
        }
    }
}

/// Whether parameters are those of a modern request.
pub(super) fn is_modern(params: &Params<'_>) -> bool {
    params.meta.as_ref().is_some_and(|meta| meta.protocol_version.is_some())
}

fn unsupported(requested: &serde_json::Value) -> Refusal {
    let data = format!("{{\"supported\":[\"{VERSION_2026_07_28}\"],\"requested\":{requested}}}");
    let message = "unsupported protocol version";
    Refusal::new(Status::BAD_REQUEST, UNSUPPORTED_VERSION, message).with_data(data)
}

/// The checks of a modern request, in the order that the conformance suite and the SDKs keep:
/// presence of `_meta`, headers against the body, the version, and what `_meta` says.
fn check_modern(
    head: Option<&Head<'_>>,
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
    if let Some(head) = head {
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

pub(super) fn mismatch(message: String) -> Refusal {
    Refusal::new(Status::BAD_REQUEST, HEADER_MISMATCH, message)
}

pub(super) fn check_header(
    value: Option<&[u8]>,
    header: &str,
    expected: &str,
) -> Result<(), Refusal> {
    match value {
        Some(value) if value == expected.as_bytes() => Ok(()),
        Some(_) => Err(mismatch(format!("header {header} does not match the body"))),
        None => Err(mismatch(format!("header {header} is missing"))),
    }
}

pub(super) fn check_encoded_header(
    value: Option<&[u8]>,
    header: &str,
    expected: &str,
) -> Result<(), Refusal> {
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
pub(super) fn check_param_headers(
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
