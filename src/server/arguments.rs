//! Reading of a call's arguments into the handler's type, and saying what is wrong with them in a
//! way that a model can mend.

use std::any::TypeId;
use std::fmt::Write as _;

use serde::de::DeserializeOwned;

use super::input::shortened;

/// Reads the JSON text of arguments. Absent and `null` arguments count as an empty object, and
/// `()` takes any object. Allocates nothing but what `A` holds.
///
/// # Errors
/// Place and reason, such as `arguments.a: invalid type: string "x", expected i64`.
pub(super) fn read<A: DeserializeOwned + 'static>(text: &str) -> Result<A, String> {
    let text = object(text)?;
    let text = if TypeId::of::<A>() == TypeId::of::<()>() { "null" } else { text };
    serde_json::from_str(text).map_err(|error| explain(text, &error))
}

/// The text of an object: what absent and `null` arguments stand for, or the arguments.
///
/// # Errors
/// They are no object. serde would read a struct from an array as well.
pub(super) fn object(text: &str) -> Result<&str, String> {
    match text {
        "null" => Ok("{}"),
        text if text.starts_with('{') => Ok(text),
        _ => Err("arguments: must be an object".to_owned()),
    }
}

/// Names place and reason, with at most some 500 bytes of each.
#[cold]
pub(super) fn explain(text: &str, error: &serde_json::Error) -> String {
    let mut reason = error.to_string();
    if let Some(at) = reason.rfind(" at line ") {
        reason.truncate(at);
    }
    let lines = text.split_inclusive('\n').take(error.line().saturating_sub(1));
    let line_start: usize = lines.map(str::len).sum();
    let place = match error.line() {
        0 => "arguments".to_owned(),
        _ => place(text, line_start + error.column().saturating_sub(1)),
    };
    format!("{}: {}", shortened(&place), shortened(&reason))
}

enum Step<'t> {
    /// A member of an object; `None` until its key was read.
    Key(Option<&'t str>),
    Index(usize),
}

/// Names the value that holds the byte at `offset` of valid JSON: `arguments.list[2].name`. The
/// bracket that closes an object or array belongs to the object or array.
fn place(text: &str, offset: usize) -> String {
    let bytes = text.as_bytes();
    let mut path = Vec::new();
    let mut at = 0;
    while at <= offset && at < bytes.len() {
        match (bytes[at], path.last_mut()) {
            (b'{', _) => path.push(Step::Key(None)),
            (b'[', _) => path.push(Step::Index(0)),
            (b'}' | b']', _) => drop(path.pop()),
            (b',', Some(Step::Index(index))) => *index += 1,
            (b',', Some(Step::Key(key))) => *key = None,
            (b'"', last) => {
                let end = string_end(bytes, at);
                if let Some(Step::Key(key @ None)) = last {
                    *key = text.get(at + 1..end);
                }
                at = end;
            }
            _ => {}
        }
        at += 1;
    }
    let mut place = "arguments".to_owned();
    for step in path {
        // Writing to a string cannot fail.
        match step {
            Step::Key(Some(key)) => write!(place, ".{key}").unwrap_or_default(),
            Step::Key(None) => {}
            Step::Index(index) => write!(place, "[{index}]").unwrap_or_default(),
        }
    }
    place
}

/// Index of the quote that closes the string opened at `open`.
fn string_end(bytes: &[u8], open: usize) -> usize {
    let mut at = open + 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Item {
        name: String,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Order {
        count: u8,
        #[serde(default)]
        items: Vec<Item>,
    }

    #[test]
    fn absent_null_and_empty_arguments_are_none() {
        assert_eq!(read::<()>("{}"), Ok(()));
        assert_eq!(read::<()>("null"), Ok(()));
        assert_eq!(read::<()>(r#"{"extra":1}"#), Ok(()));
        assert!(read::<()>("5").is_err());
        assert_eq!(read::<Order>(r#"{"count":3}"#), Ok(Order { count: 3, items: Vec::new() }));
    }

    #[test]
    fn names_the_place_and_the_reason() {
        let table = [
            ("[1]", "arguments: must be an object"),
            ("null", "arguments: missing field `count`"),
            (r#"{"count":"3"}"#, r#"arguments.count: invalid type: string "3", expected u8"#),
            (r#"{"x":["}"],"count":256}"#, "arguments.count: invalid value: integer `256`"),
            (
                "{\"count\":1,\n \"items\":[{\"name\":\"a\"},\n{\"name\":5}]}",
                "arguments.items[1].name",
            ),
            (
                r#"{"count":1,"items":[{"name":"a"},{}]}"#,
                "arguments.items[1]: missing field `name`",
            ),
            (
                r#"{"count":1,"items":[{"nom\"":"a"}]}"#,
                r#"arguments.items[0].nom\": unknown field"#,
            ),
            (r#"{"count":1,"items":{}}"#, "arguments.items: invalid type: map"),
        ];
        for (text, expected) in table {
            let error = read::<Order>(text).expect_err("must be refused");
            assert!(error.starts_with(expected), "{text}: {error}");
            assert!(!error.contains(" at line "), "{error}");
        }
    }
}
