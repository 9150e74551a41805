//! The kernel and its io_uring.

use ringmesh_ring::{Feature, Features, Refusal};

use super::check::{Check, Checking, Look, State};

/// The oldest kernel that a ring works on.
const KERNEL_MIN: (u32, u32) = (6, 1);
/// The first kernel that releases a closed direct descriptor at once.
const KERNEL_PROMPT_RELEASE: (u32, u32) = (6, 13);

pub(super) const CHECKS: &[Checking] = &[kernel, ring, extras];

fn kernel(look: &Look<'_>) -> Option<Check> {
    let release = &look.host.release;
    let found = format!("Linux {release}");
    let check = match version(release) {
        old if old < KERNEL_MIN => Check::new(
            "kernel",
            State::Fail,
            found,
            "older than 6.1, with which everything that a shard needs is there",
        ),
        old if old < KERNEL_PROMPT_RELEASE => Check::new(
            "kernel",
            State::Info,
            found,
            "before 6.13 a closed connection is released late: closes cost a little more",
        ),
        _ => Check::new("kernel", State::Ok, found, "new enough for everything (6.1 is needed)"),
    };
    Some(check.mend("use Linux 6.1 or newer (Debian 12, Ubuntu 24.04)"))
}

fn ring(look: &Look<'_>) -> Option<Check> {
    Some(match &look.host.ring {
        Ok(features) => {
            let used = names(features, |part| part.used);
            Check::new("io_uring", State::Ok, "works", format!("a server uses {used}"))
        }
        Err(refusal) => {
            // The cause, a colon, the mend: as the server says it at its start.
            let line = refusal.to_string();
            let (cause, mend) = line.split_once(": ").unwrap_or((&line, "see man 7 io_uring"));
            Check::new(
                "io_uring",
                State::Fail,
                cause_of(refusal),
                format!("{cause}: no server starts"),
            )
            .mend(mend)
        }
    })
}

fn extras(look: &Look<'_>) -> Option<Check> {
    let features = look.host.ring.as_ref().ok()?;
    let offered = names(features, |part| part.offered && !part.used);
    let lacking = names(features, |part| !part.offered);
    let offered = if offered.is_empty() { "none" } else { &offered };
    let lacking = if lacking.is_empty() { "nothing" } else { &lacking };
    let means = format!("offered and left alone; lacking and not needed: {lacking}");
    Some(Check::new("further parts", State::Info, offered, means))
}

fn names(features: &Features, belongs: impl Fn(&Feature) -> bool) -> String {
    let names: Vec<_> = features.parts.iter().filter(|p| belongs(p)).map(|p| p.name).collect();
    names.join(", ")
}

/// In two words, so that causes are told apart at a glance.
fn cause_of(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Seccomp { .. } => "refused by seccomp",
        Refusal::Disabled { .. } => "disabled by sysctl",
        Refusal::Denied { .. } => "denied",
        Refusal::OldKernel { .. } => "too old",
        Refusal::NotBuilt { .. } => "not built in",
        Refusal::Memlock { .. } | Refusal::Memory => "no memory",
        Refusal::Table { .. } | Refusal::Descriptors { .. } | Refusal::Files => "no descriptors",
        Refusal::Other { .. } => "fails",
    }
}

/// Major and minor of a release; 0 where it says none.
fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
