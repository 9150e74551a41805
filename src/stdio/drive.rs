//! The loop of the shard's thread.

use nix::errno::Errno;
use ringmesh_runtime::message::{Address, Request};
use ringmesh_runtime::{Next, Shard};

use super::StdioIo;

/// How the client's connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The client closed its end, and everything that it asked is answered.
    Finished,
    /// Standard input cannot be read.
    Input(Errno),
    /// Standard output cannot be written: answers were lost.
    Output(Errno),
    /// Standard output was not read for too long: answers were lost.
    Unread,
    /// The shard ended it: the server stops, or the client broke the protocol.
    Refused,
}

/// Drives a shard until it has stopped. When its one connection is closed, it is told to.
pub(crate) fn drive(shard: &mut Shard, io: &mut StdioIo, address: &Address) -> Ended {
    shard.start(io);
    let mut completions = Vec::new();
    let mut told = false;
    loop {
        io.reap(&mut completions);
        let next = shard.tick(io, &mut completions);
        debug_assert!(completions.is_empty(), "a tick leaves no completion");
        if io.is_closed() && !told {
            // A full lane has room again after the next tick.
            told = address.send_request(Request::Drain { grace_ms: 0 }).is_ok();
        }
        match next {
            Next::Again => {}
            Next::Wait { until_ns } => io.wait(until_ns),
            Next::Done => return io.ended(),
        }
    }
}
