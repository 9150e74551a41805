//! Clients written by others against the real programs: the conformance suite, the SDKs for Python
//! and TypeScript.

use std::process::Command;

use crate::child::Bench;
use crate::part::{Problem, Result};
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
    let tools = tools::node(bench, "conformance")?;
    build_servers(bench)?;
    let options = suite::Options {
        server: bench.tree.quick("examples/conformance"),
        node: tools.program,
        modules: tools.modules,
        scenarios: bench.tree.root.join("tests/conformance"),
        out: bench.folder.join("conformance"),
        revision: None,
    };
    suite::run_with(&options, |revision, command| {
        bench.attempt(&format!("the suite, {revision}"), command).map(drop)
    })
}

/// Modes of the Python SDK: the newest revision without asking, what the server prefers, the
/// handshake.
const PYTHON_MODES: [&str; 3] = ["2026-07-28", "auto", "legacy"];
/// Lines of the TypeScript SDK with their modes. The older one knows only the handshake.
const TYPESCRIPT: [(&str, &str); 4] =
    [("sdk", "legacy"), ("client", "legacy"), ("client", "auto"), ("client", "2026-07-28")];

pub(crate) fn clients(bench: &mut Bench) -> Result {
    let python = tools::python(bench)?;
    let node = tools::node(bench, "clients")?;
    build_servers(bench)?;
    let program = bench.tree.quick("ringmesh");
    // Not below the checkout: a socket's path has to be short.
    let socket = std::env::temp_dir().join(format!("ringmesh-{}.sock", std::process::id()));
    let lines = ["serve", "--tcp", "127.0.0.1:0", "--unix", &socket.to_string_lossy()];
    let serve = Server::start(&program, &lines, &bench.folder.join("clients-serve.log"))?;
    let fixtures = bench.tree.quick("examples/conformance");
    let fixtures = Server::start(&fixtures, &[], &bench.folder.join("clients-fixtures.log"))?;
    let tcp = serve.tcp.clone().ok_or_else(|| Problem::failed("no `listening tcp ADDR:PORT`"))?;
    let sources = bench.tree.root.join("tests/clients");
    let mut attempt = |label: String, mut command: Command, mode: &str| {
        command.args(["--mode", mode, "--serve", &serve.url, "--admin", &serve.admin]);
        command.args(["--conformance", &fixtures.url]).arg("--stdio").arg(&program);
        let output = bench.run(&label, command)?;
        output.lines().for_each(|line| println!("    {line}"));
        Ok(())
    };
    for mode in PYTHON_MODES {
        let mut command = Command::new(&python);
        command.arg(sources.join("python_client.py")).args(["--tcp", &tcp]);
        command.arg("--unix").arg(&socket);
        attempt(format!("Python client, mode {mode}"), command, mode)?;
    }
    for (sdk, mode) in TYPESCRIPT {
        let mut command = Command::new(&node.program);
        command.arg(sources.join("typescript_client.mjs")).arg("--modules").arg(&node.modules);
        command.args(["--sdk", sdk]);
        attempt(format!("TypeScript {sdk}, mode {mode}"), command, mode)?;
    }
    serve.stop()?;
    fixtures.stop()?;
    Ok("the SDKs for Python and TypeScript, in both eras, over HTTP, TCP, Unix, stdio".to_owned())
}
