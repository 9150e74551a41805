//! Drives shards with io_uring: descriptors, buffers, completions, doorbells, clock.
//!
//! # What lives where
//! A [`Ring`] lives once per shard, on the shard's thread, from its making to its drop: it is
//! neither `Send` nor `Sync`. It owns one io_uring, the table of direct descriptors, the ring of
//! receive buffers, the address slots of its accepts and connects, the bytes of sends in flight and
//! the shard's listeners. It implements [`Io`](ringmesh_runtime::io::Io), and for roles that make
//! connections [`Dial`](ringmesh_runtime::io::Dial): their contracts are its specification. A ring
//! that accepts picks its slots itself, so one ring does either, not both.
//! A [`Doorbell`] may be cloned into every thread of the process. [`probe`], [`bind`],
//! [`bind_unix`] and the cpu functions are for the start of the process.
//!
//! # Invariants
//! - Memory that the kernel may write or read (address slots, receive buffers, bytes to send) stays
//!   where it is until the completion that ends the operation. Dropping a ring first cancels and
//!   awaits every operation; should the kernel not be done in time, the memory is leaked.
//! - Every submission is counted, and uncounted by the completion without `F_MORE`.
//! - `user_data` carries kind, generation and slot, so that a stale completion is recognised.
//! - A submission is never dropped: a full queue is submitted to make room. Completions are never
//!   dropped: the kernel keeps what overflows the queue, and the next enter fetches it.
//! - After [`Ring::new`] nothing allocates in the steady state. A burst may grow the table of sends
//!   and the driver's list of completions, which keep their size.
//!
//! # Kernels
//! 6.1 is the oldest, and nothing newer is needed. Before 6.13 the kernel releases a closed direct
//! descriptor only once every operation on *any* descriptor of the ring that was submitted earlier
//! has ended, and an idle connection's receive does not end: no FIN would be sent and sockets would
//! pile up (3,000 of 3,000 stayed for as long as one idle connection did, on 6.1). There a close
//! shuts the connection down first, and receives are renewed as closes add up: see `receives`. What
//! holds on there until it ends is a send whose peer does not read: its time-out is the shard's.
//!
//! On every kernel a shutdown is done by a thread of the kernel, not inline. Where no answer is on
//! its way, to cancel the receive and close is cheaper, and ends the stream as well.
//!
//! # Left out
//! Decisions: when to re-arm, cancel, shut or close is the shard's, so that the simulator tests it.
//! Zero-copy send (it pays from about 3,000 bytes), bundles and incremental buffers: noticed by
//! [`probe`], unused. Messages between rings: doorbells ring instead.

mod accepts;
mod bind_error;
mod buffers;
mod clock;
mod config;
mod connects;
mod cpu;
mod doorbell;
mod drive;
mod errno;
mod io;
mod listener;
mod probe;
mod receives;
mod refusal;
mod ring;
mod sends;
mod unix;
mod user_data;

pub use bind_error::{BindError, Obstacle};
pub use clock::Clock;
pub use config::{ConfigError, GATHER_NS_MAX, RingConfig, SetupError};
pub use cpu::{allowed_cpus, pin_to_cpu};
pub use doorbell::Doorbell;
pub use drive::{drive, run};
pub use listener::{Listener, bind};
pub use probe::{Feature, Features, probe};
pub use refusal::Refusal;
pub use ring::{Counters, Ring};
pub use unix::{SocketFile, bind_unix};
