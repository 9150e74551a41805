//! Server-sent events: a notification on the stream of a listener, and on that of a session.

use std::hint::black_box;

use criterion::Criterion;
use ringmesh_proto::mcp::EventId;
use ringmesh_proto::sse::{begin_event, finish_event};

const UPDATE: &[u8] = concat!(
    r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"#,
    r#""uri":"ringmesh://counters/7","_meta":{"io.modelcontextprotocol/subscriptionId":1}}}"#,
)
.as_bytes();

pub(crate) fn benches(criterion: &mut Criterion) {
    let mut out = Vec::with_capacity(1024);
    let mut group = criterion.benchmark_group("sse");
    let id = Some(EventId { stream: 3, seq: 71_234 });
    for (name, id) in [("write_event", None), ("write_event/with_id", id)] {
        let mut write = || {
            out.clear();
            let patch = begin_event(&mut out, true, black_box(id));
            out.extend_from_slice(black_box(UPDATE));
            finish_event(&mut out, patch);
            out.len()
        };
        assert!(write() > UPDATE.len());
        group.bench_function(name, |bencher| bencher.iter(&mut write));
    }
    group.finish();
}
