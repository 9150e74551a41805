//! `ringmesh-sim`: runs a campaign of seeds, or looks for a bug that was put in on purpose.
#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::ops::Range;
use std::process::ExitCode;

use ringmesh_sim::campaign::{self, Bug, Plan, Report};
use ringmesh_sim::{Checked, Fault};

const USAGE: &str = "\
ringmesh-sim: runs shards in a simulated world, one life for each seed

  --seeds A..B    seeds to run, B excluded (0..300)
  --ticks N       ticks that each shard makes at least, for each seed (10000)
  --threads N     seeds that run at once (one for each processor)
  --bug NAME      puts a bug in: lost-doorbell, stale-generation, buffer-not-returned,
                  duplicate-event-id, leaked-session or budget-kept; succeeds as soon as a seed
                  finds it
  --trace         prints everything that happens, for a single seed
";

/// sysexits.h
const EX_USAGE: u8 = 64;

/// What the command line asks for.
struct Asked {
    plan: Plan,
    bug_name: Option<String>,
    trace: bool,
}

fn main() -> ExitCode {
    let mut out = io::stdout().lock();
    let asked = match read_arguments(std::env::args().skip(1)) {
        Ok(Some(asked)) => asked,
        Ok(None) => return finish(write!(out, "{USAGE}"), ExitCode::SUCCESS),
        Err(what) => {
            eprintln!("ringmesh-sim: {what} (--help shows what there is)");
            return ExitCode::from(EX_USAGE);
        }
    };
    if asked.trace {
        let Plan { seeds, ticks, bug, .. } = &asked.plan;
        let outcome = campaign::run_seed(seeds.start, *ticks, *bug, true);
        let code = if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        return finish(writeln!(out, "{outcome:?}"), code);
    }
    let report = campaign::run(&asked.plan);
    match &asked.bug_name {
        Some(name) => report_bug(&mut out, name, &asked.plan, &report),
        None => report_campaign(&mut out, &asked.plan, &report),
    }
}

/// A report that cannot be written has no other way out either.
fn finish(written: io::Result<()>, code: ExitCode) -> ExitCode {
    if written.is_ok() { code } else { ExitCode::FAILURE }
}

fn read_arguments(mut arguments: impl Iterator<Item = String>) -> Result<Option<Asked>, String> {
    let mut plan = Plan {
        seeds: 0..300,
        ticks: 10_000,
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        bug: None,
        stop_early: false,
    };
    let (mut bug_name, mut trace) = (None, false);
    while let Some(flag) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{flag} lacks its value"));
        match flag.as_str() {
            "--help" | "-h" => return Ok(None),
            "--seeds" => plan.seeds = read_range(&value()?)?,
            "--ticks" => plan.ticks = read_number(&flag, &value()?)?,
            "--threads" => {
                let threads = read_number(&flag, &value()?)?.clamp(1, 1_024);
                plan.threads = usize::try_from(threads).unwrap_or(1);
            }
            "--bug" => {
                let name = value()?;
                plan.bug = Some(bug_named(&name)?);
                plan.stop_early = true;
                bug_name = Some(name);
            }
            "--trace" => trace = true,
            _ => return Err(format!("unknown flag {flag}")),
        }
    }
    Ok(Some(Asked { plan, bug_name, trace }))
}

fn read_number(flag: &str, text: &str) -> Result<u64, String> {
    text.parse().map_err(|error| format!("{flag} {text}: {error}"))
}

fn read_range(text: &str) -> Result<Range<u64>, String> {
    let (start, end) = text.split_once("..").ok_or_else(|| format!("--seeds {text}: no A..B"))?;
    let seeds = read_number("--seeds", start)?..read_number("--seeds", end)?;
    if seeds.is_empty() { Err(format!("--seeds {text}: no seed")) } else { Ok(seeds) }
}

#[cfg(ringmesh_bugs)]
fn bug_named(name: &str) -> Result<Bug, String> {
    match name {
        "lost-doorbell" => Ok(Bug::LostDoorbell),
        "stale-generation" => Ok(Bug::StaleGeneration),
        "buffer-not-returned" => Ok(Bug::BufferNotReturned),
        "duplicate-event-id" => Ok(Bug::DuplicateEventId),
        "leaked-session" => Ok(Bug::LeakedSession),
        "budget-kept" => Ok(Bug::BudgetKept),
        _ => Err(format!("--bug {name}: no such bug")),
    }
}

#[cfg(not(ringmesh_bugs))]
fn bug_named(name: &str) -> Result<Bug, String> {
    Err(format!(
        "--bug {name}: bugs are not compiled in; build with\n  \
         RUSTFLAGS=\"--cfg ringmesh_bugs\" cargo run -p ringmesh-sim --profile quick \
         --target-dir target/bugs -- --bug {name}\n"
    ))
}

fn report_bug(out: &mut impl Write, name: &str, plan: &Plan, report: &Report) -> ExitCode {
    match report.failures.first() {
        Some(failure) => finish(
            writeln!(out, "found {name} by seed {}: {}", failure.seed, failure.what),
            ExitCode::SUCCESS,
        ),
        None => finish(
            writeln!(out, "{name} was NOT found by seeds {:?}", plan.seeds),
            ExitCode::FAILURE,
        ),
    }
}

fn report_campaign(out: &mut impl Write, plan: &Plan, report: &Report) -> ExitCode {
    let missing = report.faults.missing();
    let clean = report.failures.is_empty() && missing.is_empty();
    let code = if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    finish(write_campaign(out, plan, report, &missing), code)
}

fn write_campaign(
    out: &mut impl Write,
    plan: &Plan,
    report: &Report,
    missing: &[Fault],
) -> io::Result<()> {
    for &fault in Fault::ALL {
        writeln!(out, "{:>12}  {}", report.faults.count(fault), fault.label())?;
    }
    for failure in &report.failures {
        let (seed, after) = (failure.seed, failure.seed + 1);
        writeln!(out, "\nseed {seed} FAILED: {}", failure.what)?;
        writeln!(
            out,
            "repeat: cargo run -p ringmesh-sim --profile quick -- --seeds {seed}..{after} \
             --ticks {} --trace",
            plan.ticks
        )?;
    }
    for fault in missing {
        writeln!(out, "never occurred: {}", fault.label())?;
    }
    let Checked { connections, responses, changes } = report.checked;
    writeln!(out, "checked: {connections} connections, {responses} responses, {changes} changes")?;
    writeln!(
        out,
        "{} seeds, {} ticks, {} failed, {} of {} kinds of fault occurred",
        report.seeds,
        report.ticks,
        report.failures.len(),
        Fault::ALL.len() - missing.len(),
        Fault::ALL.len(),
    )
}
