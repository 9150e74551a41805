//! Reading a scenario: each error with its line, its key and, for a misspelt one, what was meant.

use std::fmt::Display;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::text::Scenario;
use crate::boot::StartError;
use crate::config::line_and_column;

/// A file this long is a mistake.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Words further apart than this are different words.
const TYPOS_MAX: usize = 2;

/// A scenario, and where it came from.
#[derive(Debug)]
pub(super) struct File {
    pub(super) scenario: Scenario,
    path: PathBuf,
    text: String,
}

impl File {
    /// Reads a file.
    ///
    /// # Errors
    /// 66 where it cannot be read, 65 where it is no scenario.
    pub(super) fn read(path: &Path) -> Result<Self, StartError> {
        let unreadable = |what: &dyn Display| {
            StartError::no_input(format!("{}: cannot read the scenario: {what}", path.display()))
        };
        let about = fs::metadata(path).map_err(|error| unreadable(&error))?;
        if about.len() > FILE_BYTES_MAX {
            return Err(unreadable(&"it is longer than 1 MiB"));
        }
        let text = fs::read_to_string(path).map_err(|error| unreadable(&error))?;
        Self::parse(path, text)
    }

    /// Parses the text of the file `path`.
    pub(super) fn parse(path: &Path, text: String) -> Result<Self, StartError> {
        let scenario = toml::from_str(&text).map_err(|error: toml::de::Error| {
            let span = error.span().unwrap_or(0..0);
            let message = explain(error.message(), key_before(&text, span.start));
            wrong(path, &text, &span, message)
        })?;
        Ok(Self { scenario, path: path.to_path_buf(), text })
    }

    /// The file's name, without its ending.
    pub(super) fn name(&self) -> String {
        self.path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
    }

    /// An error about a part of the text.
    pub(super) fn wrong(&self, span: &Range<usize>, message: impl Display) -> StartError {
        wrong(&self.path, &self.text, span, message)
    }

    /// An error about the whole.
    pub(super) fn wrong_in_all(&self, message: impl Display) -> StartError {
        StartError::data(format!("{}: {message}", self.path.display()))
    }
}

fn wrong(path: &Path, text: &str, span: &Range<usize>, message: impl Display) -> StartError {
    let (line, column) = line_and_column(text, span.start);
    StartError::data(format!("{}:{line}:{column}: {message}", path.display()))
}

/// The key whose value begins at `at`, if one stands before it on its line.
fn key_before(text: &str, at: usize) -> Option<&str> {
    let before = text.get(..at)?.rsplit('\n').next()?;
    let before = before.trim_end().trim_end_matches(['[', '"', '\'']).trim_end();
    let before = before.strip_suffix('=')?.trim_end();
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let start = before.rfind(|c| !bare(c)).map_or(0, |other| other + 1);
    before.get(start..).filter(|key| !key.is_empty())
}

/// Turns serde's words into the user's, with a mend.
fn explain(message: &str, key: Option<&str>) -> String {
    let quoted = || message.split('`').skip(1).step_by(2);
    if message.starts_with("unknown field ") || message.starts_with("unknown variant ") {
        let what = if message.starts_with("unknown field") { "unknown key" } else { "unknown" };
        let what = match (what, key) {
            ("unknown", Some(key)) => format!("{key} = "),
            (what, _) => format!("{what} "),
        };
        let mut words = quoted();
        let given = words.next().unwrap_or_default();
        let known: Vec<&str> = words.collect();
        return format!("{what}`{given}`: {}", advice(given, &known));
    }
    let message = message
        .replace("missing field", "a key is missing:")
        .replace("expected u32", "write a whole number from 0 to 4294967295")
        .replace("expected u64", "write a whole number, 0 or more");
    match key {
        Some(key) => format!("{key}: {message}"),
        None => message,
    }
}

/// What was meant, or all that is known.
pub(crate) fn advice(given: &str, known: &[&str]) -> String {
    let near = known.iter().map(|word| (distance(given, word), word)).min();
    match near {
        Some((typos, word)) if typos <= TYPOS_MAX.min(given.chars().count() / 3) => {
            format!("did you mean `{word}`?")
        }
        _ => format!("known are {}", known.join(", ")),
    }
}

/// Letters to insert, remove, replace or swap with the next (Damerau and Levenshtein, no letter
/// touched twice); `_` and `-` are one.
fn distance(a: &str, b: &str) -> usize {
    let plain = |text: &str| text.replace('-', "_").to_lowercase();
    let (a, b): (Vec<char>, Vec<char>) = (plain(a).chars().collect(), plain(b).chars().collect());
    let first: Vec<usize> = (0..=b.len()).collect();
    let mut rows = vec![first];
    for i in 0..a.len() {
        let mut row = vec![i + 1];
        for j in 0..b.len() {
            let replaced = rows[i][j] + usize::from(a[i] != b[j]);
            let mut least = replaced.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                least = least.min(rows[i - 1][j - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_as_far_apart_as_typing_errors() {
        for (a, b, apart) in [
            ("rate", "rate", 0),
            ("rat", "rate", 1),
            ("first-call", "first_call", 0),
            ("conections", "connections", 1),
            ("", "abc", 3),
            ("hodl", "hold", 1),
            ("smtp", "http", 2),
            ("a", "b", 1),
        ] {
            assert_eq!(distance(a, b), apart, "{a} {b}");
            assert_eq!(distance(b, a), apart, "{b} {a}");
        }
    }

    #[test]
    fn the_key_of_a_value_is_what_stands_before_it() {
        let text = "rate = 5\ntrigger = { every = \"1s\", tool = \"x\" }\n[[phase]]\n";
        for (needle, key) in
            [("5", Some("rate")), ("\"1s\"", Some("every")), ("\"x\"", Some("tool"))]
        {
            assert_eq!(key_before(text, text.find(needle).expect("there")), key);
        }
        assert_eq!(key_before(text, text.find("[[").expect("there")), None);
    }
}
