//! Reads server-sent events however the network cut them (WHATWG HTML 9.2.6).
//!
//! A [`Reader`] lives with a stream. It holds bytes only while a line or an event is incomplete, so
//! whoever has many streams may share a few readers: one that [`Reader::is_empty`] serves another
//! stream as well as a new one.
//!
//! Left out: the type of an event and `retry`, which no client here acts on.

/// A byte order mark, which a stream may begin with.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// What a stream holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// An event: its data, lines joined by LF. Empty data stands for an event that says no more
    /// than its id.
    Event(&'a [u8]),
    /// A comment, such as keeps a connection alive.
    Comment,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Reader {
    /// Bytes that came; those before `at` are taken.
    bytes: Vec<u8>,
    at: usize,
    /// No line ends before: a long one is not looked through anew for each piece of it.
    looked: usize,
    /// Data of the event so far.
    data: Vec<u8>,
    /// The event has a field.
    begun: bool,
    /// The event in `data` was handed out.
    taken: bool,
    /// The line before ended in CR: an LF belongs to it.
    after_cr: bool,
    /// Something of the stream was read.
    started: bool,
}

impl Reader {
    /// Where the next bytes of the stream are appended.
    pub fn input(&mut self) -> &mut Vec<u8> {
        if self.at == self.bytes.len() {
            self.bytes.clear();
        } else {
            self.bytes.drain(..self.at);
        }
        self.looked = self.looked.saturating_sub(self.at);
        self.at = 0;
        &mut self.bytes
    }

    /// The next item of what came so far.
    pub fn next_item(&mut self) -> Option<Item<'_>> {
        if std::mem::take(&mut self.taken) {
            self.data.clear();
        }
        loop {
            self.skip_marks();
            let from = self.looked.max(self.at);
            let Some(end) = memchr::memchr2(b'\n', b'\r', &self.bytes[from..]) else {
                self.looked = self.bytes.len();
                return None;
            };
            let (line_at, line_end) = (self.at, from + end);
            self.after_cr = self.bytes[line_end] == b'\r';
            self.at = line_end + 1;
            self.started = true;
            let line = &self.bytes[line_at..line_end];
            match line {
                [] if self.begun => {
                    self.begun = false;
                    self.taken = true;
                    // The LF after the last line of data is none of it.
                    if self.data.last() == Some(&b'\n') {
                        self.data.pop();
                    }
                    return Some(Item::Event(&self.data));
                }
                [] => {}
                [b':', ..] => return Some(Item::Comment),
                _ => {
                    self.begun = true;
                    let (name, value) = field(line);
                    if name == b"data" {
                        self.data.extend_from_slice(value);
                        self.data.push(b'\n');
                    }
                }
            }
        }
    }

    /// Whether it holds nothing of an event or a line that is incomplete.
    pub fn is_empty(&self) -> bool {
        self.at == self.bytes.len() && !self.begun && !self.after_cr
    }

    /// Bytes that it holds.
    pub fn held(&self) -> usize {
        self.bytes.len() - self.at + self.data.len()
    }

    /// Bytes that its memory takes.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity() + self.data.capacity()
    }

    /// Forgets the stream and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.data.clear();
        (self.at, self.looked) = (0, 0);
        (self.begun, self.taken, self.after_cr, self.started) = (false, false, false, false);
    }

    /// Passes over what stands between lines.
    fn skip_marks(&mut self) {
        if self.after_cr && self.at < self.bytes.len() {
            self.after_cr = false;
            self.at += usize::from(self.bytes[self.at] == b'\n');
        }
        // A mark that is not whole yet has no line's end either.
        if !self.started && self.bytes[self.at..].starts_with(BOM) {
            self.at += BOM.len();
            self.started = true;
        }
    }
}

/// A line's name and value: one space behind the colon is no part of it.
fn field(line: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b':', line) {
        None => (line, b""),
        Some(colon) => {
            let value = &line[colon + 1..];
            (&line[..colon], value.strip_prefix(b" ").unwrap_or(value))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::mcp::EventId;

    /// `None` is a comment.
    fn read(bytes: &[u8], cuts: &[usize]) -> Vec<Option<Vec<u8>>> {
        let (mut reader, mut items, mut rest) = (Reader::default(), Vec::new(), bytes);
        for cut in cuts.iter().copied().chain([usize::MAX]) {
            let (piece, later) = rest.split_at(cut.min(rest.len()));
            rest = later;
            reader.input().extend_from_slice(piece);
            while let Some(item) = reader.next_item() {
                items.push(match item {
                    Item::Event(data) => Some(data.to_vec()),
                    Item::Comment => None,
                });
            }
        }
        items
    }

    fn event(data: &str) -> Option<Vec<u8>> {
        Some(data.as_bytes().to_vec())
    }

    #[test]
    fn items() {
        let table: [(&str, Vec<Option<Vec<u8>>>); 9] = [
            ("", vec![]),
            ("data: a\n\n", vec![event("a")]),
            ("data: a\n", vec![]),
            (
                "event: message\ndata: {}\r\n\r\n: x\ndata:b\n\n",
                vec![event("{}"), None, event("b")],
            ),
            ("data: a\rdata: b\r\r", vec![event("a\nb")]),
            ("id: 3-7\ndata: \n\n", vec![event("")]),
            ("retry: 10\n\n", vec![event("")]),
            ("\u{feff}data: a\n\n:\n\n", vec![event("a"), None]),
            ("\n\ndata\ndata\n\n", vec![event("\n")]),
        ];
        for (text, items) in table {
            assert_eq!(read(text.as_bytes(), &[]), items, "{text:?}");
        }
    }

    #[test]
    fn between_events_it_holds_nothing() {
        let mut reader = Reader::default();
        reader.input().extend_from_slice(b"data: a\n\n:\n\n");
        assert!(!reader.is_empty());
        assert_eq!(reader.next_item(), Some(Item::Event(b"a")));
        assert_eq!(reader.next_item(), Some(Item::Comment));
        assert_eq!(reader.next_item(), None);
        assert!(reader.is_empty());
        reader.input().extend_from_slice(b"data: a\n");
        assert_eq!(reader.next_item(), None);
        assert!(!reader.is_empty(), "an event began");
        reader.clear();
        assert!(reader.is_empty() && reader.held() == 0);
    }

    #[test]
    fn reads_what_a_server_writes() {
        let mut wire = Vec::new();
        crate::sse::write_prime(&mut wire, false, EventId { stream: 1, seq: 0 });
        let patch = crate::sse::begin_event(&mut wire, false, Some(EventId { stream: 1, seq: 1 }));
        wire.extend_from_slice(b"{\"a\":1}");
        crate::sse::finish_event(&mut wire, patch);
        wire.extend_from_slice(crate::sse::KEEP_ALIVE_RAW);
        assert_eq!(read(&wire, &[]), [event(""), event("{\"a\":1}"), None]);
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_items(
            text in "(data: ?[a:]{0,3}|:|id|event: x|\u{feff}|\r|\n|\r\n|\n\n){0,24}",
            cuts in prop::collection::vec(0..7_usize, 0..30),
        ) {
            prop_assert_eq!(read(text.as_bytes(), &cuts), read(text.as_bytes(), &[]));
        }

        #[test]
        fn any_bytes_are_read(
            bytes in prop::collection::vec(any::<u8>(), 0..120),
            cuts in prop::collection::vec(0..9_usize, 0..12),
        ) {
            prop_assert_eq!(read(&bytes, &cuts), read(&bytes, &[]));
        }
    }
}
