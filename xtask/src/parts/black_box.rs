//! Clients written by others against the real programs: the conformance suite, the Python SDK.

use std::process::Command;

use crate::child::Bench;
use crate::part::Result;
use crate::server::Server;
use crate::{suite, tools};

/// Both programs at once: built apart, they would differ in the features of their dependencies
/// and build those twice.
pub(crate) fn build_servers(bench: &mut Bench) -> Result {
    let build = "build --profile quick -p ringmesh --bin ringmesh --example conformance";
    let command = bench.cargo(build);
    bench.run("building the servers", command)
}

pub(crate) fn conformance(bench: &mut Bench) -> Result {
    let tools = tools::suite(bench)?;
    build_servers(bench)?;
    let options = suite::Options {
        server: bench.tree.quick("examples/conformance"),
        node: tools.node,
        modules: tools.modules,
        scenarios: bench.tree.root.join("tests/conformance"),
        out: bench.folder.join("conformance"),
        revision: None,
    };
    suite::run_with(&options, |revision, command| {
        bench.attempt(&format!("the suite, {revision}"), command).map(drop)
    })
}

pub(crate) fn clients(bench: &mut Bench) -> Result {
    let python = tools::python(bench)?;
    build_servers(bench)?;
    let program = bench.tree.quick("ringmesh");
    let serve = Server::start(&program, &["serve"], &bench.folder.join("clients-serve.log"))?;
    let program = bench.tree.quick("examples/conformance");
    let fixtures = Server::start(&program, &[], &bench.folder.join("clients-fixtures.log"))?;
    for mode in ["2026-07-28", "auto"] {
        let mut command = Command::new(&python);
        command.arg(bench.tree.root.join("tests/clients/python_client.py"));
        command.args(["--mode", mode, "--serve", &serve.url, "--conformance", &fixtures.url]);
        let output = bench.run(&format!("Python client, mode {mode}"), command)?;
        output.lines().for_each(|line| println!("    {line}"));
    }
    serve.stop()?;
    fixtures.stop()?;
    Ok("the Python SDK in modes 2026-07-28 and auto".to_owned())
}
