//! What goes wrong is counted once, by what it is.

use std::cell::Cell;

use ringmesh_proto::mcp::Version;
use ringmesh_runtime::io::ConnectError;
use ringmesh_runtime::load::Wish;
use ringmesh_runtime::load::sample::Fault;
use ringmesh_runtime::load::script::{Kind, Trigger};

use crate::world::{
    Does, MS, S, Total, World, chunked, http, id_of, phase, result, script, scripted, uri, workload,
};

/// One client makes ten calls; the third is answered as `what` says.
fn third(kind: Kind, what: impl Fn(&str) -> Does + 'static) -> Total {
    let lines = kind == Kind::Lines;
    let phases = vec![phase(S, (1, 1), 10.0)];
    let seen = Cell::new(0);
    let server = scripted(move |_, request| {
        seen.set(seen.get() + 1);
        let good = result(request);
        match seen.get() {
            3 => what(request),
            _ if lines => Does::Says(format!("{good}\n").into_bytes()),
            _ => Does::Says(http("200 OK", &good)),
        }
    });
    let mut script = script(vec![workload(kind)], 1, phases);
    script.timeout_ns = 300 * MS;
    World::new(script, 1, server).run()
}

fn says(text: String) -> Does {
    Does::Says(text.into_bytes())
}

#[test]
fn a_wrong_answer_is_one_fault_and_the_client_goes_on() {
    type Case = (Fault, fn(&str) -> Does);
    let table: [Case; 9] = [
        (Fault::Status, |_| Does::Says(http("503 Busy", "{}"))),
        (Fault::Status, |request| Does::Says(http("400 Bad", &result(request)))),
        (Fault::RpcError, |request| {
            let id = id_of(request);
            Does::Says(http("200 OK", &format!("{{\"id\":{id},\"error\":{{\"code\":-1}}}}")))
        }),
        (Fault::RpcError, |_| Does::Says(http("200 OK", "{\"error\":{\"code\":-1}}"))),
        (Fault::ToolError, |request| {
            let id = id_of(request);
            Does::Says(http("200 OK", &format!("{{\"id\":{id},\"result\":{{\"isError\":true}}}}")))
        }),
        (Fault::Malformed, |_| Does::Says(http("200 OK", "{\"id\":7,\"result\":{}}"))),
        (Fault::Malformed, |_| Does::Says(http("200 OK", "oh"))),
        (Fault::Malformed, |request| {
            Does::Says(http("200 OK", &format!("{{\"id\":{}}}", id_of(request))))
        }),
        (Fault::Status, |_| {
            says(chunked("text/html", &["oh"]).replace("200 OK", "500 No") + "0\r\n\r\n")
        }),
    ];
    for (fault, what) in table {
        let total = third(Kind::Http, what);
        assert_eq!(total.faults(), [(fault, 1)], "{:?}", total.examples);
        let sum = &total.workloads[0];
        assert_eq!((sum.sent, sum.answered, sum.lost, sum.closed), (10, 9, 0, 1));
        assert!(total.examples[0].1.starts_with("one: "), "{:?}", total.examples);
    }
}

#[test]
fn an_end_is_one_fault_and_the_seat_stays_closed() {
    type Case = (Fault, fn(&str) -> Does);
    let table: [Case; 8] = [
        (Fault::Lost, |_| Does::Resets),
        (Fault::Lost, |_| Does::Ends(Vec::new())),
        (Fault::Lost, |request| {
            let mut answer = http("200 OK", &result(request));
            answer.truncate(answer.len() - 5);
            Does::Ends(answer)
        }),
        (Fault::Lost, |_| Does::Ends(chunked("application/json", &["{\"id\":"]).into_bytes())),
        (Fault::Malformed, |_| says("HTTP/9 garbage\r\n\r\n".into())),
        (Fault::Malformed, |_| says(chunked("application/json", &["{"]) + "zz\r\n")),
        (Fault::Malformed, |_| {
            says("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n".into())
        }),
        (Fault::Timeout, |_| Does::Nothing),
    ];
    for (fault, what) in table {
        let total = third(Kind::Http, what);
        let sum = &total.workloads[0];
        assert_eq!(sum.faults[fault.index()], 1, "{fault:?} {:?}", total.examples);
        assert_eq!((sum.sent, sum.answered, sum.opened, sum.lost), (3, 2, 1, 1), "{fault:?}");
        // What was due afterwards found nobody.
        let not_sent = (Fault::NotSent, 7);
        assert_eq!(total.faults().len(), 2);
        assert!(total.faults().contains(&not_sent), "{:?}", total.faults());
    }
}

#[test]
fn lines_are_told_apart_by_their_ids() {
    let total = third(Kind::Lines, |_| says("{\"id\":1,\"result\":{}}\n".into()));
    assert_eq!(total.workloads[0].faults[Fault::Malformed.index()], 1);
    let total = third(Kind::Lines, |_| says("HTTP/1.1 400 Bad\r\n".into()));
    assert_eq!(total.workloads[0].faults[Fault::Malformed.index()], 1);
    let total = third(Kind::Lines, |request| {
        let note = "{\"method\":\"notifications/progress\",\"params\":{}}";
        says(format!("\n{note}\r\n {} \r\n", result(request)))
    });
    total.assert_clean();
    assert_eq!(total.workloads[0].answered, 10);

    // Answers in another order.
    let mut deep = workload(Kind::Lines);
    deep.depth = 2;
    deep.closed = true;
    let held: Cell<Option<String>> = Cell::new(None);
    let server = scripted(move |_, request| match held.take() {
        None => {
            held.set(Some(result(request)));
            Does::Nothing
        }
        Some(first) => says(format!("{}\n{first}\n", result(request))),
    });
    let total = World::new(script(vec![deep], 1, vec![phase(MS, (1, 1), 0.0)]), 1, server).run();
    total.assert_clean();
    let sum = &total.workloads[0];
    assert!(sum.answered > 10 && sum.answered == sum.sent);
}

#[test]
fn answers_come_as_events_too() {
    let ways: [fn(&str) -> String; 4] = [
        |good| chunked("text/event-stream", &[&format!("data: {good}\n\n")]) + "0\r\n\r\n",
        |good| {
            let note = "data: {\"method\":\"notifications/progress\"}\n\n";
            let (one, two) = good.split_at(9);
            let chunks = ["id: 1-0\ndata:\n\n", ":\n\n", note, "data: ", one, two, "\n\n"];
            chunked("text/event-stream", &chunks) + "0\r\n\r\n"
        },
        |good| {
            let data = format!("data: {good}\n\n");
            let length = data.len();
            format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {length}\r\n\r\n{data}"
            )
        },
        |good| {
            let (one, two) = good.split_at(9);
            let interim = "HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n";
            format!("{interim}{}", chunked("application/json", &[one, two]) + "0\r\n\r\n")
        },
    ];
    for way in ways {
        for piece in [0, 1, 5] {
            let server = scripted(move |_, request| says(way(&result(request))));
            let mut kind = workload(Kind::Http);
            kind.depth = 2;
            let phases = vec![phase(S, (1, 1), 20.0)];
            let mut world = World::new(script(vec![kind], 1, phases), 1, server);
            world.net.borrow_mut().piece = piece;
            let total = world.run();
            total.assert_clean();
            assert_eq!(total.workloads[0].answered, 20);
        }
    }
}

#[test]
fn a_server_that_closes_after_its_answer_loses_the_client() {
    let total = third(Kind::Http, |request| {
        let answer = http("200 OK", &result(request));
        let text = String::from_utf8(answer).unwrap();
        Does::Ends(text.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n").into_bytes())
    });
    let sum = &total.workloads[0];
    assert_eq!((sum.answered, sum.lost, sum.faults[Fault::Lost.index()]), (3, 1, 1));
    // Without a length the answer ends with its connection.
    let total = third(Kind::Http, |request| {
        Does::Ends(format!("HTTP/1.1 200 OK\r\n\r\n{}", result(request)).into_bytes())
    });
    let sum = &total.workloads[0];
    assert_eq!((sum.answered, sum.lost, sum.faults[Fault::Lost.index()]), (3, 1, 1));
}

#[test]
fn an_answer_to_nothing_is_not_waited_for() {
    let heads =
        ["HTTP/1.1 200 OK\r\nContent-Length: 60000000\r\n\r\nmore", "HTTP/1.1 103 Hm\r\n\r\n"];
    for head in heads {
        let script = script(vec![workload(Kind::Http)], 1, vec![phase(S, (1, 1), 0.0)]);
        let mut world = World::new(script, 1, scripted(|_, _| Does::Nothing));
        assert!(!world.run_until(500 * MS));
        world.net.borrow_mut().links[0].bytes[0].extend(head.as_bytes());
        let total = world.run();
        assert_eq!(total.faults(), [(Fault::Malformed, 1)], "{head:?}");
        assert_eq!(total.workloads[0].lost, 1);
    }
}

#[test]
fn changes_are_made_on_a_new_connection_where_the_server_ends_each() {
    let acknowledged = "{\"method\":\"notifications/subscriptions/acknowledged\",\"params\":{}}";
    let server = scripted(move |_, request| {
        if request.contains("subscriptions/listen") {
            return says(chunked("text/event-stream", &[&format!("data: {acknowledged}\n\n")]));
        }
        let answer = String::from_utf8(http("200 OK", &result(request))).unwrap();
        Does::Ends(answer.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n").into_bytes())
    });
    let mut hold = phase(S, (1, 1), 0.0);
    hold.trigger = Some(Trigger { every_ns: 100 * MS, tool: "count".into() });
    let kind = workload(Kind::Listen { uris: vec![uri(0)] });
    let phases = vec![phase(S, (0, 1), 0.0), hold];
    let mut world = World::new(script(vec![kind], 1, phases), 1, server);
    let total = world.run();
    // The server tells listeners of none.
    assert_eq!(total.faults(), [(Fault::Missed, 9)], "{:?}", total.examples);
    assert_eq!((world.sent("\"name\":\"count\""), world.net.borrow().links.len()), (9, 10));
}

#[test]
fn calls_in_flight_on_a_connection_that_ends_are_counted() {
    // The third call of ten is not answered; with it end those that were sent meanwhile.
    for (kind, lines) in [(Kind::Http, false), (Kind::Lines, true)] {
        let mut deep = workload(kind);
        deep.depth = 4;
        let seen = Cell::new(0);
        let server = scripted(move |_, request| {
            seen.set(seen.get() + 1);
            match (seen.get(), lines) {
                (6, _) => Does::Resets,
                (3.., _) => Does::Nothing,
                (_, true) => Does::Says(format!("{}\n", result(request)).into_bytes()),
                (_, false) => Does::Says(http("200 OK", &result(request))),
            }
        });
        let script = script(vec![deep], 1, vec![phase(S, (1, 1), 10.0)]);
        let total = World::new(script, 1, server).run();
        let sum = &total.workloads[0];
        assert_eq!((sum.sent, sum.answered, sum.abandoned), (6, 2, 4));
        assert_eq!((sum.lost, sum.faults[Fault::Lost.index()]), (1, 1));
    }
}

#[test]
fn a_stream_does_not_outlive_its_client() {
    // A server without sessions of its own: it streams to whoever asks.
    let server = scripted(|_, request| {
        if request.starts_with("GET") {
            return says(chunked("text/event-stream", &[":\n\n"]));
        }
        if request.contains("notifications/initialized") {
            return says("HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n".into());
        }
        Does::Says(http("200 OK", &result(request)))
    });
    let mut storm = phase(S, (1, 1), 0.0);
    storm.reconnect = 1;
    let kind = Kind::HttpSession { version: Version::V2025_11_25, stream: true };
    let phases = vec![phase(100 * MS, (1, 1), 0.0), storm];
    let mut world = World::new(script(vec![workload(kind)], 1, phases), 1, server);
    assert!(!world.run_until(50 * MS));
    {
        let mut net = world.net.borrow_mut();
        net.late_closes = Some((1, net.now_ns + 500 * MS));
    }
    // The client is back and waits for its stream, whose earlier connection is not closed yet.
    assert!(!world.run_until(300 * MS));
    assert_eq!(world.net.borrow().links.len(), 3);
    world.net.borrow_mut().links[2].reset = true;
    assert!(world.run_until(20 * S), "it comes to an end");
    assert_eq!(world.net.borrow().links.len(), 3, "nobody asks for a stream");
    let total = Total::of(&world.told);
    assert_eq!(total.faults(), [(Fault::Lost, 1)]);
    assert_eq!((total.workloads[0].opened, total.workloads[0].failed), (1, 1));
}

#[test]
fn failed_connects_are_counted_and_not_tried_again() {
    let errors = [
        (ConnectError::Refused, Fault::ConnectRefused),
        (ConnectError::TimedOut, Fault::ConnectTimeout),
        (ConnectError::NoPort, Fault::ConnectExhausted),
        (ConnectError::Exhausted, Fault::ConnectExhausted),
        (ConnectError::Unreachable, Fault::ConnectFailed),
        (ConnectError::Other(5), Fault::ConnectFailed),
    ];
    for (error, fault) in errors {
        let phases = vec![phase(S, (0, 4), 0.0), phase(S, (4, 4), 0.0)];
        let server = scripted(|_, _| Does::Nothing);
        let mut world = World::new(script(vec![workload(Kind::Http)], 4, phases), 1, server);
        world.net.borrow_mut().refusals.push_back(error);
        let total = world.run();
        assert_eq!(total.faults(), [(fault, 1)]);
        let sum = &total.workloads[0];
        assert_eq!((sum.opened, sum.failed, sum.closed), (3, 1, 3));
    }
    // Nobody answers at all.
    let phases = vec![phase(5 * S, (3, 3), 0.0)];
    let mut script = script(vec![workload(Kind::Http)], 3, phases);
    script.connecting_max = 1;
    let mut world = World::new(script, 1, scripted(|_, _| Does::Nothing));
    world.net.borrow_mut().silent = true;
    let total = world.run();
    let sum = &total.workloads[0];
    assert_eq!((sum.faults[Fault::ConnectTimeout.index()], sum.failed, sum.closed), (2, 2, 1));
}

#[test]
fn a_slow_server_fills_the_backlog() {
    // It answers the first call alone, after the rest was due.
    let phases = vec![phase(S, (1, 1), 20.0)];
    let mut script = script(vec![workload(Kind::Http)], 1, phases);
    script.backlog_max = 5;
    let first: Cell<Option<String>> = Cell::new(None);
    let count = Cell::new(0);
    let server = scripted(move |_, request| {
        count.set(count.get() + 1);
        if count.get() == 1 {
            first.set(Some(result(request)));
            return Does::Nothing;
        }
        Does::Says(http("200 OK", &result(request)))
    });
    let mut world = World::new(script, 1, server);
    world.run_until(900 * MS);
    let total = world.run();
    let sum = &total.workloads[0];
    assert_eq!((sum.due, sum.sent, sum.answered), (20, 1, 0));
    // Fourteen found the backlog full, five were in it at the end, one was not answered.
    assert_eq!(total.faults(), [(Fault::Timeout, 1), (Fault::NotSent, 19)]);
}

#[test]
fn what_waits_when_a_run_is_cut_is_not_sent() {
    let script = script(vec![workload(Kind::Http)], 1, vec![phase(S, (1, 1), 20.0)]);
    let mut world = World::new(script, 1, scripted(|_, _| Does::Nothing));
    assert!(!world.run_until(500 * MS));
    world.leave.ask(Wish::Abort);
    let total = world.run();
    assert_eq!(total.faults(), [(Fault::NotSent, 9)]);
    let sum = &total.workloads[0];
    assert_eq!((sum.due, sum.sent, sum.answered, sum.abandoned), (10, 1, 0, 1));
}

#[test]
fn latency_counts_from_the_time_due() {
    // The answers to a call come with the next request on another connection, 50 ms later.
    let phases = vec![phase(S, (2, 2), 20.0)];
    let script = script(vec![workload(Kind::Http)], 2, phases);
    let mut world =
        World::new(script, 1, scripted(|_, request| Does::Says(http("200 OK", &result(request)))));
    assert!(!world.run_until(500 * MS));
    // The generator itself stands still for 300 ms.
    world.net.borrow_mut().now_ns += 300 * MS;
    let total = world.run();
    total.assert_clean();
    let sum = &total.workloads[0];
    assert_eq!(sum.answered, 20);
    assert!(sum.latency.max() >= 250_000, "{}", sum.latency.max());
    assert!(sum.service.max() < 10_000, "{}", sum.service.max());
    assert!(total.late.max() >= 250_000, "{}", total.late.max());
}

#[test]
fn updates_that_are_missing_or_out_of_turn_are_counted() {
    let acknowledged = "{\"method\":\"notifications/subscriptions/acknowledged\",\"params\":{}}";
    // Instead of the changes 0 to 8 it tells of these; change 4 of five changes the first again.
    for (told, faults) in [
        (vec![0, 1, 2, 3, 4, 5, 6, 7, 8], vec![]),
        (vec![0, 1, 2, 3, 4, 5, 6, 7], vec![(Fault::Missed, 1)]),
        (vec![0, 1, 3, 4, 5, 6, 7, 8], vec![(Fault::Missed, 1)]),
        (vec![0, 1, 1, 2, 3, 4, 5, 6, 7, 8], vec![(Fault::Disorder, 1)]),
        (vec![0, 2, 1, 3, 4, 5, 6, 7, 8], vec![(Fault::Disorder, 1), (Fault::Missed, 1)]),
    ] {
        let mut hold = phase(S, (1, 1), 0.0);
        hold.trigger = Some(Trigger { every_ns: 100 * MS, tool: "count".into() });
        let uris = (0..5).map(uri).collect();
        let kind = workload(Kind::Listen { uris });
        let phases = vec![phase(S, (0, 1), 0.0), hold];
        let server = scripted(move |_, request| {
            if request.contains("subscriptions/listen") {
                let data = format!("data: {acknowledged}\n\n");
                return says(chunked("text/event-stream", &[&data]));
            }
            Does::Says(http("200 OK", &result(request)))
        });
        let mut world = World::new(script(vec![kind], 1, phases), 1, server);
        // All are told when all are made.
        assert!(!world.run_until(2 * S - 50 * MS));
        for change in told {
            let uri = uri(change % 5);
            let data = format!(
                "data: {{\"method\":\"notifications/resources/updated\",\"params\":{{\"uri\":\"{uri}\"}}}}\n\n"
            );
            let chunk = format!("{:x}\r\n{data}\r\n", data.len());
            let mut net = world.net.borrow_mut();
            let stream = net
                .links
                .iter_mut()
                .find(|link| String::from_utf8_lossy(&link.log).contains("subscriptions/listen"));
            stream.unwrap().bytes[0].extend(chunk.as_bytes());
        }
        let total = world.run();
        let mut found = total.faults();
        found.sort();
        assert_eq!(found, faults, "{:?}", total.examples);
    }
}
