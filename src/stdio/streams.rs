//! Taking standard input and output away from everybody else in the process.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};

use nix::unistd::{dup2_stdin, dup2_stdout};

/// The two ends of the client's connection. Children of this process do not inherit them.
#[derive(Debug)]
pub(crate) struct Streams {
    pub(super) input: OwnedFd,
    pub(super) output: OwnedFd,
}

impl Streams {
    /// Takes both for good. From now on standard input is empty for everybody else, and what
    /// somebody prints goes to standard error: a tool that prints must not break the protocol.
    ///
    /// # Errors
    /// What dup(2) or the opening of /dev/null report.
    pub(crate) fn take() -> io::Result<Self> {
        // What was printed before would come later, to another place.
        io::stdout().flush().ok();
        let input = io::stdin().as_fd().try_clone_to_owned()?;
        let output = io::stdout().as_fd().try_clone_to_owned()?;
        dup2_stdin(File::open("/dev/null")?)?;
        dup2_stdout(io::stderr())?;
        Ok(Self { input, output })
    }

    #[cfg(test)]
    pub(super) fn of(input: impl Into<OwnedFd>, output: impl Into<OwnedFd>) -> Self {
        Self { input: input.into(), output: output.into() }
    }
}
