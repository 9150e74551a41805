//! Connection tracking: where it is on, every connection is an entry of a table that is bounded.

use super::check::{Check, Checking, Look, State, grouped};

/// Entries beyond the connections that are wanted: those that end stay for a while.
const SLACK: u64 = 4;

pub(super) const CHECKS: &[Checking] = &[conntrack];

fn conntrack(look: &Look<'_>) -> Option<Check> {
    let Some(found) = &look.host.conntrack else {
        let means = "connections are not tracked";
        return Some(Check::new("conntrack", State::Ok, "not loaded", means));
    };
    let entries = &found.entries;
    let numbers = format!("{} of {} entries", grouped(entries.used), grouped(entries.max));
    let fits = look.wanted <= entries.free();
    let (state, found, means) = match found.tracks {
        Some(true) if fits => (
            State::Info,
            format!("tracks, {numbers}"),
            "each connection takes an entry and some CPU time".to_owned(),
        ),
        Some(true) => (
            look.short(),
            format!("tracks, {numbers}"),
            format!("each connection takes an entry: {} more fit", grouped(entries.free())),
        ),
        Some(false) if fits => (
            State::Ok,
            format!("loaded, does not track here; {numbers}"),
            "no rule of this network namespace asks for it".to_owned(),
        ),
        Some(false) => (
            State::Warn,
            format!("loaded, does not track here; {numbers}"),
            format!(
                "one NAT rule (a container engine's, say) makes it track: then {} connections fit",
                grouped(entries.free()),
            ),
        ),
        None => (
            if fits { State::Info } else { State::Warn },
            format!("loaded, {numbers}"),
            "whether this network namespace tracks could not be told".to_owned(),
        ),
    };
    Some(Check::new("conntrack", state, found, means).mend(mend(look.wanted)))
}

/// What makes room for so many connections.
pub(super) fn mend(wanted: u64) -> String {
    let need = wanted.saturating_add(wanted / SLACK).next_multiple_of(1_024);
    format!(
        "sysctl -w net.netfilter.nf_conntrack_max={need} (on the host), or leave the server's port \
         untracked: iptables -t raw -A PREROUTING -p tcp --dport PORT -j NOTRACK, and OUTPUT \
         --sport"
    )
}
