//! A client that speaks lines of JSON-RPC, over whatever bytes travel on, and reads them strictly.

use std::io::{BufRead as _, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::{PATIENCE, Request, call, request, wait_for};

/// Longer than an answer takes that should not come.
const SILENCE: Duration = Duration::from_millis(300);

/// One connection.
pub(crate) struct Lines {
    writer: Option<Box<dyn Write + Send>>,
    /// Ends one half, or both.
    shut: Box<dyn Fn(Shutdown) + Send>,
    lines: Receiver<Vec<u8>>,
}

impl Drop for Lines {
    /// The thread that reads has the stream too, and would keep it open.
    fn drop(&mut self) {
        self.writer = None;
        (self.shut)(Shutdown::Both);
    }
}

impl Lines {
    /// Speaks over these; `shut` ends one half or both, beyond dropping them.
    pub(crate) fn new(
        reader: impl Read + Send + 'static,
        writer: impl Write + Send + 'static,
        shut: impl Fn(Shutdown) + Send + 'static,
    ) -> Self {
        let (sender, lines) = channel();
        thread::spawn(move || {
            let mut reader = BufReader::new(reader);
            loop {
                let mut line = Vec::new();
                match reader.read_until(b'\n', &mut line) {
                    Ok(1..) if sender.send(line).is_ok() => {}
                    Ok(_) => return,
                    // Closed over what was sent and not read.
                    Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
                    Err(error) => panic!("{error}"),
                }
            }
        });
        Self { writer: Some(Box::new(writer)), shut: Box::new(shut), lines }
    }

    pub(crate) fn tcp(address: SocketAddr) -> Self {
        let stream = wait_for("a connection", || TcpStream::connect(address).ok());
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket");
        let end = stream.try_clone().expect("a socket");
        let shut = move |how| end.shutdown(how).unwrap_or_default();
        Self::new(stream.try_clone().expect("a socket"), stream, shut)
    }

    pub(crate) fn unix(path: &Path) -> Self {
        let stream = wait_for("a connection", || UnixStream::connect(path).ok());
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket");
        let end = stream.try_clone().expect("a socket");
        let shut = move |how| end.shutdown(how).unwrap_or_default();
        Self::new(stream.try_clone().expect("a socket"), stream, shut)
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        assert!(self.try_send(bytes), "it reads");
        self
    }

    /// Sends what the server may have stopped to read.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let writer = self.writer.as_mut().expect("not finished");
        writer.write_all(bytes.as_ref()).and_then(|()| writer.flush()).is_ok()
    }

    pub(crate) fn say(&mut self, message: &Value) -> &mut Self {
        self.send(format!("{message}\n"))
    }

    pub(crate) fn finish_sending(&mut self) -> &mut Self {
        self.writer = None;
        (self.shut)(Shutdown::Write);
        self
    }

    /// The next message; `None` at the end. Each is a whole line and nothing else.
    pub(crate) fn next(&mut self) -> Option<Value> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => {
                let text = String::from_utf8_lossy(&line);
                let whole = text.strip_suffix('\n').unwrap_or_else(|| panic!("cut: {text:?}"));
                let message: Value =
                    serde_json::from_str(whole).unwrap_or_else(|_| panic!("no JSON: {text:?}"));
                assert_eq!(message["jsonrpc"], "2.0", "{text:?}");
                Some(message)
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("in vain: a line"),
        }
    }

    /// The answer to a request, which must be the next line.
    pub(crate) fn ask(&mut self, message: &Value) -> Value {
        let answer = self.say(message).next().expect("an answer");
        assert_eq!(answer["id"], message["id"], "{answer}");
        answer
    }

    pub(crate) fn assert_silent(&mut self) {
        match self.lines.recv_timeout(SILENCE) {
            Err(RecvTimeoutError::Timeout) => {}
            other => panic!("not silent: {other:?}"),
        }
    }

    pub(crate) fn assert_ends(&mut self) {
        assert_eq!(self.next(), None, "it ends");
    }
}

/// The message of a modern request.
pub(crate) fn message(request: &Request) -> Value {
    serde_json::from_slice(&request.body).expect("JSON")
}

/// A message of the older versions, without `_meta`.
pub(crate) fn legacy(id: impl Into<Value>, method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id.into(), "method": method, "params": params})
}

fn legacy_call(id: impl Into<Value>, tool: &str, arguments: Value) -> Value {
    legacy(id, "tools/call", json!({"name": tool, "arguments": arguments}))
}

fn notification(method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "method": method, "params": params})
}

/// The client wants no answer any more.
pub(crate) fn cancelled(id: impl Into<Value>) -> Value {
    notification("notifications/cancelled", json!({"requestId": id.into()}))
}

fn text(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}"))
}

fn names(answer: &Value) -> Vec<&str> {
    let tools = answer["result"]["tools"].as_array().unwrap_or_else(|| panic!("{answer}"));
    tools.iter().filter_map(|tool| tool["name"].as_str()).collect()
}

/// Both eras by turns, all at the same time, each to its end.
pub(crate) fn assert_speaks_to_many(clients: Vec<Lines>) {
    let speak = |(at, mut lines): (usize, Lines)| {
        if at.is_multiple_of(2) {
            assert_speaks_modern(&mut lines);
        } else {
            assert_speaks_legacy(&mut lines);
        }
        assert_answers_before_the_end(&mut lines);
    };
    let clients: Vec<_> = clients
        .into_iter()
        .enumerate()
        .map(|client| thread::spawn(move || speak(client)))
        .collect();
    clients.into_iter().for_each(|client| client.join().expect("a client"));
}

/// Lists tools, calls some, hears of progress and cancels, in protocol version 2026-07-28.
pub(crate) fn assert_speaks_modern(lines: &mut Lines) {
    let discovered = lines.ask(&message(&request("server/discover", json!({})).id("d")));
    assert_eq!(discovered["result"]["resultType"], "complete", "{discovered}");
    let listed = lines.ask(&message(&request("tools/list", json!({})).id(2)));
    assert!(names(&listed).contains(&"add"), "{listed}");
    assert_eq!(listed["result"]["resultType"], "complete");
    let add = |id: &str, a: i64| message(&call("add", json!({"a": a, "b": 2})).id(id));
    assert_eq!(text(&lines.ask(&add("sum", 1))), "3");
    let slow = call("sleep_ms", json!({"ms": 250})).id("slow").progress("p");
    assert_reports(lines, &message(&slow), "p");
    // A call in flight holds up nobody, and one that is cancelled says nothing any more.
    lines.say(&message(&call("sleep_ms", json!({"ms": 50_000})).id("long")));
    assert_eq!(text(&lines.ask(&add("meanwhile", 5))), "7");
    lines.say(&cancelled("long"));
    lines.assert_silent();
    assert_eq!(text(&lines.ask(&add("after", 6))), "8");
}

/// The same in a version with a handshake.
pub(crate) fn assert_speaks_legacy(lines: &mut Lines) {
    assert_shakes_hands(lines);
    assert_eq!(lines.ask(&legacy(2, "ping", json!({})))["result"], json!({}));
    let listed = lines.ask(&legacy(3, "tools/list", json!({})));
    assert!(names(&listed).contains(&"add"), "{listed}");
    assert_eq!(listed["result"].get("resultType"), None, "{listed}");
    let add = |id: &str, a: i64| legacy_call(id, "add", json!({"a": a, "b": 2}));
    assert_eq!(text(&lines.ask(&add("sum", 1))), "3");
    let mut slow = legacy_call("slow", "sleep_ms", json!({"ms": 250}));
    slow["params"]["_meta"] = json!({"progressToken": "p"});
    assert_reports(lines, &slow, "p");
    lines.say(&legacy_call("long", "sleep_ms", json!({"ms": 50_000})));
    assert_eq!(text(&lines.ask(&add("meanwhile", 5))), "7");
    lines.say(&cancelled("long"));
    lines.assert_silent();
    assert_eq!(text(&lines.ask(&add("after", 6))), "8");
}

pub(crate) fn assert_shakes_hands(lines: &mut Lines) {
    let hello = json!({
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "lines", "version": "1"},
    });
    let answer = lines.ask(&legacy(1, "initialize", hello));
    assert_eq!(answer["result"]["protocolVersion"], "2025-06-18", "{answer}");
    assert!(answer["result"]["serverInfo"]["name"].is_string(), "{answer}");
    lines.say(&notification("notifications/initialized", json!({})));
}

fn assert_reports(lines: &mut Lines, call: &Value, token: &str) {
    lines.say(call);
    let mut reports = 0;
    let answer = loop {
        let message = lines.next().expect("a line");
        if message["method"] != "notifications/progress" {
            break message;
        }
        assert_eq!(message["params"]["progressToken"], token);
        reports += 1;
    };
    assert_eq!(answer["id"], call["id"]);
    assert_eq!(text(&answer), "slept 250 ms");
    assert_eq!(reports, 3, "one every 100 ms and one at the end");
}

/// Calls in flight are answered at the end of the input, and then it ends.
pub(crate) fn assert_answers_before_the_end(lines: &mut Lines) {
    lines.say(&message(&call("sleep_ms", json!({"ms": 700})).id("last")));
    lines.say(&message(&call("echo", json!({"text": "now"})).id("now")));
    lines.finish_sending();
    assert_eq!(text(&lines.next().expect("the quick answer")), "now");
    assert_eq!(text(&lines.next().expect("the slow answer")), "slept 700 ms");
    lines.assert_ends();
}

/// What is no message gets an error line, and the connection goes on.
pub(crate) fn assert_survives_garbage(lines: &mut Lines) {
    let add = message(&call("add", json!({"a": 1, "b": 2})).id(7));
    assert_eq!(text(&lines.ask(&add)), "3");
    for garbage in ["{\"jsonrpc\":\"2.0\",\"id\":1,", "]", "{\"id\": 1} x", "\u{1}\u{2}"] {
        let answer = lines.send(format!("{garbage}\n")).next().expect("an error");
        assert_eq!(answer["error"]["code"], -32700, "{garbage}: {answer}");
    }
    for (wrong, code) in
        [("{}", -32600), ("7", -32600), ("{\"jsonrpc\":\"2.0\",\"id\":[]}", -32600)]
    {
        let answer = lines.send(format!("{wrong}\n")).next().expect("an error");
        assert_eq!(answer["error"]["code"], code, "{wrong}: {answer}");
    }
    // Blank lines and carriage returns are nothing.
    lines.send("\r\n\n  \n");
    assert_eq!(text(&lines.send(format!("{add}\r\n")).next().expect("an answer")), "3");
}

/// A line over the bound of bodies (4 MiB) is refused with one line, and nothing is read behind it.
pub(crate) fn assert_refuses_long_lines(lines: &mut Lines) {
    let echo = |bytes: usize| message(&call("echo", json!({"text": "x".repeat(bytes)})).id("e"));
    assert_eq!(text(&lines.ask(&echo(3_000_000))).len(), 3_000_000);
    lines.try_send(format!("{}\n", echo(5_000_000)));
    let refused = lines.next().expect("an error");
    assert_eq!(refused["error"]["code"], -32600, "{refused}");
    lines.assert_ends();
}
