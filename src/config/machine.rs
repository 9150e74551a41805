//! What the machine allows this process: read once, so that all else is a function of it.

use std::fs;

use nix::sys::resource::{Resource, getrlimit};

use super::cgroup;

/// What is assumed where the system tells no size of its memory.
const MEMORY_ASSUMED_BYTES: u64 = 1 << 30;

/// What the machine, its container and its limits allow this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Hard limit of open files (RLIMIT_NOFILE). The soft one is raised to it at start; each
    /// ring's table of connections may hold as many.
    pub nofile: u64,
    /// Memory that may be used.
    pub memory: MemoryLimit,
    /// Processors that the process may run on, ascending.
    pub cpus: Vec<usize>,
    /// Whole processors' worth of time that a control group allows, where that is less than
    /// [`Machine::cpus`].
    pub cpu_quota: Option<usize>,
}

/// How much memory may be used, and what says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryLimit {
    /// The lower of the machine's memory and the control groups' limits.
    pub bytes: u64,
    /// `MemTotal`, or the file of the control group.
    pub source: String,
}

impl Machine {
    /// Asks the system. What it does not tell is assumed small.
    pub fn read() -> Self {
        let cpus = cpus();
        let parallelism = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            nofile: getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(_, hard)| hard),
            memory: memory(),
            cpu_quota: Some(parallelism).filter(|&quota| quota < cpus.len()),
            cpus,
        }
    }
}

fn cpus() -> Vec<usize> {
    ringmesh_ring::allowed_cpus().unwrap_or_else(|_| vec![0])
}

fn memory() -> MemoryLimit {
    let total = fs::read_to_string("/proc/meminfo").ok().and_then(|text| cgroup::mem_total(&text));
    let total = match total {
        Some(bytes) => MemoryLimit { bytes, source: "MemTotal".into() },
        None => MemoryLimit { bytes: MEMORY_ASSUMED_BYTES, source: "assumed".into() },
    };
    match cgroup::memory_limit() {
        Some((bytes, path)) if bytes < total.bytes => {
            MemoryLimit { bytes, source: path.display().to_string() }
        }
        _ => total,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_says_something_sensible() {
        let machine = Machine::read();
        assert!(machine.nofile >= 256);
        assert!(machine.memory.bytes > 64 << 20, "{:?}", machine.memory);
        assert!(!machine.cpus.is_empty() && machine.cpus.is_sorted());
        assert!(machine.cpu_quota.is_none_or(|quota| quota < machine.cpus.len()));
    }
}
