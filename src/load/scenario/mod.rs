//! Scenarios: from a TOML file and flags to a [`Plan`] that may be run here.
//!
//! Lives once per process, before a run. A file says what clients do and when; flags take the place
//! of its keys; whatever is wrong is one line with its place. The format is told in `text`, key by
//! key, and in perf/scenarios/README.md.
//!
//! Invariants: a plan's script passes [`Script::check`], its targets may be loaded
//! ([`guard`](super::guard)), and this machine's limits carry it.
//!
//! Left out: whether anybody listens there. That is seen when clients connect.

mod calls;
mod clients;
mod file;
mod meaning;
mod overrides;
mod phases;
mod places;
mod seats;
mod target;
#[cfg(test)]
mod tests;
pub(super) mod text;
mod told;

use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use ringmesh_runtime::load::script::{self, Phase, Script, Seat, Workload};

use self::calls::Doing;
use self::clients::{declared, most_sockets, need, workloads};
use self::file::File;
use self::phases::Before;
use self::places::{Adopted, adopt};
use self::text::Scenario;
use super::assertion::Check;
use super::guard::hosts::{self, Networks};
use super::guard::machine::Machine;
use super::guard::roles::{self, Need, Roles};
use super::options::Options;
use super::plan::Plan;
use crate::boot::StartError;
use crate::config::{Count, Size};

pub(super) use file::advice;

/// Above it is a typing error.
const CONNECTIONS_MAX: u32 = 1 << 21;
const WORKLOADS_MAX: usize = 256;
const PHASES_MAX: usize = 1_000;
const NAME_BYTES_MAX: usize = 64;
const CONNECTING_DEFAULT: u32 = 1_024;
const TIMEOUT_MS_DEFAULT: u64 = 30_000;
const TIMEOUT_MS_MAX: u64 = 10 * 60 * 1_000;
const LINGER_MS_DEFAULT: u64 = 10_000;
/// Calls that wait in one role: at least a burst, at most what memory should be spent on.
const BACKLOG_MIN: f64 = 1_024.0;
const BACKLOG_MAX: f64 = (1_u64 << 21) as f64;
const MS: u64 = 1_000_000;

/// Makes a plan of a scenario and flags, for this machine.
///
/// # Errors
/// The first thing that is wrong: 64 a flag, 65 the scenario, 66 no such file, 69 an unknown host,
/// 78 a limit that is too low.
pub(crate) fn resolve(options: &Options) -> Result<Plan, StartError> {
    let file = File::read(&options.scenario)?;
    let world = World { machine: Machine::read(), networks: Networks::read() };
    Resolver::new(options, &file, &world)?.plan()
}

/// What a plan depends on besides what the user says.
#[derive(Debug)]
struct World {
    machine: Machine,
    networks: Networks,
}

struct Resolver<'a> {
    options: &'a Options,
    file: &'a File,
    world: &'a World,
    /// With flags applied.
    scenario: Scenario,
    connections: u32,
    warnings: Vec<String>,
}

impl<'a> Resolver<'a> {
    fn new(options: &'a Options, file: &'a File, world: &'a World) -> Result<Self, StartError> {
        let mut scenario = file.scenario.clone();
        for (what, count, max) in [
            ("workload", scenario.workload.len(), WORKLOADS_MAX),
            ("phase", scenario.phase.len(), PHASES_MAX),
        ] {
            if count == 0 || count > max {
                return Err(file.wrong_in_all(format!("{count} of [[{what}]]: write 1 to {max}")));
            }
        }
        let declared = declared(file)?;
        overrides::apply(options, declared, &mut scenario)?;
        let connections = options.connections.map_or(declared, |connections| connections.0);
        if connections == 0 || connections > CONNECTIONS_MAX {
            let mend = format!("use 1 to {CONNECTIONS_MAX}");
            return Err(match options.connections {
                Some(_) => StartError::usage(format!("--connections {connections}: {mend}")),
                None => file.wrong_in_all(format!("connections = {connections}: {mend}")),
            });
        }
        Ok(Self { options, file, world, scenario, connections, warnings: Vec::new() })
    }

    fn plan(&mut self) -> Result<Plan, StartError> {
        let names = self.names("workload", |scenario| {
            let of = |at: &toml::Spanned<text::Workload>| {
                (at.span(), at.get_ref().name.clone(), at.get_ref().kind.name())
            };
            scenario.workload.iter().map(of).collect()
        })?;
        let doings = self.doings()?;
        let found = self.targets()?;
        let shares = self.shares(&found)?;
        let phases = self.phases()?;
        let seats_of = |roles: u16| seats::arrange(&shares, found.len(), roles);
        // Who sits where depends on the roles only in which target it goes to.
        let alone = seats_of(1);
        let mut need = need(&doings, &found, &alone);
        if phases.iter().any(|phase| phase.trigger.is_some()) {
            need.sockets_besides = found.len() as u64;
        }
        let most = |roles: u16| most_sockets(&doings, &alone, roles);
        let (asked, cpus) = (self.scenario.shards, self.scenario.cpus.as_ref());
        let machine = &self.world.machine;
        let roles = roles::choose(need, asked, cpus, machine, most)?;
        roles::check(need, machine, &mut self.warnings)?;
        let Adopted { seats, found, children } = adopt(seats_of(roles.shards), found)?;
        let targets = self.endpoints(&found, &seats, &doings, &phases)?;
        let workloads = workloads(names, doings, &shares);
        self.check_meaning(&workloads, &phases)?;
        let script = self.script(targets, workloads, seats, phases, roles);
        self.finish(script, roles, children, need)
    }

    fn script(
        &self,
        targets: Vec<script::Target>,
        workloads: Vec<Workload>,
        seats: Vec<Seat>,
        phases: Vec<Phase>,
        Roles { shards, .. }: Roles,
    ) -> Script {
        let scenario = &self.scenario;
        let timeout_ms = scenario.timeout.map_or(TIMEOUT_MS_DEFAULT, |of| of.ms);
        let linger_ms = scenario.linger.map_or(LINGER_MS_DEFAULT, |of| of.ms);
        let rate = phases.iter().map(|phase| phase.rate_per_s).fold(0.0, f64::max);
        let waiting = rate * timeout_ms as f64 / 1e3 / f64::from(shards);
        let each = |all: u32| all.div_ceil(u32::from(shards)).max(1);
        let backlog = match scenario.backlog {
            Some(Count(backlog)) => each(backlog) as usize,
            None => whole(waiting.clamp(BACKLOG_MIN, BACKLOG_MAX)),
        };
        Script {
            targets,
            workloads,
            seats,
            phases,
            first_call: scenario.first_call.unwrap_or(false),
            connecting_max: each(scenario.connecting.map_or(CONNECTING_DEFAULT, |of| of.0)),
            timeout_ns: timeout_ms * MS,
            linger_ns: linger_ms * MS,
            backlog_max: backlog,
            pacing_ns: scenario.pacing.map_or(0, |of| of.ms) * MS,
        }
    }

    /// Names of workloads or phases: as written, else the kind, with a number where that is taken.
    fn names(
        &self,
        what: &str,
        of: impl Fn(&Scenario) -> Vec<(Range<usize>, Option<String>, &'static str)>,
    ) -> Result<Vec<String>, StartError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        let all = of(&self.scenario);
        let mut names: Vec<String> = Vec::new();
        for (span, written, kind) in &all {
            let name = match written {
                Some(name) => name.clone(),
                None => {
                    let taken = |name: &String| {
                        names.contains(name)
                            || all.iter().any(|(_, of, _)| of.as_ref() == Some(name))
                    };
                    let numbered = (2..).map(|number| format!("{kind}-{number}"));
                    let mut free = std::iter::once((*kind).to_owned()).chain(numbered);
                    free.find(|name| !taken(name)).expect("numbers do not end")
                }
            };
            if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(plain) {
                let mend = "write letters, digits, _ and -, at most 64";
                return Err(self.file.wrong(span, format!("{what} name = {name:?}: {mend}")));
            }
            if names.contains(&name) {
                let mend = "it is taken: names are unique";
                return Err(self.file.wrong(span, format!("{what} name = {name:?}: {mend}")));
            }
            names.push(name);
        }
        Ok(names)
    }

    fn doings(&self) -> Result<Vec<Doing>, StartError> {
        let defaults = self.scenario.defaults.clone().unwrap_or_default();
        let doing = |workload: &toml::Spanned<text::Workload>| {
            let wrong = |what| self.wrong_in("workload", &workload.span(), what);
            calls::doing(workload.get_ref(), &defaults).map_err(wrong)
        };
        self.scenario.workload.iter().map(doing).collect()
    }

    fn wrong_in(&self, what: &str, span: &Range<usize>, message: String) -> StartError {
        self.file.wrong(span, format!("this {what}: {message}"))
    }

    fn phases(&self) -> Result<Vec<Phase>, StartError> {
        let names = self.names("phase", |scenario| {
            let of = |at: &toml::Spanned<text::Phase>| {
                (at.span(), at.get_ref().name.clone(), at.get_ref().kind.kind().name())
            };
            scenario.phase.iter().map(of).collect()
        })?;
        let spread = self.scenario.defaults.as_ref().and_then(|defaults| defaults.arrivals);
        let mut before = Before { start_ns: 0, connections: 0 };
        let mut phases: Vec<Phase> = Vec::new();
        for (name, written) in names.into_iter().zip(&self.scenario.phase) {
            let phase = phases::phase(name, written.get_ref(), before, self.connections, spread)
                .map_err(|what| self.wrong_in("phase", &written.span(), what))?;
            before = Before {
                start_ns: phase.start_ns + phase.duration_ns,
                connections: phase.connections_to,
            };
            phases.push(phase);
        }
        Ok(phases)
    }

    fn finish(
        &mut self,
        script: Script,
        roles: Roles,
        children: Vec<Vec<String>>,
        need: Need,
    ) -> Result<Plan, StartError> {
        let timeout_ms = script.timeout_ns / MS;
        if timeout_ms == 0 || timeout_ms > TIMEOUT_MS_MAX {
            return Err(self.file.wrong_in_all("timeout: use 1ms to 600s"));
        }
        if script.pacing_ns > script::PACING_NS_MAX {
            return Err(self.file.wrong_in_all("pacing: use 0ms to 10ms"));
        }
        script.check();
        let checks = self.checks(&script)?;
        let title = self.scenario.title.clone().unwrap_or_else(|| self.file.name());
        let limits = self.limits(need, roles);
        Ok(Plan {
            title,
            description: self.scenario.description.clone().unwrap_or_default(),
            scenario: toml::to_string(&self.scenario).map_err(StartError::software)?,
            script: Arc::new(script),
            shards: roles.shards,
            cpus: self.scenario.cpus.as_ref().map_or_else(Vec::new, |cpus| cpus.as_slice().into()),
            table: roles.table,
            seed: self.scenario.seed.unwrap_or(1),
            children,
            admins: self.admins()?,
            server_pids: self.options.server_pid.clone(),
            out: self.out(),
            checks,
            limits,
            warnings: std::mem::take(&mut self.warnings),
            plain: self.options.plain,
        })
    }

    fn checks(&self, script: &Script) -> Result<Vec<Check>, StartError> {
        let from_flags = !self.options.assert.is_empty();
        let texts = self.scenario.assert.clone().unwrap_or_default();
        let check = |text: String| {
            let wrong = |what: String| match from_flags {
                true => StartError::usage(format!("--assert {text}: {what}")),
                false => self.file.wrong_in_all(format!("assert {text:?}: {what}")),
            };
            let check: Check = text.parse().map_err(wrong)?;
            let phases = script.phases.iter().map(|phase| phase.name.as_str());
            let workloads = script.workloads.iter().map(|workload| workload.name.as_str());
            check
                .names(&phases.collect::<Vec<_>>(), &workloads.collect::<Vec<_>>())
                .map_err(wrong)?;
            Ok(check)
        };
        texts.into_iter().map(check).collect()
    }

    fn admins(&self) -> Result<Vec<(String, SocketAddr)>, StartError> {
        let admin = |admin: &super::options::Admin| {
            let name = format!("--admin {}", admin.name);
            let remote = self.options.allow_remote;
            let address =
                hosts::look_up(&name, &admin.host, admin.port, &self.world.networks, remote)?;
            Ok((admin.name.clone(), address))
        };
        self.options.admin.iter().map(admin).collect()
    }

    fn out(&self) -> PathBuf {
        let named = self.options.out.clone();
        named.unwrap_or_else(|| {
            let time = crate::demo::utc_now();
            let digits: String = time.chars().take(19).filter(|c| *c != '-' && *c != ':').collect();
            PathBuf::from(format!("results/load-{}-{digits}", self.file.name()))
        })
    }

    fn limits(&self, need: Need, roles: Roles) -> Vec<String> {
        let machine = &self.world.machine;
        let Roles { shards, table } = roles;
        let mut limits = vec![
            format!("descriptors   {shards} rings of {table} slots, of {} each", machine.nofile),
            format!(
                "files         {} of {} that are free (fs.file-max)",
                need.sockets + need.sockets_here,
                machine.files_max.saturating_sub(machine.files),
            ),
            format!("ports         {} of each source address", machine.ports),
            format!(
                "kernel memory about {} for idle connections, of {} that are free",
                Size { bytes: roles::kernel_bytes(need) },
                Size { bytes: machine.available_bytes },
            ),
        ];
        if let Some(tracked) = machine.conntrack {
            limits.push(format!(
                "conntrack     {} of {} entries are free; loopback is {}tracked",
                tracked.max.saturating_sub(tracked.count),
                tracked.max,
                if tracked.loopback { "" } else { "not " },
            ));
        }
        limits
    }
}

/// A number of calls without its fraction.
#[expect(clippy::cast_possible_truncation, reason = "it is between two bounds that fit")]
fn whole(calls: f64) -> usize {
    calls as usize
}
