//! Bounds and time-outs: what meets one is told so, and others notice nothing.

mod support;

use std::io::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::server::refusals;
use support::{Answer, Client, Request, Server, call, request, wait_for};

fn add() -> Request {
    call("add", json!({"a": 1, "b": 2}))
}

fn echo(bytes: usize) -> Request {
    call("echo", json!({"text": "x".repeat(bytes)}))
}

fn sleep_ms(ms: u64) -> Request {
    call("sleep_ms", json!({"ms": ms}))
}

fn listen() -> Request {
    request("subscriptions/listen", json!({"notifications": {"toolsListChanged": true}}))
}

/// Asserts that the server says when to come again.
fn assert_busy(answer: &Answer) {
    assert_eq!(answer.status, 503, "{answer:?}");
    let seconds: u64 = answer.header("Retry-After").expect("when").parse().expect("seconds");
    assert!(seconds > 0);
}

/// Asserts that other clients are served.
fn assert_serves(server: &Server) {
    assert_eq!(server.connect().ask(&add()).text(), "3");
}

fn assert_timed_out(client: &mut Client) {
    let answer = client.answer();
    assert_eq!((answer.status, answer.code()), (408, -32600));
    assert!(answer.closes() && client.is_at_end());
}

#[test]
fn a_head_that_comes_a_byte_at_a_time_is_cut_at_the_time_out() {
    let server = Server::start("--head-timeout 1s");
    let mut other = server.connect();
    let mut client = server.connect();
    let started = Instant::now();
    for byte in add().head() {
        if started.elapsed() > Duration::from_millis(1_500) || !client.try_send([byte]) {
            break;
        }
        assert_eq!(other.ask(&add()).text(), "3", "others notice nothing");
        thread::sleep(Duration::from_millis(100));
    }
    assert_timed_out(&mut client);
    server.wait_for_refusals("head_timeout", 1);
    drop(other);
    server.assert_clean();
}

#[test]
fn a_body_that_comes_a_byte_at_a_time_is_cut_at_the_time_out() {
    let server = Server::start("--body-timeout 1s --head-timeout 60s");
    let chunked = add().header("Transfer-Encoding", "chunked");
    let mut clients = [server.connect(), server.connect()];
    clients[0].send(add().head());
    clients[1].send(chunked.head());
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(1_500) {
        clients[0].try_send(b" ");
        clients[1].try_send(b"1\r\n \r\n");
        thread::sleep(Duration::from_millis(100));
    }
    clients.iter_mut().for_each(assert_timed_out);
    server.wait_for_refusals("body_timeout", 2);
    assert_serves(&server);
    server.assert_clean();
}

#[test]
fn an_idle_connection_is_closed_and_a_stream_is_not() {
    let server = Server::start("--idle-timeout 1s --keep-alive 1s");
    let mut stream = server.connect();
    stream.send(listen().bytes()).stream_head();
    assert_eq!(method(&stream.message().expect("a message")), ACKNOWLEDGED);
    let mut silent = server.connect();
    let mut used = server.connect();
    // Each request renews the time.
    for _ in 0..4 {
        assert_eq!(used.ask(&add()).text(), "3");
        thread::sleep(Duration::from_millis(400));
    }
    assert!(silent.is_at_end() && used.is_at_end(), "closed without a word");
    server.wait_for_refusals("idle_timeout", 2);
    assert_eq!(stream.frame(), Some(support::Frame::Comment), "the stream lives on");
    assert_eq!(server.status()["totals"]["streams"], 1);
    drop(stream);
    server.assert_clean();
}

const ACKNOWLEDGED: &str = "notifications/subscriptions/acknowledged";

fn method(message: &Value) -> &str {
    message["method"].as_str().unwrap_or_else(|| panic!("no method: {message}"))
}

#[test]
fn a_client_that_never_reads_is_cut_and_others_notice_nothing() {
    let server = Server::start("--send-timeout 1s");
    let client = server.connect();
    let mut writer = client.stream.try_clone().expect("a socket");
    let requests: Vec<u8> = (0..50).flat_map(|_| echo(60_000).bytes()).collect();
    // It sends for as long as the server takes it.
    let flood = thread::spawn(move || while writer.write_all(&requests).is_ok() {});
    let mut other = server.connect();
    wait_for("the end of who does not read", || {
        assert_eq!(other.ask(&add()).text(), "3");
        (refusals(&server.status(), "send_timeout") > 0).then_some(())
    });
    let status = server.status();
    let held = status["shards"][0]["budget"]["used_bytes_max"].as_u64().expect("bytes");
    assert!(held < 2 << 20, "it held {held} bytes for one client");
    flood.join().expect("the flood ends");
    drop((client, other));
    server.assert_clean();
    assert_eq!(refusals(&server.status(), "send_timeout"), 1);
}

#[test]
fn what_waits_for_one_reader_is_bounded() {
    let server = Server::start("--send-max 64KiB");
    let mut client = server.connect();
    assert_eq!(client.ask(&echo(60_000)).text().len(), 60_000);
    client.send(echo(70_000).bytes());
    assert!(client.is_cut());
    server.wait_for_refusals("send_bound", 1);
    assert_serves(&server);
    server.assert_clean();
}

#[test]
fn connections_past_the_bound_get_503_and_the_others_live_on() {
    let server = Server::start("--connections-max 4");
    let mut clients: Vec<Client> = (0..4).map(|_| server.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.ask(&add()).text(), "3");
    }
    for count in 1..=3 {
        let mut refused = server.connect();
        // Refused before it asks, or while it does.
        if count > 1 {
            refused.send(add().bytes());
        }
        let answer = refused.answer();
        assert_busy(&answer);
        assert!(answer.closes() && refused.is_at_end());
        server.wait_for_refusals("connections", count);
    }
    for client in &mut clients {
        assert_eq!(client.ask(&add()).text(), "3");
    }
    let status = server.status();
    assert_eq!(status["totals"]["connections"], 4);
    assert_eq!(server.metric("ringmesh_refusals_total{shard=\"0\",bound=\"connections\"}"), 3.0);
    // A place that is left is taken again.
    clients.pop();
    server.wait_for("a free place", |status| status["totals"]["connections"] == 3);
    let mut next = server.connect();
    assert_eq!(next.ask(&add()).text(), "3");
    drop((clients, next));
    server.assert_clean();
}

#[test]
fn far_more_connections_than_the_bound_wait_or_are_refused_and_none_is_lost() {
    let server = Server::start("--connections-max 10");
    // Past the places that answer refusals, connections wait in the backlog.
    let mut crowd: Vec<Client> = (0..400).map(|_| server.connect()).collect();
    let mut served = 0;
    for client in &mut crowd {
        client.send(add().bytes());
    }
    // Those that are refused read this at once and go, which makes room for the next.
    for mut client in crowd.drain(..).rev().collect::<Vec<_>>() {
        match client.answer() {
            answer if answer.status == 200 => served += 1,
            answer => assert_busy(&answer),
        }
    }
    assert!(served >= 10, "{served}");
    assert_serves(&server);
    server.assert_clean();
}

#[test]
fn streams_past_the_bound_get_503_and_the_others_live_on() {
    let server = Server::start("--streams-max 2 --keep-alive 1s");
    let mut streams: Vec<Client> = (0..2).map(|_| server.connect()).collect();
    for stream in &mut streams {
        stream.send(listen().bytes()).stream_head();
        assert_eq!(method(&stream.message().expect("a message")), ACKNOWLEDGED);
    }
    let mut third = server.connect();
    for _ in 0..2 {
        let answer = third.ask(&listen().id("third"));
        assert_busy(&answer);
        assert_eq!((answer.code(), &answer.json()["id"]), (-32603, &json!("third")));
    }
    assert_eq!(third.ask(&add()).text(), "3", "only streams are refused");
    server.wait_for_refusals("streams", 2);
    for stream in &mut streams {
        assert_eq!(stream.frame(), Some(support::Frame::Comment));
    }
    streams.pop();
    server.wait_for("a free place", |status| status["totals"]["streams"] == 1);
    third.send(listen().bytes()).stream_head();
    assert_eq!(method(&third.message().expect("a message")), ACKNOWLEDGED);
    drop((streams, third));
    server.assert_clean();
}

#[test]
fn calls_past_the_bound_get_503_and_the_others_live_on() {
    let server = Server::start("--calls-max 2");
    let mut calling: Vec<Client> = (0..2).map(|_| server.connect()).collect();
    for client in &mut calling {
        client.send(sleep_ms(1_500).bytes());
    }
    server.wait_for("two calls", |status| status["totals"]["calls_in_flight"] == 2);
    let mut third = server.connect();
    let answer = third.ask(&sleep_ms(1));
    assert_busy(&answer);
    assert_eq!(answer.code(), -32603);
    assert_eq!(third.ask(&add()).text(), "3", "inline tools need no place");
    for client in &mut calling {
        assert_eq!(client.answer().text(), "slept 1500 ms");
    }
    assert_eq!(third.ask(&sleep_ms(1)).text(), "slept 1 ms");
    server.wait_for_refusals("calls", 1);
    drop((calling, third));
    server.assert_clean();
}

/// Bytes that connections hold, at most, while `--memory-max` is 512 KiB: a buffer may grow past
/// what it needs before it is looked at.
const HELD_MAX: u64 = 1 << 20;

fn assert_budget_held(server: &Server) {
    let budget = server.status()["shards"][0]["budget"].clone();
    assert_eq!(budget["limit_bytes"], 512 << 10);
    assert!(budget["used_bytes_max"].as_u64().expect("bytes") < HELD_MAX, "{budget}");
}

#[test]
fn bodies_that_spend_the_byte_budget_are_refused() {
    let server = Server::start("--memory-max 512KiB --body-max 128KiB --log debug");
    let mut other = server.connect();
    let large = echo(100_000);
    for framing in ["length", "chunked"] {
        let mut clients: Vec<Client> = (0..20).map(|_| server.connect()).collect();
        // All are asked for before the first byte of a body comes, and none is finished.
        for client in &mut clients {
            match framing {
                "length" => client.send(large.head()),
                _ => client.send(large.clone().header("Transfer-Encoding", "chunked").head()),
            };
        }
        thread::sleep(Duration::from_millis(200));
        for _ in 0..12 {
            for client in &mut clients {
                match framing {
                    "length" => client.try_send("x".repeat(8_000)),
                    _ => client.try_send(format!("1f40\r\n{}\r\n", "x".repeat(8_000))),
                };
            }
            assert_eq!(other.ask(&add()).text(), "3", "others are served");
        }
        let status = server.wait_for("refusals", |status| refusals(status, "byte_budget") > 0);
        let live = status["totals"]["connections"].as_u64().expect("a number");
        assert!(live > 1, "some of them live on: {status:#}");
        assert_budget_held(&server);
        drop(clients);
        server.wait_for("the other one alone", |status| status["totals"]["connections"] == 1);
    }
    assert_eq!(other.ask(&add()).text(), "3");
    drop(other);
    server.assert_clean();
}

#[test]
fn slow_readers_that_spend_the_byte_budget_are_closed_and_others_live_on() {
    let server = Server::start("--memory-max 512KiB --body-max 128KiB --send-max 512KiB");
    let mut other = server.connect();
    let mut clients: Vec<Client> = (0..8).map(|_| server.connect()).collect();
    let requests: Vec<u8> = (0..100).flat_map(|_| echo(60_000).bytes()).collect();
    let floods: Vec<_> = clients
        .iter_mut()
        .map(|client| {
            let mut writer = client.stream.try_clone().expect("a socket");
            let requests = requests.clone();
            // It ends where the server has closed.
            thread::spawn(move || writer.write_all(&requests).unwrap_or_default())
        })
        .collect();
    wait_for("who does not read is closed", || {
        assert_eq!(other.ask(&add()).text(), "3", "others are served");
        (refusals(&server.status(), "byte_budget") > 2).then_some(())
    });
    assert_budget_held(&server);
    drop(clients);
    for flood in floods {
        flood.join().expect("the flood ends");
    }
    assert_eq!(other.ask(&echo(60_000)).text().len(), 60_000);
    drop(other);
    server.assert_clean();
}
