//! Reads what a shard sends: HTTP/1.1 responses, chunked or not, with events in them. Strict: what
//! is not well formed is an error that fails the run.

use std::collections::VecDeque;

/// A piece of a response.
#[derive(Debug)]
pub(crate) enum Item {
    /// `100 Continue`.
    Interim,
    /// The head of a response.
    Head(Head),
    /// The data of an event of type `message`.
    Event(Vec<u8>),
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
#[derive(Debug)]
pub(crate) struct Reader {
    state: State,
    bytes: Vec<u8>,
    at: usize,
    /// Decoded bytes: of the body, or of an event that is not complete.
    decoded: Vec<u8>,
    events: bool,
    items: VecDeque<Item>,
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
        };
        self.state = match (field("content-length"), field("transfer-encoding")) {
            (Some(length), None) => {
                let text = std::str::from_utf8(length).map_err(|e| e.to_string())?;
                State::Length(text.parse().map_err(|e| format!("length {text:?}: {e}"))?)
            }
            (None, Some(b"chunked")) => State::ChunkSize,
            (None, None) if head.events && head.close => State::ToEnd,
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
            let event = &self.decoded[from..from + len];
            if let Some(data) = event.strip_prefix(b"event: message\ndata: ") {
                self.items.push_back(Item::Event(data.to_vec()));
            } else if event != b":" {
                return Err(format!("no event: {:?}", String::from_utf8_lossy(event)));
            }
            from += len + 2;
        }
        self.decoded.drain(..from);
        Ok(())
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
                    Item::Event(data) => String::from_utf8(data).expect("text"),
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
    fn what_is_no_response_is_an_error() {
        for wire in ["HTTP/2 200\r\n\r\n", "hello\r\n\r\n", "HTTP/1.1 200 OK\r\nDate: x\r\n\r\n"] {
            assert!(Reader::new().feed(wire.bytes()).is_err(), "{wire:?}");
        }
    }
}
