//! Reads what a shard sends: HTTP/1.1 responses, chunked or not, with events in them. Strict: what
//! is not well formed is an error that fails the run.

use std::collections::VecDeque;
use std::fmt;

/// A piece of a response.
#[derive(Debug)]
pub(crate) enum Item {
    /// `100 Continue`.
    Interim,
    /// The head of a response.
    Head(Head),
    /// An event of type `message`: its data, and its id where it has one.
    Event(Option<String>, Vec<u8>),
    /// An event of an id alone, with which a stream begins that may be read on later.
    Prime(String),
    /// How long to wait before the stream is read on.
    Retry,
    /// The response is complete; its body, where it is no stream of events.
    End(Vec<u8>),
}

/// What matters of a response's head.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) close: bool,
    pub(crate) events: bool,
    pub(crate) retry_after: bool,
    pub(crate) session: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    Length(usize),
    ChunkSize,
    Chunk(usize),
    ToEnd,
}

/// Lives with its client.
pub(crate) struct Reader {
    state: State,
    bytes: Vec<u8>,
    at: usize,
    /// Decoded bytes: of the body, or of an event that is not complete.
    decoded: Vec<u8>,
    events: bool,
    items: VecDeque<Item>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.bytes.len() - self.at;
        write!(f, "Reader({:?}, {waiting} bytes, {} decoded)", self.state, self.decoded.len())
    }
}

impl Reader {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Head,
            bytes: Vec::new(),
            at: 0,
            decoded: Vec::new(),
            events: false,
            items: VecDeque::new(),
        }
    }

    /// Takes bytes as they come.
    pub(crate) fn feed(&mut self, bytes: impl Iterator<Item = u8>) -> Result<(), String> {
        self.bytes.drain(..self.at);
        self.at = 0;
        self.bytes.extend(bytes);
        while self.step()? {}
        Ok(())
    }

    /// The connection ended: whether it did so between two responses.
    pub(crate) fn finish(&mut self) -> bool {
        if self.state == State::ToEnd {
            self.state = State::Head;
            self.items.push_back(Item::End(std::mem::take(&mut self.decoded)));
        }
        self.state == State::Head && self.at == self.bytes.len()
    }

    pub(crate) fn next(&mut self) -> Option<Item> {
        self.items.pop_front()
    }

    /// Reads one piece; false where more bytes are needed.
    fn step(&mut self) -> Result<bool, String> {
        let rest = &self.bytes[self.at..];
        match self.state {
            State::Head => self.read_head(),
            State::Length(left) => {
                let len = left.min(rest.len());
                self.decoded.extend(&rest[..len]);
                self.at += len;
                self.state = State::Length(left - len);
                if left == len {
                    self.end()?;
                }
                Ok(left == len)
            }
            State::ChunkSize => {
                let Some(end) = rest.windows(2).position(|two| two == b"\r\n") else {
                    return if rest.len() > 16 {
                        Err("a long chunk size".into())
                    } else {
                        Ok(false)
                    };
                };
                let line = std::str::from_utf8(&rest[..end]).map_err(|e| e.to_string())?;
                let size = usize::from_str_radix(line, 16).map_err(|e| format!("{line:?}: {e}"))?;
                self.at += end + 2;
                self.state = State::Chunk(size);
                Ok(true)
            }
            State::Chunk(size) => {
                if rest.len() < size + 2 {
                    return Ok(false);
                }
                if &rest[size..size + 2] != b"\r\n" {
                    return Err("a chunk does not end where it should".into());
                }
                self.decoded.extend(&rest[..size]);
                self.at += size + 2;
                self.state = State::ChunkSize;
                if self.events {
                    self.split_events()?;
                }
                if size == 0 {
                    self.end()?;
                }
                Ok(true)
            }
            State::ToEnd => {
                self.decoded.extend(rest);
                self.at = self.bytes.len();
                if self.events {
                    self.split_events()?;
                }
                Ok(false)
            }
        }
    }

    fn end(&mut self) -> Result<(), String> {
        self.state = State::Head;
        if self.events && !self.decoded.is_empty() {
            return Err("a stream ends within an event".into());
        }
        self.items.push_back(Item::End(std::mem::take(&mut self.decoded)));
        Ok(())
    }

    fn read_head(&mut self) -> Result<bool, String> {
        let rest = &self.bytes[self.at..];
        if rest.is_empty() {
            return Ok(false);
        }
        let mut slots = [httparse::EMPTY_HEADER; 32];
        let mut response = httparse::Response::new(&mut slots);
        let len = match response.parse(rest) {
            Ok(httparse::Status::Complete(len)) => len,
            Ok(httparse::Status::Partial) => return Ok(false),
            Err(error) => {
                let text = String::from_utf8_lossy(&rest[..rest.len().min(80)]);
                if rest.starts_with(b"{\"jsonrpc\"") {
                    return Err(format!("a line of somebody's byte stream that is gone: {text:?}"));
                }
                return Err(format!("no response: {error}: {text:?}"));
            }
        };
        let field = |name: &str| {
            let found = response.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name));
            found.map(|header| header.value)
        };
        let status = response.code.unwrap_or(0);
        if status == 100 {
            self.at += len;
            self.items.push_back(Item::Interim);
            return Ok(true);
        }
        let head = Head {
            status,
            close: field("connection").is_some_and(|value| value == b"close"),
            events: field("content-type").is_some_and(|value| value == b"text/event-stream"),
            retry_after: field("retry-after").is_some(),
            session: field("mcp-session-id").map(|id| String::from_utf8_lossy(id).into_owned()),
        };
        self.state = match (field("content-length"), field("transfer-encoding")) {
            (Some(length), None) => {
                let text = std::str::from_utf8(length).map_err(|e| e.to_string())?;
                State::Length(text.parse().map_err(|e| format!("length {text:?}: {e}"))?)
            }
            (None, Some(b"chunked")) => State::ChunkSize,
            (None, None) if head.events && head.close => State::ToEnd,
            (None, None) if status == 204 => State::Length(0),
            _ => return Err("a response without a clear end".into()),
        };
        self.events = head.events;
        self.at += len;
        self.items.push_back(Item::Head(head));
        Ok(true)
    }

    /// Takes complete events out of what was decoded.
    fn split_events(&mut self) -> Result<(), String> {
        let mut from = 0;
        while let Some(len) = self.decoded[from..].windows(2).position(|two| two == b"\n\n") {
            self.items.extend(read_event(&self.decoded[from..from + len])?);
            from += len + 2;
        }
        self.decoded.drain(..from);
        Ok(())
    }
}

/// Reads the lines of one event; a comment is none.
fn read_event(event: &[u8]) -> Result<Option<Item>, String> {
    let wrong = || format!("no event: {:?}", String::from_utf8_lossy(event));
    if event == b":" {
        return Ok(None);
    }
    if let Some(retry) = event.strip_prefix(b"retry: ") {
        let whole = !retry.is_empty() && retry.iter().all(u8::is_ascii_digit);
        return if whole { Ok(Some(Item::Retry)) } else { Err(wrong()) };
    }
    let (id, rest) = match event.strip_prefix(b"id: ") {
        Some(line) => {
            let end = line.iter().position(|&byte| byte == b'\n').ok_or_else(wrong)?;
            (Some(String::from_utf8_lossy(&line[..end]).into_owned()), &line[end + 1..])
        }
        None => (None, event),
    };
    match (rest.strip_prefix(b"event: message\ndata: "), id) {
        (Some(data), id) => Ok(Some(Item::Event(id, data.to_vec()))),
        (None, Some(id)) if rest == b"data: " => Ok(Some(Item::Prime(id))),
        (None, _) => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(wire: &[u8], pieces: usize) -> Vec<String> {
        let mut reader = Reader::new();
        let mut seen = Vec::new();
        for piece in wire.chunks(pieces) {
            reader.feed(piece.iter().copied()).expect("well formed");
            while let Some(item) = reader.next() {
                seen.push(match item {
                    Item::Interim => "interim".to_owned(),
                    Item::Head(head) => format!("{} {}", head.status, head.close),
                    Item::Event(None, data) => String::from_utf8(data).expect("text"),
                    Item::Event(Some(id), data) => format!("{id} {}", data.len()),
                    Item::Prime(id) => format!("prime {id}"),
                    Item::Retry => "retry".to_owned(),
                    Item::End(body) => format!("end {}", body.len()),
                });
            }
        }
        assert!(reader.finish());
        seen
    }

    #[test]
    fn any_split_reads_the_same() {
        let wire = b"HTTP/1.1 100 Continue\r\n\r\n\
            HTTP/1.1 200 OK\r\nContent-Length:          2\r\n\r\n{}\
            HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\
            \r\n3\r\n:\n\n\r\n0000001b\r\nevent: message\ndata: {\"\"}\n\n\r\n0\r\n\r\n\
            HTTP/1.1 202 Accepted\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        let expected =
            ["interim", "200 false", "end 2", "200 false", "{\"\"}", "end 0", "202 true", "end 0"];
        for pieces in 1..wire.len() {
            assert_eq!(read(wire, pieces), expected, "in pieces of {pieces}");
        }
    }

    #[test]
    fn what_a_stream_that_can_be_read_on_has() {
        let wire = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
            Transfer-Encoding: chunked\r\n\r\n\
            10\r\nid: 3-0\ndata: \n\n\r\n21\r\nid: 3-1\nevent: message\ndata: {}\n\n\r\n\
            b\r\nretry: 20\n\n\r\n0\r\n\r\n\
            HTTP/1.1 204 No Content\r\n\r\n";
        let expected = ["200 false", "prime 3-0", "3-1 2", "retry", "end 0", "204 false", "end 0"];
        assert_eq!(read(wire, wire.len()), expected);
        assert_eq!(read(wire, 3), expected);
    }

    #[test]
    fn what_is_no_response_is_an_error() {
        for wire in ["HTTP/2 200\r\n\r\n", "hello\r\n\r\n", "HTTP/1.1 200 OK\r\nDate: x\r\n\r\n"] {
            assert!(Reader::new().feed(wire.bytes()).is_err(), "{wire:?}");
        }
    }
}
