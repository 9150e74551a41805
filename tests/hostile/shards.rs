//! Sessions that live on another shard than their connections, when one of the two has trouble.

use std::collections::BTreeMap;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::session::{LEGACY, connect_far, response, text};
use crate::support::{Client, Lines, Server, Session, nothing_leaked};
use crate::{line, line_hello, serve};

/// A session, and connections to the other shard.
fn open(server: &Server, connections: usize) -> (Session, Vec<Client>) {
    let session = Session::open(&mut server.connect(), LEGACY);
    let far = (0..connections).map(|_| connect_far(server, &session, 2)).collect();
    (session, far)
}

pub(crate) fn half_closed() {
    let server = serve("");
    for count in [1, 2, 50, 2_000] {
        let (session, mut far) = open(&server, 1);
        let requests: Vec<u8> =
            (0..count).flat_map(|id| session.request(id, "ping", json!({})).bytes()).collect();
        let client = &mut far[0];
        let mut writer = client.stream.try_clone().expect("a socket");
        let writing = std::thread::spawn(move || {
            std::io::Write::write_all(&mut writer, &requests).expect("it reads");
            writer.shutdown(std::net::Shutdown::Write).expect("a socket");
        });
        for id in 0..count {
            assert_eq!(client.answer().json()["id"], id);
        }
        assert!(client.is_at_end());
        writing.join().expect("the writer");
        session.end(&mut server.connect());
    }
    nothing_leaked(&server);
}

/// Sends a request on each connection, and counts the answers by status.
fn ask_all(session: &Session, clients: &mut [Client]) -> BTreeMap<u16, usize> {
    for (id, client) in clients.iter_mut().enumerate() {
        client.send(session.request(id, "ping", json!({})).bytes());
    }
    let mut statuses = BTreeMap::new();
    for (id, client) in clients.iter_mut().enumerate() {
        let answer = client.answer();
        *statuses.entry(answer.status).or_default() += 1;
        match answer.status {
            200 => assert_eq!(answer.json()["id"], id),
            // It could not be told: the request was not even looked at.
            503 => assert!(answer.header("Retry-After").is_some(), "{answer:?}"),
            _ => panic!("{answer:?}"),
        }
    }
    statuses
}

pub(crate) fn stuck_home() {
    let server = serve("");
    let (session, mut far) = open(&server, 1);
    // An inline tool holds the whole shard, with all its sessions.
    far[0].send(session.call("stuck", "overruns_inline", json!({"ms": 1_500})).bytes());
    std::thread::sleep(std::time::Duration::from_millis(200));
    let mut clients: Vec<Client> = (0..1_500).map(|_| server.connect()).collect();
    let statuses = ask_all(&session, &mut clients);
    assert!(statuses.get(&200).is_some_and(|&count| count > 100), "{statuses:?}");
    assert_eq!(text(&response(&far[0].answer())), "late");
    // Once more, and now they leave while it is stuck.
    far[0].send(session.call("stuck", "overruns_inline", json!({"ms": 1_000})).bytes());
    std::thread::sleep(std::time::Duration::from_millis(200));
    for (at, mut client) in clients.into_iter().enumerate() {
        let request =
            if at % 2 == 0 { session.get(None) } else { session.call(at, "fine", json!({})) };
        client.try_send(request.bytes());
        if at % 3 == 0 {
            crate::reset(client);
        }
    }
    assert_eq!(text(&response(&far[0].answer())), "late");
    session.end(&mut far[0]);
    drop(far);
    nothing_leaked(&server);
}

pub(crate) fn stuck_front() {
    let server = serve("");
    let (session, mut far) = open(&server, 600);
    let mut holder = far.pop().expect("one");
    // Everything is forwarded; then the shard of the connections is held while answers come.
    for (id, client) in far.iter_mut().enumerate() {
        let call = match id % 3 {
            0 => session.call(id, "steps", json!({"steps": 1, "ms": 400})),
            1 => session.call(id, "logs", json!({"events": 20})),
            _ => session.call(id, "asks_name", json!({})),
        };
        client.send(call.bytes());
    }
    server.wait_for("all are forwarded", |status| crate::sum(status, "requests_forwarded") >= 599);
    let hold = crate::support::call("overruns_inline", json!({"ms": 1_500}));
    holder.send(hold.bytes());
    let asked = |client: &mut Client| loop {
        let event = client.told().expect("a question");
        if event.data.as_deref() != Some("") {
            return event.message();
        }
    };
    for (id, client) in far.iter_mut().enumerate() {
        if id % 3 == 2 {
            client.stream_head();
            let question = asked(client);
            let name = json!({"action": "accept", "content": {"name": id.to_string()}});
            assert_eq!(server.connect().ask(&session.answer(&question, name)).status, 202);
            assert_eq!(text(&asked(client)), format!("Hello, {id}!"));
            assert_eq!(client.told(), None);
        } else {
            let answer = client.answer();
            assert_eq!(response(&answer)["id"], id);
        }
    }
    assert_eq!(holder.answer().text(), "late");
    session.end(&mut holder);
    drop((far, holder));
    nothing_leaked(&server);
}

pub(crate) fn stop() {
    let mut server = serve("--grace 4s");
    let (session, mut far) = open(&server, 3);
    let near = Session::open(&mut server.connect(), LEGACY);
    let mut streams: Vec<Client> = vec![server.connect(), far.pop().expect("one")];
    near.listen(&mut streams[0]);
    session.listen(&mut streams[1]);
    let steps = json!({"steps": 1, "ms": 1_000});
    let mut calling = far.pop().expect("one");
    calling.send(session.call("far", "steps", steps.clone()).bytes());
    let mut lines = Lines::tcp(server.tcp[0]);
    lines.send(line_hello(LEGACY));
    assert_eq!(lines.next().expect("an answer")["id"], 0);
    lines.send(line(&crate::support::session::tool("line", "steps", steps)));
    let mut asking = far.pop().expect("one");
    asking.send(session.call("ask", "asks_name", json!({})).bytes()).stream_head();
    crate::wait_for_calls(&server, 3);
    server.signal(Signal::SIGTERM);
    for stream in &mut streams {
        assert_eq!(stream.told(), None, "streams end");
    }
    assert_eq!(text(&response(&calling.answer())), "1 steps", "calls are answered");
    let answer = lines.next().expect("an answer");
    assert_eq!((&answer["id"], text(&answer)), (&json!("line"), "1 steps"));
    lines.assert_ends();
    // Nobody may answer the question in time: the server does not wait for it for ever.
    drop((streams, calling));
    assert_eq!(server.ended().0, Some(0));
    assert!(asking.is_cut());
}
