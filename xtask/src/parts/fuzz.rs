//! Fuzzing with cargo-fuzz: each program in `shards/fuzz/fuzz_targets` is a target, and begins
//! with the seeds in `shards/fuzz/corpus`. cargo-fuzz needs an unstable flag of the compiler, the
//! sanitizer's, which `RUSTC_BOOTSTRAP` opens in a stable one; libFuzzer itself is C++.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::child::Bench;
use crate::part::{Problem, Result};
use crate::tools;

/// Where the targets are, from the root.
pub(crate) const FOLDER: &str = "shards/fuzz";

/// For each target, in the test: enough for all seeds and a look around them.
const SECONDS: u32 = 10;

/// Bounds on one target: memory, the sanitizer's shadow included; one input; one input's length,
/// over that of the longest head of a request.
const LIMITS: [&str; 3] = ["-rss_limit_mb=2048", "-timeout=10", "-max_len=20000"];

/// The part of the test: every target for a moment, from the committed seeds alone.
pub(crate) fn fuzz(bench: &mut Bench) -> Result {
    let targets = targets(&bench.tree.root)?;
    let fuzzer = Fuzzer::build(bench)?;
    let found = bench.folder.join("fuzz-corpus");
    if found.exists() {
        fs::remove_dir_all(&found).map_err(Problem::failed)?;
    }
    let mut executions = 0;
    for target in &targets {
        executions += fuzzer.run(bench, target, SECONDS, &found)?.executions;
    }
    Ok(format!("{} targets, {executions} executions", targets.len()))
}

/// The names of all targets, each of which has seeds.
pub(crate) fn targets(root: &Path) -> Result<Vec<String>> {
    let folder = root.join(FOLDER);
    let unreadable = |error| Problem::Failed(format!("{FOLDER}: {error}"));
    let mut names = Vec::new();
    for entry in fs::read_dir(folder.join("fuzz_targets")).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".rs").map(str::to_owned));
    }
    names.sort();
    let has_seeds = |name: &&String| {
        let seeds = fs::read_dir(folder.join("corpus").join(name));
        seeds.is_ok_and(|mut seeds| seeds.next().is_some())
    };
    match names.iter().find(|name| !has_seeds(name)) {
        _ if names.is_empty() => Err(Problem::Failed(format!("{FOLDER} has no targets"))),
        Some(name) => Err(Problem::Failed(format!("{FOLDER}/corpus/{name} has no seeds"))),
        None => Ok(names),
    }
}

/// What a run of one target came to.
#[derive(Debug, PartialEq)]
pub(crate) struct Campaign {
    pub(crate) executions: u64,
    /// Edges of the program that were reached.
    edges: u64,
}

impl Campaign {
    /// Reads libFuzzer's output: `#57478 DONE cov: 1162 ft: …` and the statistics behind it.
    fn read(output: &str) -> Option<Self> {
        let number = |text: &str| text.split_whitespace().next()?.parse().ok();
        let mut lines = output.lines().rev();
        let executions =
            lines.find_map(|line| line.strip_prefix("stat::number_of_executed_units:"));
        let edges = lines.find_map(|line| line.split_once("DONE")?.1.split_once("cov:"));
        let executions = number(executions?).filter(|&executions| executions > 0)?;
        Some(Self { executions, edges: number(edges?.1)? })
    }
}

/// All targets, built.
pub(crate) struct Fuzzer {
    cargo_fuzz: PathBuf,
}

impl Fuzzer {
    pub(crate) fn build(bench: &mut Bench) -> Result<Self> {
        let fuzzer = Self { cargo_fuzz: tools::cargo_fuzz(bench)? };
        let command = fuzzer.command(bench, "build");
        bench.run("building the fuzz targets", command)?;
        Ok(fuzzer)
    }

    /// Runs a target from its committed seeds and from `found/TARGET`, where what reaches new code
    /// is added. A crash leaves its input in `shards/fuzz/artifacts`.
    pub(crate) fn run(
        &self,
        bench: &mut Bench,
        target: &str,
        seconds: u32,
        found: &Path,
    ) -> Result<Campaign> {
        let found = found.join(target);
        fs::create_dir_all(&found).map_err(Problem::failed)?;
        let folder = bench.tree.root.join(FOLDER);
        let seeds = folder.join("corpus").join(target);
        let words = folder.join(format!("dictionaries/{target}.dict"));
        let mut command = self.command(bench, "run");
        command.arg(target).args([found, seeds]).arg("--").args(LIMITS);
        if words.exists() {
            command.arg(format!("-dict={}", words.display()));
        }
        command.arg(format!("-max_total_time={seconds}")).arg("-print_final_stats=1");
        let output = bench.run(&format!("fuzzing {target}"), command)?;
        let campaign = Campaign::read(&output);
        let campaign =
            campaign.ok_or_else(|| Problem::Failed(format!("{target} executed nothing")))?;
        println!("    {target}: {} executions, {} edges", campaign.executions, campaign.edges);
        Ok(campaign)
    }

    fn command(&self, bench: &Bench, chore: &str) -> Command {
        let mut command = Command::new(&self.cargo_fuzz);
        command.current_dir(&bench.tree.root).env("RUSTC_BOOTSTRAP", "1");
        command.args([chore, "--fuzz-dir", FOLDER, "--target-dir"]);
        command.arg(bench.tree.target.join("fuzz"));
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn campaigns_are_read() {
        let output = "#32\tINITED cov: 7 ft: 8 corp: 2/3b\n#57\tDONE   cov: 1162 ft: 4102 corp: 5\n\
            Done 57 runs in 11 second(s)\nstat::number_of_executed_units: 57\n\
            stat::average_exec_per_sec:     5\n";
        let campaign = Campaign { executions: 57, edges: 1162 };
        assert_eq!(Campaign::read(output), Some(campaign));
        assert_eq!(Campaign::read(&output.replace(": 57", ": 0")), None);
        assert_eq!(Campaign::read(&output.replace("DONE", "pulse")), None);
        assert_eq!(Campaign::read(""), None);
    }

    #[test]
    fn every_target_is_declared_and_has_seeds() {
        let root = crate::tree::root();
        let targets = targets(root).unwrap();
        let manifest = fs::read_to_string(root.join(FOLDER).join("Cargo.toml")).unwrap();
        let declared: Vec<_> = manifest
            .split("[[bin]]\nname = \"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .collect();
        assert_eq!(targets, declared, "in the order of their names");
    }
}
