//! HTTP/1.1 as clients send it, well and badly.

mod support;

use std::io::Write as _;
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use support::{Client, Server, call, plain, request};

const LIST: &str = "tools/list";

fn add(a: u64) -> support::Request {
    call("add", json!({"a": a, "b": 1})).id(a)
}

/// Asserts one answer of that status, and the end of the connection.
fn assert_refused(client: &mut Client, status: u16, what: &str) {
    let answer = client.answer();
    assert_eq!(answer.status, status, "{what}: {answer:?}");
    assert!(answer.closes(), "{what}: {answer:?}");
    assert_eq!(answer.code(), -32600, "{what}");
    assert_eq!(answer.json().get("id"), None, "{what}: nobody knows the id");
    assert!(client.is_at_end(), "{what}: closed after one answer");
}

#[test]
fn what_is_no_http_is_answered_400_and_closed() {
    let server = Server::start("");
    let inputs: &[&[u8]] = &[
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", // a ClientHello of TLS
        b"\0\0\0\0",
        b"\xff\xfe\xfd\xfc\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"EHLO example.com\r\n",
        b"hello\r\n\r\n",
        b"GET /mcp\r\n\r\n",
        b" POST /mcp HTTP/1.1\r\n\r\n",
        b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\"}\n",
    ];
    for input in inputs {
        let mut client = server.connect();
        client.send(input);
        assert_refused(&mut client, 400, &String::from_utf8_lossy(input));
    }
    server.wait_for_refusals("malformed", inputs.len() as u64);
    let refused = server.metric("ringmesh_http_heads_refused_total{shard=\"0\"}");
    assert_eq!(refused, inputs.len() as f64);
    server.assert_clean();
}

#[test]
fn a_head_over_16_kib_is_answered_431() {
    let server = Server::start("");
    let large = add(1).header("X-Large", &"x".repeat(16 * 1024));
    let mut client = server.connect();
    client.send(large.head());
    assert_refused(&mut client, 431, "in one piece");

    let mut client = server.connect();
    for piece in large.head().chunks(1000) {
        // It may refuse, and close, before the last piece.
        if !client.try_send(piece) {
            break;
        }
        thread::sleep(Duration::from_millis(2));
    }
    assert_refused(&mut client, 431, "in pieces");

    let many = (0..65).fold(add(1), |request, at| request.header(&format!("X-{at}"), "x"));
    let mut client = server.connect();
    client.send(many.bytes());
    assert_refused(&mut client, 431, "65 lines and more");

    let fits = add(1).header("X-Large", &"x".repeat(15 * 1024));
    assert_eq!(server.connect().ask(&fits).text(), "2");
    server.wait_for_refusals("head_bytes", 3);
    server.assert_clean();
}

#[test]
fn shapes_that_smuggle_are_refused_and_what_follows_is_not_read() {
    let server = Server::start("");
    let well = String::from_utf8(add(1).bytes()).expect("text");
    let length = well.lines().find(|line| line.starts_with("Content-Length")).expect("one");
    let with = |line: &str| well.replace(length, line);
    let second = |line: &str| with(&format!("{length}\r\n{line}"));
    let inputs = [
        second("Transfer-Encoding: chunked"),
        second(length),
        second("Content-Length: 0"),
        with("Content-Length: 5, 5"),
        with("Content-Length: +5"),
        with("Content-Length: -1"),
        with("Content-Length: 0x10"),
        with("Content-Length: 99999999999999999999999"),
        with("Content-Length:"),
        with("Content-Length : 5"),
        with("Transfer-Encoding : chunked"),
        with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
        with("Transfer-Encoding: chunked, gzip"),
        with("Transfer-Encoding: \x0bchunked"),
        second("X-Folded: a\r\n b"),
        second("X\0Nul: a"),
        second(": nameless"),
        second("no colon"),
        second("Host: localhost"),
        second("Origin: http://localhost\r\nOrigin: http://localhost"),
        second("Mcp-Name: add"),
        well.replace("Host: localhost\r\n", ""),
        well.replace("Host: localhost", "Host: user@localhost"),
        well.replace("\r\n", "\n"),
        well.replacen("\r\n", "\n", 1),
        well.replace("\r\n\r\n", "\n\n"),
        well.replacen("\r\n", "\r", 1),
        well.replace(" HTTP/1.1", "  HTTP/1.1"),
        well.replace("/mcp", "/mcp#fragment"),
        well.replace("/mcp", "mcp"),
        well.replace("HTTP/1.1", "HTTP/1.0").replace(length, "Transfer-Encoding: chunked"),
    ];
    for input in &inputs {
        let mut client = server.connect();
        client.send(format!("{input}{well}"));
        assert_refused(&mut client, 400, input);
    }
    server.wait_for_refusals("malformed", inputs.len() as u64);
    assert_eq!(server.status()["totals"]["requests"], 0, "no request was read from the remains");
    server.assert_clean();
}

#[test]
fn other_versions_codings_and_expectations_are_told_apart() {
    let server = Server::start("");
    for (request, status) in [
        (add(1).line("POST /mcp HTTP/2.0"), 505),
        (add(1).line("POST /mcp HTTP/1.2"), 505),
        (add(1).line("PRI * HTTP/2.0"), 505),
        (add(1).header("Transfer-Encoding", "gzip, chunked"), 501),
        (add(1).header("Expect", "200-ok"), 417),
    ] {
        let mut client = server.connect();
        client.send(request.bytes());
        assert_refused(&mut client, status, &request.line);
    }
    server.assert_clean();
}

#[test]
fn a_body_over_the_limit_is_answered_413_before_it_is_read() {
    let server = Server::start("--body-max 4KiB");
    let echo = |bytes: usize| call("echo", json!({"text": "x".repeat(bytes)}));
    let large = echo(5_000);
    let asks = large.clone().header("Expect", "100-continue");
    let endless = large.clone().header("Content-Length", "9999999999999999999");
    for request in [&large, &asks, &endless] {
        let mut client = server.connect();
        client.send(request.head());
        assert_refused(&mut client, 413, "the head alone");
    }
    // A client that sends on gets the answer as well, not a reset that destroys it.
    let mut client = server.connect();
    client.send(echo(1 << 20).bytes());
    assert_refused(&mut client, 413, "head and body");
    // One whose body has no length is refused when it is over.
    let mut client = server.connect();
    client.send(large.header("Transfer-Encoding", "chunked").head());
    for _ in 0..5 {
        client.send(format!("400\r\n{}\r\n", " ".repeat(1024)));
    }
    assert_refused(&mut client, 413, "chunks");

    assert_eq!(server.connect().ask(&echo(3_000)).text().len(), 3_000);
    server.wait_for_refusals("body_bytes", 5);
    server.assert_clean();
}

#[test]
fn expect_100_continue_is_answered_before_the_body() {
    let server = Server::start("");
    let mut client = server.connect();
    let request = add(41).header("Expect", "100-continue");
    for _ in 0..2 {
        client.send(request.head());
        assert_eq!(client.head(), (100, "HTTP/1.1 100 Continue\r\n\r\n".to_owned()));
        assert!(client.is_silent(Duration::from_millis(50)), "the answer needs the body");
        client.send(&request.body);
        assert_eq!(client.answer().text(), "42");
    }
    // What is refused by its head is refused at once.
    client.send(request.line("POST /other HTTP/1.1").head());
    assert_eq!(client.answer().status, 404);
    drop(client);
    server.assert_clean();
}

#[test]
fn a_chunked_request_is_read_however_it_is_cut() {
    let server = Server::start("");
    let request = add(1).header("Transfer-Encoding", "chunked");
    let (first, second) = request.body.split_at(10);
    let mut bytes = request.head();
    for (piece, extension) in [(first, ";name=\"value\""), (second, "")] {
        bytes.extend_from_slice(format!("{:x}{extension}\r\n", piece.len()).as_bytes());
        bytes.extend_from_slice(piece);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\nX-Trailer: dropped\r\n\r\n");

    let mut client = server.connect();
    assert_eq!(client.send(&bytes).answer().text(), "2");
    for byte in &bytes {
        client.send([*byte]);
    }
    assert_eq!(client.answer().text(), "2");
    // Two of them, and a third of the other kind, in one write.
    let both = [&bytes[..], &bytes[..], &add(5).bytes()].concat();
    client.send(both);
    for expected in ["2", "2", "6"] {
        assert_eq!(client.answer().text(), expected);
    }
    for malformed in ["z\r\n", "5\nhello", "-1\r\n", "5\r\nhello!\r\n", "fffffffffffffffff\r\n"] {
        let mut client = server.connect();
        client.send(request.head()).send(malformed);
        let answer = client.answer();
        assert!(matches!(answer.status, 400 | 413), "{malformed:?}: {answer:?}");
        assert!(client.is_at_end());
    }
    drop(client);
    server.assert_clean();
}

#[test]
fn a_request_is_read_byte_by_byte() {
    let server = Server::start("");
    let mut client = server.connect();
    for byte in add(1).bytes() {
        client.send([byte]);
    }
    assert_eq!(client.answer().text(), "2");
}

#[test]
fn requests_of_one_write_are_answered_in_order() {
    let server = Server::start("");
    let mut client = server.connect();
    let mut all: Vec<u8> = (0..50).flat_map(|a| add(a).bytes()).collect();
    // One that leaves the shard in between: those behind it wait.
    all.extend(call("sleep_ms", json!({"ms": 100})).id(50).bytes());
    all.extend((51..60).flat_map(|a| add(a).bytes()));
    client.send(all);
    for id in 0..60 {
        let answer = client.answer();
        assert_eq!(answer.json()["id"], id);
        let text = if id == 50 { "slept 100 ms".to_owned() } else { (id + 1).to_string() };
        assert_eq!(answer.text(), text);
    }
    drop(client);
    server.assert_clean();
}

#[test]
fn answers_wait_for_a_slow_reader_and_all_of_them_come() {
    let server = Server::start("");
    let mut client = server.connect();
    let text = "x".repeat(20_000);
    let all: Vec<u8> =
        (0..100).flat_map(|id| call("echo", json!({"text": text})).id(id).bytes()).collect();
    let mut writer = client.stream.try_clone().expect("a socket");
    let writing = thread::spawn(move || writer.write_all(&all));
    thread::sleep(Duration::from_millis(300));
    for id in 0..100 {
        let answer = client.answer();
        assert_eq!(answer.json()["id"], id);
        assert_eq!(answer.text().len(), text.len());
    }
    writing.join().expect("the writer").expect("it reads");
    drop(client);
    server.assert_clean();
}

#[test]
fn a_connection_is_kept_or_closed_as_the_client_says() {
    let server = Server::start("");
    let mut client = server.connect();
    for a in 0..20 {
        let answer = client.ask(&add(a));
        assert_eq!(answer.text(), (a + 1).to_string());
        assert!(!answer.closes());
    }
    server.wait_for("20 requests on one connection", |status| {
        let totals = &status["totals"];
        totals["requests"] == 20 && totals["connections_accepted"] == 1
    });
    let answer = client.ask(&add(1).header("Connection", "close"));
    assert!(answer.closes() && client.is_at_end());

    // HTTP/1.0 closes, unless it is asked not to.
    let old = add(1).line("POST /mcp HTTP/1.0");
    let mut client = server.connect();
    assert_eq!(client.ask(&old).text(), "2");
    assert!(client.is_at_end());
    let mut client = server.connect();
    for _ in 0..2 {
        let answer = client.ask(&old.clone().header("Connection", "keep-alive"));
        assert_eq!(answer.text(), "2");
        assert_eq!(answer.header("Connection"), Some("keep-alive"));
    }
    // It knows no chunks: a stream is bare, and ends with the connection.
    let sleep = call("sleep_ms", json!({"ms": 100})).progress(1);
    let answer = client.ask(&sleep.line("POST /mcp HTTP/1.0"));
    assert_eq!(answer.header("Transfer-Encoding"), None);
    let text = String::from_utf8(answer.body).expect("text");
    assert!(text.ends_with("\n\n") && text.contains("slept 100 ms"), "{text}");
    server.assert_clean();
}

#[test]
fn who_ends_sending_after_requests_is_answered_all_of_them() {
    let server = Server::start("");
    let mut client = server.connect();
    client.send((0..3).flat_map(|a| add(a).bytes()).collect::<Vec<u8>>()).finish_sending();
    for id in 0..3 {
        assert_eq!(client.answer().json()["id"], id);
    }
    assert!(client.is_at_end());

    // More than the server holds for a slow reader, so that requests wait when the end is seen.
    for count in [1_400, 1_700, 2_000] {
        let requests = (0..count).flat_map(|id| request(LIST, json!({})).id(id).bytes());
        let requests: Vec<u8> = requests.collect();
        let mut client = server.connect();
        let mut writer = client.stream.try_clone().expect("a socket");
        let writing = thread::spawn(move || {
            writer.write_all(&requests).expect("it reads");
            writer.shutdown(Shutdown::Write).expect("a socket");
        });
        thread::sleep(Duration::from_millis(200));
        for id in 0..count {
            assert_eq!(client.answer().json()["id"], id);
        }
        assert!(client.is_at_end());
        writing.join().expect("the writer");
    }
    server.assert_clean();
}

#[test]
fn empty_bodies_and_empty_lines_are_no_trouble() {
    let server = Server::start("");
    let mut client = server.connect();
    // An empty line before a request is left over by old clients (RFC 9112 2.2).
    client.send(b"\r\n").send(add(1).bytes());
    assert_eq!(client.answer().text(), "2");
    let answer = client.ask(&plain(""));
    assert_eq!((answer.status, answer.code()), (400, -32700));
    assert_eq!(client.ask(&add(1)).text(), "2", "the connection goes on");
    // The absolute form of the target names the host.
    let absolute = add(1).line("POST http://localhost:80/mcp?a=b HTTP/1.1");
    assert_eq!(client.ask(&absolute).text(), "2");
    let tools = client.ask(&request(LIST, json!({}))).result();
    assert!(matches!(&tools["tools"], Value::Array(tools) if tools.len() >= 4), "{tools}");
    drop(client);
    server.assert_clean();
}

#[test]
fn resets_and_half_requests_leave_nothing_behind() {
    let server = Server::start("");
    let whole = call("echo", json!({"text": "x".repeat(50_000)})).bytes();
    for cut in [0, 1, 20, 400, 30_000, whole.len()] {
        for reset in [false, true] {
            let mut client = server.connect();
            client.send(&whole[..cut]);
            if reset {
                let socket = socket2::SockRef::from(&client.stream);
                socket.set_linger(Some(Duration::ZERO)).expect("a socket");
            }
        }
    }
    let accepted = |status: &Value| status["totals"]["connections_accepted"] == 12;
    server.wait_for("twelve connections", accepted);
    server.assert_clean();
}
