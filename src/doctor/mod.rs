//! `ringmesh doctor`: what this machine allows, which limit binds first, and what mends it.
//!
//! Runs once, in a process of its own, and changes nothing. Everything that it knows of the machine
//! is in [`Host`], read from a root path; every check and every sum is a pure function of that. What
//! no file tells (whether io_uring works, whether conntrack tracks) is tried beforehand and part of
//! it ([`Trials`]).
//!
//! Invariant: what a plan needs is never computed here. The plan is resolved for the machine as the
//! server does it, so that the two agree, refusals included.
//!
//! Left out: mending anything. The commands are printed, and a person runs them.

mod capacity;
mod check;
mod confinement;
mod conntrack;
mod cpu;
mod files;
mod host;
mod memory;
mod network;
mod report;
mod ring;
#[cfg(test)]
mod tests;
mod trials;

use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;

use clap::Args;

use self::capacity::Capacity;
use self::check::{Check, Look, State};
use self::host::Host;
use self::report::{Report, Style};

/// What the machine is asked about besides the connections of `--connections`.
const ASKED_ABOUT: [u64; 2] = [100_000, 1_000_000];

/// The flags of `ringmesh doctor`.
#[derive(Args)]
pub(crate) struct Options {
    /// Ask whether so many connections fit: exit 0 if they do, 1 if not
    #[arg(long, value_name = "N", value_parser = connections)]
    connections: Option<u64>,
    /// Print one JSON document instead of the table
    #[arg(long)]
    json: bool,
}

fn connections(text: &str) -> Result<u64, &'static str> {
    // Beyond that the arithmetic would be of another world, and so would be the machine.
    const MOST: u64 = 1_000_000_000;
    let number = text.parse().ok().filter(|n| (1..=MOST).contains(n));
    number.ok_or("write a whole number from 1 to 1000000000")
}

/// Looks at this machine and prints what was found. Whether all is well: with `--connections`
/// whether they fit, otherwise whether no check failed and a server without flags would start.
pub(crate) fn run(options: &Options) -> bool {
    let host = Host::read(Path::new("/"), trials::run());
    let report = examine(&host, options.connections);
    let mut out = io::stdout().lock();
    // Standard output may be closed: that is the reader's choice.
    let text = if options.json {
        report.json()
    } else {
        let colour = out.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        report.text(Style { colour })
    };
    writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()).ok();
    report.is_good()
}

/// Everything that can be said of a machine.
fn examine(host: &Host, asked: Option<u64>) -> Report {
    let wanted = asked.unwrap_or(ASKED_ABOUT[0]);
    let look = Look { host, wanted, asked: asked.is_some() };
    let groups = [
        ("io_uring", ring::CHECKS),
        ("files", files::CHECKS),
        ("memory", memory::CHECKS),
        ("network", network::CHECKS),
        ("conntrack", conntrack::CHECKS),
        ("cpu", cpu::CHECKS),
        ("confinement", confinement::CHECKS),
    ];
    let checks = groups.iter().flat_map(|(group, checks)| {
        checks.iter().filter_map(|check| check(&look)).map(|check| check.of(group))
    });
    let checks: Vec<Check> = checks.collect();
    let capacity = Capacity::of(host);
    let targets = match asked {
        Some(asked) => vec![capacity.fit(asked)],
        None => ASKED_ABOUT.iter().map(|&asked| capacity.fit(asked)).collect(),
    };
    let failed = checks.iter().any(|check| check.state == State::Fail);
    let good = match asked {
        Some(_) => !failed && targets.iter().all(|fit| fit.fits()),
        None => !failed && capacity.by_default().is_ok(),
    };
    Report::new(host, checks, &capacity, targets, good)
}
