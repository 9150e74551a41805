//! Panics: a tool's is logged and unwinds to whoever called it, ours ends the process.
//!
//! A shard that limps on after a bug would hold its clients and answer nobody.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::Write as _;
use std::panic::{self, PanicHookInfo};
use std::process;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use ringmesh_runtime::guard;

use crate::config::one_line;

/// How long the last words may take where nobody reads standard error.
const LAST_WORDS_MAX: Duration = Duration::from_secs(1);

/// Installs the hook, for the whole process and for good.
pub(crate) fn install() {
    panic::set_hook(Box::new(|info| if guard::in_tool() { log(info) } else { abort(info) }));
}

fn log(info: &PanicHookInfo<'_>) {
    // Whoever catches it knows the tool's name and answers with it.
    tracing::error!(at = place(info), message = message(info), "a tool panicked");
}

fn abort(info: &PanicHookInfo<'_>) {
    let thread = thread::current();
    let mut words = format!(
        "ringmesh: bug: thread {} panicked at {}: {}: aborting",
        thread.name().unwrap_or("(unnamed)"),
        place(info),
        message(info),
    );
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        words = format!("{words}\n{backtrace}");
    }
    say(words);
    process::abort()
}

/// Writes to standard error, but does not wait for a reader that is stuck.
fn say(words: String) {
    let (said, done) = mpsc::channel();
    let speak = move || {
        writeln!(std::io::stderr(), "{words}").ok();
        said.send(()).ok();
    };
    if thread::Builder::new().name("last-words".into()).spawn(speak).is_ok() {
        done.recv_timeout(LAST_WORDS_MAX).ok();
    }
}

fn place(info: &PanicHookInfo<'_>) -> String {
    info.location().map_or_else(|| "an unknown place".into(), ToString::to_string)
}

fn message(info: &PanicHookInfo<'_>) -> String {
    let payload = info.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    one_line(text.unwrap_or("no message").to_owned())
}
