//! The check of a tool's arguments against its input schema (JSON Schema 2020-12), before its code
//! runs.
//!
//! One [`Input`] a tool, compiled as the tool enters the catalog, and used wherever the tool's
//! handler runs: on the shard for an inline one, in a pool for others. A flat schema's arguments
//! are checked straight from their text, without an allocation ([`flat`], which says why that is
//! right); all others are read into memory ([`held`]) and checked by the crate `jsonschema`.
//!
//! What is bounded, since arguments come from anybody:
//!
//! | what | bound | beyond it |
//! |---|---|---|
//! | the schema's size, depth, references, repetition at one place | [`audit`] | refused as the tool is added |
//! | a compiled pattern | the last of [`PATTERN_BYTES`], linear-time engine | refused as the tool is added |
//! | texts matched with patterns in one check | [`MATCH_BYTES_MAX`] | `isError` |
//! | memory of the values that are checked | [`held::VALUE_BYTES_MAX`] | `isError` |
//! | looks at values in one check | [`STEPS_LEAST`] + [`STEPS_PER_BYTE`] a byte, at most [`STEPS_MAX`] | `isError` |
//! | bytes of a reason | [`report::REPORT_BYTES_MAX`] | cut |
//!
//! `format`, `contentEncoding`, `contentMediaType` and `contentSchema` are annotations, in every
//! dialect: a dialect of one's own, which could make `format` an assertion, is refused.
//! Nothing is ever fetched.

mod audit;
mod counted;
mod flat;
mod held;
mod report;
#[cfg(test)]
mod tests;

use jsonschema::{Draft, PatternOptions, ValidationError, Validator};
use ringmesh_runtime::catalog::CatalogError;
use serde_json::Value;

use super::arguments;
use audit::audit;
use counted::{Counted, Looked, within};
use flat::Flat;
pub(super) use report::shortened;

/// Classes of the bytes that compiled patterns take; more than the last is refused. `^[a-z]+$` is
/// in the first; `^(a|b){3000}$` in the last.
const PATTERN_BYTES: [usize; 5] = [4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20];
/// Most bytes of texts that one check matches with patterns, times the patterns' bytes: at worst a
/// match looks at each state of the pattern for each byte. Half a mebibyte for small patterns.
const MATCH_BYTES_MAX: usize = 2 << 30;

/// Steps that any check may take. One takes some nanoseconds.
const STEPS_LEAST: u64 = 50_000;
/// Further steps for each byte of the arguments.
const STEPS_PER_BYTE: u64 = 16;
/// Most steps of a check, however large the arguments.
const STEPS_MAX: u64 = 20_000_000;

/// What is wrong with a schema, and where: a JSON pointer.
#[derive(Debug)]
pub(super) struct Flaw {
    place: String,
    reason: String,
}

impl Flaw {
    fn new(place: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { place: place.into(), reason: reason.into() }
    }
}

/// An input schema, ready to check arguments.
#[derive(Debug)]
pub(super) struct Input {
    flat: Option<Flat>,
    validator: Validator<Counted>,
    /// Most bytes of texts and names that one check looks at.
    matched_max: u64,
}

impl Input {
    /// Compiles a tool's schema.
    ///
    /// # Errors
    /// [`CatalogError::Schema`] where it is invalid, refers to anything outside of it, is of an unknown
    /// dialect or cannot be checked within bounds.
    pub(super) fn compile(tool: &str, schema: &Value) -> Result<Self, CatalogError> {
        compile(schema).map_err(|Flaw { place, reason }| {
            CatalogError::Schema(shortened(tool), shortened(&place), shortened(&reason))
        })
    }

    /// Checks arguments: the JSON text of an object.
    ///
    /// # Errors
    /// Place and reason, such as `arguments.ms: 900000 is greater than the maximum of 600000`.
    pub(super) fn check(&self, text: &str) -> Result<(), String> {
        if self.flat.as_ref().is_some_and(|flat| flat.accepts(text)) {
            return Ok(());
        }
        self.validate(text)
    }

    fn validate(&self, text: &str) -> Result<(), String> {
        let value = held::read(text).map_err(|error| arguments::explain(text, &error))?;
        let steps = STEPS_LEAST.saturating_add(STEPS_PER_BYTE.saturating_mul(text.len() as u64));
        let steps = steps.min(STEPS_MAX);
        let costly = "arguments: take too long to be checked against the input schema";
        match within(steps, self.matched_max, || self.validator.is_valid(Looked(&value))) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(counted::Spent) => return Err(costly.to_owned()),
        }
        // Finding the reason takes longer, since the validator remembers no results meanwhile.
        let found =
            within(steps, self.matched_max, || self.validator.validate(Looked(&value)).err());
        Err(match found {
            Ok(Some(error)) => report::report(&error),
            Ok(None) | Err(counted::Spent) => {
                "arguments: do not match the input schema; the place would take too long to find"
                    .to_owned()
            }
        })
    }
}

fn compile(schema: &Value) -> Result<Input, Flaw> {
    let draft = audit(schema)?;
    let (validator, matched_max) = build(schema, draft)?;
    // Older dialects differ in what an integer is, and more.
    let flat = if draft == Draft::Draft202012 { Flat::of(schema) } else { None };
    Ok(Input { flat, validator, matched_max })
}

/// Builds the validator, and tells how many bytes of texts it may match in one check.
fn build(schema: &Value, draft: Draft) -> Result<(Validator<Counted>, u64), Flaw> {
    let [small, larger @ ..] = PATTERN_BYTES;
    let mut built = build_within(schema, draft, small);
    if !schema.to_string().contains("\"pattern") {
        return Ok((built?, u64::MAX));
    }
    let mut bytes = small;
    for next in larger {
        if built.is_ok() {
            break;
        }
        bytes = next;
        built = build_within(schema, draft, bytes);
    }
    Ok((built?, (MATCH_BYTES_MAX / bytes) as u64))
}

fn build_within(
    schema: &Value,
    draft: Draft,
    pattern_bytes_max: usize,
) -> Result<Validator<Counted>, Flaw> {
    let patterns = PatternOptions::regex().size_limit(pattern_bytes_max);
    jsonschema::options_for::<Counted>()
        .with_draft(draft)
        .offline()
        .should_validate_formats(false)
        .without_content_encoding_support("base64")
        .without_content_media_type_support("application/json")
        .with_pattern_options(patterns)
        .build(schema)
        .map_err(|error: ValidationError<'_>| {
            let mut reason = report::reason(&error);
            if reason.ends_with("is not a \"regex\"") {
                reason.push_str(" of the linear-time engine, or too large for it");
            }
            Flaw::new(error.instance_path().as_str(), reason)
        })
}
