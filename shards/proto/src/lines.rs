//! Newline-delimited JSON-RPC, as byte streams carry it: one message a line (2025-11-25 and
//! 2026-07-28, basic/transports, stdio).
//!
//! Pure functions over the bytes that arrived; what is incomplete, and how long a line may be, is
//! the connection's to remember. Only LF ends a line: JSON text holds none outside of white space,
//! and a CR before it is white space too.

use serde_json::value::RawValue;

use crate::jsonrpc;

/// Where the first line at or after `from` ends: the index of its LF, or `None` where more bytes
/// are needed. With `from` at the number of bytes already looked at, all the calls for a line
/// together look at each byte once.
pub fn find_end(bytes: &[u8], from: usize) -> Option<usize> {
    let found = memchr::memchr(b'\n', bytes.get(from..)?)?;
    Some(from + found)
}

/// The line without the ASCII white space around it; empty for a line that holds no message.
pub fn trim(line: &[u8]) -> &[u8] {
    line.trim_ascii()
}

/// Whether the line is a JSON object in UTF-8, nested no deeper than [`jsonrpc::DEPTH_MAX`]: what
/// the first line of a client must be. Anything else speaks another protocol, or to somebody else:
/// HTTP from a browser that was lured here would go on until a line of its body pleases.
pub fn is_object(line: &[u8]) -> bool {
    let line = trim(line);
    if !line.starts_with(b"{") || !jsonrpc::is_shallow(line) {
        return false;
    }
    std::str::from_utf8(line).is_ok_and(|text| serde_json::from_str::<&RawValue>(text).is_ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ends() {
        let table: [(&[u8], usize, Option<usize>); 9] = [
            (b"", 0, None),
            (b"{}", 0, None),
            (b"\n", 0, Some(0)),
            (b"{}\n", 0, Some(2)),
            (b"{}\r\n{}\n", 0, Some(3)),
            (b"{}\r\n{}\n", 3, Some(3)),
            (b"{}\r\n{}\n", 4, Some(6)),
            (b"{}\n", 3, None),
            (b"{}\n", 9, None),
        ];
        for (bytes, from, end) in table {
            assert_eq!(find_end(bytes, from), end, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn white_space_around_lines_is_dropped() {
        let table: [(&[u8], &[u8]); 5] = [
            (b"", b""),
            (b" \t\r", b""),
            (b"{}\r", b"{}"),
            (b"  { }\t", b"{ }"),
            (b"\xa0{}", b"\xa0{}"),
        ];
        for (line, trimmed) in table {
            assert_eq!(trim(line), trimmed, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn first_lines() {
        let nested = |depth| format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
        let (deep, deeper) = (nested(jsonrpc::DEPTH_MAX), nested(jsonrpc::DEPTH_MAX + 1));
        let table: [(&[u8], bool); 20] = [
            (b"{}", true),
            (b" {} \r", true),
            (br#"{"jsonrpc":"2.0","id":1,"method":"server/discover"}"#, true),
            (br#"{"a":[{"b":null}],"c":"\u00e9"}"#, true),
            ("{\"a\":\"é\"}".as_bytes(), true),
            (deep.as_bytes(), true),
            (deeper.as_bytes(), false),
            (b"", false),
            (b" \r", false),
            (b"[]", false),
            (b"[{}]", false),
            (b"null", false),
            (b"\"{}\"", false),
            (b"{", false),
            (b"{}{}", false),
            (b"{a:1}", false),
            (b"{\"a\":\"\xff\"}", false),
            (b"\xef\xbb\xbf{}", false),
            (b"POST /mcp HTTP/1.1\r", false),
            (b"Content-Type: application/json", false),
        ];
        for (line, object) in table {
            assert_eq!(is_object(line), object, "{}", line.escape_ascii());
        }
    }

    /// The lines that a reader sees whose bytes come in pieces.
    fn read(bytes: &[u8], cuts: &[usize]) -> Vec<Vec<u8>> {
        let (mut lines, mut held, mut scanned) = (Vec::new(), Vec::new(), 0);
        let mut rest = bytes;
        for cut in cuts.iter().copied().chain([usize::MAX]) {
            let (piece, later) = rest.split_at(cut.min(rest.len()));
            held.extend_from_slice(piece);
            rest = later;
            while let Some(end) = find_end(&held, scanned) {
                lines.push(held[..end].to_vec());
                held.drain(..=end);
                scanned = 0;
            }
            scanned = held.len();
        }
        lines.push(held);
        lines
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_lines(
            bytes in "[a\r\n]{0,40}",
            cuts in prop::collection::vec(0..9_usize, 0..12),
        ) {
            let whole: Vec<_> =
                bytes.as_bytes().split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
            prop_assert_eq!(read(bytes.as_bytes(), &cuts), whole);
        }

        #[test]
        fn any_bytes_are_judged(
            bytes in prop::collection::vec(any::<u8>(), 0..60),
            text in r#" ?\{[-{}\[\]",:a1\\ \n]{0,40}"#,
        ) {
            for line in [&bytes[..], text.as_bytes()] {
                let whole = serde_json::from_slice::<serde_json::Value>(line);
                let object = whole.is_ok_and(|value| value.is_object());
                // A value refuses more than JSON's grammar does: halves of surrogates.
                prop_assert!(!object || is_object(line));
                let ends = trim(line).last() == Some(&b'}');
                prop_assert!(ends || !is_object(line));
            }
        }
    }
}
