//! A client on a plain socket, which reads answers strictly.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{PATIENCE, Request, wait_for};

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    /// Received and not read yet.
    unread: Vec<u8>,
    /// Of a stream: its bytes without chunks, not read yet.
    events: String,
}

/// An answer, whole.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Status line and header lines.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// An event of a stream, with what its fields say. A comment has none.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Event {
    pub(crate) id: Option<String>,
    pub(crate) retry_ms: Option<u64>,
    pub(crate) data: Option<String>,
}

/// What a stream brings.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Frame {
    Message(Value),
    Comment,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        // A backlog may be full for a moment while many tests run.
        let stream = wait_for("a connection", || TcpStream::connect(address).ok());
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream.set_write_timeout(Some(PATIENCE)).expect("a socket");
        stream.set_nodelay(true).expect("a socket");
        Self { stream, unread: Vec::new(), events: String::new() }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.stream.write_all(bytes.as_ref()).expect("it reads");
        self
    }

    /// Sends what the server may have stopped to read.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    pub(crate) fn finish_sending(&mut self) -> &mut Self {
        self.stream.shutdown(Shutdown::Write).expect("it is open");
        self
    }

    /// Sends a request and reads its answer.
    pub(crate) fn ask(&mut self, request: &Request) -> Answer {
        self.send(request.bytes()).answer()
    }

    /// Reads a whole answer.
    pub(crate) fn answer(&mut self) -> Answer {
        let (status, head) = self.head();
        let mut answer = Answer { status, head, body: Vec::new() };
        if let Some(length) = answer.header("Content-Length") {
            let length = length.parse().expect("a length");
            while self.unread.len() < length {
                assert!(self.fill(), "the body ends early: {answer:?}");
            }
            answer.body = self.unread.drain(..length).collect();
        } else if answer.header("Transfer-Encoding").is_some() {
            while let Some(chunk) = self.chunk() {
                answer.body.extend(chunk);
            }
        } else if status == 200 {
            while self.fill() {}
            answer.body = std::mem::take(&mut self.unread);
        }
        answer
    }

    /// Reads the status and the head of an answer.
    pub(crate) fn head(&mut self) -> (u16, String) {
        let end = loop {
            if let Some(at) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            let seen = String::from_utf8_lossy(&self.unread).into_owned();
            assert!(self.fill(), "no answer, but {seen:?}");
        };
        let head = String::from_utf8(self.unread.drain(..end).collect()).expect("a head is ASCII");
        let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        (status.unwrap_or_else(|| panic!("no status: {head:?}")), head)
    }

    /// Reads the head of an event stream.
    pub(crate) fn stream_head(&mut self) {
        let (status, head) = self.head();
        let head = head.to_ascii_lowercase();
        assert_eq!(status, 200, "{head}");
        for line in ["content-type: text/event-stream", "x-accel-buffering: no"] {
            assert!(head.contains(line), "{head}");
        }
    }

    /// Reads the next comment or message of an event stream; `None` at its end.
    pub(crate) fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(end) = self.events.find("\n\n") {
                let event: String = self.events.drain(..end + 2).collect();
                let mut data = String::new();
                for line in event.lines() {
                    data.push_str(line.strip_prefix("data: ").unwrap_or_default());
                }
                return Some(match data.as_str() {
                    "" => Frame::Comment,
                    data => Frame::Message(serde_json::from_str(data).expect("JSON")),
                });
            }
            match self.chunk() {
                Some(chunk) => self.events.push_str(&String::from_utf8(chunk).expect("text")),
                None => return None,
            }
        }
    }

    /// Reads the next message of an event stream, past comments; `None` at its end.
    pub(crate) fn message(&mut self) -> Option<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.frame()? {
                Frame::Message(message) => return Some(message),
                Frame::Comment => assert!(Instant::now() < deadline, "comments alone"),
            }
        }
    }

    /// Reads the next event, comments included; `None` at the end of the stream.
    pub(crate) fn event(&mut self) -> Option<Event> {
        loop {
            if let Some(end) = self.events.find("\n\n") {
                let text: String = self.events.drain(..end + 2).collect();
                return Some(Event::parse(&text));
            }
            let chunk = self.chunk()?;
            self.events.push_str(&String::from_utf8(chunk).expect("text"));
        }
    }

    /// Reads the next event that is no comment; `None` at the end of the stream.
    pub(crate) fn told(&mut self) -> Option<Event> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let event = self.event()?;
            if event != Event::default() {
                return Some(event);
            }
            assert!(Instant::now() < deadline, "comments alone");
        }
    }

    /// Reads a chunk; `None` for the last.
    fn chunk(&mut self) -> Option<Vec<u8>> {
        let line_end = loop {
            if let Some(at) = self.unread.windows(2).position(|two| two == b"\r\n") {
                break at;
            }
            assert!(self.fill(), "the stream is cut");
        };
        let size = std::str::from_utf8(&self.unread[..line_end]).expect("ASCII");
        let size = usize::from_str_radix(size, 16).expect("a size");
        let end = line_end + 2 + size + 2;
        while self.unread.len() < end {
            assert!(self.fill(), "the stream is cut");
        }
        let mut chunk: Vec<u8> = self.unread.drain(..end).collect();
        assert!(chunk.ends_with(b"\r\n"));
        chunk.truncate(end - 2);
        (size > 0).then(|| chunk.split_off(line_end + 2))
    }

    /// Bytes that were received and not read.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.unread
    }

    /// Receives what comes next, without reading it.
    pub(crate) fn receive(&mut self) {
        assert!(self.fill(), "the end");
    }

    /// Whether the server ends the connection without a further byte.
    pub(crate) fn is_at_end(&mut self) -> bool {
        self.unread.is_empty() && !self.fill()
    }

    /// Whether nothing comes for so long.
    pub(crate) fn is_silent(&mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).expect("a socket");
        let mut byte = [0];
        let silent = match self.stream.peek(&mut byte) {
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
            Ok(_) => false,
        };
        self.stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        silent && self.unread.is_empty()
    }

    /// Whether the connection is gone, by a reset perhaps, after whatever it still brings.
    pub(crate) fn is_cut(&mut self) -> bool {
        loop {
            let mut bytes = [0; 65_536];
            match self.stream.read(&mut bytes) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => {
                    return !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
                }
            }
        }
    }

    /// Receives some more; false at the end.
    fn fill(&mut self) -> bool {
        let mut bytes = [0; 65_536];
        let filled = self.stream.read(&mut bytes).expect("an answer or the end");
        self.unread.extend_from_slice(&bytes[..filled]);
        filled > 0
    }
}

impl Event {
    fn parse(text: &str) -> Self {
        let mut event = Self::default();
        for line in text.lines() {
            match line.split_once(':').map(|(name, value)| (name, value.trim_start())) {
                Some(("id", id)) => event.id = Some(id.to_owned()),
                Some(("retry", ms)) => event.retry_ms = Some(ms.parse().expect("digits")),
                Some(("data", data)) => event.data = Some(data.to_owned()),
                Some(("event", name)) => assert_eq!(name, "message", "clients drop others"),
                Some(("", _)) | None => {}
                Some(_) => panic!("no field of an event: {line:?}"),
            }
        }
        event
    }

    /// The message that it carries.
    pub(crate) fn message(&self) -> Value {
        let data = self.data.as_deref().unwrap_or_default();
        serde_json::from_str(data).unwrap_or_else(|_| panic!("no message: {self:?}"))
    }
}

impl Answer {
    /// The messages of a JSON body, or of a whole stream.
    pub(crate) fn messages(&self) -> Vec<Value> {
        if self.header("Content-Type") != Some("text/event-stream") {
            return vec![self.json()];
        }
        let events = self.events();
        events
            .iter()
            .filter(|e| !matches!(e.data.as_deref(), None | Some("")))
            .map(Event::message)
            .collect()
    }

    /// The events of a whole stream, comments apart.
    pub(crate) fn events(&self) -> Vec<Event> {
        assert_eq!(self.header("Content-Type"), Some("text/event-stream"), "{self:?}");
        let text = String::from_utf8(self.body.clone()).expect("text");
        assert!(text.is_empty() || text.ends_with("\n\n"), "{text:?}");
        let events = text.split_terminator("\n\n").map(Event::parse);
        events.filter(|event| *event != Event::default()).collect()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        let mut found = lines.filter(|(known, _)| known.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value.trim())
    }

    pub(crate) fn closes(&self) -> bool {
        self.header("Connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.header("Content-Type"), Some("application/json"), "{self:?}");
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// The result of a request.
    pub(crate) fn result(&self) -> Value {
        let json = self.json();
        assert_eq!(self.status, 200, "{json}");
        assert!(json["result"].is_object(), "{json}");
        json["result"].clone()
    }

    /// The text of a tool's result.
    pub(crate) fn text(&self) -> String {
        let result = self.result();
        result["content"][0]["text"].as_str().expect("text").to_owned()
    }

    /// The code of a JSON-RPC error.
    pub(crate) fn code(&self) -> i64 {
        let json = self.json();
        assert_eq!(json["jsonrpc"], "2.0", "{json}");
        assert!(json["error"]["message"].is_string(), "{json}");
        json["error"]["code"].as_i64().unwrap_or_else(|| panic!("no error: {json}"))
    }
}
