//! The loop of a shard's thread: reap, act, submit once, wait.

use ringmesh_runtime::io::Completion;
use ringmesh_runtime::{Next, Shard};

use crate::ring::Ring;

/// Starts a shard and drives it until it has stopped.
pub fn run(shard: &mut Shard, ring: &mut Ring) {
    shard.start(ring);
    drive(ring, |ring, completions| shard.tick(ring, completions));
}

/// Calls `tick` with all completions there are, which it must drain, until it says
/// [`Next::Done`]. Submissions are made once for each tick.
pub fn drive(ring: &mut Ring, mut tick: impl FnMut(&mut Ring, &mut Vec<Completion>) -> Next) {
    let mut completions = Vec::with_capacity(ring.completions_max());
    loop {
        ring.reap(&mut completions);
        let next = tick(ring, &mut completions);
        debug_assert!(completions.is_empty(), "a tick leaves no completion");
        match next {
            Next::Again => ring.poll(),
            Next::Wait { until_ns } => ring.wait(until_ns),
            Next::Done => {
                ring.poll();
                return;
            }
        }
    }
}
