//! Ids of legacy sessions, as the `Mcp-Session-Id` header carries them (2025-11-25,
//! basic/transports, Session Management).
//!
//! An id names the partition in which its session lives, so that whoever receives a request finds
//! the session without asking anybody; and it holds a secret, which is all that a client needs to
//! be taken for the session's owner. The caller draws the secret from a cryptographic generator.

use std::fmt;

/// How many partitions there are: what an id's first part counts to.
pub const PARTITIONS: u16 = 4096;

/// Hexadecimal digits of a partition.
const PARTITION_DIGITS: usize = 3;
/// Hexadecimal digits of a secret.
const SECRET_DIGITS: usize = 32;

const _: () = assert!(PARTITIONS as usize == 1 << (4 * PARTITION_DIGITS));
const _: () = assert!(u128::BITS as usize == 4 * SECRET_DIGITS);

/// The id of a session: `{partition}-{secret}` in lower-case hexadecimal digits, 3 and 32 of them.
///
/// Its `Debug` hides the secret: who reads a log must not become the session's owner.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId {
    /// Where the session lives: below [`PARTITIONS`].
    pub partition: u16,
    /// 128 random bits.
    pub secret: u128,
}

impl SessionId {
    /// Length of the text, in bytes.
    pub const LEN: usize = PARTITION_DIGITS + 1 + SECRET_DIGITS;

    /// Reads what [`Self::write`] writes, and nothing else: `None` is no id that was ever given.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (partition, rest) = text.split_first_chunk::<PARTITION_DIGITS>()?;
        let secret: &[u8; SECRET_DIGITS] = rest.strip_prefix(b"-")?.try_into().ok()?;
        let partition = u16::try_from(hex(partition)?).ok()?;
        Some(Self { partition, secret: hex(secret)? })
    }

    /// Appends the text: [`Self::LEN`] visible ASCII characters.
    ///
    /// # Panics
    /// If the partition is not below [`PARTITIONS`]: its text would name another one.
    pub fn write(self, out: &mut Vec<u8>) {
        assert!(self.partition < PARTITIONS, "there is no such partition");
        let mut text = [b'-'; Self::LEN];
        write_hex(&mut text[..PARTITION_DIGITS], self.partition.into());
        write_hex(&mut text[PARTITION_DIGITS + 1..], self.secret);
        out.extend_from_slice(&text);
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({:03x}-…)", self.partition)
    }
}

fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |value, &digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u128::from(digit))
    })
}

fn write_hex(digits: &mut [u8], mut value: u128) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(value & 0xf) as usize];
        value >>= 4;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(id: SessionId) -> Vec<u8> {
        let mut out = Vec::new();
        id.write(&mut out);
        out
    }

    #[test]
    fn ids_character_for_character() {
        for (partition, secret, expected) in [
            (0, 0, "000-00000000000000000000000000000000"),
            (0xfff, u128::MAX, "fff-ffffffffffffffffffffffffffffffff"),
            (
                0x0a1,
                0x0123_4567_89ab_cdef_0011_2233_4455_6677,
                "0a1-0123456789abcdef0011223344556677",
            ),
        ] {
            let id = SessionId { partition, secret };
            assert_eq!(text(id), expected.as_bytes());
            assert_eq!(SessionId::parse(expected.as_bytes()), Some(id));
        }
    }

    #[test]
    fn nothing_else_is_an_id() {
        for other in [
            "",
            "-",
            "000-",
            "000-0000000000000000000000000000000",
            "000-000000000000000000000000000000000",
            "0000-0000000000000000000000000000000",
            "00-000000000000000000000000000000000",
            "000_00000000000000000000000000000000",
            "00A-00000000000000000000000000000000",
            "00a-0000000000000000000000000000000F",
            "+00-00000000000000000000000000000000",
            "000-+0000000000000000000000000000000",
            " 000-0000000000000000000000000000000",
            "000-00000000000000000000000000000000 ",
            "000-0000000000000000000000000000000g",
            "000-000000000000000000000000000000é",
        ] {
            assert_eq!(SessionId::parse(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn logs_do_not_tell_the_secret() {
        let id = SessionId { partition: 0x2b, secret: 0xdead_beef };
        assert_eq!(format!("{id:?}"), "SessionId(02b-…)");
    }

    #[test]
    #[should_panic(expected = "partition")]
    fn a_partition_too_large_is_a_bug() {
        text(SessionId { partition: PARTITIONS, secret: 1 });
    }

    proptest! {
        #[test]
        fn ids_come_back(partition in 0..PARTITIONS, secret in any::<u128>()) {
            let id = SessionId { partition, secret };
            let text = text(id);
            prop_assert_eq!(text.len(), SessionId::LEN);
            // What the specification asks of an id's characters.
            prop_assert!(text.iter().all(|byte| (0x21..=0x7e).contains(byte)));
            prop_assert_eq!(SessionId::parse(&text), Some(id));
        }

        #[test]
        fn what_parses_is_canonical(bytes in "[0-9a-fA-F]{2,4}[-_]?[0-9a-f]{30,33}") {
            if let Some(id) = SessionId::parse(bytes.as_bytes()) {
                prop_assert_eq!(text(id), bytes.as_bytes());
            }
        }

        #[test]
        fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Some(id) = SessionId::parse(&bytes) {
                prop_assert_eq!(text(id), bytes);
            }
        }
    }
}
