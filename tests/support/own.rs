//! Test programs that are the server under test as well: started as `serve`, they take the flags of
//! `ringmesh serve` and offer what `misbehaving` has.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use serde_json::json;

use crate::misbehaving;
use crate::support::server::program;
use crate::support::{Request, Server, call};

/// Serves, or runs the tests.
pub(crate) fn main(tests: &[(&str, fn())]) -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("serve") {
        return ringmesh::cli::main(misbehaving::server);
    }
    let trial = |&(name, test): &(&str, fn())| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    };
    let trials = tests.iter().map(trial).collect();
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
