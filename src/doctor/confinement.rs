//! What the process may do at all: container, seccomp, capabilities, threads.

use super::capacity::THREADS_RESERVED;
use super::check::{Check, Checking, Look, State, grouped, limit};

/// Names that say something to a server, and their bits (capabilities(7)).
const CAPABILITIES: [(&str, u32); 5] = [
    ("NET_BIND_SERVICE", 10),
    ("NET_ADMIN", 12),
    ("IPC_LOCK", 14),
    ("SYS_ADMIN", 21),
    ("SYS_RESOURCE", 24),
];
pub(super) const CHECKS: &[Checking] = &[container, seccomp, capabilities, threads];

fn container(look: &Look<'_>) -> Option<Check> {
    let (found, means) = match &look.host.container {
        Some(mark) => {
            (format!("yes ({mark})"), "limits are the engine's, and most sysctls are the host's")
        }
        None => ("no".to_owned(), "limits and sysctls are this machine's own"),
    };
    Some(Check::new("container", State::Info, found, means))
}

fn seccomp(look: &Look<'_>) -> Option<Check> {
    let works = look.host.ring.is_ok();
    let (found, means) = match look.host.seccomp {
        0 => ("off", "no filter of system calls"),
        1 => ("strict", "only read, write and exit are allowed"),
        _ if works => ("filter", "it lets io_uring through"),
        _ => ("filter", "io_uring does not work: see above for whether the filter is why"),
    };
    let privileges = if look.host.no_new_privileges { ", no new privileges" } else { "" };
    Some(Check::new("seccomp", State::Info, format!("{found}{privileges}"), means))
}

fn capabilities(look: &Look<'_>) -> Option<Check> {
    let held = CAPABILITIES.iter().filter(|(_, bit)| look.host.has_capability(*bit));
    let held: Vec<_> = held.map(|(name, _)| *name).collect();
    let found = if held.is_empty() { "none of interest".to_owned() } else { held.join(", ") };
    let means = "a server needs none: NET_BIND_SERVICE is for ports below 1024, SYS_RESOURCE raises \
                 hard limits";
    Some(Check::new("capabilities", State::Info, found, means))
}

fn threads(look: &Look<'_>) -> Option<Check> {
    let host = look.host;
    let (free, mut found) = match &host.pids {
        Some(pids) => {
            let found =
                format!("{} of {} ({})", grouped(pids.used), grouped(pids.max), pids.source);
            (pids.free(), found)
        }
        None => (u64::MAX, "no limit of a control group".to_owned()),
    };
    let left = free.min(host.threads_max());
    found.push_str(&format!("; RLIMIT_NPROC {}", limit(host.nproc.soft)));
    if let Some(most) = host.sysctls.threads_max {
        found.push_str(&format!("; kernel.threads-max {}", grouped(most)));
    }
    let need = host.cores() + THREADS_RESERVED;
    let state = if left >= need { State::Ok } else { State::Fail };
    let means = "a server takes a thread for each shard and each pool's worker, and some of the \
                 kernel's";
    let mend = if left < free {
        format!("ulimit -u {need} or more (systemd: LimitNPROC)")
    } else {
        format!("allow {need} or more (docker: --pids-limit; systemd: TasksMax)")
    };
    Some(Check::new("threads", state, found, means).mend(mend))
}
