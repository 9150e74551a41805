//! The head of a response, as a client reads it (RFC 9112 4 and 6.3).
//!
//! A [`ResponseHead`] borrows the received bytes and lives for one response. httparse does the
//! grammar; how the body ends is decided here, and what two implementations could read differently
//! is refused.

use std::mem::MaybeUninit;

use super::{HEAD_BYTES_MAX, HEADERS_MAX};

/// Why a head is no response's. The server is to blame; where the next response begins is not known
/// any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// Not HTTP/1, or a shape that implementations read differently.
    #[error("{0}")]
    Malformed(&'static str),
    /// More than [`HEAD_BYTES_MAX`] bytes.
    #[error("the head is over {HEAD_BYTES_MAX} bytes")]
    TooLarge,
}

/// How the end of a response's body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseFraming {
    /// So many bytes follow the head; may be zero.
    Length(u64),
    /// A chunked body follows the head: see [`super::Chunked`].
    Chunked,
    /// The body ends with the connection.
    Close,
}

/// What a response's body is, by its `Content-Type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Media {
    /// `application/json`.
    Json,
    /// `text/event-stream`.
    Events,
    /// Anything else, or nothing said.
    #[default]
    Other,
}

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseHead<'a> {
    /// The status code.
    pub status: u16,
    /// How the body ends.
    pub framing: ResponseFraming,
    /// What the body is.
    pub media: Media,
    /// Whether the server ends the connection after this response (RFC 9112 9.3).
    pub close: bool,
    /// The value of `Mcp-Session-Id`.
    pub session: Option<&'a [u8]>,
    /// Bytes of the head, with its blank line.
    pub len: usize,
}

impl<'a> ResponseHead<'a> {
    /// Parses the head that `bytes` begin with; `None` where more bytes are needed.
    ///
    /// # Errors
    /// [`ResponseError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Option<Self>, ResponseError> {
        let mut headers = [MaybeUninit::uninit(); HEADERS_MAX];
        let mut response = httparse::Response::new(&mut []);
        let window = &bytes[..bytes.len().min(HEAD_BYTES_MAX)];
        let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
            &mut response,
            window,
            &mut headers,
        );
        let len = match parsed {
            Ok(httparse::Status::Complete(len)) => len,
            Ok(httparse::Status::Partial) if bytes.len() >= HEAD_BYTES_MAX => {
                return Err(ResponseError::TooLarge);
            }
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(httparse::Error::TooManyHeaders) => return Err(ResponseError::TooLarge),
            Err(_) => return Err(ResponseError::Malformed("not a response of HTTP/1")),
        };
        let status = response.code.unwrap_or_default();
        let mut fields = Fields::default();
        for header in response.headers.iter() {
            fields.take(header.name, header.value)?;
        }
        let persists = response.version == Some(1) || fields.keep_alive;
        let framing = fields.framing(status)?;
        Ok(Some(Self {
            status,
            framing,
            media: fields.media,
            close: fields.close || !persists || framing == ResponseFraming::Close,
            session: fields.session,
            len,
        }))
    }

    /// Whether another head follows for the same request: a status of 100 to 199.
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status)
    }
}

/// What of the header lines matters.
#[derive(Default)]
struct Fields<'a> {
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    media: Media,
    session: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    fn take(&mut self, name: &str, value: &'a [u8]) -> Result<(), ResponseError> {
        // By length first: most lines are of no interest.
        match name.len() {
            10 if name.eq_ignore_ascii_case("connection") => {
                for option in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
                    self.close |= option.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            12 if name.eq_ignore_ascii_case("content-type") => self.media = media(value),
            14 if name.eq_ignore_ascii_case("content-length") => {
                let length = decimal(value.trim_ascii());
                let length = length.ok_or(ResponseError::Malformed("a bad Content-Length"))?;
                if self.length.is_some_and(|known| known != length) {
                    return Err(ResponseError::Malformed("two values of Content-Length"));
                }
                self.length = Some(length);
            }
            14 if name.eq_ignore_ascii_case("mcp-session-id") => {
                self.session = Some(value.trim_ascii());
            }
            17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                if self.chunked || !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                    return Err(ResponseError::Malformed("a transfer coding other than chunked"));
                }
                self.chunked = true;
            }
            _ => {}
        }
        Ok(())
    }

    fn framing(&self, status: u16) -> Result<ResponseFraming, ResponseError> {
        match (self.chunked, self.length) {
            _ if matches!(status, 100..200 | 204 | 304) => Ok(ResponseFraming::Length(0)),
            (true, Some(_)) => {
                Err(ResponseError::Malformed("both Transfer-Encoding and Content-Length"))
            }
            (true, None) => Ok(ResponseFraming::Chunked),
            (false, Some(length)) => Ok(ResponseFraming::Length(length)),
            (false, None) => Ok(ResponseFraming::Close),
        }
    }
}

fn media(value: &[u8]) -> Media {
    let essence = value.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
    if essence.eq_ignore_ascii_case(b"application/json") {
        Media::Json
    } else if essence.eq_ignore_ascii_case(b"text/event-stream") {
        Media::Events
    } else {
        Media::Other
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, &byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Option<ResponseHead<'_>>, ResponseError> {
        ResponseHead::parse(text.as_bytes())
    }

    #[test]
    fn heads() {
        let text = "HTTP/1.1 200 OK\r\ncontent-type: application/json; charset=utf-8\r\n\
                    Content-Length: 12\r\nMCP-Session-Id: 001-ab \r\n\r\n{\"x\":1}";
        let head = parse(text).unwrap().unwrap();
        assert_eq!((head.status, head.framing), (200, ResponseFraming::Length(12)));
        assert_eq!((head.media, head.close), (Media::Json, false));
        assert_eq!(head.session, Some(&b"001-ab"[..]));
        assert_eq!(&text[head.len..], "{\"x\":1}");
    }

    #[test]
    fn framings() {
        let table = [
            ("1.1 200", "Content-Length: 0", ResponseFraming::Length(0), false),
            ("1.1 202", "Content-Length: 0\r\nConnection: close", ResponseFraming::Length(0), true),
            ("1.1 200", "Transfer-Encoding: Chunked", ResponseFraming::Chunked, false),
            ("1.1 200", "X: y", ResponseFraming::Close, true),
            ("1.1 204", "X: y", ResponseFraming::Length(0), false),
            ("1.1 100", "X: y", ResponseFraming::Length(0), false),
            ("1.0 200", "Content-Length: 3", ResponseFraming::Length(3), true),
            (
                "1.0 200",
                "Content-Length: 3\r\nConnection: x, Keep-Alive",
                ResponseFraming::Length(3),
                false,
            ),
        ];
        for (status, fields, framing, close) in table {
            let text = format!("HTTP/{status} Something\r\n{fields}\r\n\r\n");
            let head = parse(&text).unwrap().unwrap();
            assert_eq!((head.framing, head.close), (framing, close), "{text}");
        }
    }

    #[test]
    fn refused() {
        for fields in [
            "Content-Length: 1\r\nContent-Length: 2",
            "Content-Length: -1",
            "Content-Length: ",
            "Content-Length: 99999999999999999999",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 3",
        ] {
            let text = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n");
            assert!(matches!(parse(&text), Err(ResponseError::Malformed(_))), "{fields}");
        }
        assert!(parse("{\"jsonrpc\":\"2.0\"}").is_err());
        assert!(parse("HTTP/2 200\r\n\r\n").is_err());
        let long = format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(HEAD_BYTES_MAX));
        assert_eq!(parse(&long), Err(ResponseError::TooLarge));
    }

    proptest! {
        #[test]
        fn a_head_is_complete_at_its_end_alone(
            status in 200..600_u16,
            names in prop::collection::vec("[A-Za-z-]{1,12}", 0..6),
            length in any::<u32>(),
        ) {
            let mut text = format!("HTTP/1.1 {status} Why\r\nContent-Length: {length}\r\n");
            for name in names {
                text.push_str(&format!("X-{name}: value of {name}\r\n"));
            }
            text.push_str("\r\n");
            for cut in 0..text.len() {
                prop_assert_eq!(parse(&text[..cut]), Ok(None));
            }
            let head = parse(&text).unwrap().unwrap();
            prop_assert_eq!((head.status, head.len), (status, text.len()));
        }

        #[test]
        fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(Some(head)) = ResponseHead::parse(&bytes) {
                prop_assert!(head.len <= bytes.len());
            }
        }
    }
}
