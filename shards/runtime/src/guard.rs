//! Tells the code of tools from ours: a panic in theirs is caught and answered, one in ours ends
//! the process.
//!
//! One flag lives once per thread. The process-wide panic hook asks [`in_tool`] and aborts where
//! it says no. Shards and pools run every handler, poll every future and drop what handlers own
//! inside [`enter`]. Left out: threads that a tool starts itself are not marked.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static IN_TOOL: Cell<bool> = const { Cell::new(false) };
}

/// A tool's code panicked: its message, where the payload held one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Panicked(pub String);

/// Whether this thread runs a tool's code now.
pub fn in_tool() -> bool {
    IN_TOOL.get()
}

/// Declares that this thread runs nothing but tools until it ends, such as a worker of a runtime
/// that tools spawn their own tasks on.
pub fn dedicate_thread() {
    IN_TOOL.set(true);
}

/// Runs a tool's code. Allocates nothing unless it panics.
///
/// # Errors
/// [`Panicked`] where it did. What the code was changing may be left half changed: the caller
/// uses nothing that it touched but by overwriting it.
pub fn enter<T>(code: impl FnOnce() -> T) -> Result<T, Panicked> {
    let before = IN_TOOL.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(code)).map_err(Panicked::new);
    IN_TOOL.set(before);
    outcome
}

impl Panicked {
    /// Called inside the tool: dropping the payload runs its code too.
    #[cold]
    fn new(payload: Box<dyn Any + Send>) -> Self {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        if let Err(second) = catch_unwind(AssertUnwindSafe(move || drop(payload))) {
            #[expect(clippy::mem_forget, reason = "its drop could panic again, without end")]
            std::mem::forget(second);
        }
        Self(text.unwrap_or_else(|| "no message".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(in_tool(), "the drop of a payload is the tool's code");
            std::panic::panic_any(Self);
        }
    }

    #[test]
    fn marks_the_thread_while_the_code_runs() {
        assert!(!in_tool());
        assert_eq!(enter(in_tool), Ok(true));
        assert!(!in_tool());
        let nested = enter(|| (enter(in_tool), in_tool()));
        assert_eq!(nested, Ok((Ok(true), true)));
        assert!(!in_tool());
    }

    #[test]
    fn catches_a_panic_with_its_message() {
        assert_eq!(enter(|| panic!("literal")), Err::<(), _>(Panicked("literal".into())));
        let number = 7;
        assert_eq!(enter(|| panic!("n={number}")), Err::<(), _>(Panicked("n=7".into())));
        let unnamed = enter(|| std::panic::panic_any(7_u8));
        assert_eq!(unnamed, Err::<(), _>(Panicked("no message".into())));
        assert!(!in_tool());
    }

    #[test]
    fn survives_a_payload_whose_drop_panics() {
        let outcome = enter(|| std::panic::panic_any(Bomb));
        assert_eq!(outcome, Err::<(), _>(Panicked("no message".into())));
        assert!(!in_tool());
    }

    #[test]
    fn a_dedicated_thread_stays_marked() {
        let marked = std::thread::spawn(|| {
            dedicate_thread();
            let inside = enter(|| panic!("tool")).is_err_and(|_: Panicked| in_tool());
            (inside, in_tool())
        });
        assert_eq!(marked.join().expect("joined"), (true, true));
        assert!(!in_tool());
    }
}
