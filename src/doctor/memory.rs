//! Memory of the machine and its control groups, and what TCP may take of it.

use crate::config::{FULL_BYTES, IDLE_BYTES, Size};

use super::check::{Check, Checking, Look, State, grouped};

/// Linux on x86-64; `tcp_mem` counts in these.
const PAGE_BYTES: u64 = 4096;

pub(super) const CHECKS: &[Checking] = &[available, group, tcp_mem, huge_pages];

fn available(look: &Look<'_>) -> Option<Check> {
    let free = look.host.memory_free;
    let found = format!("{} free of {}", Size { bytes: free }, size(look.host.memory.bytes));
    let need = look.wanted.saturating_mul(FULL_BYTES);
    let state = if need <= free { State::Ok } else { look.short() };
    let means = format!(
        "a connection takes {} bytes when it is idle and {} with a stream and a session, most of \
         it in the kernel: {} for {}",
        grouped(IDLE_BYTES),
        grouped(FULL_BYTES),
        size(need),
        grouped(look.wanted),
    );
    Some(Check::new("memory", state, found, means).mend("end other programs, or add memory"))
}

/// Version 1 and 2 charge sockets and files to the group, too.
fn group(look: &Look<'_>) -> Option<Check> {
    let memory = &look.host.memory;
    if memory.source == "MemTotal" {
        return Some(Check::new("memory limit", State::Ok, "no control group limits it", ""));
    }
    let need = look.wanted.saturating_mul(FULL_BYTES);
    let state = if need <= memory.bytes { State::Info } else { look.short() };
    let found = format!("{} ({})", size(memory.bytes), memory.source);
    let means = "what the kernel holds for connections counts, too; the server fits its defaults \
                 to this";
    let mend = "raise it (docker: --memory; systemd: MemoryMax)";
    Some(Check::new("memory limit", state, found, means).mend(mend))
}

/// Bytes in socket buffers, of all sockets of the namespace. Past the pressure mark the kernel
/// shrinks buffers, past the last it drops (tcp(7)).
fn tcp_mem(look: &Look<'_>) -> Option<Check> {
    let [low, pressure, high] = look.host.sysctls.tcp_mem?;
    let found = format!("net.ipv4.tcp_mem {low} {pressure} {high} pages");
    let at_once = pressure;
    // An idle connection has nothing in its buffers.
    let state = if at_once >= look.wanted / 10 { State::Ok } else { State::Warn };
    let means = format!(
        "{} of socket buffers before the kernel shrinks them: {} connections may have bytes in \
         flight at once, idle ones need none",
        size(pressure.saturating_mul(PAGE_BYTES)),
        grouped(at_once),
    );
    let need = look.wanted / 4;
    let mend = format!("sysctl -w net.ipv4.tcp_mem=\"{} {need} {}\"", need * 3 / 4, need * 3 / 2);
    Some(Check::new("socket buffers", state, found, means).mend(mend))
}

fn huge_pages(look: &Look<'_>) -> Option<Check> {
    let mode = look.host.huge_pages.as_deref()?;
    let (state, means) = match mode {
        "always" => {
            (State::Warn, "a few bytes touched may take 2 MiB: memory grows beyond the plan")
        }
        _ => (State::Ok, "memory is taken in small pages, as the plan counts it"),
    };
    let mend = "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled";
    Some(Check::new("huge pages", state, mode, means).mend(mend))
}

fn size(bytes: u64) -> Size {
    Size { bytes }
}
