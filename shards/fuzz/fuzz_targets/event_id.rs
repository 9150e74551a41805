//! Ids that clients send back, of events and of sessions, are read only as they were written, and
//! every id that can be written is read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmesh_proto::mcp::{EventId, PARTITIONS, SessionId};

fuzz_target!(|bytes: &[u8]| {
    let mut text = Vec::new();
    if let Some(id) = EventId::parse(bytes) {
        id.write(&mut text);
        assert_eq!(text, bytes, "an event's id has one text");
    }
    if let Some(id) = SessionId::parse(bytes) {
        assert!(id.partition < PARTITIONS);
        text.clear();
        id.write(&mut text);
        assert_eq!(text, bytes, "a session's id has one text");
    }
    if let Some((numbers, _)) = bytes.split_first_chunk::<8>() {
        let [stream, seq] = [&numbers[..4], &numbers[4..]]
            .map(|number| number.iter().fold(0, |value, &byte| value << 8 | u32::from(byte)));
        let id = EventId { stream, seq };
        text.clear();
        id.write(&mut text);
        assert_eq!(EventId::parse(&text), Some(id));
    }
    if let Some(([high, low, secret @ ..], _)) = bytes.split_first_chunk::<18>() {
        let partition = u16::from_be_bytes([*high, *low]) % PARTITIONS;
        let secret = secret.iter().fold(0, |value, &byte| value << 8 | u128::from(byte));
        let id = SessionId { partition, secret };
        text.clear();
        id.write(&mut text);
        assert_eq!((text.len(), SessionId::parse(&text)), (SessionId::LEN, Some(id)));
    }
});
