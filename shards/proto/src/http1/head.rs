//! The head of a request: where it ends, what it says, and what of it is refused.
//!
//! A [`Head`] borrows the received bytes and lives for one request. httparse does the grammar; the
//! rules against smuggling, which it leaves to its users, are here.

use std::mem::MaybeUninit;

use memchr::{memchr, memchr2};

use super::{Status, Verdict, is_tchar};

/// Most bytes of a head, with its blank line.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Most header lines of a head.
pub const HEADERS_MAX: usize = 64;

/// A request line that ends within so many bytes is judged before the rest of the head is there.
const REQUEST_LINE_PROBE: usize = 256;

/// Why a head is refused. The client is to blame; after any of these but [`Self::Expectation`] the
/// end of the message is not known, and the connection must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Not HTTP, or a shape that implementations read differently.
    #[error("{0}")]
    Malformed(&'static str),
    /// More than [`HEAD_BYTES_MAX`] bytes.
    #[error("the head is over {HEAD_BYTES_MAX} bytes")]
    TooLarge,
    /// More than [`HEADERS_MAX`] header lines.
    #[error("the head has over {HEADERS_MAX} header lines")]
    TooManyHeaders,
    /// A version other than 1.0 and 1.1; so the preface of HTTP/2 (RFC 9113 3.4).
    #[error("the version of HTTP is not 1.0 or 1.1")]
    Version,
    /// A transfer coding before `chunked` (RFC 9112 6.1).
    #[error("the transfer coding is not supported")]
    UnsupportedTransferEncoding,
    /// An expectation other than `100-continue` (RFC 9110 10.1.1).
    #[error("the expectation is not supported")]
    Expectation,
}

impl HeadError {
    /// The status that answers it: 400, 431, 505, 501 or 417.
    pub const fn status(&self) -> Status {
        match self {
            Self::Malformed(_) => Status::BAD_REQUEST,
            Self::TooLarge | Self::TooManyHeaders => Status::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Version => Status::HTTP_VERSION_NOT_SUPPORTED,
            Self::UnsupportedTransferEncoding => Status::NOT_IMPLEMENTED,
            Self::Expectation => Status::EXPECTATION_FAILED,
        }
    }
}

/// Looks for the end of a head in `bytes`, of which the first `scanned` bytes were given before
/// and answered with `None`; so all the calls for a head together look at each byte about once.
///
/// `Some(len)`: the head is `bytes[..len]`, its blank line included, for [`Head::parse`]. One empty
/// line before the request line (RFC 9112 2.2) is a part of it. `None`: more bytes are needed, and
/// fewer than [`HEAD_BYTES_MAX`] are there.
///
/// # Errors
/// [`HeadError::TooLarge`]; [`HeadError::Malformed`] as soon as the bytes cannot become a request:
/// the first is no token character (TLS, binary), the first line does not end in a version, or a
/// CR or LF stands alone (RFC 9112 2.2 would let a recipient take a lone LF for a line's end).
pub fn find_head(bytes: &[u8], scanned: usize) -> Result<Option<usize>, HeadError> {
    debug_assert!(scanned <= bytes.len());
    let window = &bytes[..bytes.len().min(HEAD_BYTES_MAX)];
    let start = match window {
        [] | b"\r" | b"\r\n" => return Ok(None),
        [b'\r', b'\n', ..] => 2,
        _ => 0,
    };
    if !is_tchar(window[start]) {
        return Err(HeadError::Malformed("the request does not begin with a method"));
    }
    // A CR that ended the bytes seen before has not been judged.
    let resume = scanned.min(window.len());
    let cr_pending = resume > 0 && window[resume - 1] == b'\r';
    let mut at = (resume - usize::from(cr_pending)).max(start);
    let mut first_line = at - start <= REQUEST_LINE_PROBE && !window[start..at].contains(&b'\n');

    while let Some(found) = memchr2(b'\r', b'\n', &window[at..]) {
        at += found;
        if window[at] == b'\n' {
            return Err(HeadError::Malformed("a line ends in LF without CR"));
        }
        match window.get(at + 1) {
            None => break,
            Some(b'\n') => {}
            Some(_) => return Err(HeadError::Malformed("a CR stands without LF")),
        }
        if window[..at].ends_with(b"\r\n") {
            return Ok(Some(at + 2));
        }
        if first_line && at - start <= REQUEST_LINE_PROBE && !ends_in_version(&window[start..at]) {
            return Err(HeadError::Malformed("the request line does not end in a version"));
        }
        first_line = false;
        at += 2;
    }
    if window.len() == HEAD_BYTES_MAX { Err(HeadError::TooLarge) } else { Ok(None) }
}

/// A request's head, parsed in place.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The method, a token; case matters (RFC 9110 9.1).
    pub method: &'a str,
    /// The target as it was sent: ASCII, no fragment, of a form of RFC 9112 3.2.
    pub target: &'a str,
    /// 0 or 1: the minor number of the client's version of HTTP/1.
    pub version_minor: u8,
    /// How the body's end is found.
    pub framing: Framing,
    /// Whether the client wants the connection to live on after the response (RFC 9112 9.3).
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the body (RFC 9110 10.1.1).
    pub expect_continue: bool,
    /// The header fields that every request is judged by.
    pub known: Known<'a>,
    path: &'a str,
    query: Option<&'a str>,
    /// The header lines with the blank line; httparse has found them well formed.
    lines: &'a [u8],
    accept_repeated: bool,
}

/// How the end of a request's body is found (RFC 9112 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// No body.
    None,
    /// So many bytes follow the head; may be zero.
    Length(u64),
    /// A chunked body follows the head: see [`super::Chunked`].
    Chunked,
}

/// Raw values of the fields that every request is judged by, without the white space around them.
/// `None`: not sent. All but `accept` are single: a head that repeats one is refused, since what
/// routes by a field and what serves by it must see one value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known<'a> {
    /// The host asked for: `Host`, or the authority of a target in absolute form, which overrides
    /// it (RFC 9112 3.2.2). Always there in HTTP/1.1; may be empty.
    pub host: Option<&'a [u8]>,
    /// `Origin`
    pub origin: Option<&'a [u8]>,
    /// `Accept`, its first line: ask [`Head::accepts`].
    pub accept: Option<&'a [u8]>,
    /// `Content-Type`
    pub content_type: Option<&'a [u8]>,
    /// `Mcp-Protocol-Version`
    pub protocol_version: Option<&'a [u8]>,
    /// `Mcp-Method`
    pub mcp_method: Option<&'a [u8]>,
    /// `Mcp-Name`
    pub mcp_name: Option<&'a [u8]>,
    /// `Mcp-Session-Id`
    pub session_id: Option<&'a [u8]>,
    /// `Last-Event-ID`
    pub last_event_id: Option<&'a [u8]>,
}

impl<'a> Head<'a> {
    /// Parses a whole head: the `bytes[..len]` of [`find_head`].
    ///
    /// # Errors
    /// Any [`HeadError`]. Malformed (400) are, besides bad grammar: a body's length given twice,
    /// as a list, with a sign or too large, or beside `Transfer-Encoding`; a `Transfer-Encoding`
    /// in HTTP/1.0, repeated, or not ending in one `chunked` (RFC 9112 6.1 to 6.3); a folded line
    /// or a space before the colon (RFC 9112 5.1, 5.2); a missing or repeated `Host` (RFC 9112
    /// 3.2); a repeated field of [`Known`] or `Mcp-Param-*`.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, HeadError> {
        if bytes.len() > HEAD_BYTES_MAX {
            return Err(HeadError::TooLarge);
        }
        let bytes = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
        if !bytes.first().is_some_and(|&byte| is_tchar(byte)) {
            return Err(HeadError::Malformed("the request does not begin with a method"));
        }
        // httparse takes a lone LF for a line's end; what `find_head` refused must stay refused
        // for whoever comes here without it.
        if has_lone_lf(bytes) {
            return Err(HeadError::Malformed("a line ends in LF without CR"));
        }
        let mut slots = [const { MaybeUninit::uninit() }; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut []);
        match request.parse_with_uninit_headers(bytes, &mut slots) {
            Ok(httparse::Status::Complete(len)) if len == bytes.len() => {}
            Ok(_) => return Err(HeadError::Malformed("not exactly one head")),
            Err(error) => return Err(refusal(error, bytes)),
        }
        let (Some(method), Some(target), Some(version_minor)) =
            (request.method, request.path, request.version)
        else {
            return Err(HeadError::Malformed("the request line is incomplete"));
        };
        let target_parts = Target::parse(method, target)?;

        let mut fields = Fields::default();
        for header in request.headers.iter() {
            fields.take(header.name, header.value)?;
        }
        fields.check_params(request.headers)?;
        let framing = fields.framing(version_minor)?;
        let expect_continue = fields.expect_continue(version_minor)?;
        fields.settle_host(version_minor, target_parts.authority)?;

        let line_len = memchr(b'\n', bytes).map_or(bytes.len(), |lf| lf + 1);
        Ok(Self {
            method,
            target,
            version_minor,
            framing,
            keep_alive: !fields.close && (version_minor == 1 || fields.keep_alive),
            expect_continue,
            known: fields.known,
            path: target_parts.path,
            query: target_parts.query,
            lines: &bytes[line_len..],
            accept_repeated: fields.accept_repeated,
        })
    }

    /// The target's path, still percent-encoded, without the query. `/` for an absolute form
    /// without one, `*` for the asterisk form, empty for CONNECT.
    pub const fn path(&self) -> &'a str {
        self.path
    }

    /// The target's query, without the `?`.
    pub const fn query(&self) -> Option<&'a str> {
        self.query
    }

    /// All header lines in the order in which they came: names as sent, values raw and without
    /// the white space around them.
    pub const fn headers(&self) -> Headers<'a> {
        Headers { lines: self.lines }
    }

    /// The first value of a field that [`Known`] does not hold; `name` in any case. Walks the
    /// lines.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers().find(|(sent, _)| sent.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Whether the request's `Accept` takes `media`. A request without the field takes anything
    /// (RFC 9110 12.5.1); several lines count as one list (RFC 9110 5.3).
    pub fn accepts(&self, media: &str) -> bool {
        let Some(accept) = self.known.accept else { return true };
        if !self.accept_repeated {
            return super::accepts(accept, media);
        }
        let mut verdict = Verdict::default();
        for (name, value) in self.headers() {
            if name.eq_ignore_ascii_case("accept") {
                verdict.weigh(value, media);
            }
        }
        verdict.accepted
    }
}

/// The header lines of a [`Head`]: made by [`Head::headers`].
#[derive(Clone, Debug)]
pub struct Headers<'a> {
    lines: &'a [u8],
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (line, rest) = self.lines.split_at_checked(memchr(b'\r', self.lines)?)?;
        let colon = memchr(b':', line)?;
        self.lines = rest.get(2..)?;
        let name = std::str::from_utf8(&line[..colon]).ok()?;
        Some((name, line[colon + 1..].trim_ascii()))
    }
}

/// A target taken apart (RFC 9112 3.2).
struct Target<'a> {
    authority: Option<&'a str>,
    path: &'a str,
    query: Option<&'a str>,
}

impl<'a> Target<'a> {
    fn parse(method: &str, target: &'a str) -> Result<Self, HeadError> {
        if target.bytes().any(|byte| byte == b'#' || !byte.is_ascii()) {
            return Err(HeadError::Malformed("the target has a fragment or is not ASCII"));
        }
        if target.starts_with('/') {
            return Ok(Self::split(None, target));
        }
        let scheme_len = [&b"http://"[..], b"https://"].iter().find_map(|scheme| {
            let sent = target.as_bytes().get(..scheme.len())?;
            sent.eq_ignore_ascii_case(scheme).then_some(scheme.len())
        });
        if let Some(scheme_len) = scheme_len {
            let rest = &target[scheme_len..];
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            let (authority, rest) = rest.split_at(end);
            // User information in an authority is there to mislead (RFC 9110 4.2.4).
            if authority.is_empty() || !is_host(authority.as_bytes()) {
                return Err(HeadError::Malformed("the target's authority is no host"));
            }
            return Ok(Self::split(Some(authority), rest));
        }
        match (method, target) {
            ("OPTIONS", "*") => Ok(Self { authority: None, path: "*", query: None }),
            ("CONNECT", _) => Ok(Self { authority: None, path: "", query: None }),
            _ => Err(HeadError::Malformed("the target is neither a path nor a URL")),
        }
    }

    fn split(authority: Option<&'a str>, rest: &'a str) -> Self {
        let (path, query) = match memchr(b'?', rest.as_bytes()) {
            Some(mark) => (&rest[..mark], Some(&rest[mark + 1..])),
            None => (rest, None),
        };
        Self { authority, path: if path.is_empty() { "/" } else { path }, query }
    }
}

/// What one pass over the header lines gathers.
#[derive(Default)]
struct Fields<'a> {
    known: Known<'a>,
    content_length: Option<&'a [u8]>,
    transfer_encoding: Option<&'a [u8]>,
    expect: Option<&'a [u8]>,
    params: usize,
    accept_repeated: bool,
    close: bool,
    keep_alive: bool,
}

impl<'a> Fields<'a> {
    fn take(&mut self, name: &str, value: &'a [u8]) -> Result<(), HeadError> {
        let known = &mut self.known;
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
        match name.len() {
            4 if is("host") => once(&mut known.host, value, "Host is repeated"),
            6 if is("accept") => {
                self.accept_repeated = known.accept.is_some();
                known.accept = known.accept.or(Some(value));
                Ok(())
            }
            6 if is("origin") => once(&mut known.origin, value, "Origin is repeated"),
            6 if is("expect") => once(&mut self.expect, value, "Expect is repeated"),
            8 if is("mcp-name") => once(&mut known.mcp_name, value, "Mcp-Name is repeated"),
            10 if is("connection") => {
                self.take_connection(value);
                Ok(())
            }
            10 if is("mcp-method") => once(&mut known.mcp_method, value, "Mcp-Method is repeated"),
            12 if is("content-type") => {
                once(&mut known.content_type, value, "Content-Type is repeated")
            }
            13 if is("last-event-id") => {
                once(&mut known.last_event_id, value, "Last-Event-ID is repeated")
            }
            14 if is("content-length") => {
                once(&mut self.content_length, value, "Content-Length is repeated")
            }
            14 if is("mcp-session-id") => {
                once(&mut known.session_id, value, "Mcp-Session-Id is repeated")
            }
            17 if is("transfer-encoding") => {
                once(&mut self.transfer_encoding, value, "Transfer-Encoding is repeated")
            }
            20 if is("mcp-protocol-version") => {
                once(&mut known.protocol_version, value, "Mcp-Protocol-Version is repeated")
            }
            _ => {
                self.params += usize::from(is_param(name));
                Ok(())
            }
        }
    }

    fn take_connection(&mut self, value: &[u8]) {
        for option in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    /// Quadratic in parameter fields, which [`HEADERS_MAX`] bounds; most requests have at most one.
    fn check_params(&self, headers: &[httparse::Header<'a>]) -> Result<(), HeadError> {
        if self.params < 2 {
            return Ok(());
        }
        for (index, header) in headers.iter().enumerate().filter(|(_, one)| is_param(one.name)) {
            if headers[..index].iter().any(|one| one.name.eq_ignore_ascii_case(header.name)) {
                return Err(HeadError::Malformed("an Mcp-Param field is repeated"));
            }
        }
        Ok(())
    }

    fn framing(&self, version_minor: u8) -> Result<Framing, HeadError> {
        match (self.content_length, self.transfer_encoding) {
            (None, None) => Ok(Framing::None),
            (Some(length), None) => content_length(length).map(Framing::Length),
            (Some(_), Some(_)) => {
                Err(HeadError::Malformed("Content-Length stands beside Transfer-Encoding"))
            }
            (None, Some(_)) if version_minor == 0 => {
                Err(HeadError::Malformed("Transfer-Encoding in HTTP/1.0"))
            }
            (None, Some(codings)) => check_codings(codings).map(|()| Framing::Chunked),
        }
    }

    /// HTTP/1.0 knows no expectations: they are ignored (RFC 9110 10.1.1).
    fn expect_continue(&self, version_minor: u8) -> Result<bool, HeadError> {
        match self.expect {
            Some(expect) if version_minor == 1 => {
                let known = expect.eq_ignore_ascii_case(b"100-continue");
                if known { Ok(true) } else { Err(HeadError::Expectation) }
            }
            _ => Ok(false),
        }
    }

    fn settle_host(
        &mut self,
        version_minor: u8,
        authority: Option<&'a str>,
    ) -> Result<(), HeadError> {
        match self.known.host {
            None if version_minor == 1 => return Err(HeadError::Malformed("Host is missing")),
            Some(host) if !is_host(host) => {
                return Err(HeadError::Malformed("Host is not a host"));
            }
            _ => {}
        }
        if let Some(authority) = authority {
            self.known.host = Some(authority.as_bytes());
        }
        Ok(())
    }
}

fn once<'a>(
    slot: &mut Option<&'a [u8]>,
    value: &'a [u8],
    repeated: &'static str,
) -> Result<(), HeadError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(HeadError::Malformed(repeated)),
    }
}

fn is_param(name: &str) -> bool {
    const PREFIX: &[u8] = b"mcp-param-";
    name.len() > PREFIX.len() && name.as_bytes()[..PREFIX.len()].eq_ignore_ascii_case(PREFIX)
}

/// Digits alone, within 64 bits (RFC 9110 8.6); a list of equal lengths is not repaired.
fn content_length(value: &[u8]) -> Result<u64, HeadError> {
    const REFUSED: HeadError = HeadError::Malformed("Content-Length is not one number");
    if value.is_empty() {
        return Err(REFUSED);
    }
    value.iter().try_fold(0_u64, |length, &byte| {
        let digit = if byte.is_ascii_digit() { byte - b'0' } else { return Err(REFUSED) };
        length.checked_mul(10).and_then(|tens| tens.checked_add(digit.into())).ok_or(REFUSED)
    })
}

/// Without a final `chunked` the body's end is unknown (RFC 9112 6.3): malformed, where a coding
/// before it is merely not supported.
fn check_codings(value: &[u8]) -> Result<(), HeadError> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let is_chunked = |coding: &[u8]| coding.trim_ascii().eq_ignore_ascii_case(b"chunked");
    let mut codings = value.rsplit(|&byte| byte == b',');
    let last_is_chunked = codings.next().is_some_and(is_chunked);
    let clean = |coding: &[u8]| !coding.trim_ascii().is_empty() && !is_chunked(coding);
    if last_is_chunked && codings.all(clean) {
        return Err(HeadError::UnsupportedTransferEncoding);
    }
    Err(HeadError::Malformed("Transfer-Encoding does not end in one chunked"))
}

/// The characters of a host and port (RFC 3986 3.2.2) but the comma, in which some would see a
/// list. Whether it is a host that is served is not asked here.
fn is_host(value: &[u8]) -> bool {
    value.iter().all(|&byte| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'.' | b':' | b'-' | b'_' | b'[' | b']' | b'%' | b'~')
            || matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'=')
    })
}

/// Written so that the compiler makes vectors of it.
fn has_lone_lf(bytes: &[u8]) -> bool {
    let pairs = bytes.iter().zip(bytes.iter().skip(1));
    pairs.fold(false, |lone, (&before, &byte)| lone | ((byte == b'\n') & (before != b'\r')))
}

fn ends_in_version(line: &[u8]) -> bool {
    line.last_chunk::<9>()
        .is_some_and(|[space, version @ ..]| *space == b' ' && is_version(version))
}

fn is_version(word: &[u8]) -> bool {
    matches!(word, [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'])
}

fn refusal(error: httparse::Error, bytes: &[u8]) -> HeadError {
    match error {
        httparse::Error::TooManyHeaders => HeadError::TooManyHeaders,
        httparse::Error::HeaderName => {
            HeadError::Malformed("a field name is bad, folded or followed by a space")
        }
        httparse::Error::HeaderValue => HeadError::Malformed("a field value is bad"),
        httparse::Error::Version => {
            let line = bytes.split(|&byte| byte == b'\r').next().unwrap_or_default();
            let version = line.splitn(3, |&byte| byte == b' ').nth(2);
            if version.is_some_and(is_version) {
                HeadError::Version
            } else {
                HeadError::Malformed("the request line is bad")
            }
        }
        httparse::Error::NewLine | httparse::Error::Status | httparse::Error::Token => {
            HeadError::Malformed("the request line is bad")
        }
    }
}
