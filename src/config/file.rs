//! `ringmesh.toml`: the same settings as the flags, each error with its line and column.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use toml::Spanned;

use super::error::ConfigError;
use super::settings::Settings;

/// A file this long is a mistake.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A file that was read.
#[derive(Clone, Debug, Default)]
pub(crate) struct File {
    pub(crate) settings: Settings,
    path: PathBuf,
    /// Line and column of each key's value.
    places: BTreeMap<String, (usize, usize)>,
}

impl File {
    /// Reads a file.
    ///
    /// # Errors
    /// Where it cannot be read, is no TOML, or holds what no setting is.
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |what: &dyn std::fmt::Display| {
            let path = path.display();
            ConfigError::config(format!("{path}: cannot read the configuration: {what}"))
        };
        let about = fs::metadata(path).map_err(|error| unreadable(&error))?;
        if about.len() > FILE_BYTES_MAX {
            return Err(unreadable(&"it is longer than 1 MiB"));
        }
        let text = fs::read_to_string(path).map_err(|error| unreadable(&error))?;
        Self::parse(path, &text)
    }

    /// Parses the text of the file `path`.
    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let wrong = |error: toml::de::Error| {
            let at = error.span().map_or(0, |span| span.start);
            let (line, column) = line_and_column(text, at);
            let (message, path) = (explain(error.message()), path.display());
            ConfigError::config(format!("{path}:{line}:{column}: {message}"))
        };
        let settings = toml::from_str(text).map_err(wrong)?;
        let values: BTreeMap<String, Spanned<toml::Value>> = toml::from_str(text).map_err(wrong)?;
        let place = |(key, value): (String, Spanned<toml::Value>)| {
            (key, line_and_column(text, value.span().start))
        };
        let places = values.into_iter().map(place).collect();
        Ok(Self { settings, path: path.to_path_buf(), places })
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// `ringmesh.toml:3:10`
    pub(crate) fn place_of(&self, key: &str) -> String {
        let (line, column) = self.places.get(key).copied().unwrap_or((1, 1));
        format!("{}:{line}:{column}", self.path.display())
    }
}

/// Turns serde's words into the user's, with a mend.
fn explain(message: &str) -> String {
    const HELP: &str = "`ringmesh --help` lists the settings, a flag and a key sharing each name";
    match message.strip_prefix("unknown field ") {
        Some(rest) => {
            let key = rest.split(", expected").next().unwrap_or(rest);
            format!("unknown key {key}: {HELP}")
        }
        None => message.replace("expected u32", "write a whole number from 0 to 4294967295"),
    }
}

/// Both from 1, the column in characters.
pub(crate) fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}
