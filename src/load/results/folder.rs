//! The folder itself: its files, and the order in which they come to be.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::manifest::{self, Surroundings};
use super::report::{self, Sources as Told};
use super::rows::{self, Names, Sheet, cannot_write};
use super::series::{History, Moment};
use super::summary::{self, Sources};
use super::tally::{Count, Tally};
use super::usage::Usage;
use super::{float, hdr, text};
use crate::boot::StartError;
use crate::load::plan::Plan;
use crate::load::record::{Ended, NodeMetrics, Resources, Second, Summary};

/// The file that says: this folder is not a whole run's.
pub(crate) const INCOMPLETE: &str = "INCOMPLETE";
/// The file that a finished run's folder has.
pub(crate) const SUMMARY: &str = "summary.json";
const RUNNING: &str = "The run has not ended. If nothing writes here any more, it died: what the \
    tables hold is true, and there is no summary.\n";

/// See the module's docs.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    plan: Plan,
    surroundings: Surroundings,
    tally: Tally,
    usage: Usage,
    history: History,
    manifest: Value,
    /// Clients ready at the end of the last second.
    clients: u64,
    resources_before: Option<Resources>,
    sheets: Sheets,
}

#[derive(Debug)]
struct Sheets {
    connections: Sheet,
    latency: Sheet,
    nodes: Sheet,
    resources: Sheet,
    shards: Sheet,
    targets: Sheet,
    log: Sheet,
}

impl Folder {
    /// Makes the folder of the plan, or takes an empty one.
    ///
    /// # Errors
    /// One line, of what cannot be made or is not empty (73), or cannot be written (74).
    pub(crate) fn create(plan: &Plan, surroundings: Surroundings) -> Result<Self, StartError> {
        let path = plan.out.clone();
        make(&path)?;
        Sheet::create(path.join(INCOMPLETE), RUNNING.as_bytes())?;
        Sheet::create(path.join("scenario.toml"), plan.scenario.as_bytes())?;
        let manifest = manifest::manifest(plan, &surroundings);
        Sheet::create(path.join("manifest.json"), format!("{manifest:#}\n").as_bytes())?;
        let sheet = |name: &str, head: &[u8]| Sheet::create(path.join(name), head);
        let sheets = Sheets {
            connections: sheet("connections.csv", rows::CONNECTIONS.as_bytes())?,
            latency: sheet("latency.csv", rows::LATENCY.as_bytes())?,
            nodes: sheet("node-metrics.csv", rows::NODES.as_bytes())?,
            resources: sheet("resource-usage.csv", rows::RESOURCES.as_bytes())?,
            shards: sheet("shards.csv", rows::SHARDS.as_bytes())?,
            targets: sheet("targets.csv", rows::TARGETS.as_bytes())?,
            log: sheet("latency.hlog", &hdr::log_head(surroundings.started, &plan.title))?,
        };
        let script = &plan.script;
        Ok(Self {
            tally: Tally::new(script.clone(), plan.shards.into()),
            usage: Usage::new(script.clone()),
            history: History::new(plan.admins.len()),
            manifest,
            clients: 0,
            resources_before: None,
            plan: plan.clone(),
            path,
            surroundings,
            sheets,
        })
    }

    /// Counts a second and writes its rows. Seconds come in the order of time.
    ///
    /// # Errors
    /// One line with the file that cannot be written (74). The run is to end with it.
    pub(crate) fn add_second(&mut self, second: &Second) -> Result<(), StartError> {
        let all = Count::of(second);
        self.tally.add(second, &all);
        self.history.moments.push(Moment::of(second, &all));
        self.clients = all.established;
        let phase = self.plan.script.phases.get(second.phase).map_or("", |phase| &phase.name);
        let names = Names { started: self.surroundings.started, phase };
        let Sheets { connections, latency, shards, targets, log, .. } = &mut self.sheets;
        rows::connections(connections, &names, second, &all)?;
        rows::shards(shards, &names, second)?;
        rows::targets(targets, &names, &self.plan.script.targets, second)?;
        let whole = (String::new(), all);
        let workloads = self.plan.script.workloads.iter().zip(&second.workloads);
        let workloads =
            workloads.map(|(workload, sample)| (workload.name.clone(), Count::of_workload(sample)));
        for (name, count) in std::iter::once(whole).chain(workloads) {
            let shown = if name.is_empty() { "all" } else { &name };
            let measures = [
                ("latency", &count.latency),
                ("service", &count.service),
                ("opening", &count.opening_time),
                ("first_call", &count.first_call),
                ("delivery", &count.delivery),
            ];
            for (measure, times) in measures {
                rows::latency(latency, &names, second.to_s, (shown, measure), times)?;
            }
            let (from_s, to_s) = (second.from_s, second.to_s);
            let line = hdr::log_line(from_s, to_s, &name, &count.latency);
            log.put(line.unwrap_or_default().as_bytes())?;
            let tag = format!("{shown}.delivery");
            let line = hdr::log_line(from_s, to_s, &tag, &count.delivery);
            log.put(line.unwrap_or_default().as_bytes())?;
        }
        [connections, latency, shards, targets, log].into_iter().try_for_each(Sheet::flush)
    }

    /// Counts a reading of resources and writes its row. Readings come in the order of time.
    ///
    /// # Errors
    /// As [`Self::add_second`].
    pub(crate) fn add_resources(&mut self, now: &Resources) -> Result<(), StartError> {
        self.usage.add(now, self.clients);
        self.history.add_resources(now);
        let (started, before) = (self.surroundings.started, self.resources_before.as_ref());
        rows::resources(&mut self.sheets.resources, started, now, before)?;
        self.resources_before = Some(*now);
        self.sheets.resources.flush()
    }

    /// Writes the rows of what servers told.
    ///
    /// # Errors
    /// As [`Self::add_second`].
    pub(crate) fn add_nodes(&mut self, nodes: &[NodeMetrics]) -> Result<(), StartError> {
        for metrics in nodes {
            self.history.add_node(metrics);
            let name = self.plan.admins.get(metrics.node).map_or("", |(name, _)| name);
            rows::node(&mut self.sheets.nodes, self.surroundings.started, name, metrics)?;
        }
        self.sheets.nodes.flush()
    }

    /// Writes what the run comes to. Only of a run that is complete does the folder lose its mark.
    ///
    /// # Errors
    /// As [`Self::add_second`]; no `summary.json` is left then.
    pub(crate) fn finish(mut self, ended: Ended) -> Result<Summary, StartError> {
        let sources = Sources {
            plan: &self.plan,
            surroundings: &self.surroundings,
            tally: &self.tally,
            usage: &self.usage,
            cores: float(manifest::generator_cores(&self.plan) as u64),
            machine_cores: float(manifest::machine_cores() as u64),
        };
        let mut summary = summary::summary(&sources, ended);
        let checks = self.plan.checks.iter();
        summary.assertions = checks.map(|check| check.evaluate(&summary)).collect();
        let Sheets { connections, latency, nodes, resources, shards, targets, log } =
            &mut self.sheets;
        for reason in &summary.generator_saturated_why {
            log.put(hdr::comment(&format!("Generator saturated: {reason}")).as_bytes())?;
        }
        [connections, latency, nodes, resources, shards, targets, log]
            .into_iter()
            .try_for_each(Sheet::sync)?;
        self.write("latency.hgrm", &marked(&summary, &self.tally.whole.latency))?;
        if !self.tally.whole.delivery.is_empty() {
            self.write("delivery.hgrm", &marked(&summary, &self.tally.whole.delivery))?;
        }
        self.write("summary.txt", &text::summary(&summary))?;
        self.write("report.html", &self.report(&summary))?;
        let incomplete = self.path.join(INCOMPLETE);
        if let Some(why) = why(&summary.ended) {
            let mut file = File::create(&incomplete).map_err(|e| cannot_write(&incomplete, &e))?;
            file.write_all(why.as_bytes()).map_err(|e| cannot_write(&incomplete, &e))?;
        }
        self.publish(&summary)?;
        if summary.ended == Ended::Complete {
            fs::remove_file(&incomplete).map_err(|e| cannot_write(&incomplete, &e))?;
        }
        Ok(summary)
    }

    fn report(&self, summary: &Summary) -> String {
        report::page(&Told {
            plan: &self.plan,
            summary,
            tally: &self.tally,
            history: &self.history,
            manifest: &self.manifest,
        })
    }

    fn write(&self, name: &str, text: &str) -> Result<(), StartError> {
        Sheet::create(self.path.join(name), text.as_bytes())?.sync()
    }

    /// The summary appears whole or not at all.
    fn publish(&self, summary: &Summary) -> Result<(), StartError> {
        let (path, new) = (self.path.join(SUMMARY), self.path.join("summary.json.new"));
        let mut json = serde_json::to_string_pretty(summary).expect("names are texts");
        json.push('\n');
        let written = self.write("summary.json.new", &json);
        let renamed = written
            .and_then(|()| fs::rename(&new, &path).map_err(|error| cannot_write(&path, &error)));
        if renamed.is_err() {
            // What is left of it is not to be taken for a summary; that it stays does no harm.
            fs::remove_file(&new).ok();
        }
        renamed
    }
}

fn make(path: &Path) -> Result<(), StartError> {
    let cannot = |error| {
        StartError::cannot_create(format!("cannot create the folder {}: {error}", path.display()))
    };
    fs::create_dir_all(path).map_err(cannot)?;
    if fs::read_dir(path).map_err(cannot)?.next().is_some() {
        return Err(StartError::cannot_create(format!(
            "{} is not empty: give another folder with --out",
            path.display()
        )));
    }
    Ok(())
}

/// What stands in the mark of a folder that is not complete.
fn why(ended: &Ended) -> Option<String> {
    match ended {
        Ended::Complete => None,
        Ended::Interrupted => Some("The run was interrupted: its figures end there.\n".to_owned()),
        Ended::Failed(why) => Some(format!("The run failed: {why}\nIts figures end there.\n")),
    }
}

/// A percentile distribution that does not hide what the summary says.
fn marked(summary: &Summary, times: &hdr::Long) -> String {
    let mut text = hdr::distribution(times);
    for reason in &summary.generator_saturated_why {
        text.push_str(&hdr::comment(&format!("Generator saturated: {reason}")));
    }
    if summary.ended != Ended::Complete {
        text.push_str(&hdr::comment("The run is not complete"));
    }
    text
}
