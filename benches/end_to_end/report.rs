//! What was measured: a table for people, a file for comparisons.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::client::Run;
use crate::options::Options;

/// Of the file: raised when a field changes its meaning.
const FORMAT: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    format: u32,
    /// Length of a run, and runs of each level.
    seconds: f64,
    rounds: u32,
    kernel: String,
    levels: Vec<Level>,
}

/// One bench. Latency is of all runs together; rate and CPU are medians with their spread.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Level {
    name: String,
    connections: usize,
    requests: u64,
    rate_per_s: Spread,
    server_cpu_us_per_request: Spread,
    latency_us: Latency,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Latency {
    p50: f64,
    p90: f64,
    p99: f64,
    p99_9: f64,
    p99_99: f64,
    max: f64,
}

impl Level {
    /// # Panics
    /// If there is no run.
    pub(crate) fn of(name: String, connections: usize, runs: &[Run]) -> Self {
        let mut latency_ns = runs[0].latency_ns.clone();
        for run in &runs[1..] {
            latency_ns.add(&run.latency_ns).expect("histograms of the same bounds");
        }
        let at = |quantile| latency_ns.value_at_quantile(quantile) as f64 / 1e3;
        let requests = |run: &Run| run.latency_ns.len().max(1) as f64;
        Self {
            name,
            connections,
            requests: latency_ns.len(),
            rate_per_s: Spread::of(runs, |run| requests(run) / run.took.as_secs_f64().max(1e-9)),
            server_cpu_us_per_request: Spread::of(runs, |run| {
                run.server_cpu.as_secs_f64() * 1e6 / requests(run)
            }),
            latency_us: Latency {
                p50: at(0.5),
                p90: at(0.9),
                p99: at(0.99),
                p99_9: at(0.999),
                p99_99: at(0.9999),
                max: latency_ns.max() as f64 / 1e3,
            },
        }
    }

    /// The figures that are compared.
    fn figures(&self) -> [f64; 8] {
        let latency = &self.latency_us;
        let Latency { p50, p90, p99, p99_9, p99_99, max } = *latency;
        let (rate, cpu) = (self.rate_per_s.median, self.server_cpu_us_per_request.median);
        [rate, cpu, p50, p90, p99, p99_9, p99_99, max]
    }
}

impl Spread {
    fn of(runs: &[Run], figure: impl Fn(&Run) -> f64) -> Self {
        let mut values: Vec<f64> = runs.iter().map(figure).collect();
        values.sort_by(f64::total_cmp);
        Self { median: values[values.len() / 2], min: values[0], max: values[values.len() - 1] }
    }
}

impl Report {
    pub(crate) fn new(levels: Vec<Level>, options: &Options) -> Self {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            format: FORMAT,
            seconds: options.time.as_secs_f64(),
            rounds: options.rounds,
            kernel: kernel.trim_end().to_owned(),
            levels,
        }
    }

    /// # Errors
    /// One line: there is no such baseline, or it is not one.
    pub(crate) fn load(name: &str) -> Result<Self, String> {
        let path = path(name);
        let text = fs::read_to_string(&path).map_err(|error| {
            let path = path.display();
            format!("{path}: {error}: cargo bench -- --save-baseline {name} makes it")
        })?;
        let report: Result<Self, _> = serde_json::from_str(&text);
        let report = report.ok().filter(|report| report.format == FORMAT);
        report.ok_or_else(|| format!("{}: not a baseline of this program", path.display()))
    }

    /// # Errors
    /// One line: it cannot be written.
    pub(crate) fn save(&self, name: &str) -> Result<PathBuf, String> {
        let path = path(name);
        let failed = |error| format!("{}: {error}", path.display());
        let text = serde_json::to_string_pretty(self).expect("numbers and texts");
        fs::create_dir_all(folder()).map_err(failed)?;
        // Whole or not at all: a baseline that is cut short would be refused later.
        let part = path.with_extension("part");
        fs::write(&part, text + "\n").and_then(|()| fs::rename(&part, &path)).map_err(failed)?;
        Ok(path)
    }

    /// The figures, and what they are of the baseline's.
    pub(crate) fn table(&self, before: Option<&Self>) -> String {
        let mut text = format!(
            "\n{:16}{:>10}{:>16}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}\n",
            "", "requests/s", "CPU µs/request", "p50 µs", "p90", "p99", "p99.9", "p99.99", "max"
        );
        for level in &self.levels {
            let [rate, cpu, latency @ ..] = level.figures();
            write!(text, "{:16}{rate:>10.0}{cpu:>16.2}", level.name).expect("memory");
            for figure in latency {
                write!(text, "{figure:>10.1}").expect("memory");
            }
            text.push('\n');
            let (rate, cpu) = (level.rate_per_s, level.server_cpu_us_per_request);
            if self.rounds > 1 {
                let rate = format!("{:.0}-{:.0}", rate.min, rate.max);
                let cpu = format!("{:.2}-{:.2}", cpu.min, cpu.max);
                writeln!(text, "{:>26}{cpu:>16}", rate).expect("memory");
            }
            let same = |other: &&Level| other.name == level.name;
            if let Some(old) = before.and_then(|before| before.levels.iter().find(same)) {
                text.push_str(&compared(level, old));
            }
        }
        text
    }
}

/// How each figure changed, in percent.
fn compared(new: &Level, old: &Level) -> String {
    let mut text = format!("{:16}", "  change, %");
    let widths = [10, 16, 10, 10, 10, 10, 10, 10];
    for ((new, old), width) in new.figures().into_iter().zip(old.figures()).zip(widths) {
        let change = (new / old.max(1e-9) - 1.0) * 100.0;
        write!(text, "{change:>+width$.1}").expect("memory");
    }
    text.push('\n');
    text
}

fn path(name: &str) -> PathBuf {
    folder().join(format!("{name}.json"))
}

/// Beside what cargo builds, wherever that is.
fn folder() -> PathBuf {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    scratch.parent().unwrap_or(scratch).join("ringmesh-bench")
}
