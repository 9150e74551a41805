//! The thread that writes standard output.

use std::fs::File;
use std::io::{PipeReader, Write as _};

use nix::errno::Errno;
use nix::poll::{PollFlags, PollTimeout};

use super::hub::{Hub, Written};
use super::reader::{Ready, errno_of, is_passing, wait};

/// Bytes of one write(2): where a pipe can be written at all, it takes so many without blocking
/// (PIPE_BUF, pipe(7)). So a reader that is slow is seen to make progress.
const STEP_BYTES: usize = 4096;

/// Writes chunks until the end, and closes the output then.
pub(super) fn write(hub: &Hub, mut output: File, stop: &PipeReader) {
    while let Some(chunk) = hub.next_chunk() {
        let result = write_some(&mut output, &chunk, stop);
        hub.wrote(Written { chunk, result });
    }
}

/// Writes as much as finds room, at least something.
fn write_some(output: &mut File, chunk: &[u8], stop: &PipeReader) -> Result<usize, Errno> {
    let mut written = 0;
    while written < chunk.len() {
        let patience = if written == 0 { PollTimeout::NONE } else { PollTimeout::ZERO };
        if wait(output, PollFlags::POLLOUT, stop, patience) != Ready::Yes {
            break;
        }
        let step = &chunk[written..chunk.len().min(written + STEP_BYTES)];
        match output.write(step) {
            Ok(taken) => written += taken,
            Err(error) if is_passing(&error) => {}
            // What was taken is told first; the next write fails as well.
            Err(_) if written > 0 => break,
            Err(error) => return Err(errno_of(&error)),
        }
    }
    Ok(written)
}
