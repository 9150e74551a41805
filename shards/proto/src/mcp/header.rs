//! Values of `Mcp-Name` and `Mcp-Param-*` (2026-07-28, Streamable HTTP, Value Encoding).

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A header value that is no valid encoding: the client is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("header value has invalid characters or invalid base64")]
pub struct HeaderValueError;

/// Decodes a header value: `=?base64?…?=` holds base64 of UTF-8 text; anything else is literal
/// visible ASCII, space and tab.
///
/// # Errors
/// [`HeaderValueError`] on other bytes, bad base64 or bad UTF-8.
pub fn decode_header_value(value: &[u8]) -> Result<Cow<'_, str>, HeaderValueError> {
    let encoded = value.strip_prefix(b"=?base64?").and_then(|rest| rest.strip_suffix(b"?="));
    if let Some(encoded) = encoded {
        let bytes = STANDARD.decode(encoded).map_err(|_| HeaderValueError)?;
        return String::from_utf8(bytes).map(Cow::Owned).map_err(|_| HeaderValueError);
    }
    let visible = |&byte: &u8| byte == b'\t' || (0x20..0x7f).contains(&byte);
    if !value.iter().all(visible) {
        return Err(HeaderValueError);
    }
    std::str::from_utf8(value).map(Cow::Borrowed).map_err(|_| HeaderValueError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_the_specification_s_examples() {
        let table: [(&[u8], Option<&str>); 10] = [
            (b"us-west1", Some("us-west1")),
            (b"=?base64?SGVsbG8sIOS4lueVjA==?=", Some("Hello, \u{4e16}\u{754c}")),
            (b"=?base64?IHBhZGRlZCA=?=", Some(" padded ")),
            (b"=?base64?bGluZTEKbGluZTI=?=", Some("line1\nline2")),
            (b"=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?=", Some("=?base64?literal?=")),
            (b"=?base64?SGVsbG8?=", None),
            (b"=?base64?SGVs!!!bG8=?=", None),
            (b"=?base64?SGVsbG8=", Some("=?base64?SGVsbG8=")),
            (b"=?BASE64?SGVsbG8=?=", Some("=?BASE64?SGVsbG8=?=")),
            (b"\xc3\xa9", None),
        ];
        for (value, expected) in table {
            let decoded = decode_header_value(value).ok();
            assert_eq!(decoded.as_deref(), expected, "{}", String::from_utf8_lossy(value));
        }
    }
}
