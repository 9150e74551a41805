//! Protection of MRTR's `requestState`, which passes through the client
//! (2026-07-28, Multi Round-Trip Requests, Server Requirements).
//!
//! Lives once per process; servers that share a secret accept each other's state.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

const NONCE_BYTES: usize = 24;
const EXPIRY_BYTES: usize = 8;

/// How long a sealed state is accepted, in milliseconds.
pub const STATE_TTL_MS: u64 = 10 * 60 * 1000;
/// Largest state that is accepted from a client, in bytes of base64.
pub const STATE_BYTES_MAX: usize = 64 * 1024;

/// Seals and opens request states: XChaCha20-Poly1305 over expiry and state, bound to the request.
pub struct StateKey(XChaCha20Poly1305);

/// A state that was tampered with, belongs to another request, or is too old.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("requestState is invalid or expired")]
pub struct StateError;

/// Says which request a state belongs to: a digest of method, name and arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestDigest([u8; 32]);

impl RequestDigest {
    /// Digests what the client repeats in a retry. Arguments count by value, not by spelling.
    pub fn new(method: &str, name: &str, arguments: Option<&RawValue>) -> Self {
        let mut hash = Sha256::new();
        for part in [method, name] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        if let Some(arguments) = arguments {
            // serde_json keeps objects sorted by key, so this is one spelling of one value.
            let value: serde_json::Value =
                serde_json::from_str(arguments.get()).unwrap_or(serde_json::Value::Null);
            hash.update(value.to_string().as_bytes());
        }
        Self(hash.finalize().into())
    }
}

impl std::fmt::Debug for StateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StateKey(..)")
    }
}

impl StateKey {
    /// Derives the key from a configured secret of any length.
    pub fn from_secret(secret: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"ringmesh requestState v1\0");
        hash.update(secret);
        Self(XChaCha20Poly1305::new(&hash.finalize()))
    }

    /// A key that nobody else has.
    ///
    /// # Errors
    /// Where the system has no random bytes (getrandom(2)).
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret)?;
        Ok(Self::from_secret(&secret))
    }

    /// Seals a state for [`STATE_TTL_MS`].
    ///
    /// # Errors
    /// [`StateError`] where the system has no random bytes.
    pub fn seal(
        &self,
        digest: RequestDigest,
        unix_ms: u64,
        state: &[u8],
    ) -> Result<String, StateError> {
        let mut sealed = vec![0; NONCE_BYTES];
        getrandom::fill(&mut sealed).map_err(|_| StateError)?;
        let mut plain = Vec::with_capacity(EXPIRY_BYTES + state.len());
        plain.extend_from_slice(&unix_ms.saturating_add(STATE_TTL_MS).to_le_bytes());
        plain.extend_from_slice(state);
        let payload = Payload { msg: &plain, aad: &digest.0 };
        let boxed = self.0.encrypt(XNonce::from_slice(&sealed), payload).map_err(|_| StateError)?;
        sealed.extend_from_slice(&boxed);
        Ok(URL_SAFE_NO_PAD.encode(sealed))
    }

    /// Opens what a client sent back.
    ///
    /// # Errors
    /// [`StateError`], which deliberately does not say what was wrong.
    pub fn open(
        &self,
        digest: RequestDigest,
        unix_ms: u64,
        text: &str,
    ) -> Result<Vec<u8>, StateError> {
        if text.len() > STATE_BYTES_MAX {
            return Err(StateError);
        }
        let sealed = URL_SAFE_NO_PAD.decode(text).map_err(|_| StateError)?;
        let (nonce, boxed) = sealed.split_at_checked(NONCE_BYTES).ok_or(StateError)?;
        let payload = Payload { msg: boxed, aad: &digest.0 };
        let mut plain =
            self.0.decrypt(XNonce::from_slice(nonce), payload).map_err(|_| StateError)?;
        let (expiry, _) = plain.split_first_chunk::<EXPIRY_BYTES>().ok_or(StateError)?;
        if u64::from_le_bytes(*expiry) < unix_ms {
            return Err(StateError);
        }
        plain.drain(..EXPIRY_BYTES);
        Ok(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(arguments: &str) -> RequestDigest {
        let raw: &RawValue = serde_json::from_str(arguments).expect("valid JSON");
        RequestDigest::new("tools/call", "t", Some(raw))
    }

    #[test]
    fn opens_only_what_was_sealed_for_the_same_request_in_time() {
        let key = StateKey::from_secret(b"secret");
        let sealed = key.seal(digest(r#"{"a":1,"b":2}"#), 1_000, b"step 1").expect("sealed");
        let open = |key: &StateKey, args, at, text: &str| key.open(digest(args), at, text);
        let same = r#"{"b": 2, "a": 1}"#;
        assert_eq!(open(&key, same, 2_000, &sealed).as_deref(), Ok(&b"step 1"[..]));
        assert_eq!(
            open(&StateKey::from_secret(b"secret"), same, 2_000, &sealed).as_deref(),
            Ok(&b"step 1"[..]),
        );
        assert_eq!(open(&key, r#"{"a":1,"b":3}"#, 2_000, &sealed), Err(StateError));
        assert_eq!(open(&key, same, 1_001 + STATE_TTL_MS, &sealed), Err(StateError));
        assert_eq!(open(&StateKey::from_secret(b"other"), same, 2_000, &sealed), Err(StateError));
        assert_eq!(open(&key, same, 2_000, &format!("{sealed}-TAMPERED")), Err(StateError));
        assert_eq!(open(&key, same, 2_000, ""), Err(StateError));
    }

    #[test]
    fn two_seals_of_one_state_differ() {
        let key = StateKey::random().expect("random bytes");
        let seal = || key.seal(digest("{}"), 0, b"x").expect("sealed");
        assert_ne!(seal(), seal());
    }
}
