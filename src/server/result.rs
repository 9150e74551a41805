//! What a tool may return, and how it is written as a `CallToolResult`.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::Write as _;

use ringmesh_proto::jsonrpc;
use ringmesh_runtime::call::{Answer, Call, Ending};
use serde::Serialize;
use serde_json::{Map, Number, Value};

use super::content::Content;
use super::error::Error;
use super::rounds::{InputRequired, Outcome};

const TEXT_OPEN: &[u8] = b"\"content\":[{\"type\":\"text\",\"text\":";
const TEXT_CLOSE: &[u8] = b"}]";

/// What a tool may return.
///
/// | type | result |
/// |---|---|
/// | strings, numbers, `bool`, `()` | one text block; none for `()` |
/// | [`Content`], `Vec<Content>` | the blocks |
/// | [`Json`] | `structuredContent`, and the same as text |
/// | [`ToolResult`] | anything |
/// | `Result<R, E>` | `R`; or the [`Error`], or any other `E` as text with `isError` |
/// | [`InputRequired`], [`Outcome`] | another round |
pub trait IntoToolResult {
    /// Writes the answer to a call.
    fn write(self, call: &Call<'_>, answer: &mut Answer);
}

/// Writes a result of one text block.
pub(super) fn write_text(answer: &mut Answer, text: &str) {
    let out = answer.begin(Ending::Complete);
    out.extend_from_slice(TEXT_OPEN);
    jsonrpc::write_string(out, text);
    out.extend_from_slice(TEXT_CLOSE);
}

/// Writes a result that tells a model what went wrong.
pub(super) fn write_tool_error(answer: &mut Answer, text: &str) {
    let out = answer.begin(Ending::ToolError);
    out.extend_from_slice(TEXT_OPEN);
    jsonrpc::write_string(out, text);
    out.extend_from_slice(TEXT_CLOSE);
    out.extend_from_slice(b",\"isError\":true");
}

/// Writes a result of one text block whose text needs no escapes.
fn write_plain<T: Serialize>(answer: &mut Answer, value: &T) {
    let out = answer.begin(Ending::Complete);
    out.extend_from_slice(TEXT_OPEN);
    out.push(b'"');
    jsonrpc::write_json(out, value);
    out.push(b'"');
    out.extend_from_slice(TEXT_CLOSE);
}

macro_rules! plain {
    ($($number:ty),*) => {$(
        impl IntoToolResult for $number {
            fn write(self, _: &Call<'_>, answer: &mut Answer) {
                write_plain(answer, &self);
            }
        }
    )*};
}
plain!(i8, i16, i32, i64, i128, isize, u8, u16, u32, u64, u128, usize, bool, Number);

macro_rules! float {
    ($($float:ty),*) => {$(
        impl IntoToolResult for $float {
            fn write(self, _: &Call<'_>, answer: &mut Answer) {
                if self.is_finite() {
                    return write_plain(answer, &self);
                }
                // JSON has no infinities; their names need no escapes.
                let out = answer.begin(Ending::Complete);
                out.extend_from_slice(TEXT_OPEN);
                write!(out, "\"{self}\"").unwrap_or_default();
                out.extend_from_slice(TEXT_CLOSE);
            }
        }
    )*};
}
float!(f32, f64);

impl IntoToolResult for () {
    fn write(self, _: &Call<'_>, answer: &mut Answer) {
        answer.begin(Ending::Complete).extend_from_slice(b"\"content\":[]");
    }
}

impl IntoToolResult for &str {
    fn write(self, _: &Call<'_>, answer: &mut Answer) {
        write_text(answer, self);
    }
}

impl IntoToolResult for String {
    fn write(self, _: &Call<'_>, answer: &mut Answer) {
        write_text(answer, &self);
    }
}

impl IntoToolResult for Cow<'_, str> {
    fn write(self, _: &Call<'_>, answer: &mut Answer) {
        write_text(answer, &self);
    }
}

impl IntoToolResult for Content {
    fn write(self, call: &Call<'_>, answer: &mut Answer) {
        vec![self].write(call, answer);
    }
}

impl IntoToolResult for Vec<Content> {
    fn write(self, _: &Call<'_>, answer: &mut Answer) {
        let out = answer.begin(Ending::Complete);
        out.extend_from_slice(b"\"content\":");
        jsonrpc::write_json(out, &self);
    }
}

/// A structured result: `structuredContent`, and the same as a text block for clients and models
/// that know text alone. Declare its schema with [`super::Tool::output`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Json<T>(pub T);

impl<T: Serialize> IntoToolResult for Json<T> {
    fn write(self, _: &Call<'_>, answer: &mut Answer) {
        let out = answer.begin(Ending::Complete);
        out.extend_from_slice(b"\"structuredContent\":");
        let start = out.len();
        if let Err(error) = serde_json::to_writer(&mut *out, &self.0) {
            return write_tool_error(answer, &format!("the result is no JSON: {error}"));
        }
        let end = out.len();
        out.push(b',');
        out.extend_from_slice(TEXT_OPEN);
        out.push(b'"');
        // Compact JSON has no line breaks, so quotes and backslashes are all there is to escape.
        out.reserve(end - start);
        for at in start..end {
            let byte = out[at];
            if matches!(byte, b'"' | b'\\') {
                out.push(b'\\');
            }
            out.push(byte);
        }
        out.push(b'"');
        out.extend_from_slice(TEXT_CLOSE);
    }
}

/// A result with everything that the protocol allows.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct ToolResult {
    content: Vec<Content>,
    structured: Option<Value>,
    is_error: bool,
    meta: Map<String, Value>,
}

impl ToolResult {
    /// An empty result.
    pub fn new() -> Self {
        Self::default()
    }

    /// A result that tells a model what went wrong.
    pub fn error(text: impl Into<String>) -> Self {
        Self::new().text(text).is_error(true)
    }

    /// Adds a block.
    pub fn content(mut self, content: impl Into<Content>) -> Self {
        self.content.push(content.into());
        self
    }

    /// Adds a text block.
    pub fn text(self, text: impl Into<String>) -> Self {
        self.content(Content::text(text))
    }

    /// Sets `structuredContent`. Where no block is added, a text block repeats it.
    pub fn structured(mut self, value: impl Into<Value>) -> Self {
        self.structured = Some(value.into());
        self
    }

    /// Whether the tool failed.
    pub fn is_error(mut self, is_error: bool) -> Self {
        self.is_error = is_error;
        self
    }

    /// Sets a member of the result's `_meta`.
    pub fn meta(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.meta.insert(key.into(), value.into());
        self
    }
}

impl IntoToolResult for ToolResult {
    fn write(mut self, _: &Call<'_>, answer: &mut Answer) {
        if let Some(value) = self.structured.as_ref().filter(|_| self.content.is_empty()) {
            self.content.push(Content::text(value.to_string()));
        }
        let ending = if self.is_error { Ending::ToolError } else { Ending::Complete };
        let out = answer.begin(ending);
        out.extend_from_slice(b"\"content\":");
        jsonrpc::write_json(out, &self.content);
        if let Some(value) = &self.structured {
            out.extend_from_slice(b",\"structuredContent\":");
            jsonrpc::write_json(out, value);
        }
        if self.is_error {
            out.extend_from_slice(b",\"isError\":true");
        }
        write_meta(answer, &self.meta);
    }
}

/// Adds members to the `_meta` of an answer that was written.
pub(super) fn write_meta(answer: &mut Answer, meta: &Map<String, Value>) {
    let out = answer.begin_meta();
    for (at, (key, value)) in meta.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        jsonrpc::write_string(out, key);
        out.push(b':');
        jsonrpc::write_json(out, value);
    }
}

impl<R: IntoToolResult, E: Display + 'static> IntoToolResult for Result<R, E> {
    fn write(self, call: &Call<'_>, answer: &mut Answer) {
        match self {
            Ok(result) => result.write(call, answer),
            Err(error) => match Error::find(error) {
                Ok(own) => own.write(call, answer),
                Err(text) => write_tool_error(answer, &text),
            },
        }
    }
}

impl<R: IntoToolResult> IntoToolResult for Outcome<R> {
    fn write(self, call: &Call<'_>, answer: &mut Answer) {
        match self {
            Self::Complete(result) => result.write(call, answer),
            Self::InputRequired(input) => input.write(call, answer),
        }
    }
}

impl IntoToolResult for InputRequired {
    fn write(self, call: &Call<'_>, answer: &mut Answer) {
        Self::write(self, call, answer);
    }
}
