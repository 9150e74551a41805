//! Whatever is read as a message is shallow, names its own id, and its parameters never panic, in
//! whichever era they are read; and what refuses it is a message too.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmesh_proto::jsonrpc::{Asked, Id, Incoming, is_shallow, parse, parse_request, write_error};
use ringmesh_proto::mcp::{
    Cancelled, Initialize, Params, SetLevel, Subscribe, Version, decode_header_value,
};
use serde_json::value::RawValue;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(decoded) = decode_header_value(bytes) {
        assert!(decoded.len() <= bytes.len());
    }
    let asked = parse_request::<Params<'_>>(bytes);
    let read = parse(bytes);
    if read.is_ok() {
        assert!(is_shallow(bytes));
    }
    match read {
        Ok(Incoming::Request { id, method, params }) => {
            check_request(asked, id, &method, params);
            assert!(contains(bytes, id.as_json()));
            check_answer(id);
        }
        Ok(other) => {
            assert!(asked.is_none());
            check_other(bytes, &other);
        }
        Err(_) if asked.is_some() => panic!("only one of them refuses it"),
        Err(malformed) => {
            assert!(malformed.code == -32700 || malformed.code == -32600);
            if let Some(id) = malformed.id {
                check_answer(id);
            }
        }
    }
});

fn check_request(
    asked: Option<Asked<'_, Params<'_>>>,
    id: Id<'_>,
    method: &str,
    params: Option<&RawValue>,
) {
    let read = params.map(Params::parse).transpose();
    assert_eq!(asked.is_some(), read.is_ok(), "one pass reads what two read");
    if let (Some(asked), Ok(read)) = (asked, read) {
        assert_eq!((asked.id, &*asked.method), (id, method));
        assert_eq!(format!("{:?}", asked.params), format!("{read:?}"));
    }
    let Some(params) = params else { return };
    if let Ok(read) = Params::parse(params) {
        let meta = Params::parse_meta(params).expect("a part of what was read").meta;
        assert_eq!(read.meta.is_some(), meta.is_some());
    }
    check_legacy(params);
}

fn check_other(bytes: &[u8], message: &Incoming<'_>) {
    match message {
        Incoming::Request { .. } => unreachable!("requests are checked elsewhere"),
        Incoming::Notification { params: None, .. } => {}
        Incoming::Notification { params: Some(params), .. } => check_legacy(params),
        Incoming::Response { id, answer: Ok(answer) | Err(answer) } => {
            assert!(contains(bytes, id.as_json()) && contains(bytes, answer.get()));
        }
    }
}

/// All shapes are tried, since most inputs have no method that is known.
fn check_legacy(params: &RawValue) {
    if let Ok(read) = Initialize::parse(params) {
        assert!(!Version::negotiate(read.protocol_version.as_str()).is_modern());
    }
    if let Ok(read) = Cancelled::parse(params) {
        assert!(contains(params.get().as_bytes(), read.request_id.as_json()));
    }
    if let Ok(read) = SetLevel::parse(params) {
        assert!(contains(params.get().as_bytes(), "level") || params.get().contains('\\'));
        assert!(!read.level.name().is_empty());
    }
    if let Ok(read) = Subscribe::parse(params) {
        assert!(read.uri.as_str().len() <= params.get().len());
    }
}

/// Any id that was read can be answered.
fn check_answer(id: Id<'_>) {
    let mut out = Vec::new();
    write_error(&mut out, Some(id), -32600, "no \"such\"\n", None);
    match parse(&out) {
        Ok(Incoming::Response { id: read, answer: Err(_) }) => assert_eq!(read, id),
        other => panic!("{other:?}"),
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    let bytes = std::str::from_utf8(bytes).expect("a message is UTF-8");
    bytes.contains(text)
}
