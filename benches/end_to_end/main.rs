//! One shard from end to end: `tools/call` of `add` over HTTP keep-alive on loopback, against the
//! real program. Latency to p99.99 and throughput, by the number of connections.
//!
//! The load is a closed loop: each connection sends its next call when it has its answer, so the
//! shard always works at its limit, and latency is roughly connections / throughput. One thread
//! plays all clients; shard and client have a processor each where there are two. What a client
//! sees at a moderate, steady rate is for `ringmesh load` to say.
#![expect(clippy::print_stdout, reason = "a program for people speaks on standard output")]

mod client;
mod options;
mod report;
mod server;
#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::time::Duration;

use client::{Client, Run};
use options::Options;
use report::{Level, Report};
use server::Server;

/// Connections, a level each.
const LEVELS: [usize; 6] = [1, 4, 16, 64, 256, 1_000];
/// Before each run, at most: connections warm up, and the server its buffers.
const WARM_UP_MAX: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(wrong) => return failed(options::EX_USAGE, &wrong),
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(wrong) => failed(1, &wrong),
    }
}

fn failed(code: u8, wrong: &str) -> ExitCode {
    eprintln!("end_to_end: {wrong}");
    ExitCode::from(code)
}

fn run(options: &Options) -> Result<(), String> {
    let levels: Vec<_> =
        LEVELS.into_iter().filter(|&connections| options.takes(&name(connections))).collect();
    if options.list {
        levels.iter().for_each(|&connections| println!("{}: benchmark", name(connections)));
        return Ok(());
    }
    if levels.is_empty() {
        // The filter was for another bench.
        return Ok(());
    }
    let before = options.baseline.as_deref().map(Report::load).transpose()?;
    let most = levels.iter().copied().max().unwrap_or_default();
    let server = Server::start(most)?;
    let mut runs: Vec<Vec<Run>> = vec![Vec::new(); levels.len()];
    // Level after level, then again: what disturbs the machine for a while falls on all alike.
    for _ in 0..options.rounds {
        for (&connections, runs) in levels.iter().zip(&mut runs) {
            if options.test {
                println!("Testing {}", name(connections));
            }
            runs.push(one(&server, connections, options.time)?);
            if options.test {
                println!("Success");
            }
        }
    }
    if options.test {
        // Figures of a moment, in a build that may not be optimised, would only mislead.
        return Ok(());
    }
    let rows = levels.iter().zip(&runs);
    let rows = rows.map(|(&connections, runs)| Level::of(name(connections), connections, runs));
    let report = Report::new(rows.collect(), options);
    print!("{}", report.table(before.as_ref()));
    println!("saved as {}", report.save(options.name())?.display());
    Ok(())
}

fn name(connections: usize) -> String {
    format!("tools_call/{connections}")
}

fn one(server: &Server, connections: usize, time: Duration) -> Result<Run, String> {
    let mut client = Client::connect(server.address, connections)?;
    client.run(time.min(WARM_UP_MAX))?;
    let busy = server.cpu()?;
    let mut run = client.run(time)?;
    run.server_cpu = server.cpu()?.saturating_sub(busy);
    Ok(run)
}
