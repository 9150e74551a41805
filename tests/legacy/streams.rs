//! What a session's event streams carry.

use serde_json::{Value, json};

use crate::support::session::{LEGACY, connect_far, notification, response, text, tool};
use crate::support::{Client, Event, Server, Session};
use crate::{leave, open, open_version, serve};

/// A call that wants to hear of progress.
pub(crate) fn reporting(id: &str, steps: u64, ms: u64) -> Value {
    let mut call = tool(id, "steps", json!({"steps": steps, "ms": ms}));
    call["params"]["_meta"] = json!({"progressToken": format!("token of {id}")});
    call
}

/// Stream and number of an event's id.
pub(crate) fn numbers(event: &Event) -> (u64, u64) {
    let id = event.id.as_deref().unwrap_or_else(|| panic!("no id: {event:?}"));
    let (stream, seq) = id.split_once('-').expect("two parts");
    (stream.parse().expect("a number"), seq.parse().expect("a number"))
}

/// Asserts that events report the steps from `first` on and then give the answer.
pub(crate) fn assert_steps(events: &[Event], id: &str, (first, last): (u64, u64)) {
    let (answer, reports) = events.split_last().expect("events");
    assert_eq!(reports.len() as u64, last + 1 - first, "{events:?}");
    for (step, event) in (first..).zip(reports) {
        let message = event.message();
        assert_eq!(message["method"], "notifications/progress");
        assert_eq!(message["params"]["progressToken"], format!("token of {id}"));
        assert_eq!(message["params"]["progress"].as_f64(), Some(step as f64));
    }
    let answer = answer.message();
    assert_eq!((&answer["id"], text(&answer)), (&json!(id), &*format!("{last} steps")));
}

pub(crate) fn progress(shards: u16) {
    let server = serve(shards, "");
    for version in ["2025-03-26", "2025-06-18", LEGACY] {
        let (session, mut client) = open_version(&server, shards, version);
        let answer = client.ask(&session.post(&reporting("a", 3, 20)));
        assert_eq!(answer.status, 200);
        let mut events = answer.events();
        // Clients of older versions would take an event without data for a message.
        if version == LEGACY {
            let prime = events.remove(0);
            assert_eq!(prime.data.as_deref(), Some(""));
            assert_eq!(numbers(&prime).1 + 1, numbers(&events[0]).1);
        }
        assert_steps(&events, "a", (1, 3));
        let ids: Vec<_> = events.iter().map(numbers).collect();
        assert!(
            ids.windows(2).all(|two| two[0].0 == two[1].0 && two[0].1 + 1 == two[1].1),
            "{ids:?}"
        );
        // Nobody asked: a plain body. The connection goes on, and each stream has a number.
        let plain = client.ask(&session.call("b", "steps", json!({"steps": 2, "ms": 5})));
        assert_eq!(text(&plain.json()), "2 steps");
        let next = client.ask(&session.post(&reporting("c", 1, 5))).events();
        assert_ne!(numbers(next.last().expect("an event")).0, ids[0].0);
        leave(&server, &session, client);
    }
}

fn levels_heard(client: &mut Client, session: &Session) -> Vec<String> {
    let answer = client.ask(&session.call("s", "speaks", json!({})));
    let mut messages = answer.messages();
    assert_eq!(text(&messages.pop().expect("the answer")), "spoken");
    let level = |message: &Value| {
        assert_eq!(message["method"], "notifications/message");
        assert_eq!(message["params"]["logger"], "test");
        assert_eq!(message["params"]["data"], message["params"]["level"]);
        message["params"]["level"].as_str().expect("a level").to_owned()
    };
    messages.iter().map(level).collect()
}

pub(crate) fn levels(shards: u16) {
    let server = serve(shards, "");
    let (session, mut client) = open(&server, shards);
    let (other, mut theirs) = open(&server, shards);
    let all = ["debug", "info", "warning", "error"];
    assert_eq!(levels_heard(&mut client, &session), all[1..], "unless it says more");
    for (from, level) in all.iter().enumerate().rev() {
        let set = session.request(1, "logging/setLevel", json!({"level": level}));
        assert_eq!(response(&client.ask(&set))["result"], json!({}));
        assert_eq!(levels_heard(&mut client, &session), all[from..]);
    }
    let set = session.request(1, "logging/setLevel", json!({"level": "emergency"}));
    client.ask(&set);
    assert!(levels_heard(&mut client, &session).is_empty());
    assert_eq!(levels_heard(&mut theirs, &other), all[1..], "another session has its own");
    other.end(&mut theirs);
    drop(theirs);
    leave(&server, &session, client);
}

fn announce(client: &mut Client, session: &Session) {
    let answer = client.ask(&session.call("x", "announces", json!({})));
    assert_eq!(text(&response(&answer)), "announced");
}

/// Reads the three changes that are announced at once; gives their events.
fn three_changes(stream: &mut Client) -> Vec<Event> {
    let events: Vec<Event> = (0..3).map(|_| stream.told().expect("a change")).collect();
    let mut methods: Vec<String> =
        events.iter().map(|e| e.message()["method"].as_str().expect("a method").into()).collect();
    methods.sort();
    let lists = ["prompts", "resources", "tools"];
    assert_eq!(methods, lists.map(|list| format!("notifications/{list}/list_changed")));
    events
}

pub(crate) fn replaced(shards: u16) {
    let server = serve(shards, "");
    let (session, mut client) = open(&server, shards);
    let mut first = connect_far(&server, &session, shards);
    session.listen(&mut first);
    announce(&mut client, &session);
    three_changes(&mut first);
    let mut second = server.connect();
    session.listen(&mut second);
    assert_eq!(first.told(), None, "its place is taken");
    announce(&mut client, &session);
    three_changes(&mut second);
    // The older connection lives on, and reads again.
    session.listen(&mut first);
    assert_eq!(second.told(), None);
    announce(&mut client, &session);
    three_changes(&mut first);
    // A stream of a POST that is read on does not take the place of GET's.
    let events = client.ask(&session.post(&reporting("p", 1, 5))).events();
    let back = client.ask(&session.get(events[0].id.as_deref()));
    assert_eq!(back.events().len(), events.len() - 1);
    announce(&mut client, &session);
    three_changes(&mut first);
    drop((first, second));
    leave(&server, &session, client);
}

fn subscribe(client: &mut Client, session: &Session, method: &str, uri: &str) {
    let answer = client.ask(&session.request("s", method, json!({"uri": uri})));
    assert_eq!(response(&answer)["result"], json!({}));
}

fn update(server: &Server, uri: &str) {
    let updates = crate::support::call("updates", json!({"events": 1, "uri": uri}));
    assert_eq!(server.connect().ask(&updates).text(), "updated");
}

pub(crate) fn changes(shards: u16) {
    let server = serve(shards, "");
    let (session, mut client) = open(&server, shards);
    let (other, mut theirs) = open(&server, shards);
    let (mut stream, mut others) = (connect_far(&server, &session, shards), server.connect());
    session.listen(&mut stream);
    other.listen(&mut others);
    subscribe(&mut client, &session, "resources/subscribe", "paged://0");
    subscribe(&mut client, &session, "resources/subscribe", "paged://1");
    let updated = |stream: &mut Client, uri: &str| {
        let message = stream.told().expect("an update").message();
        assert_eq!(message["method"], "notifications/resources/updated");
        assert_eq!(message["params"], json!({"uri": uri}));
    };
    update(&server, "paged://0");
    updated(&mut stream, "paged://0");
    update(&server, "paged://2");
    update(&server, "paged://1");
    updated(&mut stream, "paged://1");
    subscribe(&mut client, &session, "resources/unsubscribe", "paged://1");
    update(&server, "paged://1");
    update(&server, "paged://0");
    updated(&mut stream, "paged://0");
    // Lists concern every session; updates only who subscribed.
    announce(&mut client, &session);
    three_changes(&mut stream);
    three_changes(&mut others);
    other.end(&mut theirs);
    assert_eq!(others.told(), None);
    drop((stream, others, theirs));
    leave(&server, &session, client);
}

pub(crate) fn polling(shards: u16) {
    let server = serve(shards, "");
    let (session, mut client) = open(&server, shards);
    // The answer is ready when the client comes back, or not yet.
    for (id, ms, pause_ms) in [("early", 1_000, 0), ("late", 50, 400)] {
        let mut calling = connect_far(&server, &session, shards);
        let answer = calling.ask(&session.call(id, "polls", json!({"ms": ms})));
        let events = answer.events();
        assert_eq!(events[0].data.as_deref(), Some(""), "{events:?}");
        assert!(events.iter().any(|event| event.retry_ms == Some(100)), "{events:?}");
        assert!(events.iter().all(|e| matches!(e.data.as_deref(), None | Some(""))));
        std::thread::sleep(std::time::Duration::from_millis(pause_ms));
        let back = client.ask(&session.get(events[0].id.as_deref()));
        let messages = back.messages();
        assert_eq!(messages.len(), 1, "{back:?}");
        assert_eq!((&messages[0]["id"], text(&messages[0])), (&json!(id), "polled"));
    }
    leave(&server, &session, client);
    // Clients of older versions keep their stream.
    let (session, mut client) = open_version(&server, shards, "2025-06-18");
    let answer = client.ask(&session.call("old", "polls", json!({"ms": 100})));
    assert_eq!(text(&response(&answer)), "polled");
    let done = session.post(&notification("notifications/initialized", json!({})));
    assert_eq!(client.ask(&done).status, 202);
    leave(&server, &session, client);
}
