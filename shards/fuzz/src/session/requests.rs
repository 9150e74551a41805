//! What clients send.

use serde_json::{Value, json};

use super::ledger::{Exchange, Owner};
use super::offer::URIS;
use super::{World, pick};

const MODERN: &str = "2026-07-28";
const VERSIONS: [&str; 5] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-01-01", MODERN];
const GUESSED: &str = "007-0123456789abcdef0123456789abcdef";
const NOTIFICATIONS: [&str; 2] = ["notifications/initialized", "notifications/cancelled"];

/// Beginnings, ends and whole messages that are nobody's.
const RAW: [&str; 8] = [
    "",
    "\r\n",
    "POST /mcp HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\nContent-Type: application/json\r\n",
    "GET /mcp HTTP/1.0\r\nHost: localhost\r\nAccept: text/event-stream\r\n",
    "Expect: 100-continue\r\nContent-Length: 9\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"a\":\r\n",
    "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n[]\n",
    "HEAD /mcp HTTP/1.1\r\nHost: localhost\r\n\r\n",
];

/// A request of a kind: its method, its parameters, and what a header names.
fn request(kind: u8, id: u64, amount: u8, modern: bool) -> (&'static str, Value, &'static str) {
    let uri = URIS[usize::from(amount) % URIS.len()];
    let tool = |name: &'static str| {
        ("tools/call", json!({"name": name, "arguments": {"n": amount}}), name)
    };
    let (method, mut params, name) = match kind % 16 {
        0 => ("ping", json!({}), ""),
        1 => ("tools/list", json!({}), ""),
        2 => tool("echo"),
        3 => tool("steps"),
        4 => tool("ask"),
        5 | 6 => tool("pooled"),
        7 => tool("ask_pooled"),
        8 => tool("big"),
        9 => ("resources/read", json!({"uri": uri}), uri),
        10 => ("resources/subscribe", json!({"uri": uri}), ""),
        11 => ("resources/unsubscribe", json!({"uri": uri}), ""),
        12 => ("logging/setLevel", json!({"level": "debug"}), ""),
        13 => ("initialize", initialize(VERSIONS[0]), ""),
        14 => {
            let filter = json!({"toolsListChanged": true, "resourceSubscriptions": URIS});
            ("subscriptions/listen", json!({"notifications": filter}), "")
        }
        _ => ("no/such", json!({}), ""),
    };
    params["_meta"] = json!({"progressToken": id});
    if modern {
        params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!(MODERN);
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({"elicitation": {}});
    }
    (method, params, name)
}

fn initialize(version: &str) -> Value {
    let client = json!({"name": "fuzz", "version": "1"});
    json!({"protocolVersion": version, "capabilities": {"elicitation": {}}, "clientInfo": client})
}

fn message(id: u64, method: &str, params: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string()
}

/// What the head of a request says besides what all say.
#[derive(Default)]
struct Says {
    fields: String,
    /// The session that it rightly names.
    session: Option<usize>,
    /// No field is wrong.
    right: bool,
}

impl World {
    /// Which session a byte has a head name, and which version: rightly, mostly.
    fn says(&self, by: u8) -> Says {
        let known = pick(&self.ledger.sessions, by & 7);
        let (mut session, named) = match by >> 3 & 3 {
            0 | 1 => (known, known.map_or(GUESSED, |at| &self.ledger.sessions[at].id)),
            2 => (None, [GUESSED, "fuzz", ""][usize::from(by) % 3]),
            _ => return Says { right: true, ..Says::default() },
        };
        let mut fields = format!("Mcp-Session-Id: {named}\r\n");
        let version = usize::from(by >> 5);
        if let Some(version) = VERSIONS.get(version) {
            fields.push_str(&format!("MCP-Protocol-Version: {version}\r\n"));
        }
        if VERSIONS.get(version) == Some(&MODERN) {
            session = None;
        }
        Says { fields, session, right: version < 3 || version >= VERSIONS.len() }
    }

    fn send(&mut self, at: usize, bytes: &[u8]) {
        let link = self.link(at);
        if link.ended.is_none() {
            link.up.extend(bytes);
        }
    }

    /// Sends messages to a client's server, one way or the other.
    fn post(&mut self, at: usize, says: &Says, ids: &[u64], body: &str, flags: u8) {
        let owner = if self.clients[at].lines {
            Some(Owner::Line(at))
        } else {
            says.session.map(Owner::Session)
        };
        ids.iter().for_each(|&id| self.ledger.note(id, owner));
        if self.clients[at].lines {
            return self.send(at, format!("{body}\n").as_bytes());
        }
        let version = u8::from(flags & 0x80 == 0);
        let close = if flags & 0x40 == 0 { "" } else { "Connection: close\r\n" };
        let head = format!(
            "POST /mcp HTTP/1.{version}\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\n{}{close}Content-Length: {}\r\n\r\n",
            says.fields,
            body.len()
        );
        let session = says.session;
        let stays = body.contains("subscriptions/listen");
        let exchange = Exchange { session, stays, ids: ids.to_vec(), ..Exchange::default() };
        self.clients[at].exchanges.push_back(exchange);
        self.send(at, format!("{head}{body}").as_bytes());
    }

    /// An id for a request: most often a new one.
    fn next_id(&mut self, used: bool) -> u64 {
        self.next_id += u64::from(!used);
        self.next_id
    }

    pub(super) fn initialize(&mut self, on: u8, version: u8) {
        let Some(at) = pick(&self.clients, on) else { return };
        let id = self.next_id(false);
        let version = VERSIONS[usize::from(version) % VERSIONS.len()];
        let body = message(id, "initialize", &initialize(version));
        self.post(at, &Says::default(), &[id], &body, 0);
    }

    /// Sends a request. The low bits of `flags` are its kind.
    pub(super) fn ask(&mut self, on: u8, flags: u8, says: u8) {
        let Some(at) = pick(&self.clients, on) else { return };
        let modern = flags & 0x10 != 0;
        let id = self.next_id(flags & 0x20 != 0);
        let (method, params, name) = request(flags, id, says, modern);
        let mut says = self.says(says);
        if modern {
            let fields = format!("MCP-Protocol-Version: {MODERN}\r\nMcp-Method: {method}\r\n");
            let name =
                if name.is_empty() { String::new() } else { format!("Mcp-Name: {name}\r\n") };
            says = Says { fields: fields + &name, ..Says::default() };
        }
        if method == "subscriptions/listen" {
            self.ledger.spare(id);
        }
        self.post(at, &says, &[id], &message(id, method, &params), flags & 0xc0);
    }

    /// Sends a batch of requests of several kinds, and a notification.
    pub(super) fn ask_batch(&mut self, on: u8, flags: u8, says: u8) {
        let Some(at) = pick(&self.clients, on) else { return };
        let count = if flags & 7 == 7 { 101 } else { flags & 7 };
        let (mut ids, mut messages) = (Vec::new(), Vec::new());
        for no in 0..count {
            let id = self.next_id(no == 6);
            let kind = (flags >> 3).wrapping_add(no.wrapping_mul(5));
            let (method, params, _) = request(kind, id, says, false);
            ids.push(id);
            messages.push(message(id, method, &params));
        }
        messages.push(format!("{{\"jsonrpc\":\"2.0\",\"method\":\"{}\"}}", NOTIFICATIONS[0]));
        ids.iter().for_each(|&id| self.ledger.spare(id));
        let says = self.says(says);
        self.post(at, &says, &ids, &format!("[{}]", messages.join(",")), 0);
    }

    /// Answers what the server asked, or what it did not.
    pub(super) fn answer(&mut self, on: u8, detail: u8, says: u8) {
        let Some(at) = pick(&self.clients, on) else { return };
        let asked = pick(&self.ledger.questions, detail & 15);
        let asked = asked.map(|question| self.ledger.questions[question]);
        let id = asked.filter(|_| detail & 0x20 == 0).map_or(99, |(_, id)| id);
        let mut says = self.says(says);
        if let Some((Owner::Session(session), _)) = asked.filter(|_| detail & 0x40 == 0) {
            let fields = format!("Mcp-Session-Id: {}\r\n", self.ledger.sessions[session].id);
            says = Says { fields, session: Some(session), right: true };
        }
        let at = match asked {
            Some((Owner::Line(line), _)) if detail & 0x40 == 0 => line,
            _ => at,
        };
        let mut answer = json!({"jsonrpc": "2.0", "id": id});
        if detail & 0x80 == 0 {
            answer["result"] = json!({"action": "accept"});
        } else {
            answer["error"] = json!({"code": -1, "message": "no"});
        }
        self.post(at, &says, &[], &answer.to_string(), 0);
    }

    /// Sends a notification, which cancels a request most often.
    pub(super) fn notify(&mut self, on: u8, detail: u8, says: u8) {
        let Some(at) = pick(&self.clients, on) else { return };
        let method = NOTIFICATIONS[usize::from(detail & 7 != 7)];
        let id = self.next_id - u64::from(detail & 7);
        self.ledger.spare(id);
        let params = json!({"requestId": id});
        let body = json!({"jsonrpc": "2.0", "method": method, "params": params});
        let says = self.says(says);
        self.post(at, &says, &[], &body.to_string(), 0);
    }

    /// Listens to a session, or reads on behind an event.
    pub(super) fn get(&mut self, on: u8, last: u8, says: u8) {
        let Some(at) = pick(&self.clients, on).filter(|&at| !self.clients[at].lines) else {
            return;
        };
        let mut says = self.says(says);
        let given = says.session.map(|session| &self.ledger.sessions[session].events);
        let given: Vec<_> = given.into_iter().flat_map(|events| events.keys().copied()).collect();
        let given = pick(&given, last & 15).map(|event| given[event]);
        let last = match (last >> 4 & 3, given) {
            (0 | 1, Some(given)) => Some(given),
            (2, Some((stream, seq))) => Some((stream, seq + 1)),
            (3, _) => Some((u32::from(last & 3), u32::from(last >> 6))),
            _ => None,
        };
        if let Some((stream, seq)) = last {
            says.fields.push_str(&format!("Last-Event-ID: {stream}-{seq}\r\n"));
        }
        let session = says.session;
        let resumes = says.right && last.is_some() && last == given;
        let exchange =
            Exchange { session, listens: true, stays: true, resumes, last, ids: Vec::new() };
        self.bodiless(at, "GET", &says, exchange);
    }

    pub(super) fn delete(&mut self, on: u8, says: u8) {
        let Some(at) = pick(&self.clients, on).filter(|&at| !self.clients[at].lines) else {
            return;
        };
        let says = self.says(says);
        self.bodiless(at, "DELETE", &says, Exchange::default());
    }

    fn bodiless(&mut self, at: usize, method: &str, says: &Says, exchange: Exchange) {
        self.clients[at].exchanges.push_back(exchange);
        let head = format!("{method} /mcp HTTP/1.1\r\nHost: localhost\r\n{}", says.fields);
        self.send(at, format!("{head}Accept: text/event-stream\r\n\r\n").as_bytes());
    }

    /// Sends what is nobody's request: a piece of one, and bytes of the input.
    pub(super) fn send_raw(&mut self, on: u8, piece: u8, bytes: &[u8]) {
        let Some(at) = pick(&self.clients, on) else { return };
        self.clients[at].wild = true;
        self.send(at, RAW[usize::from(piece) % RAW.len()].as_bytes());
        self.send(at, bytes);
    }
}
