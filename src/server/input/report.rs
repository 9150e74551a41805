//! Words for what is wrong with arguments, bounded whatever the arguments are.

use std::fmt::{self, Write};

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use jsonschema::paths::LocationSegment;

/// Most bytes of a reason; a little more with the mark of what was left out.
pub(in crate::server) const REPORT_BYTES_MAX: usize = 500;
/// Most bytes of a path, of which its end matters most.
const PLACE_BYTES_MAX: usize = 120;
/// Most bytes of a value that are shown; a larger one is called `value`.
pub(super) const SHOWN_BYTES_MAX: usize = 60;
/// Most steps into alternatives to find the nearest.
const ALTERNATIVES_MAX: usize = 8;

const MORE: &str = "…";

/// Cuts a text that may hold what a client sent.
pub(in crate::server) fn shortened(text: &str) -> String {
    let mut short = Bounded::new(REPORT_BYTES_MAX);
    // It stops where it is full.
    short.write_str(text).ok();
    short.text
}

/// Place and reason: `arguments.list[2].name: "x" is not of type "integer"`.
#[cold]
pub(super) fn report(error: &ValidationError<'_>) -> String {
    let mut report = Bounded::new(REPORT_BYTES_MAX);
    write(error, &mut report).ok();
    report.text
}

/// The reason alone.
pub(super) fn reason(error: &ValidationError<'_>) -> String {
    let mut reason = Bounded::new(REPORT_BYTES_MAX);
    write_reason(error, &mut reason).ok();
    reason.text
}

fn write(error: &ValidationError<'_>, report: &mut Bounded) -> fmt::Result {
    write!(report, "{}: ", place(error))?;
    let mut nearest = error;
    for _ in 0..ALTERNATIVES_MAX {
        let Some(nearer) = nearest_alternative(nearest) else { break };
        nearest = nearer;
    }
    if std::ptr::eq(nearest, error) {
        return write_reason(error, report);
    }
    write!(report, "fits none of the alternatives; nearest to one: {}: ", place(nearest))?;
    write_reason(nearest, report)
}

fn write_reason(error: &ValidationError<'_>, report: &mut Bounded) -> fmt::Result {
    match error.kind() {
        ValidationErrorKind::PropertyNames { error } => {
            report.write_str("the name of a member is refused: ")?;
            return write_reason(error, report);
        }
        ValidationErrorKind::FalseSchema => return report.write_str("must not be there"),
        _ => {}
    }
    let mut shown = Bounded::new(SHOWN_BYTES_MAX);
    match write!(shown, "{}", error.instance()) {
        Ok(()) => write!(report, "{error}"),
        Err(_) => write!(report, "{}", error.masked()),
    }
}

/// Of alternatives that do not fit, the error of the one that fits furthest down; of equals, the
/// alternative with the fewest errors.
fn nearest_alternative<'e>(error: &'e ValidationError<'_>) -> Option<&'e ValidationError<'static>> {
    let (ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context }) =
        error.kind()
    else {
        return None;
    };
    let depth = |error: &ValidationError<'_>| error.instance_path().segments().count();
    let deepest = |errors: &'e Vec<_>| errors.iter().max_by_key(|error| depth(error));
    let ranked = context.iter().filter_map(|errors| {
        let error = deepest(errors)?;
        Some((depth(error), std::cmp::Reverse(errors.len()), error))
    });
    ranked.max_by_key(|(depth, fewest, _)| (*depth, *fewest)).map(|(_, _, error)| error)
}

/// Where the error is, such as `arguments.list[2].name`. Of a long path the start and the end.
fn place(error: &ValidationError<'_>) -> String {
    let mut steps: Vec<String> = Vec::new();
    for segment in error.instance_path().segments() {
        steps.push(match segment {
            LocationSegment::Property(name) => {
                let mut step = Bounded::new(SHOWN_BYTES_MAX);
                write!(step, ".{name}").ok();
                step.text
            }
            LocationSegment::Index(index) => format!("[{index}]"),
        });
    }
    let mut left = PLACE_BYTES_MAX;
    let fits = |step: &&String| {
        left = left.saturating_sub(step.len());
        left > 0
    };
    let last = steps.iter().rev().take_while(fits).count();
    let kept = steps.split_off(steps.len() - last);
    let cut = if steps.is_empty() { "" } else { MORE };
    format!("arguments{cut}{}", kept.concat())
}

/// Text up to a number of bytes; writing more fails, and leaves a mark.
struct Bounded {
    text: String,
    left: usize,
}

impl Bounded {
    fn new(bytes_max: usize) -> Self {
        Self { text: String::new(), left: bytes_max }
    }
}

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if let Some(left) = self.left.checked_sub(text.len()) {
            self.left = left;
            self.text.push_str(text);
            return Ok(());
        }
        let end = (0..=self.left).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        self.text.push_str(&text[..end]);
        self.text.push_str(MORE);
        self.left = 0;
        Err(fmt::Error)
    }
}
