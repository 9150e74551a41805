//! Lines of JSON-RPC over TCP: both eras, and what a web page can do to the port.

mod support;

use serde_json::json;
use support::lines::{
    assert_refuses_long_lines, assert_shakes_hands, assert_speaks_modern, assert_speaks_to_many,
    assert_survives_garbage, cancelled, legacy, message,
};
use support::{Lines, Server, call, plain, request};

const TCP: &str = "--tcp 127.0.0.1:0";

#[test]
fn both_eras_are_served_beside_http() {
    let server = Server::start(&format!("--shards 2 {TCP} {TCP}"));
    assert_eq!(server.tcp.len(), 2);
    for &address in &server.tcp {
        assert_speaks_to_many((0..6).map(|_| Lines::tcp(address)).collect());
    }
    let sum = call("add", json!({"a": 1, "b": 2}));
    assert_eq!(server.connect().ask(&sum).text(), "3", "HTTP is served as before");
    server.assert_clean();
}

#[test]
fn one_connection_speaks_both_eras_at_once() {
    let server = Server::start(TCP);
    let mut lines = Lines::tcp(server.tcp[0]);
    assert_shakes_hands(&mut lines);
    let old = lines.ask(&legacy(5, "tools/list", json!({})));
    assert_eq!(old["result"].get("resultType"), None, "{old}");
    let new = lines.ask(&message(&call("add", json!({"a": 1, "b": 2})).id(6)));
    assert_eq!(new["result"]["resultType"], "complete", "{new}");
}

#[test]
fn a_web_page_that_posts_to_the_port_does_nothing() {
    let server = Server::start(TCP);
    let body = message(&call("add", json!({"a": 1, "b": 2})));
    let post = plain(format!("{body}\n")).header("Origin", "https://evil.example").bytes();
    let mut lines = Lines::tcp(server.tcp[0]);
    lines.try_send(&post);
    lines.assert_ends();
    let status = server.status();
    assert_eq!(status["totals"]["requests"], 0, "{status:#}");
    server.assert_clean();
}

#[test]
fn garbage_harms_its_sender_alone() {
    let server = Server::start(TCP);
    assert_survives_garbage(&mut Lines::tcp(server.tcp[0]));
    assert_refuses_long_lines(&mut Lines::tcp(server.tcp[0]));
    for first in ["hello\n", "[]\n", "\"{}\"\n", "{\n", "\u{fffd}\n"] {
        Lines::tcp(server.tcp[0]).send(first).assert_ends();
    }
    assert_speaks_modern(&mut Lines::tcp(server.tcp[0]));
    server.assert_clean();
}

#[test]
fn a_cancelled_call_is_over_while_its_connection_lives() {
    let server = Server::start(TCP);
    let mut lines = Lines::tcp(server.tcp[0]);
    let in_flight = |count: u64| {
        server.wait_for("calls in flight", |status| status["totals"]["calls_in_flight"] == count)
    };
    for handshake in [false, true] {
        if handshake {
            assert_shakes_hands(&mut lines);
        }
        for id in 0..5 {
            lines.say(&message(&call("sleep_ms", json!({"ms": 50_000})).id(id)));
        }
        in_flight(5);
        for id in 0..5 {
            lines.say(&cancelled(id));
        }
        in_flight(0);
        // One that is cancelled twice, or never was, is nothing.
        lines.say(&cancelled(0)).say(&cancelled(77));
        lines.assert_silent();
    }
}

#[test]
fn a_client_that_goes_away_takes_its_calls_along() {
    let server = Server::start(TCP);
    let mut lines = Lines::tcp(server.tcp[0]);
    for id in 0..20 {
        lines.say(&message(&call("sleep_ms", json!({"ms": 5_000})).id(id)));
    }
    server.wait_for("calls", |status| status["totals"]["calls_in_flight"] == 20);
    drop(lines);
    server.assert_clean();
}

#[test]
fn subscriptions_share_a_connection_with_calls_and_end_with_the_input() {
    let server = Server::start(TCP);
    let mut lines = Lines::tcp(server.tcp[0]);
    for id in ["one", "two"] {
        let all = json!({"notifications": {"toolsListChanged": true}});
        lines.say(&message(&request("subscriptions/listen", all).id(id)));
        let acknowledged = lines.next().expect("a line");
        assert_eq!(acknowledged["method"], "notifications/subscriptions/acknowledged");
    }
    let sum = lines.ask(&message(&call("add", json!({"a": 1, "b": 2})).id("sum")));
    assert_eq!(sum["result"]["content"][0]["text"], "3");
    server.wait_for("two streams", |status| status["totals"]["streams"] == 2);
    lines.say(&cancelled("one"));
    server.wait_for("one stream", |status| status["totals"]["streams"] == 1);
    lines.finish_sending();
    while let Some(last) = lines.next() {
        assert_eq!(last["id"], "two", "{last}");
    }
    server.assert_clean();
}

#[test]
fn a_line_may_come_in_pieces_and_many_in_one() {
    let server = Server::start(TCP);
    let mut lines = Lines::tcp(server.tcp[0]);
    let add = |id: usize| format!("{}\n", message(&call("add", json!({"a": id, "b": 1})).id(id)));
    for byte in add(0).bytes() {
        lines.send([byte]);
    }
    assert_eq!(lines.next().expect("an answer")["id"], 0);
    let many: String = (0..2_000).map(add).collect();
    lines.send(many);
    for id in 0..2_000_usize {
        let answer = lines.next().expect("an answer");
        assert_eq!(answer["id"], id);
        assert_eq!(answer["result"]["content"][0]["text"], (id + 1).to_string());
    }
}
