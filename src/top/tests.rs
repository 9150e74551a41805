//! Two answers of a server of two shards, a second apart, and what is made of them.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::poll::{Answer, ask};
use super::render::{Look, Page, render};
use super::screen::fit;
use super::status::Status;
use super::view::{Grown, Slow, View};

fn shard(id: u16, requests: u64, busy_us: f64) -> Value {
    json!({
        "id": id, "cpu": id, "stale": false, "age_ms": 1.5, "stuck_ms": 0.0,
        "connections": 12_345, "streams": 15, "sessions": 7, "calls_in_flight": 3,
        "requests": requests, "refusals": {"calls": 4, "host": 1},
        "received_bytes": requests * 475, "sent_bytes": requests * 300,
        "buffers": {"total": 256, "used": 2, "used_max": 9, "enobufs": 6, "rearms": 8},
        "budget": {"limit_bytes": 1, "used_bytes": 2_048, "used_bytes_max": 3},
        "mailbox_depth": {"requests": 1, "replies": 2},
        "ticks": requests, "busy_us": busy_us,
        "tick_ns_counts": {"20480": requests, "1280": 5},
        "ticks_slowest": [
            {"unix_ms": 1_000_000, "us": 1_234.5 + f64::from(id), "completions": 64, "answered": 60},
        ],
    })
}

fn status(requests: u64, busy_us: f64, cpu_s: f64) -> Value {
    json!({
        "name": "ringmesh", "version": "0.1.0", "pid": 77, "phase": "ready",
        "started_unix_ms": 940_000, "uptime_s": 65.25,
        "process": {"cpu_s": cpu_s, "resident_bytes": 20 << 20, "threads": 24, "open_fds": 30},
        "pools": {"async_running": 1, "blocking_running": 2, "blocking_lost": 0, "queued": 3, "refused": 4},
        "shards": [shard(0, requests, busy_us), shard(1, requests * 2, busy_us)],
        "unknown_to_this_version": true,
    })
}

fn answer(at: Instant, status: &Value) -> Answer {
    let status: Status = serde_json::from_value(status.clone()).expect("a status");
    Answer { at, status }
}

fn two_answers() -> (Answer, Answer) {
    let begin = Instant::now();
    let before = answer(begin, &status(1_000, 100_000.0, 10.0));
    (before, answer(begin + Duration::from_secs(2), &status(5_000, 1_100_000.0, 11.5)))
}

fn view() -> View {
    let (before, now) = two_answers();
    View::of("127.0.0.1:9180".parse().expect("an address"), Some(&before), &now)
}

fn texts(page: &Page) -> Vec<&str> {
    page.lines().map(|line| line.text.as_str()).collect()
}

#[test]
fn rates_are_of_the_time_between_both_answers() {
    let view = view();
    let (first, total) = (&view.shards[0], &view.total);
    assert_eq!((first.requests, first.received), (Some(2_000.0), Some(950_000.0)));
    assert_eq!((total.requests, total.sent), (Some(6_000.0), Some(1_800_000.0)));
    assert_eq!((first.busy, total.busy), (Some(0.5), Some(0.5)));
    assert_eq!(view.cpus, Some(0.75));
    // The five short ticks were before.
    assert_eq!((first.tick_ns_p99, first.tick_ns_max), (Some(20_480), Some(20_480)));
    assert_eq!((total.connections, total.mailbox, total.memory_bytes), (24_690, 4, 4_096));
    assert_eq!(total.refusals, Grown { total: 10, by: 0 });
    let slow = Slow { shard: 1, seconds_ago: 5, us: 1_235.5, completions: 64, answered: 60 };
    assert_eq!((view.slowest.len(), &view.slowest[0]), (2, &slow));
}

#[test]
fn without_an_answer_of_the_same_process_there_are_no_rates() {
    let (before, now) = two_answers();
    let admin = "127.0.0.1:9180".parse().expect("an address");
    let first = View::of(admin, None, &now);
    let restarts = [(1, 940_000), (77, 930_000)].map(|(pid, started_unix_ms)| {
        let mut before = before.clone();
        (before.status.pid, before.status.started_unix_ms) = (pid, started_unix_ms);
        View::of(admin, Some(&before), &now)
    });
    for view in [first].into_iter().chain(restarts) {
        let total = &view.total;
        assert_eq!((total.requests, total.busy, view.cpus), (None, None, None));
        assert_eq!(total.connections, 24_690);
        assert_eq!(total.tick_ns_max, Some(20_480));
    }
}

#[test]
fn a_wide_terminal_shows_everything() {
    let page = render(&view(), 160);
    assert_eq!(
        texts(&page),
        [
            "ringmesh 0.1.0 127.0.0.1:9180 ready  pid 77  up 00:01:05",
            "cpu 75%  rss 20.0MiB  threads 24  pools 3 running, 3 queued, 4 refused",
            "",
            "shard  cpu  conns  streams  sessions  calls  req/s     in/s    out/s  ticks/s  busy  \
             tick p99  tick max  refused  enobufs  re-arms  mailbox   memory",
            "  all    -  24690       30        14      6   6000  2.72MiB  1.72MiB     6000   50%      \
             20µs      20µs       10       12       16        4  4.00KiB",
            "    0    0  12345       15         7      3   2000   928KiB   586KiB     2000   50%      \
             20µs      20µs        5        6        8        2  2.00KiB",
            "    1    1  12345       15         7      3   4000  1.81MiB  1.14MiB     4000   50%      \
             20µs      20µs        5        6        8        2  2.00KiB",
            "",
            "slowest ticks of the last minute",
            "  1.24ms  shard 1     5 s ago, 64 completions, 60 answered",
            "  1.23ms  shard 0     5 s ago, 64 completions, 60 answered",
        ]
    );
}

#[test]
fn narrow_terminals_keep_what_matters() {
    let view = view();
    for (width, kept, left_out) in [
        (80, &["conns", "req/s", "busy", "tick p99", "tick max", "streams"][..], "memory"),
        (40, &["shard", "conns", "req/s", "busy", "tick p99"], "streams"),
        (20, &["shard", "conns", "req/s"], "busy"),
        (5, &["shard"], "conns"),
    ] {
        let page = render(&view, width);
        let lines = texts(&page);
        assert!(lines.iter().all(|line| line.chars().count() <= width), "{width}: {lines:#?}");
        let title = lines[3];
        assert!(kept.iter().all(|name| title.contains(name)), "{width}: {title}");
        assert!(!title.contains(left_out), "{width}: {title}");
    }
    assert!(texts(&render(&view, 0)).iter().all(|line| line.is_empty()));
}

#[test]
fn silent_shards_and_servers_that_went_away_stand_out() {
    let (before, mut now) = two_answers();
    now.status.shards[1].stale = true;
    now.status.shards[1].age_ms = Some(4_200.0);
    now.status.phase = "dra\x1b[31mining".into();
    let mut view = View::of("[::1]:1".parse().expect("an address"), Some(&before), &now);
    view.gone = Some("no answer for 3 s (nothing listens there); asking again each 1 s".into());
    let page = render(&view, 160);
    let silent = "    1  silent for 4.2 s; last seen: 12345 connections, 15 streams";
    assert_eq!(page.shards[1].text, silent);
    assert_eq!((page.shards[0].look, page.shards[1].look), (Look::Plain, Look::Warn));
    assert_eq!(page.above[2].look, Look::Warn);
    assert!(page.lines().all(|line| !line.text.contains(char::is_control)));
}

#[test]
fn what_grew_is_told_beside_the_total() {
    let (mut before, now) = two_answers();
    before.status.shards[0].buffers.enobufs = 2;
    let view = View::of("[::1]:1".parse().expect("an address"), Some(&before), &now);
    assert_eq!(view.shards[0].enobufs, Grown { total: 6, by: 4 });
    assert!(render(&view, 200).shards[0].text.contains(" 6+4 "));
}

#[test]
fn short_terminals_scroll_the_shards() {
    let (_, mut now) = two_answers();
    let shard = now.status.shards[0].clone();
    now.status.shards = (0..56).map(|id| super::status::Shard { id, ..shard.clone() }).collect();
    let page = render(&View::of("[::1]:1".parse().expect("an address"), None, &now), 80);
    let mut above = 0;
    let lines = fit(&page, 24, &mut above);
    assert_eq!(lines.len(), 24);
    assert!(lines[5].text.starts_with("    0"), "{lines:?}");
    assert!(lines[23].text.ends_with("45 shards not shown"), "{:?}", lines[23]);
    above = 1_000;
    let lines = fit(&page, 24, &mut above);
    assert_eq!(above, 45);
    assert!(lines[15].text.starts_with("   55"), "{lines:?}");
    for height in 0..12 {
        assert!(fit(&page, height, &mut above).len() <= height.max(1));
    }
    let few = fit(&render(&view(), 80), 24, &mut above);
    assert_eq!((above, few.len()), (0, 12));
}

#[test]
fn what_is_no_status_is_told_in_one_line() {
    for (answer, expected) in [
        ("HTTP/1.1 403 Forbidden\r\n\r\n", "/status is answered with HTTP 403"),
        ("SSH-2.0-nothing\r\n", "it is no admin listener (no HTTP/1.1 answer)"),
        ("HTTP/1.1 200 OK\r\n\r\n<html>", "it is no admin listener of ringmesh (no status)"),
        ("HTTP/1.1 200 OK\r\n\r\n{}", "it is no admin listener of ringmesh (no status)"),
        ("", "it is no admin listener (no HTTP/1.1 answer)"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let admin = listener.local_addr().expect("its address");
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("the question");
            let mut request = [0; 256];
            let filled = stream.read(&mut request).expect("a request");
            stream.write_all(answer.as_bytes()).expect("a reader");
            request[..filled].starts_with(b"GET /status HTTP/1.1\r\n")
        });
        assert_eq!(ask(admin).map(|_| ()).expect_err(answer), expected);
        assert!(server.join().expect("the server"), "a whole request");
    }
    let unused = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port");
    assert_eq!(ask(unused).map(|_| ()).expect_err("closed"), "nothing listens there");
}
