//! Doorbells, deadlines, and when the kernel is not entered.

use std::thread;
use std::time::{Duration, Instant};

use ringmesh_ring::{Doorbell, Ring};
use ringmesh_runtime::io::{Completion, Io};

use crate::harness::{Harness, small};

const LONG: Duration = Duration::from_secs(30);

fn is_rung(completion: &Completion) -> bool {
    matches!(completion, Completion::Rung)
}

fn wait_for_ring(ring: &mut Ring) {
    let start = Instant::now();
    let mut completions = Vec::new();
    while !completions.iter().any(is_rung) {
        assert!(start.elapsed() < LONG, "not rung");
        ring.wait(None);
        ring.reap(&mut completions);
    }
}

#[test]
fn a_doorbell_wakes_a_waiting_ring_again_and_again() {
    let mut ring = Ring::new(&small()).expect("tests need io_uring");
    let doorbell = ring.doorbell();
    let (woken, next) = std::sync::mpsc::channel();
    let ringer = thread::spawn(move || {
        for () in next {
            // Usually the ring waits by now; either way the ring must not be lost.
            thread::sleep(Duration::from_millis(2));
            doorbell.clone().ring();
        }
    });
    for _ in 0..200 {
        woken.send(()).unwrap();
        wait_for_ring(&mut ring);
    }
    drop(woken);
    ringer.join().unwrap();
}

#[test]
fn a_ring_before_the_wait_is_kept() {
    let doorbell = Doorbell::new().unwrap();
    doorbell.ring();
    let mut ring = Ring::with_doorbell(&small(), doorbell.clone()).expect("tests need io_uring");
    wait_for_ring(&mut ring);
    for _ in 0..100 {
        doorbell.ring();
        wait_for_ring(&mut ring);
    }
    drop(ring);
    doorbell.ring();
}

#[test]
fn rings_from_many_threads_all_wake() {
    let mut ring = Ring::new(&small()).expect("tests need io_uring");
    let bells: Vec<_> = (0..4).map(|_| ring.doorbell()).collect();
    let ringers: Vec<_> = bells
        .into_iter()
        .map(|bell| thread::spawn(move || (0..5_000).for_each(|_| bell.ring())))
        .collect();
    while !ringers.iter().all(thread::JoinHandle::is_finished) {
        let soon = ring.time().mono_ns + 1_000_000;
        ring.wait(Some(soon));
        ring.reap(&mut Vec::new());
    }
    ring.poll();
    ring.reap(&mut Vec::new());
    ring.doorbell().ring();
    wait_for_ring(&mut ring);
}

#[test]
fn a_wait_ends_at_its_deadline_and_sleeps_until_then() {
    let mut server = Harness::new(&small());
    server.turn();
    let enters = server.ring.counters().enters;
    let start = Instant::now();
    let until_ns = server.ring.time().mono_ns + 100_000_000;
    while server.ring.time().mono_ns < until_ns {
        server.ring.wait(Some(until_ns));
    }
    assert!(start.elapsed() >= Duration::from_millis(95), "{:?}", start.elapsed());
    assert!(start.elapsed() < LONG);
    assert!(server.ring.counters().enters - enters < 20, "it slept");
    server.ring.wait(Some(0));
}

#[test]
fn an_idle_poll_does_not_enter_the_kernel() {
    let mut server = Harness::new(&small());
    let (_client, conn) = server.connect();
    server.ring.submit_recv(conn);
    server.turn();
    let enters = server.ring.counters().enters;
    for _ in 0..1_000 {
        server.ring.poll();
    }
    assert_eq!(server.ring.counters().enters, enters);
}

#[test]
fn a_poll_sees_what_came_without_waiting() {
    let mut server = Harness::new(&small());
    let doorbell = server.ring.doorbell();
    server.turn();
    doorbell.ring();
    let start = Instant::now();
    let mut completions = Vec::new();
    while !completions.iter().any(is_rung) {
        assert!(start.elapsed() < LONG, "not rung");
        server.ring.poll();
        server.ring.reap(&mut completions);
    }
}
