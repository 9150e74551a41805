//! Writes responses straight into the buffer that is sent (RFC 9110, RFC 9112).
//!
//! Nothing here keeps state: a [`Patch`] remembers where a length is missing, between the calls
//! that begin and finish one response. The only allocation is the buffer's own growth.

use crate::mcp::SessionId;

/// Most bytes of a body begun by [`begin_body`]: as many as its length field has room for.
pub const BODY_BYTES_MAX: usize = 9_999_999_999;

/// Width of the length field that [`finish_body`] fills.
const LENGTH_DIGITS: usize = 10;

/// Room for an ordinary head, so that writing it grows the buffer at most once.
const HEAD_BYTES_USUAL: usize = 256;

/// A status code (RFC 9110 15), of three digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Status(pub u16);

macro_rules! statuses {
    ($($name:ident $code:literal $reason:literal)*) => {
        impl Status {
            $(
                #[doc = concat!("`", $code, " ", $reason, "`")]
                pub const $name: Self = Self($code);
            )*

            /// The reason phrase, empty for a code without a constant here.
            pub const fn reason(self) -> &'static str {
                match self.0 {
                    $($code => $reason,)*
                    _ => "",
                }
            }

            const fn line(self) -> Option<&'static str> {
                match self.0 {
                    $($code => Some(concat!("HTTP/1.1 ", $code, " ", $reason, "\r\n")),)*
                    _ => None,
                }
            }
        }
    };
}

statuses! {
    CONTINUE 100 "Continue"
    OK 200 "OK"
    ACCEPTED 202 "Accepted"
    NO_CONTENT 204 "No Content"
    BAD_REQUEST 400 "Bad Request"
    FORBIDDEN 403 "Forbidden"
    NOT_FOUND 404 "Not Found"
    METHOD_NOT_ALLOWED 405 "Method Not Allowed"
    NOT_ACCEPTABLE 406 "Not Acceptable"
    REQUEST_TIMEOUT 408 "Request Timeout"
    GONE 410 "Gone"
    CONTENT_TOO_LARGE 413 "Content Too Large"
    UNSUPPORTED_MEDIA_TYPE 415 "Unsupported Media Type"
    EXPECTATION_FAILED 417 "Expectation Failed"
    TOO_MANY_REQUESTS 429 "Too Many Requests"
    REQUEST_HEADER_FIELDS_TOO_LARGE 431 "Request Header Fields Too Large"
    INTERNAL_SERVER_ERROR 500 "Internal Server Error"
    NOT_IMPLEMENTED 501 "Not Implemented"
    SERVICE_UNAVAILABLE 503 "Service Unavailable"
    HTTP_VERSION_NOT_SUPPORTED 505 "HTTP Version Not Supported"
}

/// What a response's head says besides its body.
#[derive(Clone, Copy, Debug)]
pub struct ReplyHead<'a> {
    /// The status.
    pub status: Status,
    /// The time as an IMF-fixdate (RFC 9110 5.6.7), which the caller renews once a second.
    pub date: &'a [u8; 29],
    /// Whether the connection is closed after this response (RFC 9112 9.6).
    pub close: bool,
    /// [`super::Head::version_minor`] of the request: a 1.0 client that keeps its connection must
    /// be told that it may (RFC 9112 appendix C.2.2).
    pub version_minor: u8,
    /// `Retry-After` in seconds (RFC 9110 10.2.3), with 429 and 503.
    pub retry_after_s: Option<u32>,
    /// `Allow`, a list of methods (RFC 9110 10.2.1), with 405.
    pub allow: Option<&'static str>,
    /// `Mcp-Session-Id` (2025-11-25, basic/transports, Session Management), with the answer to a
    /// legacy `initialize`.
    pub session_id: Option<SessionId>,
    /// Further fields: names are tokens, and values hold no control characters. The caller answers
    /// for both.
    pub fields: &'a [(&'a str, &'a [u8])],
}

impl<'a> ReplyHead<'a> {
    /// A head for an HTTP/1.1 client on a connection that lives on, with no optional field.
    pub const fn new(status: Status, date: &'a [u8; 29]) -> Self {
        Self {
            status,
            date,
            close: false,
            version_minor: 1,
            retry_after_s: None,
            allow: None,
            session_id: None,
            fields: &[],
        }
    }
}

/// Where [`finish_body`] writes the length. Holds as long as nothing is taken from the front of the
/// buffer.
#[derive(Debug)]
#[must_use = "a response without its length must be finished"]
pub struct Patch {
    digits_at: usize,
    body_at: usize,
}

/// Begins a response whose length is not known yet: the caller appends the body to `out` and then
/// calls [`finish_body`].
///
/// The length field stands there in spaces, which are optional white space before its value (RFC
/// 9110 5.5), so that the body need not be moved.
pub fn begin_body(out: &mut Vec<u8>, head: &ReplyHead<'_>, content_type: &str) -> Patch {
    begin_head(out, head, head.close);
    out.extend_from_slice(b"Content-Type: ");
    out.extend_from_slice(content_type.as_bytes());
    out.extend_from_slice(b"\r\nContent-Length: ");
    let digits_at = out.len();
    out.extend_from_slice(&[b' '; LENGTH_DIGITS]);
    out.extend_from_slice(b"\r\n\r\n");
    Patch { digits_at, body_at: out.len() }
}

/// Ends a response: what was appended since [`begin_body`] is its body.
///
/// # Panics
/// If the body is over [`BODY_BYTES_MAX`] bytes, or if `out` is shorter than it was.
pub fn finish_body(out: &mut [u8], patch: Patch) {
    let len = out.len().checked_sub(patch.body_at).expect("the buffer lost the response's head");
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(len).as_bytes();
    assert!(digits.len() <= LENGTH_DIGITS, "a body is over BODY_BYTES_MAX");
    let end = patch.digits_at + LENGTH_DIGITS;
    out[end - digits.len()..end].copy_from_slice(digits);
}

/// Writes a response without a body: `Content-Length: 0`, which 1xx and 204 must not carry (RFC
/// 9110 8.6).
pub fn write_empty(out: &mut Vec<u8>, head: &ReplyHead<'_>) {
    begin_head(out, head, head.close);
    if !matches!(head.status.0, 100..=199 | 204) {
        out.extend_from_slice(b"Content-Length: 0\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes the interim response that a client waits for which sent `Expect: 100-continue` (RFC 9110
/// 15.2.1).
pub fn write_continue(out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
}

/// Begins a stream of events ([`crate::sse`]): no cache and no proxy may hold it back. With
/// `chunked` its end is seen on a connection that lives on; without, as HTTP/1.0 needs it, the
/// connection's end is the stream's, and the head says so.
pub fn begin_stream(out: &mut Vec<u8>, head: &ReplyHead<'_>, chunked: bool) {
    debug_assert!(!chunked || head.version_minor == 1, "HTTP/1.0 knows no chunks");
    begin_head(out, head, head.close || !chunked);
    out.extend_from_slice(
        b"Content-Type: text/event-stream\r\nCache-Control: no-cache\r\nX-Accel-Buffering: no\r\n",
    );
    if chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// The status line, and the fields that do not hang on the body.
fn begin_head(out: &mut Vec<u8>, head: &ReplyHead<'_>, close: bool) {
    out.reserve(HEAD_BYTES_USUAL);
    if let Some(line) = head.status.line() {
        out.extend_from_slice(line.as_bytes());
    } else {
        debug_assert!((100..=999).contains(&head.status.0));
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(itoa::Buffer::new().format(head.status.0).as_bytes());
        out.extend_from_slice(b" \r\n");
    }
    out.extend_from_slice(b"Date: ");
    out.extend_from_slice(head.date);
    out.extend_from_slice(b"\r\n");
    if close {
        out.extend_from_slice(b"Connection: close\r\n");
    } else if head.version_minor == 0 {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
    if let Some(retry_after_s) = head.retry_after_s {
        write_field(out, "Retry-After", itoa::Buffer::new().format(retry_after_s).as_bytes());
    }
    if let Some(allow) = head.allow {
        write_field(out, "Allow", allow.as_bytes());
    }
    if let Some(session_id) = head.session_id {
        out.extend_from_slice(b"Mcp-Session-Id: ");
        session_id.write(out);
        out.extend_from_slice(b"\r\n");
    }
    for (name, value) in head.fields {
        write_field(out, name, value);
    }
}

fn write_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    debug_assert!(!name.is_empty() && name.bytes().all(super::is_tchar));
    debug_assert!(!value.iter().any(u8::is_ascii_control), "a field would split the response");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DATE: &[u8; 29] = b"Sun, 06 Nov 1994 08:49:37 GMT";

    #[derive(Debug, PartialEq)]
    struct Parsed {
        code: u16,
        reason: String,
        fields: Vec<(String, Vec<u8>)>,
        rest: Vec<u8>,
    }

    fn parse(bytes: &[u8]) -> Parsed {
        let mut slots = [httparse::EMPTY_HEADER; 32];
        let mut response = httparse::Response::new(&mut slots);
        let len = response.parse(bytes).unwrap().unwrap();
        assert_eq!(response.version, Some(1));
        assert!(bytes[..len].ends_with(b"\r\n\r\n"));
        Parsed {
            code: response.code.unwrap(),
            reason: response.reason.unwrap().to_owned(),
            fields: response
                .headers
                .iter()
                .map(|header| (header.name.to_ascii_lowercase(), header.value.to_vec()))
                .collect(),
            rest: bytes[len..].to_vec(),
        }
    }

    impl Parsed {
        fn field(&self, name: &str) -> Option<&str> {
            let mut found = self.fields.iter().filter(|(sent, _)| sent == name);
            let value = found.next().map(|(_, value)| std::str::from_utf8(value).unwrap());
            assert!(found.next().is_none(), "{name} is repeated");
            value
        }
    }

    #[test]
    fn ordinary_head_is_short() {
        let mut out = Vec::new();
        let patch = begin_body(&mut out, &ReplyHead::new(Status::OK, DATE), "application/json");
        out.extend_from_slice(b"{}");
        finish_body(&mut out, patch);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
             Content-Type: application/json\r\nContent-Length:          2\r\n\r\n{}"
        );
    }

    #[test]
    fn optional_fields() {
        let mut head = ReplyHead::new(Status::SERVICE_UNAVAILABLE, DATE);
        head.close = true;
        head.retry_after_s = Some(7);
        head.allow = Some("POST, GET");
        head.session_id = Some(SessionId { partition: 0x2b, secret: 7 });
        head.fields = &[("X-Other", b"abc")];
        let mut out = Vec::new();
        write_empty(&mut out, &head);
        let parsed = parse(&out);
        assert_eq!((parsed.code, parsed.reason.as_str()), (503, "Service Unavailable"));
        assert_eq!(parsed.field("date"), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
        assert_eq!(parsed.field("connection"), Some("close"));
        assert_eq!(parsed.field("retry-after"), Some("7"));
        assert_eq!(parsed.field("allow"), Some("POST, GET"));
        let session_id = "02b-00000000000000000000000000000007";
        assert_eq!(parsed.field("mcp-session-id"), Some(session_id));
        assert_eq!(parsed.field("x-other"), Some("abc"));
        assert_eq!(parsed.field("content-length"), Some("0"));
        assert_eq!(parsed.rest, b"");
    }

    #[test]
    fn persistence_is_said_where_it_is_not_the_default() {
        for (version_minor, close, said) in [
            (1, false, None),
            (1, true, Some("close")),
            (0, false, Some("keep-alive")),
            (0, true, Some("close")),
        ] {
            let head = ReplyHead { version_minor, close, ..ReplyHead::new(Status::ACCEPTED, DATE) };
            let mut out = Vec::new();
            write_empty(&mut out, &head);
            assert_eq!(parse(&out).field("connection"), said);
        }
    }

    #[test]
    fn streams() {
        for (chunked, version_minor, coding, connection) in
            [(true, 1, Some("chunked"), None), (false, 0, None, Some("close"))]
        {
            let mut out = Vec::new();
            let head = ReplyHead { version_minor, ..ReplyHead::new(Status::OK, DATE) };
            begin_stream(&mut out, &head, chunked);
            let parsed = parse(&out);
            assert_eq!(parsed.field("content-type"), Some("text/event-stream"));
            assert_eq!(parsed.field("cache-control"), Some("no-cache"));
            assert_eq!(parsed.field("x-accel-buffering"), Some("no"));
            assert_eq!(parsed.field("transfer-encoding"), coding);
            assert_eq!(parsed.field("connection"), connection);
            assert_eq!(parsed.field("content-length"), None);
        }
    }

    #[test]
    fn statuses_without_a_length() {
        let mut out = Vec::new();
        write_continue(&mut out);
        assert_eq!(
            parse(&out),
            Parsed {
                code: 100,
                reason: "Continue".to_owned(),
                fields: Vec::new(),
                rest: Vec::new(),
            }
        );
        out.clear();
        write_empty(&mut out, &ReplyHead::new(Status(204), DATE));
        let parsed = parse(&out);
        assert_eq!((parsed.code, parsed.field("content-length")), (204, None));
    }

    proptest! {
        #[test]
        fn pipelined_replies_parse_back(
            replies in prop::collection::vec(
                (200..600_u16, prop::collection::vec(any::<u8>(), 0..3000), any::<bool>()),
                1..5,
            ),
        ) {
            let mut out = Vec::new();
            for (code, body, close) in &replies {
                let head =
                    ReplyHead { close: *close, ..ReplyHead::new(Status(*code), DATE) };
                let patch = begin_body(&mut out, &head, "text/plain");
                out.extend_from_slice(body);
                finish_body(&mut out, patch);
            }
            let mut rest = out;
            for (code, body, close) in &replies {
                let parsed = parse(&rest);
                prop_assert_eq!(parsed.code, *code);
                prop_assert_eq!(&parsed.reason, Status(*code).reason());
                prop_assert_eq!(parsed.field("connection").is_some(), *close);
                let len: usize = parsed.field("content-length").unwrap().parse().unwrap();
                prop_assert_eq!(&parsed.rest[..len], &body[..]);
                rest = parsed.rest[len..].to_vec();
            }
            prop_assert!(rest.is_empty());
        }
    }
}
