//! `initialize`, session ids, and what is refused.

use serde_json::json;

use crate::support::session::{LEGACY, initialize, message, notification, response};
use crate::support::{Client, Request, Session, nothing_leaked, plain};
use crate::{leave, open, serve};

pub(crate) fn versions(shards: u16) {
    let server = serve(shards, "");
    for (asked, offered) in [
        ("2025-11-25", "2025-11-25"),
        ("2025-06-18", "2025-06-18"),
        ("2025-03-26", "2025-03-26"),
        // HTTP+SSE is not spoken, so that its version is not offered.
        ("2024-11-05", "2025-11-25"),
        ("nonsense", "2025-11-25"),
        ("", "2025-11-25"),
        // Has no sessions, so that whoever asks for one gets another.
        ("2026-07-28", "2025-11-25"),
    ] {
        let mut client = server.connect();
        let answer = client.ask(&initialize(asked));
        let result = answer.result();
        assert_eq!(answer.json()["id"], 0);
        assert_eq!(result["protocolVersion"], offered, "{asked}");
        assert_eq!(result["serverInfo"]["name"], "misbehaving");
        assert!(result["serverInfo"]["version"].is_string());
        let capabilities = &result["capabilities"];
        for known in ["tools", "resources", "prompts", "logging"] {
            assert!(capabilities[known].is_object(), "{known}: {capabilities}");
        }
        assert_eq!(capabilities["resources"]["subscribe"], true);
        for modern in ["resultType", "_meta", "ttlMs", "cacheScope"] {
            assert_eq!(result.get(modern), None, "{result}");
        }
        let session = Session::begin(&mut client, &initialize(asked));
        session.end(&mut client);
        let id = answer.header("Mcp-Session-Id").expect("a session").to_owned();
        Session { id, version: offered.into() }.end(&mut client);
    }
    nothing_leaked(&server);
}

pub(crate) fn ids(shards: u16) {
    let server = serve(shards, "");
    let mut ids = std::collections::BTreeSet::new();
    let mut living = vec![0_u64; usize::from(shards)];
    for _ in 0..32 {
        let mut client = server.connect();
        let session = Session::open(&mut client, LEGACY);
        let hex =
            |text: &str| text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let (partition, secret) = session.id.split_once('-').expect("two parts");
        assert!(partition.len() == 3 && secret.len() == 32 && hex(partition) && hex(secret));
        let listed = client.ask(&session.request("a", "tools/list", json!({})));
        assert_eq!(listed.header("Mcp-Session-Id"), None, "told once, {listed:?}");
        assert!(ids.insert(session.id.clone()), "no id comes twice");
        if ids.len() % 2 == 0 {
            session.end(&mut client);
        } else {
            living[usize::from(session.shard(shards))] += 1;
        }
    }
    server.wait_for("each on the shard that its partition names", |status| {
        living.iter().enumerate().all(|(at, &count)| status["shards"][at]["sessions"] == count)
    });
    let mut client = server.connect();
    for id in ids {
        // Half of them are gone already.
        let gone = client.ask(&Session { id, version: LEGACY.into() }.delete()).status;
        assert!(matches!(gone, 200 | 404));
    }
    drop(client);
    nothing_leaked(&server);
}

fn edited(session: &Session, edit: impl FnOnce(Request) -> Request) -> Request {
    edit(session.request(7, "tools/list", json!({})))
}

pub(crate) fn refusals(shards: u16) {
    let server = serve(shards, "");
    let (session, mut client) = open(&server, shards);
    let unknown = Session { id: format!("{}-{}", "000", "0".repeat(32)), ..session.clone() };
    let other_shard = {
        // The same secret in another partition is another session.
        let partition = u16::from_str_radix(&session.id[..3], 16).expect("hex") ^ 1;
        Session { id: format!("{partition:03x}{}", &session.id[3..]), ..session.clone() }
    };
    let bare = |request: Request| request.without("Mcp-Session-Id");
    let bad_id = |id: &str| session.request(1, "ping", json!({})).header("Mcp-Session-Id", id);
    let table = [
        (bare(edited(&session, |r| r)), 400, -32600),
        (bare(session.get(None)), 400, -32600),
        (bare(session.delete()), 400, -32600),
        (bare(session.post(&notification("notifications/initialized", json!({})))), 400, -32600),
        (unknown.request(1, "ping", json!({})), 404, -32600),
        (unknown.get(None), 404, -32600),
        (unknown.delete(), 404, -32600),
        (other_shard.request(1, "ping", json!({})), 404, -32600),
        (bad_id("nonsense"), 404, -32600),
        (bad_id(&session.id.to_uppercase()), 404, -32600),
        (bad_id(&format!("{}0", session.id)), 404, -32600),
        (bad_id(&session.id[..35]), 404, -32600),
        (edited(&session, |r| r.header("MCP-Protocol-Version", "2024-11-05")), 400, -32600),
        (edited(&session, |r| r.header("MCP-Protocol-Version", "v999")), 400, -32600),
        (session.get(None).header("Accept", "application/json"), 406, -32600),
        (edited(&session, |r| r.header("Accept", "application/json")), 406, -32600),
        (edited(&session, |r| r.header("Content-Type", "text/plain")), 415, -32600),
        (edited(&session, |r| r.line("PUT /mcp HTTP/1.1")), 405, -32600),
        (edited(&session, |r| r.line("POST /other HTTP/1.1")), 404, -32600),
        (session.get(None).header("MCP-Protocol-Version", "2026-07-28"), 405, -32600),
        (session.delete().header("MCP-Protocol-Version", "2026-07-28"), 405, -32600),
        (session.get(Some("nonsense")), 400, -32600),
        (session.get(Some("-1")), 400, -32600),
        (session.get(Some("01-2")), 400, -32600),
        (edited(&session, |r| Request { body: b"{".into(), ..r }), 400, -32700),
        (edited(&session, |r| Request { body: b"7".into(), ..r }), 400, -32600),
        (edited(&session, |r| Request { body: b"".into(), ..r }), 400, -32700),
        (edited(&session, |r| Request { body: b"\xff\xfe".into(), ..r }), 400, -32700),
    ];
    for (request, status, code) in table {
        let text = String::from_utf8_lossy(&request.bytes()).into_owned();
        let mut client = server.connect();
        let answer = client.ask(&request);
        assert_eq!((answer.status, answer.code()), (status, code), "{text}\n{answer:?}");
        if status == 405 {
            assert!(
                answer.header("Allow").is_some_and(|allow| allow.contains("POST")),
                "{answer:?}"
            );
        }
    }
    assert_odd_heads(&mut client, &session);
    leave(&server, &session, client);
}

/// Headers of one era with messages of the other, and what a head may leave out.
fn assert_odd_heads(client: &mut Client, session: &Session) {
    // A modern message under a session of the older era.
    let mixed = crate::support::request("tools/list", json!({}));
    let mixed = mixed.header("Mcp-Session-Id", &session.id).header("MCP-Protocol-Version", LEGACY);
    assert_eq!(client.ask(&mixed).status, 400);
    // A session header that a modern client has no use for does no harm.
    let modern = crate::support::request("tools/list", json!({})).header("Mcp-Session-Id", "x");
    assert_eq!(client.ask(&modern).status, 200);
    for wrong in [json!({}), json!({"protocolVersion": 7, "capabilities": {}})] {
        let body = message(1, "initialize", wrong).to_string();
        let answer = client.ask(&plain(body).without("MCP-Protocol-Version"));
        assert_eq!(answer.code(), -32602, "{answer:?}");
        assert_eq!(answer.header("Mcp-Session-Id"), None);
    }
    // The version may be left out, or name another of the era.
    for version in [None, Some("2025-03-26")] {
        let ping = session.request(1, "ping", json!({}));
        let ping = match version {
            Some(version) => ping.header("MCP-Protocol-Version", version),
            None => ping.without("MCP-Protocol-Version"),
        };
        assert_eq!(client.ask(&ping).result(), json!({}));
    }
}

pub(crate) fn ends(shards: u16) {
    let server = serve(shards, "");
    let (session, mut client) = open(&server, shards);
    let (other, _) = open(&server, shards);
    // A stream and a call that are open end with their session.
    let (mut stream, mut calling) = (server.connect(), server.connect());
    session.listen(&mut stream);
    calling.send(session.call(5, "overruns_async", json!({})).bytes());
    server.wait_for("a call", |status| status["totals"]["calls_in_flight"] == 1);
    session.end(&mut client);
    assert_eq!(stream.told(), None, "the stream ends");
    let cut = calling.answer();
    assert_eq!((cut.status, cut.code()), (404, -32600), "its session is gone: {cut:?}");
    session.assert_gone(&mut client);
    server.wait_for("no call", |status| status["totals"]["calls_in_flight"] == 0);
    let ended = |status: &serde_json::Value| {
        let shards = status["shards"].as_array().expect("shards");
        shards.iter().filter_map(|s| s["sessions_ended"]["deleted"].as_u64()).sum::<u64>()
    };
    assert!(ended(&server.status()) >= 1);
    let pong = client.ask(&other.request(1, "ping", json!({})));
    assert_eq!(response(&pong)["result"], json!({}), "others live on");
    drop((stream, calling));
    leave(&server, &other, client);
}
