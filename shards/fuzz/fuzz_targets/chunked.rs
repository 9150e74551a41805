//! A chunked body decodes to the same bytes however the network cuts it, within its bound.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmesh_proto::http1::Chunked;

const BODY_MAX: usize = 4096;

fuzz_target!(|input: (&[u8], Vec<u8>)| {
    let (bytes, cuts) = input;
    let mut whole = Vec::new();
    let expected = Chunked::new(BODY_MAX).decode(bytes, &mut whole);
    assert!(whole.len() <= BODY_MAX);

    let (mut pieces, mut decoder, mut rest) = (Vec::new(), Chunked::new(BODY_MAX), bytes);
    let mut cuts =
        cuts.iter().map(|&cut| usize::from(cut).max(1)).chain(std::iter::repeat(1 << 20));
    let mut done = false;
    while !rest.is_empty() && !done {
        let cut = cuts.next().unwrap_or(1).min(rest.len());
        match decoder.decode(&rest[..cut], &mut pieces) {
            Ok(decoded) => {
                rest = &rest[decoded.consumed..];
                done = decoded.done;
            }
            Err(error) => {
                assert_eq!(Err(error), expected, "the pieces fail as the whole does");
                return;
            }
        }
    }
    let expected = expected.expect("the whole fails as the pieces do");
    assert_eq!((done, bytes.len() - rest.len()), (expected.done, expected.consumed));
    assert_eq!(pieces, whole);
});
