//! Every kind of garbage in every framing: by a table, and by a generator with a seed.

use std::io::Read as _;

use serde_json::{Value, json};

use crate::support::session::{LEGACY, message, notification, text, tool};
use crate::support::{
    Client, Lines, Request, Server, Session, call, nothing_leaked, plain, request,
};
use crate::{assert_serves, fine, line_hello, modern_line, serve};

/// Says which garbage a failure is from; another seed is other garbage.
const SEED: u64 = 2_026;

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).expect("below a usize")
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// Some bytes, of those that parsers look for more often than not.
    fn noise(&mut self) -> Vec<u8> {
        const TELLING: &[u8] =
            b"{}[]\":,\\\r\n\t 0-+.eE/*:;nulltruefalse\x00\xff\xc3\x28\xed\xa0\x80";
        let len = self.below(200);
        (0..len)
            .map(|_| match self.below(3) {
                0 => u8::try_from(self.next() & 0xff).expect("a byte"),
                _ => *self.pick(TELLING),
            })
            .collect()
    }

    /// Something right with one thing or a few wrong.
    fn spoil(&mut self, right: &[u8]) -> Vec<u8> {
        let mut bytes = right.to_vec();
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len());
            match self.below(6) {
                0 => bytes.truncate(at),
                1 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                2 if at < bytes.len() => drop(bytes.remove(at)),
                3 => bytes.insert(at, *self.pick(b"{}[]\",:\\\x00\xff0 ")),
                4 => {
                    let piece = bytes[at..].to_vec();
                    bytes.extend(piece);
                }
                _ => {
                    let noise = self.noise();
                    bytes.splice(at..at, noise);
                }
            }
        }
        bytes
    }
}

/// What is no JSON-RPC message, or a strange one.
fn table() -> Vec<Vec<u8>> {
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(5_000), close.repeat(5_000));
    let mut table: Vec<Vec<u8>> = [
        "", " ", "null", "true", "7", "-0", "1e999", "\"text\"", "[]", "[[]]", "[1,2]", "{}", "{",
        "}", "]", "{]", "{\"a\"", "{\"a\":", "{\"a\":1,}", "{,}", "{\"a\":1}{\"b\":2}", "NaN",
        "{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"ping\"}",
        "{\"jsonrpc\":2.0,\"id\":1,\"method\":\"ping\"}",
        "{\"id\":1,\"method\":\"ping\"}",
        "{\"jsonrpc\":\"2.0\",\"id\":1}",
        "{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"ping\"}",
        "{\"jsonrpc\":\"2.0\",\"id\":1.5,\"method\":\"ping\"}",
        "{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"ping\"}",
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"id\":2,\"method\":\"ping\"}",
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":7}",
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\"}",
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":[]}",
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":7}",
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":[]}}",
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"_meta\":7}}",
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{},\"error\":{}}",
        "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{\"requestId\":{}}}",
        "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\"}",
        "{\"jsonrpc\":\"2.0\",\"method\":\"no/such\"}",
        "{\"__proto__\":{\"jsonrpc\":\"2.0\"}}",
        "\u{feff}{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}",
        "<?xml version=\"1.0\"?><methodCall/>",
        "GET / HTTP/1.1",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    table.extend([
        deep("[", "]").into_bytes(),
        deep("{\"a\":", "}").into_bytes(),
        "[".repeat(100_000).into_bytes(),
        format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"{}\"}}", "m".repeat(50_000)).into(),
        format!("{{\"jsonrpc\":\"2.0\",\"id\":\"{}\",\"method\":\"ping\"}}", "i".repeat(50_000))
            .into(),
        format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"ping\"}}", "9".repeat(5_000)).into(),
        vec![0; 1_000],
        vec![0xff; 1_000],
        b"\xc3\x28".to_vec(),
        b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xed\xa0\x80\"}".to_vec(),
        (0..=255).collect(),
    ]);
    table
}

/// Right messages, which are spoiled.
fn right() -> Vec<Vec<u8>> {
    let modern = crate::support::lines::message(&call("fine", json!({})));
    [
        message(1, "tools/list", json!({"cursor": "3"})),
        tool("a", "fine", json!({"a": [1, 2.5e3, null, {"b": "\u{e4}\n"}]})),
        message(1, "logging/setLevel", json!({"level": "debug"})),
        message(1, "resources/subscribe", json!({"uri": "paged://0"})),
        message(1, "completion/complete", json!({"ref": {"type": "ref/prompt", "name": "panics"}})),
        notification("notifications/cancelled", json!({"requestId": 1})),
        json!({"jsonrpc": "2.0", "id": 1, "result": {"content": []}}),
        json!([message(1, "ping", json!({})), message(2, "ping", json!({}))]),
        modern,
    ]
    .iter()
    .map(|message| message.to_string().into_bytes())
    .collect()
}

/// The table, and this many of the generator.
fn all(seed: u64, count: usize) -> Vec<Vec<u8>> {
    let (mut dice, right) = (Dice(seed), right());
    let mut garbage = table();
    garbage.extend((0..count).map(|at| match at % 4 {
        0 => dice.noise(),
        _ => {
            let message = dice.pick(&right).clone();
            dice.spoil(&message)
        }
    }));
    garbage
}

fn shown(bytes: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(bytes).chars().take(300).collect();
    format!("seed {SEED}: {text:?}")
}

/// Everything that comes until the end, whatever ends it.
fn rest(client: &mut Client) -> Vec<u8> {
    let (mut all, mut bytes) = (Vec::new(), [0; 65_536]);
    while let Ok(count @ 1..) = client.stream.read(&mut bytes) {
        all.extend_from_slice(&bytes[..count]);
    }
    all
}

pub(crate) fn web_page() {
    let server = serve("");
    let body = crate::support::lines::message(&call("adds_a_tool", json!({}))).to_string();
    let origin = |request: Request| {
        request.header("Origin", "https://evil.example").header("User-Agent", "Mozilla/5.0")
    };
    let post = |body: &str| origin(plain(body).line("POST / HTTP/1.1")).bytes();
    let hello = line_hello(LEGACY);
    let legacy = format!("{hello}{}", tool(1, "adds_a_tool", json!({})));
    let simple = origin(plain(format!("\r\n{body}\r\n")).line("POST / HTTP/1.1"))
        .header("Content-Type", "text/plain")
        .bytes();
    for bytes in [
        post(&body),
        post(&format!("{body}\n")),
        post(&format!("\n\n{body}\n")),
        post(&format!("{legacy}\n")),
        simple,
        origin(plain("").line("OPTIONS / HTTP/1.1")).bytes(),
        origin(plain("").line("GET /?{} HTTP/1.1")).bytes(),
        format!("PUT {{}} HTTP/1.1\r\n\r\n{body}\n").into_bytes(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        format!("\r\n{body}\n").into_bytes(),
        format!("[{body}]\n").into_bytes(),
    ] {
        for cut in [bytes.len(), 1, 20] {
            let mut client = Client::connect(server.tcp[0]);
            // In one piece, or in pieces between which it waits.
            for piece in bytes.chunks(cut) {
                if !client.try_send(piece) {
                    break;
                }
            }
            assert_eq!(rest(&mut client), b"", "closed without a word: {}", shown(&bytes));
        }
    }
    let status = server.status();
    assert_eq!(status["totals"]["requests"], 0, "{status:#}");
    assert_eq!(server.connect().ask(&call("added", json!({}))).code(), -32602, "nothing was done");
    assert_serves(&server);
    nothing_leaked(&server);
}

pub(crate) fn http() {
    let server = serve("");
    let mut dice = Dice(SEED);
    let session = Session::open(&mut server.connect(), LEGACY);
    let right = [
        fine().bytes(),
        session.call(1, "fine", json!({})).bytes(),
        session.get(Some("0-0")).bytes(),
        request("tools/list", json!({})).header("Transfer-Encoding", "chunked").head(),
        [plain("").header("Transfer-Encoding", "chunked").head(), b"2\r\n{}\r\n0\r\n\r\n".to_vec()]
            .concat(),
    ];
    let mut garbage = table();
    garbage.extend((0..400).map(|at| match at % 4 {
        0 => dice.noise(),
        _ => {
            let request = dice.pick(&right).clone();
            dice.spoil(&request)
        }
    }));
    for bytes in garbage {
        let mut client = server.connect();
        // It may have been closed by then.
        client.try_send(&bytes);
        client.stream.shutdown(std::net::Shutdown::Write).ok();
        let answer = rest(&mut client);
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 "), "{}", shown(&bytes));
    }
    assert_serves(&server);
    let mut client = server.connect();
    session.end(&mut client);
    drop(client);
    nothing_leaked(&server);
}

/// Asserts that a body is answered as HTTP has it, and that the connection goes on.
fn assert_answered(client: &mut Client, request: &Request, after: &Request, what: &str) {
    client.send(request.bytes());
    let answer = client.answer();
    assert!(matches!(answer.status, 200 | 202 | 400 | 404), "{what}: {answer:?}");
    if answer.status != 202 {
        answer
            .messages()
            .iter()
            .for_each(|message| assert_eq!(message["jsonrpc"], "2.0", "{what}"));
    }
    let next = client.ask(after);
    assert_eq!(next.status, 200, "{what}: {next:?}");
}

pub(crate) fn bodies() {
    let server = serve("");
    // Half a surrogate pair is no text, and an id comes back as it came (RFC 8259 8.2).
    let half = "{\"jsonrpc\":\"2.0\",\"id\":\"\\ud800\",\"method\":\"no/such\"}";
    let answer = server.connect().ask(&plain(half));
    assert_eq!(answer.status, 400);
    assert!(String::from_utf8_lossy(&answer.body).contains("\"id\":\"\\ud800\""), "{answer:?}");
    for version in [None, Some("2025-03-26"), Some("2025-06-18"), Some(LEGACY)] {
        let mut client = server.connect();
        let session = version.map(|version| Session::open(&mut client, version));
        // Half of them from another shard.
        let mut clients = [client, server.connect(), server.connect(), server.connect()];
        for (at, bytes) in all(SEED + 1, 250).into_iter().enumerate() {
            let (right, after) = match &session {
                Some(session) => {
                    (session.post(&json!({})), session.request("after", "ping", json!({})))
                }
                None => (plain(""), fine()),
            };
            let mut request = Request { body: bytes.clone(), ..right };
            if at % 5 == 4 {
                let size = format!("{:x}\r\n", bytes.len()).into_bytes();
                request = request.header("Transfer-Encoding", "chunked");
                request.body = if bytes.is_empty() {
                    b"0\r\n\r\n".to_vec()
                } else {
                    [&size, &bytes[..], b"\r\n0\r\n\r\n"].concat()
                };
            }
            assert_answered(&mut clients[at % 4], &request, &after, &shown(&bytes));
        }
        if let Some(session) = session {
            session.end(&mut clients[0]);
        }
    }
    assert_serves(&server);
    nothing_leaked(&server);
}

/// Reads lines up to the answer of this id.
fn read_until(lines: &mut Lines, id: &Value, what: &str) {
    loop {
        let message = lines.next().unwrap_or_else(|| panic!("the end: {what}"));
        if message["id"] == *id {
            return;
        }
    }
}

fn first_line(server: &Server, bytes: &[u8]) {
    let mut client = Client::connect(server.tcp[0]);
    // It may have been closed by then.
    client.try_send([bytes, b"\n"].concat());
    client.stream.shutdown(std::net::Shutdown::Write).ok();
    let answer = rest(&mut client);
    let whole = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
    // By its grammar: a number may be larger than any that is known.
    let json = serde_json::from_slice::<&serde_json::value::RawValue>(whole);
    let object = json.is_ok_and(|json| json.get().starts_with('{'));
    assert!(object || answer.is_empty(), "{}\n{}", shown(bytes), shown(&answer));
}

pub(crate) fn lines() {
    let server = serve("");
    for bytes in all(SEED + 2, 200) {
        first_line(&server, &bytes);
    }
    for hello in hellos() {
        assert_survives(&mut Lines::tcp(server.tcp[0]), &hello);
    }
    assert_serves(&server);
    nothing_leaked(&server);
}

/// What a connection of lines may begin with.
pub(crate) fn hellos() -> [String; 3] {
    [modern_line(0, "fine", json!({})), line_hello("2025-03-26"), line_hello(LEGACY)]
}

/// Asserts that a connection of lines goes on, whatever comes behind its first line.
pub(crate) fn assert_survives(lines: &mut Lines, hello: &str) {
    lines.send(hello);
    assert_eq!(lines.next().expect("an answer")["id"], 0);
    for (at, bytes) in all(SEED + 3, 250).into_iter().enumerate() {
        let id = json!(format!("after {at}"));
        let after = format!("\n{}", modern_line(id.clone(), "fine", json!({})));
        lines.send([&bytes, after.as_bytes()].concat());
        read_until(lines, &id, &shown(&bytes));
    }
    let answer = lines.send(modern_line("end", "fine", json!({}))).next().expect("an answer");
    assert_eq!(text(&answer), "fine");
}
