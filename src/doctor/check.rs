//! A check: what was found, what it means for a server, and what mends it.

use super::host::Host;

/// What a check looks at.
pub(super) struct Look<'h> {
    pub(super) host: &'h Host,
    /// The connections that are wanted.
    pub(super) wanted: u64,
    /// Somebody asked for these, and no others.
    pub(super) asked: bool,
}

impl Look<'_> {
    /// Of what has no room for the connections that are wanted.
    pub(super) fn short(&self) -> State {
        if self.asked { State::Fail } else { State::Warn }
    }
}

/// `None` where there is nothing to look at on this machine.
pub(super) type Checking = fn(&Look<'_>) -> Option<Check>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    /// As it is, it neither hinders nor helps.
    Info,
    Ok,
    /// A server runs, but carries or does less than it could.
    Warn,
    /// No server runs, or not the one that is wanted.
    Fail,
}

impl State {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Check {
    pub(super) group: &'static str,
    pub(super) name: &'static str,
    pub(super) state: State,
    /// What was read.
    pub(super) found: String,
    /// What that means for a server.
    pub(super) means: String,
    /// A command, or what to do.
    pub(super) mend: Option<String>,
}

impl Check {
    pub(super) fn new(
        name: &'static str,
        state: State,
        found: impl Into<String>,
        means: impl Into<String>,
    ) -> Self {
        Self { group: "", name, state, found: found.into(), means: means.into(), mend: None }
    }

    /// With what makes it better, though it need not be.
    pub(super) fn advise(mut self, advice: impl Into<String>) -> Self {
        if self.state != State::Ok {
            self.mend = Some(advice.into());
        }
        self
    }

    /// With what mends it, which is told only where something is to mend.
    pub(super) fn mend(mut self, mend: impl Into<String>) -> Self {
        if self.state > State::Ok {
            self.mend = Some(mend.into());
        }
        self
    }

    pub(super) fn of(mut self, group: &'static str) -> Self {
        self.group = group;
        self
    }
}

/// A whole number with its thousands set apart.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A limit, which may be none.
pub(super) fn limit(number: u64) -> String {
    if number == u64::MAX { "unlimited".into() } else { grouped(number) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
        assert_eq!(limit(u64::MAX), "unlimited");
    }
}
