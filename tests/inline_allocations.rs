//! An inline tool allocates nothing between its call and its answer.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use ringmesh::{Answer, Call, Ending, Server, Tool};
use ringmesh_proto::mcp::Params;
use ringmesh_runtime::call::{NoteError, Notes, Progress, StateKey};
use ringmesh_runtime::catalog::Handler;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Number;

thread_local! {
    /// Allocations of this thread: the harness has threads of its own.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every method passes its arguments on to the system's allocator unchanged; the counter
// is a thread-local without destructor, so reaching it allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct NoNotes;

impl Notes for NoNotes {
    fn note(&self, _: Vec<u8>) -> Result<(), NoteError> {
        Ok(())
    }
}

#[derive(Deserialize, JsonSchema)]
struct Integers {
    a: i64,
    b: i64,
}

#[derive(Deserialize, JsonSchema)]
struct Numbers {
    a: Number,
    b: Number,
}

fn server() -> Server {
    Server::builder("s", "1")
        .tool(Tool::new("integers").inline(|Integers { a, b }: Integers, _: &Call<'_>| {
            a.checked_add(b).ok_or("too large")
        }))
        .tool(Tool::new("numbers").inline(|Numbers { a, b }: Numbers, _: &Call<'_>| {
            let sum = a.as_f64().zip(b.as_f64()).and_then(|(a, b)| Number::from_f64(a + b));
            sum.ok_or("not finite")
        }))
        .build()
        .expect("a valid server")
}

#[test]
fn numbers_in_and_a_number_out_allocate_nothing() {
    let published = server().published();
    let catalog = published.load();
    let (key, progress) = (StateKey::from_secret(b"test"), Progress::default());
    let mut answer = Answer::default();
    for name in ["integers", "numbers"] {
        let Handler::Inline(code) = &catalog.tool(name).expect("the tool").handler else {
            panic!("not inline");
        };
        let text = format!(r#"{{"name":"{name}","arguments":{{"a":12,"b":30}}}}"#);
        let raw = serde_json::from_str(&text).expect("JSON");
        let params = Params::parse(raw).expect("parameters");
        let call = Call::detached(("tools/call", name), &params, 0, &key, &NoNotes, &progress);
        // The first call gives the answer its memory, which the shard keeps.
        code(&call, &mut answer);
        let before = ALLOCATIONS.get();
        for _ in 0..1_000 {
            answer.clear();
            code(&call, &mut answer);
        }
        assert_eq!(ALLOCATIONS.get() - before, 0, "{name}");
        assert_eq!(answer.ending(), Ending::Complete);
        assert!(answer.members().starts_with(br#""content":[{"type":"text","text":"42"#));
    }
}
