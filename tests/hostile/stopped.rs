//! A process that is stopped for a while and goes on.

use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::session::{LEGACY, response, text};
use crate::support::{Client, Lines, Session, call, nothing_leaked, request};
use crate::{fine, line_hello, modern_line, serve, wait_for_calls};

/// Longer than any time-out that it is started with.
const STOPPED: Duration = Duration::from_secs(20);

pub(crate) fn stopped() {
    let server = serve(
        "--idle-timeout 15s --head-timeout 15s --body-timeout 15s --send-timeout 15s \
         --tool-timeout 15s --session-timeout 15s --input-timeout 15s --keep-alive 5s",
    );
    let session = Session::open(&mut server.connect(), LEGACY);
    let resting = Session::open(&mut server.connect(), LEGACY);
    let mut idle: Vec<Client> = (0..4).map(|_| server.connect()).collect();
    for client in &mut idle {
        assert_eq!(client.ask(&fine()).text(), "fine");
    }
    let whole = session.call("half", "fine", json!({})).bytes();
    let cuts = [40, whole.len() - 5];
    let mut halves: Vec<(Client, usize)> =
        cuts.iter().map(|&cut| (server.connect(), cut)).collect();
    for (client, cut) in &mut halves {
        client.send(&whole[..*cut]);
    }
    let (mut stream, mut listener) = (server.connect(), server.connect());
    session.listen(&mut stream);
    let listen =
        request("subscriptions/listen", json!({"notifications": {"toolsListChanged": true}}));
    listener.send(listen.bytes()).stream_head();
    assert!(listener.message().is_some());
    let mut lines = Lines::tcp(server.tcp[0]);
    lines.send(line_hello(LEGACY));
    assert_eq!(lines.next().expect("an answer")["id"], 0);
    let mut silent = Lines::tcp(server.tcp[0]);
    let steps = json!({"steps": 1, "ms": 2_500});
    let mut calling = [server.connect(), server.connect()];
    calling[0].send(session.call("c", "steps", steps.clone()).bytes());
    calling[1].send(call("steps", steps).bytes());
    let mut asking = server.connect();
    asking.send(session.call("q", "asks_name", json!({})).bytes()).stream_head();
    wait_for_calls(&server, 3);

    thread::sleep(Duration::from_secs(1));
    server.signal(Signal::SIGSTOP);
    // What is sent meanwhile waits for it.
    let mut meanwhile = server.connect();
    meanwhile.send(fine().bytes());
    thread::sleep(STOPPED);
    server.signal(Signal::SIGCONT);
    thread::sleep(Duration::from_secs(1));

    assert_eq!(meanwhile.answer().text(), "fine");
    for client in &mut idle {
        assert_eq!(client.ask(&fine()).text(), "fine", "an idle connection");
    }
    for (client, cut) in &mut halves {
        let answer = client.send(&whole[*cut..]).answer();
        assert_eq!(text(&response(&answer)), "fine", "half a request of {cut} bytes");
    }
    let pong = meanwhile.ask(&resting.request(1, "ping", json!({})));
    assert_eq!(pong.status, 200, "a session that nobody used: {pong:?}");
    let asked = question(&mut asking);
    let name = json!({"action": "accept", "content": {"name": "Ada"}});
    assert_eq!(meanwhile.ask(&session.answer(&asked, name)).status, 202);
    assert_eq!(text(&asking.told().expect("an answer").message()), "Hello, Ada!");
    assert_eq!(text(&response(&calling[0].answer())), "1 steps", "a call");
    assert_eq!(calling[1].answer().text(), "1 steps", "a call");
    for lines in [&mut lines, &mut silent] {
        let answer = lines.send(modern_line("l", "fine", json!({}))).next().expect("an answer");
        assert_eq!(text(&answer), "fine", "a connection of lines");
    }
    assert_eq!(meanwhile.ask(&call("announces", json!({}))).text(), "announced");
    assert!(stream.told().is_some_and(|event| event.id.is_some()), "a stream of a session");
    assert!(listener.message().is_some(), "a stream");
    session.end(&mut meanwhile);
    resting.end(&mut meanwhile);
    drop((idle, halves, stream, listener, lines, silent, calling, asking, meanwhile));
    nothing_leaked(&server);
}

/// Reads what the server asks, past the beginning of the stream.
fn question(asking: &mut Client) -> serde_json::Value {
    loop {
        let event = asking.told().expect("a question");
        if event.data.as_deref() != Some("") {
            return event.message();
        }
    }
}
