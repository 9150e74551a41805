//! The tables of a results folder: comma-separated, quoted as RFC 4180 says, a row as soon as it
//! is known.

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ringmesh_runtime::load::sample::TargetSample;
use ringmesh_runtime::load::script::Target;

use super::hdr::{self, Long};
use super::tally::Count;
use super::{float, ratio, rounded, time};
use crate::boot::StartError;
use crate::load::record::{NodeMetrics, Resources, Second};

pub(super) const CONNECTIONS: &str = "timestamp,elapsed_s,seconds,phase,wanted,actual,opening,\
    opened,closed,lost,failed,rate_offered,rate_sent,rate,p50_ms,p95_ms,p99_ms,max_ms,errors,\
    updates,late_p99_ms\n";
pub(super) const LATENCY: &str = "timestamp,elapsed_s,phase,workload,measure,count,mean_ms,p50_ms,\
    p90_ms,p95_ms,p99_ms,p999_ms,max_ms\n";
pub(super) const NODES: &str = "timestamp,elapsed_s,node,metric,value\n";
pub(super) const RESOURCES: &str = "timestamp,elapsed_s,generator_cpu_s,generator_cores,\
    generator_rss_bytes,server_cpu_s,server_cores,server_rss_bytes,machine_busy_s,machine_cores,\
    slab_bytes,available_bytes,tcp_bytes,tcp_sockets,files\n";
pub(super) const SHARDS: &str = "timestamp,elapsed_s,phase,shard,established,sent,answered,faults,\
    cpu_share,tick_ms_max\n";

pub(super) const TARGETS: &str = "timestamp,elapsed_s,phase,target,established,answered,faults\n";

/// A file that grows by rows. What was flushed survives a crash of this process.
#[derive(Debug)]
pub(super) struct Sheet {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Sheet {
    /// Makes the file, which must not exist, and writes its first lines.
    pub(super) fn create(path: PathBuf, head: &[u8]) -> Result<Self, StartError> {
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        let file = file.map_err(|error| {
            StartError::cannot_create(format!("cannot create {}: {error}", path.display()))
        })?;
        let mut sheet = Self::over(path, file);
        sheet.put(head)?;
        sheet.flush()?;
        Ok(sheet)
    }

    pub(super) fn over(path: PathBuf, file: File) -> Self {
        Self { path, file: BufWriter::new(file) }
    }

    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<(), StartError> {
        self.file.write_all(bytes).map_err(|error| cannot_write(&self.path, &error))
    }

    pub(super) fn row(&mut self, cells: &[&dyn Display]) -> Result<(), StartError> {
        let mut line = String::new();
        for (index, cell) in cells.iter().enumerate() {
            if index > 0 {
                line.push(',');
            }
            line.push_str(&quoted(cell.to_string()));
        }
        line.push('\n');
        self.put(line.as_bytes())
    }

    pub(super) fn flush(&mut self) -> Result<(), StartError> {
        self.file.flush().map_err(|error| cannot_write(&self.path, &error))
    }

    /// Until the disk has it: some file systems find out that they are full only then.
    pub(super) fn sync(&mut self) -> Result<(), StartError> {
        self.flush()?;
        self.file.get_ref().sync_all().map_err(|error| cannot_write(&self.path, &error))
    }
}

/// The one line of a write that failed.
pub(super) fn cannot_write(path: &Path, error: &std::io::Error) -> StartError {
    StartError::io(format!("cannot write {}: {error}", path.display()))
}

/// RFC 4180, section 2.
fn quoted(cell: String) -> String {
    if cell.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell
    }
}

/// When a run began, and what its parts are called.
pub(super) struct Names<'a> {
    pub(super) started: SystemTime,
    pub(super) phase: &'a str,
}

/// Percentile of a histogram, ms; nothing of an empty one.
fn cell_ms(times: &Long, quantile: f64) -> String {
    if times.is_empty() {
        String::new()
    } else {
        hdr::ms(times.value_at_quantile(quantile)).to_string()
    }
}

/// A row of `connections.csv`. Of clients that call nothing, latency is that of updates.
pub(super) fn connections(
    sheet: &mut Sheet,
    names: &Names<'_>,
    second: &Second,
    all: &Count,
) -> Result<(), StartError> {
    let seconds = second.to_s - second.from_s;
    let per_s = |count: u64| rounded(ratio(float(count), seconds));
    let times = if all.latency.is_empty() { &all.delivery } else { &all.latency };
    let mut late = hdr::long();
    hdr::merge(&mut late, &second.late);
    let (due, sent, answered) = (per_s(all.due), per_s(all.sent), per_s(all.answered));
    sheet.row(&[
        &time::after(names.started, second.to_s),
        &rounded(second.to_s),
        &rounded(seconds),
        &names.phase,
        &second.wanted,
        &all.established,
        &all.opening,
        &all.opened,
        &all.closed,
        &all.lost,
        &all.failed,
        &due,
        &sent,
        &answered,
        &cell_ms(times, 0.5),
        &cell_ms(times, 0.95),
        &cell_ms(times, 0.99),
        &cell_ms(times, 1.0),
        &all.errors(),
        &all.updates,
        &cell_ms(&late, 0.99),
    ])
}

/// A row of `latency.csv`, if anything was counted.
pub(super) fn latency(
    sheet: &mut Sheet,
    names: &Names<'_>,
    to_s: f64,
    (workload, measure): (&str, &str),
    times: &Long,
) -> Result<(), StartError> {
    if times.is_empty() {
        return Ok(());
    }
    sheet.row(&[
        &time::after(names.started, to_s),
        &rounded(to_s),
        &names.phase,
        &workload,
        &measure,
        &times.len(),
        &rounded(times.mean() / 1_000.0),
        &cell_ms(times, 0.5),
        &cell_ms(times, 0.9),
        &cell_ms(times, 0.95),
        &cell_ms(times, 0.99),
        &cell_ms(times, 0.999),
        &cell_ms(times, 1.0),
    ])
}

/// Rows of `shards.csv`: one for each role.
pub(super) fn shards(
    sheet: &mut Sheet,
    names: &Names<'_>,
    second: &Second,
) -> Result<(), StartError> {
    for (index, shard) in second.shards.iter().enumerate() {
        sheet.row(&[
            &time::after(names.started, second.to_s),
            &rounded(second.to_s),
            &names.phase,
            &index,
            &shard.established,
            &shard.sent,
            &shard.answered,
            &shard.faults,
            &rounded(ratio(shard.cpu_s, second.to_s - second.from_s)),
            &rounded(shard.tick_ms_max),
        ])?;
    }
    Ok(())
}

/// Rows of `targets.csv`: one for each server, in the order of the plan.
pub(super) fn targets(
    sheet: &mut Sheet,
    names: &Names<'_>,
    targets: &[Target],
    second: &Second,
) -> Result<(), StartError> {
    let (timestamp, to_s) = (time::after(names.started, second.to_s), rounded(second.to_s));
    for (target, sample) in targets.iter().zip(&second.targets) {
        let TargetSample { established, answered, faults } = sample;
        let cells: [&dyn Display; 7] =
            [&timestamp, &to_s, &names.phase, &target.name, established, answered, faults];
        sheet.row(&cells)?;
    }
    Ok(())
}

/// A row of `resource-usage.csv`. Cores are since the reading before.
pub(super) fn resources(
    sheet: &mut Sheet,
    started: SystemTime,
    now: &Resources,
    before: Option<&Resources>,
) -> Result<(), StartError> {
    let since_s = before.map_or(0.0, |before| now.at_s - before.at_s);
    let cores = |now_s: f64, before_s: f64| rounded(ratio((now_s - before_s).max(0.0), since_s));
    let generator = before.map(|before| cores(now.generator_cpu_s, before.generator_cpu_s));
    let machine = before.map(|before| cores(now.machine_busy_s, before.machine_busy_s));
    let server_before_s = before.and_then(|before| before.server_cpu_s);
    let server = now.server_cpu_s.zip(server_before_s).map(|(now_s, was_s)| cores(now_s, was_s));
    sheet.row(&[
        &time::after(started, now.at_s),
        &rounded(now.at_s),
        &rounded(now.generator_cpu_s),
        &optional(generator),
        &now.generator_rss_bytes,
        &optional(now.server_cpu_s.map(rounded)),
        &optional(server),
        &optional(now.server_rss_bytes),
        &rounded(now.machine_busy_s),
        &optional(machine),
        &now.slab_bytes,
        &now.available_bytes,
        &now.tcp_bytes,
        &now.tcp_sockets,
        &now.files,
    ])
}

/// Rows of `node-metrics.csv`: one for each metric.
pub(super) fn node(
    sheet: &mut Sheet,
    started: SystemTime,
    name: &str,
    metrics: &NodeMetrics,
) -> Result<(), StartError> {
    let (timestamp, at_s) = (time::after(started, metrics.at_s), rounded(metrics.at_s));
    for (metric, value) in &metrics.values {
        sheet.row(&[&timestamp, &at_s, &name, metric, value])?;
    }
    Ok(())
}

fn optional(value: Option<impl Display>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}
