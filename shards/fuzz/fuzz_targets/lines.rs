//! Lines are the same however the network cuts them, and each is judged without a panic: as a
//! first line, as a message, as a batch.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmesh_fuzz::Pieces;
use ringmesh_proto::jsonrpc::{Fault, is_batch, is_shallow, parse, parse_batch};
use ringmesh_proto::lines;
use serde_json::value::RawValue;

const BATCH_MAX: usize = 4;

fuzz_target!(|input: &[u8]| {
    let Some(pieces) = Pieces::new(input) else { return };
    let bytes = pieces.rest();
    let mut whole = bytes.split(|&byte| byte == b'\n');
    let (mut held, mut scanned) = (Vec::new(), 0);
    for piece in pieces {
        held.extend_from_slice(piece);
        let mut from = 0;
        while let Some(end) = lines::find_end(&held, from.max(scanned)) {
            assert_eq!(Some(&held[from..end]), whole.next(), "the pieces give the same lines");
            from = end + 1;
        }
        held.drain(..from);
        scanned = held.len();
    }
    assert_eq!(Some(&held[..]), whole.next(), "what has no end yet is left");
    assert_eq!(whole.next(), None);
    bytes.split(|&byte| byte == b'\n').for_each(judge);
});

fn judge(line: &[u8]) {
    let line = lines::trim(line);
    assert_eq!(lines::trim(line), line);
    let message = parse(line);
    if message.is_ok() {
        assert!(lines::is_object(line), "a message is an object");
    }
    let batch = parse_batch(line, BATCH_MAX);
    let refused_as_batch = message.is_err_and(|malformed| malformed.fault == Fault::Batch);
    // A reader without bounds of its own says what a batch is.
    let read = std::str::from_utf8(line).ok().filter(|_| is_shallow(line));
    let read = read.and_then(|text| serde_json::from_str::<Vec<&RawValue>>(text).ok());
    assert_eq!(refused_as_batch, read.is_some(), "a batch is refused as one");
    let read = read.filter(|messages| (1..=BATCH_MAX).contains(&messages.len()));
    assert_eq!(batch.is_ok(), read.is_some(), "what is a batch within the bound is taken apart");
    let (Ok(batch), Some(read)) = (batch, read) else { return };
    assert!(is_batch(line));
    assert!(batch.iter().copied().eq(read.iter().map(|raw| raw.get().as_bytes())));
    for message in batch {
        if parse(message).is_ok() {
            assert!(lines::is_object(message));
        }
    }
}
