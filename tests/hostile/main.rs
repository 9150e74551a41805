//! Bad input and bad luck, each against a real process, after which it must hold nothing.
//!
//! This program is the server under test as well.

#[path = "../support/misbehaving.rs"]
mod misbehaving;
#[path = "../support/own.rs"]
mod own;
#[path = "../support/mod.rs"]
mod support;

mod budget;
mod floods;
mod garbage;
mod large;
mod leaving;
mod piped;
mod sessions;
mod shards;
mod slow;
mod stopped;

use std::process::ExitCode;

use serde_json::{Value, json};
use support::session::message;
use support::{Client, Request, Server, call, wait_for};

fn main() -> ExitCode {
    own::main_at_once(&[
        // The longest first.
        ("a_process_that_stood_still_drops_nobody", stopped::stopped),
        ("ten_thousand_sessions_are_opened_and_left", sessions::left),
        ("a_hundred_thousand_requests_on_one_connection", floods::pipelined_http),
        ("a_hundred_thousand_lines_on_one_connection", floods::pipelined_lines),
        ("a_thousand_calls_of_a_session_are_cancelled_at_once", floods::cancelled_in_session),
        ("a_thousand_calls_of_a_line_are_cancelled_at_once", floods::cancelled_on_line),
        ("a_thousand_calls_lose_their_connections_at_once", floods::lost_at_once),
        ("a_line_of_a_hundred_megabytes", large::line),
        ("a_body_of_a_hundred_megabytes", large::body),
        ("a_batch_of_ten_thousand", large::batch),
        ("slow_heads_bodies_and_lines", slow::heads_and_bodies),
        ("who_never_reads_is_cut", slow::never_reading),
        ("half_closed_and_reset_over_http", leaving::http),
        ("half_closed_and_reset_lines", leaving::lines),
        ("guessed_and_reused_session_ids", sessions::guessed),
        ("answers_that_nobody_asked_for", sessions::unasked),
        ("ids_that_are_in_flight_already", sessions::duplicates),
        ("a_web_page_that_posts_to_the_line_port", garbage::web_page),
        ("garbage_in_place_of_http", garbage::http),
        ("garbage_in_place_of_messages", garbage::bodies),
        ("garbage_in_place_of_lines", garbage::lines),
        ("who_ends_sending_is_answered_from_another_shard", shards::half_closed),
        ("a_shard_that_is_stuck_is_waited_for", shards::stuck_home),
        ("a_shard_that_is_stuck_hears_its_answers_late", shards::stuck_front),
        ("a_stop_ends_sessions_wherever_they_are_read", shards::stop),
        ("garbage_on_standard_input", piped::garbage),
        ("standard_input_is_flooded_and_ends", piped::floods),
        ("half_sent_bodies_and_lines_spend_the_budget", budget::half_sent),
        ("slow_readers_spend_the_budget", budget::slow_readers),
        ("what_sessions_keep_is_charged", budget::kept),
    ])
}

/// A server of two shards that serves lines too.
fn serve(flags: &str) -> Server {
    own::start(&format!("--shards 2 --tcp 127.0.0.1:0 {flags}"))
}

fn fine() -> Request {
    call("fine", json!({}))
}

/// A line that calls a tool, of the modern era.
fn modern_line(id: impl Into<Value>, tool: &str, arguments: Value) -> String {
    line(&support::lines::message(&call(tool, arguments).id(id)))
}

fn line(message: &Value) -> String {
    format!("{message}\n")
}

/// What a client of lines says first in the legacy era.
fn line_hello(version: &str) -> String {
    let client = json!({"name": "test", "version": "1"});
    let capabilities = json!({"elicitation": {}, "sampling": {}, "roots": {}});
    let params =
        json!({"protocolVersion": version, "capabilities": capabilities, "clientInfo": client});
    line(&message(0, "initialize", params))
}

/// Asserts that others are served.
fn assert_serves(server: &Server) {
    assert_eq!(server.connect().ask(&fine()).text(), "fine");
    let mut lines = support::Lines::tcp(server.tcp[0]);
    let answer = lines.send(modern_line(1, "fine", json!({}))).next().expect("an answer");
    assert_eq!(support::session::text(&answer), "fine");
}

/// A sum over the shards.
fn sum(status: &Value, key: &str) -> u64 {
    let shards = status["shards"].as_array().expect("shards");
    shards.iter().map(|shard| shard[key].as_u64().unwrap_or_else(|| panic!("no {key}"))).sum()
}

fn resident_bytes(server: &Server) -> f64 {
    server.metric("process_resident_memory_bytes")
}

fn wait_for_calls(server: &Server, count: u64) {
    server
        .wait_for(&format!("{count} calls"), |status| status["totals"]["calls_in_flight"] == count);
}

/// How many futures that never end were dropped so far.
fn wait_for_dropped(server: &Server, count: u64) {
    let mut client = server.connect();
    wait_for("futures that were dropped", || {
        (client.ask(&call("dropped", json!({}))).text() == count.to_string()).then_some(())
    });
}

/// Has its connection reset rather than closed.
fn reset(client: Client) {
    let socket = socket2::SockRef::from(&client.stream);
    socket.set_linger(Some(std::time::Duration::ZERO)).expect("a socket");
}
