//! Where clients go: targets looked up, clients divided among them, addresses to come from.

use std::net::SocketAddr;

use ringmesh_runtime::load::script::{self, Endpoint, Phase, Seat};

use super::Resolver;
use super::calls::Doing;
use super::clients::wishes;
use super::seats::{self, Share};
use super::target::{Place, Target};
use super::text::Speech;
use crate::boot::StartError;
use crate::load::guard::{hosts, sources};
use crate::load::options::Sources;

const TARGETS_MAX: usize = 256;

/// A target that is to be met, and where.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) target: Target,
    /// `None` on pipes.
    pub(super) address: Option<SocketAddr>,
}

/// Clients, their targets, and the commands of those on pipes.
pub(super) struct Adopted {
    pub(super) seats: Vec<Seat>,
    pub(super) found: Vec<Found>,
    pub(super) children: Vec<Vec<String>>,
}

impl Resolver<'_> {
    /// Looks all targets up.
    pub(super) fn targets(&mut self) -> Result<Vec<Found>, StartError> {
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
    pub(super) fn shares(&self, found: &[Found]) -> Result<Vec<Share>, StartError> {
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

    /// Targets with the addresses from which they are reached.
    pub(super) fn endpoints(
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
                    let all = u64::from(self.connections);
                    let part_of = |number: u32| {
                        let part = (u64::from(number) * u64::from(clients)).div_ceil(all);
                        u32::try_from(part).expect("at most the number")
                    };
                    let part = f64::from(clients) / f64::from(self.connections);
                    let wanted = sources::Wanted {
                        clients,
                        sockets,
                        churn_per_s: churn * part,
                        reconnect: part_of(reconnect),
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
}

/// Each client on pipes has a child, and so a target, of its own.
pub(super) fn adopt(mut seats: Vec<Seat>, found: Vec<Found>) -> Result<Adopted, StartError> {
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
    Ok(Adopted { seats, found: all, children })
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
