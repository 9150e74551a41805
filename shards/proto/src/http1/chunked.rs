//! Decodes chunked bodies (RFC 9112 7.1).
//!
//! A [`Chunked`] lives with the body that it decodes and keeps no bytes: however the network cuts
//! the input, the output is the same. Strict where implementations differ: CRLF alone ends a line,
//! and nothing but an extension follows a size. Extensions and trailers are checked, counted and
//! dropped.

use super::{Status, is_tchar};

/// Most bytes of a chunk's size with its extensions, the line's end apart.
pub const CHUNK_LINE_BYTES_MAX: usize = 256;

/// Most bytes of extensions in a whole body: they would carry much traffic past the body's bound.
pub const CHUNK_EXTENSION_BYTES_MAX: usize = 16 * 1024;

/// Most bytes of the trailer section, line ends included.
pub const TRAILER_BYTES_MAX: usize = 8 * 1024;

const _: () = assert!(CHUNK_LINE_BYTES_MAX < u16::MAX as usize);
const _: () = assert!(CHUNK_EXTENSION_BYTES_MAX < u16::MAX as usize);
const _: () = assert!(TRAILER_BYTES_MAX < u16::MAX as usize);
const _: () = assert!(size_of::<Chunked>() <= 24);

/// Why a chunked body is refused. The client is to blame, and as the body's end is not known any
/// more, the connection must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// Not a chunked body, or over a bound on what is not content.
    #[error("{0}")]
    Malformed(&'static str),
    /// The content would be over the bound given to [`Chunked::new`].
    #[error("the body is too large")]
    TooLarge,
}

impl ChunkError {
    /// The status that answers it: 400 or 413.
    pub const fn status(&self) -> Status {
        match self {
            Self::Malformed(_) => Status::BAD_REQUEST,
            Self::TooLarge => Status::CONTENT_TOO_LARGE,
        }
    }
}

/// What a call of [`Chunked::decode`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Bytes of the input that belong to this body: all of them, unless `done`.
    pub consumed: usize,
    /// Whether the body is complete; what follows is the next request.
    pub done: bool,
}

/// Decoder of one chunked body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunked {
    /// Bytes of content that further chunks may bring.
    left: usize,
    /// The size being read, then the bytes of the chunk still to come.
    chunk: usize,
    /// Bytes of this size line so far; in the trailer section, of the whole section.
    line: u16,
    /// Bytes of extensions so far.
    extensions: u16,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    SizeStart,
    Size,
    SizeBlank,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    Done,
}

impl Chunked {
    /// A decoder of a body of at most `body_bytes_max` bytes of content.
    pub const fn new(body_bytes_max: usize) -> Self {
        Self { left: body_bytes_max, chunk: 0, line: 0, extensions: 0, state: State::SizeStart }
    }

    /// Decodes `input`, the bytes that follow those consumed before, and appends content to `out`.
    ///
    /// # Errors
    /// [`ChunkError::TooLarge`] as soon as a size says so, before its content came;
    /// [`ChunkError::Malformed`]. `out` then holds the content before the fault, and the decoder is
    /// of no further use.
    pub fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Decoded, ChunkError> {
        let mut at = 0;
        while at < input.len() && self.state != State::Done {
            if self.state == State::Data {
                let len = self.chunk.min(input.len() - at);
                out.extend_from_slice(&input[at..at + len]);
                at += len;
                self.chunk -= len;
                if self.chunk == 0 {
                    self.state = State::DataCr;
                }
            } else {
                self.state = self.step(input[at])?;
                at += 1;
            }
        }
        Ok(Decoded { consumed: at, done: self.state == State::Done })
    }

    /// Whether it is where a chunk may begin: a new decoder, of what room there is left, would go on
    /// as well.
    pub fn is_between_chunks(&self) -> bool {
        self.state == State::SizeStart
    }

    /// Takes a byte that is not content.
    fn step(&mut self, byte: u8) -> Result<State, ChunkError> {
        match self.state {
            State::SizeStart | State::Size | State::SizeBlank | State::Extension => {
                self.step_size(byte)
            }
            State::SizeLf if byte == b'\n' => Ok(self.end_size_line()),
            State::DataCr if byte == b'\r' => Ok(State::DataLf),
            State::DataLf if byte == b'\n' => Ok(State::SizeStart),
            State::DataCr | State::DataLf => {
                Err(ChunkError::Malformed("a chunk is longer than its size"))
            }
            State::TrailerStart | State::TrailerName | State::TrailerValue | State::TrailerLf => {
                self.step_trailer(byte)
            }
            State::EndLf if byte == b'\n' => Ok(State::Done),
            State::SizeLf | State::EndLf => Err(ChunkError::Malformed("a CR stands without LF")),
            State::Data | State::Done => unreachable!("decode takes no byte here one by one"),
        }
    }

    fn step_size(&mut self, byte: u8) -> Result<State, ChunkError> {
        if byte == b'\r' && matches!(self.state, State::Size | State::Extension) {
            return Ok(State::SizeLf);
        }
        if usize::from(self.line) == CHUNK_LINE_BYTES_MAX {
            return Err(ChunkError::Malformed("the line of a chunk's size is too long"));
        }
        self.line += 1;
        match (self.state, byte) {
            (State::SizeStart | State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = char::from(byte).to_digit(16).unwrap_or_default() as usize;
                let size = self.chunk.checked_mul(16).and_then(|high| high.checked_add(digit));
                self.chunk = size.filter(|&size| size <= self.left).ok_or(ChunkError::TooLarge)?;
                Ok(State::Size)
            }
            // White space is let stand before an extension alone (RFC 9112 7.1.1).
            (State::Size | State::SizeBlank, b' ' | b'\t') => Ok(State::SizeBlank),
            (State::Size | State::SizeBlank, b';') => Ok(State::Extension),
            (State::Extension, byte) if is_text(byte) => {
                if usize::from(self.extensions) == CHUNK_EXTENSION_BYTES_MAX {
                    return Err(ChunkError::Malformed("the body's chunk extensions are too long"));
                }
                self.extensions += 1;
                Ok(State::Extension)
            }
            (State::Extension, _) => Err(ChunkError::Malformed("a chunk extension is bad")),
            _ => Err(ChunkError::Malformed("a chunk's size is not a hexadecimal number")),
        }
    }

    /// A size of zero says that the chunks are over.
    fn end_size_line(&mut self) -> State {
        self.line = 0;
        if self.chunk == 0 {
            return State::TrailerStart;
        }
        self.left -= self.chunk;
        State::Data
    }

    fn step_trailer(&mut self, byte: u8) -> Result<State, ChunkError> {
        if byte == b'\r' && self.state == State::TrailerStart {
            return Ok(State::EndLf);
        }
        if usize::from(self.line) == TRAILER_BYTES_MAX {
            return Err(ChunkError::Malformed("the trailers are too long"));
        }
        self.line += 1;
        match (self.state, byte) {
            (State::TrailerStart | State::TrailerName, byte) if is_tchar(byte) => {
                Ok(State::TrailerName)
            }
            (State::TrailerName, b':') => Ok(State::TrailerValue),
            (State::TrailerValue, b'\r') => Ok(State::TrailerLf),
            (State::TrailerValue, byte) if is_text(byte) => Ok(State::TrailerValue),
            (State::TrailerLf, b'\n') => Ok(State::TrailerStart),
            _ => Err(ChunkError::Malformed("a trailer is bad")),
        }
    }
}

/// A byte that a field's value may hold (RFC 9110 5.5).
const fn is_text(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BODY_BYTES_MAX: usize = 1000;

    /// Feeds `input` in pieces that end at `cuts`.
    fn run(input: &[u8], cuts: &[usize]) -> (Vec<u8>, Result<Decoded, ChunkError>) {
        let mut decoder = Chunked::new(BODY_BYTES_MAX);
        let mut out = Vec::new();
        let mut total = Decoded { consumed: 0, done: false };
        let mut ends: Vec<_> = cuts.iter().map(|&cut| cut.min(input.len())).collect();
        ends.push(input.len());
        ends.sort_unstable();
        for end in ends {
            if total.done {
                break;
            }
            match decoder.decode(&input[total.consumed..end], &mut out) {
                Ok(decoded) => {
                    assert!(decoded.done || decoded.consumed == end - total.consumed);
                    total.consumed += decoded.consumed;
                    total.done = decoded.done;
                }
                Err(error) => return (out, Err(error)),
            }
        }
        (out, Ok(total))
    }

    #[test]
    fn bodies() {
        let table: &[(&[u8], &[u8], usize)] = &[
            (b"0\r\n\r\n", b"", 5),
            (b"5\r\nhello\r\n0\r\n\r\n", b"hello", 15),
            (b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\nGET", b"hello world", 26),
            (b"0005\r\nhello\r\n000\r\n\r\n", b"hello", 20),
            (b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", b"01234567890123456789", 35),
            (b"1;a=b;c=\"d e\"\r\nx\r\n0;last\r\n\r\n", b"x", 28),
            (b"1 \t;a\r\nx\r\n0\r\n\r\n", b"x", 15),
            (b"1\r\nx\r\n0\r\nA: b\r\nC:\r\n\r\n/", b"x", 21),
            (b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n", 12),
        ];
        for &(input, body, consumed) in table {
            let (out, total) = run(input, &[]);
            assert_eq!(total, Ok(Decoded { consumed, done: true }), "{}", input.escape_ascii());
            assert_eq!(out, body);
        }
    }

    #[test]
    fn refusals() {
        let table: &[&[u8]] = &[
            b"\r\n",
            b"\n",
            b"g\r\n",
            b"0x5\r\nhello\r\n",
            b"+5\r\nhello\r\n",
            b"-1\r\n",
            b" 5\r\nhello\r\n",
            b"5 \r\nhello\r\n",
            b"5 5\r\nhello\r\n",
            b"5\nhello\r\n",
            b"5\rhello\r\n",
            b"5;\nx",
            b"5;a\rb\r\nhello\r\n",
            b"5;\0\r\nhello\r\n",
            b";a\r\n",
            b"5\r\nhello0\r\n",
            b"5\r\nhello\n0\r\n",
            b"5\r\nhello\r0\r\n",
            b"5\r\nhello\r00\r\n\r\n",
            b"1\r!x\r\n0\r\n\r\n",
            b"5\r\nhello!\r\n",
            b"0\r\n\n",
            b"0\r\n\rx",
            b"0\r\nA: b\n\r\n",
            b"0\r\nA: b\rc",
            b"0\r\nA b\r\n",
            b"0\r\nA : b\r\n",
            b"0\r\n: b\r\n",
            b"0\r\nA: b\r\n folded\r\n",
            b"0\r\nA: \0\r\n",
        ];
        for input in table {
            let (_, total) = run(input, &[]);
            assert!(
                matches!(total, Err(ChunkError::Malformed(_))),
                "{}: {total:?}",
                input.escape_ascii()
            );
        }
        assert_eq!(ChunkError::Malformed("").status(), Status::BAD_REQUEST);
        assert_eq!(ChunkError::TooLarge.status(), Status::CONTENT_TOO_LARGE);
    }

    #[test]
    fn content_bound_holds_before_the_content_comes() {
        assert!(run(b"3e8\r\n", &[]).1.is_ok());
        for input in [
            &b"3e9"[..],
            b"ffffffffffffffff",
            b"10000000000000000",
            b"00000000000000000000000000000fffffffffffffffffff",
        ] {
            assert_eq!(run(input, &[]).1, Err(ChunkError::TooLarge), "{}", input.escape_ascii());
        }
        let two = [b"1f4\r\n", &[b'x'; 500][..], b"\r\n1f5"].concat();
        assert_eq!(run(&two, &[]).1, Err(ChunkError::TooLarge));
        let exact = [b"1f4\r\n", &[b'x'; 500][..], b"\r\n1f4\r\n", &[b'y'; 500]].concat();
        assert_eq!(run(&exact, &[]).0.len(), 1000);
    }

    #[test]
    fn lines_extensions_and_trailers_are_bounded() {
        let line = |len: usize| [b"1;", &vec![b'e'; len - 2][..], b"\r\nx\r\n"].concat();
        assert!(run(&line(CHUNK_LINE_BYTES_MAX), &[]).1.is_ok());
        assert!(run(&line(CHUNK_LINE_BYTES_MAX + 1), &[]).1.is_err());
        let zeros = vec![b'0'; CHUNK_LINE_BYTES_MAX + 1];
        assert!(run(&zeros[1..], &[]).1.is_ok());
        assert!(run(&zeros, &[]).1.is_err());

        let each = CHUNK_LINE_BYTES_MAX - 2;
        let lines_max = CHUNK_EXTENSION_BYTES_MAX / each;
        assert!(run(&line(each + 2).repeat(lines_max), &[]).1.is_ok());
        assert!(run(&line(each + 2).repeat(lines_max + 1), &[]).1.is_err());

        let trailer = |len: usize| [b"0\r\nA:", &vec![b'e'; len - 4][..], b"\r\n\r\n"].concat();
        assert!(run(&trailer(TRAILER_BYTES_MAX), &[]).1.is_ok());
        assert!(run(&trailer(TRAILER_BYTES_MAX + 1), &[]).1.is_err());
    }

    #[test]
    fn after_the_end_nothing_is_consumed() {
        let mut decoder = Chunked::new(0);
        let mut out = Vec::new();
        let end = decoder.decode(b"0\r\n\r\nGET / HTTP/1.1\r\n", &mut out);
        assert_eq!(end, Ok(Decoded { consumed: 5, done: true }));
        assert_eq!(decoder.decode(b"GET", &mut out), Ok(Decoded { consumed: 0, done: true }));
    }

    fn encoded() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
        let piece = prop::collection::vec(any::<u8>(), 1..40);
        prop::collection::vec((piece, "(|;a|;b=c|;d=\"e f\")", 0..4_usize), 0..6).prop_map(
            |pieces| {
                let (mut wire, mut body) = (Vec::new(), Vec::new());
                for (piece, extension, zeros) in pieces {
                    let size = format!("{}{:x}{extension}\r\n", "0".repeat(zeros), piece.len());
                    wire.extend_from_slice(size.as_bytes());
                    wire.extend_from_slice(&piece);
                    wire.extend_from_slice(b"\r\n");
                    body.extend_from_slice(&piece);
                }
                wire.extend_from_slice(b"0\r\nT: v\r\n\r\n");
                (wire, body)
            },
        )
    }

    fn soup() -> impl Strategy<Value = Vec<u8>> {
        let words: Vec<&[u8]> =
            vec![b"\r\n", b"\r", b"\n", b"0", b"3", b"f", b";", b" ", b"abc", b"A: b", b"\0"];
        let tail = prop::collection::vec(prop::sample::select(words), 0..24);
        (0..2_usize, tail)
            .prop_map(|(chunks, tail)| [b"3\r\nabc\r\n".repeat(chunks), tail.concat()].concat())
    }

    proptest! {
        #[test]
        fn encoded_bodies_come_back(
            (wire, body) in encoded(),
            rest in prop::collection::vec(any::<u8>(), 0..20),
            cuts in prop::collection::vec(0..400_usize, 0..12),
        ) {
            let input = [&wire[..], &rest].concat();
            let (out, total) = run(&input, &cuts);
            prop_assert_eq!(total, Ok(Decoded { consumed: wire.len(), done: true }));
            prop_assert_eq!(out, body);
        }

        #[test]
        fn any_split_decodes_the_same(
            input in prop_oneof![
                soup(),
                encoded().prop_map(|(wire, _)| wire),
                prop::collection::vec(any::<u8>(), 0..40),
            ],
            cuts in prop::collection::vec(0..200_usize, 0..12),
        ) {
            let every: Vec<_> = (0..input.len()).collect();
            let whole = run(&input, &[]);
            prop_assert_eq!(&run(&input, &cuts), &whole);
            prop_assert_eq!(&run(&input, &every), &whole);
        }
    }
}
