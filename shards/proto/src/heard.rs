//! A JSON-RPC message as a client hears it: answers and notifications of a server, read in one pass
//! over borrowed bytes and, but for strings with escapes, without an allocation.
//!
//! Left out: everything in a message that does not tell whether it is the right one.

use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// What of a message matters.
#[derive(Debug, Deserialize)]
pub struct Heard<'a> {
    /// The JSON text of the id.
    #[serde(default, borrow)]
    pub id: Option<&'a RawValue>,
    /// The JSON text of the method, quotes included: of requests and notifications.
    #[serde(default, borrow)]
    pub method: Option<&'a RawValue>,
    /// The result, whatever it is.
    #[serde(default)]
    pub result: Outcome,
    /// Whether the message has an error.
    #[serde(default, deserialize_with = "present")]
    pub error: bool,
    /// The parameters of a notification.
    #[serde(default, borrow)]
    pub params: Option<HeardParams<'a>>,
}

/// Parameters, as far as a client looks at them.
#[derive(Debug, Default, Deserialize)]
pub struct HeardParams<'a> {
    /// The JSON text of `uri`.
    #[serde(default, borrow)]
    pub uri: Option<&'a RawValue>,
}

/// What the result of an answer says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// There is none.
    #[default]
    Absent,
    /// There is one, and it tells of no error.
    Good,
    /// There is one with `isError: true`.
    ToolError,
}

impl<'a> Heard<'a> {
    /// Reads a message.
    ///
    /// # Errors
    /// Where it is no JSON object, or a member is not of its type.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// Whether its id is this number.
    pub fn is_for(&self, id: u32) -> bool {
        self.id.is_some_and(|text| text.get().parse() == Ok(id))
    }

    /// Whether its method is this name, which needs no escapes.
    pub fn is_method(&self, name: &str) -> bool {
        self.method.is_some_and(|text| {
            text.get().strip_prefix('"').and_then(|text| text.strip_suffix('"')) == Some(name)
        })
    }
}

/// Whether a member is there, `null` apart.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Option::<IgnoredAny>::deserialize(deserializer).map(|value| value.is_some())
}

impl<'de> Deserialize<'de> for Outcome {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OutcomeVisitor)
    }
}

struct OutcomeVisitor;

impl<'de> Visitor<'de> for OutcomeVisitor {
    type Value = Outcome;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a result")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Outcome, A::Error> {
        #[derive(Deserialize)]
        enum Key {
            #[serde(rename = "isError")]
            IsError,
            #[serde(other)]
            Other,
        }
        let mut outcome = Outcome::Good;
        while let Some(key) = map.next_key()? {
            match key {
                Key::IsError if map.next_value()? => outcome = Outcome::ToolError,
                Key::IsError => {}
                Key::Other => {
                    map.next_value::<Skipped>()?;
                }
            }
        }
        Ok(outcome)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Outcome, A::Error> {
        while seq.next_element::<Skipped>()?.is_some() {}
        Ok(Outcome::Good)
    }

    fn visit_unit<E>(self) -> Result<Outcome, E> {
        Ok(Outcome::Absent)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Outcome, E> {
        Ok(Outcome::Good)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Outcome, E> {
        Ok(Outcome::Good)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Outcome, E> {
        Ok(Outcome::Good)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Outcome, E> {
        Ok(Outcome::Good)
    }

    fn visit_str<E>(self, _: &str) -> Result<Outcome, E> {
        Ok(Outcome::Good)
    }
}

/// Any value. `IgnoredAny` would note the brackets around what is nested in memory of its own, which
/// each answer would allocate; this does so for strings with escapes alone.
struct Skipped;

impl<'de> Deserialize<'de> for Skipped {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SkippedVisitor)
    }
}

struct SkippedVisitor;

impl<'de> Visitor<'de> for SkippedVisitor {
    type Value = Skipped;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Skipped, A::Error> {
        while map.next_entry::<Skipped, Skipped>()?.is_some() {}
        Ok(Skipped)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Skipped, A::Error> {
        while seq.next_element::<Skipped>()?.is_some() {}
        Ok(Skipped)
    }

    fn visit_unit<E>(self) -> Result<Skipped, E> {
        Ok(Skipped)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Skipped, E> {
        Ok(Skipped)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Skipped, E> {
        Ok(Skipped)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Skipped, E> {
        Ok(Skipped)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Skipped, E> {
        Ok(Skipped)
    }

    fn visit_str<E>(self, _: &str) -> Result<Skipped, E> {
        Ok(Skipped)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn answers() {
        let table = [
            (r#"{"jsonrpc":"2.0","id":7,"result":{"content":[]}}"#, true, Outcome::Good, false),
            (r#"{"id":7,"result":{"isError":false,"x":[{}]}}"#, true, Outcome::Good, false),
            (r#"{"result":{"a":1,"isError":true},"id":7}"#, true, Outcome::ToolError, false),
            (r#"{"id":8,"result":{}}"#, false, Outcome::Good, false),
            (r#"{"id":"7","result":{}}"#, false, Outcome::Good, false),
            (r#"{"id":7,"error":{"code":-32600,"message":"no"}}"#, true, Outcome::Absent, true),
            (r#"{"id":7,"result":null,"error":null}"#, true, Outcome::Absent, false),
            (r#"{"id":7,"result":[1,"a"]}"#, true, Outcome::Good, false),
            (r#"{"id":7,"result":"\u00e4"}"#, true, Outcome::Good, false),
            (
                r#"{"id":7,"result":{"a":[[{"b":"\n"}],null,1.5,-1,true]}}"#,
                true,
                Outcome::Good,
                false,
            ),
        ];
        for (text, is_for, result, error) in table {
            let heard = Heard::parse(text.as_bytes()).unwrap();
            assert_eq!((heard.is_for(7), heard.result, heard.error), (is_for, result, error));
        }
        for text in ["", "null", "7", "{", r#"{"id":7,"result":{"isError":1}}"#, "{}{}"] {
            assert!(Heard::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn notifications() {
        let text =
            r#"{"method":"notifications/resources/updated","params":{"uri":"a://b/1","_meta":{}}}"#;
        let heard = Heard::parse(text.as_bytes()).unwrap();
        assert!(heard.is_method("notifications/resources/updated") && heard.id.is_none());
        assert_eq!(heard.params.unwrap().uri.unwrap().get(), "\"a://b/1\"");
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(text in r#"\{?("id"|"result"|"params"|[0-9:{}\[\],"a]){0,20}"#) {
            let json = serde_json::from_str::<serde_json::Value>(&text).is_ok();
            prop_assert!(json || Heard::parse(text.as_bytes()).is_err());
        }
    }
}
