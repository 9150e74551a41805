//! A chunked body decodes to the same bytes however the network cuts it, within its bound.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmesh_fuzz::Pieces;
use ringmesh_proto::http1::Chunked;

const BODY_MAX: usize = 4096;

fuzz_target!(|input: &[u8]| {
    let Some(pieces) = Pieces::new(input) else { return };
    let mut whole = Vec::new();
    let expected = Chunked::new(BODY_MAX).decode(pieces.rest(), &mut whole);
    assert!(whole.len() <= BODY_MAX);

    let (mut decoder, mut joined) = (Chunked::new(BODY_MAX), Vec::new());
    let (mut consumed, mut done) = (0, false);
    for piece in pieces {
        match decoder.decode(piece, &mut joined) {
            Ok(decoded) => {
                consumed += decoded.consumed;
                done = decoded.done;
                assert!(done || decoded.consumed == piece.len(), "all is taken up to the end");
            }
            Err(error) => {
                assert_eq!(Err(error), expected, "the pieces fail as the whole does");
                return;
            }
        }
        if done {
            break;
        }
    }
    let expected = expected.expect("the whole fails as the pieces do");
    assert_eq!((done, consumed), (expected.done, expected.consumed));
    assert_eq!(joined, whole);
});
