//! The byte budget spent, by whatever may spend it.

use std::io::Write as _;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::server::refusals;
use crate::support::session::{LEGACY, response};
use crate::support::{Client, Server, Session, call, nothing_leaked, wait_for};
use crate::{fine, line, line_hello, modern_line, serve};

/// Bytes that clients of one shard may hold, at most, while its share of the budget is 512 KiB: a
/// buffer may grow past what it needs before it is looked at.
const HELD_MAX: u64 = 1 << 20;

fn assert_budget_held(server: &Server) {
    for shard in server.status()["shards"].as_array().expect("shards") {
        let budget = &shard["budget"];
        assert_eq!(budget["limit_bytes"], 512 << 10);
        assert!(budget["used_bytes_max"].as_u64().expect("bytes") < HELD_MAX, "{budget}");
    }
}

fn wait_for_sheds(server: &Server, other: &mut Client) {
    wait_for("refusals", || {
        assert_eq!(other.ask(&fine()).text(), "fine", "others are served");
        (refusals(&server.status(), "byte_budget") > 2).then_some(())
    });
    assert_budget_held(server);
}

pub(crate) fn half_sent() {
    let server = serve("--memory-max 1MiB --body-max 128KiB");
    let mut other = server.connect();
    let session = Session::open(&mut other, LEGACY);
    let text = "x".repeat(100_000);
    let body = session.call(1, "fine", json!({"text": text}));
    let chunked = body.clone().header("Transfer-Encoding", "chunked").head();
    let long = modern_line(1, "fine", json!({"text": text}));
    for round in 0..2 {
        let mut clients: Vec<(Client, Vec<u8>)> = Vec::new();
        for at in 0..30 {
            let (mut client, head, rest) = match at % 3 {
                0 => (server.connect(), body.head(), body.body.clone()),
                1 => (server.connect(), chunked.clone(), format!("18000\r\n{text}").into_bytes()),
                _ => {
                    let hello = if round == 0 { line_hello(LEGACY) } else { String::new() };
                    (Client::connect(server.tcp[0]), hello.into_bytes(), long.clone().into_bytes())
                }
            };
            client.send(head);
            clients.push((client, rest));
        }
        // None is finished.
        for at in (0..90_000).step_by(9_000) {
            for (client, rest) in &mut clients {
                client.try_send(&rest[at..at + 9_000]);
            }
            assert_eq!(other.ask(&fine()).text(), "fine", "others are served");
        }
        wait_for_sheds(&server, &mut other);
        let pong = other.ask(&session.request(1, "ping", json!({})));
        assert_eq!(pong.result(), json!({}), "and sessions");
    }
    session.end(&mut other);
    drop(other);
    nothing_leaked(&server);
}

pub(crate) fn slow_readers() {
    let server = serve("--memory-max 1MiB --send-max 512KiB");
    let mut other = server.connect();
    let session = Session::open(&mut other, LEGACY);
    let list = crate::support::request("tools/list", json!({})).bytes();
    let legacy = session.request(1, "tools/list", json!({})).bytes();
    let lines = crate::support::session::message(1, "tools/list", json!({}));
    let lines = format!("{}{}", line_hello(LEGACY), line(&lines).repeat(500));
    let clients: Vec<Client> = (0..12)
        .map(|at| match at % 3 {
            0 | 1 => server.connect(),
            _ => Client::connect(server.tcp[0]),
        })
        .collect();
    let floods: Vec<_> = clients
        .iter()
        .enumerate()
        .map(|(at, client)| {
            socket2::SockRef::from(&client.stream).set_recv_buffer_size(4096).expect("a socket");
            let mut writer = client.stream.try_clone().expect("a socket");
            let bytes = match at % 3 {
                0 => list.repeat(500),
                1 => legacy.repeat(500),
                _ => lines.clone().into_bytes(),
            };
            // It ends where the server has closed.
            thread::spawn(move || while writer.write_all(&bytes).is_ok() {})
        })
        .collect();
    wait_for_sheds(&server, &mut other);
    for client in &clients {
        client.stream.shutdown(std::net::Shutdown::Both).ok();
    }
    drop(clients);
    floods.into_iter().for_each(|flood| flood.join().expect("the flood ends"));
    session.end(&mut other);
    drop(other);
    nothing_leaked(&server);
}

fn subscribe(client: &mut Client, session: &Session, uri: &str) -> (u16, Value) {
    let asked = json!({"uri": uri});
    let answer = client.ask(&session.request(1, "resources/subscribe", asked));
    let message = answer.messages().pop().expect("an answer");
    (answer.status, message)
}

pub(crate) fn kept() {
    let server = serve("--memory-max 1MiB");
    let mut client = server.connect();
    // Subscriptions, until there is no room for more.
    let mut sessions = Vec::new();
    let uri = |at: usize| format!("long://{at}/{}", "x".repeat(1_000));
    let refused = 'full: loop {
        let session = Session::open(&mut client, LEGACY);
        sessions.push(session.clone());
        for at in 0..256 {
            let (status, message) = subscribe(&mut client, &session, &uri(at));
            if status == 503 {
                break 'full message;
            }
            assert_eq!(message["result"], json!({}));
        }
        assert!(sessions.len() < 10, "no bound is met");
        // Each session has one of its own.
        let (_, one_more) = subscribe(&mut client, &session, &uri(256));
        assert_eq!(one_more["error"]["code"], -32602, "{one_more}");
    };
    assert_eq!(refused["error"]["code"], -32603, "{refused}");
    assert_budget_held(&server);
    // Events that wait for readers who are gone: the oldest are forgotten, and what finds no room.
    let mut readers: Vec<Client> = sessions.iter().map(|_| server.connect()).collect();
    for (session, reader) in sessions.iter().zip(&mut readers) {
        session.listen(reader);
    }
    drop(readers);
    for _ in 0..20 {
        let updates = call("updates", json!({"events": 100, "uri": uri(0)}));
        assert_eq!(client.ask(&updates).text(), "updated");
    }
    thread::sleep(Duration::from_millis(300));
    assert_budget_held(&server);
    for session in &sessions {
        let fine = response(&client.ask(&session.call(1, "fine", json!({}))));
        assert_eq!(crate::support::session::text(&fine), "fine", "it is served all the same");
        session.end(&mut client);
    }
    drop(client);
    nothing_leaked(&server);
}
