//! Reads what a client is sent, strictly: responses of HTTP with a body or events, or lines.

use std::collections::BTreeMap;

/// What was read.
pub(super) enum Item {
    /// A response begins.
    Head { status: u16, session: Option<String>, close: bool },
    /// An event, with the numbers of its id; only the first on a stream may be without data.
    Event { id: Option<(u32, u32)>, data: Option<Vec<u8>> },
    /// A whole body.
    Body(Vec<u8>),
    /// The events of a response are over.
    End,
    /// A line.
    Line(Vec<u8>),
}

enum State {
    Head,
    Length(usize),
    /// Events, each a chunk.
    Chunks,
    /// Events, up to the end of the connection.
    ToEnd,
    Lines,
}

pub(super) struct Reader {
    bytes: Vec<u8>,
    state: State,
}

impl Reader {
    pub(super) fn new(lines: bool) -> Self {
        Self { bytes: Vec::new(), state: if lines { State::Lines } else { State::Head } }
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Whether the connection may end here.
    pub(super) fn is_whole(&self) -> bool {
        self.bytes.is_empty() && !matches!(self.state, State::Chunks | State::Length(_))
    }

    /// Takes as many bytes, then what ends them.
    fn take(&mut self, len: usize, end: &[u8]) -> Vec<u8> {
        let taken = self.bytes.drain(..len).collect();
        assert!(self.bytes.starts_with(end), "{:?} ends it", String::from_utf8_lossy(end));
        self.bytes.drain(..end.len());
        taken
    }

    /// Takes what stands before a mark.
    fn take_until(&mut self, mark: &[u8]) -> Option<Vec<u8>> {
        let len = self.bytes.windows(mark.len()).position(|window| window == mark)?;
        Some(self.take(len, mark))
    }

    /// The next item that is complete.
    pub(super) fn next(&mut self) -> Option<Item> {
        match self.state {
            State::Lines => self.take_until(b"\n").map(Item::Line),
            State::Head => self.take_until(b"\r\n\r\n").map(|head| self.read_head(head)),
            State::Length(len) => (self.bytes.len() >= len).then(|| {
                self.state = State::Head;
                Item::Body(self.take(len, b""))
            }),
            State::ToEnd => loop {
                let event = self.take_until(b"\n\n")?;
                if let Some(item) = read_event(event) {
                    return Some(item);
                }
            },
            State::Chunks => loop {
                let at = self.bytes.windows(2).position(|window| window == b"\r\n")?;
                let size = String::from_utf8_lossy(&self.bytes[..at]).into_owned();
                let size = usize::from_str_radix(&size, 16).expect("a chunk's size");
                if self.bytes.len() < at + size + 4 {
                    return None;
                }
                self.take(at, b"\r\n");
                let mut chunk = self.take(size, b"\r\n");
                if size == 0 {
                    self.state = State::Head;
                    return Some(Item::End);
                }
                assert!(chunk.ends_with(b"\n\n"), "a chunk is an event");
                chunk.truncate(size - 2);
                if let Some(item) = read_event(chunk) {
                    return Some(item);
                }
            },
        }
    }

    fn read_head(&mut self, head: Vec<u8>) -> Item {
        let text = String::from_utf8(head).expect("a head is text");
        let (first, fields) = text.split_once("\r\n").unwrap_or((&text, ""));
        let status = first.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5));
        let status: u16 = status.and_then(|status| status.parse().ok()).expect("a status");
        let mut known = BTreeMap::new();
        for line in fields.split("\r\n").filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').expect("a field");
            let before = known.insert(name.to_ascii_lowercase(), value.trim().to_owned());
            assert_eq!(before, None, "{name} is there once");
        }
        let mut field = |name: &str| known.remove(name);
        let events = field("content-type").is_some_and(|kind| kind == "text/event-stream");
        let close = field("connection").is_some_and(|value| value == "close");
        self.state = match (field("content-length"), field("transfer-encoding").as_deref()) {
            (Some(len), None) if !events => State::Length(len.parse().expect("a length")),
            (None, Some("chunked")) if events => State::Chunks,
            (None, None) if events && close => State::ToEnd,
            (None, None) if status == 204 => State::Length(0),
            (None, None) if status == 100 => State::Head,
            framing => panic!("{text} has no clear end: {framing:?}"),
        };
        Item::Head { status, session: field("mcp-session-id"), close }
    }
}

/// Reads an event without the line that ends it; a comment and a time to come back are none.
fn read_event(event: Vec<u8>) -> Option<Item> {
    let text = String::from_utf8(event).expect("an event is text");
    if text == ":" {
        return None;
    }
    if let Some(retry) = text.strip_prefix("retry: ") {
        retry.parse::<u64>().expect("a time to come back");
        return None;
    }
    let (id, rest) = match text.strip_prefix("id: ") {
        Some(rest) => {
            let (id, rest) = rest.split_once('\n').expect("a line for the id");
            let (stream, seq) = id.split_once('-').expect("an event id");
            let number = |text: &str| text.parse::<u32>().expect("a number of an event id");
            (Some((number(stream), number(seq))), rest)
        }
        None => (None, &*text),
    };
    if id.is_some() && rest == "data: " {
        return Some(Item::Event { id, data: None });
    }
    let data = rest.strip_prefix("event: message\ndata: ").expect("an event");
    assert!(!data.contains(['\n', '\r']), "an event has one line");
    Some(Item::Event { id, data: Some(data.as_bytes().to_vec()) })
}
