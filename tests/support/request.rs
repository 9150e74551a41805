//! Requests as a client of protocol 2026-07-28 sends them, or nearly.

use serde_json::{Map, Value, json};

pub(crate) const VERSION: &str = "2026-07-28";
pub(crate) const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
pub(crate) const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

/// An HTTP request, to be changed before it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// A correct request of a method; `params` gets its `_meta`.
pub(crate) fn request(method: &str, params: Value) -> Request {
    let Value::Object(mut params) = params else { panic!("params are an object") };
    let named = ["name", "uri"].iter().find_map(|key| params.get(*key)?.as_str());
    let named = named.map(str::to_owned);
    let meta = params.entry("_meta").or_insert_with(|| Value::Object(Map::new()));
    for (key, value) in [(META_VERSION, json!(VERSION)), (META_CAPABILITIES, json!({}))] {
        meta.as_object_mut().expect("an object").entry(key).or_insert(value);
    }
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let mut request = plain(message.to_string()).header("Mcp-Method", method);
    if let (Some(name), "tools/call" | "resources/read" | "prompts/get") = (named, method) {
        request = request.header("Mcp-Name", &name);
    }
    request
}

/// A call of a tool.
pub(crate) fn call(tool: &str, arguments: Value) -> Request {
    request("tools/call", json!({"name": tool, "arguments": arguments}))
}

/// A request with any body, and the headers that every request has.
pub(crate) fn plain(body: impl Into<Vec<u8>>) -> Request {
    let mut request =
        Request { line: "POST /mcp HTTP/1.1".into(), headers: Vec::new(), body: body.into() };
    for (name, value) in [
        ("Host", "localhost"),
        ("Content-Type", "application/json"),
        ("Accept", "application/json, text/event-stream"),
        ("MCP-Protocol-Version", VERSION),
    ] {
        request = request.header(name, value);
    }
    request
}

impl Request {
    /// Sets a header, in place of one of the same name.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Leaves a header out.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self
    }

    pub(crate) fn line(self, line: &str) -> Self {
        Self { line: line.to_owned(), ..self }
    }

    /// Changes the message.
    pub(crate) fn edit(mut self, edit: impl FnOnce(&mut Value)) -> Self {
        let mut message = serde_json::from_slice(&self.body).expect("JSON");
        edit(&mut message);
        self.body = message.to_string().into();
        self
    }

    pub(crate) fn id(self, id: impl Into<Value>) -> Self {
        self.edit(|message| message["id"] = id.into())
    }

    /// Asks for reports of progress.
    pub(crate) fn progress(self, token: impl Into<Value>) -> Self {
        self.edit(|message| message["params"]["_meta"]["progressToken"] = token.into())
    }

    /// The head, with the body's length unless the body's framing is said otherwise.
    pub(crate) fn head(&self) -> Vec<u8> {
        let mut head = format!("{}\r\n", self.line);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let framed = |name: &str| self.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
        let bare = self.body.is_empty() && !self.line.starts_with("POST");
        if !bare && !framed("Transfer-Encoding") && !framed("Content-Length") {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        [self.head(), self.body.clone()].concat()
    }
}
