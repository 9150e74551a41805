//! SIGTERM and SIGINT: the first one stops gracefully, the second ends at once.
//!
//! SIGHUP keeps its default (it ends the process at once, unless nohup(1) had it ignored); SIGPIPE
//! is ignored, as in every Rust program.

use std::io::{self, Read as _};
use std::os::unix::net::UnixStream;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{flag, low_level};

/// What a shell reports for a process that a signal ended: this plus the signal's number.
const EXIT_BY_SIGNAL: i32 = 128;

/// Calls `on_first` on a thread of its own at the first SIGTERM or SIGINT.
///
/// # Errors
/// What socketpair(2), sigaction(2) or the start of a thread report.
pub(crate) fn watch(on_first: impl FnOnce(&'static str) + Send + 'static) -> io::Result<()> {
    let (mut wakes, pipe) = UnixStream::pair()?;
    let last = Arc::new(AtomicUsize::new(0));
    for signal in [SIGINT, SIGTERM] {
        // Handlers run in this order: whoever is woken finds the number.
        let number = usize::try_from(signal).expect("a small positive number");
        flag::register_usize(signal, last.clone(), number)?;
        low_level::pipe::register(signal, pipe.try_clone()?)?;
    }
    let wait = move || {
        if wait_for_byte(&mut wakes).is_ok() {
            on_first(name(last.load(Ordering::SeqCst)));
        }
        if wait_for_byte(&mut wakes).is_ok() {
            let number = i32::try_from(last.load(Ordering::SeqCst)).unwrap_or(SIGTERM);
            process::exit(EXIT_BY_SIGNAL + number);
        }
    };
    thread::Builder::new().name("signals".into()).spawn(wait)?;
    Ok(())
}

fn wait_for_byte(wakes: &mut UnixStream) -> io::Result<()> {
    wakes.read_exact(&mut [0])
}

fn name(number: usize) -> &'static str {
    match i32::try_from(number) {
        Ok(SIGINT) => "SIGINT",
        _ => "SIGTERM",
    }
}
