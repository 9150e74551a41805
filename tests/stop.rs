//! The end of the program: what is in flight finishes, and nothing outlasts the grace period.

mod support;

use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;
use support::{Client, Request, Server, call, request, wait_for};

/// Far less than the calls that are cut short would take.
const SOON: Duration = Duration::from_secs(10);

fn sleep_ms(ms: u64) -> Request {
    call("sleep_ms", json!({"ms": ms}))
}

fn listen() -> Request {
    request("subscriptions/listen", json!({"notifications": {"toolsListChanged": true}}))
}

#[test]
fn what_is_in_flight_finishes_and_the_rest_ends_politely() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut server = Server::start("--shards 2 --grace 20s");
        let mut idle: Vec<Client> = (0..10).map(|_| server.connect()).collect();
        for client in &mut idle[5..] {
            assert_eq!(client.ask(&call("add", json!({"a": 1, "b": 2}))).text(), "3");
        }
        let mut streams: Vec<Client> = (0..10).map(|_| server.connect()).collect();
        for (id, stream) in streams.iter_mut().enumerate() {
            stream.send(listen().id(id).bytes()).stream_head();
            assert!(stream.message().is_some(), "acknowledged");
        }
        let (mut plain, mut reports) = (server.connect(), server.connect());
        plain.send(sleep_ms(1_500).bytes());
        reports.send(sleep_ms(1_500).id("nap").progress(1).bytes()).stream_head();
        server.wait_for("two calls", |status| status["totals"]["calls_in_flight"] == 2);
        assert_eq!(server.admin("/readyz").0, 200);

        server.signal(signal);
        wait_for("nobody listens", || {
            let refused = TcpStream::connect(server.http).err()?;
            (refused.kind() == ErrorKind::ConnectionRefused).then_some(())
        });
        // Those who ask for health are told, while the calls go on.
        assert_eq!(server.admin("/readyz").0, 503);
        assert_eq!(server.admin("/livez").0, 200);
        assert!(idle.iter_mut().all(Client::is_at_end), "idle connections end at once");
        for (id, stream) in streams.iter_mut().enumerate() {
            let last = stream.message().expect("the result of listening");
            assert_eq!(
                (&last["id"], &last["result"]["resultType"]),
                (&json!(id), &json!("complete"))
            );
            assert_eq!(stream.message(), None);
            assert!(stream.is_at_end());
        }
        let answer = plain.answer();
        assert_eq!(answer.text(), "slept 1500 ms");
        assert!(answer.closes() && plain.is_at_end());
        let last = std::iter::from_fn(|| reports.message()).last().expect("an answer");
        assert_eq!(last["result"]["content"][0]["text"], "slept 1500 ms");
        assert!(reports.is_at_end());
        drop((plain, reports, streams, idle));
        let (code, took) = server.ended();
        assert_eq!(code, Some(0));
        assert!(took < SOON, "{took:?}");
    }
}

#[test]
fn what_outlasts_the_grace_period_is_cut() {
    let mut server = Server::start("--grace 500ms");
    let mut call = server.connect();
    call.send(sleep_ms(50_000).bytes());
    let mut slow = server.connect();
    slow.send(b"POST /mcp HTTP/1.1\r\n");
    server.wait_for("a call", |status| status["totals"]["calls_in_flight"] == 1);
    server.signal(Signal::SIGTERM);
    let (code, took) = server.ended();
    assert_eq!(code, Some(0));
    assert!(took < SOON, "{took:?}");
    assert!(call.is_cut() && slow.is_cut());
}

#[test]
fn clients_that_do_not_read_hold_up_nothing() {
    let mut server = Server::start("--grace 1s");
    let mut client = server.connect();
    let echo = call("echo", json!({"text": "x".repeat(1 << 20)})).bytes();
    let writer = client.stream.try_clone().expect("a socket");
    let flood = std::thread::spawn(move || {
        use std::io::Write as _;
        let mut writer = writer;
        while writer.write_all(&echo).is_ok() {}
    });
    server.wait_for("a reader that is slow", |status| {
        status["shards"][0]["budget"]["used_bytes"].as_u64() > Some(100_000)
    });
    server.signal(Signal::SIGTERM);
    let (code, took) = server.ended();
    assert_eq!(code, Some(0));
    assert!(took < SOON, "{took:?}");
    assert!(client.is_cut());
    flood.join().expect("the flood ends");
}

#[test]
fn a_second_signal_ends_at_once() {
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130)] {
        let mut server = Server::start("");
        let mut call = server.connect();
        call.send(sleep_ms(50_000).bytes());
        server.wait_for("a call", |status| status["totals"]["calls_in_flight"] == 1);
        server.signal(signal);
        wait_for("the first signal is taken", || server.log().contains("stopping").then_some(()));
        server.signal(signal);
        let (ended, took) = server.ended();
        assert_eq!(ended, Some(code));
        assert!(took < SOON, "{took:?}");
        assert!(call.is_cut());
    }
}
