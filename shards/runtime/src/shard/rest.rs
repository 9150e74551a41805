//! What a shard keeps for each thing at rest, in bytes: the sizes of which plans of memory are made.
//!
//! They are sums of the sizes of the types, so a plan follows when a type grows, and the assertions
//! say how far it may. Left out: what the driver and the kernel keep, and what is kept only while
//! there is work (buffers, calls in flight), which other bounds hold.

use super::connection::Connection;
use super::listen::Stream;
use super::session::{EventStream, Session};
use super::slab::Slab;
use crate::mailbox::PLACE_BYTES;
use crate::message::{Event, Note, Relay, Reply, Request};
use crate::wheel;

/// The least that the allocator takes for a separate piece of memory (glibc on 64 bits, malloc(3)).
const PIECE_BYTES: usize = 32;

/// An idle connection: its slot and its timer.
pub const CONNECTION_BYTES: usize = size_of::<Connection>() + wheel::TIMER_BYTES;

/// An open event stream besides its connection, of the kind that takes more: its place in the
/// table. An id of more than 23 bytes comes on top; URIs that are listened to are taken from the
/// byte budget.
pub const STREAM_BYTES: usize = Slab::<Stream>::PLACE_BYTES;
const _: () = assert!(Slab::<EventStream>::PLACE_BYTES <= STREAM_BYTES);

/// A session of the legacy era besides its connection and its event streams: its place, its timer,
/// its name in the table, and its list of streams. Events that it keeps are taken from the byte
/// budget.
pub const SESSION_BYTES: usize =
    Slab::<Session>::PLACE_BYTES + wheel::TIMER_BYTES + NAME_BYTES + PIECE_BYTES;

/// An entry of a B-tree from 16 bytes to 4 that was filled in no order: two thirds of its nodes'
/// places are used.
const NAME_BYTES: usize = 32;

/// A place in the lane of requests.
pub const REQUEST_BYTES: usize = size_of::<Request>() + PLACE_BYTES;

/// A place in the lane of replies: there is one for each call that may be in flight.
pub const REPLY_BYTES: usize = size_of::<Reply>() + PLACE_BYTES;

/// A place in the lane of notes.
pub const NOTE_BYTES: usize = size_of::<Note>() + PLACE_BYTES;

/// A place in the lane of events.
pub const EVENT_BYTES: usize = size_of::<Event>() + PLACE_BYTES;

/// A place in the lane of relays.
pub const RELAY_BYTES: usize = size_of::<Relay>() + PLACE_BYTES;

const _: () = assert!(size_of::<Connection>() <= 144);
const _: () = assert!(wheel::TIMER_BYTES <= 24);
const _: () = assert!(Slab::<Stream>::PLACE_BYTES <= 88);
const _: () = assert!(REPLY_BYTES <= 80 && NOTE_BYTES <= 40 && EVENT_BYTES <= 24);
const _: () = assert!(REQUEST_BYTES <= 32 && RELAY_BYTES <= 48);
const _: () = assert!(Slab::<Session>::PLACE_BYTES <= 288);
const _: () = assert!(Slab::<EventStream>::PLACE_BYTES <= 56);

/// What the driver keeps for each connection comes on top: a few bytes.
const DRIVER_BYTES: usize = 8;
/// What an idle connection, and a stream with its connection, may take in user space.
const GOAL_BYTES: usize = 300;
/// The same of a session, with an event stream and the connection that reads it.
const SESSION_GOAL_BYTES: usize = 1_500;
const _: () = assert!(CONNECTION_BYTES + STREAM_BYTES + DRIVER_BYTES <= GOAL_BYTES);
const _: () =
    assert!(CONNECTION_BYTES + STREAM_BYTES + SESSION_BYTES <= SESSION_GOAL_BYTES - DRIVER_BYTES);

#[cfg(test)]
mod tests {
    use super::*;

    /// `cargo test -p ringmesh-runtime rest -- --nocapture` shows them.
    #[test]
    #[expect(clippy::print_stdout, reason = "a table for people")]
    fn the_sizes_of_rest() {
        let (slot, timer) = (size_of::<Connection>(), wheel::TIMER_BYTES);
        let stream = size_of::<Stream>();
        println!("connection   {CONNECTION_BYTES:>4}: slot {slot}, timer {timer}");
        println!("stream       {STREAM_BYTES:>4}: {stream} and its generation");
        println!("session      {SESSION_BYTES:>4}: {}", Slab::<Session>::PLACE_BYTES);
        println!("events       {:>4}", Slab::<EventStream>::PLACE_BYTES);
        println!("message      {REQUEST_BYTES:>4} a request, {REPLY_BYTES} a reply");
        println!(
            "             {NOTE_BYTES:>4} a note, {EVENT_BYTES} an event, {RELAY_BYTES} a relay"
        );
        assert_eq!(CONNECTION_BYTES, slot + timer);
        assert!(stream < STREAM_BYTES);
    }
}
