//! Chores of the repository. `cargo xtask test` is the one test command: CI runs it, and so does
//! whoever changes something. Left out on purpose: measurements of speed, which live in `perf/`.
#![expect(clippy::print_stdout, reason = "a program for people speaks on standard output")]

mod child;
mod fuzz;
mod guest;
mod part;
mod parts;
#[cfg(test)]
mod readme;
mod server;
mod suite;
mod tools;
mod tree;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Chores of this repository")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Run the tests, part by part. A part that fails does not stop the others.
    Test(part::Choice),
    /// Run the fuzz targets for long.
    Fuzz(fuzz::Options),
    /// Run the conformance suite in a Debian 12 guest (kernel 6.1) that qemu emulates.
    Guest(guest::Options),
    /// Run the conformance suite against a server program, every path given: no checkout needed.
    Suite(suite::Options),
}

fn main() -> ExitCode {
    let passed = match Cli::parse().chore {
        Chore::Test(choice) => part::test(parts::ALL, &choice),
        Chore::Fuzz(options) => told(fuzz::run(&options)),
        Chore::Guest(options) => told(guest::run(&options)),
        Chore::Suite(options) => told(suite::run(&options)),
    };
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn told(result: part::Result) -> bool {
    match &result {
        Ok(note) => println!("passed: {note}"),
        Err(problem) => println!("FAILED: {problem}"),
    }
    result.is_ok()
}

/// `12.3 s`, or `4 min 05 s` from two minutes on.
fn clock(time: Duration) -> String {
    match time.as_secs() {
        0..120 => format!("{:.1} s", time.as_secs_f64()),
        seconds => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}
