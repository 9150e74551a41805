//! What fuzz targets share: how an input says where the network cuts its bytes; and the world of the
//! target `session`.
#![forbid(unsafe_code)]

pub mod session;

/// Bytes as a connection would receive them: in pieces.
///
/// An input is eight lengths of a byte each, taken in turn and again from the first, and then the
/// bytes. So a seed can be written by hand: eight `A`s before its text make pieces of 65 bytes.
#[derive(Clone, Debug)]
pub struct Pieces<'a> {
    lengths: [u8; 8],
    turn: usize,
    rest: &'a [u8],
}

impl<'a> Pieces<'a> {
    /// Takes an input apart. `None`: it is too short for its lengths.
    pub fn new(input: &'a [u8]) -> Option<Self> {
        let (lengths, rest) = input.split_first_chunk()?;
        Some(Self { lengths: *lengths, turn: 0, rest })
    }

    /// What is left of the bytes, in one piece.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    /// No piece is empty: a length of zero counts as one.
    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let length = usize::from(self.lengths[self.turn % self.lengths.len()]).max(1);
        self.turn += 1;
        let (piece, rest) = self.rest.split_at(length.min(self.rest.len()));
        self.rest = rest;
        Some(piece)
    }
}
