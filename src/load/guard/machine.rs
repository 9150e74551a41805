//! What this machine allows a load generator: read once, so that all else is a function of it.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use crate::config;

/// Connections that tell whether loopback is tracked.
const TRACKED_PROBES: usize = 8;

/// Limits of the process and the system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::load) struct Machine {
    /// Hard limit of open files, and so of each ring's table (RLIMIT_NOFILE).
    pub(in crate::load) nofile: u64,
    /// Files of the system, at most, and those that are open (fs.file-max, fs.file-nr).
    pub(in crate::load) files_max: u64,
    pub(in crate::load) files: u64,
    /// Ports that the kernel picks from (net.ipv4.ip_local_port_range).
    pub(in crate::load) ports: u32,
    pub(in crate::load) conntrack: Option<Conntrack>,
    /// MemAvailable.
    pub(in crate::load) available_bytes: u64,
    /// Processors that the process may run on.
    pub(in crate::load) cpus: Vec<usize>,
    /// Whole processors' worth of time.
    pub(in crate::load) cpu_quota: usize,
}

/// The kernel's table of connections that it tracks for firewalls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::load) struct Conntrack {
    pub(in crate::load) max: u64,
    pub(in crate::load) count: u64,
    /// Whether connections over loopback are in it.
    pub(in crate::load) loopback: bool,
}

impl Machine {
    /// Asks the system. What it does not tell does not bind.
    pub(in crate::load) fn read() -> Self {
        let machine = config::Machine::read();
        let number = |path: &str, nth: usize| -> Option<u64> {
            fs::read_to_string(path).ok()?.split_whitespace().nth(nth)?.parse().ok()
        };
        let range = "/proc/sys/net/ipv4/ip_local_port_range";
        let (low, high) = (number(range, 0), number(range, 1));
        let ports = high.zip(low).and_then(|(high, low)| u32::try_from(high - low.min(high)).ok());
        Self {
            nofile: machine.nofile,
            files_max: number("/proc/sys/fs/file-max", 0).unwrap_or(u64::MAX),
            files: number("/proc/sys/fs/file-nr", 0).unwrap_or(0),
            ports: ports.map_or(28_232, |ports| ports + 1),
            conntrack: conntrack(&number),
            available_bytes: available().unwrap_or(u64::MAX),
            cpu_quota: machine.cpu_quota.unwrap_or(machine.cpus.len()).max(1),
            cpus: machine.cpus,
        }
    }
}

fn available() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib << 10)
}

fn conntrack(number: &dyn Fn(&str, usize) -> Option<u64>) -> Option<Conntrack> {
    let count = || number("/proc/sys/net/netfilter/nf_conntrack_count", 0);
    let max = number("/proc/sys/net/netfilter/nf_conntrack_max", 0)?;
    let before = count()?;
    let opened = probe();
    let loopback = opened.is_some() && count()? >= before + TRACKED_PROBES as u64;
    Some(Conntrack { max, count: before, loopback })
}

/// A few connections of this process with itself, held until dropped. The kernel has no other
/// place that says whether a rule makes it track those.
fn probe() -> Option<Vec<TcpStream>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
    let address = listener.local_addr().ok()?;
    (0..TRACKED_PROBES).map(|_| TcpStream::connect(address).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_says_something_sensible() {
        let machine = Machine::read();
        assert!(machine.nofile >= 64 && machine.files_max > machine.files);
        assert!(machine.ports > 1_000, "{}", machine.ports);
        assert!(machine.available_bytes > 1 << 20 && !machine.cpus.is_empty());
    }
}
