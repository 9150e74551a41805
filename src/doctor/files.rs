//! Descriptors, open files, and memory that may be locked.

use crate::config::places_of;

use super::check::{Check, Checking, Look, State, grouped, limit};

/// The executor of the control plane asks for so much (`control`).
const MEMLOCK_MIN: u64 = 512 << 10;
/// CAP_IPC_LOCK and CAP_SYS_RESOURCE in the bit sets of proc(5).
const CAP_IPC_LOCK: u32 = 14;
const CAP_SYS_RESOURCE: u32 = 24;

pub(super) const CHECKS: &[Checking] = &[nofile, file_max, memlock];

/// A ring's table of direct descriptors has as many places as RLIMIT_NOFILE says
/// (io_uring_register(2), `IORING_REGISTER_FILES`).
fn nofile(look: &Look<'_>) -> Option<Check> {
    let (limits, sysctls) = (look.host.nofile, &look.host.sysctls);
    let places = places_of(limits.hard);
    let cores = look.host.cores().max(1);
    let ceiling = sysctls.nr_open.map_or(String::new(), |n| format!("; fs.nr_open {}", grouped(n)));
    let found =
        format!("RLIMIT_NOFILE {} soft, {} hard{ceiling}", limit(limits.soft), limit(limits.hard));
    let each = look.wanted.div_ceil(cores);
    // An eighth more than an even spread, and what refusals keep, leave room for an uneven one.
    let need = each.saturating_add(each / 8 + 512).min(1 << 20).next_power_of_two();
    let (state, means) = if places == 0 {
        (State::Fail, "too low for any server".to_owned())
    } else if places < each {
        let means = format!(
            "each shard holds {} connections; more take more shards than the {cores} of a default \
             server (--shards N), or a higher limit",
            grouped(places),
        );
        (State::Warn, means)
    } else {
        let means = format!(
            "each shard holds {} connections, which need no descriptor of the process",
            grouped(places),
        );
        (State::Ok, means)
    };
    let how = if look.host.has_capability(CAP_SYS_RESOURCE) { "" } else { ", as root" };
    let mend = match sysctls.nr_open {
        Some(open) if open < need => format!("sysctl -w fs.nr_open={need}, then "),
        _ => String::new(),
    };
    let shards = if places == 0 { "" } else { "more --shards (see below), or " };
    let mend = format!(
        "{shards}{mend}ulimit -Hn {need}{how} (systemd: LimitNOFILE={need}; docker: --ulimit \
         nofile={need})"
    );
    Some(Check::new("open files", state, found, means).mend(mend))
}

fn file_max(look: &Look<'_>) -> Option<Check> {
    let files = look.host.files.as_ref()?;
    let found = format!("fs.file-max {}, {} in use", limit(files.max), grouped(files.used));
    let need = look.wanted.saturating_add(files.used + 4_096);
    let fits = need <= files.max;
    let state = if fits { State::Ok } else { look.short() };
    let left = match files.max {
        u64::MAX => "nothing bounds them but memory".to_owned(),
        _ => format!("{} are left", grouped(files.free())),
    };
    let means = format!(
        "a connection takes one file of the whole system (its client's end on this machine \
         another): {left}"
    );
    Some(
        Check::new("system files", state, found, means)
            .mend(format!("sysctl -w fs.file-max={need}")),
    )
}

fn memlock(look: &Look<'_>) -> Option<Check> {
    let limits = look.host.memlock;
    let capable = look.host.has_capability(CAP_IPC_LOCK);
    let with = if capable { ", CAP_IPC_LOCK" } else { "" };
    let found = format!("RLIMIT_MEMLOCK {} KiB{with}", limit_kib(limits.soft));
    let (state, means) = if limits.soft < MEMLOCK_MIN {
        (State::Fail, "the control plane needs 512 KiB")
    } else {
        (State::Ok, "enough: rings of shards are not counted against it, and the rest is small")
    };
    let mend = "ulimit -l unlimited (systemd: LimitMEMLOCK=infinity; docker: --ulimit memlock=-1)";
    Some(Check::new("locked memory", state, found, means).mend(mend))
}

fn limit_kib(bytes: u64) -> String {
    if bytes == u64::MAX { limit(bytes) } else { grouped(bytes / 1024) }
}
