//! Test programs that are the server under test as well: started as `serve`, they take the flags of
//! `ringmesh serve` and offer what `misbehaving` has.
#![allow(dead_code, reason = "each test program uses its own part of this")]

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use serde_json::json;

use crate::misbehaving;
use crate::support::server::program;
use crate::support::{Request, Server, call};

/// Serves, or runs the tests.
pub(crate) fn main(tests: &[(&str, fn())]) -> ExitCode {
    run(tests.iter().map(|&(name, test)| trial(name, test)).collect())
}

/// Serves, or runs each test with a server of one shard and with one of three.
pub(crate) fn main_by_shards(tests: &[(&str, fn(u16))]) -> ExitCode {
    let trials = tests.iter().flat_map(|&(name, test)| {
        [(1, "one_shard"), (3, "three_shards")]
            .map(|(shards, on)| trial(&format!("{name}_on_{on}"), move || test(shards)))
    });
    run(trials.collect())
}

fn trial(name: &str, test: impl FnOnce() + Send + 'static) -> Trial {
    Trial::test(name, move || {
        test();
        Ok(())
    })
}

fn run(trials: Vec<Trial>) -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("serve") {
        return ringmesh::cli::main(misbehaving::server);
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
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
