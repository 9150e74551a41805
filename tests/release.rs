//! What a server's own code can do to it: panic, overrun its time, flood. Run in a release build
//! too, where a panic must unwind as well.
//!
//! This program is the server under test as well.

#[path = "support/misbehaving.rs"]
mod misbehaving;
#[path = "support/own.rs"]
mod own;
mod support;

use std::process::ExitCode;
use std::time::Duration;

use nix::sys::signal::Signal;
use own::{start, tool};
use serde_json::{Value, json};
use support::lines::message;
use support::server::program;
use support::{Client, Piped, Request, Server, call, request, wait_for};

const INTERNAL_ERROR: i64 = -32603;

fn main() -> ExitCode {
    own::main(&[
        ("a_tool_that_panics_is_answered_and_all_lives_on", panicking_tools),
        ("what_panics_besides_tools_is_answered", panicking_others),
        ("a_panic_after_progress_ends_the_stream", panic_midway),
        ("a_future_that_panics_as_it_is_dropped_harms_nobody", panic_in_drop),
        ("an_async_tool_that_overruns_is_cancelled", overrun_async),
        ("a_blocking_tool_that_overruns_is_abandoned", overrun_blocking),
        ("an_inline_tool_that_overruns_is_named_in_the_log", overrun_inline),
        ("a_client_that_goes_away_has_its_future_dropped", disconnect),
        ("a_flood_of_log_messages_costs_no_answer", log_flood),
        ("arguments_are_checked_wherever_a_tool_runs", checks),
        ("lists_come_in_pages", pages),
        ("a_tool_that_prints_does_not_break_the_protocol", printing),
        ("a_tool_that_never_ends_does_not_hold_up_the_stop", stop),
    ])
}

fn assert_fine(server: &Server) {
    assert_eq!(server.connect().ask(&tool("fine")).text(), "fine");
}

fn printing() {
    let own = std::env::current_exe().expect("this program");
    let (mut server, mut lines) = Piped::start_command(program(&own, "serve"), "");
    let answer = lines.ask(&message(&tool("prints")));
    assert_eq!(answer["result"]["content"][0]["text"], "Ok(0) Ok(true)", "{answer}");
    lines.finish_sending().assert_ends();
    assert_eq!(server.ended().0, Some(0));
    // The log's own lines may come in between.
    for line in ["a stray line", "stray"] {
        wait_for(line, || server.log().lines().any(|logged| logged == line).then_some(()));
    }
}

fn outcome(status: &Value, outcome: &str) -> u64 {
    status["shards"][0]["requests_by_outcome"][outcome].as_u64().unwrap_or_default()
}

fn panicking_tools() {
    let server = start("--blocking-threads 1 --async-threads 1");
    let mut client = server.connect();
    let kinds = ["panics_inline", "panics_async", "panics_at_once", "panics_blocking"];
    // More often than there are threads: a panic takes none along.
    for _ in 0..5 {
        for name in kinds {
            let answer = client.ask(&tool(name));
            let result = answer.result();
            assert_eq!(answer.json()["id"], name);
            assert_eq!(result["isError"], true, "{result}");
            assert_eq!(answer.text(), format!("tool '{name}' panicked"));
        }
    }
    assert_eq!(client.ask(&tool("panics_twice")).text(), "tool 'panics_twice' panicked");
    let spawned = client.ask(&tool("panics_in_a_task"));
    assert_eq!(spawned.text(), "the task panicked", "the tool's own affair");
    assert_eq!(client.ask(&tool("fine")).text(), "fine", "the same connection");
    let status = server.status();
    server.wait_for("every panic is counted", |status| outcome(status, "panic") == 21);
    assert_eq!(status["pools"]["blocking_lost"], 0);
    wait_for("the log says where", || {
        let log = server.log();
        (log.contains("boom") && log.contains("misbehaving.rs")).then_some(())
    });
    drop(client);
    server.assert_clean();
}

fn panicking_others() {
    let server = start("");
    let mut client = server.connect();
    let complete = json!({
        "ref": {"type": "ref/prompt", "name": "panics"},
        "argument": {"name": "word", "value": ""},
    });
    for (request, what, name) in [
        (request("resources/read", json!({"uri": "panics://inline"})), "resource", "inline"),
        (request("resources/read", json!({"uri": "panics://blocking/a"})), "resource", "blocking"),
        (
            request("prompts/get", json!({"name": "panics", "arguments": {"word": "a"}})),
            "prompt",
            "panics",
        ),
        (request("completion/complete", complete), "completion", "panics"),
    ] {
        let answer = client.ask(&request);
        assert_eq!((answer.status, answer.code()), (200, INTERNAL_ERROR));
        let message = answer.json()["error"]["message"].as_str().expect("text").to_owned();
        assert!(message.starts_with(what) && message.contains(name), "{message}");
        assert!(message.ends_with("panicked"), "{message}");
    }
    assert_eq!(client.ask(&tool("fine")).text(), "fine");
    drop(client);
    server.assert_clean();
}

fn panic_midway() {
    let server = start("");
    let mut client = server.connect();
    client.send(tool("panics_midway").progress("token").bytes()).stream_head();
    let progress = client.message().expect("progress");
    assert_eq!(progress["method"], "notifications/progress");
    let last = client.message().expect("the answer");
    assert_eq!(last["id"], "panics_midway");
    assert_eq!(last["result"]["isError"], true, "{last}");
    assert_eq!(client.message(), None);
    assert_eq!(client.ask(&tool("fine")).text(), "fine");
    drop(client);
    server.assert_clean();
}

fn panic_in_drop() {
    let server = start("--tool-timeout 300ms --async-threads 1");
    let mut client = server.connect();
    let answer = client.ask(&tool("panics_as_it_is_dropped"));
    assert_eq!(answer.code(), INTERNAL_ERROR);
    // Another whose client goes.
    let mut leaver = server.connect();
    leaver.send(tool("panics_as_it_is_dropped").bytes());
    server.wait_for("the call", |status| status["totals"]["calls_in_flight"] == 1);
    drop(leaver);
    server.wait_for("no call", |status| {
        status["totals"]["calls_in_flight"] == 0 && status["pools"]["async_running"] == 0
    });
    assert_eq!(client.ask(&tool("panics_async")).text(), "tool 'panics_async' panicked");
    drop(client);
    server.assert_clean();
}

/// Asserts the answer to a call that took too long.
fn assert_overrun(client: &mut Client, name: &str) {
    let answer = client.answer();
    assert_eq!((answer.status, answer.code()), (200, INTERNAL_ERROR));
    let json = answer.json();
    assert_eq!(json["error"]["message"], format!("tool '{name}' took too long"));
    assert_eq!(json["id"], name);
}

fn overrun_async() {
    let server = start("--tool-timeout 500ms");
    let mut clients: Vec<Client> = (0..3).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send(tool("overruns_async").bytes());
    }
    for client in &mut clients {
        assert_overrun(client, "overruns_async");
        assert_eq!(client.ask(&tool("fine")).text(), "fine");
    }
    let mut client = clients.pop().expect("one of them");
    wait_for("every future is dropped", || {
        (client.ask(&tool("dropped")).text() == "3").then_some(())
    });
    server.wait_for_refusals("tool_timeout", 3);
    let status = server.status();
    assert_eq!((outcome(&status, "timeout"), &status["pools"]["async_running"]), (3, &json!(0)));
    drop((client, clients));
    server.assert_clean();
}

fn overrun_blocking() {
    let server = start("--tool-timeout 500ms --blocking-threads 2");
    let mut clients: Vec<Client> = (0..2).map(|_| server.connect()).collect();
    for client in &mut clients {
        client
            .send(call("overruns_blocking", json!({"ms": 4_000})).id("overruns_blocking").bytes());
    }
    for client in &mut clients {
        assert_overrun(client, "overruns_blocking");
    }
    let lost = |status: &Value| status["pools"]["blocking_lost"].clone();
    server.wait_for("two lost threads", |status| lost(status) == 2);
    assert_eq!(server.metric("ringmesh_pool_threads_lost"), 2.0);
    // Others took their places.
    let short = call("overruns_blocking", json!({"ms": 1}));
    wait_for("a thread that serves", || (clients[0].ask(&short).status == 200).then_some(()));
    assert_eq!(clients[0].ask(&short).text(), "too late");
    server.wait_for("they come back", |status| lost(status) == 0);
    server.wait_for_refusals("tool_timeout", 2);
    drop(clients);
    server.assert_clean();
}

fn overrun_inline() {
    let server = start("--shards 2");
    assert_fine(&server);
    let answer = server.connect().ask(&call("overruns_inline", json!({"ms": 1_000})));
    assert_eq!(answer.text(), "late", "it cannot be interrupted");
    wait_for("a warning with its name", || {
        let log = server.log();
        let warned = log.lines().any(|line| {
            line.contains("WARN") && line.contains("stuck") && line.contains("overruns_inline")
        });
        (warned && log.contains("the shard goes on")).then_some(())
    });
    assert_eq!(server.admin("/readyz").0, 200);
    // Five seconds of it make the server unready, since some of its clients wait.
    let mut client = server.connect();
    client.send(call("overruns_inline", json!({"ms": 8_000})).bytes());
    wait_for("unready", || (server.admin("/readyz").0 == 503).then_some(()));
    assert_eq!(server.admin("/livez").0, 200);
    assert_eq!(client.answer().text(), "late");
    wait_for("ready again", || (server.admin("/readyz").0 == 200).then_some(()));
    drop(client);
    server.assert_clean();
}

fn disconnect() {
    let server = start("");
    let mut client = server.connect();
    for count in 1..=3 {
        let mut leaver = server.connect();
        leaver.send(tool("overruns_async").bytes());
        server.wait_for("the call", |status| status["totals"]["calls_in_flight"] == 1);
        drop(leaver);
        wait_for("its future is dropped", || {
            (client.ask(&tool("dropped")).text() == count.to_string()).then_some(())
        });
        // A status may be a moment old: the next call must not be taken for this one.
        server.wait_for("no call", |status| status["totals"]["calls_in_flight"] == 0);
    }
    server.wait_for("three were cancelled", |status| outcome(status, "cancelled") == 3);
    drop(client);
    server.assert_clean();
}

fn log_flood() {
    let server = start("");
    let mut client = server.connect();
    let level = |request: Request| {
        let key = "io.modelcontextprotocol/logLevel";
        request.edit(|message| message["params"]["_meta"][key] = json!("info"))
    };
    let few = level(call("logs", json!({"events": 3})).id("few"));
    client.send(few.bytes()).stream_head();
    for at in 0..3 {
        let message = client.message().expect("a log message");
        assert_eq!(message["method"], "notifications/message");
        assert_eq!(message["params"]["data"], format!("line {at}"));
    }
    assert_eq!(client.message().expect("the answer")["id"], "few");
    assert_eq!(client.message(), None);

    let many = level(call("logs", json!({"events": 100_000})).id("many"));
    client.send(many.bytes()).stream_head();
    let answer = loop {
        let message = client.message().expect("the answer before the end");
        if message.get("id").is_some() {
            break message;
        }
    };
    assert_eq!(answer["result"]["content"][0]["text"], "logged");
    assert_eq!(client.frame(), None);
    // Without a level there is none.
    assert_eq!(client.ask(&call("logs", json!({"events": 3}))).text(), "logged");
    drop(client);
    server.assert_clean();
}

fn checks() {
    let server = start("--blocking-threads 1 --async-threads 1");
    let mut client = server.connect();
    let long = "x".repeat(1 << 20);
    let deep = (0..50).fold(json!({"leaf": 0}), |inner, _| json!({"leaf": 0, "next": inner}));
    let street = |street: Value| json!({"phone": "1", "address": {"street": street}});
    let table = [
        (json!({}), "arguments: "),
        (json!({"email": "e"}), "arguments: \"address\" is a required property"),
        (json!({"phone": 1}), "arguments.phone: 1 is not of type \"string\""),
        (street(json!("1st")), "arguments.address.street: \"1st\" does not match"),
        (street(json!(long)), "arguments.address.street: value is longer than 20 characters"),
        (
            json!({"phone": "1", "address": {"lines": ["a"]}}),
            "arguments.address.lines[0]: \"a\" is not of type \"integer\"",
        ),
        (json!({"phone": "1", &long: 1}), "arguments: "),
        (json!({"phone": "1", "tree": deep}), "arguments"),
        (json!({"phone": "1", "address": vec![json!({}); 100_000]}), "arguments"),
    ];
    for name in ["checks_inline", "checks_async", "checks_blocking"] {
        for good in [json!({"phone": "1"}), json!({"email": "no mail", "address": {}})] {
            assert_eq!(client.ask(&call(name, good)).text(), "ran");
        }
        for (arguments, expected) in &table {
            let answer = client.ask(&call(name, arguments.clone()));
            assert_eq!((answer.status, &answer.result()["isError"]), (200, &json!(true)));
            let text = answer.text();
            assert!(text.starts_with(expected) && text.len() < 600, "{name} {expected}: {text}");
        }
    }
    assert_fine(&server);
    drop(client);
    server.assert_clean();
}

fn pages() {
    let server = start("");
    let mut client = server.connect();
    let mut names = Vec::new();
    let mut cursor = None;
    loop {
        let params = cursor.as_ref().map_or(json!({}), |cursor| json!({"cursor": cursor}));
        let page = client.ask(&request("resources/list", params.clone())).result();
        assert_eq!(page, client.ask(&request("resources/list", params)).result(), "the same");
        let entries = page["resources"].as_array().expect("resources");
        assert!(entries.len() <= 3);
        names.extend(entries.iter().map(|entry| entry["name"].as_str().expect("text").to_owned()));
        match page.get("nextCursor") {
            Some(next) => cursor = Some(next.as_str().expect("an opaque string").to_owned()),
            None => break,
        }
    }
    let paged = (0..7).map(|at| format!("paged-{at}"));
    let expected: Vec<String> = std::iter::once("inline".to_owned()).chain(paged).collect();
    assert_eq!(names, expected, "each once, in order");
    for wrong in ["no such page", "9999", "-1", " "] {
        let answer = client.ask(&request("resources/list", json!({"cursor": wrong})));
        assert_eq!((answer.status, answer.code()), (400, -32602), "{wrong:?}");
    }
}

fn stop() {
    let mut server = start("--grace 1s");
    let mut client = server.connect();
    client.send(tool("overruns_async").bytes());
    let mut other = server.connect();
    other.send(call("overruns_blocking", json!({"ms": 20_000})).bytes());
    server.wait_for("two calls", |status| status["totals"]["calls_in_flight"] == 2);
    server.signal(Signal::SIGTERM);
    let (code, took) = server.ended();
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert!(client.is_cut() && other.is_cut());
}
