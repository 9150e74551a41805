//! The conformance suite of MCP against one server, once for each revision that it speaks. The
//! suite's exit status does not tell (unscored scenarios never change it, and against a dead port
//! some checks still pass), so every check of every scenario is counted here, from the files that
//! it leaves.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;

use crate::child::Group;
use crate::part::{Problem, Result};
use crate::server::Server;

/// Of a run without a part's deadline: an emulated processor is slow.
const LIMIT: Duration = Duration::from_secs(3600);
/// What the suite puts behind a scenario's name: `-2026-11-21T22-12-52-571Z`.
const STAMP_LEN: usize = 25;
/// Tasks are an extension that this server does not offer.
const MAY_FAIL: &str = "tasks-";

/// One run of the suite. All of them are against the same server.
struct Run {
    /// Names its list of scenarios, and its folder of results.
    revision: &'static str,
    arguments: &'static [&'static str],
}

/// The suite has frozen what the two newest revisions require. For the older ones it runs whatever
/// scenario applies.
const RUNS: [Run; 4] = [
    Run { revision: "2026-07-28", arguments: &["--requirements", "2026-07-28"] },
    Run { revision: "2025-11-25", arguments: &["--requirements", "2025-11-25"] },
    Run { revision: "2025-06-18", arguments: &["--spec-version", "2025-06-18", "--suite", "all"] },
    Run { revision: "2025-03-26", arguments: &["--spec-version", "2025-03-26", "--suite", "all"] },
];

#[derive(Args)]
pub(crate) struct Options {
    /// The server's program; it takes `--http` and `--admin`.
    #[arg(long)]
    pub(crate) server: PathBuf,
    /// Node 22 or newer.
    #[arg(long)]
    pub(crate) node: PathBuf,
    /// The folder `node_modules` that holds the suite.
    #[arg(long)]
    pub(crate) modules: PathBuf,
    /// The folder with a list `REVISION.txt` for each run: the scenarios to expect, and how many
    /// checks have to pass in each.
    #[arg(long)]
    pub(crate) scenarios: PathBuf,
    /// Receives the results. What is there is removed.
    #[arg(long)]
    pub(crate) out: PathBuf,
    /// The run of this revision alone.
    #[arg(long, value_parser = RUNS.map(|run| run.revision))]
    pub(crate) revision: Option<String>,
}

/// The chore by itself.
pub(crate) fn run(options: &Options) -> Result {
    run_with(options, |revision, mut command| {
        let log = options.out.join(format!("{revision}.log"));
        let output = File::create(&log).map_err(Problem::failed)?;
        command.stdout(output.try_clone().map_err(Problem::failed)?).stderr(output);
        let mut group = Group::spawn(&mut command).map_err(Problem::failed)?;
        match group.wait_until(Instant::now() + LIMIT).map_err(Problem::failed)? {
            Some(_) => Ok(()),
            None => Err(Problem::Failed("the suite was killed: out of time".to_owned())),
        }
    })
}

/// Starts the server, has `start` run the suite's command for each revision to its end, stops the
/// server, judges.
pub(crate) fn run_with(
    options: &Options,
    mut start: impl FnMut(&str, Command) -> Result<()>,
) -> Result {
    let mut runs = Vec::new();
    for run in RUNS {
        if options.revision.as_ref().is_none_or(|only| only == run.revision) {
            let list = options.scenarios.join(format!("{}.txt", run.revision));
            runs.push((run, Expected::read(&list)?));
        }
    }
    if options.out.exists() {
        fs::remove_dir_all(&options.out).map_err(Problem::failed)?;
    }
    fs::create_dir_all(&options.out).map_err(Problem::failed)?;
    let server = Server::start(&options.server, &[], &options.out.join("server.log"))?;
    for (run, _) in &runs {
        let mut command = Command::new(&options.node);
        command.arg(options.modules.join(".bin/conformance"));
        command.arg("server").args(run.arguments).args(["--url", &server.url, "-o"]);
        command.arg(options.out.join(run.revision));
        start(run.revision, command)?;
    }
    let stopped = server.stop();
    let (mut notes, mut complaints) = (Vec::new(), Vec::new());
    for (Run { revision, .. }, expected) in &runs {
        let verdict = judge(&read_results(&options.out.join(revision))?, expected);
        print!("  {revision}\n{}", verdict.report);
        notes.push(format!("{revision}: {}", verdict.note));
        complaints.extend(verdict.complaints.iter().map(|it| format!("{revision}: {it}")));
    }
    stopped?;
    match complaints.as_slice() {
        [] => Ok(notes.join("; ")),
        [only] => Err(Problem::Failed(only.clone())),
        [first, rest @ ..] => {
            Err(Problem::Failed(format!("{first} (and {} more, above)", rest.len())))
        }
    }
}

/// Scenario to the least number of checks that have to pass in it.
struct Expected(BTreeMap<String, usize>);

impl Expected {
    fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path)
            .map_err(|error| Problem::Failed(format!("{}: {error}", path.display())))?;
        Self::parse(&text).map_err(|why| Problem::Failed(format!("{}: {why}", path.display())))
    }

    /// Lines of a name and a number; `#` begins a comment.
    fn parse(text: &str) -> std::result::Result<Self, String> {
        let mut scenarios = BTreeMap::new();
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, number) = line.split_once(' ').ok_or(format!("no number: {line}"))?;
            let number = number.trim().parse().map_err(|error| format!("{line}: {error}"))?;
            if scenarios.insert(name.to_owned(), number).is_some() {
                return Err(format!("named twice: {name}"));
            }
        }
        Ok(Self(scenarios))
    }
}

/// The checks of one scenario.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    warned: usize,
    /// Skipped ones and those that only inform.
    others: usize,
    /// Of the failed and the warned.
    messages: Vec<String>,
}

impl Tally {
    fn add(&mut self, check: &Value) {
        let text = |key: &str| check[key].as_str().unwrap_or_default();
        let status = text("status");
        match status {
            "SUCCESS" => self.passed += 1,
            "SKIPPED" | "INFO" => self.others += 1,
            "WARNING" => self.warned += 1,
            // A status that nobody knows counts against the server.
            _ => self.failed += 1,
        }
        if !matches!(status, "SUCCESS" | "SKIPPED" | "INFO") {
            self.messages.push(format!("{status} {}: {}", text("id"), text("errorMessage")));
        }
    }

    fn checks(&self) -> usize {
        self.passed + self.failed + self.warned + self.others
    }
}

/// Reads `server-SCENARIO-STAMP/checks.json` for each scenario that left a folder.
fn read_results(out: &Path) -> Result<BTreeMap<String, Tally>> {
    let mut results: BTreeMap<String, Tally> = BTreeMap::new();
    for entry in fs::read_dir(out).map_err(Problem::failed)? {
        let path = entry.map_err(Problem::failed)?.path();
        let folder = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(name) = folder.strip_prefix("server-").filter(|_| path.is_dir()) else {
            continue;
        };
        let scenario = name.get(..name.len().saturating_sub(STAMP_LEN)).unwrap_or(name);
        let tally = results.entry(scenario.to_owned()).or_default();
        // A scenario without a readable file has no checks, which is counted as a fault below.
        let text = fs::read(path.join("checks.json")).unwrap_or_default();
        let checks: Value = serde_json::from_slice(&text).unwrap_or_default();
        checks.as_array().into_iter().flatten().for_each(|check| tally.add(check));
    }
    Ok(results)
}

struct Verdict {
    report: String,
    note: String,
    complaints: Vec<String>,
}

fn judge(results: &BTreeMap<String, Tally>, expected: &Expected) -> Verdict {
    let mut complaints = Vec::new();
    let mut report = format!("  {:>6} {:>6} {:>6}  scenario\n", "passed", "failed", "warned");
    let (mut total, mut may_fail) = (Tally::default(), 0);
    for (name, tally) in results {
        report += &format!("  {:6} {:6} {:6}  {name}\n", tally.passed, tally.failed, tally.warned);
        for message in &tally.messages {
            report += &format!("  {:22}{message}\n", "");
        }
        if name.starts_with(MAY_FAIL) {
            may_fail += tally.failed;
        } else if tally.failed > 0 {
            complaints.push(format!("{name}: {} checks failed", tally.failed));
        }
        if tally.checks() == 0 {
            complaints.push(format!("{name}: ended without a check"));
        }
        match expected.0.get(name) {
            None => complaints.push(format!("{name}: not in the list of scenarios")),
            Some(&bar) if tally.passed < bar => {
                complaints.push(format!("{name}: {} of {bar} checks passed", tally.passed));
            }
            Some(_) => {}
        }
        total.passed += tally.passed;
        total.failed += tally.failed;
        total.warned += tally.warned;
    }
    for name in expected.0.keys().filter(|&name| !results.contains_key(name)) {
        complaints.push(format!("{name}: did not run"));
    }
    let mut note = format!("{} checks passed, {} failed", total.passed, total.failed);
    if may_fail > 0 {
        note += &format!(" ({may_fail} of them in {MAY_FAIL}*)");
    }
    if total.warned > 0 {
        note += &format!(", {} warned", total.warned);
    }
    report += &format!("  {note}\n");
    complaints.iter().for_each(|complaint| report += &format!("  FAILED: {complaint}\n"));
    Verdict { report, note, complaints }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn complaints(results: &[(&str, &[&str])]) -> Vec<String> {
        let expected = Expected::parse("# name, checks\n\ntools-list 2\ntasks-cancel 0\n").unwrap();
        let results = results
            .iter()
            .map(|(name, statuses)| {
                let mut tally = Tally::default();
                statuses.iter().for_each(|status| tally.add(&json!({"id": "x", "status": status})));
                ((*name).to_owned(), tally)
            })
            .collect();
        judge(&results, &expected).complaints
    }

    #[test]
    fn a_warning_and_a_failed_task_are_no_complaint() {
        let tools = ("tools-list", ["SUCCESS", "SUCCESS", "WARNING", "INFO"].as_slice());
        let tasks = ("tasks-cancel", ["FAILURE"].as_slice());
        assert_eq!(complaints(&[tools, tasks]), [""; 0]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let tasks = ("tasks-cancel", ["FAILURE"].as_slice());
        for (tools, complaint) in [
            (["SUCCESS", "SUCCESS", "FAILURE"].as_slice(), "tools-list: 1 checks failed"),
            (&["SUCCESS", "SUCCESS", "PUZZLED"], "tools-list: 1 checks failed"),
            (&["SUCCESS", "SKIPPED"], "tools-list: 1 of 2 checks passed"),
        ] {
            assert_eq!(complaints(&[("tools-list", tools), tasks]), [complaint]);
        }
        assert_eq!(complaints(&[tasks]), ["tools-list: did not run"]);
        let without = complaints(&[("tools-list", &["SUCCESS"; 2]), ("tasks-cancel", &[])]);
        assert_eq!(without, ["tasks-cancel: ended without a check"]);
        let extra = complaints(&[("tools-list", &["SUCCESS"; 2]), tasks, ("new", &["SUCCESS"])]);
        assert_eq!(extra, ["new: not in the list of scenarios"]);
    }

    #[test]
    fn a_list_with_a_mistake_is_refused() {
        for text in ["tools-list", "tools-list many", "tools-list 1\ntools-list 1"] {
            assert!(Expected::parse(text).is_err(), "{text}");
        }
    }
}
