//! What is wrong with a configuration, as the one line that a user gets.

/// Exit code for a wrong command line (sysexits.h, `EX_USAGE`).
pub(crate) const EX_USAGE: u8 = 64;
/// Exit code for a configuration or limits that cannot work (sysexits.h, `EX_CONFIG`).
pub(crate) const EX_CONFIG: u8 = 78;

/// A configuration that cannot work: one line with the place, what is wrong and the mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}")]
pub struct ConfigError {
    line: String,
    code: u8,
}

impl ConfigError {
    /// A wrong flag.
    pub(crate) fn usage(line: impl Into<String>) -> Self {
        Self { line: one_line(line.into()), code: EX_USAGE }
    }

    /// A wrong file, or a limit that is too low.
    pub(crate) fn config(line: impl Into<String>) -> Self {
        Self { line: one_line(line.into()), code: EX_CONFIG }
    }

    /// The exit code of a program that ends for this, of sysexits.h: 64 or 78.
    pub fn exit_code(&self) -> u8 {
        self.code
    }
}

/// Values are quoted from files and flags, which may hold anything.
pub(crate) fn one_line(text: String) -> String {
    if text.contains(char::is_control) { text.replace(char::is_control, " ") } else { text }
}
