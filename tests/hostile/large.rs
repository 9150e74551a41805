//! What is far too large.

use serde_json::{Value, json};

use crate::support::session::{LEGACY, message};
use crate::support::{Client, Lines, Server, Session, nothing_leaked, plain};
use crate::{assert_serves, line_hello, resident_bytes, serve};

const HUNDRED_MB: usize = 100_000_000;
/// A piece of it.
const PIECE: usize = 1_000_000;
/// What a server may grow by for one client: far less than what is sent.
const GROWTH_MAX: f64 = 40e6;

/// Sends so many bytes as far as they are taken; looks at the server's memory meanwhile.
fn pour(server: &Server, client: &mut Client, piece: &[u8], pieces: usize) {
    let before = resident_bytes(server);
    for at in 0..pieces {
        if !client.try_send(piece) {
            break;
        }
        if at % 10 == 0 {
            let grown = resident_bytes(server) - before;
            assert!(grown < GROWTH_MAX, "it grew by {grown} bytes");
        }
    }
    let grown = resident_bytes(server) - before;
    assert!(grown < GROWTH_MAX, "it grew by {grown} bytes");
}

pub(crate) fn line() {
    let server = serve("");
    let piece = vec![b'x'; PIECE];
    let mut count = 0;
    for first in ["", "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"", &line_hello(LEGACY), "\n\n"] {
        let mut client = Client::connect(server.tcp[0]);
        client.send(first);
        pour(&server, &mut client, &piece, HUNDRED_MB / PIECE);
        assert!(client.is_cut(), "{first:?}");
        count += 1;
        // A blank first line is no object: such a connection is gone before.
        if first != "\n\n" {
            server.wait_for_refusals("body_bytes", count);
        }
    }
    // The answer is one line.
    let mut lines = Lines::tcp(server.tcp[0]);
    lines.send(line_hello(LEGACY));
    assert_eq!(lines.next().expect("an answer")["id"], 0);
    while lines.try_send(&piece) {}
    let refused = lines.next().expect("an error");
    assert_eq!(refused["error"]["code"], -32600, "{refused}");
    assert_eq!(refused.get("id"), None);
    drop(lines);
    assert_serves(&server);
    nothing_leaked(&server);
}

pub(crate) fn body() {
    let server = serve("");
    let mut other = server.connect();
    let session = Session::open(&mut other, LEGACY);
    let piece = vec![b'x'; PIECE];
    let chunk = [format!("{PIECE:x}\r\n").as_bytes(), &piece, b"\r\n"].concat();
    for request in [plain(""), session.post(&json!({}))] {
        let mut client = server.connect();
        client.send(request.clone().header("Content-Length", &HUNDRED_MB.to_string()).head());
        pour(&server, &mut client, &piece, HUNDRED_MB / PIECE);
        drop(client);
        let mut client = server.connect();
        client.send(request.clone().header("Transfer-Encoding", "chunked").head());
        pour(&server, &mut client, &chunk, HUNDRED_MB / PIECE);
        drop(client);
        // A client that waits for the answer gets it.
        let mut client = server.connect();
        client.send(request.header("Content-Length", &HUNDRED_MB.to_string()).head());
        assert_eq!(client.answer().status, 413);
    }
    server.wait_for_refusals("body_bytes", 6);
    assert_serves(&server);
    session.end(&mut other);
    drop(other);
    nothing_leaked(&server);
}

pub(crate) fn batch() {
    let server = serve("");
    let batch: Value = (0..10_000).map(|id| message(id, "ping", json!({}))).collect();
    let nested = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    for version in ["2025-03-26", LEGACY] {
        let mut client = server.connect();
        let session = Session::open(&mut client, version);
        let refused = client.ask(&session.post(&batch));
        assert_eq!((refused.status, refused.code()), (400, -32600), "{version}");
        let mut deep = session.post(&json!({}));
        deep.body = nested.clone().into();
        let refused = client.ask(&deep);
        assert_eq!(refused.status, 400, "{version}");
        let mut lines = Lines::tcp(server.tcp[0]);
        lines.send(line_hello(version));
        assert_eq!(lines.next().expect("an answer")["id"], 0);
        for text in [batch.to_string(), nested.clone()] {
            let refused = lines.send(format!("{text}\n")).next().expect("an error");
            assert!(refused["error"]["code"].is_i64(), "{version}: {refused}");
        }
        let pong = lines.ask(&message("after", "ping", json!({})));
        assert_eq!(pong["result"], json!({}));
        session.end(&mut client);
    }
    let refused = server.connect().ask(&plain(batch.to_string()));
    assert_eq!((refused.status, refused.code()), (400, -32600));
    // As a first line it is no object.
    Lines::tcp(server.tcp[0]).send(format!("{batch}\n")).assert_ends();
    assert_serves(&server);
    nothing_leaked(&server);
}
