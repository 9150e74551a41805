//! Who sends too slowly, and who never reads.

use std::io::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::server::refusals;
use crate::support::session::{LEGACY, response};
use crate::support::{Client, PATIENCE, Session, nothing_leaked, request};
use crate::{assert_serves, fine, line, line_hello, modern_line, serve};

pub(crate) fn heads_and_bodies() {
    let server = serve("--head-timeout 1s --body-timeout 1s");
    let session = Session::open(&mut server.connect(), LEGACY);
    let legacy = session.call(1, "fine", json!({}));
    let chunked = legacy.clone().header("Transfer-Encoding", "chunked");
    let padding = "x".repeat(200);
    let long = session.call(1, "fine", json!({"padding": padding}));
    let mut heads = Vec::new();
    let mut bodies = Vec::new();
    let mut lines = Vec::new();
    for _ in 0..10 {
        heads.push((server.connect(), legacy.head()));
        heads.push((server.connect(), fine().head()));
        let mut client = server.connect();
        client.send(long.head());
        bodies.push((client, long.body.clone()));
        let mut client = server.connect();
        client.send(chunked.head());
        bodies.push((client, b"1\r\n \r\n".repeat(50)));
        lines
            .push((Client::connect(server.tcp[0]), modern_line(1, "fine", json!({})).into_bytes()));
        let mut client = Client::connect(server.tcp[0]);
        client.send(line_hello(LEGACY));
        lines.push((client, modern_line(1, "fine", json!({})).into_bytes()));
    }
    let mut other = server.connect();
    let started = Instant::now();
    let mut at = 0;
    while started.elapsed() < Duration::from_millis(1_800) {
        for (client, bytes) in heads.iter_mut().chain(&mut bodies).chain(&mut lines) {
            if let Some(byte) = bytes.get(at) {
                client.try_send([*byte]);
            }
        }
        at += 1;
        assert_eq!(other.ask(&fine()).text(), "fine", "others notice nothing");
        thread::sleep(Duration::from_millis(50));
    }
    for (client, _) in heads.iter_mut().chain(&mut bodies) {
        let answer = client.answer();
        assert_eq!((answer.status, answer.code()), (408, -32600));
        assert!(answer.closes() && client.is_at_end());
    }
    for (client, _) in &mut lines {
        assert!(client.is_cut(), "closed");
    }
    server.wait_for_refusals("head_timeout", 20);
    server.wait_for_refusals("body_timeout", 40);
    session.end(&mut other);
    drop((heads, bodies, lines, other));
    nothing_leaked(&server);
}

/// Sends for as long as the server takes it, and reads nothing.
fn flood(client: &Client, bytes: Vec<u8>) -> thread::JoinHandle<()> {
    socket2::SockRef::from(&client.stream).set_recv_buffer_size(4096).expect("a socket");
    let mut writer = client.stream.try_clone().expect("a socket");
    thread::spawn(move || while writer.write_all(&bytes).is_ok() {})
}

pub(crate) fn never_reading() {
    let server = serve("--send-timeout 1s --send-max 1MiB");
    let mut other = server.connect();
    let session = Session::open(&mut other, LEGACY);
    let modern: Vec<u8> =
        (0..100).flat_map(|id| request("tools/list", json!({})).id(id).bytes()).collect();
    let legacy: Vec<u8> =
        (0..100).flat_map(|id| session.request(id, "tools/list", json!({})).bytes()).collect();
    let list = crate::support::session::message(1, "tools/list", json!({}));
    let as_lines = format!("{}{}", line_hello(LEGACY), line(&list).repeat(200)).into_bytes();
    // JSON, here and from another shard, and lines. `initialize` again is refused each time.
    let clients = [
        (server.connect(), modern.clone()),
        (server.connect(), modern),
        (server.connect(), legacy.clone()),
        (server.connect(), legacy),
        (Client::connect(server.tcp[0]), as_lines.clone()),
        (Client::connect(server.tcp[0]), as_lines),
    ];
    let floods: Vec<_> =
        clients.iter().map(|(client, bytes)| flood(client, bytes.clone())).collect();
    // Event streams: of GET, wherever it lives.
    let uri = format!("long://{}", "x".repeat(1_000));
    let sessions: Vec<Session> =
        (0..4).map(|_| Session::open(&mut server.connect(), LEGACY)).collect();
    let mut deaf: Vec<Client> = (0..4).map(|_| server.connect()).collect();
    for (session, client) in sessions.iter().zip(&mut deaf) {
        let subscribed = other.ask(&session.request(1, "resources/subscribe", json!({"uri": uri})));
        assert_eq!(response(&subscribed)["result"], json!({}));
        socket2::SockRef::from(&client.stream).set_recv_buffer_size(4096).expect("a socket");
        session.listen(client);
    }
    let updates = crate::support::call("updates", json!({"events": 500, "uri": uri}));
    let started = Instant::now();
    loop {
        assert_eq!(other.ask(&updates).text(), "updated");
        let status = server.status();
        let cut = refusals(&status, "send_timeout") + refusals(&status, "send_bound");
        if cut >= 10 && status["totals"]["connections"] == 1 {
            break;
        }
        assert!(started.elapsed() < 2 * PATIENCE, "{status:#}");
        thread::sleep(Duration::from_millis(50));
    }
    floods.into_iter().for_each(|flood| flood.join().expect("the flood ends"));
    let status = server.status();
    for shard in status["shards"].as_array().expect("shards") {
        let most = shard["budget"]["used_bytes_max"].as_u64().expect("bytes");
        assert!(most < 40 << 20, "{shard:#}");
    }
    assert_serves(&server);
    for session in sessions.iter().chain([&session]) {
        session.end(&mut other);
    }
    drop((clients, deaf, other));
    nothing_leaked(&server);
}
