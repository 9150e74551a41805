//! Long runs of the fuzz targets. The test runs each for a moment; here they go on from what
//! earlier runs found, which stays in cargo's target folder.

use std::time::Duration;

use clap::Args;

use crate::child::Bench;
use crate::part::{Problem, Result};
use crate::parts::{self, Fuzzer};
use crate::tree::Tree;

/// For the tool and the build; and again for each target, over its seconds.
const SLACK_S: u64 = 1200;

#[derive(Args)]
pub(crate) struct Options {
    /// How long to run each target.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Which targets to run, one after another; all of them if none is named.
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result {
    let tree = Tree::find()?;
    let known = parts::fuzz_targets(&tree.root)?;
    if let Some(unknown) = options.targets.iter().find(|target| !known.contains(target)) {
        let known = known.join(", ");
        return Err(Problem::Failed(format!("there is no target {unknown}; there are {known}")));
    }
    let targets = if options.targets.is_empty() { &known } else { &options.targets };
    let count = u64::try_from(targets.len()).map_err(Problem::failed)?;
    let limit_s = SLACK_S + count * (u64::from(options.seconds) + SLACK_S);
    let mut bench = Bench::open(&tree, "fuzz-long", Duration::from_secs(limit_s), false)?;
    let fuzzer = Fuzzer::build(&mut bench)?;
    let found = tree.target.join("fuzz/corpus");
    let mut executions = 0;
    for target in targets {
        executions += fuzzer.run(&mut bench, target, options.seconds, &found)?.executions;
    }
    Ok(format!("{executions} executions; what they found is in {}", found.display()))
}
