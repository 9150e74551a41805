//! The thread that reads standard input, and how both threads wait for their descriptor.

use std::fs::File;
use std::io::{self, ErrorKind, PipeReader, Read as _};
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::hub::{Arrival, Hub};

/// Reads while the shard wants it, until the end of the input or of the server.
pub(super) fn read(hub: &Hub, mut input: File, stop: &PipeReader) {
    while let Some((id, mut bytes)) = hub.next_room() {
        // A read that began could not be called back: it begins when there is something.
        match wait(&input, PollFlags::POLLIN, stop, PollTimeout::NONE) {
            Ready::Yes if hub.is_wanted() => {}
            Ready::Yes | Ready::No => {
                hub.give_back((id, bytes));
                continue;
            }
            Ready::Stop => return,
        }
        match input.read(&mut bytes) {
            Ok(0) => return hub.arrive(Arrival::End),
            Ok(len) => {
                let len = u32::try_from(len).expect("a buffer is below 4 GiB");
                hub.arrive(Arrival::Bytes((id, bytes), len));
            }
            Err(error) if is_passing(&error) => hub.give_back((id, bytes)),
            Err(error) => return hub.arrive(Arrival::Failed(errno_of(&error))),
        }
    }
}

/// What came of waiting for a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ready {
    /// It can be read or written, or that tells what is wrong with it.
    Yes,
    /// Out of time.
    No,
    /// The server ends.
    Stop,
}

/// Waits for a descriptor, however it is set up: others may have made it non-blocking.
pub(super) fn wait(
    fd: &impl AsFd,
    what: PollFlags,
    stop: &PipeReader,
    patience: PollTimeout,
) -> Ready {
    loop {
        let mut fds =
            [PollFd::new(fd.as_fd(), what), PollFd::new(stop.as_fd(), PollFlags::empty())];
        match poll(&mut fds, patience) {
            // The other end of the pipe is closed.
            Ok(_) if fds[1].any() != Some(false) => return Ready::Stop,
            Ok(0) => return Ready::No,
            // What cannot be waited for tells why when it is used.
            Ok(_) => return Ready::Yes,
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(_) => return Ready::Yes,
        }
    }
}

/// Interrupted, or another process was quicker.
pub(super) fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock)
}

pub(super) fn errno_of(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}
