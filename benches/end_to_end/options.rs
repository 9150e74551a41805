//! The command line, as far as it is shared with criterion's.

use std::time::Duration;

/// sysexits: the command line is wrong.
pub(crate) const EX_USAGE: u8 = 64;

/// Under this name a run is saved that is given none.
const LATEST: &str = "latest";
const TIME: Duration = Duration::from_secs(3);
const ROUNDS: u32 = 3;
/// Of a smoke run: enough for every connection to be answered.
const TEST_TIME: Duration = Duration::from_millis(100);
const SECONDS_MAX: u64 = 3_600;
const ROUNDS_MAX: u64 = 1_000;

#[derive(Debug, PartialEq)]
pub(crate) struct Options {
    /// Whether all works, not how fast: short runs, nothing saved.
    pub(crate) test: bool,
    /// Names what would run, and no more.
    pub(crate) list: bool,
    /// Of a run of one level.
    pub(crate) time: Duration,
    /// Runs of each level.
    pub(crate) rounds: u32,
    /// Compared with.
    pub(crate) baseline: Option<String>,
    save: Option<String>,
    filter: Option<String>,
}

impl Options {
    /// Reads the arguments. Without cargo's `--bench`, as `cargo test --benches` starts it, it is a
    /// smoke run.
    ///
    /// # Errors
    /// One line that says what is wrong, and the mend.
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut bench, mut test, mut list) = (false, false, false);
        let (mut seconds, mut rounds) = (None, None);
        let (mut baseline, mut save, mut filter) = (None, None, None);
        while let Some(argument) = arguments.next() {
            let mut value = |what| arguments.next().ok_or(format!("{argument} needs {what}"));
            match argument.as_str() {
                "--bench" => bench = true,
                "--test" => test = true,
                "--list" => list = true,
                "--seconds" => seconds = Some(number(&value("a number")?, SECONDS_MAX)?),
                "--rounds" => rounds = Some(number(&value("a number")?, ROUNDS_MAX)?),
                "--baseline" => baseline = Some(plain(value("a name")?)?),
                "--save-baseline" => save = Some(plain(value("a name")?)?),
                flag if flag.starts_with('-') => {
                    return Err(format!(
                        "{flag} is not known here: if it is criterion's, \
                         cargo bench --bench micro -- {flag}"
                    ));
                }
                _ if filter.is_some() => return Err(format!("a second filter, {argument}")),
                _ => filter = Some(argument),
            }
        }
        let test = test || !bench;
        let (time, runs) = if test { (TEST_TIME, 1) } else { (TIME, ROUNDS) };
        Ok(Self {
            test,
            list,
            time: seconds.map_or(time, Duration::from_secs),
            rounds: rounds.and_then(|rounds| u32::try_from(rounds).ok()).unwrap_or(runs),
            baseline,
            save,
            filter,
        })
    }

    /// Whether the filter, a part of a name, takes this bench.
    pub(crate) fn takes(&self, name: &str) -> bool {
        self.filter.as_deref().is_none_or(|part| name.contains(part))
    }

    /// What the run is saved as.
    pub(crate) fn name(&self) -> &str {
        self.save.as_deref().unwrap_or(LATEST)
    }
}

fn number(text: &str, max: u64) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| (1..=max).contains(number));
    number.ok_or_else(|| format!("{text:?} is no number from 1 to {max}"))
}

/// It becomes the name of a file.
fn plain(name: String) -> Result<String, String> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if !name.is_empty() && !name.starts_with('.') && name.bytes().all(good) {
        return Ok(name);
    }
    Err(format!("{name:?} is no name of a baseline: letters, digits, - _ and . name one"))
}
