//! Server-sent events as a server writes them (WHATWG HTML 9.2), whole in chunks of HTTP/1.1 (RFC
//! 9112 7.1) or bare on a connection whose end is the stream's.
//!
//! Nothing here keeps state: an [`EventPatch`] remembers where a chunk's size is missing, between
//! the calls that begin and finish one event. One event is one chunk, so that a client that reads
//! chunks sees whole events. [`crate::http1::begin_stream`] writes the head before the first.
//!
//! Protocol 2026-07-28 does without the `id` and `retry` fields; on the streams of a session they
//! let a client come back for what it missed. [`Reader`] is the client's side.

mod reader;

use crate::mcp::EventId;

pub use reader::{Item, Reader};

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
    /// Where its data begins.
    data_at: usize,
    chunked: bool,
}

/// Begins an event of type `message`, with an id on the streams of a session: the caller appends
/// its data, one line of JSON, to `out` and then calls [`finish_event`].
pub fn begin_event(out: &mut Vec<u8>, chunked: bool, id: Option<EventId>) -> EventPatch {
    let event_at = begin_block(out, chunked);
    if let Some(id) = id {
        write_id(out, id);
    }
    out.extend_from_slice(EVENT_START);
    EventPatch { event_at, data_at: out.len(), chunked }
}

/// Ends an event: what was appended since [`begin_event`] is its data. It must hold no CR or LF,
/// which would end the line; JSON that is not laid out in lines has none.
///
/// # Panics
/// If the event is over [`EVENT_BYTES_MAX`] bytes, or if `out` is shorter than it was.
pub fn finish_event(out: &mut Vec<u8>, patch: EventPatch) {
    let data = out.get(patch.data_at..);
    let data = data.expect("the buffer lost the event's beginning");
    debug_assert!(memchr::memchr2(b'\r', b'\n', data).is_none(), "an event's data is one line");
    out.extend_from_slice(b"\n\n");
    finish_block(out, patch.event_at, patch.chunked);
}

/// Writes an event of an id and empty data: a client that loses the stream before its first
/// message knows what to come back with (2025-11-25, basic/transports, Sending Messages to the
/// Server, item 6).
pub fn write_prime(out: &mut Vec<u8>, chunked: bool, id: EventId) {
    let event_at = begin_block(out, chunked);
    write_id(out, id);
    out.extend_from_slice(b"data: \n\n");
    finish_block(out, event_at, chunked);
}

/// Tells the client to wait so many milliseconds before it comes back, once the connection is
/// closed before the stream's end (WHATWG HTML 9.2.6).
pub fn write_retry(out: &mut Vec<u8>, chunked: bool, retry_ms: u64) {
    let event_at = begin_block(out, chunked);
    out.extend_from_slice(b"retry: ");
    out.extend_from_slice(itoa::Buffer::new().format(retry_ms).as_bytes());
    out.extend_from_slice(b"\n\n");
    finish_block(out, event_at, chunked);
}

/// Ends a stream: the last chunk, or nothing, since then the connection is closed.
pub fn end_stream(out: &mut Vec<u8>, chunked: bool) {
    if chunked {
        out.extend_from_slice(b"0\r\n\r\n");
    }
}

/// Leaves room for a chunk's size; returns where the chunk's bytes begin.
fn begin_block(out: &mut Vec<u8>, chunked: bool) -> usize {
    if chunked {
        out.extend_from_slice(SIZE_LINE);
    }
    out.len()
}

/// Makes a chunk of what was written since `event_at`, the blank line at its end included.
fn finish_block(out: &mut Vec<u8>, event_at: usize, chunked: bool) {
    if chunked {
        let size = out.len() - event_at;
        assert!(size <= EVENT_BYTES_MAX, "an event is over EVENT_BYTES_MAX");
        let digits_at = event_at - SIZE_LINE.len();
        write_hex(&mut out[digits_at..digits_at + SIZE_DIGITS], size);
        out.extend_from_slice(b"\r\n");
    }
}

fn write_id(out: &mut Vec<u8>, id: EventId) {
    out.extend_from_slice(b"id: ");
    id.write(out);
    out.push(b'\n');
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
        let id = Some(EventId { stream: 3, seq: 7 });
        for (chunked, id, wire) in [
            (true, None, "0000001b\r\nevent: message\ndata: {\"\"}\n\n\r\n"),
            (false, None, "event: message\ndata: {\"\"}\n\n"),
            (true, id, "00000023\r\nid: 3-7\nevent: message\ndata: {\"\"}\n\n\r\n"),
            (false, id, "id: 3-7\nevent: message\ndata: {\"\"}\n\n"),
        ] {
            let mut out = Vec::new();
            let patch = begin_event(&mut out, chunked, id);
            out.extend_from_slice(b"{\"\"}");
            finish_event(&mut out, patch);
            assert_eq!(String::from_utf8(out).unwrap(), wire);
        }
    }

    #[test]
    fn what_polling_needs_byte_for_byte() {
        for (chunked, prime, retry) in [
            (true, "00000010\r\nid: 3-0\ndata: \n\n\r\n", "0000000c\r\nretry: 500\n\n\r\n"),
            (false, "id: 3-0\ndata: \n\n", "retry: 500\n\n"),
        ] {
            let mut out = Vec::new();
            write_prime(&mut out, chunked, EventId { stream: 3, seq: 0 });
            assert_eq!(std::str::from_utf8(&out), Ok(prime));
            out.clear();
            write_retry(&mut out, chunked, 500);
            assert_eq!(std::str::from_utf8(&out), Ok(retry));
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
        let patch = begin_event(&mut out, true, None);
        out.extend_from_slice(b"{\n}");
        finish_event(&mut out, patch);
    }

    /// What a client's parser makes of a stream (WHATWG HTML 9.2.6): the events, each with the last
    /// id that was sent, and the last time to wait.
    #[derive(Debug, Default, PartialEq)]
    struct Client {
        events: Vec<(Option<String>, String, String)>,
        last_id: Option<String>,
        retry_ms: Option<u64>,
    }

    impl Client {
        fn read(stream: &str) -> Self {
            let mut client = Self::default();
            let (mut kind, mut data) = (String::new(), String::new());
            for line in stream.split('\n') {
                match line.split_once(": ") {
                    Some(("id", id)) => client.last_id = Some(id.to_owned()),
                    Some(("event", name)) => kind = name.to_owned(),
                    Some(("data", text)) => data = data + text + "\n",
                    Some(("retry", time)) => client.retry_ms = time.parse().ok(),
                    _ if line.is_empty() && data.is_empty() => kind.clear(),
                    _ if line.is_empty() => {
                        data.pop();
                        let event = (client.last_id.clone(), kind.split_off(0), data.split_off(0));
                        client.events.push(event);
                    }
                    _ => assert_eq!(line, ":", "a comment"),
                }
            }
            client
        }
    }

    #[derive(Clone, Debug)]
    enum Sent {
        Event(Option<EventId>, String),
        Prime(EventId),
        Retry(u64),
        KeepAlive,
    }

    impl Sent {
        fn write(&self, wire: &mut Vec<u8>, chunked: bool) {
            match self {
                Self::Event(id, data) => {
                    let patch = begin_event(wire, chunked, *id);
                    wire.extend_from_slice(data.as_bytes());
                    finish_event(wire, patch);
                }
                Self::Prime(id) => write_prime(wire, chunked, *id),
                Self::Retry(time_ms) => write_retry(wire, chunked, *time_ms),
                Self::KeepAlive => {
                    wire.extend_from_slice(if chunked { KEEP_ALIVE } else { KEEP_ALIVE_RAW });
                }
            }
        }

        fn show(&self, client: &mut Client) {
            let mut set_id = |id: EventId| {
                client.last_id = Some(format!("{}-{}", id.stream, id.seq));
            };
            match self {
                Self::Event(id, data) => {
                    id.map(&mut set_id);
                    let id = client.last_id.clone();
                    client.events.push((id, "message".to_owned(), data.clone()));
                }
                Self::Prime(id) => {
                    set_id(*id);
                    let id = client.last_id.clone();
                    client.events.push((id, String::new(), String::new()));
                }
                Self::Retry(time_ms) => client.retry_ms = Some(*time_ms),
                Self::KeepAlive => {}
            }
        }
    }

    fn sent() -> impl Strategy<Value = Sent> {
        let id = (any::<u32>(), any::<u32>()).prop_map(|(stream, seq)| EventId { stream, seq });
        prop_oneof![
            3 => (prop::option::of(id.clone()), "[^\r\n]{0,300}")
                .prop_map(|(id, data)| Sent::Event(id, data)),
            1 => id.prop_map(Sent::Prime),
            1 => any::<u64>().prop_map(Sent::Retry),
            1 => Just(Sent::KeepAlive),
        ]
    }

    proptest! {
        #[test]
        fn a_client_reads_what_was_sent(stream in prop::collection::vec(sent(), 0..8)) {
            let mut wires = [Vec::new(), Vec::new()];
            let mut expected = Client::default();
            for sent in &stream {
                sent.show(&mut expected);
            }
            for (wire, chunked) in wires.iter_mut().zip([false, true]) {
                for sent in &stream {
                    sent.write(wire, chunked);
                }
                end_stream(wire, chunked);
            }
            let [raw, chunked] = wires;
            prop_assert_eq!(decode(&chunked), &raw[..]);
            prop_assert_eq!(Client::read(std::str::from_utf8(&raw).unwrap()), expected);
        }
    }
}
