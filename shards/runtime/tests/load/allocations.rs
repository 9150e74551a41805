//! In the steady state a tick of the role allocates nothing, whatever it speaks.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use ringmesh_proto::mcp::Version;
use ringmesh_runtime::load::script::{Kind, Trigger};

use crate::net::TESTED;
use crate::world::{
    Does, MS, S, Server, World, chunked, http, phase, result, script, scripted, shard, uri,
    workload,
};

thread_local! {
    /// What the role allocated on this thread: calls of the allocator, and bytes.
    static ALLOCATED: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

struct Counting;

fn count(bytes: usize) {
    if TESTED.get() {
        let (calls, sum) = ALLOCATED.get();
        ALLOCATED.set((calls + 1, sum + bytes as u64));
    }
}

// SAFETY: every method passes its arguments on to the system's allocator unchanged; the counters
// are thread-locals without destructors, so reaching them allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size.saturating_sub(layout.size()));
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Counts from 1.2 s to 1.9 s of a run: samples, which are given away, are made at whole seconds.
fn allocated(kind: Kind, depth: u16, piece: usize, server: impl FnOnce() -> World) -> u64 {
    let mut world = server();
    world.net.borrow_mut().piece = piece;
    assert!(!world.run_until(1_200 * MS));
    ALLOCATED.set((0, 0));
    assert!(!world.run_until(1_900 * MS));
    let (calls, _) = ALLOCATED.get();
    let total = world.run();
    total.assert_clean();
    let sum = &total.workloads[0];
    assert!(sum.answered + sum.updates > 100, "{kind:?} at depth {depth} did something");
    calls
}

#[test]
fn the_steady_state_allocates_nothing() {
    let session = Kind::HttpSession { version: Version::V2025_11_25, stream: true };
    let lines = Kind::LinesSession { version: Version::V2025_11_25 };
    let listen = Kind::Listen { uris: vec![uri(0), uri(1)] };
    for kind in [Kind::Http, session, lines, Kind::Lines, listen] {
        for (depth, piece) in [(1, 0), (4, 0), (2, 150)] {
            let made = allocated(kind.clone(), depth, piece, || {
                let mut spec = workload(kind.clone());
                spec.depth = depth;
                let mut hold = phase(2 * S, (8, 8), 400.0);
                if matches!(kind, Kind::Listen { .. }) {
                    hold.trigger = Some(Trigger { every_ns: 20 * MS, tool: "count".into() });
                }
                let speaks_lines = matches!(kind, Kind::Lines | Kind::LinesSession { .. });
                let phases = vec![phase(500 * MS, (0, 8), 0.0), hold];
                World::new(script(vec![spec], 8, phases), 1, shard(speaks_lines))
            });
            assert_eq!(made, 0, "{kind:?} at depth {depth} in pieces of {piece}");
        }
    }
}

#[test]
fn answers_in_events_and_chunks_allocate_nothing() {
    let ways: [fn(&str) -> String; 2] = [
        |good| chunked("text/event-stream", &[&format!(":\n\ndata: {good}\n\n")]) + "0\r\n\r\n",
        |good| {
            chunked("application/json", &good.split_inclusive(',').collect::<Vec<_>>())
                + "0\r\n\r\n"
        },
    ];
    for way in ways {
        for piece in [0, 40] {
            let made = allocated(Kind::Http, 1, piece, || {
                let server =
                    scripted(move |_, request| Does::Says(way(&result(request)).into_bytes()));
                let phases = vec![phase(2 * S, (4, 4), 200.0)];
                World::new(script(vec![workload(Kind::Http)], 4, phases), 1, server)
            });
            assert_eq!(made, 0, "in pieces of {piece}");
        }
    }
}

#[test]
fn a_client_at_rest_owns_nothing_but_its_slot() {
    // A thousand clients connect, call once and rest.
    let seats = 1_000;
    let phases = vec![phase(900 * MS, (0, seats), 0.0), phase(2 * S, (seats, seats), 0.0)];
    let mut script = script(vec![workload(Kind::Http)], seats, phases);
    script.first_call = true;
    let server = scripted(|_, request| Does::Says(http("200 OK", &result(request))));
    let mut world = World::new(script, 1, server);
    ALLOCATED.set((0, 0));
    assert!(!world.run_until(899 * MS));
    let (_, bytes) = ALLOCATED.get();
    // A timer's 24 bytes and a place in the queue of those that are ready, twice for their growth.
    assert!(bytes / u64::from(seats) < 150, "{bytes}");
    assert!(matches!(world.server, Server::Script(..)));
    world.run().assert_clean();
}
