//! What the parts of a shard cost by themselves: codecs, mailboxes, timers. Statistics, baselines
//! and command line are criterion's; `benches/README.md` names the benches and their units.
//!
//! Each bench works on memory that was allocated before, as the shard does. Left out: the kernel's
//! part, which is most of a call: see `end_to_end`.

mod http;
mod jsonrpc;
mod mailbox;
mod sse;
#[path = "../support/mod.rs"]
mod support;
mod wheel;

use criterion::Criterion;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    http::benches(&mut criterion);
    jsonrpc::benches(&mut criterion);
    sse::benches(&mut criterion);
    mailbox::benches(&mut criterion);
    wheel::benches(&mut criterion);
    criterion.final_summary();
}
