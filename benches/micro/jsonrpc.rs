//! JSON-RPC: the usual request read in one pass with its parameters and without them, messages
//! written.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use ringmesh_proto::jsonrpc::{
    self, Id, Incoming, METHOD_NOT_FOUND, parse, parse_request, write_open, write_string,
};
use ringmesh_proto::mcp::Params;

use crate::support::BODY;

/// Text that a tool might answer, with a character in each line that JSON escapes.
const TEXT: &str =
    "The quick brown fox jumps over the lazy dog, and the dog does not mind at all.\n";
const LINES: usize = 13;

pub(crate) fn benches(criterion: &mut Criterion) {
    let body = BODY.as_bytes();
    let asked = parse_request::<Params<'_>>(body).expect("a request");
    assert!(asked.params.is_some_and(|params| params.arguments.is_some()));
    assert!(matches!(parse(body), Ok(Incoming::Request { .. })));

    let mut group = criterion.benchmark_group("jsonrpc");
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("parse_request", |bencher| {
        bencher.iter(|| parse_request::<Params<'_>>(black_box(body)).is_some());
    });
    group.bench_function("parse", |bencher| {
        bencher.iter(|| parse(black_box(body)).is_ok());
    });
    group.finish();
    write(criterion);
}

fn write(criterion: &mut Criterion) {
    let id = Id::from_json("12345");
    let text = TEXT.repeat(LINES);
    let mut out = Vec::with_capacity(4096);
    let mut group = criterion.benchmark_group("jsonrpc");
    group.bench_function("write_result", |bencher| {
        bencher.iter(|| {
            out.clear();
            write_open(&mut out, black_box(id));
            out.extend_from_slice(br#","result":{"content":[{"type":"text","text":"#);
            write_string(&mut out, black_box("5"));
            out.extend_from_slice(b"}]}}");
            out.len()
        });
    });
    group.bench_function("write_error", |bencher| {
        bencher.iter(|| {
            out.clear();
            let message = black_box("there is no method 'tools/cast'");
            jsonrpc::write_error(&mut out, black_box(id), METHOD_NOT_FOUND, message, None);
            out.len()
        });
    });
    group.throughput(Throughput::Bytes(text.len() as u64));
    let mut write = || {
        out.clear();
        write_string(&mut out, black_box(&text));
        out.len()
    };
    assert_eq!(write(), text.len() + LINES + 2, "each line's end takes a backslash more");
    group.bench_function("write_string/1KiB", |bencher| bencher.iter(&mut write));
    group.finish();
}
