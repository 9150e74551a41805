//! A head is found at the same place however the network cuts it, what parses stays inside it, and
//! what routes by a header sees what a reader of the lines sees.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmesh_fuzz::Pieces;
use ringmesh_proto::http1::{Framing, HEADERS_MAX, Head, find_head};

fuzz_target!(|input: &[u8]| {
    let Some(pieces) = Pieces::new(input) else { return };
    let bytes = pieces.rest();
    let whole = find_head(bytes, 0);
    let (mut end, mut scanned) = (0, 0);
    for piece in pieces {
        end += piece.len();
        match find_head(&bytes[..end], scanned) {
            Ok(None) => scanned = end,
            found => {
                assert_eq!(found, whole, "the pieces end, or fail, as the whole does");
                break;
            }
        }
    }
    if scanned == bytes.len() {
        assert_eq!(whole, Ok(None), "the pieces want more as the whole does");
    }
    let Ok(Some(len)) = whole else { return };
    let Ok(head) = Head::parse(&bytes[..len]) else { return };
    check(&head, len);
});

fn check(head: &Head<'_>, len: usize) {
    assert!(head.headers().count() <= HEADERS_MAX);
    assert!(head.path().len() + head.query().map_or(0, str::len) <= len);
    let single = [
        ("content-type", head.known.content_type),
        ("last-event-id", head.known.last_event_id),
        ("mcp-method", head.known.mcp_method),
        ("mcp-name", head.known.mcp_name),
        ("mcp-protocol-version", head.known.protocol_version),
        ("mcp-session-id", head.known.session_id),
        ("origin", head.known.origin),
    ];
    for (wanted, known) in single {
        let mut sent = head.headers().filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
        assert_eq!(sent.next().map(|(_, value)| value), known, "{wanted}");
        assert!(sent.next().is_none(), "{wanted} is repeated");
    }
    let length = head.header("content-length");
    let coding = head.header("transfer-encoding");
    match head.framing {
        Framing::None => assert!(length.is_none() && coding.is_none()),
        Framing::Length(_) => assert!(length.is_some() && coding.is_none()),
        Framing::Chunked => assert!(length.is_none() && coding.is_some()),
    }
    let any = head.known.accept.is_none();
    assert!(head.accepts("application/json") || !any);
}
