//! Connections take no descriptors of the process, and closed ones leave no socket behind.
//!
//! A program of its own: it counts what the whole process has.
#![expect(clippy::disallowed_methods, reason = "the clients are ordinary blocking sockets")]
#![expect(clippy::disallowed_types, reason = "the tests take turns")]

#[path = "kernel/harness.rs"]
#[expect(dead_code, reason = "the other test program uses more of it")]
mod harness;

use std::fs;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use ringmesh_ring::RingConfig;
use ringmesh_runtime::io::Io;

static TURN: Mutex<()> = Mutex::new(());

#[test]
fn connections_take_no_descriptors() {
    let _turn = TURN.lock();
    let mut server = harness::Harness::new(&RingConfig::default());
    let before = descriptors();
    let clients: Vec<_> = (0..500).map(|_| server.connect()).collect();
    for (_, conn) in &clients {
        server.ring.submit_recv(*conn);
    }
    server.turn();
    assert_eq!(descriptors(), before + clients.len(), "only the clients' ends");
}

/// On kernels before 6.13 the receive of the idle connection would keep them all.
#[test]
fn closed_connections_leave_no_sockets_behind() {
    const CLOSED: usize = 3_000;
    let _turn = TURN.lock();
    let mut server = harness::Harness::new(&RingConfig::default());
    let (_idle, conn) = server.connect();
    server.ring.submit_recv(conn);
    let before = sockets();
    for _ in 0..CLOSED {
        let (_client, conn) = server.connect();
        server.close(conn);
    }
    let start = Instant::now();
    // Others on this machine open sockets, too.
    while sockets() > before + CLOSED / 3 {
        assert!(start.elapsed() < Duration::from_secs(60), "{} of {before}", sockets());
        thread::sleep(Duration::from_millis(200));
        server.turn();
    }
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").expect("procfs").count()
}

/// Sockets of this network namespace that some file holds.
fn sockets() -> usize {
    let text = fs::read_to_string("/proc/net/sockstat").expect("procfs");
    let used = text.strip_prefix("sockets: used ").and_then(|rest| rest.lines().next());
    used.expect("a count").parse().expect("a number")
}
