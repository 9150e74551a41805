//! What was found, as a table for people and as one JSON document.

use serde_json::{Value, json};

use crate::config::Size;

use super::capacity::{Capacity, Fit, Kind, Limit};
use super::check::{Check, State, grouped};
use super::host::Host;

/// Columns of the table.
const WIDTH: usize = 100;
/// Where the text of a check begins: state, name.
const INDENT: usize = 23;

/// How the table looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    pub(super) colour: bool,
}

#[derive(Debug)]
pub(super) struct Report {
    release: String,
    checks: Vec<Check>,
    by_default: Result<(u64, u64, u64), String>,
    most: u64,
    limits: Vec<(Limit, String)>,
    targets: Vec<Fit>,
    good: bool,
}

impl Report {
    pub(super) fn new(
        host: &Host,
        checks: Vec<Check>,
        capacity: &Capacity<'_>,
        targets: Vec<Fit>,
        good: bool,
    ) -> Self {
        let doubled = |limit: &Limit| limit.connections.saturating_mul(2);
        let limits = capacity.limits.iter();
        Self {
            release: host.release.clone(),
            checks,
            by_default: capacity.by_default(),
            most: capacity.most(),
            limits: limits.map(|l| (l.clone(), capacity.mend(l, doubled(l)))).collect(),
            targets,
            good,
        }
    }

    pub(super) fn is_good(&self) -> bool {
        self.good
    }

    #[cfg(test)]
    pub(super) fn check(&self, name: &str) -> &Check {
        self.checks.iter().find(|check| check.name == name).expect(name)
    }

    #[cfg(test)]
    pub(super) fn states(&self) -> Vec<(&'static str, State)> {
        self.checks.iter().map(|check| (check.name, check.state)).collect()
    }

    #[cfg(test)]
    pub(super) fn target(&self, connections: u64) -> &Fit {
        self.targets.iter().find(|fit| fit.connections == connections).expect("asked about")
    }

    pub(super) fn json(&self) -> String {
        let checks: Vec<Value> = self.checks.iter().map(check_json).collect();
        let limits: Vec<Value> = self.limits.iter().map(|(l, mend)| limit_json(l, mend)).collect();
        let by_default = match &self.by_default {
            Ok((shards, connections, evenly)) => {
                json!({ "shards": shards, "connections": connections, "evenly": evenly })
            }
            Err(refusal) => json!({ "refusal": refusal }),
        };
        let document = json!({
            "ok": self.good,
            "release": self.release,
            "checks": checks,
            "connections": { "by_default": by_default, "most": self.most, "limits": limits },
            "asked": self.targets.iter().map(fit_json).collect::<Vec<_>>(),
        });
        format!("{document:#}")
    }

    pub(super) fn text(&self, style: Style) -> String {
        let mut text = String::new();
        let mut group = "";
        for check in &self.checks {
            if check.group != group {
                group = check.group;
                heading(&mut text, group, style);
            }
            write_check(&mut text, check, style);
        }
        heading(&mut text, "connections", style);
        self.write_capacity(&mut text, style);
        for fit in &self.targets {
            heading(&mut text, &format!("{} connections", grouped(fit.connections)), style);
            write_fit(&mut text, fit, style);
        }
        text
    }

    fn write_capacity(&self, text: &mut String, style: Style) {
        match &self.by_default {
            Ok((shards, connections, evenly)) => {
                let line = format!(
                    "{} on {shards} shards; about {} before an uneven spread fills one of them",
                    grouped(*connections),
                    grouped(*evenly),
                );
                row(text, State::Info, "by default", &line, None, style);
            }
            Err(refusal) => row(text, State::Fail, "by default", refusal, None, style),
        }
        for (at, (limit, mend)) in self.limits.iter().enumerate() {
            let first = if at == 0 { "the first to bind: " } else { "" };
            let line = format!("{first}{}: {}", grouped(limit.connections), limit.how);
            let mend = (at == 0).then(|| format!("for twice as many: {mend}"));
            row(text, State::Info, name(limit.kind), &line, mend.as_deref(), style);
        }
    }
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Tables => "by tables",
        Kind::Threads => "by threads",
        Kind::Files => "by system files",
        Kind::Memory => "by memory",
        Kind::Conntrack => "by conntrack",
    }
}

fn write_fit(text: &mut String, fit: &Fit, style: Style) {
    if let Some(refusal) = &fit.refusal {
        row(text, State::Fail, "does not start", refusal, None, style);
    }
    for (limit, mend) in &fit.short {
        let line = format!("{}: {}", grouped(limit.connections), limit.how);
        row(text, State::Fail, name(limit.kind), &line, Some(mend), style);
    }
    if fit.fits() {
        let command = match fit.flags.as_str() {
            "" => "with the defaults: ringmesh".to_owned(),
            flags => format!("with: ringmesh {flags}"),
        };
        let line = format!(
            "{command} ({} shards of {}); at rest {} where all are idle, {} with a stream and a \
             session on each",
            fit.shards,
            grouped(fit.connections_max),
            Size { bytes: fit.memory_idle },
            Size { bytes: fit.memory_full },
        );
        row(text, State::Ok, "fits", &line, None, style);
        let (state, line) = match &fit.clients {
            None => (State::Ok, "they fit as well".to_owned()),
            Some(lacking) => (State::Warn, format!("{lacking} would be needed")),
        };
        row(text, state, "clients here too", &line, None, style);
    }
    for warning in &fit.warnings {
        row(text, State::Warn, "in the plan", warning, None, style);
    }
}

fn write_check(text: &mut String, check: &Check, style: Style) {
    let means = if check.means.is_empty() { String::new() } else { format!(": {}", check.means) };
    let line = format!("{}{means}", check.found);
    row(text, check.state, check.name, &line, check.mend.as_deref(), style);
}

fn heading(text: &mut String, title: &str, style: Style) {
    if !text.is_empty() {
        text.push('\n');
    }
    match style.colour {
        true => text.push_str(&format!("\x1b[1m{title}\x1b[0m\n")),
        false => text.push_str(&format!("{title}\n")),
    }
}

fn row(text: &mut String, state: State, name: &str, line: &str, mend: Option<&str>, style: Style) {
    let label = format!("{:<4}", state.label());
    let label = match (style.colour, state) {
        (false, _) => label,
        (true, State::Info) => format!("\x1b[2m{label}\x1b[0m"),
        (true, State::Ok) => format!("\x1b[32m{label}\x1b[0m"),
        (true, State::Warn) => format!("\x1b[33m{label}\x1b[0m"),
        (true, State::Fail) => format!("\x1b[31m{label}\x1b[0m"),
    };
    text.push_str(&format!("{label}  {name:<16} "));
    write_wrapped(text, line);
    if let Some(mend) = mend {
        text.push_str(&" ".repeat(INDENT));
        write_wrapped(text, &format!("mend: {mend}"));
    }
}

/// Breaks between words; the first line is begun already.
fn write_wrapped(text: &mut String, line: &str) {
    let mut column = INDENT;
    for (at, word) in line.split(' ').enumerate() {
        let width = word.chars().count();
        if at > 0 && column + 1 + width > WIDTH {
            text.push('\n');
            text.push_str(&" ".repeat(INDENT));
            column = INDENT;
        } else if at > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += width;
    }
    text.push('\n');
}

fn check_json(check: &Check) -> Value {
    json!({
        "group": check.group,
        "name": check.name,
        "state": check.state.label(),
        "found": check.found,
        "means": check.means,
        "mend": check.mend,
    })
}

fn limit_json(limit: &Limit, mend: &str) -> Value {
    json!({
        "name": name(limit.kind),
        "connections": limit.connections,
        "how": limit.how,
        "mend": mend,
    })
}

fn fit_json(fit: &Fit) -> Value {
    let short = fit.short.iter().map(|(limit, mend)| limit_json(limit, mend));
    json!({
        "connections": fit.connections,
        "fits": fit.fits(),
        "refusal": fit.refusal,
        "shards": fit.shards,
        "connections_max": fit.connections_max,
        "flags": fit.flags,
        "memory_idle_bytes": fit.memory_idle,
        "memory_full_bytes": fit.memory_full,
        "short": short.collect::<Vec<_>>(),
        "clients_here_lack": fit.clients,
        "warnings": fit.warnings,
    })
}
