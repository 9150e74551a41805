//! How many roles a run takes, and whether this machine carries it.

use super::machine::Machine;
use crate::boot::StartError;
use crate::config::{Count, Cpus};

/// Rings, each of a thread.
const ROLES_MAX: u64 = 256;
/// Slots of a ring's table that no seat counts on: connections that are being closed while their
/// seats connect anew, and those that change resources.
const SLOTS_RESERVED: u64 = 256;
/// Descriptors of a role (its ring and its doorbell), and of the process besides.
const ROLE_DESCRIPTORS: u64 = 4;
const DESCRIPTORS_RESERVED: u64 = 64;
/// The kernel allows no larger table (`IORING_MAX_FIXED_FILES`).
const TABLE_MAX: u64 = 1 << 20;
/// An idle connection in the kernel: one end with a receive armed; both ends on one machine.
const END_BYTES: u64 = 4_864;
const BOTH_ENDS_BYTES: u64 = 9_700;

/// What a run holds at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::load) struct Need {
    pub(in crate::load) clients: u32,
    /// Sockets of those, over TCP.
    pub(in crate::load) sockets: u64,
    /// How many of them have their other end on this machine.
    pub(in crate::load) sockets_here: u64,
    /// Sockets of each role besides its clients': those that change resources.
    pub(in crate::load) sockets_besides: u64,
}

/// Threads, and slots of each one's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::load) struct Roles {
    pub(in crate::load) shards: u16,
    pub(in crate::load) table: u32,
}

/// Chooses how many roles there are. `most` tells the most sockets that the clients of one of so many
/// would have.
///
/// # Errors
/// 64 where a flag asks for what cannot be, 78 where a limit is too low.
pub(in crate::load) fn choose(
    need: Need,
    asked: Option<Count>,
    cpus: Option<&Cpus>,
    machine: &Machine,
    most: impl Fn(u16) -> u64,
) -> Result<Roles, StartError> {
    if let Some(cpus) = cpus
        && let Some(other) = cpus.as_slice().iter().find(|cpu| !machine.cpus.contains(cpu))
    {
        let allowed = config_list(&machine.cpus);
        return Err(StartError::usage(format!(
            "--cpus {cpus}: this process may not use cpu {other}: choose of {allowed}"
        )));
    }
    let slots = slots(machine).saturating_sub(need.sockets_besides);
    let roles_max = machine.nofile.saturating_sub(DESCRIPTORS_RESERVED) / ROLE_DESCRIPTORS;
    let roles_max = roles_max.clamp(1, ROLES_MAX);
    let fits = |shards: u16| most(shards) <= slots;
    let shards = match asked {
        Some(Count(asked)) => {
            let shards =
                u16::try_from(asked).ok().filter(|&of| of > 0 && u64::from(of) <= ROLES_MAX);
            let wrong = || StartError::usage(format!("--shards {asked}: use 1 to {ROLES_MAX}"));
            shards.ok_or_else(wrong)?
        }
        None => {
            let default = cpus.map_or(machine.cpu_quota / 2, |cpus| cpus.as_slice().len());
            let default = default.clamp(1, (need.clients.max(1) as usize).min(256));
            let from = u16::try_from(default).expect("at most 256");
            let to = u16::try_from(roles_max).expect("at most ROLES_MAX").max(from);
            (from..=to).find(|&shards| fits(shards)).unwrap_or(to)
        }
    };
    if !fits(shards) || u64::from(shards) > roles_max {
        return Err(too_few_descriptors(
            need,
            asked,
            u64::from(shards).min(roles_max) * slots,
            machine,
        ));
    }
    let table =
        (most(shards) + need.sockets_besides + SLOTS_RESERVED).min(machine.nofile).min(TABLE_MAX);
    Ok(Roles { shards, table: u32::try_from(table).expect("at most TABLE_MAX") })
}

fn config_list(cpus: &[usize]) -> String {
    cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

/// Slots of one ring that seats may count on.
fn slots(machine: &Machine) -> u64 {
    let table = machine.nofile.min(TABLE_MAX);
    table - SLOTS_RESERVED.min(table / 4)
}

/// Of `sockets` of all clients, so many fit: how many clients are that?
fn clients_in(need: Need, sockets: u64) -> u64 {
    u64::from(need.clients) * sockets / need.sockets.max(1)
}

fn too_few_descriptors(
    need: Need,
    asked: Option<Count>,
    sockets: u64,
    machine: &Machine,
) -> StartError {
    let (nofile, wanted) = (machine.nofile, need.clients);
    let fit = clients_in(need, sockets);
    StartError::limit(match asked {
        Some(Count(asked)) => format!(
            "--shards {asked}: {fit} connections fit and {wanted} are wanted, since the limit of \
             descriptors bounds each ring's to {nofile}: leave --shards out, or --connections {fit}"
        ),
        None => format!(
            "{fit} connections fit and {wanted} are wanted: the limit of descriptors is {nofile}: \
             raise it (ulimit -Hn 65536), or --connections {fit}"
        ),
    })
}

/// Checks the limits of the whole system: what is near one is a warning.
///
/// # Errors
/// 78 where one is too low.
pub(in crate::load) fn check(
    need: Need,
    machine: &Machine,
    warnings: &mut Vec<String>,
) -> Result<(), StartError> {
    let files = need.sockets + need.sockets_here;
    let free = machine.files_max.saturating_sub(machine.files);
    if files > free {
        let fit = u64::from(need.clients) * free / files;
        return Err(StartError::limit(format!(
            "{fit} connections fit and {} are wanted: fs.file-max leaves {free} files and they \
             take {files}: raise it (sysctl -w fs.file-max={}), or --connections {fit}",
            need.clients,
            machine.files + files + files / 10,
        )));
    }
    if let Some(tracked) = machine.conntrack {
        let entries = need.sockets - if tracked.loopback { 0 } else { need.sockets_here };
        let free = tracked.max.saturating_sub(tracked.count);
        if entries > free {
            warnings.push(format!(
                "the kernel tracks these connections and has room for {free} of {entries}, more \
                 will fail: sysctl -w net.netfilter.nf_conntrack_max={}",
                tracked.count + entries + entries / 4,
            ));
        }
    }
    let bytes = kernel_bytes(need);
    if bytes > machine.available_bytes {
        let mib = |bytes: u64| bytes >> 20;
        warnings.push(format!(
            "the kernel will take about {} MiB for these connections and {} MiB are free: \
             --connections {} fit",
            mib(bytes),
            mib(machine.available_bytes),
            u128::from(need.clients) * u128::from(machine.available_bytes) / u128::from(bytes),
        ));
    }
    Ok(())
}

/// Memory of the kernel for idle connections: those whose servers are elsewhere have one end here.
pub(in crate::load) fn kernel_bytes(need: Need) -> u64 {
    need.sockets_here * BOTH_ENDS_BYTES + (need.sockets - need.sockets_here) * END_BYTES
}

#[cfg(test)]
mod tests {
    use super::super::machine::Conntrack;
    use super::*;

    fn machine() -> Machine {
        Machine {
            nofile: 20_000,
            files_max: 2_466_177,
            files: 1_000,
            ports: 28_232,
            conntrack: None,
            available_bytes: 20 << 30,
            cpus: vec![0, 1],
            cpu_quota: 2,
        }
    }

    fn need(clients: u32) -> Need {
        let sockets = u64::from(clients);
        Need { clients, sockets, sockets_here: sockets, sockets_besides: 0 }
    }

    fn chosen(clients: u32, asked: Option<u32>, machine: &Machine) -> Result<Roles, StartError> {
        let most = |shards: u16| u64::from(clients.div_ceil(u32::from(shards)));
        choose(need(clients), asked.map(Count), None, machine, most)
    }

    #[test]
    fn as_many_roles_as_the_descriptors_need() {
        for (clients, asked, shards, table) in [
            (1, None, 1, 257),
            (10_000, None, 1, 10_256),
            (19_744, None, 1, 20_000),
            (19_745, None, 2, 10_129),
            (100_000, None, 6, 16_923),
            (1_000_000, None, 51, 19_864),
            (1_000, Some(2), 2, 756),
        ] {
            let roles = chosen(clients, asked, &machine()).expect("it fits");
            assert_eq!(roles, Roles { shards, table }, "{clients}");
        }
    }

    #[test]
    fn a_limit_that_is_too_low_says_how_many_fit() {
        let low = Machine { nofile: 100, ..machine() };
        for (clients, asked, machine, parts) in [
            (100_000, None, &low, ["675 connections fit", "--connections 675"]),
            (100_000, Some(2), &machine(), ["39488 connections fit", "leave --shards out"]),
        ] {
            let wrong = chosen(clients, asked, machine).expect_err("too many");
            assert_eq!(wrong.exit_code(), 78);
            assert!(parts.iter().all(|part| wrong.to_string().contains(part)), "{wrong}");
        }
        let fit = chosen(675, None, &low).expect("what was said to fit");
        assert!(fit.table <= 100, "{fit:?}");
        for asked in [0, 257] {
            assert_eq!(chosen(1, Some(asked), &machine()).expect_err("no").exit_code(), 64);
        }
    }

    #[test]
    fn pinned_roles_are_as_many_as_their_cpus() {
        let cpus: Cpus = "0-1".parse().expect("a list");
        let roles = choose(need(10), None, Some(&cpus), &machine(), |_| 5).expect("it fits");
        assert_eq!(roles.shards, 2);
        let other: Cpus = "1,7".parse().expect("a list");
        let wrong = choose(need(10), None, Some(&other), &machine(), |_| 5).expect_err("no cpu 7");
        assert_eq!(wrong.exit_code(), 64);
    }

    #[test]
    fn the_systems_limits_are_checked() {
        let checked = |machine: &Machine| {
            let mut warnings = Vec::new();
            check(need(100_000), machine, &mut warnings).map(|()| warnings)
        };
        assert_eq!(checked(&machine()), Ok(vec![]));
        let files = Machine { files_max: 101_000, ..machine() };
        let wrong = checked(&files).expect_err("too few files");
        assert!(wrong.to_string().starts_with("50000 connections fit"), "{wrong}");
        let tracked = |loopback| Machine {
            conntrack: Some(Conntrack { max: 65_536, count: 36, loopback }),
            ..machine()
        };
        assert_eq!(checked(&tracked(false)), Ok(vec![]));
        let warnings = checked(&tracked(true)).expect("a warning at most");
        assert!(warnings[0].contains("room for 65500 of 100000"), "{warnings:?}");
        let small = Machine { available_bytes: 97 << 20, ..machine() };
        let warnings = checked(&small).expect("a warning at most");
        assert!(warnings[0].contains("925 MiB"), "{warnings:?}");
    }
}
