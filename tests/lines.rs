//! Lines of JSON-RPC over TCP: both eras, and what a web page can do to the port.

mod support;

use serde_json::json;
use support::lines::{
    assert_answers_before_the_end, assert_refuses_long_lines, assert_shakes_hands,
    assert_speaks_legacy, assert_speaks_modern, assert_survives_garbage, legacy, message,
};
use support::{Lines, Server, call, plain};

const TCP: &str = "--tcp 127.0.0.1:0";

#[test]
fn both_eras_are_served_beside_http() {
    let server = Server::start(&format!("--shards 2 {TCP} {TCP}"));
    assert_eq!(server.tcp.len(), 2);
    for &address in &server.tcp {
        let mut clients: Vec<Lines> = (0..6).map(|_| Lines::tcp(address)).collect();
        for (at, lines) in clients.iter_mut().enumerate() {
            if at % 2 == 0 { assert_speaks_modern(lines) } else { assert_speaks_legacy(lines) }
        }
        for lines in &mut clients {
            assert_answers_before_the_end(lines);
        }
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
