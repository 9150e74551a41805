//! The control plane as its clients see it: a real thread, real sockets, shards played by threads.

use super::*;
use crate::tools::PoolsConfig;
use ringmesh_runtime::catalog::{Catalog, Offer, Versions};
use ringmesh_runtime::mailbox::{Bell, Capacities, mailbox};
use ringmesh_runtime::message::Request;
use ringmesh_runtime::probe::{Method, Outcome, Probe, SessionEnd};
use ringmesh_runtime::ticks::Tick;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::RecvTimeoutError;

/// One place, so that a ring is kept.
struct FakeBell(SyncSender<()>);

impl Bell for FakeBell {
    fn ring(&self) {
        self.0.try_send(()).ok();
    }
}

/// A thread that answers probes as a shard does.
struct FakeShard {
    vital: Arc<Vital>,
    address: Address,
    mute: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    end: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl FakeShard {
    fn new(id: u16) -> Self {
        let (bell, rung) = sync_channel(1);
        let capacities = Capacities { requests: 2, replies: 2, notes: 2, events: 2, relays: 2 };
        let (address, mut inbox) = mailbox(capacities, Arc::new(FakeBell(bell)));
        let (mute, end) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (asked, vital) = (Arc::new(AtomicU64::new(0)), Arc::new(Vital::default()));
        let seen = (mute.clone(), end.clone(), asked.clone());
        let thread = thread::spawn(move || {
            let (mute, end, asked) = seen;
            let mut probe = Probe::new(id);
            probe.connections_accepted[0] = 5;
            probe.connections_closed[0] = 2;
            probe.subscriptions_open = 3;
            (probe.sessions_open, probe.sessions_opened, probe.session_events) = (4, 9, 7);
            probe.sessions_ended[SessionEnd::Expired.index()] = 5;
            (probe.events_replayed, probe.responses_unasked) = (11, 12);
            (probe.forwarded, probe.relays_open) = (13, 2);
            probe.count_request(Method::ToolsCall, Outcome::Ok);
            probe.record_latency(120, 1);
            let mut requests = Vec::new();
            while !end.load(Ordering::Relaxed) {
                probe.record_tick(Tick { unix_ms: 7, ns: 20_000, completions: 4, answered: 2 });
                if !mute.load(Ordering::Relaxed) {
                    inbox.drain_requests(8, &mut requests);
                }
                for request in requests.drain(..) {
                    if let Request::Probe(room, answer) = request {
                        asked.fetch_add(1, Ordering::Relaxed);
                        answer.try_send(probe.snapshot(room)).ok();
                    }
                }
                if inbox.prepare_sleep() || mute.load(Ordering::Relaxed) {
                    match rung.recv_timeout(Duration::from_millis(20)) {
                        Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                        Err(RecvTimeoutError::Disconnected) => return,
                    }
                    inbox.awake();
                }
            }
        });
        Self { vital, address, mute, asked, end, thread: Some(thread) }
    }

    fn watch(&self, id: u16) -> ShardWatch {
        let (address, vital) = (self.address.clone(), self.vital.clone());
        ShardWatch { id, address, vital, cpu: Some(usize::from(id)) }
    }
}

impl Drop for FakeShard {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// A control plane with its shards.
struct Bench {
    admin: SocketAddr,
    state: Arc<ServerState>,
    thread: Option<thread::JoinHandle<()>>,
    shards: Vec<FakeShard>,
}

impl Bench {
    fn new(shards: u16) -> Self {
        let seconds = Duration::from_secs;
        Self::with(shards, Timeouts { head: seconds(20), answer: seconds(20), idle: seconds(20) })
    }

    fn with(shards: u16, timeouts: Timeouts) -> Self {
        let shards: Vec<_> = (0..shards).map(FakeShard::new).collect();
        let offer = Offer {
            server_info: "{}".into(),
            instructions: None,
            tools: vec![],
            resources: vec![],
            templates: vec![],
            prompts: vec![],
            page_entries_max: 10,
            list_ttl_ms: 0,
            read_ttl_ms: 0,
        };
        let catalog = Catalog::new(offer, Versions::default()).unwrap();
        let admin = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut plan = Plan::detect().unwrap();
        plan.allowed = Allowed { hosts: vec!["ops.example".into()], origins: vec![] };
        plan.shards = 2;
        let state = Arc::new(ServerState::new());
        let watches = shards.iter().zip(0..).map(|(shard, id)| shard.watch(id));
        let config = ControlConfig {
            shards: watches.collect(),
            published: Arc::new(Published::new(catalog)),
            pools: Pools::new(&PoolsConfig::default()).unwrap(),
            plan: Arc::new(plan),
            state: state.clone(),
            admin: admin.try_clone().unwrap(),
        };
        let admin = admin.local_addr().unwrap();
        let thread = Some(spawn_with(config, timeouts).unwrap());
        state.set_ready();
        Self { admin, state, thread, shards }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.admin).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    }

    /// Sends bytes and reads to the end.
    fn send(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(bytes).unwrap();
        read_all(stream)
    }

    fn request(&self, method: &str, path: &str, fields: &str) -> String {
        let head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n{fields}\r\n");
        self.send(head.as_bytes())
    }

    /// Status and body of a GET.
    fn get(&self, path: &str) -> (u16, String) {
        let answer = self.request("GET", path, "Host: localhost\r\n");
        (status(&answer), body(&answer).to_owned())
    }

    fn json(&self, path: &str) -> (u16, Value) {
        let (status, body) = self.get(path);
        (status, serde_json::from_str(&body).unwrap())
    }

    /// Asks until `done` says so.
    fn until(&self, path: &str, done: impl Fn(&str) -> bool) -> String {
        let start = Instant::now();
        loop {
            let (_, body) = self.get(path);
            if done(&body) {
                return body;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "{path} stays\n{body}");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.state.set_stopped();
        let joined = self.thread.take().map(thread::JoinHandle::join);
        if !thread::panicking() {
            assert!(matches!(joined, None | Some(Ok(()))), "the control thread panicked");
        }
    }
}

fn read_all(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

#[test]
fn every_path_answers() {
    let bench = Bench::new(2);
    for path in ["/livez", "/readyz", "/startupz"] {
        assert_eq!(bench.get(path), (200, "ok\n".into()), "{path}");
    }
    let (code, health) = bench.json("/health");
    assert_eq!((code, &health["status"]), (200, &"ok".into()));
    assert!(health["ready"]["ok"].as_bool().unwrap());
    let (code, page) = bench.json("/status?pretty");
    assert_eq!((code, &page["phase"]), (200, &"ready".into()));
    assert_eq!(page["plan"]["shards"], 2);
    assert_eq!(page["totals"]["connections"], 6);
    assert_eq!(page["shards"][1]["subscriptions"], 3);
    assert_eq!(page["shards"][1]["stale"], false);
    assert_eq!(page["totals"]["sessions"], 8);
    for (member, value) in [
        ("sessions", 4),
        ("sessions_opened", 9),
        ("session_events", 7),
        ("session_events_replayed", 11),
        ("responses_unasked", 12),
        ("requests_forwarded", 13),
        ("relays", 2),
    ] {
        assert_eq!(page["shards"][0][member], value, "{member}");
    }
    assert_eq!(page["shards"][0]["sessions_ended"], serde_json::json!({"expired": 5}));
    let slowest = page["shards"][1]["ticks_slowest"].as_array().unwrap();
    assert!((1..=16).contains(&slowest.len()), "{slowest:?}");
    let tick = serde_json::json!({"unix_ms": 7, "us": 20.0, "completions": 4, "answered": 2});
    assert!(slowest.iter().all(|slow| *slow == tick), "{slowest:?}");
    let shard = &page["shards"][1];
    let counted = shard["tick_ns_counts"]["20480"].as_u64().unwrap();
    assert_eq!(shard["ticks"], counted);
    assert_eq!(shard["busy_us"], counted as f64 * 20.0);
    assert!(page["process"]["resident_bytes"].as_u64().unwrap() > 1 << 20);
    let (code, metrics) = bench.get("/metrics");
    assert_eq!(code, 200);
    for line in [
        "# TYPE ringmesh_request_duration_seconds histogram",
        "ringmesh_connections{shard=\"1\",transport=\"http\"} 3",
        "ringmesh_requests_total{shard=\"0\",method=\"tools/call\",outcome=\"ok\"} 1",
        "ringmesh_request_duration_seconds_bucket{shard=\"0\",le=\"0.0001\"} 0",
        "ringmesh_request_duration_seconds_bucket{shard=\"0\",le=\"0.00025\"} 1",
        "ringmesh_sessions{shard=\"0\"} 4",
        "ringmesh_sessions_opened_total{shard=\"0\"} 9",
        "ringmesh_sessions_ended_total{shard=\"0\",cause=\"expired\"} 5",
        "ringmesh_sessions_ended_total{shard=\"0\",cause=\"deleted\"} 0",
        "ringmesh_session_events{shard=\"1\"} 7",
        "ringmesh_session_events_replayed_total{shard=\"1\"} 11",
        "ringmesh_responses_unasked_total{shard=\"1\"} 12",
        "ringmesh_requests_forwarded_total{shard=\"1\"} 13",
        "ringmesh_relays{shard=\"1\"} 2",
        "ringmesh_phase{phase=\"ready\"} 1",
        "ringmesh_shard_stale{shard=\"0\"} 0",
    ] {
        assert!(metrics.lines().any(|known| known == line), "{line}\n{metrics}");
    }
    let config = metrics.lines().find(|line| line.starts_with("ringmesh_config_info{")).unwrap();
    assert!(config.contains("connections_max=\"") && config.contains("shards=\"2\""), "{config}");
    assert!(metrics.contains("process_resident_memory_bytes "));
    assert_eq!(bench.get("/nothing").0, 404);
    assert_eq!(bench.get("/").0, 200);
}

#[test]
fn heads_are_right() {
    let bench = Bench::new(1);
    let local = "Host: 127.0.0.1:9180\r\n";
    let answer = bench.request("HEAD", "/metrics", local);
    let head = answer.to_ascii_lowercase();
    assert_eq!((status(&answer), body(&answer)), (200, ""));
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{head}");
    assert!(head.contains("cache-control: no-store\r\n"), "{head}");
    let answer = bench.request("GET", "/status", local).to_ascii_lowercase();
    assert!(answer.contains("content-type: application/json\r\n"), "{answer}");
    let post = format!("{local}Content-Length: 3\r\n");
    let answer = bench
        .send(format!("POST /status HTTP/1.1\r\nConnection: close\r\n{post}\r\nabc").as_bytes());
    assert_eq!(status(&answer), 405);
    assert!(answer.to_ascii_lowercase().contains("allow: get, head\r\n"), "{answer}");
}

#[test]
fn foreign_hosts_and_origins_are_refused() {
    let bench = Bench::new(0);
    for (fields, expected) in [
        ("Host: evil.example\r\n", 403),
        ("Host: localhost.evil.example:80\r\n", 403),
        ("Host: localhost\r\nOrigin: http://evil.example\r\n", 403),
        ("Host: localhost\r\nHost: evil.example\r\n", 400),
        ("", 400),
        ("Host: ops.example\r\n", 200),
        ("Host: 10.1.2.3:9180\r\n", 200),
        ("Host: [::1]:9180\r\nOrigin: http://localhost:3000\r\n", 200),
    ] {
        assert_eq!(status(&bench.request("GET", "/livez", fields)), expected, "{fields}");
    }
    let foreign = b"GET http://evil.example/livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut stream = bench.connect();
    stream.write_all(foreign).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(status(&read_all(stream)), 403);
    let old = bench.send(b"GET /livez HTTP/1.0\r\n\r\n");
    assert_eq!(status(&old), 200);
}

#[test]
fn garbage_and_long_heads_get_an_answer() {
    let bench = Bench::new(0);
    assert_eq!(status(&bench.send(b"\x16\x03\x01\x02\x00\x01\x00 no http\r\n\r\n")), 400);
    let long = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    assert_eq!(status(&bench.send(long.as_bytes())), 431);
    let many = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "X: y\r\n".repeat(100));
    assert_eq!(status(&bench.send(many.as_bytes())), 431);
    assert_eq!(bench.get("/livez").0, 200);
}

#[test]
fn connections_are_bounded_and_come_free_again() {
    let bench = Bench::new(0);
    let ask = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut open = Vec::new();
    for _ in 0..admin::CONNECTIONS_MAX {
        let mut stream = bench.connect();
        stream.write_all(ask).unwrap();
        assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
        open.push(stream);
    }
    let mut one_more = bench.connect();
    let mut byte = [0];
    // Closed, or reset where the request came first.
    one_more.write_all(ask).ok();
    assert!(!matches!(one_more.read(&mut byte), Ok(1..)));
    open.pop();
    let start = Instant::now();
    loop {
        let mut stream = bench.connect();
        stream.write_all(ask).ok();
        if matches!(stream.read(&mut byte), Ok(1)) {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "no place came free");
    }
}

#[test]
fn slow_and_idle_clients_are_cut_off() {
    let ms = Duration::from_millis;
    let timeouts = Timeouts { head: ms(400), answer: ms(20_000), idle: ms(400) };
    let bench = Bench::with(0, timeouts);
    let start = Instant::now();
    let silent = bench.connect();
    let mut slow = bench.connect();
    let trickle = thread::spawn(move || {
        // A byte now and then buys no time.
        let head = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: ".iter();
        for byte in head.chain([b'x'; 1000].iter()) {
            if slow.write_all(&[*byte]).is_err() {
                return;
            }
            thread::sleep(ms(20));
        }
        panic!("a slow head was never cut off");
    });
    let mut idle = bench.connect();
    idle.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert_eq!(status(&read_all(idle)), 200);
    assert_eq!(read_all(silent), "");
    trickle.join().unwrap();
    assert!(start.elapsed() >= ms(400));
    let (_, metrics) = bench.get("/metrics");
    assert!(metrics.contains("ringmesh_admin_timed_out_total 3\n"), "{metrics}");
}

#[test]
fn a_kept_connection_serves_many_requests() {
    let bench = Bench::new(1);
    let mut stream = bench.connect();
    let ask = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for _ in 0..100 {
        stream.write_all(ask).unwrap();
        let (mut answer, mut buffer) = (Vec::new(), [0; 1024]);
        while !answer.ends_with(b"ok\n") {
            let count = stream.read(&mut buffer).unwrap();
            assert!(count > 0);
            answer.extend_from_slice(&buffer[..count]);
        }
    }
    // Pipelined, the last one asks to close.
    let last = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let requests = [&ask[..], ask, last].concat();
    stream.write_all(&requests).unwrap();
    assert_eq!(read_all(stream).matches("HTTP/1.1 200").count(), 3);
}

#[test]
fn a_mute_shard_is_shown_as_it_was_and_then_unready() {
    let bench = Bench::new(2);
    bench.until("/metrics", |m| m.contains("ringmesh_shard_stale{shard=\"1\"} 0"));
    bench.shards[1].mute.store(true, Ordering::Relaxed);
    let metrics = bench.until("/metrics", |m| m.contains("ringmesh_shard_stale{shard=\"1\"} 1"));
    assert!(metrics.contains("ringmesh_shard_stale{shard=\"0\"} 0"));
    assert!(metrics.contains("ringmesh_connections{shard=\"1\",transport=\"http\"} 3"));
    let reason = bench.until("/readyz", |reason| reason != "ok\n");
    assert_eq!(reason, "shard 1 does not answer\n");
    assert_eq!(bench.get("/livez").0, 200);
    bench.shards[1].mute.store(false, Ordering::Relaxed);
    bench.until("/readyz", |reason| reason == "ok\n");
}

#[test]
fn a_stuck_tick_fails_readiness_alone() {
    let bench = Bench::new(1);
    bench.shards[0].vital.begin_tick();
    let reason = bench.until("/readyz", |reason| reason != "ok\n");
    assert!(reason.starts_with("shard 0 has been within one tick for "), "{reason}");
    let (code, health) = bench.json("/health");
    assert_eq!((code, &health["status"]), (503, &"failing".into()));
    assert_eq!((&health["live"]["ok"], &health["ready"]["ok"]), (&true.into(), &false.into()));
    assert!(bench.get("/metrics").1.contains("ringmesh_shard_stuck_seconds{shard=\"0\"} "));
    bench.shards[0].vital.end_tick();
    bench.until("/readyz", |reason| reason == "ok\n");
}

#[test]
fn scrapes_at_once_share_a_snapshot() {
    let bench = Bench::new(1);
    bench.get("/metrics");
    thread::sleep(Duration::from_millis(300));
    let (before, start) = (bench.shards[0].asked.load(Ordering::Relaxed), Instant::now());
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| assert_eq!(bench.get("/metrics").0, 200));
        }
    });
    let asked = bench.shards[0].asked.load(Ordering::Relaxed) - before;
    // One each 100 ms at most, and one of the refresher.
    let bound = 2 + u64::try_from(start.elapsed().as_millis()).unwrap() / 100;
    assert!(asked <= bound, "{asked} questions, {bound} allowed");
}

#[test]
fn phases_show_and_the_thread_ends() {
    let mut bench = Bench::new(1);
    bench.state.set_draining();
    assert_eq!(bench.get("/readyz"), (503, "draining\n".into()));
    assert_eq!((bench.get("/livez").0, bench.get("/startupz").0), (200, 200));
    assert_eq!(bench.get("/health").0, 503);
    let start = Instant::now();
    loop {
        let summary: Value = serde_json::from_str(&bench.state.summary_json()).unwrap();
        if summary["phase"] == "draining" && summary["connections"] == 3 {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{summary}");
        thread::sleep(Duration::from_millis(20));
    }
    let idle = bench.connect();
    bench.state.set_stopped();
    bench.thread.take().unwrap().join().unwrap();
    assert_eq!(read_all(idle), "");
    assert!(TcpStream::connect(bench.admin).is_err());
    // The port is free at once, although connections of it may be in TIME_WAIT.
    TcpListener::bind(bench.admin).unwrap();
}

#[test]
fn a_port_in_use_is_an_error() {
    let bench = Bench::new(0);
    let error = TcpListener::bind(bench.admin).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert_eq!(bench.get("/livez").0, 200);
}

#[test]
fn too_low_a_memlock_limit_says_what_mends_it() {
    assert!(check_memlock(8 << 20).is_ok());
    let error = check_memlock(64 << 10).unwrap_err().to_string();
    assert!(error.contains("524288 bytes, the limit is 65536") && error.contains("ulimit -l"));
}
