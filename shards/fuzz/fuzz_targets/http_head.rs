//! A head is found at the same place however the network cuts it, and what parses stays inside it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmesh_proto::http1::{Head, find_head};

fuzz_target!(|input: (&[u8], u16)| {
    let (bytes, cut) = input;
    let whole = find_head(bytes, 0);
    let cut = usize::from(cut).min(bytes.len());
    match find_head(&bytes[..cut], 0) {
        Ok(None) => assert_eq!(find_head(bytes, cut), whole, "resuming finds the same end"),
        Ok(Some(len)) => assert_eq!(whole, Ok(Some(len)), "more bytes do not move the end"),
        Err(_) => assert!(whole.is_err(), "more bytes do not mend a head"),
    }
    if let Ok(Some(len)) = whole
        && let Ok(head) = Head::parse(&bytes[..len])
    {
        assert!(head.headers().count() <= ringmesh_proto::http1::HEADERS_MAX);
        assert!(head.path().len() <= len);
    }
});
