//! Whatever is read as a message is shallow, names its own id, and its parameters never panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmesh_proto::jsonrpc::{Incoming, is_shallow, parse, parse_request};
use ringmesh_proto::mcp::{Params, decode_header_value};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(decoded) = decode_header_value(bytes) {
        assert!(decoded.len() <= bytes.len());
    }
    let asked = parse_request::<Params<'_>>(bytes);
    match parse(bytes) {
        Ok(Incoming::Request { id, method, params }) => {
            let read = params.map(Params::parse).transpose();
            assert_eq!(asked.is_some(), read.is_ok(), "one pass reads what two read");
            if let (Some(asked), Ok(read)) = (asked, read) {
                assert_eq!((asked.id, &asked.method), (id, &method));
                assert_eq!(format!("{:?}", asked.params), format!("{read:?}"));
            }
            assert!(is_shallow(bytes));
            let text = std::str::from_utf8(bytes).expect("a message is UTF-8");
            assert!(text.contains(id.as_json()));
            if let Some(params) = params
                && let Ok(read) = Params::parse(params)
            {
                assert_eq!(
                    read.meta.is_some(),
                    Params::parse_meta(params).expect("the same").meta.is_some()
                );
            }
        }
        Ok(_) => assert!(asked.is_none()),
        Err(_) if asked.is_some() => panic!("only one of them refuses it"),
        Err(malformed) => assert!(malformed.code == -32700 || malformed.code == -32600),
    }
});
