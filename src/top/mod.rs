//! `ringmesh top`: a server that runs, live, shard by shard, from its admin listener.
//!
//! Runs in a process of its own: one thread asks `/status` once an interval, the calling thread
//! draws and reads keys, so that a server that hangs never keeps anybody from leaving. What is
//! drawn is a pure function of two answers ([`View`]) and of the width ([`render`]).
//!
//! Invariants: the terminal is left as it was, whatever the end (`screen`). Everything read from
//! the server is bounded in bytes and time (`poll`). A server that goes away is told of, and asked
//! again.
//!
//! Left out: any means to change the server, and history: that is what `/metrics` is for.

mod poll;
mod render;
mod screen;
mod status;
#[cfg(test)]
mod tests;
mod view;

use std::io::{self, IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;

use self::poll::{Answer, ask};
use self::view::View;
use crate::boot::StartError;
use crate::config::{Address, Span};

const INTERVAL_MIN_MS: u64 = 100;
const INTERVAL_MAX_MS: u64 = 60 * 60 * 1_000;
/// Columns where nobody says how many there are.
const WIDTH_PLAIN: usize = 160;

/// The flags of `ringmesh top`.
#[derive(Args)]
pub(crate) struct Options {
    /// The server's admin listener [default: that of --config, else 127.0.0.1:9180]
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) admin: Option<Address>,
    /// The server's file of settings [default: the variable RINGMESH_CONFIG, else none]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Time from one look to the next, 100ms to 1h
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    interval: Span,
    /// Print one table over one interval and exit, as without a terminal
    #[arg(long)]
    once: bool,
}

fn interval(text: &str) -> Result<Span, &'static str> {
    let span: Span = text.parse()?;
    if !(INTERVAL_MIN_MS..=INTERVAL_MAX_MS).contains(&span.ms) {
        return Err("use 100ms to 1h");
    }
    Ok(span)
}

/// Shows the server until somebody leaves.
///
/// # Errors
/// Where there is no server to begin with, or no terminal any more.
pub(crate) fn run(options: &Options, admin: SocketAddr) -> Result<(), StartError> {
    let interval = Duration::from_millis(options.interval.ms);
    let first = ask(admin).map_err(|wrong| {
        StartError::unavailable(format!(
            "{admin}: {wrong}: name the admin listener of a running server with --admin ADDR:PORT"
        ))
    })?;
    if options.once || !io::stdout().is_terminal() {
        return once(admin, interval, &first);
    }
    screen::show(admin, interval, first)
        .map_err(|error| StartError::io(format!("the terminal cannot be used: {error}")))
}

/// Two answers, an interval apart, make one table.
fn once(admin: SocketAddr, interval: Duration, first: &Answer) -> Result<(), StartError> {
    thread::sleep((first.at + interval).saturating_duration_since(Instant::now()));
    let second = ask(admin).map_err(|wrong| {
        StartError::unavailable(format!("{admin}: {wrong}: the server went away"))
    })?;
    let view = View::of(admin, Some(first), &second);
    let mut out = io::stdout().lock();
    for line in render::render(&view, WIDTH_PLAIN).lines() {
        // Standard output may be closed: that is the reader's choice.
        if writeln!(out, "{}", line.text.trim_end()).is_err() {
            break;
        }
    }
    out.flush().ok();
    Ok(())
}
