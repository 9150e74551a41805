//! A plan as `--check` prints it: what will be done, what that takes, what to mind.

use std::fmt;
use std::time::Duration;

use ringmesh_runtime::load::script::{Endpoint, Kind, Phase, Script, Workload};

use crate::load::plan::Plan;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let script = &*self.script;
        writeln!(f, "{}", self.title)?;
        for line in self.description.lines() {
            writeln!(f, "  {}", line.trim())?;
        }
        let cpus = self.cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        let pinned = if cpus.is_empty() { String::new() } else { format!(" on cpus {cpus}") };
        let (seats, shards) = (script.seats.len(), self.shards);
        writeln!(f, "clients       {seats}, seed {}", self.seed)?;
        writeln!(f, "threads       {shards}{pinned}")?;
        targets(f, script)?;
        for (at, workload) in script.workloads.iter().enumerate() {
            let seats = script.seats.iter().filter(|seat| usize::from(seat.workload) == at);
            writeln!(
                f,
                "workload      {}: {} clients, {}",
                workload.name,
                seats.count(),
                Does(workload)
            )?;
        }
        for phase in &script.phases {
            writeln!(f, "phase         {}", During(phase))?;
        }
        if script.first_call {
            writeln!(f, "              each client calls once as soon as it is connected")?;
        }
        let span = Duration::from_nanos;
        let (timeout, linger) = (span(script.timeout_ns), span(script.linger_ns));
        writeln!(
            f,
            "run           {:?}, then up to {linger:?} for answers",
            span(script.end_ns())
        )?;
        writeln!(
            f,
            "time-out      {timeout:?}; connects at once {}, backlog {}, pacing {:?}",
            script.connecting_max * u32::from(shards),
            script.backlog_max * usize::from(shards),
            span(script.pacing_ns)
        )?;
        for (name, _) in &self.admins {
            writeln!(f, "metrics of    {name}")?;
        }
        for check in &self.checks {
            writeln!(f, "assert        {}", check.text)?;
        }
        writeln!(f, "results       {}", self.out.display())?;
        for limit in &self.limits {
            writeln!(f, "{limit}")?;
        }
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        Ok(())
    }
}

fn targets(f: &mut fmt::Formatter<'_>, script: &Script) -> fmt::Result {
    for (at, target) in script.targets.iter().enumerate() {
        let seats = script.seats.iter().filter(|seat| usize::from(seat.target) == at).count();
        write!(f, "target        {}: {seats} clients", target.name)?;
        match target.remote {
            Endpoint::Ip { sources: Some(sources), .. } => writeln!(
                f,
                " from {} addresses ({} ..), {} each",
                sources.count, sources.first, sources.each,
            )?,
            Endpoint::Ip { sources: None, .. } | Endpoint::Adopted(_) => writeln!(f)?,
        }
    }
    Ok(())
}

/// What a client of a workload does.
struct Does<'a>(&'a Workload);

impl fmt::Display for Does<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Workload { kind, call, depth, closed, rate_share, reads, .. } = self.0;
        match kind {
            Kind::Http => write!(f, "http")?,
            Kind::HttpSession { version, stream } => {
                let with = if *stream { " and a stream" } else { "" };
                write!(f, "http session of {}{with}", version.name())?;
            }
            Kind::Listen { uris } => {
                let reads = if *reads { "" } else { ", reads nothing" };
                return write!(f, "listens to {} resources{reads}", uris.len());
            }
            Kind::Lines => write!(f, "lines")?,
            Kind::LinesSession { version } => write!(f, "lines, session of {}", version.name())?,
        }
        let bytes = call.arguments.len();
        write!(f, ", calls {} ({bytes} bytes of arguments), depth {depth}", call.tool)?;
        match closed {
            true => write!(f, ", closed loop"),
            false => write!(f, ", {:.1} % of the rate", rate_share * 100.0),
        }
    }
}

struct During<'a>(&'a Phase);

impl fmt::Display for During<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = self.0;
        let (from, to) = (phase.connections_from, phase.connections_to);
        let duration = Duration::from_nanos(phase.duration_ns);
        write!(f, "{} ({}) {duration:?}: ", phase.name, phase.kind.name())?;
        match (from == to, phase.steps) {
            (true, _) => write!(f, "{to} connected")?,
            (false, 0) => write!(f, "{from} to {to} connected, evenly")?,
            (false, 1) => write!(f, "{from} to {to} connected, at once")?,
            (false, steps) => write!(f, "{from} to {to} connected, in {steps} steps")?,
        }
        if phase.rate_per_s > 0.0 {
            write!(f, ", {} calls/s {:?}", phase.rate_per_s, phase.arrivals)?;
        }
        if phase.churn_per_s > 0.0 {
            write!(f, ", {} come and go each second", phase.churn_per_s)?;
        }
        if phase.reconnect > 0 {
            write!(f, ", {} are cut and come anew", phase.reconnect)?;
        }
        if let Some(trigger) = &phase.trigger {
            let every = Duration::from_nanos(trigger.every_ns);
            write!(f, ", {} changes a resource every {every:?}", trigger.tool)?;
        }
        Ok(())
    }
}
