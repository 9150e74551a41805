//! The log: to standard error, through a thread, so that nobody who logs ever waits.

use std::io::{self, IsTerminal as _, Write as _};

use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Lines that wait for a slow reader of standard error; what comes then is dropped.
const LINES_MAX: usize = 8192;

/// The log's thread; dropping this writes out what waits, for a second at most.
pub(crate) struct Logs {
    writer: NonBlocking,
    _thread: WorkerGuard,
}

/// Starts the log with a filter that was checked. Where the program has set up tracing already,
/// that stays, and only [`Logs::say`] is new.
pub(crate) fn start(filter: &str) -> Logs {
    let (writer, thread) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(LINES_MAX)
        .thread_name("log")
        .finish(io::stderr());
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(writer.clone())
        .with_ansi(io::stderr().is_terminal())
        .finish();
    // An error says that one is set.
    tracing::subscriber::set_global_default(subscriber).ok();
    Logs { writer, _thread: thread }
}

impl Logs {
    /// Writes lines as they are, in order with the log.
    pub(crate) fn say(&self, lines: &str) {
        // It only queues; a full queue drops. One write, so that nothing comes in between.
        self.writer.clone().write_all(format!("{lines}\n").as_bytes()).ok();
    }
}
