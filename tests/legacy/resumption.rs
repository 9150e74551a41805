//! Streams that are read on behind the last event that a client got.

use serde_json::json;

use crate::streams::{assert_steps, numbers, reporting};
use crate::support::server::refusals;
use crate::support::session::{connect_far, response, text};
use crate::support::{Client, Event, Server, Session, wait_for};
use crate::{leave, open, serve};

/// Reads events that carry messages, until there are so many.
fn take(client: &mut Client, count: usize) -> Vec<Event> {
    std::iter::from_fn(|| client.told())
        .filter(|e| e.data.as_deref() != Some(""))
        .take(count)
        .collect()
}

fn ids(events: &[Event]) -> Vec<u64> {
    events.iter().map(|event| numbers(event).1).collect()
}

pub(crate) fn live(shards: u16) {
    let server = serve(shards, "");
    let (session, client) = open(&server, shards);
    let mut seen = Vec::new();
    let mut reader = connect_far(&server, &session, shards);
    reader.send(session.post(&reporting("a", 12, 100)).bytes()).stream_head();
    // It loses its connection again and again, wherever that is.
    for count in [1, 2, 3] {
        seen.extend(take(&mut reader, count));
        let last = seen.last().and_then(|event| event.id.clone()).expect("an id");
        drop(reader);
        reader = if count == 2 { server.connect() } else { connect_far(&server, &session, shards) };
        reader.send(session.get(Some(&last)).bytes()).stream_head();
    }
    // A second reader takes the stream from the first, which ends.
    let last = seen.last().and_then(|event| event.id.clone()).expect("an id");
    let mut second = server.connect();
    second.send(session.get(Some(&last)).bytes()).stream_head();
    while reader.told().is_some() {}
    seen.extend(take(&mut second, usize::MAX));
    assert_steps(&seen, "a", (1, 12));
    let seqs = ids(&seen);
    assert!(seqs.windows(2).all(|two| two[0] + 1 == two[1]), "none twice, none lost: {seqs:?}");
    drop((reader, second));
    leave(&server, &session, client);
}

pub(crate) fn finished(shards: u16) {
    let server = serve(shards, "");
    let (session, mut client) = open(&server, shards);
    let whole = client.ask(&session.post(&reporting("a", 3, 10))).events();
    assert_eq!(whole.len(), 5, "a prime, three reports and the answer");
    let replayed = || {
        let shards = server.status()["shards"].clone();
        let shards = shards.as_array().expect("shards").clone();
        shards.iter().filter_map(|s| s["session_events_replayed"].as_u64()).sum::<u64>()
    };
    for from in 0..4 {
        let back = client.ask(&session.get(whole[from].id.as_deref()));
        assert_eq!(back.events(), whole[from + 1..], "behind {from}");
    }
    wait_for("the count", || (replayed() == 4 + 3 + 2 + 1).then_some(()));
    // Nothing is left: whoever came would come again for ever.
    let back = client.ask(&session.get(whole[4].id.as_deref()));
    assert_eq!((back.status, back.body.len()), (204, 0), "{back:?}");
    // Another session has no part in it.
    let (other, mut theirs) = open(&server, shards);
    let theirs_of_ours = theirs.ask(&other.get(whole[4].id.as_deref()));
    assert_eq!(theirs_of_ours.status, 400, "{theirs_of_ours:?}");
    // One that went on without a reader.
    let mut leaving = connect_far(&server, &session, shards);
    leaving.send(session.post(&reporting("b", 3, 100)).bytes()).stream_head();
    let first = take(&mut leaving, 1);
    drop(leaving);
    server.wait_for("the end", |status| status["totals"]["calls_in_flight"] == 0);
    let rest = client.ask(&session.get(first[0].id.as_deref())).events();
    assert_steps(&rest, "b", (2, 3));
    other.end(&mut theirs);
    drop(theirs);
    leave(&server, &session, client);
}

/// Asserts that an id is refused.
fn assert_refused(client: &mut Client, session: &Session, last: &str, status: u16) {
    let answer = client.ask(&session.get(Some(last)));
    assert_eq!((answer.status, answer.code()), (status, -32600), "{last}: {answer:?}");
}

pub(crate) fn lost(shards: u16) {
    let server = serve(shards, "--session-events-max 2");
    let (session, mut client) = open(&server, shards);
    let whole = client.ask(&session.post(&reporting("a", 4, 10))).events();
    assert_eq!(whole.len(), 6);
    let last = |at: usize| whole[at].id.clone().expect("an id");
    let (stream, seq) = numbers(&whole[5]);
    // The newest two are kept.
    for at in 0..3 {
        assert_refused(&mut client, &session, &last(at), 410);
    }
    let rest = client.ask(&session.get(Some(&last(3)))).events();
    assert_eq!(rest, whole[4..]);
    for never in [
        format!("{stream}-{}", seq + 1),
        format!("{}-1", stream + 1),
        format!("{}-0", u32::MAX),
        "0-1".into(),
        "0-0".into(),
        "99999999999999999999-1".into(),
        "1-1-1".into(),
        "1".into(),
        "+1-1".into(),
        "1-1 ".repeat(1_000),
    ] {
        assert_refused(&mut client, &session, never.trim_end(), 400);
    }
    // Events of one stream push those of another out.
    client.ask(&session.post(&reporting("b", 2, 10)));
    for at in 0..6 {
        assert_refused(&mut client, &session, &last(at), 410);
    }
    server.wait_for("the count", |status| refusals(status, "event_log") == 3 + 6);
    leave(&server, &session, client);

    // Without a log, streams work and nothing comes again.
    let server = serve(shards, "--session-events-max 0");
    let (session, mut client) = open(&server, shards);
    let events = client.ask(&session.post(&reporting("a", 2, 10))).events();
    assert_steps(&events[1..], "a", (1, 2));
    assert_refused(&mut client, &session, events[1].id.as_deref().expect("an id"), 410);
    leave(&server, &session, client);

    // By bytes, and by age.
    for flags in ["--session-event-bytes 256", "--session-event-age 300ms"] {
        let server = serve(shards, flags);
        let (session, mut client) = open(&server, shards);
        let events = client.ask(&session.post(&reporting("a", 4, 10))).events();
        let first = events[1].id.clone().expect("an id");
        wait_for("the end of it", || {
            let answer = client.ask(&session.get(Some(&first)));
            (answer.status == 410).then_some(())
        });
        leave(&server, &session, client);
    }
}

fn update(server: &Server, uri: &str) {
    let updates = crate::support::call("updates", json!({"events": 1, "uri": uri}));
    assert_eq!(server.connect().ask(&updates).text(), "updated");
}

pub(crate) fn missed(shards: u16) {
    let server = serve(shards, "");
    let (session, mut client) = open(&server, shards);
    for at in 0..4 {
        let uri = json!({"uri": format!("paged://{at}")});
        let answer = client.ask(&session.request(at, "resources/subscribe", uri));
        assert_eq!(response(&answer)["result"], json!({}));
    }
    let mut stream = connect_far(&server, &session, shards);
    session.listen(&mut stream);
    update(&server, "paged://0");
    let first = stream.told().expect("an update");
    drop(stream);
    // Nobody reads meanwhile; each is told once when somebody comes back.
    for at in 1..4 {
        update(&server, &format!("paged://{at}"));
        server.wait_for("it is kept", |status| {
            let shards = status["shards"].as_array().expect("shards");
            shards.iter().filter_map(|s| s["session_events"].as_u64()).sum::<u64>() == at + 1
        });
    }
    let mut back = server.connect();
    back.send(session.get(first.id.as_deref()).bytes()).stream_head();
    let mut before = numbers(&first).1;
    for at in 1..4 {
        let event = back.told().expect("an update");
        assert_eq!(event.message()["params"]["uri"], format!("paged://{at}"));
        assert_eq!(numbers(&event), (0, before + 1));
        before += 1;
    }
    update(&server, "paged://2");
    let fresh = back.told().expect("an update");
    assert_eq!(numbers(&fresh), (0, before + 1));
    let called = client.ask(&session.call("still", "fine", json!({})));
    assert_eq!(text(&response(&called)), "fine");
    drop(back);
    leave(&server, &session, client);
}
