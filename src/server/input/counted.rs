//! Arguments as the validator sees them: values that count how often they are looked at.
//!
//! The validator bounds neither its time nor its memory: what a schema costs can grow with any
//! power of the arguments' size, or exponentially with their depth. Each look at a value takes
//! steps from a budget of the thread, by what the look may cost; where the budget is spent the
//! validation is unwound at once, without a panic's message. So a check ends, whatever the keyword.
//! Boolean schemas look at no value: how many of them one look can lead to is bounded when the
//! schema is taken (`audit`).

use std::borrow::Cow;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::LazyLock;

use jsonschema::JsonType;
use jsonschema::json::{Array, Json, Node, NodeIdentity, Object, unique};
use serde_json::{Map, Number, Value};

use super::report::SHOWN_BYTES_MAX;

/// What an error costs, in steps: it is an allocation of several hundred bytes.
const STEPS_PER_ERROR: u64 = 500;
/// Bytes of a string that one step reads.
const STRING_BYTES_PER_STEP: usize = 16;
/// Bytes up to which errors hold the value they are about; larger ones are not shown anyway.
const SMALL_BYTES: usize = 2 * SHOWN_BYTES_MAX;
/// Items up to which `uniqueItems` compares each with each.
const PAIRWISE_ITEMS_MAX: usize = 15;

/// Stands for a large value in errors. Too long to be shown itself.
static LARGE: LazyLock<Value> = LazyLock::new(|| "…".repeat(SHOWN_BYTES_MAX).into());

thread_local! {
    static STEPS: Cell<u64> = const { Cell::new(0) };
    /// Bytes of texts and names that may yet be matched with patterns.
    static MATCHED: Cell<u64> = const { Cell::new(0) };
}

/// The budget was spent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Spent;

/// Runs a validation that may take so many steps, and look at so many bytes of texts and names.
pub(super) fn within<T>(steps: u64, matched: u64, run: impl FnOnce() -> T) -> Result<T, Spent> {
    STEPS.set(steps);
    MATCHED.set(matched);
    // What unwinds is the validator's own stack: nothing of it is seen again.
    panic::catch_unwind(AssertUnwindSafe(run)).map_err(|payload| match payload.downcast() {
        Ok(spent) => *spent,
        Err(payload) => panic::resume_unwind(payload),
    })
}

fn take(steps: u64) {
    match STEPS.get().checked_sub(steps) {
        Some(left) => STEPS.set(left),
        None => spent(),
    }
}

/// Takes what a look at a text costs that may be matched with a pattern.
fn take_text(text: &str) {
    take(1 + steps_of(text.len() / STRING_BYTES_PER_STEP));
    match MATCHED.get().checked_sub(steps_of(text.len())) {
        Some(left) => MATCHED.set(left),
        None => spent(),
    }
}

#[cold]
fn spent() -> ! {
    STEPS.set(0);
    panic::resume_unwind(Box::new(Spent))
}

fn steps_of(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}

/// The representation.
pub(super) struct Counted;

/// A value.
#[derive(Clone, Copy)]
pub(super) struct Looked<'a>(pub(super) &'a Value);

pub(super) struct Members<'a>(serde_json::map::Iter<'a>);
pub(super) struct Elements<'a>(std::slice::Iter<'a, Value>);
pub(super) struct Mapping<'a>(&'a Map<String, Value>);
pub(super) struct Items<'a>(&'a [Value]);

impl Json for Counted {
    type Node<'a> = Looked<'a>;
    type PreparedKey = String;
    type StringBuffer = Value;

    const KEYS_PER_LOOKUP: usize = 2;

    fn prepare_key(key: &str) -> String {
        key.to_owned()
    }

    fn with_string_node<T>(
        buffer: &mut Value,
        string: &str,
        run: impl FnOnce(Looked<'_>) -> T,
    ) -> T {
        take(1 + steps_of(string.len() / STRING_BYTES_PER_STEP));
        *buffer = Value::String(string.to_owned());
        run(Looked(buffer))
    }
}

impl<'a> Node<'a, Counted> for Looked<'a> {
    type Object = Mapping<'a>;
    type Array = Items<'a>;
    type Number = &'a Number;

    fn as_object(&self) -> Option<Mapping<'a>> {
        take(1);
        self.0.as_object().map(Mapping)
    }

    fn as_array(&self) -> Option<Items<'a>> {
        take(1);
        self.0.as_array().map(|items| Items(items))
    }

    fn as_string(&self) -> Option<Cow<'a, str>> {
        let text = self.0.as_str();
        take_text(text.unwrap_or_default());
        text.map(Cow::Borrowed)
    }

    fn as_number(&self) -> Option<&'a Number> {
        take(1);
        match self.0 {
            Value::Number(number) => Some(number),
            _ => None,
        }
    }

    fn as_boolean(&self) -> Option<bool> {
        take(1);
        self.0.as_bool()
    }

    fn is_null(&self) -> bool {
        take(1);
        self.0.is_null()
    }

    fn json_type(&self) -> JsonType {
        take(1);
        self.0.json_type()
    }

    fn string_length(&self) -> Option<u64> {
        take(1 + steps_of(self.0.as_str()?.len() / STRING_BYTES_PER_STEP));
        self.0.string_length()
    }

    /// Costs what the expected value does at most, which is the schema's and bounded.
    fn equals_value(&self, expected: &Value) -> bool {
        take(1);
        self.0.equals_value(expected)
    }

    /// Taken for errors alone, which may keep copies: of a large value they get a stand-in.
    fn to_value(&self) -> Cow<'a, Value> {
        take(STEPS_PER_ERROR);
        Cow::Borrowed(if is_small(self.0, &mut { SMALL_BYTES }) { self.0 } else { &LARGE })
    }

    fn identity(&self) -> Option<NodeIdentity> {
        self.0.identity()
    }
}

impl<'a> Object<'a, Counted> for Mapping<'a> {
    type Node = Looked<'a>;
    type MemberName = &'a str;
    type MembersIter = Members<'a>;

    fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&self, key: &String) -> Option<Looked<'a>> {
        take(1);
        self.0.get(key.as_str()).map(Looked)
    }

    fn members(&self) -> Members<'a> {
        Members(self.0.iter())
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a str, Looked<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let (key, value) = self.0.next()?;
        take_text(key);
        Some((key, Looked(value)))
    }
}

impl<'a> Array<'a, Counted> for Items<'a> {
    type Node = Looked<'a>;
    type ElementsIter = Elements<'a>;

    fn len(&self) -> usize {
        self.0.len()
    }

    fn elements(&self) -> Elements<'a> {
        Elements(self.0.iter())
    }

    fn is_unique(&self) -> bool {
        // Hashed once and compared; in short arrays each is compared with each.
        let looks = if self.0.len() <= PAIRWISE_ITEMS_MAX { self.0.len() } else { 2 };
        self.0.iter().for_each(|item| take_whole(item, steps_of(looks)));
        unique::is_unique(self.0)
    }
}

/// Whether a value's text is about as short as what is left.
fn is_small(value: &Value, left: &mut usize) -> bool {
    let bytes = 1 + value.as_str().map_or(0, str::len);
    let Some(less) = left.checked_sub(bytes) else { return false };
    *left = less;
    match value {
        Value::Array(items) => items.iter().all(|item| is_small(item, left)),
        Value::Object(members) => members.iter().all(|(name, value)| {
            *left = left.saturating_sub(name.len());
            is_small(value, left)
        }),
        _ => true,
    }
}

/// Takes what reading a whole value so many times costs.
fn take_whole(value: &Value, looks: u64) {
    take(looks);
    match value {
        Value::Array(items) => items.iter().for_each(|item| take_whole(item, looks)),
        Value::Object(members) => members.iter().for_each(|(key, value)| {
            take(looks * steps_of(key.len() / STRING_BYTES_PER_STEP));
            take_whole(value, looks);
        }),
        Value::String(text) => take(looks * steps_of(text.len() / STRING_BYTES_PER_STEP)),
        _ => {}
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Looked<'a>;

    fn next(&mut self) -> Option<Looked<'a>> {
        let item = self.0.next()?;
        take(1);
        Some(Looked(item))
    }
}
