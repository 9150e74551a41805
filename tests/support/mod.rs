//! What the black-box tests share: real servers, and clients that write bytes and read answers.
#![allow(dead_code, unused_imports, reason = "each test program uses its own part of this")]

pub(crate) mod clean;
pub(crate) mod client;
pub(crate) mod lines;
pub(crate) mod piped;
pub(crate) mod request;
pub(crate) mod server;
pub(crate) mod session;

use std::time::{Duration, Instant};

pub(crate) use clean::nothing_leaked;
pub(crate) use client::{Answer, Client, Event, Frame};
pub(crate) use lines::Lines;
pub(crate) use piped::Piped;
pub(crate) use request::{Request, call, plain, request};
pub(crate) use server::Server;
pub(crate) use session::Session;

/// Longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Looks until there is something.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
