//! Very many of what is harmless alone.

use std::io::Write as _;
use std::net::TcpStream;
use std::thread;

use serde_json::{Value, json};

use crate::support::session::{LEGACY, message, notification, response, text, tool};
use crate::support::{Client, Lines, Session, call, nothing_leaked};
use crate::{line, line_hello, modern_line, serve, wait_for_calls, wait_for_dropped};

const REQUESTS: u64 = 100_000;

/// Writes beside the reader, as much as the server takes.
fn write(stream: &TcpStream, bytes: Vec<u8>) -> thread::JoinHandle<()> {
    let mut writer = stream.try_clone().expect("a socket");
    thread::spawn(move || writer.write_all(&bytes).expect("it reads"))
}

pub(crate) fn pipelined_http() {
    let server = serve("");
    let mut client = server.connect();
    let session = Session::open(&mut client, LEGACY);
    let requests = (0..REQUESTS).flat_map(|id| {
        // Some of a session, and some that leave the shard: those behind them wait.
        match id % 1_000 {
            1..500 => session.request(id, "ping", json!({})).bytes(),
            500 => session.call(id, "steps", json!({"steps": 1, "ms": 1})).bytes(),
            _ => call("fine", json!({})).id(id).bytes(),
        }
    });
    let writing = write(&client.stream, requests.collect());
    for id in 0..REQUESTS {
        let answer = client.answer();
        assert_eq!(answer.json()["id"], id, "in their order");
    }
    writing.join().expect("all are sent");
    // The same from another shard, of which each goes to the shard of the session.
    let mut far = crate::support::session::connect_far(&server, &session, 2);
    let requests = (0..10_000).flat_map(|id| session.request(id, "ping", json!({})).bytes());
    let writing = write(&far.stream, requests.collect());
    for id in 0..10_000 {
        assert_eq!(far.answer().json()["id"], id);
    }
    writing.join().expect("all are sent");
    session.end(&mut far);
    drop((client, far));
    nothing_leaked(&server);
}

pub(crate) fn pipelined_lines() {
    let server = serve("");
    let mut lines = Lines::tcp(server.tcp[0]);
    let mut text = line_hello("2025-06-18");
    for id in 1..=REQUESTS {
        text.push_str(&match id % 1_000 {
            0..500 => line(&message(id, "ping", json!({}))),
            500 => line(&tool(id, "steps", json!({"steps": 1, "ms": 1}))),
            _ => modern_line(id, "fine", json!({})),
        });
    }
    let writing = thread::spawn(move || {
        let sent = lines.try_send(text);
        (lines, sent)
    });
    // Its reader reads beside it.
    let (mut lines, sent) = writing.join().expect("the writer");
    assert!(sent);
    let mut seen = vec![false; usize::try_from(REQUESTS).expect("a number") + 1];
    let mut last_at_once = 0;
    for _ in 0..=REQUESTS {
        let id = lines.next().expect("an answer")["id"].as_u64().expect("a number");
        let place = usize::try_from(id).expect("a number");
        assert!(!std::mem::replace(&mut seen[place], true), "{id} twice");
        if id % 1_000 != 500 {
            assert!(id == 0 || id > last_at_once, "{id} after {last_at_once}");
            last_at_once = id;
        }
    }
    drop(lines);
    nothing_leaked(&server);
}

fn cancel(id: u64) -> Value {
    notification("notifications/cancelled", json!({"requestId": id}))
}

pub(crate) fn cancelled_in_session() {
    let server = serve("");
    // Batches: one connection for a hundred calls.
    let mut client = server.connect();
    let session = Session::open(&mut client, "2025-03-26");
    let mut callers: Vec<Client> = (0..10).map(|_| server.connect()).collect();
    for (caller, client) in (0..).zip(&mut callers) {
        let calls: Value =
            (0..100).map(|id| tool(caller * 100 + id, "overruns_async", json!({}))).collect();
        client.send(session.post(&calls).bytes());
    }
    wait_for_calls(&server, 1_000);
    let cancels: Vec<u8> = (0..10)
        .flat_map(|batch| {
            let cancels: Value = (0..100).map(|id| cancel(batch * 100 + id)).collect();
            session.post(&cancels).bytes()
        })
        .collect();
    client.send(cancels);
    for _ in 0..10 {
        assert_eq!(client.answer().status, 202);
    }
    for client in &mut callers {
        assert_eq!(client.answer().messages(), Vec::<Value>::new(), "no response");
    }
    wait_for_calls(&server, 0);
    wait_for_dropped(&server, 1_000);
    // As many end with their session.
    for (caller, client) in (0..).zip(&mut callers) {
        let calls: Value =
            (0..100).map(|id| tool(caller * 100 + id, "overruns_async", json!({}))).collect();
        client.send(session.post(&calls).bytes());
    }
    wait_for_calls(&server, 1_000);
    session.end(&mut client);
    wait_for_calls(&server, 0);
    wait_for_dropped(&server, 2_000);
    drop((client, callers));
    nothing_leaked(&server);
}

pub(crate) fn cancelled_on_line() {
    let server = serve("");
    let mut dropped = 0;
    for legacy in [true, false] {
        let mut lines = Lines::tcp(server.tcp[0]);
        if legacy {
            lines.send(line_hello(LEGACY));
            assert_eq!(lines.next().expect("an answer")["id"], 0);
        }
        let call = |id: u64| match legacy {
            true => line(&tool(id, "overruns_async", json!({}))),
            false => modern_line(id, "overruns_async", json!({})),
        };
        lines.send((0..1_000).map(call).collect::<String>());
        wait_for_calls(&server, 1_000);
        lines.send((0..1_000).map(|id| line(&cancel(id))).collect::<String>());
        wait_for_calls(&server, 0);
        dropped += 1_000;
        wait_for_dropped(&server, dropped);
        let after = lines.send(modern_line("after", "fine", json!({}))).next().expect("an answer");
        assert_eq!(
            (&after["id"], text(&after)),
            (&json!("after"), "fine"),
            "no response before it"
        );
    }
    nothing_leaked(&server);
}

pub(crate) fn lost_at_once() {
    let server = serve("");
    let mut clients: Vec<Client> = (0..1_000).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send(call("overruns_async", json!({})).bytes());
    }
    wait_for_calls(&server, 1_000);
    clients.into_iter().for_each(crate::reset);
    wait_for_calls(&server, 0);
    wait_for_dropped(&server, 1_000);
    // Lines lose all of theirs at once too.
    let mut lines = Client::connect(server.tcp[0]);
    let calls: String = (0..1_000).map(|id| modern_line(id, "overruns_async", json!({}))).collect();
    lines.send(calls);
    wait_for_calls(&server, 1_000);
    crate::reset(lines);
    wait_for_calls(&server, 0);
    wait_for_dropped(&server, 2_000);
    let mut client = server.connect();
    let session = Session::open(&mut client, LEGACY);
    let fine = response(&client.ask(&session.call(1, "fine", json!({}))));
    assert_eq!(text(&fine), "fine");
    session.end(&mut client);
    drop(client);
    nothing_leaked(&server);
}
