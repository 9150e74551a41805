//! Processors, their clock, and what slows them.

use crate::config::List;

use super::check::{Check, Checking, Look, State};

pub(super) const CHECKS: &[Checking] = &[cpus, clock, governor, mitigations];

fn cpus(look: &Look<'_>) -> Option<Check> {
    let host = look.host;
    let found = format!("{} ({})", host.cpus.len(), List(&host.cpus));
    let Some(quota) = host.cpu_quota else {
        let means = format!("a server has {} shards by default, one pinned to each", host.cores());
        return Some(Check::new("cpus", State::Ok, found, means));
    };
    let found = format!("{found}, of whose time a control group allows {quota}");
    let means = format!(
        "a server has {quota} shards by default, not pinned, and all of them stand still when the \
         time of a period is used up"
    );
    let mend = "give whole cpus instead of time (docker: --cpuset-cpus; Kubernetes: the static CPU \
                manager)";
    Some(Check::new("cpus", State::Warn, found, means).mend(mend))
}

/// A clock that a program cannot read without the kernel costs about a microsecond each time.
fn clock(look: &Look<'_>) -> Option<Check> {
    let clock = look.host.clock.as_deref()?;
    let (state, means) = match clock {
        "tsc" | "kvm-clock" | "arch_sys_counter" | "hyperv_clocksource_tsc_page" => {
            (State::Ok, "read without entering the kernel")
        }
        _ => (State::Warn, "each reading enters the kernel, twice a tick and more"),
    };
    let mend = "boot with clocksource=tsc tsc=reliable, if the machine's counter is sound";
    Some(Check::new("clock", state, clock, means).mend(mend))
}

fn governor(look: &Look<'_>) -> Option<Check> {
    let Some(governor) = look.host.governor.as_deref() else {
        let means = "the machine (or its host) decides on the frequency";
        return Some(Check::new("frequency", State::Info, "no governor", means));
    };
    let (state, means) = match governor {
        "powersave" | "conservative" => (State::Warn, "a shard that wakes up is slow at first"),
        _ => (State::Ok, "cores speed up when there is work"),
    };
    let mend = "cpupower frequency-set -g performance";
    Some(Check::new("frequency", state, governor, means).mend(mend))
}

fn mitigations(look: &Look<'_>) -> Option<Check> {
    let names: Vec<_> = look.host.mitigations.iter().map(|(flaw, _)| flaw.as_str()).collect();
    let found = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let means = "what the kernel does against these flaws makes each entry into it dearer";
    Some(Check::new("mitigations", State::Info, found, means))
}
