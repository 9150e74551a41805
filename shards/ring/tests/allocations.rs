//! In its steady state a ring allocates nothing: accepts, receives, sends and closes included.
//!
//! A program of its own, since it counts through the global allocator.
#![expect(clippy::disallowed_methods, reason = "the client is an ordinary blocking socket")]

#[path = "kernel/harness.rs"]
#[expect(dead_code, reason = "the other test program uses more of it")]
mod harness;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

use ringmesh_ring::drive;
use ringmesh_runtime::Next;
use ringmesh_runtime::io::{Completion, ConnId, Io, SendBuf};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn the_steady_state_allocates_nothing() {
    const CONNECTIONS: u64 = 200;
    const MESSAGES: u64 = 20;
    let mut server = harness::Harness::new(&harness::small());
    let address = server.address;
    let load = thread::spawn(move || {
        for _ in 0..CONNECTIONS {
            let mut client = TcpStream::connect(address).expect("the listener");
            for _ in 0..MESSAGES {
                client.write_all(&[1; 500]).expect("an open connection");
                client.read_exact(&mut [0; 500]).expect("an echo");
            }
        }
    });
    // More than one: a client may go on before the completion of its answer is reaped.
    let mut spare: Vec<Vec<u8>> = (0..16).map(|_| Vec::with_capacity(4096)).collect();
    let mut generation = 0;
    let mut closed = 0;
    let mut warm = 0;
    drive(&mut server.ring, |ring, completions| {
        for completion in completions.drain(..) {
            match completion {
                Completion::Accepted { listener, ticket, result } => {
                    ring.submit_accept(listener, ticket);
                    generation += 1;
                    let slot = result.expect("a free slot").0;
                    ring.submit_recv(ConnId { slot, generation });
                }
                Completion::Received { conn, result: Ok(Some(buffer)), more } => {
                    assert!(more);
                    let mut bytes = spare.pop().expect("a spare buffer");
                    bytes.extend_from_slice(ring.bytes(&buffer));
                    ring.recycle(buffer);
                    ring.submit_send(conn, SendBuf::Pooled(bytes), 0);
                }
                Completion::Received { conn, .. } => ring.submit_close(conn),
                Completion::Sent { buf: SendBuf::Pooled(mut bytes), .. } => {
                    bytes.clear();
                    spare.push(bytes);
                }
                Completion::Closed { .. } => closed += 1,
                other => panic!("{other:?}"),
            }
        }
        if closed == CONNECTIONS / 10 && warm == 0 {
            warm = ALLOCATIONS.get();
        }
        if closed == CONNECTIONS { Next::Done } else { Next::Wait { until_ns: None } }
    });
    load.join().expect("the load");
    assert_eq!(ALLOCATIONS.get() - warm, 0);
}
