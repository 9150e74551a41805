//! Requests of the server to its client, and what may become of their answers.

use serde_json::{Value, json};

use crate::support::session::{LEGACY, connect_far, initialize, message, text};
use crate::support::{Client, Server, Session};
use crate::{leave, open, open_version, serve};

fn said() -> Value {
    json!({"role": "assistant", "content": {"type": "text", "text": "hi"}, "model": "m"})
}

fn named(name: &str) -> Value {
    json!({"action": "accept", "content": {"name": name}})
}

fn roots() -> Value {
    json!({"roots": [{"uri": "file:///a"}, {"uri": "file:///b", "name": "b"}]})
}

/// Reads the next message of a stream that is no prime.
fn next(calling: &mut Client) -> Value {
    let mut told = std::iter::from_fn(|| calling.told());
    told.find(|event| event.data.as_deref() != Some("")).expect("a message").message()
}

fn accepted(client: &mut Client, request: &crate::support::Request) {
    let answer = client.ask(request);
    assert_eq!((answer.status, answer.body.len()), (202, 0), "{answer:?}");
}

pub(crate) fn round_trips(shards: u16) {
    let server = serve(shards, "");
    for version in ["2025-03-26", "2025-06-18", LEGACY] {
        let (session, mut client) = open_version(&server, shards, version);
        let mut calling = connect_far(&server, &session, shards);
        for (tool, method, result, answered) in [
            ("asks_name", "elicitation/create", named("Ada"), "Hello, Ada!"),
            ("asks_model", "sampling/createMessage", said(), "hi"),
            ("asks_roots", "roots/list", roots(), "2 roots"),
        ] {
            calling.send(session.call(tool, tool, json!({})).bytes()).stream_head();
            let asked = next(&mut calling);
            assert_eq!((&asked["method"], &asked["jsonrpc"]), (&json!(method), &json!("2.0")));
            match method {
                "elicitation/create" => {
                    assert_eq!(asked["params"]["requestedSchema"]["type"], "object");
                    assert!(asked["params"]["message"].is_string());
                }
                "sampling/createMessage" => {
                    assert!(asked["params"]["messages"].is_array());
                    assert!(asked["params"]["maxTokens"].is_number());
                }
                _ => {}
            }
            accepted(&mut client, &session.answer(&asked, result));
            let answer = next(&mut calling);
            assert_eq!((&answer["id"], text(&answer)), (&json!(tool), answered));
            assert_eq!(calling.told(), None, "the stream ends with its answer");
        }
        // One call may ask more than once, and two calls at once.
        let mut other = server.connect();
        calling.send(session.call(1, "asks_twice", json!({})).bytes()).stream_head();
        other.send(session.call(2, "asks_name", json!({})).bytes()).stream_head();
        let (first, second) = (next(&mut calling), next(&mut other));
        assert_ne!(first["id"], second["id"], "ids differ within a session");
        accepted(&mut client, &session.answer(&second, named("two")));
        assert_eq!(text(&next(&mut other)), "Hello, two!");
        accepted(&mut client, &session.answer(&first, named("one")));
        let again = next(&mut calling);
        assert_ne!(first["id"], again["id"]);
        accepted(&mut client, &session.answer(&again, named("one")));
        assert_eq!(text(&next(&mut calling)), "twice one");
        drop((calling, other));
        leave(&server, &session, client);
    }
}

pub(crate) fn all_at_once(shards: u16) {
    let server = serve(shards, "");
    let (session, mut client) = open(&server, shards);
    for order in [[0, 1, 2], [2, 0, 1], [1, 2, 0]] {
        let mut calling = connect_far(&server, &session, shards);
        calling.send(session.call("all", "asks_all", json!({})).bytes()).stream_head();
        let asked: Vec<Value> = (0..3).map(|_| next(&mut calling)).collect();
        for at in order {
            let result = match asked[at]["method"].as_str().expect("a method") {
                "elicitation/create" => named("Ada"),
                "sampling/createMessage" => said(),
                "roots/list" => roots(),
                other => panic!("{other}"),
            };
            // Each over another connection.
            accepted(&mut server.connect(), &session.answer(&asked[at], result));
        }
        assert_eq!(text(&next(&mut calling)), "Ada, hi, 2 roots");
    }
    // The call's client loses its connection while its user thinks.
    let mut calling = connect_far(&server, &session, shards);
    calling.send(session.call("lost", "asks_name", json!({})).bytes()).stream_head();
    let event = calling.told().expect("a prime");
    let asked = next(&mut calling);
    drop(calling);
    accepted(&mut client, &session.answer(&asked, named("Ada")));
    let back = client.ask(&session.get(event.id.as_deref()));
    let messages = back.messages();
    assert_eq!(messages[0]["id"], asked["id"], "the question comes again: {messages:?}");
    assert_eq!(text(messages.last().expect("an answer")), "Hello, Ada!");
    leave(&server, &session, client);
}

fn ask_name(calling: &mut Client, session: &Session) -> Value {
    calling.send(session.call("c", "asks_name", json!({})).bytes()).stream_head();
    next(calling)
}

pub(crate) fn silence(shards: u16) {
    let server = serve(shards, "--input-timeout 1s");
    let (session, mut client) = open(&server, shards);
    let mut calling = connect_far(&server, &session, shards);
    // The user says no.
    let asked = ask_name(&mut calling, &session);
    accepted(&mut client, &session.answer(&asked, json!({"action": "decline"})));
    assert_eq!(text(&next(&mut calling)), "Hello!");
    assert_eq!(calling.told(), None);
    // The client fails.
    let asked = ask_name(&mut calling, &session);
    let error = json!({"code": -1, "message": "the dialog is broken"});
    let failed = json!({"jsonrpc": "2.0", "id": asked["id"], "error": error});
    accepted(&mut client, &session.post(&failed));
    let answer = next(&mut calling);
    assert_eq!(answer["result"]["isError"], true, "{answer}");
    assert!(text(&answer).contains("the dialog is broken"), "{answer}");
    assert_eq!(calling.told(), None);
    // What is no answer to the question: it is asked again, and not for ever.
    calling.send(session.call("c", "asks_name", json!({})).bytes()).stream_head();
    let mut asks = 0;
    let last = loop {
        let message = next(&mut calling);
        if message["id"] == "c" {
            break message;
        }
        asks += 1;
        accepted(&mut client, &session.answer(&message, json!({"action": "nonsense"})));
    };
    assert!((2..100).contains(&asks), "{asks}");
    assert!(last["error"]["code"] == -32603 || last["result"]["isError"] == true, "{last}");
    assert_eq!(calling.told(), None);
    // It says nothing at all.
    let asked = ask_name(&mut calling, &session);
    assert_eq!(next(&mut calling), withdrawn(&asked));
    let late = next(&mut calling);
    assert!(late["error"]["code"] == -32603, "{late}");
    server.wait_for_refusals("input_timeout", 1);
    assert_eq!(calling.told(), None);
    // It cancels the call that asks.
    let asked = ask_name(&mut calling, &session);
    let cancelled = json!({"requestId": "c"});
    let cancel = crate::support::session::notification("notifications/cancelled", cancelled);
    accepted(&mut client, &session.post(&cancel));
    assert_eq!(next(&mut calling), withdrawn(&asked));
    assert_eq!(calling.told(), None);
    accepted(&mut client, &session.answer(&asked, named("too late")));
    server.wait_for("no call", |status| status["totals"]["calls_in_flight"] == 0);
    drop(calling);
    leave(&server, &session, client);

    // A client that did not say that it could.
    let unable = initialize(LEGACY).edit(|m| m["params"]["capabilities"] = json!({}));
    let mut client = server.connect();
    let session = Session::begin(&mut client, &unable);
    for tool in ["asks_name", "asks_model", "asks_roots", "asks_all"] {
        let answer = client.ask(&session.call(1, tool, json!({})));
        let answer = answer.messages().pop().expect("an answer");
        assert!(answer["error"].is_object(), "{tool}: {answer}");
    }
    leave(&server, &session, client);
}

/// What a client is told of a question that needs no answer any more.
fn withdrawn(asked: &Value) -> Value {
    let params = json!({"requestId": asked["id"]});
    json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})
}

fn unasked_of(server: &Server) -> u64 {
    let status = server.status();
    let shards = status["shards"].as_array().expect("shards");
    shards.iter().filter_map(|shard| shard["responses_unasked"].as_u64()).sum()
}

pub(crate) fn unasked(shards: u16) {
    let server = serve(shards, "");
    let (session, mut client) = open(&server, shards);
    let (other, mut theirs) = open(&server, shards);
    let mut calling = server.connect();
    let asked = ask_name(&mut calling, &session);
    let before = unasked_of(&server);
    let number = asked["id"].as_u64().expect("a number");
    for id in [json!(number + 1), json!(number.to_string()), json!("x"), json!(-1), json!(0)] {
        let answer = session.answer(&json!({"id": id}), named("Mallory"));
        accepted(&mut client, &answer);
    }
    // Another session cannot answer either.
    accepted(&mut theirs, &other.answer(&asked, named("Mallory")));
    let count = |count: u64| {
        crate::support::wait_for("the count", || {
            (unasked_of(&server) == before + count).then_some(())
        });
    };
    count(6);
    accepted(&mut client, &session.answer(&asked, named("Ada")));
    assert_eq!(text(&next(&mut calling)), "Hello, Ada!");
    // Once more is once too often.
    accepted(&mut client, &session.answer(&asked, named("Eve")));
    count(7);
    assert_eq!(calling.told(), None);
    // Without a session it answers nobody.
    let stray = json!({"jsonrpc": "2.0", "id": 1, "result": {}}).to_string();
    let stray = client.ask(&crate::support::plain(stray));
    assert_eq!((stray.status, stray.code()), (400, -32600));
    for id in [json!(null), json!(1e300), json!([]), json!({})] {
        let answer = client.ask(&session.answer(&json!({"id": id}), json!({})));
        assert_eq!((answer.status, answer.code()), (400, -32600), "no id: {answer:?}");
    }
    let ping = client.ask(&session.post(&message(1, "ping", json!({}))));
    assert_eq!(ping.result(), json!({}));
    other.end(&mut theirs);
    drop((calling, theirs));
    leave(&server, &session, client);
}
