//! Rings on the real kernel, over loopback and ports that the kernel picks.
#![expect(clippy::disallowed_methods, reason = "clients of a ring are ordinary blocking threads")]

mod connections;
mod ending;
mod harness;
mod limits;
mod refusals;
mod waiting;
