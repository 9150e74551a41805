//! Flat schemas: an object whose properties are scalars. Arguments are checked against them straight
//! from their text, without an allocation.
//!
//! Most tools take a few numbers and texts, and for them the validator would cost more than the
//! call: it wants the arguments as values in memory. Whether *serde* refuses what the schema
//! refuses cannot be told from a type: `deserialize_with`, aliases and types that describe
//! themselves with another's schema all read more than they say. So this checks the schema and
//! trusts no type.
//!
//! Why that is right: [`Flat::of`] takes a schema only where it knows every keyword of it, so
//! the schema says this and nothing else: each property that is there has one of some types, and
//! for integers lies within bounds; each required one is there; where `additionalProperties` is
//! false no other is. [`Flat::accepts`] checks just that for each member of the text, so what it
//! accepts the validator accepts. What it does not accept goes to the validator, which decides and
//! words the reason; so does what it leaves out: members that are there twice, bounds of numbers
//! with a fraction.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Most properties of a flat schema: a set of them is the bits of a word.
const PROPERTIES_MAX: usize = 64;

const NULL: u8 = 1;
const BOOLEAN: u8 = 1 << 1;
const INTEGER: u8 = 1 << 2;
/// Numbers with a fraction.
const FRACTION: u8 = 1 << 3;
const STRING: u8 = 1 << 4;
const ARRAY: u8 = 1 << 5;
const OBJECT: u8 = 1 << 6;
const ANY: u8 = u8::MAX;

/// Keywords that assert nothing (JSON Schema 2020-12, Validation, 7 and 9; Core, 8.3).
const ANNOTATIONS: [&str; 9] = [
    "$comment",
    "title",
    "description",
    "default",
    "deprecated",
    "examples",
    "format",
    "readOnly",
    "writeOnly",
];

/// A schema that is flat.
#[derive(Debug)]
pub(super) struct Flat {
    properties: Box<[Property]>,
    /// Bits of the properties that must be there.
    required: u64,
    /// Whether other members may be there.
    open: bool,
}

#[derive(Debug)]
struct Property {
    name: Box<str>,
    kinds: u8,
    /// Bounds of numbers, which must be integers then.
    bounds: Option<(i128, i128)>,
}

impl Flat {
    /// `None` where the schema (of 2020-12) says anything that is not known here.
    pub(super) fn of(schema: &Value) -> Option<Self> {
        let schema = schema.as_object()?;
        let empty = Map::new();
        let properties = match schema.get("properties") {
            Some(properties) => properties.as_object()?,
            None => &empty,
        };
        let properties: Option<Box<[_]>> =
            properties.iter().map(|(name, schema)| Property::of(name, schema)).collect();
        let mut flat = Self { properties: properties?, required: 0, open: true };
        if flat.properties.len() > PROPERTIES_MAX {
            return None;
        }
        for (keyword, value) in schema {
            match keyword.as_str() {
                "type" => (value == "object").then_some(())?,
                "additionalProperties" => flat.open = value.as_bool()?,
                "required" => {
                    for name in value.as_array()? {
                        flat.required |= 1 << flat.find(name.as_str()?)?;
                    }
                }
                "properties" | "$schema" => {}
                keyword => is_annotation(keyword).then_some(())?,
            }
        }
        Some(flat)
    }

    /// Whether arguments, the text of an object, surely fit. Allocates nothing but for names and
    /// texts with escapes.
    pub(super) fn accepts(&self, text: &str) -> bool {
        if self.properties.is_empty() && self.open {
            return true;
        }
        serde_json::Deserializer::from_str(text).deserialize_map(Members(self)).is_ok()
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.properties.iter().position(|property| *property.name == *name)
    }
}

fn is_annotation(keyword: &str) -> bool {
    keyword.starts_with("x-") || ANNOTATIONS.contains(&keyword)
}

impl Property {
    fn of(name: &str, schema: &Value) -> Option<Self> {
        let mut property = Self { name: name.into(), kinds: ANY, bounds: None };
        if *schema == Value::Bool(true) {
            return Some(property);
        }
        let (mut least, mut most) = (None, None);
        for (keyword, value) in schema.as_object()? {
            match keyword.as_str() {
                "type" => property.kinds = kinds(value)?,
                "minimum" => least = Some(whole(value)?),
                "maximum" => most = Some(whole(value)?),
                keyword => is_annotation(keyword).then_some(())?,
            }
        }
        if least.is_some() || most.is_some() {
            property.bounds = Some((least.unwrap_or(i128::MIN), most.unwrap_or(i128::MAX)));
        }
        Some(property)
    }

    fn takes(&self, kind: u8) -> bool {
        self.kinds & kind != 0
    }

    fn takes_integer(&self, number: i128) -> bool {
        let within = |(least, most): (i128, i128)| least <= number && number <= most;
        self.takes(INTEGER) && self.bounds.is_none_or(within)
    }

    /// Of bounds the validator knows best where they lie between floating numbers.
    fn takes_float(&self, number: f64) -> bool {
        let kind = if number.fract() == 0.0 { INTEGER } else { FRACTION };
        self.takes(kind) && self.bounds.is_none()
    }
}

fn kinds(types: &Value) -> Option<u8> {
    match types {
        Value::String(name) => kind(name),
        Value::Array(names) => names.iter().try_fold(0, |all, name| Some(all | kinds(name)?)),
        _ => None,
    }
}

fn kind(name: &str) -> Option<u8> {
    Some(match name {
        "null" => NULL,
        "boolean" => BOOLEAN,
        "integer" => INTEGER,
        "number" => INTEGER | FRACTION,
        "string" => STRING,
        _ => return None,
    })
}

fn whole(bound: &Value) -> Option<i128> {
    bound.as_i64().map(i128::from).or_else(|| bound.as_u64().map(i128::from))
}

struct Members<'f>(&'f Flat);

impl<'de> Visitor<'de> for Members<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("arguments that fit")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let misfit = || A::Error::custom("");
        let mut seen = 0;
        while let Some(at) = members.next_key_seed(Name(self.0))? {
            let Some(at) = at else {
                if !self.0.open {
                    return Err(misfit());
                }
                members.next_value::<IgnoredAny>()?;
                continue;
            };
            if seen & (1 << at) != 0 {
                return Err(misfit());
            }
            seen |= 1 << at;
            members.next_value_seed(Member(&self.0.properties[at]))?;
        }
        if seen & self.0.required == self.0.required { Ok(()) } else { Err(misfit()) }
    }
}

/// Finds a property by its name.
struct Name<'f>(&'f Flat);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Option<usize>, D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Option<usize>, E> {
        Ok(self.0.find(name))
    }
}

/// Checks a property's value.
#[derive(Clone, Copy)]
struct Member<'f>(&'f Property);

impl Member<'_> {
    fn fits<E: Error>(fits: bool) -> Result<(), E> {
        if fits { Ok(()) } else { Err(E::custom("")) }
    }
}

impl<'de> DeserializeSeed<'de> for Member<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Member<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that fits")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Self::fits(self.0.takes(NULL))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Self::fits(self.0.takes(BOOLEAN))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        Self::fits(self.0.takes_integer(number.into()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        Self::fits(self.0.takes_integer(number.into()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        Self::fits(self.0.takes_float(number))
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Self::fits(self.0.takes(STRING))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        Self::fits(self.0.takes(ARRAY))?;
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        Self::fits(self.0.takes(OBJECT))?;
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }
}
