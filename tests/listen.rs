//! `subscriptions/listen`: streams, and the changes that reach them.
//!
//! This program is the server under test as well.

#[path = "support/misbehaving.rs"]
mod misbehaving;
#[path = "support/own.rs"]
mod own;
mod support;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use own::{start, tool};
use serde_json::{Value, json};
use support::server::refusals;
use support::{Client, Frame, PATIENCE, Request, Server, call, request, wait_for};

const ACKNOWLEDGED: &str = "notifications/subscriptions/acknowledged";
const UPDATED: &str = "notifications/resources/updated";
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

fn main() -> ExitCode {
    own::main(&[
        ("what_is_honoured_is_acknowledged_first", acknowledgement),
        ("changes_reach_who_asked_for_them", changes),
        ("a_listener_hears_of_an_update_made_on_another_shard", across_shards),
        ("the_status_of_the_program_is_a_resource_that_changes", status_resource),
        ("a_counter_is_a_resource_whose_listeners_are_told", counters),
        ("idle_streams_are_kept_alive", keep_alive),
        ("a_listener_that_never_reads_is_cut", slow_listener),
        ("a_stream_is_over_when_its_client_goes_or_stops_sending", ends),
        ("a_stop_ends_streams_with_their_result", stop),
    ])
}

fn listen(notifications: Value) -> Request {
    request("subscriptions/listen", json!({"notifications": notifications}))
}

fn listen_to(uri: &str) -> Request {
    listen(json!({"resourceSubscriptions": [uri]}))
}

/// Opens a stream: the parameters of its acknowledgement.
fn open(client: &mut Client, request: &Request) -> Value {
    client.send(request.bytes()).stream_head();
    let first = client.message().expect("a message");
    assert_eq!(first["method"], ACKNOWLEDGED);
    first["params"].clone()
}

fn acknowledgement() {
    let server = start("");
    for (asked, id) in [
        (json!({}), json!("nothing")),
        (json!({"toolsListChanged": true}), json!(7)),
        (json!({"toolsListChanged": false}), json!("no")),
        (
            json!({
                "toolsListChanged": true, "promptsListChanged": true,
                "resourcesListChanged": true, "resourceSubscriptions": ["paged://0", "paged://1"],
            }),
            json!("all \u{e4}\n"),
        ),
        // What there is not yet may come to be.
        (json!({"resourceSubscriptions": ["not://yet"]}), json!(-1)),
    ] {
        let mut client = server.connect();
        let params = open(&mut client, &listen(asked.clone()).id(id.clone()));
        let mut honoured = asked;
        honoured.as_object_mut().expect("an object").retain(|_, value| *value != false);
        assert_eq!(params["notifications"], honoured);
        assert_eq!(params["_meta"][SUBSCRIPTION], id);
    }
    let many: Vec<String> = (0..257).map(|at| format!("paged://{at}")).collect();
    let answer = server.connect().ask(&listen(json!({"resourceSubscriptions": many})));
    assert_eq!((answer.status, answer.code()), (400, -32602));
    server.assert_clean();
}

fn changes() {
    let server = start("");
    let (mut caller, mut stream) = (server.connect(), server.connect());
    let asked = json!({"toolsListChanged": true, "resourcesListChanged": true});
    open(&mut stream, &listen(asked).id("mine"));
    assert_eq!(caller.ask(&tool("announces")).text(), "announced");
    let mut heard: Vec<String> = (0..2)
        .map(|_| {
            let message = stream.message().expect("a change");
            assert_eq!(message["params"]["_meta"][SUBSCRIPTION], "mine");
            message["method"].as_str().expect("a method").to_owned()
        })
        .collect();
    heard.sort();
    let expected = ["resources", "tools"].map(|list| format!("notifications/{list}/list_changed"));
    assert_eq!(heard, expected);
    assert!(stream.is_silent(Duration::from_millis(200)), "not what was not asked for");

    assert_eq!(caller.ask(&tool("added")).code(), -32602);
    assert_eq!(caller.ask(&tool("adds_a_tool")).text(), "added");
    let message = stream.message().expect("a change");
    assert_eq!(message["method"], "notifications/tools/list_changed");
    // Whoever heard of the change sees it.
    assert_eq!(caller.ask(&tool("added")).text(), "here");
    drop((caller, stream));
    server.assert_clean();
}

/// Asks for the status until a shard has another count than before; gives its place.
fn shard_where(server: &Server, key: &str, before: &Value) -> usize {
    let count = |status: &Value, shard: usize| status["shards"][shard][key].as_u64();
    let status = server.wait_for("one more on some shard", |status| {
        (0..2).any(|shard| count(status, shard) > count(before, shard))
    });
    (0..2).find(|&shard| count(&status, shard) > count(before, shard)).expect("it was seen")
}

fn across_shards() {
    let server = start("--shards 2");
    let before = server.status();
    let mut listener = server.connect();
    open(&mut listener, &listen_to("paged://0"));
    let here = shard_where(&server, "streams", &before);
    // The kernel chooses the shard of a connection by its port: until it is the other one.
    let mut waiting = Vec::new();
    let (mut caller, there) = loop {
        let before = server.wait_for("all connections", |status| {
            status["totals"]["connections"] == waiting.len() + 1
        });
        let caller = server.connect();
        let shard = shard_where(&server, "connections", &before);
        if shard != here {
            break (caller, shard);
        }
        waiting.push(caller);
    };
    // An inline tool runs on the shard of its connection.
    let updates = call("updates", json!({"events": 1, "uri": "paged://0"}));
    assert_eq!(caller.ask(&updates).text(), "updated");
    let message = listener.message().expect("an update");
    assert_eq!(message["method"], UPDATED);
    assert_eq!(message["params"]["uri"], "paged://0");
    let status = server.wait_for("who did what", |status| {
        let shards = &status["shards"];
        shards[there]["requests"] == 1 && shards[here]["events_delivered"] == 1
    });
    let (shards, ids) = (&status["shards"], |shard: usize| status["shards"][shard]["id"].clone());
    assert_ne!(ids(here), ids(there));
    assert_eq!(shards[here]["streams"], 1, "the listener is here");
    assert_eq!(shards[there]["streams"], 0);
    assert_eq!(shards[there]["connections"], 1, "the caller alone is there");
    assert_eq!(shards[here]["requests"], 1, "here nothing but listening was asked for");
    assert_eq!(shards[there]["events_delivered"], 0);
    drop((listener, caller, waiting));
    server.assert_clean();
}

fn status_resource() {
    let server = Server::start("--shards 2");
    let uri = "ringmesh://status";
    let mut listener = server.connect();
    open(&mut listener, &listen_to(uri));
    let mut client = server.connect();
    let message = listener.message().expect("an update: there is one more connection");
    assert_eq!(message["method"], UPDATED);
    assert_eq!(message["params"]["uri"], uri);
    wait_for("the new status", || {
        let result = client.ask(&request("resources/read", json!({"uri": uri}))).result();
        let text = result["contents"][0]["text"].as_str().expect("text");
        let status: Value = serde_json::from_str(text).expect("JSON");
        (status["connections"] == 2 && status["streams"] == 1).then_some(())
    });
}

fn counters() {
    let server = Server::start("--shards 2");
    let (mut third, mut other) = (server.connect(), server.connect());
    let uri = "ringmesh://counters/3";
    open(&mut third, &listen_to(uri));
    open(&mut other, &listen_to("ringmesh://counters/4"));
    let mut caller = server.connect();
    let read = |caller: &mut Client, uri: &str| {
        caller.ask(&request("resources/read", json!({"uri": uri})))
    };
    for value in ["1", "2"] {
        assert_eq!(caller.ask(&call("count", json!({"index": 3}))).text(), value);
        let message = third.message().expect("an update");
        assert_eq!(message["method"], UPDATED);
        assert_eq!(message["params"]["uri"], uri);
        // Whoever heard of the change sees it.
        assert_eq!(read(&mut caller, uri).result()["contents"][0]["text"], value);
    }
    assert!(other.is_silent(Duration::from_millis(200)), "its counter did not change");
    let refused = caller.ask(&call("count", json!({"index": 16}))).result();
    assert_eq!(refused["isError"], true, "{refused}");
    for nothing in ["16", "03", "-1", "x"] {
        let answer = read(&mut caller, &format!("ringmesh://counters/{nothing}"));
        assert_eq!(answer.code(), -32602, "{nothing}");
    }
    drop((third, other, caller));
    server.assert_clean();
}

fn keep_alive() {
    let server = start("--keep-alive 1s --idle-timeout 1s");
    let mut streams: Vec<Client> = (0..3).map(|_| server.connect()).collect();
    for stream in &mut streams {
        open(stream, &listen_to("paged://0"));
    }
    // A call that says nothing for long becomes a stream with comments.
    let mut calling = server.connect();
    let slow = call("overruns_blocking", json!({"ms": 2_500})).id("slow");
    calling.send(slow.bytes()).stream_head();
    assert_eq!(calling.frame(), Some(Frame::Comment));
    for _ in 0..3 {
        for stream in &mut streams {
            assert_eq!(stream.frame(), Some(Frame::Comment));
        }
    }
    assert_eq!(calling.message().expect("the answer")["id"], "slow");
    assert_eq!(calling.message(), None);
    // An old client gets them bare.
    let mut old = server.connect();
    old.send(listen_to("paged://0").line("POST /mcp HTTP/1.0").bytes());
    assert_eq!(old.head().0, 200);
    wait_for("a comment", || {
        old.receive();
        old.unread().windows(5).any(|bytes| bytes == b"\n\n:\n\n").then_some(())
    });
    let status = server.status();
    assert!(status["shards"][0]["keepalives_sent"].as_u64() >= Some(10), "{status:#}");
    drop((streams, old, calling));
    server.assert_clean();
}

fn slow_listener() {
    // Few enough to be told one by one: under load the same changes are merged.
    const BURST: u64 = 50;
    let server = start("--send-max 1MiB --send-timeout 2s");
    let (mut deaf, mut reader) = (server.connect(), server.connect());
    socket2::SockRef::from(&deaf.stream).set_recv_buffer_size(4096).expect("a socket");
    // Long, so that little of it fills every buffer on the way.
    let uri = format!("long://{}", "x".repeat(1_000));
    open(&mut deaf, &listen_to(&uri));
    open(&mut reader, &listen_to(&uri));
    let mut caller = server.connect();
    let updates = call("updates", json!({"events": BURST, "uri": uri}));
    // By whichever bound is met first.
    let cut = |status: &Value| refusals(status, "send_bound") + refusals(status, "send_timeout");
    let mut bursts = 0;
    let started = Instant::now();
    while bursts % 10 != 0 || cut(&server.status()) == 0 {
        assert_eq!(caller.ask(&updates).text(), "updated");
        for _ in 0..BURST {
            assert_eq!(reader.message().expect("an update")["method"], UPDATED);
        }
        bursts += 1;
        assert!(started.elapsed() < 4 * PATIENCE, "it is not cut after {bursts} bursts");
    }
    let status = server.wait_for("one stream", |status| status["totals"]["streams"] == 1);
    assert_eq!(cut(&status), 1, "counted once");
    let held = status["shards"][0]["budget"]["used_bytes_max"].as_u64().expect("bytes");
    assert!(held < 4 << 20, "it held {held} bytes for one client");
    assert_eq!(caller.ask(&updates).text(), "updated");
    assert_eq!(reader.message().expect("an update")["method"], UPDATED);
    drop((deaf, reader, caller));
    server.assert_clean();
}

fn ends() {
    let server = start("");
    for half in [false, true] {
        let mut client = server.connect();
        open(&mut client, &listen_to("paged://0"));
        server.wait_for("a stream", |status| status["totals"]["streams"] == 1);
        if half {
            client.finish_sending();
            server.wait_for("no stream", |status| status["totals"]["streams"] == 0);
        }
        drop(client);
        server.assert_clean();
    }
}

fn stop() {
    let mut server = start("--shards 2 --grace 10s");
    let mut streams: Vec<Client> = (0..50).map(|_| server.connect()).collect();
    for (id, stream) in streams.iter_mut().enumerate() {
        open(stream, &listen_to("paged://0").id(id));
    }
    server.signal(Signal::SIGTERM);
    for (id, stream) in streams.iter_mut().enumerate() {
        let last = stream.message().expect("the result");
        assert_eq!(last["id"], id);
        assert_eq!(last["result"]["resultType"], "complete");
        assert_eq!(last["result"]["_meta"][SUBSCRIPTION], id);
        assert_eq!(stream.message(), None);
        assert!(stream.is_at_end());
    }
    drop(streams);
    assert_eq!(server.ended().0, Some(0));
}
