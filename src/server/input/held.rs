//! Reading of arguments into values for the validator, within bounds of memory.
//!
//! A value takes more memory than its text: `[{"":0},{"":0}…` ninety times as much. What the values
//! of one call may take is bounded, so that a body of the largest size cannot take hundreds of
//! mebibytes. Depth is bounded before, for whole messages (`jsonrpc::DEPTH_MAX`).

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Most bytes that the values of one call's arguments take while they are checked; about 250,000
/// numbers, or 25,000 objects.
pub(super) const VALUE_BYTES_MAX: usize = 16 << 20;

/// A value in an array that may have grown to twice what it holds.
const VALUE_BYTES: usize = 2 * size_of::<Value>();
/// The least node of a `BTreeMap`: room for eleven members, and the allocator's share.
const OBJECT_BYTES: usize = 11 * (size_of::<String>() + size_of::<Value>()) + 32;

/// Reads arguments.
///
/// # Errors
/// What is wrong with the text; also where a member is there twice, since readers differ on which
/// of them counts, and where its values would take more than [`VALUE_BYTES_MAX`].
pub(super) fn read(text: &str) -> Result<Value, serde_json::Error> {
    let left = Cell::new(VALUE_BYTES_MAX);
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Hold { left: &left }.deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

#[derive(Clone, Copy)]
struct Hold<'l> {
    left: &'l Cell<usize>,
}

impl Hold<'_> {
    fn take<E: Error>(self, bytes: usize) -> Result<(), E> {
        let left = self.left.get().checked_sub(bytes);
        let left = left.ok_or_else(|| {
            E::custom(format_args!(
                "too large to be checked against the input schema: its values take more than {} MiB",
                VALUE_BYTES_MAX >> 20
            ))
        })?;
        self.left.set(left);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Hold<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        self.take(VALUE_BYTES)?;
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Hold<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any valid JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        self.take(text.len())?;
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        self.take(OBJECT_BYTES)?;
        let mut object = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            self.take(size_of::<String>() + key.len())?;
            if object.contains_key(&key) {
                return Err(A::Error::custom(format_args!("duplicate field `{key}`")));
            }
            let value = members.next_value_seed(self)?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_what_serde_reads() {
        for text in [
            r#"{"a":[1,-2,3.5,1e3,-0,18446744073709551616,"\u00e4",null,true],"b":{"":{}}}"#,
            "{}",
            "[[],[[]]]",
        ] {
            let expected: Value = serde_json::from_str(text).expect("JSON");
            assert_eq!(read(text).expect("JSON"), expected, "{text}");
        }
        for text in ["{", "[1,]", "1e999", r#"{"a":1,"a":1}"#, r#"[{"a":1,"\u0061":2}]"#, "1 1"] {
            read(text).expect_err(text);
        }
    }

    #[test]
    fn values_are_bounded_by_the_memory_they_take() {
        let objects = |count: usize| format!("[{}{{}}]", r#"{"":0},"#.repeat(count));
        read(&objects(20_000)).expect("within");
        let error = read(&objects(26_000)).expect_err("too large").to_string();
        assert!(error.starts_with("too large to be checked"), "{error}");
        read(&format!("\"{}\"", "x".repeat(4 << 20))).expect("a text is as large as its bytes");
    }
}
