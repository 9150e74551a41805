//! Why a server did not start, or did not stop well: one line and an exit code.

use crate::config::{ConfigError, one_line};

/// The command line is wrong (sysexits.h, `EX_USAGE`).
const EX_USAGE: u8 = 64;
/// A file that was named is wrong (sysexits.h, `EX_DATAERR`).
const EX_DATAERR: u8 = 65;
/// A file that was named cannot be read (sysexits.h, `EX_NOINPUT`).
const EX_NOINPUT: u8 = 66;
/// A service that is needed is not there (sysexits.h, `EX_UNAVAILABLE`): a port that is in use,
/// io_uring refused.
const EX_UNAVAILABLE: u8 = 69;
/// A bug, here or in a tool (sysexits.h, `EX_SOFTWARE`).
const EX_SOFTWARE: u8 = 70;
/// A file that the user named cannot be made (sysexits.h, `EX_CANTCREAT`).
const EX_CANTCREAT: u8 = 73;
/// Reading or writing failed: a disk that is full, standard input or output (sysexits.h, `EX_IOERR`).
const EX_IOERR: u8 = 74;
/// The client broke the protocol, so that it cannot go on (sysexits.h, `EX_PROTOCOL`).
const EX_PROTOCOL: u8 = 76;
/// A limit or a configuration that cannot work (sysexits.h, `EX_CONFIG`).
const EX_CONFIG: u8 = 78;

/// Why a server did not start, or did not stop well. The text is one line with the mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}")]
pub struct StartError {
    line: String,
    code: u8,
}

impl StartError {
    pub(crate) fn usage(line: impl std::fmt::Display) -> Self {
        Self { line: one_line(line.to_string()), code: EX_USAGE }
    }

    pub(crate) fn data(line: impl std::fmt::Display) -> Self {
        Self { line: one_line(line.to_string()), code: EX_DATAERR }
    }

    pub(crate) fn no_input(line: impl std::fmt::Display) -> Self {
        Self { line: one_line(line.to_string()), code: EX_NOINPUT }
    }

    pub(crate) fn unavailable(line: impl std::fmt::Display) -> Self {
        Self { line: one_line(line.to_string()), code: EX_UNAVAILABLE }
    }

    pub(crate) fn software(line: impl std::fmt::Display) -> Self {
        Self { line: one_line(line.to_string()), code: EX_SOFTWARE }
    }

    pub(crate) fn cannot_create(line: impl std::fmt::Display) -> Self {
        Self { line: one_line(line.to_string()), code: EX_CANTCREAT }
    }

    pub(crate) fn io(line: impl std::fmt::Display) -> Self {
        Self { line: one_line(line.to_string()), code: EX_IOERR }
    }

    pub(crate) fn protocol(line: impl std::fmt::Display) -> Self {
        Self { line: one_line(line.to_string()), code: EX_PROTOCOL }
    }

    pub(crate) fn limit(line: impl std::fmt::Display) -> Self {
        Self { line: one_line(line.to_string()), code: EX_CONFIG }
    }

    /// The exit code of a program that ends for this, of sysexits.h: 64 to 66, 69, 70, 74, 76 or 78.
    pub fn exit_code(&self) -> u8 {
        self.code
    }
}

impl From<ConfigError> for StartError {
    fn from(error: ConfigError) -> Self {
        Self { code: error.exit_code(), line: error.to_string() }
    }
}
