//! Ids of the events on a legacy session's SSE streams (2025-11-25, basic/transports, Resumability
//! and Redelivery): what a client sends back in `Last-Event-ID`.
//!
//! An id tells its stream, so that only that stream's events are replayed, and is unique within
//! its session. What ids were given, and which of them can still be replayed, is the session's.

/// The id of an event: `{stream}-{seq}` in decimal digits, such as `12-7`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId {
    /// The stream, by its number within the session.
    pub stream: u32,
    /// The event, by its number within the stream.
    pub seq: u32,
}

impl EventId {
    /// Reads what [`Self::write`] writes, and nothing else: no signs, no leading zeros, no number
    /// over 32 bits.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let dash = memchr::memchr(b'-', text)?;
        Some(Self { stream: decimal(&text[..dash])?, seq: decimal(&text[dash + 1..])? })
    }

    /// Appends the text: at most 21 bytes, all of them digits and a dash.
    pub fn write(self, out: &mut Vec<u8>) {
        let mut digits = itoa::Buffer::new();
        out.extend_from_slice(digits.format(self.stream).as_bytes());
        out.push(b'-');
        out.extend_from_slice(digits.format(self.seq).as_bytes());
    }
}

fn decimal(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || (digits.len() > 1 && digits[0] == b'0') {
        return None;
    }
    digits.iter().try_fold(0_u32, |value, &byte| {
        let digit = byte.is_ascii_digit().then(|| byte - b'0')?;
        value.checked_mul(10)?.checked_add(digit.into())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(id: EventId) -> Vec<u8> {
        let mut out = Vec::new();
        id.write(&mut out);
        out
    }

    #[test]
    fn ids_character_for_character() {
        for (stream, seq, expected) in [
            (0, 0, "0-0"),
            (12, 7, "12-7"),
            (0, 10, "0-10"),
            (u32::MAX, u32::MAX, "4294967295-4294967295"),
        ] {
            let id = EventId { stream, seq };
            assert_eq!(text(id), expected.as_bytes());
            assert_eq!(EventId::parse(expected.as_bytes()), Some(id));
        }
    }

    #[test]
    fn nothing_else_is_an_id() {
        for other in [
            "",
            "-",
            "1",
            "1-",
            "-1",
            "01-1",
            "1-00",
            "00-0",
            "+1-1",
            "1-+1",
            "1--1",
            "-1-1",
            "1-1-1",
            " 1-1",
            "1-1 ",
            "1-4294967296",
            "4294967296-1",
            "99999999999999999999-1",
            "a-1",
            "1-١",
        ] {
            assert_eq!(EventId::parse(other.as_bytes()), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn ids_come_back(stream in any::<u32>(), seq in any::<u32>()) {
            let id = EventId { stream, seq };
            prop_assert_eq!(EventId::parse(&text(id)), Some(id));
        }

        #[test]
        fn what_parses_is_canonical(bytes in "[-+0-9 ]{0,24}") {
            if let Some(id) = EventId::parse(bytes.as_bytes()) {
                prop_assert_eq!(text(id), bytes.as_bytes());
            }
        }

        #[test]
        fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..30)) {
            if let Some(id) = EventId::parse(&bytes) {
                prop_assert_eq!(text(id), bytes);
            }
        }
    }
}
