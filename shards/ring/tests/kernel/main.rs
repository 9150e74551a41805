//! Rings on the real kernel, over loopback, ports that the kernel picks, and Unix sockets.
#![expect(clippy::disallowed_methods, reason = "clients of a ring are ordinary blocking threads")]

mod connections;
mod connects;
mod ending;
mod harness;
mod limits;
mod refusals;
mod unix;
mod waiting;
