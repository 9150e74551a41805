//! The protocol versions that are served, and what they differ in (specification, basic/lifecycle,
//! Version Negotiation).
//!
//! Left out on purpose: 2024-11-05, whose HTTP+SSE transport has other endpoints.

/// A released version of the protocol that is served; later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// `2025-03-26`: Streamable HTTP, and the only version with batches.
    V2025_03_26,
    /// `2025-06-18`: the version header; no batches.
    V2025_06_18,
    /// `2025-11-25`: SSE streams that clients poll. The newest with sessions.
    V2025_11_25,
    /// `2026-07-28`: the modern, stateless one.
    V2026_07_28,
}

impl Version {
    /// The newest version with an `initialize` handshake.
    pub const NEWEST_LEGACY: Self = Self::V2025_11_25;

    /// All of them, oldest first.
    pub const ALL: [Self; 4] =
        [Self::V2025_03_26, Self::V2025_06_18, Self::V2025_11_25, Self::V2026_07_28];

    /// Reads a wire name, as in the `MCP-Protocol-Version` header. `None`: not served.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.name().as_bytes() == name)
    }

    /// The wire name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => super::VERSION_2026_07_28,
        }
    }

    /// Whether each request stands for itself: no `initialize`, no session.
    pub const fn is_modern(self) -> bool {
        matches!(self, Self::V2026_07_28)
    }

    /// What `initialize` answers a client that asked for `asked`: the same where it is a legacy
    /// version that is served, else [`Self::NEWEST_LEGACY`], which the client may refuse. Never a
    /// modern version, which knows no `initialize`.
    pub fn negotiate(asked: &str) -> Self {
        let same = Self::from_name(asked.as_bytes()).filter(|version| !version.is_modern());
        same.unwrap_or(Self::NEWEST_LEGACY)
    }

    /// Whether a client may send an array of messages, which the server must then take (2025-03-26,
    /// basic, Batching; removed in 2025-06-18).
    pub const fn batches(self) -> bool {
        matches!(self, Self::V2025_03_26)
    }

    /// Whether streams begin with an event that has an id and empty data, and may be closed before
    /// their end after a `retry` field (2025-11-25, basic/transports, Sending Messages to the
    /// Server, item 6). The modern version has no event ids, and so nothing to come back with.
    pub const fn polls(self) -> bool {
        matches!(self, Self::V2025_11_25)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_each_version_is() {
        use Version::{V2025_03_26, V2025_06_18, V2025_11_25, V2026_07_28};
        // Version, name, modern, batches, polls.
        let table = [
            (V2025_03_26, "2025-03-26", false, true, false),
            (V2025_06_18, "2025-06-18", false, false, false),
            (V2025_11_25, "2025-11-25", false, false, true),
            (V2026_07_28, "2026-07-28", true, false, false),
        ];
        assert_eq!(table.map(|row| row.0), Version::ALL);
        assert!(Version::ALL.is_sorted());
        for (version, name, modern, batches, polls) in table {
            assert_eq!(version.name(), name);
            assert_eq!(Version::from_name(name.as_bytes()), Some(version));
            let said = (version.is_modern(), version.batches(), version.polls());
            assert_eq!(said, (modern, batches, polls), "{name}");
        }
    }

    #[test]
    fn a_handshake_never_ends_in_a_version_without_one() {
        for (asked, answer) in [
            ("2025-03-26", Version::V2025_03_26),
            ("2025-06-18", Version::V2025_06_18),
            ("2025-11-25", Version::V2025_11_25),
            ("2026-07-28", Version::NEWEST_LEGACY),
            ("2024-11-05", Version::NEWEST_LEGACY),
            ("1.0.0", Version::NEWEST_LEGACY),
            ("", Version::NEWEST_LEGACY),
        ] {
            assert_eq!(Version::negotiate(asked), answer, "{asked}");
        }
    }

    proptest! {
        #[test]
        fn names_are_read_exactly(
            version in prop::sample::select(&Version::ALL[..]),
            at in 0..=10_usize,
            byte in any::<u8>(),
            grow in any::<bool>(),
        ) {
            let mut name = version.name().as_bytes().to_vec();
            if grow {
                name.insert(at, byte);
            } else {
                name[at.min(9)] = byte;
            }
            let known = Version::ALL.into_iter().find(|known| known.name().as_bytes() == name);
            prop_assert_eq!(Version::from_name(&name), known);
            prop_assert!(!grow || known.is_none());
        }
    }
}
