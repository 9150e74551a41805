//! Clients that leave in the middle of something: they stop to send, close, or reset.

use serde_json::json;

use crate::support::session::{LEGACY, initialize, message, notification, tool};
use crate::support::{Client, Lines, Session, call, nothing_leaked, request};
use crate::{assert_serves, line, line_hello, modern_line, reset, serve, wait_for_calls};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Half,
    Close,
    Reset,
}

const WAYS: [Way; 3] = [Way::Half, Way::Close, Way::Reset];

/// Leaves. One that only stops to send must see the end, or an answer and the end.
fn leave(mut client: Client, way: Way, what: &str) {
    match way {
        Way::Half => {
            client.finish_sending();
            assert!(client.is_cut(), "{what}: it ends");
        }
        Way::Close => drop(client),
        Way::Reset => reset(client),
    }
}

fn reporting(id: &str, ms: u64) -> serde_json::Value {
    let mut call = tool(id, "steps", json!({"steps": 20, "ms": ms}));
    call["params"]["_meta"] = json!({"progressToken": id});
    call
}

pub(crate) fn http() {
    // Sessions whose id nobody heard end by themselves.
    let server = serve("--session-timeout 2s");
    for way in WAYS {
        let mut other = server.connect();
        let session = Session::open(&mut other, LEGACY);
        let older = Session::open(&mut other, "2025-03-26");
        let batch = json!([
            tool("a", "steps", json!({"steps": 2, "ms": 200})),
            tool("b", "asks_name", json!({})),
            message("c", "ping", json!({})),
        ]);
        let whole = session.call(1, "fine", json!({})).bytes();
        let (half_head, half_body) = (whole[..40].to_vec(), whole[..whole.len() - 3].to_vec());
        let chunked = session.call(1, "fine", json!({})).header("Transfer-Encoding", "chunked");
        let listen = json!({"notifications": {"toolsListChanged": true}});
        for (what, bytes) in [
            ("nothing", Vec::new()),
            ("a letter", b"P".to_vec()),
            ("half a head", half_head),
            ("half a body", half_body),
            ("half a chunk", [chunked.head(), b"ff\r\nhalf".to_vec()].concat()),
            ("initialize", initialize(LEGACY).bytes()),
            ("a call", session.call("call", "steps", json!({"steps": 1, "ms": 300})).bytes()),
            ("a call that reports", session.post(&reporting("p", 20)).bytes()),
            ("a question", session.call("q", "asks_name", json!({})).bytes()),
            ("questions", session.call("q3", "asks_all", json!({})).bytes()),
            ("a batch", older.post(&batch).bytes()),
            ("a stream", session.get(None).bytes()),
            ("a stream behind an event", session.get(Some("0-0")).bytes()),
            ("a modern call", call("overruns_async", json!({})).bytes()),
            ("a modern stream", request("subscriptions/listen", listen.clone()).bytes()),
            ("a cancelled call", {
                let cancel = json!({"requestId": "z"});
                let cancel = session.post(&notification("notifications/cancelled", cancel));
                [cancel.bytes(), session.call("z", "overruns_async", json!({})).bytes()].concat()
            }),
        ] {
            for early in [true, false] {
                let mut client = server.connect();
                client.send(&bytes);
                if !early {
                    // By now it is under way.
                    std::thread::sleep(std::time::Duration::from_millis(20));
                }
                leave(client, way, what);
            }
        }
        assert_serves(&server);
        // What was begun goes on until its session ends: a disconnect cancels nothing.
        session.end(&mut other);
        older.end(&mut other);
        drop(other);
        nothing_leaked(&server);
    }
}

pub(crate) fn lines() {
    let server = serve("");
    let hello = line_hello(LEGACY);
    let listen =
        request("subscriptions/listen", json!({"notifications": {"toolsListChanged": true}}));
    let legacy = |message: &serde_json::Value| format!("{hello}{}", line(message));
    for way in WAYS {
        for (what, bytes) in [
            ("nothing", String::new()),
            ("half a line", "{\"jsonrpc\":".into()),
            ("half a line behind a whole one", format!("{hello}{{\"jsonrpc\":")),
            ("a handshake", hello.clone()),
            ("a call", modern_line("c", "steps", json!({"steps": 1, "ms": 300}))),
            ("a legacy call", legacy(&tool("c", "steps", json!({"steps": 1, "ms": 300})))),
            ("a call that reports", legacy(&reporting("p", 10))),
            ("a question", legacy(&tool("q", "asks_name", json!({})))),
            ("a question of a pool", legacy(&tool("q", "asks_model", json!({})))),
            ("questions", legacy(&tool("q", "asks_all", json!({})))),
            (
                "a subscription",
                legacy(&message(1, "resources/subscribe", json!({"uri": "paged://0"}))),
            ),
            ("a modern stream", line(&crate::support::lines::message(&listen))),
            ("garbage", format!("{hello}garbage\n\n\r\n")),
        ] {
            for early in [true, false] {
                let mut client = Client::connect(server.tcp[0]);
                client.send(&bytes);
                if !early {
                    std::thread::sleep(std::time::Duration::from_millis(20));
                }
                leave(client, way, what);
            }
        }
        assert_serves(&server);
        nothing_leaked(&server);
    }
    // A call that never ends goes with its connection, once that is known to be gone.
    let mut client = Client::connect(server.tcp[0]);
    client.send(modern_line(1, "overruns_async", json!({})));
    wait_for_calls(&server, 1);
    reset(client);
    wait_for_calls(&server, 0);
    // A last line without its end is read as one.
    let mut last = Lines::tcp(server.tcp[0]);
    last.send(modern_line(1, "fine", json!({})).trim_end()).finish_sending();
    assert_eq!(last.next().expect("an answer")["id"], 1);
    last.assert_ends();
    drop(last);
    nothing_leaked(&server);
}
