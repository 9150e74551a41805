//! What clients send: the bytes of each request, made once, with a place for its id.
//!
//! One value lives in a role for each workload and target that it has seats of. Ids have ten
//! digits, so that a request is written by copying it and patching them.

use std::fmt::Write as _;

use ringmesh_proto::mcp::{VERSION_2026_07_28, Version};

use super::script::{CallSpec, Kind, Target, Workload};

/// Ids begin here: all have ten digits.
pub(super) const ID_MIN: u32 = 1_000_000_000;
const ID_DIGITS: usize = 10;
const ID_MARK: &str = "##########";

/// A request with a place for its id, and one for the field that names its session.
#[derive(Clone, Debug, Default)]
pub(super) struct Template {
    bytes: Vec<u8>,
    /// Where the id stands, if it has one.
    id_at: Option<usize>,
    /// Where a header line may stand.
    line_at: usize,
}

impl Template {
    fn new(text: String) -> Self {
        let id_at = text.rfind(ID_MARK);
        let line_at = text.find("\r\n").map_or(0, |at| at + 2);
        Self { bytes: text.into_bytes(), id_at, line_at }
    }

    /// Appends the request.
    pub(super) fn write(&self, out: &mut Vec<u8>, id: u32, session: Option<&[u8]>) {
        let mut at = out.len();
        match session {
            None => out.extend_from_slice(&self.bytes),
            Some(session) => {
                let (before, after) = self.bytes.split_at(self.line_at);
                for part in [before, b"Mcp-Session-Id: ", session, b"\r\n", after] {
                    out.extend_from_slice(part);
                }
                at += out.len() - at - self.bytes.len();
            }
        }
        if let Some(id_at) = self.id_at {
            let digits = &mut out[at + id_at..at + id_at + ID_DIGITS];
            let mut value = id;
            for digit in digits.iter_mut().rev() {
                *digit = b'0' + u8::try_from(value % 10).expect("a digit");
                value /= 10;
            }
        }
    }
}

/// All requests of one workload's clients of one target.
#[derive(Clone, Debug, Default)]
pub(super) struct Wire {
    /// What opens a session.
    pub(super) initialize: Template,
    /// What follows its answer.
    pub(super) initialized: Template,
    /// Its GET stream.
    pub(super) events: Template,
    /// `subscriptions/listen`.
    pub(super) listen: Template,
    /// A call.
    pub(super) call: Template,
    /// Its end.
    pub(super) delete: Template,
}

impl Wire {
    pub(super) fn new(workload: &Workload, target: &Target) -> Self {
        let mut wire = Self::default();
        match &workload.kind {
            Kind::Http => wire.call = call(target, &workload.call),
            Kind::Listen { uris } => wire.listen = listen(target, uris),
            Kind::Lines => {
                let CallSpec { tool, arguments } = &workload.call;
                wire.call = line(&call_body(META, tool, arguments));
            }
            Kind::LinesSession { version } => {
                let CallSpec { tool, arguments } = &workload.call;
                wire.initialize = line(&initialize(*version));
                wire.initialized = line(INITIALIZED);
                wire.call = line(&call_body("", tool, arguments));
            }
            Kind::HttpSession { version, .. } => {
                let CallSpec { tool, arguments } = &workload.call;
                let more = match version {
                    // It knows no such header.
                    Version::V2025_03_26 => String::new(),
                    version => format!("MCP-Protocol-Version: {}\r\n", version.name()),
                };
                wire.initialize = post(target, "", &initialize(*version));
                wire.initialized = post(target, &more, INITIALIZED);
                wire.call = post(target, &more, &call_body("", tool, arguments));
                wire.events = bare("GET", target, &format!("Accept: text/event-stream\r\n{more}"));
                wire.delete = bare("DELETE", target, &more);
            }
        }
        wire
    }
}

/// A call of 2026-07-28 over HTTP.
pub(super) fn call(target: &Target, call: &CallSpec) -> Template {
    let body = call_body(META, &call.tool, &call.arguments);
    post(target, &modern_fields("tools/call", Some(&call.tool)), &body)
}

const META: &str = "\"_meta\":{\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\",\
    \"io.modelcontextprotocol/clientInfo\":{\"name\":\"ringmesh-load\",\"version\":\"1\"},\
    \"io.modelcontextprotocol/clientCapabilities\":{}},";

const INITIALIZED: &str = "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}";

fn initialize(version: Version) -> String {
    format!(
        "{{\"jsonrpc\":\"2.0\",\"method\":\"initialize\",\"params\":{{\"protocolVersion\":\"{}\",\
         \"capabilities\":{{}},\"clientInfo\":{{\"name\":\"ringmesh-load\",\"version\":\"1\"}}}},\
         \"id\":{ID_MARK}}}",
        version.name()
    )
}

/// The id stands last, where nothing of the arguments can be taken for its place.
fn call_body(meta: &str, tool: &str, arguments: &str) -> String {
    let arguments = if arguments.is_empty() { "{}" } else { arguments };
    format!(
        "{{\"jsonrpc\":\"2.0\",\"method\":\"tools/call\",\"params\":{{{meta}\"name\":{},\
         \"arguments\":{arguments}}},\"id\":{ID_MARK}}}",
        quoted(tool)
    )
}

fn listen(target: &Target, uris: &[String]) -> Template {
    let uris: Vec<String> = uris.iter().map(|uri| quoted(uri)).collect();
    let meta = META;
    let body = format!(
        "{{\"jsonrpc\":\"2.0\",\"method\":\"subscriptions/listen\",\"params\":{{{meta}\
         \"notifications\":{{\"resourceSubscriptions\":[{}]}}}},\"id\":{ID_MARK}}}",
        uris.join(",")
    );
    post(target, &modern_fields("subscriptions/listen", None), &body)
}

fn modern_fields(method: &str, name: Option<&str>) -> String {
    let mut fields =
        format!("MCP-Protocol-Version: {VERSION_2026_07_28}\r\nMcp-Method: {method}\r\n");
    if let Some(name) = name {
        let written = write!(fields, "Mcp-Name: {name}\r\n");
        written.expect("a string takes everything");
    }
    fields
}

fn post(target: &Target, more: &str, body: &str) -> Template {
    let Target { host, path, .. } = target;
    Template::new(format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\n{more}Content-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

fn bare(method: &str, target: &Target, more: &str) -> Template {
    let Target { host, path, .. } = target;
    Template::new(format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n"))
}

fn line(body: &str) -> Template {
    Template::new(format!("{body}\n"))
}

/// A JSON string.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a text is JSON")
}

#[cfg(test)]
mod tests {
    use super::super::script::Endpoint;
    use super::*;

    fn target() -> Target {
        Target {
            name: "one".into(),
            remote: Endpoint::Adopted(0),
            host: "127.0.0.1:1".into(),
            path: "/mcp".into(),
        }
    }

    #[test]
    fn requests_are_patched_in_place_alone() {
        let spec = CallSpec { tool: "echo".into(), arguments: "{\"a\":\"##########\"}".into() };
        let template = call(&target(), &spec);
        let mut out = b"before".to_vec();
        template.write(&mut out, 1_234_567_890, None);
        let text = String::from_utf8(out).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("beforePOST /mcp HTTP/1.1\r\nHost: 127.0.0.1:1\r\n"));
        assert!(head.contains(&format!("\r\nContent-Length: {}", body.len())));
        assert!(head.contains("\r\nMcp-Method: tools/call\r\nMcp-Name: echo\r\n"));
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["id"], 1_234_567_890);
        assert_eq!(body["params"]["arguments"]["a"], "##########");
    }

    #[test]
    fn a_session_is_named_in_a_line_of_the_head() {
        let template = post(&target(), "", INITIALIZED);
        let mut out = Vec::new();
        template.write(&mut out, 0, Some(b"001-ab"));
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("POST /mcp HTTP/1.1\r\nMcp-Session-Id: 001-ab\r\nHost: "));
        assert!(text.ends_with(INITIALIZED));
        let spec = post(&target(), "", &call_body("", "t", ""));
        let mut out = Vec::new();
        spec.write(&mut out, ID_MIN + 7, Some(b"s"));
        assert!(String::from_utf8(out).unwrap().ends_with(",\"id\":1000000007}"));
    }
}
