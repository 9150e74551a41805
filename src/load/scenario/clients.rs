//! How many clients there are, what each workload makes of its own, and what they hold at once.

use ringmesh_runtime::load::script::{Seat, Workload};

use super::calls::Doing;
use super::file::File;
use super::places::Found;
use super::seats::{Share, Wish};
use super::text::{self, Scenario};
use crate::boot::StartError;
use crate::config::Count;
use crate::load::guard::hosts;
use crate::load::guard::roles::Need;

/// Clients of the scenario as it is written.
pub(super) fn declared(file: &File) -> Result<u32, StartError> {
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

pub(super) fn wishes(file: &File, scenario: &Scenario) -> Result<Vec<Wish>, StartError> {
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

pub(super) fn workloads(names: Vec<String>, doings: Vec<Doing>, shares: &[Share]) -> Vec<Workload> {
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
pub(super) fn need(doings: &[Doing], found: &[Found], seats: &[Seat]) -> Need {
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
pub(super) fn most_sockets(doings: &[Doing], seats: &[Seat], roles: u16) -> u64 {
    let mut of_role = vec![0; usize::from(roles)];
    for (at, seat) in seats.iter().enumerate() {
        of_role[at % usize::from(roles)] += sockets(doings, seat);
    }
    of_role.into_iter().max().unwrap_or(0)
}
