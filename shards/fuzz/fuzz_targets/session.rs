//! Whatever clients, pools, sockets and time do to sessions: what a client reads is well formed and
//! answers what it asked, once; events are numbered without a gap; and who left leaves nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| ringmesh_fuzz::session::run(input));
