//! Parts of the test: choosing them, running them in order, and the summary at the end.

use std::fmt;
use std::time::{Duration, Instant};

use clap::Args;

use crate::child::Bench;
use crate::clock;
use crate::tree::Tree;

/// One part of `cargo xtask test`.
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// Bound on the whole part, builds on a slow machine included. What overruns it is killed.
    pub(crate) limit_s: u64,
    pub(crate) run: fn(&mut Bench) -> Result,
}

/// A part that passed says in a few words what it saw.
pub(crate) type Result<T = String> = std::result::Result<T, Problem>;

#[derive(Debug)]
pub(crate) enum Problem {
    /// The thing tested is at fault.
    Failed(String),
    /// The machine lacks what the part needs.
    Missing { what: String, mend: String },
}

impl Problem {
    pub(crate) fn failed(why: impl fmt::Display) -> Self {
        Self::Failed(why.to_string())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(why) => f.write_str(why),
            Self::Missing { what, mend } => write!(f, "{what}; {mend}"),
        }
    }
}

#[derive(Args)]
pub(crate) struct Choice {
    /// Fail where a part has to be left out because the machine lacks something; refuse a stale
    /// Cargo.lock.
    #[arg(long)]
    strict: bool,
    /// Run only these parts.
    #[arg(long, value_name = "PART", value_delimiter = ',', value_parser = names())]
    only: Vec<String>,
    /// Run all parts but these.
    #[arg(long, value_name = "PART", value_delimiter = ',', value_parser = names())]
    skip: Vec<String>,
    /// List the parts and stop.
    #[arg(long)]
    list: bool,
}

fn names() -> clap::builder::PossibleValuesParser {
    crate::parts::ALL.iter().map(|part| part.name).into()
}

impl Choice {
    fn takes(&self, name: &str) -> bool {
        let named = |list: &[String]| list.iter().any(|entry| entry == name);
        (self.only.is_empty() || named(&self.only)) && !named(&self.skip)
    }
}

enum Outcome {
    Passed(String),
    Failed(String),
    LeftOut(String),
    NotAsked,
}

struct Row {
    name: &'static str,
    outcome: Outcome,
    took: Duration,
}

/// Runs what `choice` takes. True if nothing failed.
pub(crate) fn test(parts: &[Part], choice: &Choice) -> bool {
    if choice.list {
        parts.iter().for_each(|part| println!("{:12} {}", part.name, part.what));
        return true;
    }
    let tree = match Tree::find() {
        Ok(tree) => tree,
        Err(problem) => {
            println!("FAILED: {problem}");
            return false;
        }
    };
    let start = Instant::now();
    let rows: Vec<Row> = parts.iter().map(|part| one(part, choice, &tree)).collect();
    summary(&rows, start.elapsed())
}

fn one(part: &Part, choice: &Choice, tree: &Tree) -> Row {
    let name = part.name;
    if !choice.takes(name) {
        return Row { name, outcome: Outcome::NotAsked, took: Duration::ZERO };
    }
    println!("== {name}: {}", part.what);
    let start = Instant::now();
    let result = Bench::open(tree, name, Duration::from_secs(part.limit_s), choice.strict)
        .and_then(|mut bench| (part.run)(&mut bench));
    let outcome = match result {
        Ok(note) => Outcome::Passed(note),
        Err(problem @ Problem::Missing { .. }) if !choice.strict => {
            Outcome::LeftOut(problem.to_string())
        }
        Err(problem) => Outcome::Failed(problem.to_string()),
    };
    let row = Row { name, outcome, took: start.elapsed() };
    println!("{row}\n");
    row
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, note) = match &self.outcome {
            Outcome::Passed(note) => ("passed", note),
            Outcome::Failed(note) => ("FAILED", note),
            Outcome::LeftOut(note) => ("left out", note),
            Outcome::NotAsked => return write!(f, "{:12} not asked for", self.name),
        };
        write!(f, "{:12} {word:8} {:>13}  {note}", self.name, clock(self.took))
    }
}

fn summary(rows: &[Row], took: Duration) -> bool {
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    println!("== summary, {}", clock(took));
    for row in rows {
        println!("{row}");
        match row.outcome {
            Outcome::Passed(_) => passed += 1,
            Outcome::Failed(_) => failed += 1,
            Outcome::LeftOut(_) | Outcome::NotAsked => skipped += 1,
        }
    }
    let skipped = if skipped > 0 { format!(", {skipped} skipped") } else { String::new() };
    println!("{passed} passed, {failed} failed{skipped}");
    failed == 0
}
