//! Sessions of the legacy era over HTTP, as clients of 2025-03-26 to 2025-11-25 keep them.

use serde_json::{Value, json};

use super::{Answer, Client, Request, Server, plain};

/// The newest version with sessions.
pub(crate) const LEGACY: &str = "2025-11-25";

/// A session that is open, or was.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) version: String,
}

/// A message of JSON-RPC that is a request.
pub(crate) fn message(id: impl Into<Value>, method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id.into(), "method": method, "params": params})
}

pub(crate) fn notification(method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "method": method, "params": params})
}

pub(crate) fn tool(id: impl Into<Value>, name: &str, arguments: Value) -> Value {
    message(id, "tools/call", json!({"name": name, "arguments": arguments}))
}

/// The first request of a client that knows a version and is able to answer everything.
pub(crate) fn initialize(version: &str) -> Request {
    let params = json!({
        "protocolVersion": version,
        "capabilities": {"sampling": {}, "elicitation": {}, "roots": {"listChanged": true}},
        "clientInfo": {"name": "test", "version": "1"},
    });
    plain(message(0, "initialize", params).to_string()).without("MCP-Protocol-Version")
}

impl Session {
    /// Opens a session over a connection.
    pub(crate) fn open(client: &mut Client, version: &str) -> Self {
        let session = Self::begin(client, &initialize(version));
        let initialized = notification("notifications/initialized", json!({}));
        let accepted = client.ask(&session.post(&initialized));
        assert_eq!((accepted.status, accepted.body.len()), (202, 0), "{accepted:?}");
        session
    }

    /// Opens a session with some `initialize`, and says no more.
    pub(crate) fn begin(client: &mut Client, initialize: &Request) -> Self {
        let answer = client.ask(initialize);
        let version = answer.result()["protocolVersion"].as_str().expect("a version").to_owned();
        let id = answer.header("Mcp-Session-Id").expect("a session id").to_owned();
        Self { id, version }
    }

    /// The shard that its id names.
    pub(crate) fn shard(&self, shards: u16) -> u16 {
        let partition = u16::from_str_radix(&self.id[..3], 16).expect("hex");
        partition % shards
    }

    fn with_headers(&self, request: Request) -> Request {
        request.header("Mcp-Session-Id", &self.id).header("MCP-Protocol-Version", &self.version)
    }

    /// A POST of any message.
    pub(crate) fn post(&self, message: &Value) -> Request {
        self.with_headers(plain(message.to_string()))
    }

    pub(crate) fn request(&self, id: impl Into<Value>, method: &str, params: Value) -> Request {
        self.post(&message(id, method, params))
    }

    pub(crate) fn call(&self, id: impl Into<Value>, name: &str, arguments: Value) -> Request {
        self.post(&tool(id, name, arguments))
    }

    /// A GET, which opens the session's own stream, or reads on behind an event.
    pub(crate) fn get(&self, last: Option<&str>) -> Request {
        let request = self.with_headers(plain("")).line("GET /mcp HTTP/1.1");
        let request = request.without("Content-Type").header("Accept", "text/event-stream");
        match last {
            Some(last) => request.header("Last-Event-ID", last),
            None => request,
        }
    }

    pub(crate) fn delete(&self) -> Request {
        let request = self.with_headers(plain("")).line("DELETE /mcp HTTP/1.1");
        request.without("Content-Type").header("Accept", "*/*")
    }

    /// Opens the session's own stream over a connection.
    pub(crate) fn listen(&self, client: &mut Client) {
        client.send(self.get(None).bytes()).stream_head();
        if self.version == LEGACY {
            let prime = client.told().expect("a prime");
            assert!(prime.id.is_some() && prime.data.as_deref() == Some(""), "{prime:?}");
        }
    }

    /// Ends it. Its shard may be busy yet with what a test did to it: then it says so.
    pub(crate) fn end(&self, client: &mut Client) {
        let mut answer = client.ask(&self.delete());
        for _ in 0..100 {
            if answer.status != 503 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
            answer = client.ask(&self.delete());
        }
        assert!(matches!(answer.status, 200 | 204), "{answer:?}");
    }

    /// Answers a request of the server.
    pub(crate) fn answer(&self, asked: &Value, result: Value) -> Request {
        self.post(&json!({"jsonrpc": "2.0", "id": asked["id"], "result": result}))
    }

    /// Asserts that it is no more.
    pub(crate) fn assert_gone(&self, client: &mut Client) {
        for request in [self.request(1, "ping", json!({})), self.get(None), self.delete()] {
            let answer = client.ask(&request);
            assert_eq!((answer.status, answer.code()), (404, -32600), "{answer:?}");
        }
    }
}

/// The shard of a connection: sessions live where they were asked for.
fn shard_of(client: &mut Client, shards: u16) -> u16 {
    let session = Session::begin(client, &initialize(LEGACY));
    session.end(client);
    session.shard(shards)
}

/// A connection to another shard than a session's, where there is another. The kernel chooses.
pub(crate) fn connect_far(server: &Server, session: &Session, shards: u16) -> Client {
    loop {
        let mut client = server.connect();
        if shards == 1 || shard_of(&mut client, shards) != session.shard(shards) {
            return client;
        }
    }
}

/// The text of a tool's result in a message.
pub(crate) fn text(message: &Value) -> &str {
    let text = message["result"]["content"][0]["text"].as_str();
    text.unwrap_or_else(|| panic!("no text: {message}"))
}

/// The last message of an answer, which is the response.
pub(crate) fn response(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.messages().pop().unwrap_or_else(|| panic!("no response: {answer:?}"))
}
