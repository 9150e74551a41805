//! Sessions that are left, guessed, and spoken to out of turn.

use std::thread;

use serde_json::{Value, json};

use crate::support::session::{LEGACY, initialize, message, notification, response, text, tool};
use crate::support::{Lines, Session, nothing_leaked};
use crate::{line, line_hello, resident_bytes, serve, sum, wait_for_calls};

const LEFT: u64 = 10_000;
const OPENERS: u64 = 8;
/// What one may take at most, its place in every table included.
const SESSION_BYTES_MAX: f64 = 4_096.0;

pub(crate) fn left() {
    let server = serve("--session-timeout 6s --sessions-max 20000");
    let mut resident = vec![resident_bytes(&server)];
    for wave in 1..=2 {
        let openers: Vec<_> = (0..OPENERS)
            .map(|_| {
                let mut client = server.connect();
                thread::spawn(move || {
                    // A few at a time, so that answers do not wait for their reader.
                    for _ in 0..25 {
                        let count = LEFT / OPENERS / 25;
                        client.send(
                            initialize(LEGACY).bytes().repeat(usize::try_from(count).expect("few")),
                        );
                        for _ in 0..count {
                            assert_eq!(client.answer().status, 200);
                        }
                    }
                })
            })
            .collect();
        openers.into_iter().for_each(|opener| opener.join().expect("all are opened"));
        resident.push(resident_bytes(&server));
        let status = server.wait_for("the end of all", |status| {
            sum(status, "sessions_opened") == wave * LEFT && status["totals"]["sessions"] == 0
        });
        let expired = status["shards"].as_array().expect("shards").iter();
        let expired = expired.filter_map(|s| s["sessions_ended"]["expired"].as_u64());
        assert_eq!(expired.sum::<u64>(), wave * LEFT, "{status:#}");
    }
    let grown = resident[1] - resident[0];
    assert!(grown < SESSION_BYTES_MAX * LEFT as f64, "{grown} bytes for {LEFT} sessions");
    // The memory of the first serves the second.
    let grown = resident[2] - resident[1];
    assert!(grown < 0.25 * SESSION_BYTES_MAX * LEFT as f64, "{grown} bytes more for as many");
    nothing_leaked(&server);
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

pub(crate) fn guessed() {
    let server = serve("");
    let mut client = server.connect();
    let victim = Session::open(&mut client, LEGACY);
    let (partition, secret) = victim.id.split_once('-').expect("two parts");
    let mut random = Random(1);
    let mut guesses: Vec<String> = (0..500)
        .map(|_| format!("{partition}-{:016x}{:016x}", random.next(), random.next()))
        .collect();
    // Its neighbours: each digit changed.
    for at in 0..victim.id.len() {
        let mut near = victim.id.clone().into_bytes();
        near[at] = if near[at] == b'0' { b'1' } else { b'0' };
        guesses.push(String::from_utf8(near).expect("ASCII"));
    }
    for odd in [secret, partition, "-", "../../etc/passwd", "%s%n", "null", "\u{e4}", "0"] {
        guesses.push(odd.to_owned());
    }
    guesses.extend([format!("{} {}", victim.id, victim.id), format!("0x{}", victim.id)]);
    for (at, id) in guesses.iter().enumerate() {
        let guess = Session { id: id.clone(), ..victim.clone() };
        let request = match at % 3 {
            0 => guess.call(1, "overruns_async", json!({})),
            1 => guess.get(None),
            _ => guess.delete(),
        };
        let answer = client.ask(&request);
        assert!(matches!(answer.status, 400 | 404), "{id}: {answer:?}");
    }
    // A session cannot be chosen by its client.
    let chosen = format!("{partition}-{}", "a".repeat(32));
    let fixed = client.ask(&initialize(LEGACY).header("Mcp-Session-Id", &chosen));
    assert_eq!((fixed.status, fixed.header("Mcp-Session-Id")), (404, None));
    let pong = client.ask(&victim.request(1, "ping", json!({})));
    assert_eq!(pong.result(), json!({}), "it lives on");
    // Nor is an id ever given again.
    victim.end(&mut client);
    victim.assert_gone(&mut client);
    let mut fresh = Vec::new();
    for _ in 0..300 {
        let session = Session::begin(&mut client, &initialize(LEGACY));
        assert_ne!(session.id, victim.id);
        fresh.push(session);
    }
    victim.assert_gone(&mut client);
    let reused = client.ask(&victim.call(1, "overruns_async", json!({})));
    assert_eq!(reused.status, 404);
    fresh.iter().for_each(|session| session.end(&mut client));
    assert_eq!(server.status()["totals"]["calls_in_flight"], 0);
    drop(client);
    nothing_leaked(&server);
}

pub(crate) fn unasked() {
    let server = serve("");
    let mut client = server.connect();
    let session = Session::open(&mut client, LEGACY);
    let result = |id: Value| json!({"jsonrpc": "2.0", "id": id, "result": {"roots": []}});
    let error =
        |id: Value| json!({"jsonrpc": "2.0", "id": id, "error": {"code": -1, "message": "no"}});
    // One is asked, and nobody else may answer for it.
    let mut asking = Lines::tcp(server.tcp[0]);
    asking.send(line_hello(LEGACY));
    assert_eq!(asking.next().expect("an answer")["id"], 0);
    asking.send(line(&tool("q", "asks_roots", json!({}))));
    let asked = asking.next().expect("a question");
    assert_eq!(asked["method"], "roots/list");
    for id in 0..500 {
        client.send(session.post(&result(json!(id))).bytes());
        client.send(session.post(&error(json!(id))).bytes());
    }
    for _ in 0..1_000 {
        assert_eq!(client.answer().status, 202);
    }
    let mut stranger = Lines::tcp(server.tcp[0]);
    let mut strange: String = (0..500).map(|id| line(&result(json!(id)))).collect();
    strange.push_str(&line_hello(LEGACY));
    strange.extend((0..500).map(|id| line(&error(json!(id)))));
    strange.push_str(&line(&message("after", "ping", json!({}))));
    stranger.send(strange);
    assert_eq!(stranger.next().expect("an answer")["id"], 0);
    assert_eq!(stranger.next().expect("an answer")["id"], "after", "answers are not answered");
    server.wait_for("the count", |status| sum(status, "responses_unasked") == 2_000);
    asking.send(line(&json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"roots": []}})));
    assert_eq!(text(&asking.next().expect("an answer")), "0 roots");
    asking.send(line(&result(asked["id"].clone())));
    server.wait_for("once more", |status| sum(status, "responses_unasked") == 2_001);
    session.end(&mut client);
    drop((client, asking, stranger));
    nothing_leaked(&server);
}

pub(crate) fn duplicates() {
    let server = serve("");
    let mut client = server.connect();
    let session = Session::open(&mut client, LEGACY);
    let slow = |id: Value| tool(id, "steps", json!({"steps": 1, "ms": 1_000}));
    let mut first = server.connect();
    first.send(session.post(&slow(json!(1))).bytes());
    wait_for_calls(&server, 1);
    for _ in 0..300 {
        client.send(session.post(&slow(json!(1))).bytes());
    }
    for _ in 0..300 {
        let answer = client.answer();
        assert_eq!((answer.status, answer.code()), (200, -32600), "{answer:?}");
    }
    assert_eq!(text(&response(&first.answer())), "1 steps");
    for hello in [line_hello(LEGACY), String::new()] {
        let mut lines = Lines::tcp(server.tcp[0]);
        if !hello.is_empty() {
            lines.send(&hello);
            assert_eq!(lines.next().expect("an answer")["id"], 0);
        }
        let call = match hello.is_empty() {
            true => crate::modern_line(1, "steps", json!({"steps": 1, "ms": 1_000})),
            false => line(&slow(json!(1))),
        };
        lines.send(call.repeat(1_000));
        for _ in 0..999 {
            let refused = lines.next().expect("an error");
            assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(1), &json!(-32600)));
        }
        let answer = lines.next().expect("an answer");
        assert_eq!((&answer["id"], text(&answer)), (&json!(1), "1 steps"));
        // A cancellation of what is answered, and of what never was.
        for id in [json!(1), json!(2), json!("1"), json!(null)] {
            let cancelled = json!({"requestId": id});
            lines.send(line(&notification("notifications/cancelled", cancelled)));
        }
        assert_eq!(lines.send(&call).next().expect("an answer")["id"], 1);
    }
    server.wait_for_refusals("request_ids", 300 + 2 * 999);
    session.end(&mut client);
    drop((client, first));
    nothing_leaked(&server);
}
