//! Server-sent events as a server writes them (WHATWG HTML 9.2), whole in chunks of HTTP/1.1 (RFC
//! 9112 7.1) or bare on a connection whose end is the stream's.
//!
//! Nothing here keeps state: an [`EventPatch`] remembers where a chunk's size is missing, between
//! the calls that begin and finish one event. One event is one chunk, so that a client that reads
//! chunks sees whole events. [`crate::http1::begin_stream`] writes the head before the first.
//!
//! Left out on purpose: reading events, and the `id` and `retry` fields, which protocol 2026-07-28
//! does without.

/// A chunk that holds a comment: keeps proxies from dropping an idle stream, and clients ignore it.
pub const KEEP_ALIVE: &[u8] = b"3\r\n:\n\n\r\n";

/// The comment of [`KEEP_ALIVE`], for a stream that is not chunked.
pub const KEEP_ALIVE_RAW: &[u8] = b":\n\n";

/// Most bytes of one event, its field names included: as many as its chunk's size has room for.
pub const EVENT_BYTES_MAX: usize = u32::MAX as usize;

/// Width of the chunk's size: leading zeros are legal (RFC 9112 7.1), so it is filled in later.
const SIZE_DIGITS: usize = 8;

const SIZE_LINE: &[u8; SIZE_DIGITS + 2] = b"00000000\r\n";
const EVENT_START: &[u8] = b"event: message\ndata: ";

/// Where [`finish_event`] writes the chunk's size. Holds as long as nothing is taken from the front
/// of the buffer.
#[derive(Debug)]
#[must_use = "an event that was begun must be finished"]
pub struct EventPatch {
    /// Where the event begins, behind the size line if there is one.
    event_at: usize,
    chunked: bool,
}

/// Begins an event of type `message`: the caller appends its data, one line of JSON, to `out` and
/// then calls [`finish_event`].
pub fn begin_event(out: &mut Vec<u8>, chunked: bool) -> EventPatch {
    if chunked {
        out.extend_from_slice(SIZE_LINE);
    }
    let event_at = out.len();
    out.extend_from_slice(EVENT_START);
    EventPatch { event_at, chunked }
}

/// Ends an event: what was appended since [`begin_event`] is its data. It must hold no CR or LF,
/// which would end the line; JSON that is not laid out in lines has none.
///
/// # Panics
/// If the event is over [`EVENT_BYTES_MAX`] bytes, or if `out` is shorter than it was.
pub fn finish_event(out: &mut Vec<u8>, patch: EventPatch) {
    let data = out.get(patch.event_at + EVENT_START.len()..);
    let data = data.expect("the buffer lost the event's beginning");
    debug_assert!(memchr::memchr2(b'\r', b'\n', data).is_none(), "an event's data is one line");
    out.extend_from_slice(b"\n\n");
    if patch.chunked {
        let size = out.len() - patch.event_at;
        assert!(size <= EVENT_BYTES_MAX, "an event is over EVENT_BYTES_MAX");
        let digits_at = patch.event_at - SIZE_LINE.len();
        write_hex(&mut out[digits_at..digits_at + SIZE_DIGITS], size);
        out.extend_from_slice(b"\r\n");
    }
}

/// Ends a stream: the last chunk, or nothing, since then the connection is closed.
pub fn end_stream(out: &mut Vec<u8>, chunked: bool) {
    if chunked {
        out.extend_from_slice(b"0\r\n\r\n");
    }
}

fn write_hex(digits: &mut [u8], mut value: usize) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[value & 0xf];
        value >>= 4;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http1::{Chunked, Decoded};

    fn decode(wire: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let end = Chunked::new(1 << 20).decode(wire, &mut out).unwrap();
        assert_eq!(end, Decoded { consumed: wire.len(), done: true });
        out
    }

    #[test]
    fn an_event_byte_for_byte() {
        for (chunked, wire) in [
            (true, "0000001b\r\nevent: message\ndata: {\"\"}\n\n\r\n"),
            (false, "event: message\ndata: {\"\"}\n\n"),
        ] {
            let mut out = Vec::new();
            let patch = begin_event(&mut out, chunked);
            out.extend_from_slice(b"{\"\"}");
            finish_event(&mut out, patch);
            assert_eq!(String::from_utf8(out).unwrap(), wire);
        }
    }

    #[test]
    fn keep_alive_is_one_chunk_with_the_raw_comment() {
        let mut wire = KEEP_ALIVE.to_vec();
        end_stream(&mut wire, true);
        assert_eq!(decode(&wire), KEEP_ALIVE_RAW);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "one line")]
    fn data_of_two_lines_is_a_bug() {
        let mut out = Vec::new();
        let patch = begin_event(&mut out, true);
        out.extend_from_slice(b"{\n}");
        finish_event(&mut out, patch);
    }

    proptest! {
        #[test]
        fn chunked_streams_decode_to_raw_ones(
            events in prop::collection::vec(prop::option::of("[^\r\n]{0,300}"), 0..8),
        ) {
            let mut wires = [Vec::new(), Vec::new()];
            for (wire, chunked) in wires.iter_mut().zip([false, true]) {
                for event in &events {
                    let Some(data) = event else {
                        wire.extend_from_slice(if chunked { KEEP_ALIVE } else { KEEP_ALIVE_RAW });
                        continue;
                    };
                    let patch = begin_event(wire, chunked);
                    wire.extend_from_slice(data.as_bytes());
                    finish_event(wire, patch);
                }
                end_stream(wire, chunked);
            }
            let [raw, chunked] = wires;
            prop_assert_eq!(decode(&chunked), &raw[..]);
            let raw = String::from_utf8(raw).unwrap();
            let data: Vec<_> =
                raw.split("\n\n").filter_map(|event| event.split_once("\ndata: ")).collect();
            let sent = events.iter().flatten().map(|data| ("event: message", &data[..]));
            let sent: Vec<_> = sent.collect();
            prop_assert_eq!(data, sent);
        }
    }
}
