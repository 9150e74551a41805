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
mod file;
mod overrides;
mod phases;
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

use ringmesh_runtime::load::script::{self, Endpoint, Kind, Phase, Script, Seat, Workload};

use self::calls::Doing;
use self::file::File;
use self::phases::Before;
use self::seats::{Share, Wish};
use self::target::{Place, Target};
use self::text::{Scenario, Speech};
use super::assertion::Check;
use super::guard::hosts::{self, Networks};
use super::guard::machine::Machine;
use super::guard::roles::{self, Need, Roles};
use super::guard::sources;
use super::options::{Options, Sources};
use super::plan::Plan;
use crate::boot::StartError;
use crate::config::{Count, Size};

pub(super) use file::advice;

/// Above it is a typing error.
const CONNECTIONS_MAX: u32 = 1 << 21;
const WORKLOADS_MAX: usize = 256;
const TARGETS_MAX: usize = 256;
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

/// A target that is to be met, and where.
#[derive(Debug)]
struct Found {
    target: Target,
    /// `None` on pipes.
    address: Option<SocketAddr>,
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
        let (seats, found, children) = adopt(seats_of(roles.shards), found)?;
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
            None => waiting.clamp(BACKLOG_MIN, BACKLOG_MAX) as usize,
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

    /// Looks all targets up.
    fn targets(&mut self) -> Result<Vec<Found>, StartError> {
        let written = self.scenario.targets.clone().unwrap_or_default();
        if written.is_empty() {
            let form = Target::form(self.scenario.workload[0].get_ref().kind);
            return Err(StartError::usage(format!("no target: name one with --target {form}")));
        }
        if written.len() > TARGETS_MAX {
            return Err(StartError::usage(format!("--target: name at most {TARGETS_MAX}")));
        }
        let mut found: Vec<Found> = Vec::new();
        for text in &written {
            let target = Target::parse(text)
                .map_err(|what| StartError::usage(format!("--target {text}: {what}")))?;
            if found.iter().any(|other| other.target == target) {
                return Err(StartError::usage(format!("--target {text}: name it once")));
            }
            let speaks = |kind: Speech| target.fits(kind);
            if !self.scenario.workload.iter().any(|workload| speaks(workload.get_ref().kind)) {
                self.warnings.push(format!("--target {text}: no workload goes there"));
            }
            let address = match &target.place {
                Place::Http { host, port, .. } | Place::Tcp { host, port } => {
                    let remote = self.options.allow_remote;
                    let name = format!("--target {text}");
                    Some(hosts::look_up(&name, host, *port, &self.world.networks, remote)?)
                }
                Place::Stdio { .. } => None,
            };
            found.push(Found { target, address });
        }
        Ok(found)
    }

    /// How many clients each workload has, and where they go.
    fn shares(&self, found: &[Found]) -> Result<Vec<Share>, StartError> {
        let wishes = wishes(self.file, &self.scenario)?;
        let clients = seats::divide(self.connections, &wishes).ok_or_else(|| {
            let all = self.connections;
            let exact: u64 = wishes.iter().map(|wish| wish.exactly()).sum();
            let message = format!("{all} connections, and workloads name {exact} exactly");
            match self.options.connections {
                Some(_) => StartError::usage(format!("--connections: {message}: leave it out")),
                None => self.file.wrong_in_all(format!("{message}: give one of them a weight")),
            }
        })?;
        let mut shares = Vec::new();
        for (workload, clients) in self.scenario.workload.iter().zip(clients) {
            let kind = workload.get_ref().kind;
            let fits = |(_, found): &(usize, &Found)| found.target.fits(kind);
            let targets = found.iter().enumerate().filter(fits);
            let index = |at: usize| u8::try_from(at).expect("at most TARGETS_MAX");
            let targets: Vec<u8> = targets.map(|(at, _)| index(at)).collect();
            if targets.is_empty() && clients > 0 {
                return Err(StartError::usage(format!(
                    "no target for a workload of kind = \"{}\": name one with --target {}",
                    kind.name(),
                    Target::form(kind),
                )));
            }
            shares.push(Share { clients, targets });
        }
        Ok(shares)
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

    /// Targets with the addresses from which they are reached.
    fn endpoints(
        &self,
        found: &[Found],
        seats: &[Seat],
        doings: &[Doing],
        phases: &[Phase],
    ) -> Result<Vec<script::Target>, StartError> {
        let named = self.scenario.sources.as_deref().map(|text| {
            let wrong = |what| StartError::usage(format!("--sources {text}: {what}"));
            text.parse::<Sources>().map_err(wrong)
        });
        let named = named.transpose()?;
        let churn = phases.iter().map(|phase| phase.churn_per_s).fold(0.0, f64::max);
        let reconnect = phases.iter().map(|phase| phase.reconnect).max().unwrap_or(0);
        let mut clients = vec![(0_u32, 1_u32); found.len()];
        for seat in seats {
            let (clients, sockets) = &mut clients[usize::from(seat.target)];
            *clients += 1;
            *sockets = (*sockets).max(doings[usize::from(seat.workload)].kind.sockets());
        }
        let mut adopted = 0;
        let endpoint = |(found, (clients, sockets)): (&Found, (u32, u32))| {
            let name = &found.target.name;
            let remote = match found.address {
                Some(to) => {
                    let part = f64::from(clients) / f64::from(self.connections);
                    let wanted = sources::Wanted {
                        clients,
                        sockets,
                        churn_per_s: churn * part,
                        reconnect: (f64::from(reconnect) * part).ceil() as u32,
                    };
                    let ports = self.world.machine.ports;
                    let sources = sources::choose(name, to, wanted, named.as_ref(), ports)?;
                    Endpoint::Ip { to, sources }
                }
                None => {
                    adopted += 1;
                    Endpoint::Adopted(adopted - 1)
                }
            };
            let (host, path) = host_and_path(&found.target);
            Ok(script::Target { name: name.clone(), remote, host, path })
        };
        found.iter().zip(clients).map(endpoint).collect()
    }

    /// What is possible and makes no sense.
    fn check_meaning(
        &mut self,
        workloads: &[Workload],
        phases: &[Phase],
    ) -> Result<(), StartError> {
        let listeners: Vec<&Vec<String>> = workloads
            .iter()
            .filter_map(|workload| match &workload.kind {
                Kind::Listen { uris } => Some(uris),
                _ => None,
            })
            .collect();
        let triggered = phases.iter().position(|phase| phase.trigger.is_some());
        if let Some(at) = triggered {
            let wrong = |what: &str| {
                self.wrong_in("phase", &self.scenario.phase[at].span(), what.to_owned())
            };
            if listeners.is_empty() {
                return Err(wrong("trigger: no workload of kind = \"listen\" is there to hear it"));
            }
            if listeners.windows(2).any(|pair| pair[0] != pair[1]) {
                return Err(wrong("trigger: all listeners have to have the same uris"));
            }
            let tools = phases.iter().filter_map(|phase| phase.trigger.as_ref());
            let counts = tools.into_iter().any(|trigger| trigger.tool == phases::COUNT);
            let in_order = |(at, uri): (usize, &String)| *uri == calls::counter_uri(at);
            if counts && !listeners[0].iter().enumerate().all(in_order) {
                return Err(wrong(
                    "trigger: count changes ringmesh://counters/N for the N-th of the uris: name \
                     them from 0 on, in order",
                ));
            }
        }
        let open = workloads.iter().any(|workload| workload.rate_share > 0.0);
        for phase in phases.iter().filter(|phase| phase.rate_per_s > 0.0 && !open) {
            let name = &phase.name;
            self.warnings.push(format!(
                "phase {name}: its rate says nothing, since no workload with clients is loop = \
                 \"open\" and calls"
            ));
        }
        let rated = phases.iter().any(|phase| phase.rate_per_s > 0.0);
        let calls = |workload: &&Workload| !matches!(workload.kind, Kind::Listen { .. });
        let idle = workloads.iter().filter(calls).all(|workload| !workload.closed) && !rated;
        let first = self.scenario.first_call.unwrap_or(false);
        if idle && !first && workloads.iter().any(|workload| calls(&workload)) {
            self.warnings.push("nobody calls: no phase has a rate, no loop is closed".to_owned());
        }
        Ok(())
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

/// Clients of the scenario as it is written.
fn declared(file: &File) -> Result<u32, StartError> {
    let scenario = &file.scenario;
    if let Some(Count(connections)) = scenario.connections {
        return Ok(connections);
    }
    let wishes = wishes(file, scenario)?;
    let exact: u64 = wishes.iter().map(Wish::exactly).sum();
    let named = scenario.phase.iter().filter_map(|phase| phase.get_ref().connections);
    let most = named.map(|Count(connections)| connections).max();
    let all_exact = wishes.iter().all(|wish| matches!(wish, Wish::Exactly(_)));
    let connections = match most {
        _ if all_exact => u32::try_from(exact).ok(),
        most => most,
    };
    connections.ok_or_else(|| file.wrong_in_all("say how many there are: connections = N"))
}

fn wishes(file: &File, scenario: &Scenario) -> Result<Vec<Wish>, StartError> {
    let wish = |workload: &toml::Spanned<text::Workload>| {
        let of = workload.get_ref();
        let wrong =
            |what: &str| Err(file.wrong(&workload.span(), format!("this workload: {what}")));
        match (of.connections, of.weight) {
            (Some(_), Some(_)) => wrong("it has connections and a weight: name one of them"),
            (Some(Count(exactly)), None) => Ok(Wish::Exactly(exactly)),
            (None, Some(Count(0))) => wrong("weight = 0: use 1 or more, or connections = 0"),
            (None, weight) => Ok(Wish::Weight(weight.map_or(1, |weight| weight.0))),
        }
    };
    scenario.workload.iter().map(wish).collect()
}

fn workloads(names: Vec<String>, doings: Vec<Doing>, shares: &[Share]) -> Vec<Workload> {
    let open = |doing: &Doing, share: &Share| match doing.calls() && !doing.closed {
        true => f64::from(share.clients),
        false => 0.0,
    };
    let all: f64 = doings.iter().zip(shares).map(|(doing, share)| open(doing, share)).sum();
    let whole = names.into_iter().zip(doings).zip(shares);
    let workload = |((name, doing), share): ((String, Doing), &Share)| Workload {
        name,
        rate_share: if all > 0.0 { open(&doing, share) / all } else { 0.0 },
        kind: doing.kind,
        call: doing.call,
        depth: doing.depth,
        closed: doing.closed,
        reads: doing.reads,
    };
    whole.map(workload).collect()
}

/// What all seats together hold at once.
fn need(doings: &[Doing], found: &[Found], seats: &[Seat]) -> Need {
    let clients = u32::try_from(seats.len()).expect("at most CONNECTIONS_MAX");
    let mut need = Need { clients, sockets: 0, sockets_here: 0, sockets_besides: 0 };
    let here: Vec<bool> = found
        .iter()
        .map(|found| found.address.is_some_and(|address| hosts::is_here(address.ip())))
        .collect();
    for seat in seats {
        let sockets = sockets(doings, seat);
        need.sockets += sockets;
        need.sockets_here += if here[usize::from(seat.target)] { sockets } else { 0 };
    }
    need
}

fn sockets(doings: &[Doing], seat: &Seat) -> u64 {
    doings[usize::from(seat.workload)].kind.sockets().into()
}

/// The most sockets that the seats of one of so many roles have.
fn most_sockets(doings: &[Doing], seats: &[Seat], roles: u16) -> u64 {
    let mut of_role = vec![0; usize::from(roles)];
    for (at, seat) in seats.iter().enumerate() {
        of_role[at % usize::from(roles)] += sockets(doings, seat);
    }
    of_role.into_iter().max().unwrap_or(0)
}

/// Each client on pipes has a child, and so a target, of its own.
fn adopt(
    mut seats: Vec<Seat>,
    found: Vec<Found>,
) -> Result<(Vec<Seat>, Vec<Found>, Vec<Vec<String>>), StartError> {
    let (mut all, mut children): (Vec<Found>, Vec<Vec<String>>) = (Vec::new(), Vec::new());
    // Where the clients of each target go, in turn.
    let mut places: Vec<Vec<usize>> = Vec::new();
    for (at, found) in found.into_iter().enumerate() {
        let first = all.len();
        let clients = match &found.target.place {
            Place::Stdio { command } => {
                let clients = seats.iter().filter(|seat| usize::from(seat.target) == at).count();
                children.extend(std::iter::repeat_n(command.clone(), clients));
                clients
            }
            Place::Http { .. } | Place::Tcp { .. } => 1,
        };
        let name = |nth: usize| match nth {
            0 => found.target.name.clone(),
            nth => format!("{} #{}", found.target.name, nth + 1),
        };
        let target = |nth| Target { name: name(nth), place: found.target.place.clone() };
        all.extend((0..clients).map(|nth| Found { target: target(nth), address: found.address }));
        places.push((first..all.len()).collect());
    }
    if all.len() > TARGETS_MAX {
        return Err(StartError::usage(format!(
            "each client on pipes is a target of its own, and there are at most {TARGETS_MAX} \
             targets: --connections {TARGETS_MAX}"
        )));
    }
    for seat in &mut seats {
        let of = &places[usize::from(seat.target)];
        // A target of its own has one client, the first.
        let place = of[seat.source as usize % of.len()];
        seat.source = if of.len() > 1 { 0 } else { seat.source };
        seat.target = u8::try_from(place).expect("at most TARGETS_MAX");
    }
    Ok((seats, all, children))
}

fn host_and_path(target: &Target) -> (String, String) {
    match &target.place {
        Place::Http { host, port, path } => {
            let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
            (format!("{host}:{port}"), path.clone())
        }
        Place::Tcp { .. } | Place::Stdio { .. } => (String::new(), String::new()),
    }
}
