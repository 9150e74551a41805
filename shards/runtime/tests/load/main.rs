//! The client role in memory: against a real shard, and against servers that misbehave.
#![allow(clippy::unwrap_used, reason = "what a test is made of is there")]

mod allocations;
mod chaos;
mod faults;
mod net;
mod script;
mod world;
