//! Requests within a session.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::session::{LEGACY, message, notification, response, text, tool};
use crate::support::{Client, Server, Session, nothing_leaked};
use crate::{leave, open, open_version, serve};

/// The response to a request.
fn ask(client: &mut Client, session: &Session, method: &str, params: Value) -> Value {
    let answer = client.ask(&session.request("q", method, params));
    assert_eq!(answer.status, 200, "{answer:?}");
    let json = answer.json();
    assert_eq!(json["id"], "q");
    json
}

pub(crate) fn methods(shards: u16) {
    let server = serve(shards, "");
    for version in ["2025-03-26", "2025-06-18", LEGACY] {
        let (session, mut client) = open_version(&server, shards, version);
        let mut ask = |method: &str, params: Value| ask(&mut client, &session, method, params);
        for (method, key) in [
            ("tools/list", "tools"),
            ("resources/list", "resources"),
            ("resources/templates/list", "resourceTemplates"),
            ("prompts/list", "prompts"),
        ] {
            let (mut count, mut cursor) = (0, json!({}));
            loop {
                let page = ask(method, cursor);
                let result = page["result"].as_object().expect("a result");
                count += result[key].as_array().expect("entries").len();
                let keys: Vec<&String> = result.keys().collect();
                assert!(keys.iter().all(|k| **k == key || *k == "nextCursor"), "{keys:?}");
                match result.get("nextCursor") {
                    Some(next) => cursor = json!({"cursor": next}),
                    None => break,
                }
            }
            assert!(count > 0, "{method}");
        }
        let called = ask("tools/call", json!({"name": "fine"}));
        assert_eq!(text(&called), "fine");
        assert_eq!(called["result"].get("resultType"), None);
        assert_eq!(called["result"].get("_meta"), None);
        let read = ask("resources/read", json!({"uri": "paged://0"}));
        assert_eq!(read["result"]["contents"][0]["text"], "one of many");
        assert_eq!(read["result"].get("ttlMs"), None);
        for (method, params) in [
            ("ping", json!({})),
            ("logging/setLevel", json!({"level": "warning"})),
            ("resources/subscribe", json!({"uri": "paged://0"})),
            ("resources/subscribe", json!({"uri": "paged://0"})),
            ("resources/unsubscribe", json!({"uri": "paged://0"})),
            ("resources/unsubscribe", json!({"uri": "never://subscribed"})),
        ] {
            assert_eq!(ask(method, params)["result"], json!({}), "{method}");
        }
        for (method, params, code) in [
            ("tools/call", json!({"name": "unknown"}), -32602),
            ("tools/call", json!({}), -32602),
            ("tools/call", json!({"name": "fine", "arguments": []}), -32602),
            ("tools/list", json!({"cursor": "nonsense"}), -32602),
            ("resources/read", json!({"uri": "not://there"}), -32002),
            ("logging/setLevel", json!({"level": "loud"}), -32602),
            ("logging/setLevel", json!({}), -32602),
            ("resources/subscribe", json!({}), -32602),
            ("initialize", json!({"protocolVersion": LEGACY, "capabilities": {}}), -32600),
            ("no/such", json!({}), -32601),
            ("server/discover", json!({}), -32601),
            ("subscriptions/listen", json!({"notifications": {}}), -32601),
        ] {
            let refused = ask(method, params);
            assert_eq!(refused["error"]["code"], code, "{method}: {refused}");
        }
        let panicked = ask("tools/call", json!({"name": "panics_async"}));
        assert_eq!(panicked["result"]["isError"], true, "{panicked}");
        leave(&server, &session, client);
    }
}

fn dropped(client: &mut Client, session: &Session) -> String {
    let answer = client.ask(&session.call("n", "dropped", json!({})));
    text(&response(&answer)).to_owned()
}

fn in_flight(server: &Server, count: u64) {
    server
        .wait_for(&format!("{count} calls"), |status| status["totals"]["calls_in_flight"] == count);
}

pub(crate) fn duplicates(shards: u16) {
    let server = serve(shards, "");
    let (session, mut client) = open(&server, shards);
    let (other, mut theirs) = open(&server, shards);
    let slow =
        |session: &Session, id: Value| session.call(id, "steps", json!({"steps": 1, "ms": 700}));
    let mut first = server.connect();
    first.send(slow(&session, json!(5)).bytes());
    in_flight(&server, 1);
    let again = client.ask(&slow(&session, json!(5)));
    assert_eq!((again.status, again.code()), (200, -32600), "{again:?}");
    // The same text is another id, and another session another space of ids.
    client.send(slow(&session, json!("5")).bytes());
    theirs.send(slow(&other, json!(5)).bytes());
    for (client, id) in [(&mut first, json!(5)), (&mut client, json!("5")), (&mut theirs, json!(5))]
    {
        let answer = response(&client.answer());
        assert_eq!((&answer["id"], text(&answer)), (&id, "1 steps"));
    }
    // It may be used again once it was answered.
    assert_eq!(text(&response(&first.ask(&slow(&session, json!(5))))), "1 steps");
    other.end(&mut theirs);
    drop((first, theirs));
    leave(&server, &session, client);
}

pub(crate) fn cancellation(shards: u16) {
    let server = serve(shards, "");
    let (session, mut client) = open(&server, shards);
    let cancel = |id: Value| {
        session.post(&notification("notifications/cancelled", json!({"requestId": id})))
    };
    let dropped_before: u64 = dropped(&mut client, &session).parse().expect("a number");
    // An id may be 0, and one that is text is another.
    for (at, id) in [json!(0), json!("0"), json!("text")].into_iter().enumerate() {
        let mut calling = server.connect();
        calling.send(session.call(id.clone(), "overruns_async", json!({})).bytes());
        in_flight(&server, 1);
        assert_eq!(client.ask(&cancel(json!("another"))).status, 202);
        assert_eq!(client.ask(&cancel(id)).status, 202);
        // Its exchange ends without a response.
        let answer = calling.answer();
        assert_eq!((answer.status, answer.messages()), (200, vec![]), "{answer:?}");
        in_flight(&server, 0);
        let expected = (dropped_before + 1 + at as u64).to_string();
        crate::support::wait_for("the future dropped", || {
            (dropped(&mut client, &session) == expected).then_some(())
        });
    }
    // One whose stream began: whoever comes back is told that nothing is left.
    let mut calling = server.connect();
    let mut call = tool(9, "steps", json!({"steps": 1_000, "ms": 50}));
    call["params"]["_meta"] = json!({"progressToken": 1});
    calling.send(session.post(&call).bytes()).stream_head();
    let first = std::iter::from_fn(|| calling.told()).find(|e| e.data.as_deref() != Some(""));
    let first = first.expect("progress");
    assert_eq!(client.ask(&cancel(json!(9))).status, 202);
    let mut last = first;
    while let Some(event) = calling.told() {
        assert_eq!(event.message()["method"], "notifications/progress", "no response");
        last = event;
    }
    let back = client.ask(&session.get(last.id.as_deref()));
    assert_eq!((back.status, back.body.len()), (204, 0), "{back:?}");
    // What is finished, and what never was.
    for id in [json!(9), json!(1_000), json!(null), json!([])] {
        assert_eq!(client.ask(&cancel(id)).status, 202);
    }
    // A client that leaves cancels nothing.
    let mut leaving = server.connect();
    leaving.send(session.call("left", "overruns_async", json!({})).bytes());
    in_flight(&server, 1);
    drop(leaving);
    std::thread::sleep(Duration::from_millis(300));
    in_flight(&server, 1);
    assert_eq!(client.ask(&cancel(json!("left"))).status, 202);
    in_flight(&server, 0);
    drop(calling);
    leave(&server, &session, client);
}

pub(crate) fn batches(shards: u16) {
    let server = serve(shards, "");
    let (session, mut client) = open_version(&server, shards, "2025-03-26");
    let batch = json!([
        message(1, "ping", json!({})),
        tool("slow", "steps", json!({"steps": 1, "ms": 200})),
        notification("notifications/progress", json!({})),
        message(3, "tools/list", json!({})),
        {"jsonrpc": "2.0", "id": 77, "result": {}},
        message(4, "no/such", json!({})),
        tool("fine", "fine", json!({})),
    ]);
    let answer = client.ask(&session.post(&batch));
    assert_eq!(answer.status, 200);
    let mut ids: Vec<String> =
        answer.messages().iter().map(|message| message["id"].to_string()).collect();
    assert_eq!(ids.last().map(String::as_str), Some("\"slow\""), "the others do not wait for it");
    ids.sort();
    assert_eq!(ids, ["\"fine\"", "\"slow\"", "1", "3", "4"]);
    // Nothing to answer.
    let silent = json!([notification("notifications/initialized", json!({}))]);
    assert_eq!(client.ask(&session.post(&silent)).status, 202);
    leave(&server, &session, client);

    for version in ["2025-06-18", LEGACY] {
        let (session, mut client) = open_version(&server, shards, version);
        let refused = client.ask(&session.post(&batch));
        assert_eq!((refused.status, refused.code()), (400, -32600), "{version}");
        leave(&server, &session, client);
    }
    let refused = server.connect().ask(&crate::support::plain(batch.to_string()));
    assert_eq!((refused.status, refused.code()), (400, -32600));
    nothing_leaked(&server);
}

pub(crate) fn odd_batches(shards: u16) {
    let server = serve(shards, "");
    let (session, mut client) = open_version(&server, shards, "2025-03-26");
    let pings =
        |count: usize| -> Value { (0..count).map(|id| message(id, "ping", json!({}))).collect() };
    let answer = client.ask(&session.post(&pings(100)));
    assert_eq!(answer.messages().len(), 100);
    for (batch, code) in [(pings(101), -32600), (pings(10_000), -32600), (json!([]), -32600)] {
        let refused = client.ask(&session.post(&batch));
        assert_eq!((refused.status, refused.code()), (400, code), "{refused:?}");
    }
    // What is no message within is told so, beside the answers of the others.
    let mixed = json!([message("ok", "ping", json!({})), 7, {}, [], "text"]);
    let answer = client.ask(&session.post(&mixed));
    let messages = answer.messages();
    assert_eq!(messages.len(), 5, "{messages:?}");
    let errors = messages.iter().filter(|m| m["error"]["code"] == -32600).count();
    assert_eq!(errors, 4, "{messages:?}");
    // The same id twice: whatever is in flight keeps it.
    let twice: Value =
        (0..2).map(|_| tool("id", "steps", json!({"steps": 1, "ms": 200}))).collect();
    let messages = client.ask(&session.post(&twice)).messages();
    assert_eq!(messages.len(), 2);
    assert_eq!(messages[0]["error"]["code"], -32600, "{messages:?}");
    assert_eq!(text(&messages[1]), "1 steps");
    // A cancelled member leaves the others, and the stream ends.
    let with_cancel = json!([
        tool("long", "overruns_async", json!({})),
        message("ping", "ping", json!({})),
        notification("notifications/cancelled", json!({"requestId": "long"})),
    ]);
    let messages = client.ask(&session.post(&with_cancel)).messages();
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert_eq!(messages[0]["id"], "ping");
    leave(&server, &session, client);
}
