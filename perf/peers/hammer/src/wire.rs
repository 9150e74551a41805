//! What is sent, and what must come back: requests as templates with places for numbers, answers
//! framed by HTTP's Content-Length or by line ends.

use std::ops::Range;

use memchr::memmem;

use crate::options::Mode;

/// Ids and numbers have ten digits, so that every request is as long as the others.
pub const NUMBERS_FROM: u64 = 1_000_000_000;
const NUMBERS_TO: u64 = 4_000_000_000;
const DIGITS: usize = 10;
const MARK: &str = "##########";
/// The version of the legacy era that is spoken.
pub const LEGACY: &str = "2025-11-25";

const MODERN_META: &str = "\"_meta\":{\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\",\
    \"io.modelcontextprotocol/clientInfo\":{\"name\":\"hammer\",\"version\":\"1\"},\
    \"io.modelcontextprotocol/clientCapabilities\":{}},";

/// `initialize`, as a 2025-11-25 client sends it.
pub const INITIALIZE: &str = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\",\"params\":\
    {\"protocolVersion\":\"2025-11-25\",\"capabilities\":{},\
    \"clientInfo\":{\"name\":\"hammer\",\"version\":\"1\"}}}";
/// What follows its answer.
pub const INITIALIZED: &str = "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}";

/// A call of `add` with places for id and summands.
#[derive(Clone, Debug)]
pub struct Request {
    bytes: Vec<u8>,
    /// Where id, a and b stand.
    places: [usize; 3],
}

impl Request {
    /// The request of a mode; `session` is the id of its session, where it has one.
    pub fn new(mode: Mode, host: &str, session: Option<&str>) -> Self {
        let meta = if mode.is_legacy() { "" } else { MODERN_META };
        let body = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{MARK},\"method\":\"tools/call\",\"params\":{{{meta}\
             \"name\":\"add\",\"arguments\":{{\"a\":{MARK},\"b\":{MARK}}}}}}}"
        );
        let text = match mode {
            Mode::LinesModern | Mode::LinesLegacy => format!("{body}\n"),
            Mode::HttpModern => {
                let more = "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\n\
                            Mcp-Name: add\r\n";
                post(host, more, &body)
            }
            Mode::HttpLegacy => post(host, &session_fields(session.unwrap_or_default()), &body),
        };
        let mut places = memmem::find_iter(text.as_bytes(), MARK);
        let places = std::array::from_fn(|_| places.next().expect("three marks were written"));
        Self {
            bytes: text.into_bytes(),
            places,
        }
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends the call with this number, and tells what its answer has to be.
    pub fn write(&mut self, number: u64, out: &mut Vec<u8>) -> Expected {
        let id = NUMBERS_FROM + number % (NUMBERS_TO - NUMBERS_FROM);
        let (a, b) = (NUMBERS_FROM + id % 999_983, NUMBERS_FROM + id % 7_919);
        for (place, value) in self.places.into_iter().zip([id, a, b]) {
            put(&mut self.bytes[place..place + DIGITS], value);
        }
        out.extend_from_slice(&self.bytes);
        Expected { id, sum: a + b }
    }
}

/// The head fields of a message of a session.
pub fn session_fields(session: &str) -> String {
    format!("MCP-Protocol-Version: {LEGACY}\r\nMcp-Session-Id: {session}\r\n")
}

/// A POST of a message; `more` are further fields.
pub fn post(host: &str, more: &str, body: &str) -> String {
    format!(
        "POST /mcp HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\n{more}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn put(place: &mut [u8], mut value: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// What an answer must contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    pub id: u64,
    pub sum: u64,
}

impl Expected {
    /// Whether an answer is the one to this request.
    pub fn is_of(self, body: &[u8]) -> bool {
        let mut id = *b"\"id\":##########";
        put(&mut id[5..], self.id);
        contains(body, &id)
    }

    /// Whether it says the right sum, and no error. Ids and sums have ten digits each, so none is
    /// the beginning of another.
    pub fn is_right(self, body: &[u8]) -> bool {
        let mut sum = *b"\"text\":\"##########\"";
        put(&mut sum[8..18], self.sum);
        self.is_of(body) && contains(body, &sum) && !contains(body, b"\"isError\":true")
    }
}

fn contains(text: &[u8], what: &[u8]) -> bool {
    memmem::find(text, what).is_some()
}

/// The next answer in what was received.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Not all of it is there.
    Incomplete,
    /// Where its body is; the next one begins behind `end`.
    Answer { body: Range<usize>, end: usize },
    /// It is none.
    Wrong,
}

/// Looks for an answer: a line, or a reply of HTTP with this status and a length.
pub fn next_answer(mode: Mode, bytes: &[u8], status: &str) -> Next {
    if !mode.is_http() {
        return match memchr::memchr(b'\n', bytes) {
            Some(end) => Next::Answer {
                body: 0..end,
                end: end + 1,
            },
            None => Next::Incomplete,
        };
    }
    let Some(head_end) = memmem::find(bytes, b"\r\n\r\n") else {
        return Next::Incomplete;
    };
    let head = &bytes[..head_end];
    let right = head
        .strip_prefix(b"HTTP/1.1 ")
        .is_some_and(|rest| rest.starts_with(status.as_bytes()));
    let Some(length) = right.then(|| content_length(head)).flatten() else {
        return Next::Wrong;
    };
    let body = head_end + 4..head_end + 4 + length;
    if bytes.len() < body.end {
        Next::Incomplete
    } else {
        Next::Answer {
            end: body.end,
            body,
        }
    }
}

/// 0 where there is none, as in a 202.
fn content_length(head: &[u8]) -> Option<usize> {
    match field(head, "content-length") {
        None if field(head, "transfer-encoding").is_some() => None,
        None => Some(0),
        Some(value) => value.parse().ok(),
    }
}

/// The value of a field in a reply's head.
pub fn field<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    let line = head.split(|&byte| byte == b'\n').find(|line| {
        line.len() > name.len()
            && line[name.len()] == b':'
            && line[..name.len()].eq_ignore_ascii_case(name.as_bytes())
    })?;
    std::str::from_utf8(&line[name.len() + 1..])
        .ok()
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_alike_in_length_and_right_in_their_length() {
        for mode in [Mode::HttpModern, Mode::HttpLegacy] {
            let mut request = Request::new(mode, "127.0.0.1:1", Some("001-ab"));
            let (mut first, mut second) = (Vec::new(), Vec::new());
            assert_ne!(
                request.write(0, &mut first),
                request.write(u64::MAX, &mut second)
            );
            assert_eq!(first.len(), second.len());
            let head_end = memmem::find(&first, b"\r\n\r\n").unwrap();
            let length = content_length(&first[..head_end]).unwrap();
            assert_eq!(first.len(), head_end + 4 + length);
            assert!(!contains(&first, MARK.as_bytes()));
        }
    }

    #[test]
    fn answers_are_told_from_what_is_none() {
        let reply = b"HTTP/1.1 200 OK\r\nCONTENT-length: 3\r\n\r\nabcHTTP";
        let http = |bytes: &[u8]| next_answer(Mode::HttpModern, bytes, "200");
        assert_eq!(
            http(reply),
            Next::Answer {
                body: 38..41,
                end: 41
            }
        );
        assert_eq!(http(&reply[..40]), Next::Incomplete);
        assert_eq!(http(b"HTTP/1.1 404 Not Found\r\n\r\n"), Next::Wrong);
        assert_eq!(
            http(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
            Next::Wrong
        );
        let line = next_answer(Mode::LinesModern, b"{}\n{", "200");
        assert_eq!(line, Next::Answer { body: 0..2, end: 3 });
    }

    #[test]
    fn an_answer_must_have_id_and_sum() {
        let expected = Expected {
            id: 1_000_000_007,
            sum: 2_000_000_014,
        };
        let right = br#"{"id":1000000007,"result":{"content":[{"text":"2000000014"}]}}"#;
        assert!(expected.is_right(right));
        assert!(
            !Expected {
                id: 1_000_000_008,
                ..expected
            }
            .is_right(right)
        );
        assert!(
            !Expected {
                sum: 2_000_000_015,
                ..expected
            }
            .is_right(right)
        );
        let failed = br#"{"id":1000000007,"result":{"text":"2000000014","isError":true}}"#;
        assert!(!expected.is_right(failed));
    }
}
