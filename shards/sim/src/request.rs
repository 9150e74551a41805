//! Requests of virtual clients, good and bad, each with what it must be answered.

use ringmesh_proto::jsonrpc::{
    INTERNAL_ERROR, INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, PARSE_ERROR,
};
use ringmesh_proto::mcp::{HEADER_MISMATCH, UNSUPPORTED_VERSION, VERSION_2026_07_28};

use crate::fault::Dice;
use crate::offer::URIS;

/// Whether the connection ends with the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Close {
    Never,
    Always,
    /// Where the request was refused before all of it was read.
    Perhaps,
}

/// What a request is answered where nothing is in the way.
#[derive(Clone, Debug)]
pub(crate) enum Expect {
    /// A tool's result with this text, from the shard itself.
    Text(String),
    /// The same with so many filling bytes behind the text.
    Big(String, usize),
    /// The same after so many progress notifications.
    Steps(String, u32),
    /// The result of a pooled tool that was given these arguments.
    Pooled { arguments: String, text: String, panics: bool },
    /// The result of a tool that panicked.
    Panic,
    /// A list of tools.
    Tools,
    /// What the server can do.
    Discover,
    /// The contents of a resource.
    Contents(&'static str),
    /// A stream of changes of these topics (a place in [`URIS`], or [`TOOLS_TOPIC`]).
    Listen(Vec<usize>),
    /// An error, with the request's id or without any.
    Error { status: u16, code: i64, with_id: bool },
    /// The handshake, with this version.
    Hello(&'static str),
    /// A result without members.
    Empty,
    /// The result of a tool that asked its client twice.
    Asked { arguments: String, text: String },
    /// No answer but the status.
    Accepted,
}

/// The topic of changes to the list of tools.
pub(crate) const TOOLS_TOPIC: usize = URIS.len();

/// A request on the wire.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) bytes: Vec<u8>,
    pub(crate) expect: Expect,
    pub(crate) close: Close,
    /// JSON text of the id; of the progress token as well.
    pub(crate) id: String,
    /// `100 Continue` may come first.
    pub(crate) interim: bool,
}

/// How a request is put on the wire.
struct Wire<'a> {
    method: &'a str,
    path: &'a str,
    host: &'a str,
    accept: &'a str,
    version: Option<&'a str>,
    mcp_method: &'a str,
    mcp_name: Option<&'a str>,
    minor: u8,
    connection: Option<&'a str>,
    interim: bool,
    chunked: bool,
}

impl<'a> Wire<'a> {
    fn new(mcp_method: &'a str, mcp_name: Option<&'a str>) -> Self {
        Self {
            method: "POST",
            path: "/mcp",
            host: "localhost",
            accept: "application/json, text/event-stream",
            version: Some(VERSION_2026_07_28),
            mcp_method,
            mcp_name,
            minor: 1,
            connection: None,
            interim: false,
            chunked: false,
        }
    }

    fn write(&self, body: &str, dice: &mut Dice) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.{}\r\n", self.method, self.path, self.minor);
        let mut field = |name: &str, value: &str| {
            head.push_str(&format!("{name}: {value}\r\n"));
        };
        field("Host", self.host);
        field("Accept", self.accept);
        field("Content-Type", "application/json");
        self.version.into_iter().for_each(|version| field("MCP-Protocol-Version", version));
        field("Mcp-Method", self.mcp_method);
        self.mcp_name.into_iter().for_each(|name| field("Mcp-Name", name));
        self.connection.into_iter().for_each(|connection| field("Connection", connection));
        if self.interim {
            field("Expect", "100-continue");
        }
        if self.chunked {
            field("Transfer-Encoding", "chunked");
        } else if !body.is_empty() {
            field("Content-Length", &body.len().to_string());
        }
        head.push_str("\r\n");
        let mut wire = head.into_bytes();
        if self.chunked {
            write_chunks(&mut wire, body, dice)
        } else {
            wire.extend(body.bytes())
        }
        wire
    }
}

fn write_chunks(wire: &mut Vec<u8>, body: &str, dice: &mut Dice) {
    let mut rest = body.as_bytes();
    while !rest.is_empty() {
        let len = 1 + dice.below(rest.len());
        wire.extend(format!("{len:x}\r\n").bytes());
        wire.extend(&rest[..len]);
        wire.extend(b"\r\n");
        rest = &rest[len..];
    }
    wire.extend(b"0\r\n\r\n");
}

/// A whole JSON-RPC request; `members` are parameters, each with a comma behind it.
fn message(id: &str, method: &str, members: &str, version: &str, token: bool) -> String {
    let token = if token { format!(",\"progressToken\":{id}") } else { String::new() };
    format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"{method}\",\"params\":{{{members}\
         \"_meta\":{{\"io.modelcontextprotocol/protocolVersion\":\"{version}\",\
         \"io.modelcontextprotocol/clientCapabilities\":{{}}{token}}}}}}}"
    )
}

/// Makes the requests of one client: ids are unique in the run.
#[derive(Debug)]
pub(crate) struct Author {
    client: usize,
    serial: u64,
    body_bytes_max: usize,
}

impl Author {
    pub(crate) fn new(client: usize, body_bytes_max: usize) -> Self {
        Self { client, serial: 0, body_bytes_max }
    }

    fn next_id(&mut self, dice: &mut Dice) -> String {
        self.serial += 1;
        if dice.one_in(4) {
            (self.client as u64 * 100_000 + self.serial).to_string()
        } else {
            format!("\"c{}-{}\"", self.client, self.serial)
        }
    }

    /// What every client does most: a request that is in order.
    pub(crate) fn good(&mut self, dice: &mut Dice) -> Request {
        match dice.below(16) {
            0..4 => {
                let (a, b) = (dice.between(0, 1000), dice.between(0, 1000));
                let arguments = format!("{{\"a\":{a},\"b\":{b}}}");
                self.call("add", &arguments, |_| Expect::Text((a + b).to_string()), dice)
            }
            4..8 => self.echo(dice, 40),
            8..11 => self.pooled(dice),
            11 => {
                let steps = u32::try_from(dice.below(5)).unwrap_or(0);
                let key = self.key();
                let arguments = format!("{{\"key\":\"{key}\",\"steps\":{steps}}}");
                self.call("steps", &arguments, |_| Expect::Steps(key, steps), dice)
            }
            12 => {
                let (topic, key) = (dice.below(URIS.len()), self.key());
                let arguments = format!("{{\"key\":\"{key}\",\"topic\":{topic}}}");
                self.call("touch", &arguments, |_| Expect::Text(key), dice)
            }
            13 => self.plain("tools/list", Expect::Tools, dice),
            14 => self.plain("server/discover", Expect::Discover, dice),
            _ => {
                let uri = URIS[dice.below(URIS.len())];
                let id = self.next_id(dice);
                let members = format!("\"uri\":\"{uri}\",");
                let body = message(&id, "resources/read", &members, VERSION_2026_07_28, false);
                let wire = Wire::new("resources/read", Some(uri));
                self.finish(wire, &body, id, Expect::Contents(uri), dice)
            }
        }
    }

    /// A call that leaves the shard.
    pub(crate) fn pooled(&mut self, dice: &mut Dice) -> Request {
        let key = self.key();
        let panics = dice.one_in(12);
        let name = if dice.one_in(2) { "async" } else { "blocking" };
        let arguments = format!("{{\"key\":\"{key}\",\"panics\":{panics}}}");
        let expect =
            |arguments: &str| Expect::Pooled { arguments: arguments.into(), text: key, panics };
        self.call(name, &arguments, expect, dice)
    }

    /// A call that takes its time.
    pub(crate) fn slow(&mut self, dice: &mut Dice) -> Request {
        let key = self.key();
        let arguments = format!("{{\"key\":\"{key}\",\"slow\":true}}");
        let expect = |arguments: &str| Expect::Pooled {
            arguments: arguments.into(),
            text: key,
            panics: false,
        };
        self.call("async", &arguments, expect, dice)
    }

    /// A call whose answer has up to so many bytes.
    pub(crate) fn echo(&mut self, dice: &mut Dice, bytes_max: usize) -> Request {
        let text = format!("{}{}", self.key(), "e".repeat(dice.below(bytes_max)));
        let arguments = format!("{{\"key\":\"{text}\"}}");
        self.call("echo", &arguments, |_| Expect::Text(text), dice)
    }

    /// A call with a large answer.
    pub(crate) fn big(&mut self, dice: &mut Dice) -> Request {
        let (key, bytes) = (self.key(), 60_000 + dice.below(240_000));
        let arguments = format!("{{\"key\":\"{key}\",\"bytes\":{bytes}}}");
        self.call("big", &arguments, |_| Expect::Big(key, bytes), dice)
    }

    /// A list of tools alone, on a connection that stays.
    pub(crate) fn tools(&mut self, dice: &mut Dice) -> Request {
        let id = self.next_id(dice);
        let body = message(&id, "tools/list", "", VERSION_2026_07_28, false);
        let bytes = Wire::new("tools/list", None).write(&body, dice);
        Request { bytes, expect: Expect::Tools, close: Close::Never, id, interim: false }
    }

    /// A stream of changes; at least one topic.
    pub(crate) fn listen(&mut self, dice: &mut Dice) -> Request {
        let mut topics: Vec<usize> = (0..=TOOLS_TOPIC).filter(|_| dice.one_in(2)).collect();
        if topics.is_empty() {
            topics.push(dice.below(TOOLS_TOPIC + 1));
        }
        let uris: Vec<String> =
            topics.iter().filter_map(|&topic| Some(format!("\"{}\"", URIS.get(topic)?))).collect();
        let mut members = format!("\"resourceSubscriptions\":[{}]", uris.join(","));
        if topics.contains(&TOOLS_TOPIC) {
            members.push_str(",\"toolsListChanged\":true");
        }
        let members = format!("\"notifications\":{{{members}}},");
        let id = self.next_id(dice);
        let body = message(&id, "subscriptions/listen", &members, VERSION_2026_07_28, false);
        let wire = Wire::new("subscriptions/listen", None);
        self.finish(wire, &body, id, Expect::Listen(topics), dice)
    }

    /// A request that is refused.
    pub(crate) fn bad(&mut self, dice: &mut Dice) -> Request {
        match dice.below(3) {
            0 => self.bad_http(dice),
            1 => self.bad_message(dice),
            _ => self.bad_handler(dice),
        }
    }

    fn bad_handler(&mut self, dice: &mut Dice) -> Request {
        let error = |status, code| move |_: &str| Expect::Error { status, code, with_id: true };
        match dice.below(3) {
            0 => self.call("panic", "{}", |_| Expect::Panic, dice),
            1 => self.call("silent", "{}", error(200, INTERNAL_ERROR), dice),
            _ => self.call("nobody", "{}", error(400, INVALID_PARAMS), dice),
        }
    }

    /// HTTP is in order and JSON-RPC or MCP is not.
    fn bad_message(&mut self, dice: &mut Dice) -> Request {
        let id = self.next_id(dice);
        let mut wire = Wire::new("tools/list", None);
        let mut version = VERSION_2026_07_28;
        let mut method = "tools/list";
        let mut with_id = true;
        let (status, code) = match dice.below(8) {
            0 => {
                wire.mcp_method = "tools/call";
                (400, HEADER_MISMATCH)
            }
            1 => {
                wire.version = None;
                (400, HEADER_MISMATCH)
            }
            2 => {
                version = "2099-01-01";
                wire.version = Some(version);
                (400, UNSUPPORTED_VERSION)
            }
            3 => {
                method = "tools/nothing";
                wire.mcp_method = method;
                (404, METHOD_NOT_FOUND)
            }
            4 => {
                let bytes = wire.write("{\"jsonrpc\":\"2.0\",\"id\":1,", dice);
                let expect = Expect::Error { status: 400, code: PARSE_ERROR, with_id: false };
                return Request { bytes, expect, close: Close::Never, id, interim: false };
            }
            5 => {
                let body = "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\"}";
                let bytes = wire.write(body, dice);
                let (expect, close) = (Expect::Accepted, Close::Never);
                return Request { bytes, expect, close, id, interim: false };
            }
            6 => {
                let bytes = wire.write("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}", dice);
                let expect = Expect::Error { status: 400, code: INVALID_REQUEST, with_id: false };
                return Request { bytes, expect, close: Close::Never, id, interim: false };
            }
            _ => {
                with_id = false;
                wire.host = "evil.example";
                (403, INVALID_REQUEST)
            }
        };
        let body = message(&id, method, "", version, false);
        let close = if with_id { Close::Never } else { Close::Perhaps };
        wire.chunked = dice.one_in(4);
        let bytes = wire.write(&body, dice);
        let expect = Expect::Error { status, code, with_id };
        Request { bytes, expect, close, id, interim: false }
    }

    /// What is refused by its framing or its head.
    fn bad_http(&mut self, dice: &mut Dice) -> Request {
        let id = self.next_id(dice);
        let mut wire = Wire::new("tools/list", None);
        let text = |text: &str| text.as_bytes().to_vec();
        let (bytes, status, close) = match dice.below(8) {
            0 => {
                // Modern versions have no sessions, and what has none is asked nothing without one.
                let (method, version, status) = match dice.below(5) {
                    0 => ("GET", VERSION_2026_07_28, 405),
                    1 => ("DELETE", VERSION_2026_07_28, 405),
                    2 => ("PUT", "2025-11-25", 405),
                    3 => ("GET", "2025-11-25", 400),
                    _ => ("DELETE", "2025-06-18", 400),
                };
                let head = format!(
                    "{method} /mcp HTTP/1.1\r\nHost: localhost\r\n\
                     MCP-Protocol-Version: {version}\r\n\r\n"
                );
                (head.into_bytes(), status, Close::Never)
            }
            1 => {
                wire.path = "/other";
                let body = message(&id, "tools/list", "", VERSION_2026_07_28, false);
                (wire.write(&body, dice), 404, Close::Perhaps)
            }
            2 => {
                wire.accept = "text/html";
                let body = message(&id, "tools/list", "", VERSION_2026_07_28, false);
                (wire.write(&body, dice), 406, Close::Perhaps)
            }
            3 => {
                let long = "y".repeat(17 * 1024);
                let head = format!("POST /mcp HTTP/1.1\r\nHost: localhost\r\nX: {long}\r\n\r\n");
                (head.into_bytes(), 431, Close::Always)
            }
            4 => {
                let body = "z".repeat(self.body_bytes_max + 1);
                (wire.write(&body, dice), 413, Close::Always)
            }
            5 => {
                wire.chunked = true;
                let mut bytes = wire.write("", dice);
                bytes.truncate(bytes.len() - b"0\r\n\r\n".len());
                bytes.extend(b"5\r\nhell\r\n0\r\n\r\n");
                (bytes, 400, Close::Always)
            }
            6 => (text("POST /mcp HTTP/1.1\r\nHost: localhost\n\n"), 400, Close::Always),
            _ => {
                let head = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\
                            Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
                (text(head), 400, Close::Always)
            }
        };
        let expect = Expect::Error { status, code: INVALID_REQUEST, with_id: false };
        Request { bytes, expect, close, id, interim: false }
    }

    /// A text that no other request has.
    fn key(&self) -> String {
        format!("k{}-{}-", self.client, self.serial + 1)
    }

    fn plain(&mut self, method: &str, expect: Expect, dice: &mut Dice) -> Request {
        let id = self.next_id(dice);
        let body = message(&id, method, "", VERSION_2026_07_28, false);
        self.finish(Wire::new(method, None), &body, id, expect, dice)
    }

    fn call(
        &mut self,
        name: &str,
        arguments: &str,
        expect: impl FnOnce(&str) -> Expect,
        dice: &mut Dice,
    ) -> Request {
        let id = self.next_id(dice);
        let members = format!("\"name\":\"{name}\",\"arguments\":{arguments},");
        let token = !dice.one_in(4) || name == "steps";
        let body = message(&id, "tools/call", &members, VERSION_2026_07_28, token);
        self.finish(Wire::new("tools/call", Some(name)), &body, id, expect(arguments), dice)
    }

    /// Draws what the wire leaves open.
    fn finish(
        &self,
        mut wire: Wire<'_>,
        body: &str,
        id: String,
        expect: Expect,
        dice: &mut Dice,
    ) -> Request {
        debug_assert!(body.len() <= self.body_bytes_max);
        let mut close = Close::Never;
        match dice.below(40) {
            0 => {
                wire.connection = Some("close");
                close = Close::Always;
            }
            1 => {
                wire.minor = 0;
                close = Close::Always;
            }
            2 => {
                wire.minor = 0;
                wire.connection = Some("keep-alive");
                // A stream of HTTP/1.0 ends with its connection.
                close = Close::Perhaps;
            }
            3..13 => wire.chunked = true,
            13..16 => wire.interim = true,
            _ => {}
        }
        let bytes = wire.write(body, dice);
        Request { bytes, expect, close, id, interim: wire.interim }
    }
}
