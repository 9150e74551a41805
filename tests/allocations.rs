//! The whole server, from reap to submit: in its steady state a shard's thread allocates nothing
//! while it answers `add`.
//!
//! The server runs in this process, whose allocator counts what the shard's thread asks for between
//! two calls of a tool of our own. Whatever the shard does meanwhile counts, such as answering the
//! control plane, which asks every second.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::net::TcpListener;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ringmesh::{Call, Plan, Server, Tool};
use serde_json::json;
use support::{Client, call};

const CONNECTIONS: usize = 64;
const CALLS: u64 = 10_000;
/// Bytes of a request, as speed is measured with.
const REQUEST_BYTES: usize = 475;
/// Longer than the control plane takes from one question to the next.
const SPREAD: Duration = Duration::from_millis(2_500);
const TOOL_TIMEOUT: Duration = Duration::from_secs(60);

thread_local! {
    static COUNTED: Cell<bool> = const { Cell::new(false) };
}
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static FIRST: Mutex<Option<Backtrace>> = Mutex::new(None);

struct Counting;

// SAFETY: every method passes its arguments on to the system's allocator unchanged; the flag is a
// thread-local without destructor, so reaching it allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Counts, and keeps where the first one was asked for.
fn count() {
    if !COUNTED.get() {
        return;
    }
    if ALLOCATIONS.fetch_add(1, Ordering::SeqCst) == 0 {
        COUNTED.set(false);
        *FIRST.lock().expect("nobody panics with it") = Some(Backtrace::force_capture());
        COUNTED.set(true);
    }
}

fn server(plan: &Plan) -> Server {
    let mark = |counted: bool| {
        move |(): (), _: &Call<'_>| {
            COUNTED.set(counted);
            "marked"
        }
    };
    ringmesh::demo::install(Server::builder("allocations", "1"), TOOL_TIMEOUT)
        .tool(Tool::new("begin").inline(mark(true)))
        .tool(Tool::new("end").inline(mark(false)))
        .tool(Tool::new("allocates").inline(|(): (), call: &Call<'_>| call.unix_ms.to_string()))
        .build()
        .unwrap_or_else(|error| panic!("{error} in {plan}"))
}

/// Starts the server with one shard, and gives a client for each connection.
fn start() -> Vec<Client> {
    let mut plan = Plan::detect().expect("a plan");
    // Free for the moment, which is all that a program can know.
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address");
    (plan.http, plan.admin) = (vec![port], ([127, 0, 0, 1], 0).into());
    (plan.shards, plan.log) = (1, "warn".to_owned());
    thread::spawn(move || {
        let server = server(&plan);
        ringmesh::run(server, plan).unwrap_or_else(|error| panic!("{error}"));
    });
    (0..CONNECTIONS).map(|_| Client::connect(port)).collect()
}

/// A call of `add` with a sum of its own, padded to the size that is measured.
fn add(a: u64) -> Vec<u8> {
    let padded = |padding: usize| {
        let request = call("add", json!({"a": a, "b": 1})).id(a);
        request.header("User-Agent", &"x".repeat(padding)).bytes()
    };
    let bare = padded(0).len();
    padded(REQUEST_BYTES.checked_sub(bare).expect("it has room"))
}

fn ask(client: &mut Client, tool: &str) {
    client.ask(&call(tool, json!({})));
}

/// Has the calls answered, some on each connection at once, spread over a time.
fn run(clients: &mut [Client], requests: &[Vec<u8>], spread: Duration) {
    let started = Instant::now();
    for (round, requests) in requests.chunks(CONNECTIONS).enumerate() {
        for (client, request) in clients.iter_mut().zip(requests) {
            client.send(request);
        }
        for (client, at) in clients.iter_mut().zip(0..requests.len()) {
            let sum = (round * CONNECTIONS + at + 1).to_string();
            assert_eq!(client.answer().text(), sum);
        }
        let done = (round * CONNECTIONS) as f64 / CALLS as f64;
        thread::sleep(spread.mul_f64(done).saturating_sub(started.elapsed()));
    }
}

#[test]
fn ten_thousand_calls_on_64_connections_allocate_nothing() {
    let mut clients = start();
    let requests: Vec<Vec<u8>> = (0..CALLS).map(add).collect();
    assert!(requests.iter().all(|request| request.len() == REQUEST_BYTES));
    // Each connection is used a few times.
    run(&mut clients, &requests[..1_000], Duration::ZERO);

    ask(&mut clients[0], "begin");
    run(&mut clients, &requests, SPREAD);
    ask(&mut clients[0], "end");
    let counted = ALLOCATIONS.load(Ordering::SeqCst);
    let first = FIRST.lock().expect("nobody panics with it").take();
    assert_eq!(counted, 0, "the first: {}", first.map(|at| at.to_string()).unwrap_or_default());

    // It does count: a tool that allocates is seen.
    ask(&mut clients[0], "begin");
    ask(&mut clients[0], "allocates");
    ask(&mut clients[0], "end");
    assert!(ALLOCATIONS.load(Ordering::SeqCst) > 0);
}
