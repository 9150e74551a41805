//! `ringmesh report A B`: results of runs side by side, with ratios to the first.
//!
//! Reads `summary.json` of each folder and nothing else. What is doubtful about a run (saturated,
//! interrupted) stands before its figures and beside its name.
//!
//! Left out: a judgement. Which ratio is good, and whether runs may be compared at all, depends on
//! what was changed between them.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::record::{Ended, Summary};
use super::results::{
    FORMAT, INCOMPLETE, SUMMARY, document, escaped, marks, shortened, table, wrapped,
};
use crate::boot::StartError;

/// Largest summary that is read, bytes; one of a run with hundreds of phases has less.
const SUMMARY_BYTES_MAX: u64 = 16 << 20;
/// Runs beside each other in a terminal of 100 columns, the first among them.
const BESIDE_MAX: usize = 3;
/// Columns of a figure's name, and of a run.
const NAME_WIDTH: usize = 26;
const RUN_WIDTH: usize = 24;
/// Runs in all.
const RUNS_MAX: usize = 26;

/// A run that was read.
#[derive(Debug)]
struct Run {
    /// A letter.
    name: String,
    folder: PathBuf,
    summary: Summary,
    marks: Vec<String>,
}

/// The runs of these folders as text for a terminal, 100 columns wide; with `html`, written to that
/// file as a page as well.
///
/// # Errors
/// One line: too many folders (64), one that is no results folder or whose summary cannot be read
/// (65), a page that cannot be written (74).
pub(crate) fn compare(folders: &[PathBuf], html: Option<&Path>) -> Result<String, StartError> {
    if folders.len() > RUNS_MAX {
        let line = format!("{} folders are too many: at most {RUNS_MAX}", folders.len());
        return Err(StartError::usage(line));
    }
    let letters = 'A'..='Z';
    let runs = letters.zip(folders).map(|(letter, folder)| read(letter, folder));
    let runs = runs.collect::<Result<Vec<_>, _>>()?;
    if let Some(path) = html {
        fs::write(path, page(&runs))
            .map_err(|error| StartError::io(format!("cannot write {}: {error}", path.display())))?;
    }
    Ok(text(&runs))
}

fn read(letter: char, folder: &Path) -> Result<Run, StartError> {
    let (path, mark) = (folder.join(SUMMARY), folder.join(INCOMPLETE));
    let shown = folder.display();
    let mut json = String::new();
    let file = File::open(&path).map_err(|error| match mark.exists() {
        true => StartError::data(format!("{shown} is of a run that did not end: no {SUMMARY}")),
        false => StartError::data(format!("{shown} is no results folder: {SUMMARY}: {error}")),
    })?;
    let cannot = |error: &dyn std::fmt::Display| {
        StartError::data(format!("{} is no summary of a run: {error}", path.display()))
    };
    let mut file = file.take(SUMMARY_BYTES_MAX);
    file.read_to_string(&mut json).map_err(|error| cannot(&error))?;
    let summary: Summary = serde_json::from_str(&json).map_err(|error| cannot(&error))?;
    if summary.format != FORMAT {
        let format = summary.format;
        return Err(cannot(&format!("it has format {format}, this program reads {FORMAT}")));
    }
    let mut marks = marks(&summary);
    if mark.exists() && summary.ended == Ended::Complete {
        marks.push(format!("INCOMPLETE: the folder holds the file {INCOMPLETE}"));
    }
    Ok(Run { name: letter.to_string(), folder: folder.to_path_buf(), summary, marks })
}

/// A row: a name, and how the figure is read; `None` where a run has none.
type Row = (&'static str, fn(&Summary) -> Option<f64>);

const ROWS: &[Row] = &[
    ("connections wanted", |s| Some(int(s.connections.wanted))),
    ("  ready at once", |s| Some(int(s.connections.established))),
    ("  lost", |s| some(int(s.connections.lost))),
    ("  failed", |s| some(int(s.connections.failed))),
    ("calls sent", |s| some(int(s.requests))),
    ("  answered", |s| some(int(s.answered))),
    ("  abandoned", |s| some(int(s.abandoned))),
    ("errors", |s| Some(int(s.errors))),
    ("offered per s", |s| some(s.rate_per_s.offered)),
    ("answered per s", |s| some(s.rate_per_s.achieved)),
    ("latency p50, ms", |s| some(s.latency_ms.p50)),
    ("  p90", |s| some(s.latency_ms.p90)),
    ("  p99", |s| some(s.latency_ms.p99)),
    ("  p99.9", |s| some(s.latency_ms.p999)),
    ("  p99.99", |s| some(s.latency_ms.p9999)),
    ("  max", |s| some(s.latency_ms.max)),
    ("from sending p50, ms", |s| some(s.service_ms.p50)),
    ("  p99", |s| some(s.service_ms.p99)),
    ("updates", |s| some(int(s.updates))),
    ("delivery p50, ms", |s| some(s.delivery_ms.p50)),
    ("  p99", |s| some(s.delivery_ms.p99)),
    ("  max", |s| some(s.delivery_ms.max)),
    ("opening p50, ms", |s| some(s.opening_ms.p50)),
    ("  p99", |s| some(s.opening_ms.p99)),
    ("  max", |s| some(s.opening_ms.max)),
    ("first call p50, ms", |s| some(s.first_call_ms.p50)),
    ("  p99", |s| some(s.first_call_ms.p99)),
    ("  max", |s| some(s.first_call_ms.max)),
    ("sent late p99, ms", |s| some(s.late_ms.p99)),
    ("server CPU per call, µs", |s| some(s.server?.cpu_us_per_request)),
    ("  cores busy", |s| some(s.server?.busy_cores)),
    ("  bytes per connection", |s| some(s.server?.rss_bytes_per_connection)),
    ("  resident at most, MiB", |s| some(int(s.server?.rss_bytes_max) / 1_048_576.0)),
    ("generator CPU per call, µs", |s| some(s.generator.cpu_us_per_request)),
    ("  cores busy", |s| some(s.generator.busy_cores)),
    ("  busiest thread", |s| some(s.generator.busiest_share)),
    ("  pacing, ms", |s| some(s.generator.pacing_ms)),
    ("measured, s", |s| Some(s.measured_s)),
];

/// 0 stands for what was not measured.
fn some(value: f64) -> Option<f64> {
    (value != 0.0).then_some(value)
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run are below 2^53")]
fn int(count: u64) -> f64 {
    count as f64
}

/// A figure, and its ratio to that of the first run.
fn cell(run: &Run, first: &Run, row: &Row) -> String {
    let Some(value) = row.1(&run.summary) else { return "-".to_owned() };
    let shown = if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.3}") };
    match row.1(&first.summary).filter(|first| *first > 0.0) {
        Some(of) if run.name != first.name => format!("{shown} ({:.2}x)", value / of),
        _ => shown,
    }
}

/// Rows in which at least one run has a figure.
fn rows(runs: &[Run]) -> Vec<&'static Row> {
    let told = |row: &&Row| runs.iter().any(|run| row.1(&run.summary).is_some());
    ROWS.iter().filter(told).collect()
}

fn text(runs: &[Run]) -> String {
    let mut told = String::new();
    for run in runs {
        let Summary { title, started, .. } = &run.summary;
        let line = format!("{}: {title}, {started}", run.folder.display());
        wrapped(&mut told, &format!("{}  ", run.name), &line);
        run.marks.iter().for_each(|mark| wrapped(&mut told, "   !! ", mark));
    }
    let mut lines = vec![told.trim_end().to_owned()];
    let Some((first, others)) = runs.split_first() else { return told };
    let rows = rows(runs);
    let blocks = others.chunks(BESIDE_MAX - 1).map(|others| others.iter().collect::<Vec<_>>());
    let blocks = if others.is_empty() { vec![vec![]] } else { blocks.collect() };
    for block in blocks {
        let block = std::iter::once(first).chain(block).collect::<Vec<_>>();
        let line = |name: &str, cells: Vec<String>| {
            let cells =
                cells.iter().map(|c| format!("{:>RUN_WIDTH$}", shortened(c, RUN_WIDTH - 1)));
            format!("{name:<NAME_WIDTH$}{}", cells.collect::<String>()).trim_end().to_owned()
        };
        lines.push(String::new());
        lines.push(line("", block.iter().map(|run| heading(run)).collect()));
        for row in &rows {
            lines.push(line(row.0, block.iter().map(|run| cell(run, first, row)).collect()));
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

/// The run's letter, with a mark where its figures are doubtful.
fn heading(run: &Run) -> String {
    let incomplete = run.summary.ended != Ended::Complete || run.folder.join(INCOMPLETE).exists();
    let mut heading = run.name.clone();
    for (doubtful, why) in
        [(incomplete, " incomplete"), (run.summary.generator_saturated, " saturated")]
    {
        heading.push_str(if doubtful { why } else { "" });
    }
    heading
}

/// What the figures are of that follow one of this name.
fn of(name: &str) -> &str {
    let ends = [" p50", " CPU", " wanted", " sent"].iter().filter_map(|word| name.find(word));
    &name[..ends.min().unwrap_or(name.len())]
}

fn page(runs: &[Run]) -> String {
    let mut body = String::from("<h1>Runs side by side</h1>\n");
    for run in runs {
        let Summary { title, started, .. } = &run.summary;
        let told = format!("{}  {}: {title}, {started}", run.name, run.folder.display());
        body += &format!("<p>{}</p>\n", escaped(&told));
        for mark in &run.marks {
            body += &format!("<p class=\"bad\">{}</p>\n", escaped(mark));
        }
    }
    let Some(first) = runs.first() else { return document("Runs side by side", &body) };
    let mut group = "";
    let rows = rows(runs).into_iter().map(|row| {
        // On a narrow page a row stands alone: its name has to say of what it is.
        let name = match row.0.strip_prefix("  ") {
            Some(part) => format!("{}: {part}", of(group)),
            None => {
                group = row.0;
                row.0.to_owned()
            }
        };
        std::iter::once(name).chain(runs.iter().map(|run| cell(run, first, row))).collect()
    });
    let rows = rows.collect::<Vec<Vec<String>>>();
    let headings = runs.iter().map(heading).collect::<Vec<_>>();
    let columns = std::iter::once("").chain(headings.iter().map(String::as_str));
    body += &table(&columns.collect::<Vec<_>>(), &rows);
    document("Runs side by side", &body)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use serde_json::{Value, json};

    use super::*;

    fn percentiles(p50: f64) -> Value {
        json!({ "count": 9, "mean": p50, "p50": p50, "p90": p50, "p99": p50 * 4.0, "p999": p50,
                "p9999": p50, "max": p50 })
    }

    fn summary(p50: f64) -> Value {
        let none = percentiles(0.0);
        json!({
            "format": 1, "title": "a <b>run</b>", "targets": ["http://127.0.0.1:1"],
            "started": "2026-07-28T09:00:00.000Z", "ended": { "state": "complete" },
            "run_s": 10.0, "measured_s": 8.0,
            "connections": { "wanted": 10, "established": 10, "lost": 0, "failed": 0 },
            "requests": 1_000, "answered": 1_000, "errors": 0, "faults": {},
            "rate_per_s": { "offered": 100.0, "achieved": 100.0 },
            "latency_ms": percentiles(p50), "service_ms": none, "opening_ms": none,
            "first_call_ms": none, "delivery_ms": none, "updates": 0, "comments": 0,
            "late_ms": none, "generator_saturated": false, "generator_saturated_why": [],
            "generator": { "shards": 1, "busy_cores": 0.5, "cores": 1.0, "busiest_share": 0.5,
                           "cpu_us_per_request": 5.0 },
            "server": null, "server_unknown_why": "it is far away",
            "phases": [], "workloads": [], "examples": [], "assertions": [],
        })
    }

    fn folder(summary: &Value) -> PathBuf {
        static FOLDERS: AtomicU32 = AtomicU32::new(0);
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let name = format!("ringmesh-compare-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join(SUMMARY), summary.to_string()).unwrap();
        path
    }

    #[test]
    fn runs_stand_beside_each_other_with_ratios_to_the_first() {
        let mut saturated = summary(3.0);
        saturated["generator_saturated"] = true.into();
        saturated["generator_saturated_why"] = json!(["thread 0 was busy for 99 % of the time"]);
        let folders = [2.0, 1.0, 4.0].map(|p50| folder(&summary(p50)));
        let folders = folders.into_iter().chain([folder(&saturated)]).collect::<Vec<_>>();
        let html = folders[0].join("page.html");
        let text = compare(&folders, Some(&html)).unwrap();
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        let row =
            |name: &str| text.lines().filter(|line| line.starts_with(name)).collect::<Vec<_>>();
        let cells = |line: &str| {
            line.split("  ")
                .map(str::trim)
                .filter(|c| !c.is_empty())
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let latency = row("latency p50, ms");
        assert_eq!(latency.len(), 2, "two blocks: {text}");
        assert_eq!(cells(latency[0]), ["latency p50, ms", "2", "1 (0.50x)", "4 (2.00x)"]);
        assert_eq!(cells(latency[1]), ["latency p50, ms", "2", "3 (1.50x)"]);
        assert!(
            text.contains("   !! GENERATOR SATURATED: thread 0") && text.contains("D saturated")
        );
        assert!(row("delivery").is_empty() && row("server").is_empty(), "nothing to tell");
        let page = fs::read_to_string(html).unwrap();
        assert!(page.contains("class=\"bad\">GENERATOR SATURATED") && !page.contains("<b>run"));
        assert!(
            page.contains("latency: p99")
                && page.contains("calls: answered")
                && page.contains("0.50x")
        );
        folders.iter().for_each(|folder| fs::remove_dir_all(folder).unwrap());
    }

    #[test]
    fn what_is_no_results_folder_is_one_line() {
        let good = folder(&summary(1.0));
        let refused = |folder: &Path| {
            let error = compare(&[good.clone(), folder.to_path_buf()], None).unwrap_err();
            assert_eq!(error.exit_code(), 65);
            error.to_string()
        };
        assert!(refused(Path::new("/nowhere")).starts_with("/nowhere is no results folder: "));
        let running = folder(&summary(1.0));
        fs::remove_file(running.join(SUMMARY)).unwrap();
        fs::write(running.join(INCOMPLETE), "").unwrap();
        assert!(refused(&running).ends_with("is of a run that did not end: no summary.json"));
        fs::write(running.join(SUMMARY), "{}").unwrap();
        assert!(refused(&running).contains("is no summary of a run: missing field"));
        let mut newer = summary(1.0);
        newer["format"] = 99.into();
        let newer = folder(&newer);
        assert!(refused(&newer).contains("it has format 99, this program reads 1"));
        [good, running, newer].iter().for_each(|folder| fs::remove_dir_all(folder).unwrap());
    }

    #[test]
    fn a_run_that_was_interrupted_is_marked() {
        let mut interrupted = summary(1.0);
        interrupted["ended"] = json!({ "state": "interrupted" });
        let folders = [folder(&interrupted), folder(&summary(1.0))];
        fs::write(folders[1].join(INCOMPLETE), "").unwrap();
        let text = compare(&folders, None).unwrap();
        assert!(text.contains("   !! INTERRUPTED") && text.contains("A incomplete"), "{text}");
        assert!(text.contains("   !! INCOMPLETE") && text.contains("B incomplete"), "{text}");
        folders.iter().for_each(|folder| fs::remove_dir_all(folder).unwrap());
    }
}
