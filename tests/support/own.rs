//! Test programs that are the server under test as well: started as `serve`, they take the flags of
//! `ringmesh serve` and offer what `misbehaving` has.
#![allow(dead_code, reason = "each test program uses its own part of this")]

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use serde_json::json;

use crate::misbehaving;
use crate::support::server::program;
use crate::support::{Lines, Piped, Request, Server, call};

/// Tests that run at once, unless the command line says another number.
const AT_ONCE: usize = 8;

/// A test's name, and what it does with a server of so many shards.
pub(crate) type TestByShards<'a> = (&'a str, fn(u16));

/// Serves, or runs the tests.
pub(crate) fn main(tests: &[(&str, fn())]) -> ExitCode {
    run(tests.iter().map(|&(name, test)| trial(name, test)).collect(), None)
}

/// Serves, or runs the tests, many at once: for those that wait more than they work.
pub(crate) fn main_at_once(tests: &[(&str, fn())]) -> ExitCode {
    run(tests.iter().map(|&(name, test)| trial(name, test)).collect(), Some(AT_ONCE))
}

/// Serves, or runs each test with a server of one shard and with one of three.
pub(crate) fn main_by_shards(tests: &[TestByShards<'_>]) -> ExitCode {
    let trials = tests.iter().flat_map(|&(name, test)| {
        [(1, "one_shard"), (3, "three_shards")]
            .map(|(shards, on)| trial(&format!("{name}_on_{on}"), move || test(shards)))
    });
    run(trials.collect(), Some(AT_ONCE))
}

fn trial(name: &str, test: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name, move || {
        test();
        Ok(())
    })
}

fn run(trials: Vec<Trial>, threads: Option<usize>) -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("serve") {
        return ringmesh::cli::main(misbehaving::server);
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(threads);
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Starts this program as a server on standard input and output.
pub(crate) fn start_piped(flags: &str) -> (Piped, Lines) {
    let own = std::env::current_exe().expect("this program");
    Piped::start_command(program(&own, "serve"), flags)
}

/// Starts this program as the server.
pub(crate) fn start(flags: &str) -> Server {
    let own = std::env::current_exe().expect("this program");
    Server::start_command(program(&own, "serve"), flags)
}

/// A call without arguments, whose id is the tool's name.
pub(crate) fn tool(name: &str) -> Request {
    call(name, json!({})).id(name)
}
