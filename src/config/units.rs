//! Numbers, spans of time and sizes in bytes, as people write them.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserializer, Visitor};

/// A span of time in whole milliseconds, written `500ms`, `10s`, `2m` or `1h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    pub(crate) ms: u64,
}

const SPAN_UNITS: [(&str, u64); 4] =
    [("ms", 1), ("s", 1_000), ("m", 60 * 1_000), ("h", 60 * 60 * 1_000)];

/// A number of bytes, written `4096`, `512KiB`, `4MiB` or `2GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Size {
    pub(crate) bytes: u64,
}

const SIZE_UNITS: [(&str, u64); 5] =
    [("", 1), ("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// A whole number that is not negative.
#[derive(
    serde::Deserialize, serde::Serialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord,
)]
#[serde(transparent)]
pub(crate) struct Count(pub(crate) u32);

impl FromStr for Count {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self).map_err(|_| "write a whole number from 0 to 4294967295")
    }
}

impl FromStr for Span {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "write a whole number with ms, s, m or h, such as 500ms or 10s";
        parse(text, &SPAN_UNITS).map(|ms| Self { ms }).ok_or(wrong)
    }
}

impl FromStr for Size {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "write a whole number of bytes, or one with KiB, MiB or GiB, such as 64MiB";
        parse(text, &SIZE_UNITS).map(|bytes| Self { bytes }).ok_or(wrong)
    }
}

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ms {
            ms if !ms.is_multiple_of(1_000) => write!(f, "{ms}ms"),
            ms if ms == 0 || !ms.is_multiple_of(3_600_000) => write!(f, "{}s", ms / 1_000),
            ms => write!(f, "{}h", ms / 3_600_000),
        }
    }
}

impl serde::Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// As bytes: a rounded text would be another size.
impl serde::Serialize for Size {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.bytes)
    }
}

/// Exact where the number has a round form, otherwise rounded to a tenth.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, factor) =
            SIZE_UNITS.iter().rfind(|(_, of)| self.bytes >= *of).unwrap_or(&("B", 1));
        if self.bytes.is_multiple_of(*factor) {
            write!(f, "{} {name}", self.bytes / factor)
        } else {
            let tenths =
                (u128::from(self.bytes) * 10 + u128::from(factor / 2)) / u128::from(*factor);
            write!(f, "{}.{} {name}", tenths / 10, tenths % 10)
        }
    }
}

impl<'de> de::Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Sizes;
        impl Visitor<'_> for Sizes {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of bytes, or a string such as \"64MiB\"")
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<Size, E> {
                let wrong = |_| E::invalid_value(de::Unexpected::Signed(bytes), &self);
                u64::try_from(bytes).map(|bytes| Size { bytes }).map_err(wrong)
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Size, E> {
                Ok(Size { bytes })
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                text.parse().map_err(|wrong| E::custom(format!("`{text}`: {wrong}")))
            }
        }
        deserializer.deserialize_any(Sizes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_written() {
        for (text, ms, again) in [
            ("500ms", 500, "500ms"),
            ("10s", 10_000, "10s"),
            ("1500ms", 1_500, "1500ms"),
            ("2 m", 120_000, "120s"),
            ("24h", 86_400_000, "24h"),
            ("0s", 0, "0s"),
        ] {
            assert_eq!(text.parse(), Ok(Span { ms }), "{text}");
            assert_eq!(Span { ms }.to_string(), again);
            assert_eq!(again.parse(), Ok(Span { ms }));
        }
        for text in ["", "10", "s", "-1s", "1.5s", "10 sec", "10S", " 10s", "18446744073709551615h"]
        {
            assert!(text.parse::<Span>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes, again) in [
            ("0", 0, "0 B"),
            ("4096", 4096, "4 KiB"),
            ("1000", 1000, "1000 B"),
            ("64MiB", 64 << 20, "64 MiB"),
            ("2 GiB", 2 << 30, "2 GiB"),
            ("1536B", 1536, "1.5 KiB"),
        ] {
            assert_eq!(text.parse(), Ok(Size { bytes }), "{text}");
            assert_eq!(Size { bytes }.to_string(), again);
        }
        for text in ["", "4MB", "4M", "KiB", "-1", "1e6", "0x10", "17179869184GiB"] {
            assert!(text.parse::<Size>().is_err(), "{text:?}");
        }
    }
}
