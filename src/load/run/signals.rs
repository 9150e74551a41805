//! SIGINT and SIGTERM of a run: the first asks for its end, the second for its end at once, the
//! third ends the process as it is.

use std::io::{self, Read as _};
use std::os::unix::net::UnixStream;
use std::process;
use std::thread;

use crossbeam::channel::Sender;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

use super::{EXIT_INTERRUPTED, News};

/// Tells each signal to `news`, from a thread of its own.
///
/// # Errors
/// What socketpair(2), sigaction(2) or the start of a thread report.
pub(crate) fn watch(news: Sender<News>) -> io::Result<()> {
    let (mut wakes, told) = UnixStream::pair()?;
    for signal in [SIGINT, SIGTERM] {
        pipe::register(signal, told.try_clone()?)?;
    }
    let listen = move || {
        for count in 1.. {
            if wakes.read_exact(&mut [0]).is_err() {
                return;
            }
            if count > 2 || news.send(News::Signal).is_err() {
                process::exit(EXIT_INTERRUPTED.into());
            }
        }
    };
    thread::Builder::new().name("signals".into()).spawn(listen).map(|_| ())
}
