//! HTTP/1.1: the head of the usual request, a chunked body, the usual reply.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use ringmesh_proto::http1::{
    Chunked, Framing, Head, ReplyHead, Status, begin_body, find_head, finish_body,
};

use crate::support;

const DATE: &[u8; 29] = b"Sun, 06 Nov 1994 08:49:37 GMT";
/// As long as the usual answer to `add`.
const REPLY_BODY: &[u8] = &[b'x'; 190];

/// Content of the large chunked body, in chunks as an HTTP client's buffer makes them.
const CHUNKED_BYTES: usize = 64 * 1024;
const CHUNK_BYTES: usize = 8 * 1024;

pub(crate) fn benches(criterion: &mut Criterion) {
    head(criterion);
    chunked(criterion);
    reply(criterion);
}

fn head(criterion: &mut Criterion) {
    let request = support::request("127.0.0.1:8080");
    let length = find_head(&request, 0).expect("a head").expect("a whole one");
    let parsed = Head::parse(&request[..length]).expect("a head");
    assert_eq!(parsed.framing, Framing::Length(support::BODY.len() as u64));

    let mut group = criterion.benchmark_group("http");
    group.throughput(Throughput::Bytes(length as u64));
    group.bench_function("find_head", |bencher| {
        bencher.iter(|| find_head(black_box(&request), 0));
    });
    group.bench_function("parse_head", |bencher| {
        bencher.iter(|| Head::parse(black_box(&request[..length])).is_ok_and(|h| h.keep_alive));
    });
    group.finish();
}

fn chunked(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("http");
    let small = wire(support::BODY.as_bytes(), support::BODY.len());
    let large = wire(&vec![b'x'; CHUNKED_BYTES], CHUNK_BYTES);
    for (name, wire, length) in
        [("chunked/one", &small, support::BODY.len()), ("chunked/64KiB", &large, CHUNKED_BYTES)]
    {
        let mut out = Vec::with_capacity(length);
        group.throughput(Throughput::Bytes(wire.len() as u64));
        let mut decode = || {
            out.clear();
            let mut decoder = Chunked::new(length);
            decoder.decode(black_box(wire), &mut out).map(|decoded| (decoded.done, out.len()))
        };
        assert_eq!(decode(), Ok((true, length)));
        group.bench_function(name, |bencher| bencher.iter(&mut decode));
    }
    group.finish();
}

fn wire(content: &[u8], chunk: usize) -> Vec<u8> {
    let mut wire = Vec::new();
    for chunk in content.chunks(chunk) {
        wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        wire.extend_from_slice(chunk);
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"0\r\n\r\n");
    wire
}

fn reply(criterion: &mut Criterion) {
    let mut out = Vec::with_capacity(1024);
    let mut write = || {
        out.clear();
        let head = ReplyHead::new(Status::OK, black_box(DATE));
        let patch = begin_body(&mut out, &head, "application/json");
        out.extend_from_slice(REPLY_BODY);
        finish_body(&mut out, patch);
        out.len()
    };
    assert!(write() > REPLY_BODY.len());
    criterion.bench_function("http/write_reply", |bencher| bencher.iter(&mut write));
}
