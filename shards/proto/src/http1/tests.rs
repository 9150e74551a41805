//! Tests of heads: a table for each rule, then properties.

use proptest::prelude::*;

use super::*;

const MCP: &str = "POST /mcp HTTP/1.1\r\nHost: localhost:8080\r\n\
    Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\n\
    MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: add\r\n\
    Origin: http://localhost\r\nMcp-Session-Id: s1\r\nLast-Event-ID: 7\r\n\
    Mcp-Param-Region: eu\r\nContent-Length: 27\r\n\r\n";

/// What a server would see: the head's end looked for, then the head parsed.
fn read(bytes: &[u8]) -> Result<Head<'_>, HeadError> {
    let len = find_head(bytes, 0)?.expect("the head has an end");
    Head::parse(&bytes[..len])
}

fn with(lines: &str) -> String {
    format!("POST /mcp HTTP/1.1\r\nHost: h\r\n{lines}\r\n\r\n")
}

fn assert_malformed(bytes: &[u8]) {
    let found = find_head(bytes, 0);
    let refused = match found {
        Ok(Some(len)) => Head::parse(&bytes[..len]).err(),
        Ok(None) => panic!("more wanted: {}", bytes.escape_ascii()),
        Err(error) => Some(error),
    };
    assert!(
        matches!(refused, Some(HeadError::Malformed(_))),
        "{}: {refused:?}",
        bytes.escape_ascii()
    );
    assert_eq!(refused.map(|error| error.status()), Some(Status::BAD_REQUEST));
}

#[test]
fn an_ordinary_request() {
    let head = read(MCP.as_bytes()).unwrap();
    assert_eq!((head.method, head.target, head.version_minor), ("POST", "/mcp", 1));
    assert_eq!((head.path(), head.query()), ("/mcp", None));
    assert_eq!(head.framing, Framing::Length(27));
    assert!(head.keep_alive && !head.expect_continue);
    assert_eq!(
        head.known,
        Known {
            host: Some(b"localhost:8080"),
            origin: Some(b"http://localhost"),
            accept: Some(b"application/json, text/event-stream"),
            content_type: Some(b"application/json"),
            protocol_version: Some(b"2026-07-28"),
            mcp_method: Some(b"tools/call"),
            mcp_name: Some(b"add"),
            session_id: Some(b"s1"),
            last_event_id: Some(b"7"),
        }
    );
    assert_eq!(head.header("mcp-param-REGION"), Some(&b"eu"[..]));
    assert_eq!(head.header("mcp-param-other"), None);
    assert_eq!(head.headers().count(), 11);
    assert_eq!(head.headers().next(), Some(("Host", &b"localhost:8080"[..])));
}

#[test]
fn heads_end_at_the_blank_line() {
    let table: &[(&str, Option<usize>)] = &[
        ("", None),
        ("\r", None),
        ("\r\n", None),
        ("G", None),
        ("GET / HTTP/1.1\r", None),
        ("GET / HTTP/1.1\r\n\r", None),
        ("GET / HTTP/1.1\r\n\r\n", Some(18)),
        ("GET / HTTP/1.1\r\n\r\n\n\n", Some(18)),
        ("GET / HTTP/1.1\r\nA: b\r\n\r\nGET / HTTP/1.1\r\n\r\n", Some(24)),
        ("\r\nGET / HTTP/1.1\r\n\r\n", Some(20)),
    ];
    for &(bytes, end) in table {
        assert_eq!(find_head(bytes.as_bytes(), 0), Ok(end), "{bytes:?}");
    }
    let head = Head::parse(b"\r\nGET /a HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    assert_eq!((head.path(), head.headers().count()), ("/a", 1));
}

#[test]
fn what_is_no_http_is_refused_at_once() {
    let table: &[&[u8]] = &[
        b"\x16",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"\0",
        b" GET / HTTP/1.1\r\n",
        b"\n",
        b"\nGET / HTTP/1.1\r\n",
        b"\rG",
        b"\r\n\r",
        b"\r\n\r\nGET / HTTP/1.1\r\n",
        b"{\"jsonrpc\":",
        b"\xff\xfe",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"EHLO example.org\r\n",
        b"GET /\r\n",
        b"GET / HTTP/1.1 \r\n",
        b"GET / HTTP/1\r\n",
        b"GET / http/1.1\r\n",
        b"GET / HTTP/1.1\n",
        b"GET / HTTP/1.1\r\nHost: h\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n\n",
        b"GET / HTTP/1.1\rHost: h",
        b"GET / HTTP/1.1\r\nA: b\rc",
        b"GET / HTTP/1.1\r\nA: b\r\r\n",
    ];
    for bytes in table {
        assert!(
            matches!(find_head(bytes, 0), Err(HeadError::Malformed(_))),
            "{}",
            bytes.escape_ascii()
        );
    }
}

#[test]
fn bad_request_lines_are_refused() {
    for line in [
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET HTTP/1.1",
        "GET /\x01 HTTP/1.1",
        "GET /\x7f HTTP/1.1",
        "GET /\t HTTP/1.1",
        "GET /\0 HTTP/1.1",
        "GET /é HTTP/1.1",
        "GET /a#b HTTP/1.1",
        "G{}ET / HTTP/1.1",
        "GET mcp HTTP/1.1",
        "GET * HTTP/1.1",
        "GET ftp://h/ HTTP/1.1",
        "GET http:// HTTP/1.1",
        "GET http:///mcp HTTP/1.1",
        "GET http://localhost@evil.example/ HTTP/1.1",
        "GET / XTTP/1.1",
    ] {
        assert_malformed(format!("{line}\r\nHost: h\r\n\r\n").as_bytes());
    }
}

#[test]
fn other_versions_get_505() {
    let table: &[&[u8]] = &[
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.2\r\n\r\n",
        b"GET / HTTP/0.9\r\n\r\n",
        b"GET / HTTP/3.0\r\nHost: h\r\n\r\n",
    ];
    for bytes in table {
        assert_eq!(read(bytes).unwrap_err(), HeadError::Version, "{}", bytes.escape_ascii());
    }
    assert_eq!(HeadError::Version.status(), Status::HTTP_VERSION_NOT_SUPPORTED);
}

#[test]
fn bad_header_lines_are_refused() {
    let table: &[&[u8]] = &[
        b"Name : v",
        b"Name\t: v",
        b" Name: v",
        b"A: b\r\n folded",
        b"A: b\r\n\tfolded",
        b"A:\r\n folded",
        b": v",
        b"no colon",
        b"N\0me: v",
        b"N\xc3\xa9: v",
        b"A: \0",
        b"A: b\x01",
        b"A: b\x0bc",
        b"A: b\x1b[0m",
        b"A: b\x7f",
        b"A: a value long enough for the vector path of the parser\x7f and more of it",
        b"A: a value long enough for the vector path of the parser\0 and more of it",
        b"Host: other",
        b"host: h",
        b"Origin: a\r\nOrigin: a",
        b"Content-Type: application/json\r\ncontent-type: application/json",
        b"MCP-Protocol-Version: 1\r\nmcp-protocol-version: 1",
        b"Mcp-Method: a\r\nMCP-METHOD: b",
        b"Mcp-Name: a\r\nmcp-name: a",
        b"Mcp-Session-Id: a\r\nMcp-Session-Id: a",
        b"Last-Event-ID: 1\r\nLast-Event-Id: 1",
        b"Mcp-Param-A: 1\r\nX: y\r\nmcp-param-a: 2",
        b"Expect: 100-continue\r\nExpect: 100-continue",
    ];
    for lines in table {
        assert_malformed(&[b"POST / HTTP/1.1\r\nHost: h\r\n", &lines[..], b"\r\n\r\n"].concat());
        assert_malformed(&[b"POST / HTTP/1.1\r\n", &lines[..], b"\r\nHost: h\r\n\r\n"].concat());
    }
}

#[test]
fn bytes_past_ascii_may_stand_in_values() {
    let head = b"GET / HTTP/1.1\r\nHost: h\r\nA: caf\xc3\xa9\tb \r\n\r\n";
    assert_eq!(read(head).unwrap().header("a"), Some(&b"caf\xc3\xa9\tb"[..]));
}

#[test]
fn framing() {
    let max = u64::MAX.to_string();
    for (lines, framing) in [
        ("A: b", Framing::None),
        ("Content-Length: 0", Framing::Length(0)),
        ("content-length:007 ", Framing::Length(7)),
        (&format!("Content-Length: {max}"), Framing::Length(u64::MAX)),
        ("Transfer-Encoding: chunked", Framing::Chunked),
        ("TRANSFER-ENCODING:\tChunked ", Framing::Chunked),
    ] {
        assert_eq!(read(with(lines).as_bytes()).unwrap().framing, framing, "{lines}");
    }
}

#[test]
fn smuggling_shapes_are_refused() {
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Transfer-Encoding: gzip, chunked\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5, 5",
        "Content-Length: +5",
        "Content-Length: -5",
        "Content-Length: 0x5",
        "Content-Length: 5 5",
        "Content-Length: 5.0",
        "Content-Length: \"5\"",
        "Content-Length:",
        "Content-Length: 18446744073709551616",
        "Content-Length: 99999999999999999999999",
        "Content-Length: \u{665}",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: chunked;a=b",
        "Transfer-Encoding: chunked,",
        "Transfer-Encoding: ,chunked",
        "Transfer-Encoding:",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding:\r\n chunked",
        "Transfer-Encoding: \x0bchunked",
    ] {
        assert_malformed(with(lines).as_bytes());
    }
    assert_malformed(b"POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    let coded = with("Transfer-Encoding: gzip, chunked");
    let refused = read(coded.as_bytes()).unwrap_err();
    assert_eq!(refused, HeadError::UnsupportedTransferEncoding);
    assert_eq!(refused.status(), Status::NOT_IMPLEMENTED);
}

#[test]
fn hosts() {
    assert_malformed(b"GET / HTTP/1.1\r\n\r\n");
    assert_malformed(b"GET http://h/ HTTP/1.1\r\n\r\n");
    for host in ["a b", "a/b", "a@b", "a,b", "h\\", "h?", "h#", "h\u{e9}"] {
        assert_malformed(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
    }
    for host in ["", "h", "[::1]:80", "127.0.0.1:8080", "a-b_c.example."] {
        let request = format!("GET / HTTP/1.1\r\nHost: {host} \r\n\r\n");
        assert_eq!(read(request.as_bytes()).unwrap().known.host, Some(host.as_bytes()));
    }
    assert_eq!(read(b"GET / HTTP/1.0\r\n\r\n").unwrap().known.host, None);
}

#[test]
fn targets() {
    for (line, path, query, host) in [
        ("GET /mcp", "/mcp", None, "h"),
        ("GET /mcp?", "/mcp", Some(""), "h"),
        ("GET /mcp?a=b?c", "/mcp", Some("a=b?c"), "h"),
        ("GET /%6Dcp", "/%6Dcp", None, "h"),
        ("GET //mcp", "//mcp", None, "h"),
        ("GET /http://x", "/http://x", None, "h"),
        ("GET http://a.example:8/mcp?q", "/mcp", Some("q"), "a.example:8"),
        ("GET HTTPS://a", "/", None, "a"),
        ("GET http://a?q", "/", Some("q"), "a"),
        ("OPTIONS *", "*", None, "h"),
        ("CONNECT a:443", "", None, "h"),
    ] {
        let request = format!("{line} HTTP/1.1\r\nHost: h\r\n\r\n");
        let head = read(request.as_bytes()).unwrap();
        assert_eq!((head.path(), head.query()), (path, query), "{line}");
        assert_eq!(head.known.host, Some(host.as_bytes()), "{line}");
        assert_eq!(head.target, line.split_once(' ').unwrap().1);
    }
}

#[test]
fn keep_alive() {
    for (version, connection, keep) in [
        ("1.1", "X: y", true),
        ("1.1", "Connection: keep-alive", true),
        ("1.1", "Connection: CLOSE", false),
        ("1.1", "Connection: Upgrade,  close", false),
        ("1.1", "Connection: keep-alive\r\nConnection: close", false),
        ("1.1", "Connection: close\r\nConnection: keep-alive", false),
        ("1.1", "Connection: closed", true),
        ("1.0", "X: y", false),
        ("1.0", "Connection: Keep-Alive", true),
        ("1.0", "Connection: te,keep-alive", true),
        ("1.0", "Connection: keep-alive, close", false),
    ] {
        let request = format!("GET / HTTP/{version}\r\nHost: h\r\n{connection}\r\n\r\n");
        assert_eq!(read(request.as_bytes()).unwrap().keep_alive, keep, "{version} {connection}");
    }
}

#[test]
fn expectations() {
    assert!(read(with("Expect: 100-Continue").as_bytes()).unwrap().expect_continue);
    let strange = with("Expect: a-pony");
    let refused = read(strange.as_bytes()).unwrap_err();
    assert_eq!(refused.status(), Status::EXPECTATION_FAILED);
    for expect in ["100-continue", "a-pony"] {
        let request = format!("POST / HTTP/1.0\r\nExpect: {expect}\r\n\r\n");
        assert!(!read(request.as_bytes()).unwrap().expect_continue);
    }
}

#[test]
fn size_bounds() {
    let fill = |len: usize| {
        let mut head = b"GET / HTTP/1.1\r\nHost: h\r\nA: ".to_vec();
        head.resize(len - 4, b'x');
        head.extend_from_slice(b"\r\n\r\n");
        head
    };
    let largest = fill(HEAD_BYTES_MAX);
    assert_eq!(find_head(&largest, 0), Ok(Some(HEAD_BYTES_MAX)));
    assert!(Head::parse(&largest).is_ok());
    assert_eq!(find_head(&largest[..HEAD_BYTES_MAX - 1], 0), Ok(None));
    let over = fill(HEAD_BYTES_MAX + 1);
    assert_eq!(find_head(&over[..HEAD_BYTES_MAX - 1], 0), Ok(None));
    assert_eq!(find_head(&over[..HEAD_BYTES_MAX], 0), Err(HeadError::TooLarge));
    assert_eq!(find_head(&over, HEAD_BYTES_MAX - 1), Err(HeadError::TooLarge));
    assert_eq!(Head::parse(&over).unwrap_err(), HeadError::TooLarge);
    assert_eq!(find_head(&[b'G'; HEAD_BYTES_MAX], 0), Err(HeadError::TooLarge));

    let lines = |count: usize| with(&vec!["A: b"; count - 1].join("\r\n"));
    assert_eq!(read(lines(HEADERS_MAX).as_bytes()).unwrap().headers().count(), HEADERS_MAX);
    let refused = read(lines(HEADERS_MAX + 1).as_bytes()).unwrap_err();
    assert_eq!(refused, HeadError::TooManyHeaders);
    for refused in [HeadError::TooLarge, HeadError::TooManyHeaders] {
        assert_eq!(refused.status(), Status::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }
}

#[test]
fn parse_takes_exactly_one_head() {
    for bytes in [
        &b""[..],
        b"\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n\r\nx",
        b"GET / HTTP/1.1\r\nHost: h\n\r\n",
        b"\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
    ] {
        assert!(matches!(Head::parse(bytes), Err(HeadError::Malformed(_))));
    }
}

#[test]
fn accept() {
    const JSON: &str = "application/json";
    for (value, taken) in [
        ("application/json", true),
        ("Application/JSON", true),
        ("application/json, text/event-stream", true),
        ("text/event-stream,application/json;charset=utf-8", true),
        ("*/*", true),
        ("*", true),
        ("application/*", true),
        ("APPLICATION/*;q=0.1", true),
        ("application/json;q=0.001", true),
        ("application/json ; Q=1", true),
        ("*/*;q=0, application/json", true),
        ("application/json;q=0, application/json", true),
        ("", false),
        ("text/event-stream", false),
        ("text/*", false),
        ("application/jsonl", false),
        ("application/js*", false),
        ("applicatio/*", false),
        ("application", false),
        ("/*", false),
        ("application/json;q=0", false),
        ("application/json ; q=0.000", false),
        ("application/json;Q=0, */*", false),
        ("*/*, application/*;q=0.0", false),
        ("*/*;q=0", false),
    ] {
        assert_eq!(accepts(value.as_bytes(), JSON), taken, "{value}");
        let request = with(&format!("Accept: {value}"));
        assert_eq!(read(request.as_bytes()).unwrap().accepts(JSON), taken, "{value}");
        let request = with(
            &value.split(',').map(|one| format!("Accept: {one}")).collect::<Vec<_>>().join("\r\n"),
        );
        assert_eq!(read(request.as_bytes()).unwrap().accepts(JSON), taken, "{request}");
    }
    assert!(read(with("X: y").as_bytes()).unwrap().accepts(JSON));
}

#[test]
fn json_content_types() {
    for (value, json) in [
        ("application/json", true),
        ("Application/Json; charset=utf-8", true),
        ("application/json ;a=b", true),
        ("", false),
        ("text/plain", false),
        ("text/plain; application/json", false),
        ("application/json, text/plain", false),
        ("application/jsonp", false),
        ("application/json-rpc", false),
    ] {
        assert_eq!(is_json_content_type(value.as_bytes()), json, "{value}");
    }
}

/// As a connection does it: bytes arrive up to each cut, and the first answer stands.
fn find_in_pieces(bytes: &[u8], cuts: &[usize]) -> Result<Option<usize>, HeadError> {
    let mut ends: Vec<_> = cuts.iter().map(|&cut| cut.min(bytes.len())).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    let mut scanned = 0;
    for end in ends {
        match find_head(&bytes[..end], scanned) {
            Ok(None) => scanned = end,
            answer => return answer,
        }
    }
    Ok(None)
}

fn soup() -> impl Strategy<Value = Vec<u8>> {
    let words: Vec<&[u8]> = vec![
        b"\r\n",
        b"\r\n",
        b"\r\n",
        b"\r\n\r\n",
        b"\r",
        b"\n",
        b" ",
        b":",
        b"A: b",
        b"Host: h",
        b"GET / HTTP/1.1",
        b"Content-Length: 1",
        b"Transfer-Encoding: chunked",
        b"\0",
        b"\xff",
    ];
    let tail = prop::collection::vec(prop::sample::select(words), 0..12);
    let start: Vec<&[u8]> = vec![
        b"",
        b"\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n",
        b"\r\nPOST /mcp HTTP/1.0\r\n",
        b"GET /",
    ];
    (prop::sample::select(start), 0..3_usize, tail)
        .prop_map(|(start, long, tail)| [start, &b"x".repeat(long * 130), &tail.concat()].concat())
}

fn lines() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let value = prop::collection::vec(prop_oneof![0x21..=0x7e_u8, 0x80..=0xff_u8], 0..40);
    prop::collection::vec(("X-[a-zA-Z0-9!#$%&'*+.^_`|~-]{1,20}", value), 0..(HEADERS_MAX - 1))
}

proptest! {
    #[test]
    fn any_split_finds_the_same_end(
        bytes in prop_oneof![
            soup(),
            prop::collection::vec(any::<u8>(), 0..60),
            Just(MCP.as_bytes().to_vec()),
        ],
        cuts in prop::collection::vec(0..600_usize, 0..12),
    ) {
        let every: Vec<_> = (0..bytes.len()).collect();
        let whole = find_head(&bytes, 0);
        prop_assert_eq!(find_in_pieces(&bytes, &cuts), whole);
        prop_assert_eq!(find_in_pieces(&bytes, &every), whole);
    }

    #[test]
    fn heads_come_back(
        method in "[A-Z]{1,10}",
        path in "/[a-zA-Z0-9/._~%-]{0,60}",
        query in prop::option::of("[a-z=&?]{0,20}"),
        minor in 0..=1_u8,
        space in "[ \t]{0,3}",
        lines in lines(),
    ) {
        let target = query.iter().fold(path.clone(), |path, query| format!("{path}?{query}"));
        let mut wire = format!("{method} {target} HTTP/1.{minor}\r\nhOST: h\r\n").into_bytes();
        for (name, value) in &lines {
            let (name, space) = (name.as_bytes(), space.as_bytes());
            wire.extend_from_slice(&[name, b":", space, value, space, b"\r\n"].concat());
        }
        wire.extend_from_slice(b"\r\n");
        let head = read(&wire).unwrap();
        prop_assert_eq!(head.method, &method);
        prop_assert_eq!(head.target, &target);
        prop_assert_eq!(head.version_minor, minor);
        prop_assert_eq!((head.path(), head.query()), (&path[..], query.as_deref()));
        let sent: Vec<_> = lines.iter().map(|(name, value)| (&name[..], &value[..])).collect();
        prop_assert_eq!(head.headers().skip(1).collect::<Vec<_>>(), sent);
    }

    #[test]
    fn what_parses_is_one_clean_head(bytes in soup()) {
        if let Ok(head) = Head::parse(&bytes) {
            prop_assert_eq!(find_head(&bytes, 0), Ok(Some(bytes.len())));
            let mut slots = [httparse::EMPTY_HEADER; HEADERS_MAX];
            let mut request = httparse::Request::new(&mut slots);
            request.parse(&bytes).unwrap();
            let theirs: Vec<_> = request.headers.iter().map(|one| (one.name, one.value)).collect();
            prop_assert_eq!(head.headers().collect::<Vec<_>>(), theirs);
        }
    }

    #[test]
    fn no_bytes_make_parse_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        at in 0..MCP.len(),
    ) {
        assert!(Head::parse(&bytes).is_err());
        let mut damaged = MCP.as_bytes().to_vec();
        let end = (at + bytes.len().min(3)).min(damaged.len());
        damaged[at..end].copy_from_slice(&bytes[..end - at]);
        if let Ok(Some(len)) = find_head(&damaged, 0)
            && let Ok(head) = Head::parse(&damaged[..len])
        {
            prop_assert!(head.headers().count() <= HEADERS_MAX);
        }
    }
}
