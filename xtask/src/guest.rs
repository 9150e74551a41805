//! The conformance suite on the oldest kernel that is supported: in a Debian 12 guest. It judges
//! by the same rules as on the host, since this very program runs in the guest. Not a part of the
//! test: the emulator takes many minutes, and the first run has to be root.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use clap::Args;

use crate::child::Bench;
use crate::part::{Problem, Result};
use crate::tree::Tree;
use crate::{parts, tools};

const BUILD: Duration = Duration::from_secs(1800);

/// A line of bash. The server's log tells which features of io_uring this kernel has.
const IN_THE_GUEST: &str = "xtask suite --server=conformance --node=node \
     --modules=node_modules --scenarios=scenarios --out=/tmp/results; status=$?; \
     cat /tmp/results/server.log; exit $status";

#[derive(Args)]
pub(crate) struct Options {
    /// Bound on the guest's whole life, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 2400)]
    timeout: u32,
}

pub(crate) fn run(options: &Options) -> Result {
    let tree = Tree::find()?;
    let mut bench = Bench::open(&tree, "guest", BUILD, false)?;
    let suite = tools::node(&mut bench, "conformance")?;
    parts::build_servers(&mut bench)?;
    let folder = tree.target.join("guest");
    let payload = folder.join("payload");
    if payload.exists() {
        fs::remove_dir_all(&payload).map_err(Problem::failed)?;
    }
    fs::create_dir_all(&payload).map_err(Problem::failed)?;
    let this = std::env::current_exe().map_err(Problem::failed)?;
    let files = [
        (tree.quick("examples/conformance"), "conformance"),
        (this, "xtask"),
        (suite.program, "node"),
    ];
    for (from, to) in files {
        fs::copy(&from, payload.join(to))
            .map_err(|error| Problem::Failed(format!("{}: {error}", from.display())))?;
    }
    copy_folder(&mut bench, &tree.root.join("tests/conformance"), &payload.join("scenarios"))?;
    copy_folder(&mut bench, &suite.modules, &payload)?;
    let transcript = folder.join("transcript.txt");
    let mut command = Command::new(tree.root.join("tests/guest/run.sh"));
    command.arg("--payload").arg(&payload).arg("--out").arg(&transcript);
    command.args(["--timeout", &options.timeout.to_string(), "--", IN_THE_GUEST]);
    // Without a group of its own: the guest's console belongs on this terminal, and so does ^C.
    let status = command.status().map_err(Problem::failed)?;
    let note = format!("the transcript is {}", transcript.display());
    match status.success() {
        true => Ok(note),
        false => Err(Problem::Failed(format!("tests/guest/run.sh: {status}; {note}"))),
    }
}

/// `cp` keeps the links that npm has made.
fn copy_folder(bench: &mut Bench, from: &Path, to: &Path) -> Result {
    let mut command = Command::new("cp");
    command.arg("-a").args([from, to]);
    bench.run(&format!("copying {}", from.display()), command)
}
