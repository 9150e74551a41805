//! The campaign of seeds, and the proof that it bites: bugs behind a `cfg`, each to be found.

use std::process::Command;

use crate::child::Bench;
use crate::part::Result;

const BUGS: [&str; 6] = [
    "lost-doorbell",
    "stale-generation",
    "buffer-not-returned",
    "duplicate-event-id",
    "leaked-session",
    "budget-kept",
];

pub(crate) fn simulation(bench: &mut Bench) -> Result {
    let build = "build --profile quick -p ringmesh-sim";
    let command = bench.cargo(build);
    bench.run("building the simulator", command)?;
    let mut command = Command::new(bench.tree.quick("ringmesh-sim"));
    command.args(["--seeds", "0..300"]);
    let output = bench.run("300 seeds", command)?;
    output.lines().for_each(|line| println!("    {line}"));
    let campaign = output.lines().next_back().unwrap_or_default().to_owned();

    let target = bench.tree.target.join("bugs");
    let mut command = bench.cargo(build);
    command.arg("--target-dir").arg(&target).env("RUSTFLAGS", "--cfg ringmesh_bugs");
    bench.run("building the simulator with bugs", command)?;
    for bug in BUGS {
        let mut command = Command::new(target.join("quick/ringmesh-sim"));
        command.args(["--bug", bug]);
        bench.run(&format!("finding {bug}"), command)?;
    }
    Ok(format!("{campaign}; {} bugs found", BUGS.len()))
}
