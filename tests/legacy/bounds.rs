//! How many sessions there may be, for how long, and where.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::session::{LEGACY, initialize, message, response, text};
use crate::support::{Session, nothing_leaked, wait_for};
use crate::{open, serve};

fn ended(status: &Value, cause: &str) -> u64 {
    let shards = status["shards"].as_array().expect("shards");
    shards.iter().filter_map(|shard| shard["sessions_ended"][cause].as_u64()).sum()
}

pub(crate) fn expiry(shards: u16) {
    let server = serve(shards, "--session-timeout 1s --idle-timeout 60s");
    let (listening, _) = open(&server, shards);
    let (calling, _) = open(&server, shards);
    let (used, mut client) = open(&server, shards);
    let (left, _) = open(&server, shards);
    let mut stream = server.connect();
    listening.listen(&mut stream);
    let mut call = server.connect();
    call.send(calling.call(1, "steps", json!({"steps": 1, "ms": 2_500})).bytes());
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(2_000) {
        assert_eq!(client.ask(&used.request(1, "ping", json!({}))).status, 200, "it is used");
        std::thread::sleep(Duration::from_millis(200));
    }
    wait_for("the end of the one that was left", || {
        let answer = server.connect().ask(&left.delete());
        (answer.status == 404).then_some(())
    });
    assert_eq!(text(&response(&call.answer())), "1 steps", "a call keeps its session");
    let pong = call.ask(&listening.request(1, "ping", json!({})));
    assert_eq!(pong.status, 200, "a reader keeps its session");
    drop(stream);
    // From then on nobody has anything to do with any of them.
    let status = server.wait_for("no session", |status| status["totals"]["sessions"] == 0);
    // Those that connections were found with were deleted.
    assert_eq!(ended(&status, "expired"), 4, "{status:#}");
    for session in [&listening, &calling, &used, &left] {
        session.assert_gone(&mut client);
    }
    drop((client, call));
    nothing_leaked(&server);
}

pub(crate) fn bounded(shards: u16) {
    let server = serve(shards, "--sessions-max 5");
    // Of every shard: the kernel chooses which one a connection meets.
    let mut sessions = Vec::new();
    let refused = wait_for("a refusal", || {
        let mut client = server.connect();
        let answer = client.ask(&initialize(LEGACY));
        if answer.status == 200 {
            let id = answer.header("Mcp-Session-Id").expect("an id").to_owned();
            sessions.push(Session { id, version: LEGACY.into() });
        }
        (answer.status != 200).then_some(answer)
    });
    assert!(sessions.len() >= 5 && sessions.len() <= 5 * usize::from(shards));
    assert_eq!(refused.status, 503);
    assert!(refused.header("Retry-After").is_some(), "{refused:?}");
    assert_eq!(refused.header("Mcp-Session-Id"), None);
    server.wait_for_refusals("sessions", 1);
    let mut client = server.connect();
    for session in &sessions {
        let pong = client.ask(&session.request(1, "ping", json!({})));
        assert_eq!(pong.result(), json!({}), "those that are open are served");
    }
    let modern = crate::support::call("fine", json!({}));
    assert_eq!(client.ask(&modern).text(), "fine", "and those who need none");
    for session in &sessions {
        session.end(&mut client);
    }
    let again = Session::open(&mut client, LEGACY);
    again.end(&mut client);
    drop(client);
    nothing_leaked(&server);

    let server = serve(shards, "--sessions-max 100 --sessions-per-address-max 3");
    let mut sessions = Vec::new();
    let mut client = server.connect();
    for _ in 0..3 {
        sessions.push(Session::open(&mut client, LEGACY));
    }
    let refused = client.ask(&initialize(LEGACY));
    assert_eq!(refused.status, 429, "{refused:?}");
    server.wait_for_refusals("sessions_per_address", 1);
    sessions.pop().expect("one").end(&mut client);
    sessions.push(Session::open(&mut client, LEGACY));
    for session in &sessions {
        session.end(&mut client);
    }
    drop(client);
    nothing_leaked(&server);
}

fn of_shard(status: &Value, shard: u16, key: &str) -> u64 {
    let shard = &status["shards"][usize::from(shard)];
    shard[key].as_u64().unwrap_or_else(|| panic!("no {key}: {shard}"))
}

pub(crate) fn forwarded(shards: u16) {
    let server = serve(shards, "");
    let (session, mut client) = open(&server, shards);
    let home = session.shard(shards);
    let rest = server.wait_for("one session", |status| {
        status["totals"]["sessions"] == 1 && status["totals"]["connections"] == 1
    });
    let front = (0..shards).find(|&at| of_shard(&rest, at, "connections") == 1).expect("a shard");
    assert_eq!(of_shard(&rest, home, "sessions"), 1, "its id names the shard that it lives on");
    assert_eq!(front == home, shards == 1, "the connection is elsewhere");
    for id in 0..10 {
        let pong = client.ask(&session.post(&message(id, "ping", json!({}))));
        assert_eq!((pong.json()["id"].as_u64(), pong.result()), (Some(id), json!({})));
    }
    let sum = client.ask(&session.call("sum", "fine", json!({})));
    assert_eq!(text(&response(&sum)), "fine");
    let status = server.wait_for("what was forwarded", |status| {
        let forwarded = of_shard(status, front, "requests_forwarded")
            - of_shard(&rest, front, "requests_forwarded");
        let handled = of_shard(status, home, "requests") - of_shard(&rest, home, "requests");
        handled == 11 && forwarded == if shards == 1 { 0 } else { 11 }
    });
    assert_eq!(of_shard(&status, home, "relays"), 0);
    // Its stream is an exchange on another shard for as long as it is open.
    session.listen(&mut client);
    server.wait_for("a relay", |status| {
        of_shard(status, home, "relays") == u64::from(shards > 1)
            && of_shard(status, home, "streams") == 1
    });
    drop(client);
    server.wait_for("no relay", |status| of_shard(status, home, "relays") == 0);
    // Many in flight at once, over many connections, each with its own answer.
    let mut clients: Vec<_> = (0..20).map(|_| server.connect()).collect();
    for (id, client) in clients.iter_mut().enumerate() {
        client.send(session.call(id, "steps", json!({"steps": 1, "ms": 300})).bytes());
    }
    for (id, client) in clients.iter_mut().enumerate() {
        assert_eq!(response(&client.answer())["id"], id);
    }
    // Pipelined requests are answered in their order, wherever their sessions live.
    let client = &mut clients[0];
    let (other, _) = open(&server, shards);
    let pipelined: Vec<u8> = (0..100)
        .flat_map(|id| {
            let session = if id % 3 == 0 { &other } else { &session };
            session.request(id, "ping", json!({})).bytes()
        })
        .collect();
    client.send(pipelined);
    for id in 0..100 {
        assert_eq!(client.answer().json()["id"], id);
    }
    other.end(client);
    session.end(client);
    drop(clients);
    nothing_leaked(&server);
}
