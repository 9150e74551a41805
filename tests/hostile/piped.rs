//! The same on standard input, which has one client: whatever it does, the process ends with it.

use serde_json::json;

use crate::garbage::{assert_survives, hellos};
use crate::support::session::{LEGACY, notification, text, tool};
use crate::support::{Lines, Piped};
use crate::{line, line_hello, modern_line, own};

fn assert_ends(mut server: Piped, mut lines: Lines) {
    lines.finish_sending();
    while lines.next().is_some() {}
    assert_eq!(server.ended().0, Some(0));
}

pub(crate) fn garbage() {
    for hello in hellos() {
        let (server, mut lines) = own::start_piped("");
        assert_survives(&mut lines, &hello);
        assert_ends(server, lines);
    }
}

pub(crate) fn floods() {
    // Very many lines, then calls that are cancelled all at once, then an end without an answer.
    let (server, mut lines) = own::start_piped("");
    lines.send(line_hello(LEGACY));
    assert_eq!(lines.next().expect("an answer")["id"], 0);
    lines.send((1..=20_000).map(|id| modern_line(id, "fine", json!({}))).collect::<String>());
    for id in 1..=20_000 {
        assert_eq!(lines.next().expect("an answer")["id"], id);
    }
    let calls = (0..1_000).map(|id| line(&tool(id, "overruns_async", json!({}))));
    lines.send(calls.collect::<String>());
    let cancel = |id| notification("notifications/cancelled", json!({"requestId": id}));
    lines.send((0..1_000).map(|id| line(&cancel(id))).collect::<String>());
    crate::support::wait_for("futures that were dropped", || {
        let answer = lines.send(modern_line("n", "dropped", json!({}))).next().expect("an answer");
        assert_eq!(answer["id"], "n", "a cancelled call is not answered");
        (text(&answer) == "1000").then_some(())
    });
    lines.send(line(&tool("q", "asks_name", json!({}))));
    assert_eq!(lines.next().expect("a question")["method"], "elicitation/create");
    assert_ends(server, lines);
    // A line that has no end.
    let (mut server, mut lines) = own::start_piped("");
    lines.send(line_hello(LEGACY));
    assert_eq!(lines.next().expect("an answer")["id"], 0);
    let piece = vec![b'x'; 1_000_000];
    for _ in 0..100 {
        if !lines.try_send(&piece) {
            break;
        }
    }
    let refused = lines.next().expect("an error");
    assert_eq!(refused["error"]["code"], -32600, "{refused}");
    lines.finish_sending();
    assert_eq!(lines.next(), None);
    // As of sysexits: its client broke the protocol.
    assert_eq!(server.ended().0, Some(76));
}
